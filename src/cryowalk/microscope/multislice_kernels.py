"""The compiled loops of multislice: transmission of rows, and columns taken out of a spectrum, propagated and put back."""

# Numba's functions carry no annotations (and checking them in tests would hide them from the compiler); their arguments are arrays that
# a class could not hold.
# ruff: noqa: ANN001, ANN201, PLR0917

import math
from typing import no_type_check

import numpy as np
from numba import njit

TILE = 8  # complex numbers in a line of the cache: columns are turned into rows in squares of them
_FAST = {"contract", "arcp", "nsz", "reassoc"}
# Taylor coefficients of sin(2πr) / r and cos(2πr) in r², in single precision: on |r| ≤ ¼ the remainders are below 6e-8.
_S0, _S1, _S2, _S3, _S4, _S5 = (
    np.float32((-1) ** n * (2 * math.pi) ** (2 * n + 1) / math.factorial(2 * n + 1)) for n in range(6)
)
_C0, _C1, _C2, _C3, _C4, _C5, _C6 = (np.float32((-1) ** n * (2 * math.pi) ** (2 * n) / math.factorial(2 * n)) for n in range(7))
_TWO, _HALF, _ONE = np.float32(2), np.float32(0.5), np.float32(1)


@njit(nogil=True, cache=True, fastmath=_FAST)
@no_type_check
def transmit(wave, potential, turns):
    """Multiply complex64 rows `[rows, 2 w]`, real and imaginary parts in turn, by e^(2πi · turns · potential)."""
    for row in range(potential.shape[0]):
        for column in range(potential.shape[1]):
            t = turns * potential[row, column]
            t -= np.rint(t)
            half = np.rint(_TWO * t)  # −1, 0 or 1: a half turn changes both signs
            r = t - _HALF * half
            sign = _ONE - _TWO * half * half
            q = r * r
            sine = sign * r * (_S0 + q * (_S1 + q * (_S2 + q * (_S3 + q * (_S4 + q * _S5)))))
            cosine = sign * (_C0 + q * (_C1 + q * (_C2 + q * (_C3 + q * (_C4 + q * (_C5 + q * _C6))))))
            real, imaginary = wave[row, 2 * column], wave[row, 2 * column + 1]
            wave[row, 2 * column] = real * cosine - imaginary * sine
            wave[row, 2 * column + 1] = real * sine + imaginary * cosine


@njit(nogil=True, cache=True)
@no_type_check
def take_columns(spectrum, first, columns):
    """Copy columns `first` … of `spectrum` `[h, m]` into the rows of `columns` `[count, h]`."""
    count, height = columns.shape
    for start in range(0, height, TILE):
        stop = min(start + TILE, height)
        for column in range(count):
            for row in range(start, stop):
                columns[column, row] = spectrum[row, first + column]


@njit(nogil=True, cache=True)
@no_type_check
def put_columns(spectrum, first, columns):
    """Copy the rows of `columns` `[count, h]` back to columns `first` … of `spectrum` `[h, m]`."""
    count, height = columns.shape
    for start in range(0, height, TILE):
        stop = min(start + TILE, height)
        for row in range(start, stop):
            for column in range(count):
                spectrum[row, first + column] = columns[column, row]


@njit(nogil=True, cache=True, fastmath=_FAST)
@no_type_check
def filter_columns(columns, first, reach, along_x, along_y):
    """Multiply each spectrum along y by along_x[column] · along_y, and by 0 where |row frequency| exceeds the column's `reach`."""
    count, height = columns.shape
    for column in range(count):
        last, factor = reach[first + column], along_x[first + column]
        for row in range(last + 1):
            columns[column, row] *= factor * along_y[row]
        for row in range(last + 1, height - last):
            columns[column, row] = 0
        for row in range(max(height - last, last + 1), height):
            columns[column, row] *= factor * along_y[row]
