"""The map that a refinement starts from: brought to the images' box and pixel size, low-passed, and as strong as the images say."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_cube
from cryowalk.core.errors import InputError
from cryowalk.core.execution import Progress
from cryowalk.data import ParticleSet, Volume
from cryowalk.fourier.filters import low_pass
from cryowalk.fourier.transform import resample
from cryowalk.geometry.symmetry import symmetry_name, symmetry_operators

SAME_PIXEL = 1e-3  # relative difference of voxel sizes that is rounding of headers
SYMMETRIC = 0.6  # correlation of a map with its turned copies below which its symmetry is doubted
SLAB = 1 << 21  # voxels interpolated at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageGrid:
    """The box (pixels) and the pixel size (Å) that a map must have to be compared with images."""

    box: int
    pixel_size: float


def image_grid(particles: ParticleSet) -> ImageGrid:
    """The grid of the particles' images.

    Raises
    ------
    InputError
        If they have no images, or of several pixel sizes.
    """
    if particles.images is None:
        raise InputError("the particles have no images", fix="read them from a STAR file whose rlnImageName column names a stack")
    return ImageGrid(box=particles.images.image_shape[-1], pixel_size=particles.pixel_size)


def starting_map(volume: Volume, grid: ImageGrid, *, resolution: float, progress: Progress) -> Volume:
    """The reference on the images' grid, low-passed to `resolution` (Å); a change of grid is told.

    Raises
    ------
    InputError
        If the reference is constant or holds NaN.
    """
    box = require_cube("the reference", tuple(volume.voxels.shape))
    if not bool(torch.isfinite(volume.voxels).all()) or not bool(volume.voxels.max() > volume.voxels.min()):
        raise InputError("the reference is constant or holds NaN", fix="look at the map: cryowalk inspect FILE")
    finest = 2 * max(volume.voxel_size, grid.pixel_size)
    smooth = low_pass(
        volume.voxels.float(), resolution=max(resolution, finest), pixel_size=volume.voxel_size, dimensions=3, edge=2.0
    )
    is_same_pixel = abs(volume.voxel_size / grid.pixel_size - 1) < SAME_PIXEL
    if box == grid.box and is_same_pixel:
        return Volume(voxels=smooth, voxel_size=grid.pixel_size)
    progress.note(
        f"the reference ({box} voxels of {volume.voxel_size:.4g} Å) was brought to the images' grid ({grid.box} of {grid.pixel_size:.4g} Å)"
    )
    # Twice as fine: linear interpolation then blurs four times less.
    fine = resample(smooth, (2 * box, 2 * box, 2 * box))
    return on_grid(Volume(voxels=fine, voxel_size=(grid.pixel_size if is_same_pixel else volume.voxel_size) / 2), grid)


def whole_map(volume: Volume, grid: ImageGrid, *, progress: Progress) -> Volume:
    """The map on the images' grid with all its shells: as it is where it lies there; a change of grid is told.

    Raises
    ------
    InputError
        If the map is constant or holds NaN.
    """
    resolution = 2 * max(volume.voxel_size, grid.pixel_size)
    brought = starting_map(volume, grid, resolution=resolution, progress=progress)
    is_there = volume.voxels.shape[-1] == grid.box and abs(volume.voxel_size / grid.pixel_size - 1) < SAME_PIXEL
    return Volume(voxels=volume.voxels.float(), voxel_size=grid.pixel_size) if is_there else brought


def on_grid(volume: Volume, grid: ImageGrid) -> Volume:
    """The same map on another grid about the same origin voxel, by trilinear interpolation; zero outside the old box.

    It serves maps that are smooth on both grids.
    """
    old = volume.voxels.shape[-1]
    axis = (torch.arange(grid.box) - grid.box // 2) * (grid.pixel_size / volume.voxel_size) + old // 2
    place = (2 * axis / (old - 1) - 1).to(volume.voxels)
    source = volume.voxels[None, None]
    slabs = [_sampled(source, slab, place) for slab in place.split(max(1, SLAB // grid.box**2))]
    return Volume(voxels=torch.cat(slabs), voxel_size=grid.pixel_size)


def _sampled(source: Tensor, slab: Float[Tensor, " slab"], place: Float[Tensor, " n"]) -> Float[Tensor, "slab n n"]:
    z, y, x = torch.meshgrid(slab, place, place, indexing="ij")
    points = torch.stack([x, y, z], dim=-1)[None]
    return torch.nn.functional.grid_sample(source, points, align_corners=True)[0, 0]


def symmetry_fit(volume: Volume, symmetry: str) -> float:
    """The least correlation of a map with its copies turned by the operators of a point group; 1 for a map that has the symmetry exactly."""
    if symmetry_name(symmetry) == "C1":
        return 1.0
    box = volume.voxels.shape[-1]
    axis = ((torch.arange(box) - box // 2) * (2 / (box - 1))).to(volume.voxels)
    offset = (2 * (box // 2) / (box - 1)) - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], dim=-1).reshape(-1, 3)
    inside = (points.norm(dim=-1) <= 1 - 2 / box).to(volume.voxels)
    flat = _centred(volume.voxels.reshape(-1), inside)
    least = 1.0
    for operator in symmetry_operators(symmetry)[1:]:
        turned = torch.nn.functional.grid_sample(
            volume.voxels[None, None], (points @ operator.to(points) + offset).reshape(1, box, box, box, 3), align_corners=True
        )
        other = _centred(turned.reshape(-1), inside)
        norm = math.sqrt(float((flat @ flat) * (other @ other)))
        least = min(least, float(flat @ other) / norm if norm > 0 else 0.0)
    return least


def _centred(values: Float[Tensor, " n"], inside: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    return (values - (values * inside).sum() / inside.sum()) * inside


def tell_symmetry(volume: Volume, symmetry: str, progress: Progress) -> None:
    """Nothing; a reference that has not the symmetry that is to be imposed is told."""
    found = symmetry_fit(volume, symmetry)
    if found < SYMMETRIC:
        progress.note(
            f"the reference does not look {symmetry_name(symmetry)}: its least correlation with a turned copy is {found:.2f}. "
            "Its axes may lie elsewhere, or the particle is less symmetric; the refinement imposes it all the same"
        )
