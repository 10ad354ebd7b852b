"""Slices across the beam: the projected potential of a specimen between planes of equal distance, for the models of scattering."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_cube, require_positive
from cryowalk.data.pose import Pose
from cryowalk.data.volume import Volume
from cryowalk.fourier.filters import shift_images
from cryowalk.fourier.nufft import rotate_exactly


def slices_of_volume(volume: Volume, pose: Pose, *, slice_thickness: float) -> Float[Tensor, "n slices h w"]:
    """Slices ∫ V(Rᵀ x) dz of the volume in each pose, moved by its shift, value · Å, along +z, for `scattering.exit_wave`.

    The volume is turned without interpolation error (`fourier.nufft.rotate_exactly`), and each of its planes, one voxel thick, is shared
    between the slices that it lies in: their sum is the projection. The stack's middle is z = 0, the volume's origin voxel. `slice_thickness` in Å;
    the pixels are the voxels. Gradients reach the voxels.

    Raises
    ------
    ShapeError
        If the volume is not a cube.
    UsageError
        If the thickness is not above zero.
    """
    box = require_cube("volume", tuple(volume.voxels.shape))
    require_positive("slice thickness", slice_thickness, unit="Å")
    share = _shares(box, volume.voxel_size, slice_thickness).to(volume.voxels)
    stacks = []
    for rotation, shift in zip(pose.lab_from_particle, pose.shift, strict=True):
        turned = rotate_exactly(volume, rotation[None])[0]
        slices = (share @ turned.reshape(box, -1)).reshape(-1, box, box)
        stacks.append(shift_images(slices, shift, pixel_size=volume.voxel_size) if bool(shift.any()) else slices)
    return torch.stack(stacks) if stacks else volume.voxels.new_zeros(0, len(share), box, box)


def _shares(box: int, voxel_size: float, thickness: float) -> Float[Tensor, "slices z"]:
    """How much (Å) of each of the volume's planes lies in each slice; slices are symmetric about plane box // 2 and hold all planes."""
    count = max(1, math.ceil((2 * (box // 2) + 1) * voxel_size / thickness - 1e-9))
    plane = (torch.arange(box, dtype=torch.float64) - box // 2) * voxel_size
    middle = (torch.arange(count, dtype=torch.float64) - (count - 1) / 2)[:, None] * thickness
    top = torch.minimum(plane + voxel_size / 2, middle + thickness / 2)
    bottom = torch.maximum(plane - voxel_size / 2, middle - thickness / 2)
    return (top - bottom).clamp_min(0)
