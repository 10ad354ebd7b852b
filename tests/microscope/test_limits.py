"""The theoretical limits against golden numbers, and the budget against the same causes simulated."""

import math

import numpy as np
import pytest
import torch

from cryowalk.core.errors import UsageError
from cryowalk.data.camera import Camera, Response
from cryowalk.data.instrument import Gun, ObjectiveLens
from cryowalk.data.optics import Defocus, Optics
from cryowalk.microscope import limits as m
from cryowalk.microscope.damage import critical_exposure

OPTICS = Optics(pixel_size=1.0)


def test_nyquist_is_two_pixels():
    assert m.nyquist_resolution(Optics(pixel_size=0.83)) == pytest.approx(1.66)


def test_crowther_has_its_golden_values():
    assert m.crowther_views(10.0, diameter=200.0) == 63
    assert math.degrees(m.crowther_step(10.0, diameter=200.0)) == pytest.approx(2.8648, abs=1e-4)
    assert m.crowther_resolution(m.crowther_step(10.0, diameter=200.0), diameter=200.0) == pytest.approx(10)
    assert m.crowther_resolution(math.radians(3), diameter=1000.0) == pytest.approx(52.4, abs=0.1)
    assert m.crowther_views(math.pi, diameter=100.0) == 100  # a whole number is not rounded up


@pytest.mark.parametrize(
    ("voltage_kv", "sag", "resolution"), [(100, 0.00205635, 2.82), (200, 0.00139330, None), (300, 0.00109375, 2.05)]
)
def test_the_ewald_sphere_and_depth_of_field_have_their_golden_values(voltage_kv, sag, resolution):
    assert m.ewald_sag(1 / 3, voltage_kv=voltage_kv) == pytest.approx(sag, rel=1e-5)
    if resolution is not None:
        assert m.depth_of_field_resolution(300.0, voltage_kv=voltage_kv) == pytest.approx(resolution, abs=5e-3)
    assert m.depth_of_field_resolution(300.0, voltage_kv=300, criterion=1.0) == pytest.approx(1.72, abs=5e-3)
    assert m.depth_of_field(3.0, voltage_kv=300) == pytest.approx(640, rel=1e-3)
    assert m.depth_of_field(m.depth_of_field_resolution(450.0, voltage_kv=voltage_kv), voltage_kv=voltage_kv) == pytest.approx(
        450
    )


def test_a_quarter_of_pi_is_a_hundred_angstroms_of_defocus():
    assert m.defocus_tolerance(3.0, voltage_kv=300) == pytest.approx(114, abs=0.5)
    assert m.defocus_tolerance(3.0, voltage_kv=200) == pytest.approx(90, abs=0.5)
    assert math.pi * OPTICS.wavelength / 9 * m.defocus_tolerance(3.0, voltage_kv=300) == pytest.approx(math.pi / 4)


def test_curvature_is_the_mean_over_a_ball():
    random = np.random.default_rng(3)
    z = random.uniform(-1, 1, (400000, 3))
    z = z[(z**2).sum(axis=1) < 1][:, 2]
    k = torch.tensor([0.05, 0.25, 0.33, 0.5], dtype=torch.float64)
    mean = [np.cos(np.pi * OPTICS.wavelength * f**2 * 150.0 * z).mean() for f in k.numpy()]
    np.testing.assert_allclose(m.curvature_envelope(k, diameter=300.0, voltage_kv=300), mean, atol=3e-3)
    near = m.curvature_envelope(torch.tensor([0.0, 0.0328, 0.0329], dtype=torch.float64), diameter=300.0, voltage_kv=300)
    assert near[0] == 1
    assert (near.diff() < 0).all()  # no step where the series ends


def test_the_dose_of_damage_is_where_a_plain_sum_is_best():
    critical = float(critical_exposure(torch.tensor(1 / 3, dtype=torch.float64), voltage_kv=300))
    assert critical == pytest.approx(4.3399, abs=1e-4)
    dose = m.damage_limited_dose(3.0, voltage_kv=300)
    assert dose / critical == pytest.approx(2.5128624, rel=1e-6)

    def ratio(n):
        return (1 - math.exp(-n / (2 * critical))) / math.sqrt(n)

    assert ratio(dose) > ratio(dose * 1.02)
    assert ratio(dose) > ratio(dose * 0.98)


