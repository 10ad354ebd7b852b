"""The gun's numbers against published ones, and its envelopes against the averages they stand for."""

import math

import numpy as np
import pytest
import torch

from cryowalk.core.constants import lorentz_factor
from cryowalk.core.errors import UsageError
from cryowalk.data.instrument import Gun, ObjectiveLens
from cryowalk.data.optics import Aberrations, Defocus, Optics
from cryowalk.microscope import gun as g

OPTICS = Optics(pixel_size=1.1, voltage_kv=300, spherical_aberration_mm=2.7)


def defocus_of(major, minor=None, azimuth=0.0):
    values = [torch.as_tensor(float(v), dtype=torch.float64) for v in (major, major if minor is None else minor, azimuth, 0.0)]
    return Defocus(major=values[0], minor=values[1], azimuth=values[2], phase_shift=values[3])


def test_speed_mass_and_spacing_have_their_known_values():
    assert g.relative_speed(300) == pytest.approx(0.776525, abs=1e-6)
    assert g.relative_speed(100) == pytest.approx(0.548, abs=1e-3)
    assert g.relativistic_mass(300) / 9.1093837015e-31 == pytest.approx(1.587085, abs=1e-6)
    assert g.relativistic_mass(300) == pytest.approx(9.1093837015e-31 * lorentz_factor(300))
    assert g.electron_spacing(300, current=1e-9) * 1e-7 == pytest.approx(37.3, abs=0.05)  # mm
    assert g.electrons_in_column(300, current=1e-9, length=2e10) == pytest.approx(53.6, abs=0.1)


def test_recoil_energies_are_the_published_ones():
    assert g.largest_recoil_energy(12.011, voltage_kv=300) == pytest.approx(70.9, abs=0.1)
    assert g.largest_recoil_energy(1.008, voltage_kv=300) == pytest.approx(845, abs=1)
    # Carbon at 100 kV: about 20 eV, the reason why graphene survives 80 kV.
    assert g.largest_recoil_energy(12.011, voltage_kv=100) == pytest.approx(20.0, abs=0.2)


def test_three_angstroms_diffract_to_six_and_a_half_milliradians():
    assert 1e3 * g.scattering_angle(3.0, voltage_kv=300) == pytest.approx(6.56, abs=5e-3)


def test_brightness_ties_current_area_and_convergence():
    gun = Gun(convergence=4e-5, brightness=7e12)
    diameter = 1.5e4
    electrons = g.beam_current(gun, diameter=diameter) / 1.602176634e-19
    assert electrons / (math.pi / 4 * diameter**2) == pytest.approx(g.dose_rate(gun))
    assert g.convergence_for_dose_rate(gun, dose_rate=g.dose_rate(gun)) == pytest.approx(4e-5)
    halved = Gun(convergence=2e-5, brightness=7e12)
    assert g.dose_rate(halved) / g.dose_rate(gun) == pytest.approx(0.25)
    assert g.coherence_length(OPTICS, halved) / g.coherence_length(OPTICS, gun) == pytest.approx(2)


def test_shot_noise_is_that_of_counted_electrons():
    random = np.random.default_rng(5)
    contrast, dose, area = 0.05, 20.0, 400.0
    background = random.poisson(dose * area, 40000)
    feature = random.poisson(dose * area * (1 + contrast), 40000)
    measured = (feature.mean() - background.mean()) / background.std()
    assert g.contrast_to_noise(contrast, dose=dose, area=area) == pytest.approx(measured, rel=0.02)


def test_the_focus_spread_adds_its_causes_in_squares():
    only = {"energy_spread_ev": 0.0, "voltage_ripple": 0.0}
    lens, still = (
        ObjectiveLens(chromatic_aberration_mm=2.0, current_ripple=3e-7),
        ObjectiveLens(chromatic_aberration_mm=2.0, current_ripple=0.0),
    )
    by_lens = g.focus_spread(OPTICS, Gun(**only), lens)
    by_energy = g.focus_spread(OPTICS, Gun(**(only | {"energy_spread_ev": 0.4})), still)
    by_voltage = g.focus_spread(OPTICS, Gun(**(only | {"voltage_ripple": 5e-7})), still)
    together = g.focus_spread(OPTICS, Gun(energy_spread_ev=0.4, voltage_ripple=5e-7), lens)
    assert by_lens == pytest.approx(2e7 * 2 * 3e-7)
    assert together == pytest.approx(math.sqrt(by_lens**2 + by_energy**2 + by_voltage**2))
    # The lens answers to the momentum squared: p² ∝ V (1 + eV / 2mc²).
    step, volts = 1.0, 3e5
    squared = [v * (1 + v / (2 * 510998.95)) for v in (volts - step, volts + step)]
    assert by_energy / (2e7 * 0.4 / volts) == pytest.approx(
        (squared[1] - squared[0]) / (2 * step) / (squared[0] / volts), rel=1e-4
    )


