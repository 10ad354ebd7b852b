"""The Guinier fit, numbers of particles, and threshold curves, against closed forms and published numbers."""

import math

import pytest
import torch
from molecules import VOXEL, atoms_map, noisy_halves

from cryowalk.core.errors import InputError, UsageError
from cryowalk.data import Volume
from cryowalk.fourier import filters
from cryowalk.validation.guinier import (
    b_factor_of_numbers,
    fit_b_factor,
    log_amplitude,
    particles_for_resolution,
    shell_frequencies,
)
from cryowalk.validation.shell_correlation import ShellCorrelation, fourier_shell_correlation
from cryowalk.validation.thresholds import information_curve, noise_deviation, resolution_against, shell_sizes, sigma_curve


def test_an_exact_line_is_found_exactly() -> None:
    frequency = torch.arange(40, dtype=torch.float64) / (80 * 1.3)
    fit = fit_b_factor(frequency, 3.0 - 25.0 * frequency**2, coarsest=9.0, finest=3.0)
    assert fit.b_factor == pytest.approx(100.0)
    assert fit.intercept == pytest.approx(3.0)
    assert fit.error == pytest.approx(0.0, abs=1e-9)
    assert fit.correlation == pytest.approx(1.0)
    torch.testing.assert_close(fit.line(frequency), 3.0 - 25.0 * frequency**2)
    assert fit.coarsest <= 9.0
    assert fit.finest >= 3.0


@pytest.mark.parametrize("box", [48, 49])
def test_a_b_factor_changes_the_slope_by_a_quarter_of_it(box: int) -> None:
    volume = atoms_map(box)
    frequency = shell_frequencies(volume)
    plain = fit_b_factor(frequency, log_amplitude(volume), finest=4.0)
    for b in (100.0, -60.0):
        voxels = filters.b_factor(volume.voxels, b_factor=b, pixel_size=VOXEL, dimensions=3)
        changed = fit_b_factor(frequency, log_amplitude(Volume(voxels=voxels, voxel_size=VOXEL)), finest=4.0)
        assert changed.b_factor - plain.b_factor == pytest.approx(b, rel=0.02)
    assert abs(plain.b_factor) < 25  # point atoms: none of their own but by chance


def test_noise_has_a_flat_spectrum() -> None:
    noise = noisy_halves(Volume(voxels=torch.zeros(40, 40, 40), voxel_size=VOXEL), noise=2.0).first
    # The mean modulus of complex normal numbers of power σ² is σ √π/2.
    assert float(log_amplitude(noise)[10:20].mean()) == pytest.approx(math.log(2.0 * math.sqrt(math.pi) / 2), abs=0.01)
    fit = fit_b_factor(shell_frequencies(noise), log_amplitude(noise), finest=4.0)
    assert abs(fit.b_factor) < 4 * fit.error + 3


def test_too_few_shells_are_no_line() -> None:
    frequency = torch.arange(12, dtype=torch.float64) / 200
    with pytest.raises(InputError, match="too few"):
        fit_b_factor(frequency, -frequency, coarsest=10.0, finest=18.0)
    with pytest.raises(UsageError, match="finest"):
        fit_b_factor(frequency, -frequency, finest=0.0)
    with pytest.raises(InputError, match="too few"):
        fit_b_factor(frequency, torch.full((12,), -math.inf), coarsest=100.0, finest=18.0)


def test_numbers_of_particles(golden: dict) -> None:
    assert particles_for_resolution(1, at=4.0, wanted=3.0, b_factor=100.0) == pytest.approx(11.3652, rel=1e-5)
    assert particles_for_resolution(1, at=3.0, wanted=2.5, b_factor=100.0) == pytest.approx(11.52, rel=1e-3)
    assert particles_for_resolution(5e4, at=3.0, wanted=3.0, b_factor=80.0) == 5e4
    resolutions = [8.0, 6.0, 5.0, 4.2, 3.7]
    counts = [particles_for_resolution(300, at=8.0, wanted=d, b_factor=120.0) for d in resolutions]
    fit = b_factor_of_numbers(counts[::-1], resolutions[::-1])
    assert fit.b_factor == pytest.approx(120.0)
    assert (fit.coarsest, fit.finest) == (8.0, 3.7)
    with pytest.raises(UsageError, match="same"):
        b_factor_of_numbers([10, 20, 30], [4.0, 4.0, 4.0])
    with pytest.raises(UsageError, match="3 or more"):
        b_factor_of_numbers([10, 20], [4.0, 3.0])
    with pytest.raises(UsageError):
        b_factor_of_numbers([10, -20, 30], [4.0, 3.5, 3.0])


@pytest.mark.parametrize("box", [30, 31])
def test_shells_count_their_coefficients_with_both_mates(box: int) -> None:
    counts = shell_sizes(box)
    full = torch.arange(box) - box // 2
    radius = torch.sqrt((full**2 + full[:, None] ** 2 + full[:, None, None] ** 2).double())
    by_hand = torch.bincount((radius + 0.5 + 1e-9).long().flatten())[: box // 2 + 1]
    assert torch.equal(counts, by_hand.double())
    assert shell_sizes(box, dimensions=2)[5] == float(
        ((torch.sqrt((full**2 + full[:, None] ** 2).double()) + 0.5 + 1e-9).long() == 5).sum()
    )


def test_the_deviation_of_noise_is_one_over_the_root_of_the_count() -> None:
    box, runs = 24, 12
    counts = shell_sizes(box)
    total = torch.zeros(box // 2 + 1, dtype=torch.float64)
    for seed in range(runs):
        halves = noisy_halves(Volume(voxels=torch.zeros(box, box, box), voxel_size=VOXEL), noise=1.0, seed=seed)
        total += fourier_shell_correlation(halves).correlation.double().square()
    ratio = (total / runs / noise_deviation(counts).square())[2:-1]
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.3)
    assert bool((sigma_curve(counts, deviations=3.0) <= 1).all())


def test_half_a_bit_is_the_published_curve() -> None:
    counts = shell_sizes(64)[1:]
    published = (0.2071 + 1.9102 / counts.sqrt()) / (1.2071 + 0.9102 / counts.sqrt())
    torch.testing.assert_close(information_curve(counts), published, rtol=2e-4, atol=0)
    assert float(information_curve(torch.tensor([1e12], dtype=torch.float64))[0]) == pytest.approx(0.1716, abs=1e-4)
    one_bit = information_curve(torch.tensor([1e12], dtype=torch.float64), bits=1.0)
    assert float(one_bit[0]) == pytest.approx(1 / 3, abs=1e-4)  # a ratio of 1 in the average, ½ in a half
    assert bool((information_curve(counts, independent_fraction=0.2) > information_curve(counts)).all())


def test_a_curve_crosses_a_threshold_curve_between_shells() -> None:
    frequency = torch.arange(7) / 30.0
    curve = ShellCorrelation(frequency=frequency, correlation=torch.tensor([1.0, 0.2, 0.9, 0.9, 0.7, 0.3, 0.1]))
    level = torch.tensor([1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5])
    assert resolution_against(curve, level) == pytest.approx(30 / 4.5, rel=1e-6)
    assert resolution_against(curve, 0 * level) == pytest.approx(5.0)
