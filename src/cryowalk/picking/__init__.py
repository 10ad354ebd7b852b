"""Micrographs to particles: finding and extracting live here."""
