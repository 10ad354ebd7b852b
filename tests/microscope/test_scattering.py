"""Projections of the potential against closed forms, and what a pose does to them."""

import math

import pytest
import torch

from cryowalk.core.constants import interaction_constant
from cryowalk.data.atoms import Atoms
from cryowalk.data.pose import Pose
from cryowalk.data.volume import Volume
from cryowalk.fourier.grids import coordinates
from cryowalk.geometry.sampling import random_rotations
from cryowalk.microscope.scattering import project
from cryowalk.microscope.specimen import potential


def blobs(generator, *, reach):
    """Positions and weights of five unequal blobs."""
    positions = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    positions = reach * positions / positions.norm(dim=1, keepdim=True).clamp_min(1)
    return positions, torch.tensor([1.0, 2.0, 3.0, 1.5, 0.7], dtype=torch.float64)


@pytest.mark.parametrize("box", [48, 49])
def test_projections_equal_those_of_gaussians(box, generator):
    voxel_size, sigma = 1.6, 3.2
    positions, weights = blobs(generator, reach=0.15 * box * voxel_size)
    x, y, z = coordinates((box, box, box), pixel_size=voxel_size, dtype=torch.float64)
    voxels = torch.zeros(box, box, box, dtype=torch.float64)
    for (px, py, pz), weight in zip(positions.tolist(), weights.tolist(), strict=True):
        voxels += weight * torch.exp(-((x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2) / (2 * sigma**2))
    rotations = random_rotations(6, generator=generator)
    shift = 4 * torch.randn(6, 2, generator=generator, dtype=torch.float64)
    images = project(Volume(voxels=voxels, voxel_size=voxel_size), Pose(lab_from_particle=rotations, shift=shift))
    ix, iy = coordinates((box, box), pixel_size=voxel_size, dtype=torch.float64)
    for image, rotation, (sx, sy) in zip(images, rotations, shift.tolist(), strict=True):
        expected = torch.zeros(box, box, dtype=torch.float64)
        for (px, py, _), weight in zip((positions @ rotation.T).tolist(), weights.tolist(), strict=True):
            expected += (
                weight * math.sqrt(2 * math.pi) * sigma * torch.exp(-((ix - px - sx) ** 2 + (iy - py - sy) ** 2) / (2 * sigma**2))
            )
        assert ((image - expected).norm() / expected.norm()).item() < 0.01


def test_projecting_turned_atoms_is_projecting_in_that_pose(generator):
    count = 40
    positions = 8 * torch.randn(count, 3, generator=generator, dtype=torch.float64).clamp(-1.5, 1.5)
    rest = {
        "atomic_numbers": torch.full((count,), 7),
        "b_factors": torch.full((count,), 120.0, dtype=torch.float64),
        "occupancies": torch.ones(count, dtype=torch.float64),
    }
    rotation = random_rotations(1, generator=generator)
    straight = potential(Atoms(positions=positions, **rest), box=40, voxel_size=1.5, centre=(0.0, 0.0, 0.0))
    turned = potential(Atoms(positions=positions @ rotation[0].T, **rest), box=40, voxel_size=1.5, centre=(0.0, 0.0, 0.0))
    image = project(straight, Pose(lab_from_particle=rotation, shift=torch.zeros(1, 2)))[0]
    expected = turned.voxels.sum(dim=0) * 1.5
    assert ((image - expected).norm() / expected.norm()).item() < 0.02


def test_a_protein_is_a_weak_phase_object():
    # 100 Å of protein at a mean inner potential of 7.5 V turns the wave by half a radian at 300 kV.
    assert interaction_constant(300) * 100 * 7.5 == pytest.approx(0.49, abs=0.01)
