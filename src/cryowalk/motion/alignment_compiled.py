"""Sums over spectra that alignment needs, in one compiled pass; `alignment.moments_reference` is the readable form."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryowalk.numerics.compiling import FAST, kernel


@kernel(FAST)
def _sum_rows(  # noqa: PLR0913, PLR0917  compiled functions take no keywords, and no structs without cost
    spectra: Any, weight: Any, kx: Any, ky: Any, along_x: Any, along_y: Any, sums: Any, first: int, last: int
) -> None:
    """Add the moments of rows `first` to `last` to `sums` `[frames, 5]`."""
    frames, columns = spectra.shape[0], spectra.shape[2]
    aligned = np.empty((frames, columns), dtype=np.complex64)
    for row in range(first, last):
        total = np.zeros(columns, dtype=np.complex64)
        for frame in range(frames):
            factor = along_y[frame, row]
            for column in range(columns):
                value = spectra[frame, row, column] * (factor * along_x[frame, column])
                aligned[frame, column] = value
                total[column] += value
        y = ky[row]
        for frame in range(frames):
            gx, gy, hxx, hxy, hyy = 0.0, 0.0, 0.0, 0.0, 0.0
            for column in range(columns):
                value = aligned[frame, column]
                other = total[column] - value
                w = weight[row, column]
                real = w * (value.real * other.real + value.imag * other.imag)
                imaginary = w * (value.imag * other.real - value.real * other.imag)
                x = kx[column]
                gx -= imaginary * x
                gy -= imaginary
                hxx += real * x * x
                hxy += real * x
                hyy += real
            sums[frame, 0] += gx
            sums[frame, 1] += gy * y
            sums[frame, 2] += hxx
            sums[frame, 3] += hxy * y
            sums[frame, 4] += hyy * y * y


def moments_compiled(
    spectra: "NDArray[np.complex64]",
    weight: "NDArray[np.float32]",
    shift: "NDArray[np.float64]",
    *,
    kx: "NDArray[np.float64]",
    ky: "NDArray[np.float64]",
    threads: int,
) -> "NDArray[np.float64]":
    """The five sums of `alignment.moments` for each frame, `[frames, 5]`."""
    along_x = np.exp(2j * np.pi * shift[:, :1] * kx).astype(np.complex64)
    along_y = np.exp(2j * np.pi * shift[:, 1:] * ky).astype(np.complex64)
    rows = spectra.shape[1]
    parts = max(1, min(threads, rows))
    sums = np.zeros((parts, len(spectra), 5))
    edges = [part * rows // parts for part in range(parts + 1)]

    def part_of(part: int) -> None:
        _sum_rows(spectra, weight, kx.astype(np.float32), ky, along_x, along_y, sums[part], edges[part], edges[part + 1])

    if parts == 1:
        part_of(0)
    else:
        with ThreadPoolExecutor(parts) as pool:
            for piece in [pool.submit(part_of, part) for part in range(parts)]:
                piece.result()
    total: NDArray[np.float64] = sums.sum(axis=0)
    return total
