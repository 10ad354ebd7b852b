"""Real particles with RELION's poses (EMPIAR-10204, β-galactosidase): the halves agree to Nyquist, and not because of mask or symmetry."""

import warnings

import pytest
import torch

from cryowalk.data import ImageStack, Pose
from cryowalk.geometry.sampling import random_rotations
from cryowalk.io.relion import read_particles
from cryowalk.reconstruction import Reconstruction, ReconstructionSettings, reconstruct_with_full_map
from cryowalk.validation import fourier_shell_correlation, spherical_mask

SETTINGS = ReconstructionSettings(symmetry="D2")
NYQUIST = 32


@pytest.fixture(scope="module")
def particles(real_data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_particles(real_data / "betagal_10204" / "particles_with_relion_poses.star")


def masked_correlation(found: Reconstruction) -> torch.Tensor:
    return fourier_shell_correlation(found.halves, mask=spherical_mask(found.full, radius=100.0, edge=14.0)).correlation


def test_the_halves_agree_to_nyquist(particles) -> None:
    found = reconstruct_with_full_map(particles, SETTINGS)
    assert (found.used, found.left_out) == (559, 0)
    correlation = masked_correlation(found)
    assert correlation[NYQUIST] >= 0.15
    assert correlation[1:11].min() > 0.9
    # A tetramer in a box of 227 Å: long along y, flat along x, hollow at its middle, bright against its surroundings.
    voxels = found.full.voxels
    axis = (torch.arange(64) - 32) * found.full.voxel_size
    radius = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
    solvent = voxels[(radius > 95) & (radius < 110)]
    threshold = solvent.mean() + 6 * solvent.std()
    inside = (voxels > threshold) & (radius < 100)
    volume = float(inside.sum()) * found.full.voxel_size**3
    assert 2e5 < volume < 9e5  # 465 kDa at 1.21 Å³/Da are 5.6e5 Å³
    reach = [float(axis[inside.any(dim=other)].abs().max()) for other in ((0, 1), (0, 2), (1, 2))]
    assert max(reach) < 100
    assert max(reach) > 70


def test_neither_mask_nor_symmetry_makes_that_agreement(particles) -> None:
    g = torch.Generator().manual_seed(1)
    turned = particles.with_pose(Pose(lab_from_particle=random_rotations(559, generator=g), shift=particles.pose.shift))
    noise = particles.with_images(ImageStack(pixels=torch.randn(559, 64, 64, generator=g), pixel_size=particles.pixel_size))
    for control in (turned, noise):
        assert masked_correlation(reconstruct_with_full_map(control, SETTINGS))[24:].abs().max() < 0.1