def test_particle_numbers_follow_rosenthal_and_henderson():
    assert m.particle_ratio(3.0, than=4.0, b_factor=100.0) == pytest.approx(11.3652, rel=1e-5)
    both = m.particles_needed(3.0, b_factor=100.0) / m.particles_needed(4.0, b_factor=100.0)
    assert both == pytest.approx(15.1536, rel=1e-5)
    # Their own figures: about 12,600 images of C1 at 3 Å without decay, 30π / (3 · 5 · 0.004 · 3).
    assert m.particles_needed(3.0, b_factor=0.0) == pytest.approx(30 * math.pi / (3 * 5 * 0.004 * 3))
    four = m.Sampling(asymmetric_units=4)
    assert m.particles_needed(3.0, b_factor=50.0, sampling=four) == pytest.approx(m.particles_needed(3.0, b_factor=50.0) / 4)


def test_the_b_factor_comes_back_from_counts():
    resolutions = torch.tensor([4.5, 3.9, 3.4, 3.0, 2.8], dtype=torch.float64)
    counts = 500 * torch.tensor([m.particle_ratio(float(d), than=4.5, b_factor=130.0) for d in resolutions], dtype=torch.float64)
    assert m.b_factor_of_counts(counts, resolutions) == pytest.approx(130.0)


def test_the_coherence_limit_is_where_the_envelope_reaches_its_level():
    from cryowalk.microscope.gun import coherence_envelope

    gun, lens = Gun(energy_spread_ev=0.8, convergence=1e-4), ObjectiveLens()
    zero = torch.zeros((), dtype=torch.float64)
    defocus = Defocus(major=zero + 12000, minor=zero + 12000, azimuth=zero, phase_shift=zero)
    for level in (math.exp(-2), 0.5):
        found = m.coherence_limit(OPTICS, defocus=12000.0, gun=gun, lens=lens, level=level)
        got = coherence_envelope(zero + 1 / found, zero, optics=OPTICS, defocus=defocus, gun=gun, lens=lens)
        assert got.item() == pytest.approx(level, rel=1e-3)
        coarser = coherence_envelope(zero + 0.98 / found, zero, optics=OPTICS, defocus=defocus, gun=gun, lens=lens)
        assert coarser > level


def test_the_signal_to_noise_of_an_image_is_that_of_counted_images(generator):
    from cryowalk.core.constants import interaction_constant
    from cryowalk.fourier.transform import to_fourier

    optics, side, dose = Optics(pixel_size=1.5), 32, 200.0
    potential = 8 * torch.randn(side, side, generator=generator, dtype=torch.float64)
    expected = dose * 1.5**2 * (1 - 2 * interaction_constant(300) * potential)
    images = torch.poisson(expected.expand(3000, side, side).contiguous(), generator=generator)
    spectra = to_fourier(images)
    signal, noise = (spectra.mean(dim=0).abs() ** 2)[1:, 1:16], spectra.var(dim=0)[1:, 1:16]
    measured = (signal / noise).mean()  # the mean of 3000 images has 1/3000 of noise in it
    power = (to_fourier(potential).abs() ** 2)[1:, 1:16] * (side * 1.5**2) ** 2
    predicted = m.image_signal_to_noise(power, torch.ones_like(power), optics=optics, dose=dose, area=(side * 1.5) ** 2)
    assert (measured - 1 / 3000).item() == pytest.approx(predicted.mean().item(), rel=0.02)


def conditions(**more):
    return m.Conditions(**({"defocus": 15000.0, "diameter": 150.0, "box": 320} | more))


