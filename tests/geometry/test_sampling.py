"""Random rotations: closed-form statistics of their laws."""

import math

import pytest
import torch

from cryowalk.core.errors import InputError, UsageError
from cryowalk.geometry.rotations import geodesic_distance, rotation_angle, view_direction
from cryowalk.geometry.sampling import (
    frame_of_direction,
    perturb_rotations,
    preferred_orientations,
    random_directions,
    random_rotations,
    rotations_with_view,
)

DOUBLE = torch.float64


def largest(difference):
    return float(difference.abs().max())


def test_uniform_rotations_have_the_mean_angle_of_the_haar_law(generator):
    """The angle has the density (1 − cos θ)/π, so its mean is π/2 + 2/π = 126.48°."""
    angle = rotation_angle(random_rotations(100_000, generator=generator))
    assert abs(math.degrees(float(angle.mean())) - 126.4756) < 0.5
    for place in (0.5, 1.0, 2.0, 3.0):
        expected = (place - math.sin(place)) / math.pi
        assert abs(float((angle < place).double().mean()) - expected) < 0.006


def test_uniform_rotations_have_the_moments_of_the_haar_law(generator):
    """E R = 0 and E R_ij R_kl = δ_ik δ_jl / 3."""
    r = random_rotations(100_000, generator=generator).flatten(1)
    assert largest(r.mean(0)) < 0.01
    assert largest(r.T @ r / len(r) - torch.eye(9, dtype=DOUBLE) / 3) < 0.01


def test_the_same_seed_gives_the_same_rotations():
    first, second = (random_rotations(5, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert random_rotations(2, generator=torch.Generator().manual_seed(3), dtype=torch.float32).dtype == torch.float32


@pytest.mark.parametrize("angle", [0.0, 0.02, 0.1])
def test_perturbed_rotations_lie_at_the_stated_distance(angle, generator):
    r = random_rotations(20_000, generator=generator)
    distance = geodesic_distance(r, perturb_rotations(r, angle=angle, generator=generator))
    assert float(distance.mean()) == pytest.approx(math.sqrt(8 / math.pi) * angle, rel=0.02, abs=1e-14)
    assert float(distance.square().mean().sqrt()) == pytest.approx(math.sqrt(3) * angle, rel=0.02, abs=1e-14)


@pytest.mark.parametrize("concentration", [0.0, 1e-6, 0.5, 5.0, 300.0, 1e8])
def test_views_have_the_moments_of_the_von_mises_fisher_law(concentration, generator):
    """The mean is coth κ − 1/κ along the middle and nothing across; the second moment along it is 1 − 2(coth κ − 1/κ)/κ."""
    middle = torch.tensor([[1.0, -2.0, 0.5]], dtype=DOUBLE)
    unit = (middle / middle.norm()).squeeze(0)
    views = random_directions(50_000, mean=middle, concentration=concentration, generator=generator)
    k = concentration
    mean = 1 / math.tanh(k) - 1 / k if k > 1e-3 else k / 3
    assert largest(views.norm(dim=-1) - 1) < 1e-14
    assert largest(views.mean(0) - mean * unit) < 0.01
    height = views @ unit
    second = 1 - 2 * mean / k if k > 1e-3 else 1 / 3
    assert float(height.square().mean()) == pytest.approx(second, abs=0.01)
    if k > 100:
        assert float((1 - height).mean()) == pytest.approx(1 / k, rel=0.03)


def test_frame_carries_z_onto_every_direction(generator):
    views = torch.nn.functional.normalize(torch.randn(2000, 3, generator=generator, dtype=DOUBLE), dim=-1)
    poles = torch.tensor([[0.0, 0, 1], [0, 0, -1], [1, 0, 0], [0, 1, 0], [1, 0, -0.0]], dtype=DOUBLE)
    views = torch.cat([views, poles])
    frames = frame_of_direction(views)
    assert torch.equal(frames[..., 2], views)
    assert largest(frames.mT @ frames - torch.eye(3, dtype=DOUBLE)) < 2e-14
    assert largest(torch.linalg.det(frames) - 1) < 2e-14
    turned = rotations_with_view(views, in_plane=torch.linspace(-3, 3, len(views), dtype=DOUBLE))
    assert largest(view_direction(turned) - views) < 2e-14


def test_preferred_orientations_gather_about_each_view_in_its_share(generator):
    views = torch.tensor([[0.0, 0.0, 1.0], [3.0, 0.0, 0.0]], dtype=DOUBLE)
    weights = torch.tensor([1.0, 3.0], dtype=DOUBLE)
    r = preferred_orientations(
        20_000, directions=views, concentration=400.0, weights=weights, uniform_fraction=0.2, generator=generator
    )
    along = view_direction(r)
    cap = 0.15  # rad, where nearly all of a spot of 0.05 rad lies
    near_z, near_x = ((along[:, axis] > math.cos(cap)).double().mean() for axis in (2, 0))
    background = 0.2 * (1 - math.cos(cap)) / 2
    spot = 1 - math.exp(-400 * (1 - math.cos(cap)))
    assert float(near_z) == pytest.approx(0.8 * 0.25 * spot + background, abs=0.01)
    assert float(near_x) == pytest.approx(0.8 * 0.75 * spot + background, abs=0.01)
    assert largest(r.mT @ r - torch.eye(3, dtype=DOUBLE)) < 1e-14


def test_in_plane_angles_are_uniform(generator):
    views = torch.tensor([[0.2, 0.9, -0.4]], dtype=DOUBLE)
    r = preferred_orientations(20_000, directions=views, concentration=1e9, generator=generator)
    assert largest(r[:, :2].mean(0)) < 0.015


def test_nonsense_is_refused(generator):
    views = torch.tensor([[0.0, 0.0, 1.0]], dtype=DOUBLE)
    with pytest.raises(UsageError, match="concentration"):
        preferred_orientations(2, directions=views, concentration=-1.0, generator=generator)
    with pytest.raises(UsageError, match="uniform_fraction"):
        preferred_orientations(2, directions=views, concentration=1.0, uniform_fraction=1.5, generator=generator)
    with pytest.raises(InputError, match="length"):
        preferred_orientations(2, directions=0 * views, concentration=1.0, generator=generator)
