"""Warping in one compiled pass; `warping.warp_reference` and `warping.add_warped_reference` are the readable forms.

A row is taken in runs over which every pixel reads from the same whole displacement, so that the points of a run lie side by side in memory.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryowalk.numerics.compiling import FAST, inlined, kernel

_LONGEST_RUN = 512  # pixels; within it float32 tells the place to 10⁻⁵


@inlined(FAST)
def _along(line: Any, place: float) -> Any:
    """The displacement at a column, of the quadratic p₀ + p₁c + p₂c² that a field is along a row."""
    return line[0] + place * (line[1] + line[2] * place)


@inlined(FAST)
def _is_level(line: Any, first: int, last: int) -> Any:
    """Whether the displacement has the same whole part from column `first` to `last`."""
    floor = np.floor(_along(line, first))
    if np.floor(_along(line, last)) != floor:
        return False
    if line[2] == 0.0:
        return True
    turn = -line[1] / (2 * line[2])
    return turn <= first or turn >= last or np.floor(_along(line, turn)) == floor


@inlined(FAST)
def _cubic_anywhere(image: Any, x: float, y: float) -> Any:
    """One pixel by cubic convolution; beyond an edge the edge's own pixels continue."""
    height, width = image.shape
    x = min(max(x, -1.0), width + 0.0)
    y = min(max(y, -1.0), height + 0.0)
    left, top = int(np.floor(x)), int(np.floor(y))
    t, s = np.float32(x - left), np.float32(y - top)
    total = np.float32(0)
    for i in range(4):
        line = min(max(top - 1 + i, 0), height - 1)
        along = _weight(s, i)
        for j in range(4):
            total += along * _weight(t, j) * image[line, min(max(left - 1 + j, 0), width - 1)]
    return total


@inlined(FAST)
def _weight(t: Any, point: int) -> Any:
    """The weight of the point at −1, 0, 1 or 2 for a place t between 0 and 1."""
    if point == 0:
        return ((np.float32(-0.5) * t + np.float32(1)) * t - np.float32(0.5)) * t
    if point == 1:
        return (np.float32(1.5) * t - np.float32(2.5)) * t * t + np.float32(1)
    if point == 2:
        return ((np.float32(-1.5) * t + np.float32(2)) * t + np.float32(0.5)) * t
    return (np.float32(0.5) * t - np.float32(0.5)) * t * t


@inlined(FAST)
def _cubic_run(  # noqa: PLR0913, PLR0917  compiled functions take no keywords
    p0: Any, p1: Any, p2: Any, p3: Any, t0: Any, t1: Any, t2: Any, s0: Any, s1: Any, s2: Any, result: Any
) -> None:
    """A run of pixels from four rows of points, the first one's at the start of each row; t and s are quadratics along the run."""
    for i in range(len(result)):
        f = np.float32(i)
        t, s = t0 + f * (t1 + t2 * f), s0 + f * (s1 + s2 * f)
        a = ((np.float32(-0.5) * t + np.float32(1)) * t - np.float32(0.5)) * t
        b = (np.float32(1.5) * t - np.float32(2.5)) * t * t + np.float32(1)
        d = (np.float32(0.5) * t - np.float32(0.5)) * t * t
        c = np.float32(1) - a - b - d
        e = ((np.float32(-0.5) * s + np.float32(1)) * s - np.float32(0.5)) * s
        k = (np.float32(1.5) * s - np.float32(2.5)) * s * s + np.float32(1)
        h = (np.float32(0.5) * s - np.float32(0.5)) * s * s
        g = np.float32(1) - e - k - h
        total = e * (a * p0[i] + b * p0[i + 1] + c * p0[i + 2] + d * p0[i + 3])
        total += k * (a * p1[i] + b * p1[i + 1] + c * p1[i + 2] + d * p1[i + 3])
        total += g * (a * p2[i] + b * p2[i + 1] + c * p2[i + 2] + d * p2[i + 3])
        total += h * (a * p3[i] + b * p3[i + 1] + c * p3[i + 2] + d * p3[i + 3])
        result[i] = total


@inlined(FAST)
def _lines(field: Any, row: int, size: Any, lines: Any) -> None:
    """The field along a row: for each axis the quadratic in the column."""
    height, width = size
    v = row / height - 0.5
    for axis in range(2):
        c = field[axis]
        constant, slope, bend = c[0] + v * (c[3] + c[4] * v), c[1] + c[5] * v, c[2]
        lines[axis, 0] = constant - 0.5 * slope + 0.25 * bend
        lines[axis, 1] = (slope - bend) / width
        lines[axis, 2] = bend / (width * width)


