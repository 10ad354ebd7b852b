"""Warping in one compiled pass; `warping.warp_reference` is the readable form."""

import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray


def _compiled(function: Callable[..., None]) -> Any:
    """The function as machine code, without the checker of argument types that tests put around it."""
    fast = {"contract", "arcp", "nsz", "reassoc"}
    return numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=fast)(inspect.unwrap(function))


@_compiled
def _cubic(  # noqa: PLR0917  compiled functions take no keywords
    image: Any, field: Any, result: Any, first: int, last: int
) -> None:
    """Rows `first` to `last` by cubic convolution."""
    height, width = image.shape
    for row in range(first, last):
        v = row / height - 0.5
        for column in range(width):
            u = column / width - 0.5
            x = column + field[0, 0] + u * (field[0, 1] + field[0, 2] * u + field[0, 5] * v) + v * (field[0, 3] + field[0, 4] * v)
            y = row + field[1, 0] + u * (field[1, 1] + field[1, 2] * u + field[1, 5] * v) + v * (field[1, 3] + field[1, 4] * v)
            x = min(max(x, -1.0), width + 0.0)
            y = min(max(y, -1.0), height + 0.0)
            left, top = int(np.floor(x)), int(np.floor(y))
            t, s = np.float32(x - left), np.float32(y - top)
            a = ((np.float32(-0.5) * t + np.float32(1)) * t - np.float32(0.5)) * t
            b = (np.float32(1.5) * t - np.float32(2.5)) * t * t + np.float32(1)
            d = (np.float32(0.5) * t - np.float32(0.5)) * t * t
            c = np.float32(1) - a - b - d
            e = ((np.float32(-0.5) * s + np.float32(1)) * s - np.float32(0.5)) * s
            f = (np.float32(1.5) * s - np.float32(2.5)) * s * s + np.float32(1)
            h = (np.float32(0.5) * s - np.float32(0.5)) * s * s
            g = np.float32(1) - e - f - h
            if left >= 1 and left < width - 2 and top >= 1 and top < height - 2:
                p0, p1, p2, p3 = image[top - 1], image[top], image[top + 1], image[top + 2]
                q = left
                total = e * (a * p0[q - 1] + b * p0[q] + c * p0[q + 1] + d * p0[q + 2])
                total += f * (a * p1[q - 1] + b * p1[q] + c * p1[q + 1] + d * p1[q + 2])
                total += g * (a * p2[q - 1] + b * p2[q] + c * p2[q + 1] + d * p2[q + 2])
                total += h * (a * p3[q - 1] + b * p3[q] + c * p3[q + 1] + d * p3[q + 2])
            else:
                total = np.float32(0)
                for i in range(4):
                    line = min(max(top - 1 + i, 0), height - 1)
                    along = e if i == 0 else (f if i == 1 else (g if i == 2 else h))
                    for j in range(4):
                        weight = a if j == 0 else (b if j == 1 else (c if j == 2 else d))
                        total += along * weight * image[line, min(max(left - 1 + j, 0), width - 1)]
            result[row, column] = total


@_compiled
def _linear(  # noqa: PLR0917  compiled functions take no keywords
    image: Any, field: Any, result: Any, first: int, last: int
) -> None:
    """Rows `first` to `last` by linear interpolation."""
    height, width = image.shape
    for row in range(first, last):
        v = row / height - 0.5
        for column in range(width):
            u = column / width - 0.5
            x = column + field[0, 0] + u * (field[0, 1] + field[0, 2] * u + field[0, 5] * v) + v * (field[0, 3] + field[0, 4] * v)
            y = row + field[1, 0] + u * (field[1, 1] + field[1, 2] * u + field[1, 5] * v) + v * (field[1, 3] + field[1, 4] * v)
            x = min(max(x, 0.0), width - 1.0)
            y = min(max(y, 0.0), height - 1.0)
            left, top = min(int(x), width - 2), min(int(y), height - 2)
            t, s = np.float32(x - left), np.float32(y - top)
            upper = image[top, left] + t * (image[top, left + 1] - image[top, left])
            lower = image[top + 1, left] + t * (image[top + 1, left + 1] - image[top + 1, left])
            result[row, column] = upper + s * (lower - upper)


def warp_compiled(
    image: "NDArray[np.float32]", field: "NDArray[np.float64]", result: "NDArray[np.float32]", *, is_cubic: bool, threads: int
) -> None:
    """Write the warped image into `result`."""
    kernel = _cubic if is_cubic else _linear
    height = len(image)
    parts = max(1, min(threads, height))
    edges = [part * height // parts for part in range(parts + 1)]
    if parts == 1:
        kernel(image, field, result, 0, height)
        return
    with ThreadPoolExecutor(parts) as pool:
        pieces = [pool.submit(kernel, image, field, result, edges[part], edges[part + 1]) for part in range(parts)]
        for piece in pieces:
            piece.result()
