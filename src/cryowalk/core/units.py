"""Units of files and people to the one unit inside (Å, rad, e⁻/Å²) and back; used only where files or people enter."""

import math

DEGREE = math.pi / 180  # rad
MILLIRADIAN = 1e-3  # rad
MICROMETRE = 1e4  # Å
NANOMETRE = 10.0  # Å
MILLIMETRE = 1e7  # Å


def degrees_from_radians(angle: float) -> float:
    """The angle in degrees."""
    return angle / DEGREE


def radians_from_degrees(angle: float) -> float:
    """The angle in rad."""
    return angle * DEGREE
