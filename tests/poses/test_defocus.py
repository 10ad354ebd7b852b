"""Defocus of particles and micrographs: the truth is found again, as closely as the stated deviations say."""

import math
from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data import Volume
from cryowalk.poses import CtfRefinementSettings, refine_defocus
from cryowalk.poses.defocus import best_change, defocus_sums, with_prior
from cryowalk.poses.evidence import Evidence, References, band_of, calibrate, evidence

ASTIGMATISM = CtfRefinementSettings(defocus="off", astigmatism="per-micrograph")


def with_change(particles, change, *, astigmatism=0.0):
    d = particles.defocus
    return replace(particles, defocus=replace(d, major=d.major + change + astigmatism, minor=d.minor + change - astigmatism))


def test_each_particle_gets_its_own_defocus_back(photograph, specimen, generator):
    particles = photograph(160)
    change = 1200 * (torch.rand(160, generator=generator, dtype=torch.float64) - 0.5)
    found = refine_defocus(with_change(particles, change), [specimen])
    error = found.particles.defocus.major - particles.defocus.major
    assert error.abs().median() < 25  # Å
    assert error.square().mean().sqrt() < 60
    assert 0.7 < (error / found.deviation).square().mean().sqrt() < 1.4  # the deviations are honest
    assert bool((found.gain >= 0).all())
    torch.testing.assert_close(found.particles.defocus.major - found.particles.defocus.minor, torch.full((160,), 300.0).double())
    torch.testing.assert_close(found.change + change, error)


def test_a_change_that_micrographs_share_is_found_more_closely(photograph, specimen):
    particles = photograph(120)
    offset = torch.tensor([-300.0, 150.0, 60.0, 0.0, -90.0, 420.0], dtype=torch.float64)[torch.arange(120) % 6]
    found = refine_defocus(with_change(particles, offset), [specimen], CtfRefinementSettings(defocus="per-micrograph"))
    assert (found.change + offset).abs().max() < 25
    assert found.deviation.max() < 10
    for micrograph in range(6):
        assert found.change[micrograph::6].unique().numel() == 1


def test_astigmatism_of_micrographs_is_found(photograph, specimen):
    particles = photograph(180, micrographs=3)
    found = refine_defocus(with_change(particles, 80.0, astigmatism=-100.0), [specimen], ASTIGMATISM).particles.defocus
    true = particles.defocus
    assert (found.major - true.major).abs().max() < 25
    assert (found.minor - true.minor).abs().max() < 25
    turned = torch.remainder(found.azimuth - true.azimuth + math.pi / 2, math.pi) - math.pi / 2
    assert turned.abs().max() < math.radians(3)


def test_half_maps_serve_their_own_particles(photograph, specimen):
    """With nothing for a map of half 2 only the particles of half 1 can learn."""
    particles = photograph(60)
    noise = torch.randn(specimen.voxels.shape, generator=torch.Generator().manual_seed(2)) * specimen.voxels.std()
    moved = with_change(particles, 250.0)
    found = refine_defocus(moved, [specimen, Volume(voxels=noise, voxel_size=specimen.voxel_size)])
    error = (found.particles.defocus.major - particles.defocus.major).abs()
    assert error[particles.half == 1].median() < 40
    assert error[particles.half == 2].median() > 100


