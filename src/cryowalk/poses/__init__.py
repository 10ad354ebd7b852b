"""Particles and a map to poses: orientation search lives here."""
