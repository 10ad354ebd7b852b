"""A weight of |k| applied in one compiled pass; `dose.add_weighted_reference` is the readable form."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryowalk.numerics.compiling import FAST, kernel


@kernel(FAST)
def _add_rows(  # noqa: PLR0917  compiled functions take no keywords
    spectrum: Any, line: Any, total: Any, width: int, spacing: float, first: int, last: int
) -> None:
    """Rows `first` to `last`."""
    height, columns = spectrum.shape
    scale = 1 / spacing
    for row in range(first, last):
        y = (row if row < (height + 1) // 2 else row - height) / height
        for column in range(columns):
            x = column / width
            place = np.sqrt(x * x + y * y) * scale
            left = min(int(place), len(line) - 2)
            weight = line[left] + np.float32(place - left) * (line[left + 1] - line[left])
            total[row, column] += weight * spectrum[row, column]


def add_weighted_compiled(
    spectrum: "NDArray[np.complex64]",
    line: "NDArray[np.float32]",
    total: "NDArray[np.complex64]",
    *,
    width: int,
    spacing: float,
    threads: int,
) -> None:
    """Add the spectrum times its weights to the total."""
    height = len(spectrum)
    parts = max(1, min(threads, height))
    edges = [part * height // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(parts) as pool:
        for piece in [
            pool.submit(_add_rows, spectrum, line, total, width, spacing, edges[part], edges[part + 1]) for part in range(parts)
        ]:
            piece.result()
