"""A smooth warp of an image: every pixel moved by its own displacement, by a windowed sinc along one axis after the other.

It makes movies, exactly; `warping` reads them back, faster and with four points an axis, at places that a few coefficients tell.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.numerics.compiling import kernel

TAPS = 12
_PHASES = 512  # positions between two pixels at which the taps are tabulated
_KAISER = 4.0  # the window’s β with the least error for white noise up to 0.8 of Nyquist, 0.8 % of it at half a pixel


def warp(image: Float[Tensor, "h w"], displacement: Float[Tensor, "2 h w"]) -> Float[Tensor, "h w"]:
    """The image with what was at x moved to x + d, d = (x, y) in pixels; what would come from outside comes from the other side.

    Value at x of the image at x − d(x), for displacements that vary slowly (by far less than a pixel from pixel to pixel). A Kaiser-windowed sinc of twelve taps along x,
    then along y, each tap's weights normalised to 1: to one per cent for white noise up to 0.8 of Nyquist, and exact for whole pixels. On the CPU, without gradients; the dtype is the image's.

    Raises
    ------
    ValueError
        If a displacement is not finite.
    """
    if not bool(torch.isfinite(displacement).all()):
        raise ValueError("displacements must be finite")
    source = np.ascontiguousarray(image.detach().cpu().numpy())
    moves = np.ascontiguousarray(displacement.detach().cpu().to(torch.float32).numpy())
    middle, result = np.empty_like(source), np.empty_like(source)
    _in_threads(_along_rows, source, moves[0], middle)
    _in_threads(_along_columns, middle, moves[1], result)
    return torch.from_numpy(result).to(image.device)


@lru_cache(maxsize=1)
def _table() -> NDArray[np.float32]:
    """The weights of the taps at each position between two pixels, `[phases + 1, taps]`."""
    fraction = np.arange(_PHASES + 1)[:, None] / _PHASES
    offset = np.arange(TAPS) - (TAPS // 2 - 1) - fraction
    window = np.i0(_KAISER * np.sqrt(np.clip(1 - (offset / (TAPS / 2)) ** 2, 0, None))) / np.i0(_KAISER)
    weights = np.sinc(offset) * window
    table: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return table


@kernel({"contract", "reassoc", "nsz"})
def _along_rows(source: Any, move: Any, table: Any, result: Any, first: int, last: int) -> None:  # noqa: PLR0917
    """Rows `first` to `last` of the result: each pixel from the taps about its place in the same row."""
    width, taps = source.shape[1], table.shape[1]
    phases = table.shape[0] - 1
    for row in range(first, last):
        for column in range(width):
            place = column - move[row, column]
            base = math.floor(place)
            phase = int((place - base) * phases + 0.5)
            start = base - (taps // 2 - 1)
            total = 0.0
            if start >= 0 and start + taps <= width:
                for tap in range(taps):
                    total += table[phase, tap] * source[row, start + tap]
            else:
                for tap in range(taps):
                    total += table[phase, tap] * source[row, (start + tap) % width]
            result[row, column] = total


@kernel({"contract", "reassoc", "nsz"})
def _along_columns(source: Any, move: Any, table: Any, result: Any, first: int, last: int) -> None:  # noqa: PLR0917
    """Rows `first` to `last` of the result: each pixel from the taps about its place in the same column."""
    height, width, taps = source.shape[0], source.shape[1], table.shape[1]
    phases = table.shape[0] - 1
    for row in range(first, last):
        for column in range(width):
            place = row - move[row, column]
            base = math.floor(place)
            phase = int((place - base) * phases + 0.5)
            start = base - (taps // 2 - 1)
            total = 0.0
            for tap in range(taps):
                total += table[phase, tap] * source[(start + tap) % height, column]
            result[row, column] = total


def _in_threads(work: Any, source: Any, move: Any, result: Any) -> None:
    """The work on all rows, shared between torch's number of threads."""
    rows, parts = len(result), max(1, torch.get_num_threads())
    with ThreadPoolExecutor(parts) as pool:
        edges = [part * rows // parts for part in range(parts + 1)]
        pieces = [pool.submit(work, source, move, _table(), result, first, last) for first, last in pairwise(edges)]
        for piece in pieces:
            piece.result()
