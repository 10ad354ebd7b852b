"""A map low-passed at each place to the resolution that it has there."""

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_cube
from cryowalk.core.errors import InputError, ShapeError
from cryowalk.data import Volume
from cryowalk.fourier.filters import low_pass_weights
from cryowalk.fourier.grids import frequency_radius
from cryowalk.fourier.transform import to_fourier, to_real

FINEST_STEP = 2.0  # shells between two of the low-passed maps that are mixed
MOST_MAPS = 40


def locally_filtered(volume: Volume, local_resolution: Volume, *, b_factor: float = 0.0) -> Volume:
    """The map without detail finer, at each place, than the resolution there (`local_resolution` holds Å).

    Σⱼ aⱼ(x) · (map low-passed at cⱼ)(x): the map is low-passed at cut-offs cⱼ that span those asked for, each with a raised-cosine edge of two shells, and every voxel
    mixes the two next to its own cut-off linearly. A `b_factor` (Å²) multiplies the spectrum by exp(−B k²/4) before; a negative one
    sharpens. It is linear in the map. Voxels with a resolution of zero or less (outside of a mask) take the coarsest that there is.

    Raises
    ------
    ShapeError
        If the two are not cubes of one size.
    InputError
        If no resolution is above zero.
    """
    box = require_cube("a map", tuple(volume.voxels.shape))
    if volume.voxels.shape != local_resolution.voxels.shape:
        raise ShapeError(
            f"the map has {tuple(volume.voxels.shape)} voxels (z, y, x), the local resolution {tuple(local_resolution.voxels.shape)}",
            fix="give the local resolution on the grid of the map",
        )
    cutoff, nodes = _cutoffs(local_resolution.voxels.to(volume.voxels), length=box * volume.voxel_size)
    size = (box, box, box)
    spectrum = to_fourier(volume.voxels, dimensions=3)
    if b_factor:
        spectrum = spectrum * torch.exp(
            frequency_radius(size, pixel_size=volume.voxel_size, like=spectrum).square() * (-b_factor / 4)
        )
    step = (nodes[-1] - nodes[0]) / max(len(nodes) - 1, 1)
    voxels = torch.zeros_like(volume.voxels)
    for node in nodes:
        share = (1 - (cutoff - node).abs() / step).clamp_min(0) if step > 0 else torch.ones_like(cutoff)
        weights = low_pass_weights(size, resolution=1 / node, pixel_size=volume.voxel_size, like=spectrum)
        voxels = voxels + share * to_real(spectrum * weights, width=box, dimensions=3)
    return Volume(voxels=voxels, voxel_size=volume.voxel_size, origin=volume.origin)


def _cutoffs(resolution: Float[Tensor, "z y x"], *, length: float) -> tuple[Float[Tensor, "z y x"], list[float]]:
    """The cut-off at each voxel and those at which the map is low-passed, 1/Å."""
    known = resolution[torch.isfinite(resolution) & (resolution > 0)]
    if known.numel() == 0:
        raise InputError("the local resolution is nowhere above zero", fix="look at the map: cryowalk inspect FILE")
    coarsest = known.max()
    is_known = torch.isfinite(resolution) & (resolution > 0)
    cutoff = 1 / torch.where(is_known, resolution, coarsest)
    low, high = float(cutoff.min()), float(cutoff.max())
    count = min(MOST_MAPS, 1 + int((high - low) * length / FINEST_STEP + 0.999))
    return cutoff, torch.linspace(low, high, count, dtype=torch.float64).tolist()
