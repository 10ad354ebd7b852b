"""Turned copies of images in Fourier space, on the half disk: the two-dimensional form of central slices.

A class average is a 2D map; what an image shows of it is its transform, turned. Reading uses 3 × 3 taps of the padded transform, insertion is its
transpose; both come compiled for a CPU and written out for any device.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from cryowalk.core.errors import ShapeError
from cryowalk.fourier.disk import half_disk
from cryowalk.fourier.padded import PaddedGrid, padded_grid
from cryowalk.fourier.slices import is_compiled_for
from cryowalk.fourier.transform import complex_transform, resize

PADDING = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FourierPlanes:
    """Images made ready for turned copies: their gridding-corrected, padded transforms with the origin in the middle, scaled as the images' own."""

    coefficients: Complex[Tensor, "models ky kx"]
    grid: PaddedGrid


def prepare_planes(images: Float[Tensor, "models h w"], *, padding: float = PADDING) -> FourierPlanes:
    """The transforms of square images, ready for `turned_rows`.

    Raises
    ------
    ShapeError
        If the images are not square.
    """
    box = images.shape[-1]
    if images.shape[-2] != box:
        raise ShapeError(f"images to turn must be square: got {images.shape[-2]} × {box}")
    grid = padded_grid(box, padding=padding)
    factor = grid.correction(purpose="interpolation", like=images)
    corrected = images * factor[:, None] * factor * (grid.size / box)
    full = complex_transform(
        resize(corrected, (grid.size, grid.size)).to(images.dtype.to_complex()), dimensions=2, direction="forward"
    )
    index = torch.arange(-grid.margin, grid.margin + 1, device=images.device) % grid.size
    return FourierPlanes(coefficients=full[:, index][:, :, index].contiguous(), grid=grid)


def turned_rows(
    planes: FourierPlanes, model: Int[Tensor, " n"], lab_from_particle: Float[Tensor, "n 3 3"], *, count: int
) -> Complex[Tensor, "n K"]:
    """The first `count` coefficients of the half disk of images `model`, turned by the in-plane part of these rotations."""
    values, grid = planes.coefficients, planes.grid
    steps = _steps(lab_from_particle, grid, like=values)
    if is_compiled_for(values, lab_from_particle):
        from cryowalk.fourier import plane_kernels

        kx, ky = _frequencies(grid.box, count)
        rows = np.empty((len(model), count), dtype=np.complex64)
        kernel = np.array(grid.kernel.coefficients, dtype=np.float32)
        plane_kernels.read(values.numpy(), model.numpy(), steps.numpy(), kx, ky, kernel, rows)
        return torch.from_numpy(rows)
    rows_of = torch.zeros(len(model), count, dtype=values.dtype, device=values.device)
    flat = values.reshape(-1)
    for index, weight in _taps(grid, model, steps, count=count):
        rows_of = rows_of + flat[index] * weight
    return rows_of


def insert_rows(
    numerator: Complex[Tensor, "n K"],
    denominator: Float[Tensor, "n K"],
    model: Int[Tensor, " n"],
    lab_from_particle: Float[Tensor, "n 3 3"],
    *,
    sums: Float[Tensor, "models ky kx 3"],
    grid: PaddedGrid,
) -> None:
    """Add Σ φ · numerator and Σ φ · denominator to sums (real, imaginary, weight) in place: the transpose of `turned_rows`."""
    count = numerator.shape[1]
    steps = _steps(lab_from_particle, grid, like=numerator)
    if is_compiled_for(sums, numerator, denominator):
        from cryowalk.fourier import plane_kernels

        kx, ky = _frequencies(grid.box, count)
        kernel = np.array(grid.kernel.coefficients, dtype=np.float32)
        values = numerator.resolve_conj().contiguous().numpy()
        plane_kernels.add(sums.numpy(), model.numpy(), steps.numpy(), kx, ky, kernel, values, denominator.contiguous().numpy())
        return
    parts = torch.stack((numerator.real, numerator.imag, denominator), dim=-1)
    flat = sums.view(-1, 3)
    for index, weight in _taps(grid, model, steps, count=count):
        flat.index_add_(0, index.reshape(-1), (parts * weight[..., None]).reshape(-1, 3))


def _steps(lab_from_particle: Tensor, grid: PaddedGrid, *, like: Tensor) -> Float[Tensor, "n 2 2"]:
    """The padded grid's steps (x, y) per step of kx and of ky: rows times R, so that a point is Rᵀk."""
    real = like.real if like.is_complex() else like
    return (lab_from_particle[:, :2, :2].to(real) * grid.ratio).contiguous()


def _frequencies(box: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    disk = half_disk(box)
    return disk.kx[:count].to(torch.float32).numpy(), disk.ky[:count].to(torch.float32).numpy()


def _taps(grid: PaddedGrid, model: Tensor, steps: Tensor, *, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Index and weight `[n, K]` of each of the nine taps."""
    disk = half_disk(grid.box, device=steps.device)
    points = torch.stack((disk.kx[:count], disk.ky[:count]), dim=-1).to(steps.dtype)
    place = points @ steps
    nearest = torch.floor(place + 0.5)
    along_x, along_y = (grid.kernel.weights(offset) for offset in (place - nearest).unbind(-1))
    x, y = nearest.to(torch.int64).unbind(-1)
    side = 2 * grid.margin + 1
    first = model.to(steps.device)[:, None] * (side * side) + (y + grid.margin) * side + x + grid.margin
    for step_y, weight_y in zip((-1, 0, 1), along_y, strict=True):
        for step_x, weight_x in zip((-1, 0, 1), along_x, strict=True):
            yield first + step_y * side + step_x, weight_y * weight_x
