"""The correlation of a particle alone: a closed form, its inverse, and what is refused."""

import pytest
import torch

from cryowalk.core.errors import InputError
from cryowalk.data import Volume
from cryowalk.validation.particle_correlation import particle_correlation, solvent_factor


def test_it_is_the_correlation_of_the_signal_in_a_part_of_the_noise():
    """Signal power S, noise power N in a volume f times the particle's: C = S/(S + N) becomes S/(S + N/f)."""
    signal = torch.linspace(0.01, 5, 40, dtype=torch.float64)
    for factor in (1.0, 1.536, 4.0):
        found = particle_correlation(signal / (signal + 1), factor)
        torch.testing.assert_close(found, signal / (signal + 1 / factor))
    correlation = torch.linspace(-0.2, 1, 25, dtype=torch.float64)
    torch.testing.assert_close(particle_correlation(particle_correlation(correlation, 1.8), 1 / 1.8), correlation)


def test_bounds():
    values = torch.tensor([-1.0, -0.9, 0.0, 1.0])
    found = particle_correlation(values, 3.0)
    assert bool((found >= -1).all())
    assert found[2:].tolist() == [0.0, 1.0]
    with pytest.raises(InputError, match="above 0"):
        particle_correlation(values, 0.0)


def test_the_factor_of_a_mask():
    voxels = torch.zeros(10, 10, 10)
    voxels[:, :, :5] = 0.4
    voxels[:, :, :2] = 0.9
    assert solvent_factor(Volume(voxels=voxels, voxel_size=1.3)) == pytest.approx(0.476 / 0.2)
    assert solvent_factor(Volume(voxels=torch.zeros(4, 4, 4), voxel_size=1.3)) is None