def test_the_budget_is_the_product_of_what_each_cause_leaves():
    camera = Camera(dqe=Response(frequency=(0.0, 0.5), value=(0.9, 0.3)))
    budget = m.budget(3.0, optics=OPTICS, conditions=conditions(jitter=0.3, drift=0.5, camera=camera, dose=30.0))
    assert budget.total == pytest.approx(math.prod(budget))
    assert budget.worst == "dose"
    assert budget.detection == pytest.approx(math.sqrt(0.9 - 0.6 * 2 / 3))
    assert budget.motion == pytest.approx(np.sinc(0.5 / 3) * math.exp(-2 * math.pi**2 * 0.09 / 9))
    assert budget.thickness == pytest.approx(math.exp(-300 / (2 * 3950)), rel=1e-6)
    assert all(0 <= share <= 1 for share in budget)
    coarse = m.budget(20.0, optics=OPTICS, conditions=conditions())
    assert coarse.total > 0.5


def test_the_budget_is_the_envelope_of_images_simulated_with_all_causes():
    # H06: waves of every focus, direction, depth and displacement are added; the product of bars is the amplitude that remains.
    resolution, k = 3.0, 1 / 3.0
    case = conditions(defocus=15000.0, diameter=200.0, jitter=0.25, gun=Gun(energy_spread_ev=0.9, convergence=4e-5), dose=20.0)
    budget = m.budget(resolution, optics=OPTICS, conditions=case)
    from cryowalk.microscope.gun import focus_spread

    random = np.random.default_rng(11)
    count = 400_000
    ball = random.normal(size=(count, 3))
    ball *= (random.uniform(size=count) ** (1 / 3) / np.linalg.norm(ball, axis=1))[:, None] * 100.0
    focus = 15000.0 + random.normal(size=count) * focus_spread(OPTICS, case.gun, case.lens) + ball[:, 2]
    theta = random.normal(size=count) * case.gun.convergence / math.sqrt(2)  # exp(−θ²/α²) along k
    wavelength = OPTICS.wavelength

    def chi(f, q):
        return math.pi * wavelength * (f * q**2 - 0.5 * 2.7e7 * wavelength**2 * q**4)

    slope = 2 * math.pi * (wavelength * 15000.0 * k - 2.7e7 * wavelength**3 * k**3)
    wobble = random.normal(size=count) * 0.25
    waves = np.exp(1j * (chi(focus, k) + theta / wavelength * slope + 2 * math.pi * k * wobble))
    critical = float(critical_exposure(torch.tensor(k, dtype=torch.float64), voltage_kv=300))
    doses = random.uniform(0, 20.0, count)
    measured = abs((waves * np.exp(-doses / (2 * critical))).mean())
    product = budget.temporal_coherence * budget.spatial_coherence * budget.curvature * budget.motion * budget.dose
    assert measured == pytest.approx(product, rel=0.02)


def test_a_box_that_holds_half_the_disk_keeps_half_its_energy():
    optics = Optics(pixel_size=1.0, spherical_aberration_mm=0.0)
    displacement = optics.wavelength * 20000 / 4.0
    held = m.budget(4.0, optics=optics, conditions=conditions(defocus=20000.0, box=int(2 * displacement)))
    assert held.sampling == pytest.approx(math.sqrt(0.5), abs=5e-3)
    assert m.budget(4.0, optics=optics, conditions=conditions(defocus=20000.0, box=2000)).sampling == 1
    assert m.budget(4.0, optics=optics, conditions=conditions(defocus=90000.0, box=64)).sampling == 0
    assert m.budget(1.9, optics=optics, conditions=conditions(box=2000)).sampling == 0  # beyond Nyquist


@pytest.mark.parametrize(
    "call",
    [
        lambda: m.crowther_views(0.0, diameter=100.0),
        lambda: m.depth_of_field_resolution(-1.0, voltage_kv=300),
        lambda: m.particles_needed(-3.0, b_factor=100.0),
        lambda: m.budget(0.0, optics=OPTICS, conditions=conditions()),
        lambda: m.image_signal_to_noise(torch.ones(2), torch.ones(2), optics=OPTICS, dose=0.0, area=1.0),
    ],
)
def test_what_cannot_be_is_refused(call):
    with pytest.raises(UsageError, match="above zero"):
        call()
