"""Tilt series to tomograms to subtomograms live here."""
