"""The phases of shifts on the half disk, compiled: powers of one factor along each axis, multiplied."""

# Numba's functions carry no annotations (and checking them in tests would hide them from the compiler).
# ruff: noqa: ANN001, ANN201, PLR0917

import math
from typing import no_type_check

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, fastmath={"contract"})
@no_type_check
def fill_phases(turns_x, turns_y, kx, ky, reach, phases):
    """phases[n, k] = e^(−2πi (kx x + ky y)) for x, y in turns a step; no |k| component exceeds `reach`."""
    along_x = np.empty(reach + 1, dtype=np.complex64)
    along_y = np.empty(2 * reach + 1, dtype=np.complex64)
    for n in range(turns_x.shape[0]):
        for k in range(reach + 1):
            angle_x, angle_y = -2 * math.pi * turns_x[n] * k, -2 * math.pi * turns_y[n] * k
            along_x[k] = np.complex64(complex(math.cos(angle_x), math.sin(angle_x)))
            along_y[reach + k] = np.complex64(complex(math.cos(angle_y), math.sin(angle_y)))
            along_y[reach - k] = np.complex64(complex(math.cos(angle_y), -math.sin(angle_y)))
        for k in range(kx.shape[0]):
            phases[n, k] = along_x[kx[k]] * along_y[reach + ky[k]]
