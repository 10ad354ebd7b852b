"""The compiled loops of the slices: cutting rows into runs, sorting them, reading and adding.

All are compiled when first called, kept in a cache beside this file, and release the interpreter's lock; none allocates per image.
"""

# Numba's functions carry no annotations (and checking them in tests would hide them from the compiler); their arguments are arrays that
# a class could not hold.
# ruff: noqa: ANN001, ANN201, ANN202, PLR0913, PLR0917

import math
from typing import no_type_check

import numpy as np
from numba import njit

from cryowalk.fourier.vector_taps import add_taps, gather_taps

RUN = 16  # coefficients in a run, at most
TILE = 32  # voxels along a tile: with its margin it fits a second-level cache


@njit(nogil=True, cache=True, fastmath={"contract"})
@no_type_check
def cut_rows(turned, shape, images, runs, tiles, end):
    """Cut the rows of images[0] … images[1] − 1 into runs that do not cross x = 0, coded as one number, and name the tile of each."""
    box, margin = shape[0], shape[1]
    across, along = -(-shape[2] // TILE), -(-shape[3] // TILE)
    radius, found = shape[4], 0
    for image in range(images[0], images[1]):
        step_x, step_y = turned[image, 0], turned[image, 1]
        for row in range(box):
            ky = row if row < (box + 1) // 2 else row - box
            if ky > radius or -ky > radius:
                continue
            most = min(int(math.sqrt(np.float64(radius * radius - ky * ky)) + 1e-9), box // 2 if ky == 0 else (box - 1) // 2)
            if 2 * ky == -box:
                most = 0  # off the axes, the Nyquist row stands for two frequencies
            start = 0
            while start <= most:
                stop = min(start + RUN, most + 1)
                negative = step_x[0] * np.float32(start) + step_y[0] * np.float32(ky) < 0
                while stop - start > 1 and (step_x[0] * np.float32(stop - 1) + step_y[0] * np.float32(ky) < 0) != negative:
                    stop -= 1
                middle = np.float32(start + stop - 1) * np.float32(0.5)
                sign = np.float32(-1.0) if negative else np.float32(1.0)
                x = int(sign * (step_x[0] * middle + step_y[0] * np.float32(ky)) + 1.5)
                y = int(sign * (step_x[1] * middle + step_y[1] * np.float32(ky)) + margin + 0.5)
                z = int(sign * (step_x[2] * middle + step_y[2] * np.float32(ky)) + margin + 0.5)
                tiles[found] = ((z // TILE) * across + y // TILE) * along + x // TILE
                runs[found] = (((image * box + row) * 4096 + start) * 64 + (stop - start)) * 2 + (1 if negative else 0)
                found += 1
                start = stop
    end[0] = found


@njit(nogil=True, cache=True)
@no_type_check
def counting_sort(runs, tiles, starts, ordered):
    """Sort runs by tile, keeping their order within one; `starts` becomes where each tile begins."""
    for tile in tiles:
        starts[tile + 1] += 1
    for tile in range(starts.shape[0] - 1):
        starts[tile + 1] += starts[tile]
    place = starts.copy()
    for i in range(runs.shape[0]):
        tile = tiles[i]
        ordered[place[tile]] = runs[i]
        place[tile] += 1


@njit(nogil=True, cache=True, fastmath={"contract"}, inline="always")
@no_type_check
def _tap_weights(offset, kernel):
    """The kernel at the distances of the three taps about the nearest grid point."""
    before, after = offset + np.float32(1), offset - np.float32(1)
    s0, s1, s2 = before * before, offset * offset, after * after
    return (
        kernel[0] + s0 * (kernel[1] + s0 * (kernel[2] + s0 * kernel[3])),
        kernel[0] + s1 * (kernel[1] + s1 * (kernel[2] + s1 * kernel[3])),
        kernel[0] + s2 * (kernel[1] + s2 * (kernel[2] + s2 * kernel[3])),
    )


@njit(nogil=True, cache=True, fastmath={"contract"})
@no_type_check
def extract_runs(spectrum, shape, kernel, turned, runs, real, phase_x, phase_y, order, slices):
    """Read the coefficients of these runs into their slices, each to its place `order[row, kx]`; negative: nowhere."""
    box, margin, rows, columns = shape[0], shape[1], shape[2], shape[3]
    half, middle = np.float32(0.5), np.float32(margin)
    taps = (kernel[0], kernel[1], kernel[2], kernel[3])
    row_step, plane_step = 2 * columns, 2 * columns * rows
    for code in runs:
        sign = np.float32(1 - 2 * (code & 1))
        length, start = (code >> 1) & 63, (code >> 7) & 4095
        image, row = (code >> 19) // box, (code >> 19) % box
        ky = np.float32(row if row < (box + 1) // 2 else row - box)
        ax, ay, az = turned[image, 0, 0] * sign, turned[image, 0, 1] * sign, turned[image, 0, 2] * sign
        bx, by, bz = turned[image, 1, 0] * sign * ky, turned[image, 1, 1] * sign * ky, turned[image, 1, 2] * sign * ky
        for kx in range(start, start + length):
            target = order[row, kx]
            if target < 0:
                continue
            k = np.float32(kx)
            x, y, z = ax * k + bx, ay * k + by, az * k + bz
            ix, iy, iz = int(x + half), int(y + (middle + half)), int(z + (middle + half))
            wx = _tap_weights(x - np.float32(ix), taps)
            wy = _tap_weights(y - np.float32(iy - margin), taps)
            wz = _tap_weights(z - np.float32(iz - margin), taps)
            first = 2 * (((iz - 1) * rows + iy - 1) * columns + ix)
            re, im = gather_taps(spectrum, first, row_step, plane_step, wx, wy, wz)
            value = np.complex64(complex(re, im * sign))
            if real.shape[0] > 0:
                value = value * real[image, row, kx]
            if phase_x.shape[0] > 0:
                value = value * (phase_x[image, kx] * phase_y[image, row])
            slices[image, target] = value


@njit(nogil=True, cache=True, fastmath={"contract"})
@no_type_check
def insert_runs(  # noqa: C901, PLR0915  one loop: a call per coefficient would cost more than the work
    sums, shape, kernel, turned, runs, limits, spectra, weights, real, phase_x, phase_y, order, table
):
    """Add the coefficients of these runs, from their places `order[row, kx]` (negative: none), to the planes limits[0] … limits[1] − 1."""
    box, margin, rows, columns = shape[0], shape[1], shape[2], shape[3]
    half, middle = np.float32(0.5), np.float32(margin)
    taps = (kernel[0], kernel[1], kernel[2], kernel[3])
    row_step, plane_step = 4 * columns, 4 * columns * rows
    low, high = limits[0], limits[1]
    for code in runs:
        sign = np.float32(1 - 2 * (code & 1))
        length, start = (code >> 1) & 63, (code >> 7) & 4095
        image, row = (code >> 19) // box, (code >> 19) % box
        ky = np.float32(row if row < (box + 1) // 2 else row - box)
        ax, ay, az = turned[image, 0, 0] * sign, turned[image, 0, 1] * sign, turned[image, 0, 2] * sign
        bx, by, bz = turned[image, 1, 0] * sign * ky, turned[image, 1, 1] * sign * ky, turned[image, 1, 2] * sign * ky
        for kx in range(start, start + length):
            source = order[row, kx]
            if source < 0:
                continue
            k = np.float32(kx)
            x, y, z = ax * k + bx, ay * k + by, az * k + bz
            ix, iy, iz = int(x + half), int(y + (middle + half)), int(z + (middle + half))
            if iz + 1 < low or iz - 1 >= high:
                continue
            wx = _tap_weights(x - np.float32(ix), taps)
            wy = _tap_weights(y - np.float32(iy - margin), taps)
            wz = _tap_weights(z - np.float32(iz - margin), taps)
            share = table[row, kx]
            value = spectra[image, source] * share
            if real.shape[0] > 0:
                value = value * real[image, row, kx]
            if phase_x.shape[0] > 0:
                value = value * (phase_x[image, kx] * phase_y[image, row])
            numbers = (
                np.float32(value.real),
                np.float32(value.imag * sign),
                np.float32(weights[image, source] * share),
                np.float32(0),
            )
            first = 4 * (((iz - 1) * rows + iy - 1) * columns + ix)
            if iz - 1 >= low and iz + 1 < high:
                add_taps(sums, first, row_step, wx, wy, wz[0], numbers)
                add_taps(sums, first + plane_step, row_step, wx, wy, wz[1], numbers)
                add_taps(sums, first + 2 * plane_step, row_step, wx, wy, wz[2], numbers)
            else:
                if low <= iz - 1 < high:
                    add_taps(sums, first, row_step, wx, wy, wz[0], numbers)
                if low <= iz < high:
                    add_taps(sums, first + plane_step, row_step, wx, wy, wz[1], numbers)
                if low <= iz + 1 < high:
                    add_taps(sums, first + 2 * plane_step, row_step, wx, wy, wz[2], numbers)
