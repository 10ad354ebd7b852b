"""The contrast transfer function in one compiled pass: phases in float64, reduced to one turn, and a polynomial for the sine."""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryowalk.numerics.compiling import FAST, kernel

_TURN = 1 / (2 * math.pi)
# Taylor coefficients of sin(2π t) / t in t²; on |t| ≤ 1/4 the remainder of nine terms is below 3e-14.
_SINE = tuple((-1) ** n * (2 * math.pi) ** (2 * n + 1) / math.factorial(2 * n + 1) for n in range(10))
_C0, _C1, _C2, _C3, _C4, _C5, _C6, _C7, _C8, _C9 = _SINE


@kernel(FAST)
def _fill(  # noqa: PLR0913, PLR0917  compiled functions take no keywords
    columns: Any, quartic: float, offset: Any, kx: Any, ky: Any, result: Any, first: int, last: int
) -> None:
    """Rows `first` to `last` of `result`, one an image; see `fill_contrast_transfer`."""
    for image in range(first, last):
        across, along, diagonal = columns[image, 0] * _TURN, columns[image, 1] * _TURN, columns[image, 2] * _TURN
        constant, envelope, scale = columns[image, 3] * _TURN, columns[image, 4], columns[image, 5]
        decay = scale * np.exp(envelope * kx * kx)  # the envelope is a product of one along x and one along y
        for row in range(ky.shape[0]):
            y = ky[row]
            amplitude = math.exp(envelope * y * y)
            by_row, slope = along * y * y + constant, diagonal * y
            extra = offset[min(row, offset.shape[0] - 1)]
            for column in range(kx.shape[0]):
                x = kx[column]
                squared = x * x + y * y
                turns = by_row + x * (across * x + slope) + quartic * _TURN * squared * squared + extra[column]
                turns -= np.rint(turns)
                # sin(2πt) is odd about ½ and even about ¼: fold t into |t| ≤ ¼.
                folded = turns - 2 * max(turns - 0.25, 0.0) - 2 * min(turns + 0.25, 0.0)
                t = folded * folded
                sine = _C9
                sine = sine * t + _C8
                sine = sine * t + _C7
                sine = sine * t + _C6
                sine = sine * t + _C5
                sine = sine * t + _C4
                sine = sine * t + _C3
                sine = sine * t + _C2
                sine = sine * t + _C1
                sine = sine * t + _C0
                result[image, row, column] = amplitude * decay[column] * folded * sine


def fill_contrast_transfer(
    columns: "NDArray[np.float64]",
    *,
    quartic: float,
    offset: "NDArray[np.float64]",
    kx: "NDArray[np.float64]",
    ky: "NDArray[np.float64]",
    result: "NDArray[np.floating[Any]]",
    threads: int,
) -> None:
    """Write each image's transfer function into `result` `[images, h, w // 2 + 1]`.

    `columns` holds an image's factors of kx², ky², kx·ky, the constant phase, −B/4 and the scale; `quartic` is the factor of k⁴.
    `offset` is a phase that all images share, rad: one row for each ky, or a single row that holds for all.
    """
    turns = offset * _TURN
    count = len(columns)
    parts = min(threads, count)
    if parts <= 1:
        _fill(columns, quartic, turns, kx, ky, result, 0, count)
        return
    with ThreadPoolExecutor(parts) as pool:
        pieces = [
            pool.submit(_fill, columns, quartic, turns, kx, ky, result, part * count // parts, (part + 1) * count // parts)
            for part in range(parts)
        ]
        for piece in pieces:
            piece.result()
