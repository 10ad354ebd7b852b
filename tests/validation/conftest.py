"""An asymmetric phantom of Gaussian blobs whose shape is known at every orientation; this folder is put on the path for makers of maps."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cryowalk.data import Volume

sys.path.insert(0, str(Path(__file__).parent))
CENTRES = torch.tensor([[0.0, 0.0, 0.0], [0.16, 0.02, -0.05], [-0.06, 0.15, 0.04], [0.03, -0.09, 0.16], [-0.12, -0.07, -0.1]])
WIDTHS = torch.tensor([0.055, 0.035, 0.042, 0.03, 0.05])
HEIGHTS = torch.tensor([1.0, 1.6, 1.2, 2.0, 0.8])


@pytest.fixture(scope="session")
def phantom() -> Callable[..., Volume]:
    """The phantom turned by a rotation and then moved by a shift (Å), sampled exactly; lengths are fractions of the box."""

    def make(
        box: int, *, voxel_size: float = 1.7, rotation: torch.Tensor | None = None, shift: torch.Tensor | None = None
    ) -> Volume:
        turn = torch.eye(3, dtype=torch.float64) if rotation is None else rotation.double()
        offset = torch.zeros(3, dtype=torch.float64) if shift is None else shift.double()
        length = box * voxel_size
        axis = (torch.arange(box, dtype=torch.float64) - box // 2) * voxel_size
        z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
        voxels = torch.zeros(box, box, box, dtype=torch.float64)
        for centre, width, height in zip(CENTRES.double(), WIDTHS, HEIGHTS, strict=True):
            cx, cy, cz = (turn @ (centre * length) + offset).tolist()
            squared = (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2
            voxels += float(height) * torch.exp(-squared / (2 * (float(width) * length) ** 2))
        return Volume(voxels=voxels.float(), voxel_size=voxel_size)

    return make
