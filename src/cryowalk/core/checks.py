"""Checks of arguments that end in one clear error; none of them touches an array's values."""

import math

from cryowalk.core.errors import ShapeError, UsageError


def require_positive(name: str, value: float, *, unit: str = "") -> float:
    """The value, known to be finite and above zero.

    Raises
    ------
    UsageError
        If it is not.
    """
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{name} must be above zero: got {value}{' ' + unit if unit else ''}")
    return value


def require_between(name: str, value: float, low: float, high: float) -> float:
    """The value, known to lie in the closed interval [low, high].

    Raises
    ------
    UsageError
        If it does not.
    """
    if not low <= value <= high:
        raise UsageError(f"{name} must lie between {low} and {high}: got {value}")
    return value


def require_square(what: str, shape: tuple[int, ...]) -> int:
    """The side of an image or box whose last two sides are known to be equal, pixels.

    Raises
    ------
    ShapeError
        If they are not.
    """
    if shape[-1] != shape[-2]:
        raise ShapeError(
            f"{what} must be square: got {shape[-2]} × {shape[-1]} (height × width)",
            fix="crop or pad them first",
        )
    return shape[-1]


def require_cube(what: str, shape: tuple[int, ...]) -> int:
    """The side of a volume whose three sides are known to be equal, voxels.

    Raises
    ------
    ShapeError
        If they are not.
    """
    if not shape[-1] == shape[-2] == shape[-3]:
        raise ShapeError(f"{what} must be a cube: got {' × '.join(map(str, shape[-3:]))} (z × y × x)", fix="crop or pad it first")
    return shape[-1]
