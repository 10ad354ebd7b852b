"""Slices across the beam: the projected potential of a specimen between planes of equal distance, for the models of scattering."""

import math
import warnings
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_cube, require_positive
from cryowalk.core.errors import CryowalkWarning
from cryowalk.data.atoms import Atoms
from cryowalk.data.pose import Pose
from cryowalk.data.volume import Volume
from cryowalk.fourier.filters import shift_images
from cryowalk.fourier.nufft import rotate_exactly
from cryowalk.microscope.form_factors import FormFactors
from cryowalk.microscope.specimen import projected_slices


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


def slices_of_atoms(
    atoms: Atoms,
    *,
    size: tuple[int, int],
    pixel_size: float,
    slice_thickness: float,
    thickness: float | None = None,
    form_factors: FormFactors = "peng",
) -> Iterator[Float[Tensor, "h w"]]:
    """One slice of projected potential after the other, V Å, along +z, of atoms in the lab frame, for `scattering.exit_wave`.

    Positions (Å): x, y from the field's origin pixel, z from the middle of the specimen. Each atom counts whole in the slice of its centre (thin slices
    of atoms with a B-factor are little wider than the slice). The stack is symmetric about z = 0 and holds all atoms, or is
    `thickness` Å thick, rounded up to whole slices. Only one slice is made at a time.

    Raises
    ------
    UsageError
        If a thickness is not above zero.
    InputError
        If there are no atoms, a number is not finite, or an element has no scattering factor.
    """
    require_positive("slice thickness", slice_thickness, unit="Å")
    reach = float(atoms.positions.detach()[:, 2].abs().max()) if len(atoms) else 0.0
    whole = 2 * reach if thickness is None else require_positive("thickness of the specimen", thickness, unit="Å")
    count = max(1, math.ceil(whole / slice_thickness - 1e-9))
    edges = [(number - count / 2) * slice_thickness for number in range(count + 1)]
    outside = int((atoms.positions[:, 2].abs() > edges[-1]).sum())
    if outside:
        warnings.warn(
            f"{outside} of {len(atoms)} atoms lie outside the specimen's {count * slice_thickness:g} Å and are left out",
            CryowalkWarning,
            stacklevel=2,
        )
    edges[-1] += 1e-6  # an atom on the last edge is inside
    return projected_slices(atoms, size=size, pixel_size=pixel_size, edges=edges, form_factors=form_factors)


def _shares(box: int, voxel_size: float, thickness: float) -> Float[Tensor, "slices z"]:
    """How much (Å) of each of the volume's planes lies in each slice; slices are symmetric about plane box // 2 and hold all planes."""
    count = max(1, math.ceil((2 * (box // 2) + 1) * voxel_size / thickness - 1e-9))
    plane = (torch.arange(box, dtype=torch.float64) - box // 2) * voxel_size
    middle = (torch.arange(count, dtype=torch.float64) - (count - 1) / 2)[:, None] * thickness
    top = torch.minimum(plane + voxel_size / 2, middle + thickness / 2)
    bottom = torch.maximum(plane - voxel_size / 2, middle - thickness / 2)
    return (top - bottom).clamp_min(0)