@inlined(FAST)
def _cubic_row(  # noqa: PLR0917  compiled functions take no keywords
    image: Any, field: Any, row: int, lines: Any, result: Any
) -> None:
    """One row by cubic convolution."""
    height, width = image.shape
    _lines(field, row, (height, width), lines)
    along_x, along_y = lines[0], lines[1]
    start = 0
    while start < width:
        stop = min(start + _LONGEST_RUN, width)
        while stop - start > 1 and not (_is_level(along_x, start, stop - 1) and _is_level(along_y, start, stop - 1)):
            stop = start + (stop - start) // 2
        dx, dy = _along(along_x, start), _along(along_y, start)
        far = height + width + 4.0
        whole_x = int(np.floor(min(max(dx, -far), far)))
        top = row + int(np.floor(min(max(dy, -far), far)))
        is_inside = top >= 1 and top + 2 < height
        first = min(max(start, 1 - whole_x), stop) if is_inside else stop
        last = max(min(stop, width - 2 - whole_x), first) if is_inside else stop
        for column in range(start, first):
            result[column] = _cubic_anywhere(image, column + _along(along_x, column), row + _along(along_y, column))
        if last > first:
            left, right = first + whole_x - 1, last + whole_x + 2
            _cubic_run(
                image[top - 1, left:right],
                image[top, left:right],
                image[top + 1, left:right],
                image[top + 2, left:right],
                np.float32(_along(along_x, first) - whole_x),
                np.float32(along_x[1] + 2 * along_x[2] * first),
                np.float32(along_x[2]),
                np.float32(_along(along_y, first) - (top - row)),
                np.float32(along_y[1] + 2 * along_y[2] * first),
                np.float32(along_y[2]),
                result[first:last],
            )
        for column in range(last, stop):
            result[column] = _cubic_anywhere(image, column + _along(along_x, column), row + _along(along_y, column))
        start = stop


@inlined(FAST)
def _linear_row(  # noqa: PLR0917  compiled functions take no keywords
    image: Any, field: Any, row: int, lines: Any, result: Any
) -> None:
    """One row by linear interpolation."""
    height, width = image.shape
    _lines(field, row, (height, width), lines)
    for column in range(width):
        x = min(max(column + _along(lines[0], column), 0.0), width - 1.0)
        y = min(max(row + _along(lines[1], column), 0.0), height - 1.0)
        left, top = min(int(x), width - 2), min(int(y), height - 2)
        t, s = np.float32(x - left), np.float32(y - top)
        upper = image[top, left] + t * (image[top, left + 1] - image[top, left])
        lower = image[top + 1, left] + t * (image[top + 1, left + 1] - image[top + 1, left])
        result[column] = upper + s * (lower - upper)


@inlined(FAST)
def _add(line: Any, factor: Any, result: Any) -> None:
    for column in range(len(line)):
        result[column] += factor * line[column]


@kernel(FAST)
def _warp_rows(  # noqa: PLR0917  compiled functions take no keywords
    images: Any, fields: Any, factors: Any, sums: Any, is_cubic: Any, first: int, last: int
) -> None:
    """Add rows `first` to `last` of the warped images, times their factors, to the sums."""
    line = np.empty(images.shape[2], dtype=np.float32)
    lines = np.empty((2, 3))
    for row in range(first, last):
        for image in range(images.shape[0]):
            if is_cubic:
                _cubic_row(images[image], fields[image], row, lines, line)
            else:
                _linear_row(images[image], fields[image], row, lines, line)
            for one in range(sums.shape[0]):
                factor = factors[one, image]
                if factor != 0:
                    _add(line, factor, sums[one, row])


def add_warped_compiled(
    images: "NDArray[np.float32]",
    fields: "NDArray[np.float64]",
    factors: "NDArray[np.float32]",
    sums: "NDArray[np.float32]",
    *,
    is_cubic: bool,
    threads: int,
) -> None:
    """Add the warped images `[n, h, w]`, times factors `[m, n]`, to the sums `[m, h, w]`."""
    height = images.shape[1]
    parts = max(1, min(threads, height))
    edges = [part * height // parts for part in range(parts + 1)]
    if parts == 1:
        _warp_rows(images, fields, factors, sums, is_cubic, 0, height)
        return
    with ThreadPoolExecutor(parts) as pool:
        pieces = [
            pool.submit(_warp_rows, images, fields, factors, sums, is_cubic, edges[part], edges[part + 1])
            for part in range(parts)
        ]
        for piece in pieces:
            piece.result()
