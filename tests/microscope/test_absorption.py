"""Losses in ice against published numbers, and the imaginary potential against the law it stands for."""

import cmath
import math

import pytest
import torch

from cryowalk.core.constants import interaction_constant
from cryowalk.core.errors import InputError, UsageError
from cryowalk.data.optics import Optics
from cryowalk.microscope.absorption import (
    elastic_mean_free_path,
    fates,
    imaginary_potential,
    mean_free_path,
    transmitted_fraction,
    unfiltered,
)
from cryowalk.microscope.scattering import exit_wave


def test_half_a_thousand_angstrom_pass_the_published_fraction():
    assert mean_free_path(300) == pytest.approx(3950)
    assert transmitted_fraction(500.0, voltage_kv=300) == pytest.approx(0.881, abs=5e-4)
    assert transmitted_fraction(0.0, voltage_kv=300) == 1
    assert transmitted_fraction(500, voltage_kv=300) == pytest.approx(math.exp(-500 / 3950))


def test_mean_free_paths_at_other_voltages_lie_among_the_published_ones():
    assert mean_free_path(120) == pytest.approx(2030, rel=0.25)  # Grimm et al. 1996, measured with an energy filter
    paths = [mean_free_path(voltage) for voltage in (80, 100, 120, 200, 300)]
    assert paths == sorted(paths)
    elastic = [elastic_mean_free_path(voltage) for voltage in (100, 200, 300)]
    # Elastic cross-sections go as σₑ², so as 1/β².
    for path, voltage in zip(elastic, (100, 200, 300), strict=True):
        assert path * interaction_constant(voltage) ** 2 == pytest.approx(elastic[0] * interaction_constant(100) ** 2)
    # In matter of light atoms inelastic events are more frequent than elastic ones.
    assert all(mean_free_path(v) < e < 3 * mean_free_path(v) for v, e in zip((100, 200, 300), elastic, strict=True))


@pytest.mark.parametrize("voltage_kv", [100, 200, 300])
def test_the_imaginary_potential_loses_what_the_law_says(voltage_kv):
    thickness = 700.0
    wave = cmath.exp(1j * interaction_constant(voltage_kv) * (3.6 + 1j * imaginary_potential(voltage_kv)) * thickness)
    assert abs(wave) ** 2 == pytest.approx(transmitted_fraction(thickness, voltage_kv=voltage_kv), rel=1e-12)


@pytest.mark.parametrize("method", ["phase_grating", "multislice"])
def test_a_wave_through_absorbing_slices_loses_what_the_law_says(method):
    optics = Optics(pixel_size=1.0, voltage_kv=300, spherical_aberration_mm=2.7, amplitude_contrast=0.0)
    slices = torch.full((40, 16, 18), 10.0, dtype=torch.float64) * complex(3.6, imaginary_potential(300))
    wave = exit_wave(slices, optics=optics, slice_thickness=10.0, method=method)
    expected = transmitted_fraction(400.0, voltage_kv=300)
    torch.testing.assert_close(wave.abs() ** 2, torch.full((16, 18), expected, dtype=torch.float64))


def test_a_map_of_thickness_gives_a_map_of_fractions_with_a_gradient():
    thickness = torch.tensor([[0.0, 100.0], [395.0, 4000.0]], dtype=torch.float64, requires_grad=True)
    fraction = transmitted_fraction(thickness, voltage_kv=300)
    torch.testing.assert_close(fraction, torch.exp(-thickness / 3950))
    (slope,) = torch.autograd.grad(fraction.sum(), thickness)
    torch.testing.assert_close(slope, -fraction / 3950)


def test_fates_sum_to_one_and_thin_ice_scatters_in_proportion():
    for thickness in (0.0, 300.0, 5000.0):
        assert sum(fates(thickness, voltage_kv=200)) == pytest.approx(1, abs=1e-12)
    thin = fates(1.0, voltage_kv=200)
    assert thin.elastic == pytest.approx(1 / elastic_mean_free_path(200), rel=1e-3)
    assert thin.inelastic == pytest.approx(1 / mean_free_path(200), rel=1e-3)


def test_without_a_filter_every_electron_arrives_and_contrast_falls_at_fine_detail():
    x = torch.arange(200, dtype=torch.float64)
    fine, coarse = torch.cos(2 * math.pi * x / 20), torch.cos(2 * math.pi * x / 200)
    image = (1 + 0.1 * fine + 0.1 * coarse).expand(180, 200)
    seen = unfiltered(image, 400.0, voltage_kv=300, pixel_size=1.5, spread=30.0)
    assert seen.mean().item() == pytest.approx(image.mean().item(), rel=1e-12)
    passed = transmitted_fraction(400.0, voltage_kv=300)
    for period, wave in ((30.0, fine), (300.0, coarse)):
        left = 2 * (seen * wave).mean().item() / 0.1
        blur = math.exp(-2 * (math.pi * 30 / period) ** 2)
        assert left == pytest.approx(passed + (1 - passed) * blur, rel=1e-9)


def test_without_a_filter_and_with_a_map_of_thickness_electrons_are_kept():
    thickness = torch.linspace(0, 900, 64, dtype=torch.float64).expand(50, 64)
    image = 1 + 0.2 * torch.rand(3, 50, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    seen = unfiltered(image, thickness, voltage_kv=300, pixel_size=2.0)
    torch.testing.assert_close(seen.mean(dim=(1, 2)), image.mean(dim=(1, 2)))


def test_ice_and_voltages_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match="thickness"):
        transmitted_fraction(-1.0, voltage_kv=300)
    with pytest.raises(InputError, match="negative"):
        transmitted_fraction(torch.tensor([10.0, -1.0]), voltage_kv=300)
    for function in (mean_free_path, elastic_mean_free_path, imaginary_potential):
        with pytest.raises(UsageError, match="voltage_kv"):
            function(0.0)
    with pytest.raises(UsageError, match="pixel_size"):
        unfiltered(torch.ones(8, 8), 10.0, voltage_kv=300, pixel_size=0.0)
