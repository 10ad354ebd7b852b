"""Views of a map, to look for in micrographs."""

import torch

from cryowalk.data.images import ImageStack
from cryowalk.data.pose import Pose
from cryowalk.data.volume import Volume
from cryowalk.geometry.healpix import pixel_count, pixel_directions
from cryowalk.geometry.sampling import rotations_with_view
from cryowalk.microscope.scattering import project

_ORDER = 0  # 12 directions; opposite ones are mirror images, which no rotation in the plane replaces


def views_of(volume: Volume) -> ImageStack:
    """Projections of a map along twelve directions all round, protein bright; rotations in the plane are left to the search."""
    count = pixel_count(_ORDER)
    directions = pixel_directions(_ORDER, torch.arange(count))
    frames = rotations_with_view(directions, in_plane=torch.zeros(count, dtype=torch.float64))
    pose = Pose(lab_from_particle=frames, shift=torch.zeros(count, 2, dtype=torch.float64))
    return ImageStack(pixels=project(volume, pose), pixel_size=volume.voxel_size)
