"""Maps turned and moved as rigid bodies."""

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_cube
from cryowalk.data import Volume
from cryowalk.fourier.grids import frequency_grid
from cryowalk.fourier.transform import resample, to_fourier, to_real

SLAB = 1 << 21


def sampled(volume: Volume, rotations: Float[Tensor, "n 3 3"], shifts: Float[Tensor, "n 3"]) -> Float[Tensor, "n z y x"]:
    """The maps V(Rᵀ(x − s)) by trilinear interpolation, zero outside the box; shifts in Å."""
    box = volume.voxels.shape[-1]
    axis = (torch.arange(box, dtype=volume.voxels.dtype, device=volume.voxels.device) - box // 2) * volume.voxel_size
    return _at(volume, _points(axis, axis), rotations, shifts).reshape(-1, box, box, box)


def _points(slab: Float[Tensor, " slab"], axis: Float[Tensor, " box"]) -> Float[Tensor, "points 3"]:
    z, y, x = torch.meshgrid(slab, axis, axis, indexing="ij")
    return torch.stack([x, y, z], dim=-1).reshape(-1, 3)


def _at(
    volume: Volume, points: Float[Tensor, "points 3"], rotations: Float[Tensor, "n 3 3"], shifts: Float[Tensor, "n 3"]
) -> Float[Tensor, "n points"]:
    box = volume.voxels.shape[-1]
    inside = (points - shifts[:, None]) @ rotations  # Rᵀ(x − s), as rows
    index = inside / volume.voxel_size + box // 2
    grid = (2 * index / (box - 1) - 1)[:, None, None]
    source = volume.voxels.expand(len(rotations), 1, box, box, box)
    return torch.nn.functional.grid_sample(source, grid, align_corners=True)[:, 0, 0, 0]


def moved(volume: Volume, rotation: Float[Tensor, "3 3"], shift: Float[Tensor, "3"]) -> Volume:
    """The map V(Rᵀ(x − s)) on the same grid; the shift (x, y, z) in Å.

    The map is interpolated linearly on a grid twice as fine, after dividing its transform by the sinc² of that interpolation, so that detail is
    kept nearly to Nyquist.

    Raises
    ------
    ShapeError
        If the map is not a cube.
    """
    box = require_cube("a map", tuple(volume.voxels.shape))
    fine = 2 * box
    spectrum = to_fourier(resample(volume.voxels, (fine, fine, fine)), dimensions=3)
    for frequency in frequency_grid((fine, fine, fine), pixel_size=1.0, like=volume.voxels):
        spectrum = spectrum / torch.sinc(frequency).square()
    source = Volume(voxels=to_real(spectrum, width=fine, dimensions=3), voxel_size=volume.voxel_size / 2)
    axis = (torch.arange(box, dtype=volume.voxels.dtype, device=volume.voxels.device) - box // 2) * volume.voxel_size
    turn, offset = rotation.to(volume.voxels)[None], shift.to(volume.voxels)[None]
    slabs = axis.split(max(1, SLAB // box**2))
    voxels = torch.cat([_at(source, _points(slab, axis), turn, offset)[0] for slab in slabs])
    return Volume(voxels=voxels.reshape(box, box, box), voxel_size=volume.voxel_size, origin=volume.origin)


def mirrored(volume: Volume) -> Volume:
    """The map V(−x): the other hand, by point inversion about the origin voxel."""
    voxels = volume.voxels.flip(-3, -2, -1)
    even = [axis for axis in (-3, -2, -1) if volume.voxels.shape[axis] % 2 == 0]
    voxels = voxels.roll([1] * len(even), dims=even) if even else voxels
    return Volume(voxels=voxels, voxel_size=volume.voxel_size, origin=volume.origin)
