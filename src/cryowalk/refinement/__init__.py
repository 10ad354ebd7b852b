"""Loops that join rooms: ab initio, homogeneous, heterogeneous, multibody and subtomogram refinement live here."""
