"""Correlation by direction: alike in all directions for even noise, different where half of Fourier space is noisier; closed forms of the sphericity."""

import math

import pytest
import torch

from cryowalk.core.errors import InputError, UsageError
from cryowalk.data import HalfMaps, Pose, Volume
from cryowalk.fourier.grids import frequency_grid
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.geometry.healpix import pixel_count, pixel_directions
from cryowalk.geometry.rotations import matrix_from_euler
from cryowalk.geometry.sampling import random_rotations
from cryowalk.validation import fourier_shell_correlation
from cryowalk.validation.directional_correlation import directional_sampling, directional_shell_correlation, sphericity

VOXEL = 1.7
DIRECTIONS = pixel_directions(3, torch.arange(pixel_count(3)))


def halves_with_cutoff(box: int, along: float, across: float, generator: torch.Generator) -> HalfMaps:
    """Half maps whose signal reaches `along` (1/Å) along z and `across` perpendicular to it: an ellipsoid in Fourier space."""
    size = (box, box, box)
    kx, ky, kz = frequency_grid(size, pixel_size=VOXEL)
    inside = (kx**2 + ky**2) / across**2 + kz**2 / along**2 < 1
    signal = to_real(to_fourier(torch.randn(size, generator=generator), dimensions=3) * inside, width=box, dimensions=3)
    first, second = (Volume(voxels=signal + 0.3 * torch.randn(size, generator=generator), voxel_size=VOXEL) for _ in range(2))
    return HalfMaps(first=first, second=second)


@pytest.mark.parametrize("box", [48, 49])
def test_a_map_that_is_resolved_alike_has_a_sphericity_of_one(box: int, generator: torch.Generator) -> None:
    halves = halves_with_cutoff(box, 0.2, 0.2, generator)
    found = directional_shell_correlation(halves)
    assert found.sphericity(at=0.5) > 0.97
    assert abs(found.worst(at=0.5)[0] - 5.0) < 0.4
    assert abs(found.best(at=0.5)[0] - 5.0) < 0.4
    assert torch.equal(found.whole.correlation, fourier_shell_correlation(halves).correlation)


def test_the_worst_direction_is_where_the_signal_ends_first(generator: torch.Generator) -> None:
    found = directional_shell_correlation(halves_with_cutoff(56, 0.1, 0.24, generator))
    coarsest, direction = found.worst(at=0.5)
    finest, across = found.best(at=0.5)
    assert coarsest == pytest.approx(10.0, rel=0.2)  # a cone of 20° sees past the ellipsoid's pole
    assert finest == pytest.approx(1 / 0.24, rel=0.1)
    assert abs(float(direction[2])) > math.cos(math.radians(20))
    assert abs(float(across[2])) < math.sin(math.radians(30))
    assert found.sphericity(at=0.5) < 0.95


def test_a_cone_of_ninety_degrees_is_the_whole_shell(generator: torch.Generator) -> None:
    halves = halves_with_cutoff(32, 0.15, 0.2, generator)
    found = directional_shell_correlation(halves, half_angle=math.pi / 2)
    assert torch.allclose(found.correlation[5], found.whole.correlation, atol=1e-5)


def test_opposite_directions_are_alike(generator: torch.Generator) -> None:
    found = directional_shell_correlation(halves_with_cutoff(32, 0.15, 0.2, generator))
    opposite = (found.directions @ -found.directions.T).argmax(dim=1)
    assert torch.allclose(found.correlation, found.correlation[opposite], atol=1e-6)


def test_a_mask_is_applied_to_both_halves(generator: torch.Generator) -> None:
    from cryowalk.validation import spherical_mask

    halves = halves_with_cutoff(32, 0.2, 0.2, generator)
    mask = spherical_mask(halves.first, radius=15.0)
    found = directional_shell_correlation(halves, mask=mask)
    assert torch.equal(found.whole.correlation, fourier_shell_correlation(halves, mask=mask).correlation)
    assert not torch.equal(found.correlation, directional_shell_correlation(halves).correlation)


@pytest.mark.parametrize("ratio", [0.4, 2.0])
def test_the_sphericity_of_a_spheroid_is_the_closed_form(ratio: float) -> None:
    x, y, z = DIRECTIONS.unbind(-1)
    radius = 1 / torch.sqrt(x**2 + y**2 + (z / ratio) ** 2)  # half axes 1, 1, ratio
    if ratio < 1:  # oblate
        e = math.sqrt(1 - ratio**2)
        area = 2 * math.pi * (1 + (1 - e**2) / e * math.atanh(e))
    else:
        e = math.sqrt(1 - 1 / ratio**2)
        area = 2 * math.pi * (1 + ratio / e * math.asin(e))
    exact = math.pi ** (1 / 3) * (6 * 4 / 3 * math.pi * ratio) ** (2 / 3) / area
    assert sphericity(DIRECTIONS, radius) == pytest.approx(exact, abs=4e-3)
    assert sphericity(DIRECTIONS, torch.full_like(radius, 3.0)) == pytest.approx(1.0)


def test_even_views_sample_evenly_and_one_view_leaves_its_own_axis_out(generator: torch.Generator) -> None:
    even = Pose(lab_from_particle=random_rotations(20000, generator=generator), shift=torch.zeros(20000, 2))
    found = directional_sampling(even)
    assert float((found.relative - 1).abs().max()) < 0.25
    assert found.compensation == pytest.approx(1.0, abs=0.01)
    tops = Pose(
        lab_from_particle=matrix_from_euler(torch.rand(300, 3, generator=generator) * torch.tensor([6.0, 0.0, 0.0])),
        shift=torch.zeros(300, 2),
    )
    found = directional_sampling(tops)
    assert found.compensation == 0.0
    assert float(found.relative[DIRECTIONS[:, 2].abs() > 0.2].max()) == 0.0
    assert float(found.relative[DIRECTIONS[:, 2].abs() < 0.02].min()) > 10


def test_symmetry_fills_gaps() -> None:
    side = Pose(lab_from_particle=matrix_from_euler(torch.tensor([[0.3, 1.2, 0.1]])), shift=torch.zeros(1, 2))
    assert directional_sampling(side, symmetry="O").compensation >= directional_sampling(side).compensation
    assert (directional_sampling(side, symmetry="O").relative > 0).sum() > 4 * (directional_sampling(side).relative > 0).sum()


def test_what_cannot_be_meant_is_refused(generator: torch.Generator) -> None:
    halves = halves_with_cutoff(16, 0.2, 0.2, generator)
    with pytest.raises(UsageError, match="half_angle"):
        directional_shell_correlation(halves, half_angle=0.01)
    with pytest.raises(InputError, match="no poses"):
        directional_sampling(Pose(lab_from_particle=torch.zeros(0, 3, 3), shift=torch.zeros(0, 2)))
    with pytest.raises(InputError, match="above zero"):
        sphericity(DIRECTIONS, torch.zeros(len(DIRECTIONS)))