def test_the_temporal_envelope_is_the_mean_over_defoci():
    gun, lens = Gun(energy_spread_ev=0.9), ObjectiveLens()
    spread = g.focus_spread(OPTICS, gun, lens)
    k = torch.tensor([0.2, 0.3, 0.4, 0.5], dtype=torch.float64)
    offsets = torch.linspace(-8 * spread, 8 * spread, 4001, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / spread) ** 2)
    waves = torch.exp(1j * math.pi * OPTICS.wavelength * offsets[:, None] * k**2)
    mean = (weights[:, None] * waves).sum(0) / weights.sum()
    torch.testing.assert_close(g.temporal_envelope(k, optics=OPTICS, gun=gun, lens=lens), mean.real, rtol=1e-6, atol=1e-9)


def test_the_spatial_envelope_has_its_golden_value():
    value = g.spatial_envelope(
        torch.tensor(1 / 3, dtype=torch.float64), optics=OPTICS, defocus=defocus_of(2e4), gun=Gun(convergence=5e-5)
    )
    assert value.item() == pytest.approx(0.378, abs=5e-4)


def test_the_spatial_envelope_is_the_mean_over_directions_of_the_beam():
    # Each direction θ of the beam displaces the phase by θ · ∇χ / λ, to first order.
    optics = Optics(
        pixel_size=1.0,
        spherical_aberration_mm=1.2,
        aberrations=Aberrations(even_zernike=(0, 0, 4.0, 9.0), odd_zernike=(0, 0, 30, 0, 0, 20)),
    )
    defocus, gun = defocus_of(12000.0, 9000.0, 0.6), Gun(convergence=6e-5, energy_spread_ev=0.0, voltage_ripple=0.0)
    still = ObjectiveLens(current_ripple=0.0)
    kx, ky = torch.tensor(0.21, dtype=torch.float64), torch.tensor(-0.14, dtype=torch.float64)
    from cryowalk.microscope.aberrations import antisymmetric_phase_at
    from cryowalk.microscope.lens import aberration_phase

    def phase(x, y):
        return aberration_phase(x, y, optics=optics, defocus=defocus) + antisymmetric_phase_at(x, y, optics=optics)

    step = 1e-6
    slope_x = (phase(kx + step, ky) - phase(kx - step, ky)) / (2 * step)
    slope_y = (phase(kx, ky + step) - phase(kx, ky - step)) / (2 * step)
    theta = torch.linspace(-5, 5, 2001, dtype=torch.float64) * gun.convergence
    weights = torch.exp(-((theta / gun.convergence) ** 2))
    factors = [(weights * torch.cos(theta * slope / optics.wavelength)).sum() / weights.sum() for slope in (slope_x, slope_y)]
    got = g.coherence_envelope(kx, ky, optics=optics, defocus=defocus, gun=gun, lens=still)
    assert got.item() == pytest.approx((factors[0] * factors[1]).item(), rel=1e-6)
    assert 0.05 < got.item() < 0.95


def test_the_round_envelope_is_a_cut_through_the_image_form():
    gun, lens = Gun(), ObjectiveLens()
    k = torch.linspace(0, 0.45, 20, dtype=torch.float64)
    round_form = g.spatial_envelope(k, optics=OPTICS, defocus=defocus_of(1.7e4), gun=gun) * g.temporal_envelope(
        k, optics=OPTICS, gun=gun, lens=lens
    )
    cut = g.coherence_envelope(k * 0.6, k * 0.8, optics=OPTICS, defocus=defocus_of(1.7e4), gun=gun, lens=lens)
    torch.testing.assert_close(round_form, cut)


def test_a_batch_of_defoci_comes_before_the_frequencies():
    major = torch.tensor([8e3, 1.4e4, 2e4], dtype=torch.float64)
    defocus = Defocus(major=major, minor=major, azimuth=torch.zeros_like(major), phase_shift=torch.zeros_like(major))
    k = torch.linspace(0, 0.4, 7, dtype=torch.float64)
    together = g.spatial_envelope(k, optics=OPTICS, defocus=defocus, gun=Gun())
    assert together.shape == (3, 7)
    torch.testing.assert_close(together[1], g.spatial_envelope(k, optics=OPTICS, defocus=defocus_of(1.4e4), gun=Gun()))


@pytest.mark.parametrize(
    "call",
    [
        lambda: g.electron_spacing(300, current=0.0),
        lambda: g.relative_speed(-1.0),
        lambda: g.scattering_angle(0.0, voltage_kv=300),
        lambda: g.dose_rate(Gun(convergence=0.0)),
        lambda: g.contrast_to_noise(0.1, dose=-3.0, area=4.0),
        lambda: g.largest_recoil_energy(float("nan"), voltage_kv=300),
    ],
)
def test_what_cannot_be_is_refused(call):
    with pytest.raises(UsageError, match="must be above zero"):
        call()
