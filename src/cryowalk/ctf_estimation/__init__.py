"""Micrographs to defocus: power spectra and the fit of the contrast transfer function live here."""
