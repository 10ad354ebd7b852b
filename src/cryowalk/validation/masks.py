"""Masks as volumes on the grid of a map."""

from cryowalk.core.checks import require_cube
from cryowalk.core.errors import UsageError
from cryowalk.data import Volume
from cryowalk.numerics.masks import soft_sphere


def spherical_mask(volume: Volume, *, radius: float | None = None, edge: float | None = None) -> Volume:
    """Soft sphere about the origin voxel on the grid of `volume`: 1 inside `radius` (Å), falling to 0 over `edge` (Å).

    The default edge is six voxels wide, the default radius leaves the edge inside the box.

    Raises
    ------
    UsageError
        If the radius is not above zero, or the edge is negative.
    """
    box = require_cube("a map", tuple(volume.voxels.shape))
    width = 6 * volume.voxel_size if edge is None else edge
    inside = (box // 2) * volume.voxel_size - width if radius is None else radius
    if not inside > 0 or width < 0:
        raise UsageError(
            f"a spherical mask needs a radius above zero and an edge of zero or more: got {inside:g} and {width:g} Å"
        )
    voxels = soft_sphere(box, radius=inside, edge=width, voxel_size=volume.voxel_size).to(volume.voxels)
    return Volume(voxels=voxels, voxel_size=volume.voxel_size, origin=volume.origin)