def test_the_four_sums_are_the_likelihood(photograph, specimen):
    """L(δ) of the sums is the log-likelihood of the images at the changed defocus, written out."""
    particles, settings = photograph(5), CtfRefinementSettings()
    references, band = References.of([specimen]), band_of(particles, settings)
    calibration = calibrate(particles, references, band, settings=settings)
    changes = torch.tensor([0.0, -150.0, 400.0], dtype=torch.float64)

    def parts(chosen) -> list[Evidence]:
        return list(evidence(chosen, references, band, settings=settings, calibration=calibration))

    def written(part: Evidence):
        return (torch.sin(part.phase) * part.agreement - torch.sin(part.phase).square() * part.strength / 2).sum(dim=1)

    turn = math.pi * particles.optics[0].wavelength * (band.kx**2 + band.ky**2)
    (here,) = parts(particles)
    found = defocus_sums(here, turn, largest=float(turn.max())).likelihood(changes.expand(5, -1))
    expected = torch.stack([written(parts(with_change(particles, float(c)))[0]) for c in changes], dim=1)
    torch.testing.assert_close(found - found[:, :1], expected - expected[:, :1], rtol=2e-3, atol=0.05)
    slopes, curvature = defocus_sums(here, turn, largest=float(turn.max())).slopes(torch.full((5,), 30.0).double())
    near = defocus_sums(here, turn, largest=float(turn.max())).likelihood(torch.tensor([29.0, 30.0, 31.0]).double().expand(5, -1))
    torch.testing.assert_close((near[:, 2] - near[:, 0]) / 2, slopes, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(near[:, 2] - 2 * near[:, 1] + near[:, 0], curvature, rtol=1e-2, atol=1e-5)
    best, _, rise = best_change(defocus_sums(here, turn, largest=float(turn.max())), 2000.0)
    assert bool((rise >= 0).all())
    assert best.abs().median() < 60


def test_a_prior_draws_towards_the_micrograph_as_far_as_it_should():
    change, deviation = torch.tensor([100.0, -100.0, 50.0, 50.0]).double(), torch.full((4,), 100.0).double()
    drawn, narrower = with_prior(change, deviation, torch.tensor([0, 0, 1, 1]), spread=100.0)
    torch.testing.assert_close(drawn, torch.tensor([50.0, -50.0, 50.0, 50.0]).double())
    torch.testing.assert_close(narrower, torch.full((4,), 100.0 / math.sqrt(2)).double())
    unknown, _ = with_prior(
        change, torch.tensor([math.inf, 10.0, 10.0, math.inf]).double(), torch.tensor([0, 0, 1, 1]), spread=5.0
    )
    assert float(unknown[0]) == pytest.approx(-100.0)
    assert float(unknown[3]) == pytest.approx(50.0)


def test_scale_and_noise_are_calibrated(photograph, specimen):
    particles, settings = photograph(80, noise=2.0), CtfRefinementSettings()
    doubled = Volume(voxels=2 * specimen.voxels, voxel_size=specimen.voxel_size)
    band = band_of(particles, settings)
    plain, other = (calibrate(particles, References.of([one]), band, settings=settings) for one in (specimen, doubled))
    shells = slice(4, 15)
    torch.testing.assert_close(plain.scale[0, shells], torch.ones(11), rtol=0.1, atol=0.1)
    torch.testing.assert_close(other.scale[0, shells], plain.scale[0, shells] / 2, rtol=1e-3, atol=1e-3)
    noise = particles.images.pixels.std() ** 2 * (2.0**2 / (1 + 2.0**2))
    torch.testing.assert_close(2 / plain.inverse_noise[0, shells], noise.expand(11), rtol=0.15, atol=0)


def test_what_cannot_be_refined_is_refused(photograph, specimen):
    particles = photograph(4)
    with pytest.raises(InputError, match="poses"):
        refine_defocus(replace(particles, pose=None), [specimen])
    with pytest.raises(InputError, match="multiplied"):
        refine_defocus(replace(particles, optics=(replace(particles.optics[0], is_premultiplied=True),)), [specimen])
    with pytest.raises(ShapeError, match="box"):
        refine_defocus(particles, [Volume(voxels=specimen.voxels[:32, :32, :32], voxel_size=1.6)])
    with pytest.raises(InputError, match="voxels"):
        refine_defocus(particles, [replace(specimen, voxel_size=2.0)])
    with pytest.raises(UsageError, match="one map"):
        refine_defocus(particles, [specimen] * 3)
    with pytest.raises(InputError, match="coefficients"):
        refine_defocus(particles, [specimen], CtfRefinementSettings(coarsest_resolution=3.3))
