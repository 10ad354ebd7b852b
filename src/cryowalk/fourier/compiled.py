"""Central slices on a CPU: the same sums as `slices.extract_by_definition` and `insert_by_definition`, compiled and ordered for the cache.

A slice is a thin sheet through a spectrum that is larger than the cache, so nearly every tap of an image taken alone waits for memory.
The rows of a whole batch of images are therefore cut into short runs, the runs are sorted by the tile of the spectrum that they lie in, and
one tile after the other is served. Insertion gives each thread its own planes of the spectrum; a voxel's additions happen in the order of
the sorted runs, whatever the number of threads.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from cryowalk.fourier.compiled_kernels import RUN, TILE, counting_sort, cut_rows, extract_runs, insert_runs
from cryowalk.fourier.filters import unit_phase
from cryowalk.fourier.grids import frequency_grid
from cryowalk.fourier.padded import PaddedGrid, disk_reach

BATCH = 512  # images that are sorted together

Array = Shaped[np.ndarray, "..."]


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """What images are multiplied by on the way: a real factor `[n, box, half]` and the two halves of a shift's phases `[n, half]`, `[n, box]`."""

    real: Tensor | None = None
    phase_x: Tensor | None = None
    phase_y: Tensor | None = None

    @staticmethod
    def of(factor: Tensor | None, shift: Tensor | None, *, box: int, pixel_size: float) -> "Factors":
        """The factors for a real one and a shift (x, y) in Å by which the images move."""
        if shift is None:
            return Factors(real=factor)
        kx, ky = frequency_grid((box, box), pixel_size=pixel_size, dtype=torch.float32)
        moved = shift.detach().to(torch.float32)
        x, y = (unit_phase(moved[:, i, None] * k) for i, k in enumerate((kx, ky[:, 0])))
        return Factors(real=factor, phase_x=x, phase_y=y)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the coefficients of an image stand in its row: `order[row, kx]` (negative: nowhere), of `width` places; none lie beyond `reach`."""

    order: Array
    width: int
    reach: int

    @staticmethod
    @lru_cache(maxsize=8)
    def of_half_spectrum(box: int) -> "Layout":
        """Half spectra, row after row."""
        half = box // 2 + 1
        return Layout(order=np.arange(box * half, dtype=np.int32).reshape(box, half), width=box * half, reach=disk_reach(box))

    @staticmethod
    def of_places(box: int, place: Tensor, reach: int) -> "Layout":
        """Rows that hold only the coefficients at these places of the flattened half spectrum, in this order."""
        order = np.full(box * (box // 2 + 1), -1, dtype=np.int32)
        order[place.cpu().numpy()] = np.arange(len(place), dtype=np.int32)
        return Layout(order=order.reshape(box, -1), width=len(place), reach=reach)


def extract(coefficients: Tensor, grid: PaddedGrid, rotations: Tensor, *, factors: Factors, layout: Layout) -> Tensor:
    """The slices `[n, width]`, times the factors."""
    count = rotations.shape[0]
    slices = np.zeros((count, layout.width), dtype=np.complex64)
    spectrum = torch.view_as_real(coefficients.contiguous()).reshape(-1).numpy()
    turned = _in_plane(rotations, grid)
    shape, kernel = _shape(grid, layout), _kernel(grid)
    for start in range(0, count, BATCH):
        part = slice(start, min(start + BATCH, count))
        extra = _as_arrays(factors, part)
        runs, _ = _sorted_runs(turned[part], grid, layout)
        pieces = _threads()
        _in_parallel(
            [
                (extract_runs, (spectrum, shape, kernel, turned[part], runs[first:last], *extra, layout.order, slices[part]))
                for first, last in _even_parts(runs.shape[0], pieces)
            ]
        )
    return torch.from_numpy(slices)


class Inserted(NamedTuple):
    """What is inserted: spectra and weights `[n, width]` in a layout, factors, and a table `[box, half]` that multiplies all of them."""

    spectra: Tensor
    weights: Tensor
    factors: Factors
    layout: Layout
    table: Tensor


def insert(sums: Tensor, grid: PaddedGrid, rotations: Tensor, inserted: Inserted) -> None:
    """Add spectra · factors · table and weights · table, in place, to `sums` `[kz, ky, kx, 4]` (real, imaginary, weight, unused)."""
    spectra, weights, factors, layout, table = inserted
    count = rotations.shape[0]
    total = sums.reshape(-1).numpy()
    turned = _in_plane(rotations, grid)
    shape, kernel = _shape(grid, layout), _kernel(grid)
    values, shares = _plain(spectra), table.numpy()
    for start in range(0, count, BATCH):
        part = slice(start, min(start + BATCH, count))
        extra = _as_arrays(factors, part)
        density = _plain(weights[part] if weights.shape[0] == count else weights.expand(count, *weights.shape[1:])[part])
        runs, layers = _sorted_runs(turned[part], grid, layout)
        calls = []
        for low, high, first, last in _slabs(layers, _threads(), grid):
            limits = np.array([low, high], dtype=np.int64)
            images = (values[part], density, *extra, layout.order, shares)
            calls.append((insert_runs, (total, shape, kernel, turned[part], runs[first:last], limits, *images)))
        _in_parallel(calls)


def _plain(tensor: Tensor) -> Array:
    return tensor.detach().resolve_conj().contiguous().numpy()


def _in_plane(rotations: Tensor, grid: PaddedGrid) -> Array:
    """The padded grid's steps (x, y, z) per step of kx and of ky, `[n, 2, 3]`."""
    return (rotations.detach().to(torch.float32)[:, :2, :] * grid.ratio).contiguous().numpy()


