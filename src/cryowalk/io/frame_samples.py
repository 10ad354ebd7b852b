"""Frames turned into the numbers that a file holds, and their sums, in one compiled pass."""

# Numba's functions carry no annotations (and checking them in tests would hide them from the compiler).
# ruff: noqa: ANN001, ANN201

from typing import no_type_check

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, fastmath={"reassoc", "nsz", "contract"})
@no_type_check
def round_into(values, stored, pivot):
    """Sum and sum of squares of values − pivot, after each was rounded to the nearest whole number into `stored`."""
    total, squares = 0.0, 0.0
    for place in range(values.shape[0]):
        value = values[place]
        stored[place] = np.rint(value)
        centred = np.float64(value) - pivot
        total += centred
        squares += centred * centred
    return total, squares


@njit(nogil=True, cache=True, fastmath={"reassoc", "nsz", "contract"})
@no_type_check
def sums(values, pivot):
    """Sum and sum of squares of values − pivot."""
    total, squares = 0.0, 0.0
    for place in range(values.shape[0]):
        centred = np.float64(values[place]) - pivot
        total += centred
        squares += centred * centred
    return total, squares
