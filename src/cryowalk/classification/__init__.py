"""Particles to 2D classes, and the rejection of what is no particle, live here."""
