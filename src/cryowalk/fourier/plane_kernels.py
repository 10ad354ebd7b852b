"""The compiled loops of `fourier.plane`: nine taps of a padded plane, read or added to, models shared out among threads."""

# Numba's functions carry no annotations (and checking them in tests would hide them from the compiler).
# ruff: noqa: ANN001, ANN201, ANN202, PLR0913, PLR0917

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import no_type_check

import numpy as np
import torch
from numba import njit


@njit(nogil=True, cache=True, fastmath=True)
@no_type_check
def _read_some(planes, model, steps, kx, ky, kernel, rows, first, last):
    margin = (planes.shape[1] - 1) // 2
    c0, c1, c2, c3 = kernel[0], kernel[1], kernel[2], kernel[3]
    one, half, shift = np.float32(1), np.float32(0.5), np.float32(margin)
    for n in range(first, last):
        plane = planes[model[n]]
        xx, xy, yx, yy = steps[n, 0, 0], steps[n, 0, 1], steps[n, 1, 0], steps[n, 1, 1]
        for k in range(kx.shape[0]):
            x = kx[k] * xx + ky[k] * yx
            y = kx[k] * xy + ky[k] * yy
            ix, iy = int(x + shift + half), int(y + shift + half)
            tx, ty = x - np.float32(ix - margin), y - np.float32(iy - margin)
            total = np.complex64(0)
            for i in range(-1, 2):
                sy = (ty - np.float32(i)) * (ty - np.float32(i))
                wy = c0 + sy * (c1 + sy * (c2 + sy * c3))
                a, b = (tx + one) * (tx + one), (tx - one) * (tx - one)
                s = tx * tx
                line = plane[iy + i, ix - 1] * (c0 + a * (c1 + a * (c2 + a * c3)))
                line += plane[iy + i, ix] * (c0 + s * (c1 + s * (c2 + s * c3)))
                line += plane[iy + i, ix + 1] * (c0 + b * (c1 + b * (c2 + b * c3)))
                total += line * wy
            rows[n, k] = total


@njit(nogil=True, cache=True, fastmath={"contract"})
@no_type_check
def _add_some(sums, model, steps, kx, ky, kernel, numerator, denominator, chosen, remainder):
    margin = (sums.shape[1] - 1) // 2
    c0, c1, c2, c3 = kernel[0], kernel[1], kernel[2], kernel[3]
    half, shift = np.float32(0.5), np.float32(margin)
    for n in range(model.shape[0]):
        if model[n] % chosen != remainder:
            continue
        plane = sums[model[n]]
        xx, xy, yx, yy = steps[n, 0, 0], steps[n, 0, 1], steps[n, 1, 0], steps[n, 1, 1]
        for k in range(kx.shape[0]):
            x = kx[k] * xx + ky[k] * yx
            y = kx[k] * xy + ky[k] * yy
            ix, iy = int(x + shift + half), int(y + shift + half)
            tx, ty = x - np.float32(ix - margin), y - np.float32(iy - margin)
            re, im, weight = numerator[n, k].real, numerator[n, k].imag, denominator[n, k]
            for i in range(-1, 2):
                sy = (ty - np.float32(i)) * (ty - np.float32(i))
                wy = c0 + sy * (c1 + sy * (c2 + sy * c3))
                for j in range(-1, 2):
                    sx = (tx - np.float32(j)) * (tx - np.float32(j))
                    w = wy * (c0 + sx * (c1 + sx * (c2 + sx * c3)))
                    plane[iy + i, ix + j, 0] += re * w
                    plane[iy + i, ix + j, 1] += im * w
                    plane[iy + i, ix + j, 2] += weight * w


@no_type_check
def read(planes, model, steps, kx, ky, kernel, rows):
    """Fill `rows` `[n, K]` with the turned coefficients, each thread some of the rows."""
    threads, count = torch.get_num_threads(), rows.shape[0]
    edges = [count * i // threads for i in range(threads + 1)]
    _together([(_read_some, (planes, model, steps, kx, ky, kernel, rows, a, b)) for a, b in pairwise(edges)])


@no_type_check
def add(sums, model, steps, kx, ky, kernel, numerator, denominator):
    """Add rows to `sums`, in the order of the rows; each thread owns every so-manieth model, so that the result does not depend on their number."""
    threads = min(torch.get_num_threads(), sums.shape[0])
    work = (sums, model, steps, kx, ky, kernel, numerator, denominator)
    _together([(_add_some, (*work, threads, i)) for i in range(threads)])


@no_type_check
def _together(calls):
    if len(calls) == 1:
        calls[0][0](*calls[0][1])
        return
    with ThreadPoolExecutor(max_workers=len(calls)) as pool:
        for future in [pool.submit(function, *arguments) for function, arguments in calls]:
            future.result()