def _shape(grid: PaddedGrid, layout: Layout) -> Array:
    return np.array([grid.box, grid.margin, grid.shape[1], grid.shape[2], layout.reach], dtype=np.int64)


def _kernel(grid: PaddedGrid) -> Array:
    return np.array(grid.kernel.coefficients, dtype=np.float32)


def _as_arrays(factors: Factors, part: slice) -> tuple[Array, Array, Array]:
    """The factors of some images; an absent one is an empty array."""
    real = np.zeros((0, 0, 0), np.float32) if factors.real is None else _plain(factors.real[part])
    if factors.phase_x is None or factors.phase_y is None:
        return real, np.zeros((0, 0), np.complex64), np.zeros((0, 0), np.complex64)
    return real, _plain(factors.phase_x[part]), _plain(factors.phase_y[part])


def _threads() -> int:
    return torch.get_num_threads()


def _in_parallel(calls: list[tuple[Any, tuple[Any, ...]]]) -> None:
    """Do the calls, which release the interpreter's lock, at the same time."""
    if len(calls) == 1:
        calls[0][0](*calls[0][1])
        return
    with ThreadPoolExecutor(max_workers=len(calls)) as pool:
        for future in [pool.submit(function, *arguments) for function, arguments in calls]:
            future.result()


def _even_parts(count: int, pieces: int) -> list[tuple[int, int]]:
    edges = [count * i // pieces for i in range(pieces + 1)]
    return [(a, b) for a, b in pairwise(edges) if b > a]


def _sorted_runs(turned: Array, grid: PaddedGrid, layout: Layout) -> tuple[Array, Array]:
    """The runs of all rows sorted by tile, and how many lie before each layer of tiles along z."""
    shape = _shape(grid, layout)
    rows = min(grid.box, 2 * layout.reach + 1)
    most = turned.shape[0] * rows * (math.ceil((layout.reach + 1) / RUN) + 2)
    parts = _even_parts(turned.shape[0], _threads())
    per_image = most // turned.shape[0]
    runs, tiles = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int32)
    ends = np.zeros(len(parts), dtype=np.int64)
    spans = [slice(first * per_image, last * per_image) for first, last in parts]
    _in_parallel(
        [
            (cut_rows, (turned, shape, np.array([first, last]), runs[span], tiles[span], ends[i : i + 1]))
            for i, ((first, last), span) in enumerate(zip(parts, spans, strict=True))
        ]
    )
    runs = np.concatenate([runs[span][:end] for span, end in zip(spans, ends, strict=True)])
    tiles = np.concatenate([tiles[span][:end] for span, end in zip(spans, ends, strict=True)])
    across = _tiles_across(grid.shape[1])
    layer_size = across * _tiles_across(grid.shape[2])
    ordered, starts = np.empty_like(runs), np.zeros(across * layer_size + 1, dtype=np.int64)
    counting_sort(runs, tiles, starts, ordered)
    return ordered, starts[::layer_size]


def _tiles_across(length: int) -> int:
    return -(-length // TILE)


def _slabs(layers: Array, threads: int, grid: PaddedGrid) -> list[tuple[int, int, int, int]]:
    """For each thread the planes [low, high) that it owns and the sorted runs [first, last) that may reach them.

    The planes are cut between layers of tiles so that each thread has about the same number of runs.
    """
    count = layers.shape[0] - 1
    cuts = [0]
    for i in range(1, threads):
        cuts.append(max(cuts[-1], int(np.argmin(np.abs(layers - layers[-1] * i / threads)))))
    cuts.append(count)
    slabs = []
    for low, high in pairwise(cuts):
        if high > low:
            # A run is at most RUN steps long and its middle names its tile: it reaches no farther than the neighbouring layers.
            reach = -(-math.ceil(RUN * grid.ratio * grid.stretch / 2 + 3) // TILE)
            first, last = layers[max(low - reach, 0)], layers[min(high + reach, count)]
            slabs.append((low * TILE, min(high * TILE, grid.shape[0]), int(first), int(last)))
    return slabs
