"""Critical exposure, what a dose leaves, and the weights that follow, against published numbers and integrals."""

import math

import pytest
import torch

from cryowalk.core.errors import UsageError
from cryowalk.fourier.grids import frequency_radius
from cryowalk.microscope.damage import (
    OPTIMAL_OVER_CRITICAL,
    attenuation,
    critical_exposure,
    dose_weights,
    exposure_filter,
    optimal_dose,
    voltage_factor,
    weighting_gain,
)

# cisTEM's console test of its exposure filter: 30 e⁻/Å², images of 1024² and 1025², for 300, 200 and 100 kV and pixels of 0.72, 1.0 and 2.1 Å;
# the coefficients 0, 13 and 341 of row 0 and 510 of row 1 of the half spectrum.
PIXELS = (0.72, 1.0, 2.1)
CISTEM_FACTOR = {300: 1.0, 200: 0.8, 100: 0.532}
EVEN = (
    1.000000000, 0.929921567, 0.017324856, 0.010133515, 1.000000000, 0.958591580, 0.031609546, 0.015432503,
    1.000000000, 0.987710178, 0.155882418, 0.065504745, 1.000000000, 0.913183212, 0.006285460, 0.003215143,
    1.000000000, 0.948510230, 0.013328240, 0.005439333, 1.000000000, 0.984661400, 0.097948194, 0.033139121,
    1.000000000, 0.872345626, 0.000488910, 0.000178414, 1.000000000, 0.923584640, 0.001513943, 0.000393374,
    1.000000000, 0.977023780, 0.030387951, 0.005955920,
)  # fmt: skip
ODD = (
    1.000000000, 0.930029809, 0.017352197, 0.010144006, 1.000000000, 0.958656907, 0.031672075, 0.015455280,
    1.000000000, 0.987729967, 0.156189293, 0.065646693, 1.000000000, 0.913316071, 0.006297863, 0.003219303,
    1.000000000, 0.948590994, 0.013361209, 0.005449366, 1.000000000, 0.984686077, 0.098189279, 0.033228900,
    1.000000000, 0.872536480, 0.000490361, 0.000178761, 1.000000000, 0.923702955, 0.001519577, 0.000394466,
    1.000000000, 0.977060616, 0.030500494, 0.005980202,
)  # fmt: skip


def test_critical_exposures_are_the_published_ones(golden):
    expected = golden["critical_exposure_300kV_e_per_A2"]
    for key in ("20A", "10A", "7A", "5A", "4A", "3A", "2.5A", "2A"):
        frequency = torch.tensor(1 / float(key[:-1]), dtype=torch.float64)
        assert critical_exposure(frequency, voltage_kv=300).item() == pytest.approx(expected[key], rel=2e-6)
    assert voltage_factor(200) == expected["scale_200kV"]
    assert expected["optimal_over_Ne"] == pytest.approx(OPTIMAL_OVER_CRITICAL, rel=1e-12)


def test_critical_exposure_holds_the_rounded_formula_of_the_paper():
    k = torch.linspace(0.05, 0.5, 40, dtype=torch.float64)
    torch.testing.assert_close(critical_exposure(k, voltage_kv=300), 0.245 * k**-1.665 + 2.81, rtol=2e-3, atol=0)


@pytest.mark.parametrize(("size", "table"), [(1024, EVEN), (1025, ODD)])
def test_cistems_table_of_its_exposure_filter(size, table):
    values = iter(table)
    for voltage, factor in CISTEM_FACTOR.items():
        for pixel in PIXELS:
            k = frequency_radius((size, size), pixel_size=pixel, dtype=torch.float64)
            places = torch.stack([k[0, 0], k[0, 13], k[0, 341], k[1, 510]])
            # Its factor at 100 kV is not ours: the same dose in units of the critical exposure is.
            left = exposure_filter(places, dose=30 / factor * voltage_factor(voltage), voltage_kv=voltage)
            expected = torch.tensor([next(values) for _ in range(4)], dtype=torch.float64)
            torch.testing.assert_close(left, expected, rtol=0, atol=1e-7)
    assert next(values, None) is None


def test_the_factor_of_the_voltage_goes_through_what_was_measured():
    assert [voltage_factor(v) for v in (100, 200, 300)] == [0.64, 0.8, 1.0]
    assert voltage_factor(120) == pytest.approx(0.672)
    assert voltage_factor(80) == pytest.approx(0.608)
    assert 1 / voltage_factor(100) == pytest.approx(1.57, rel=0.01)  # the damage that crystals showed
    for voltage in (60, 400, math.nan):
        with pytest.raises(UsageError, match="voltage"):
            voltage_factor(voltage)


def test_the_mean_over_a_frame_is_the_integral():
    k = torch.linspace(0, 0.5, 11, dtype=torch.float64)
    before, dose, steps = 3.7, 2.9, 20_000
    middles = before + dose * (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    expected = exposure_filter(k, dose=middles[:, None], voltage_kv=200).mean(dim=0)
    torch.testing.assert_close(attenuation(k, dose_before=before, dose=dose, voltage_kv=200), expected, rtol=1e-8, atol=0)


def test_frames_add_up_to_the_whole_exposure_and_no_dose_leaves_all():
    k = torch.linspace(0, 0.6, 13, dtype=torch.float64)
    parts = torch.stack([attenuation(k, dose_before=1.3 * f, dose=1.3, voltage_kv=300) for f in range(30)])
    torch.testing.assert_close(parts.mean(dim=0), attenuation(k, dose_before=0, dose=39.0, voltage_kv=300))
    assert torch.equal(attenuation(k, dose_before=0.0, dose=0.0, voltage_kv=300), torch.ones_like(k))
    torch.testing.assert_close(
        attenuation(k, dose_before=7.0, dose=0.0, voltage_kv=300), exposure_filter(k, dose=7.0, voltage_kv=300)
    )
    assert attenuation(k, dose_before=10.0, dose=1.0, voltage_kv=300)[0] == 1  # nothing is lost at k = 0
    doses = torch.tensor([0.0, 1e-9, 2e-4, 1.0], dtype=torch.float64)[:, None]
    left = attenuation(k, dose_before=0.0, dose=doses, voltage_kv=300)
    assert (left.diff(dim=0) <= 0).all()
    assert (left > 0).all()


def test_attenuation_is_differentiable_also_at_the_origin():
    k = torch.tensor([0.0, 1e-3, 0.1, 0.4], dtype=torch.float64, requires_grad=True)
    dose = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda k, d: attenuation(k[1:], dose_before=1.0, dose=d, voltage_kv=300), (k, dose))
    gradient = torch.autograd.grad(attenuation(k, dose_before=1.0, dose=dose, voltage_kv=300).sum(), (k, dose))
    assert all(torch.isfinite(g).all() for g in gradient)


def test_dose_weights_keep_the_noise_and_are_the_matched_filter():
    k = torch.linspace(0, 0.5, 9, dtype=torch.float64)
    weights = dose_weights(k, frames=25, dose_per_frame=1.6, voltage_kv=300)
    assert weights.shape == (25, 9)
    torch.testing.assert_close((weights**2).sum(dim=0), torch.ones_like(k))
    torch.testing.assert_close(weights[:, 0], torch.full((25,), 0.2, dtype=torch.float64))
    left = torch.stack([attenuation(k, dose_before=1.6 * f, dose=1.6, voltage_kv=300) for f in range(25)])
    torch.testing.assert_close(weights, left / left.norm(dim=0))  # the same with the frames' mean amplitudes
    early = dose_weights(k, frames=25, dose_per_frame=1.6, dose_before=500.0, voltage_kv=300)
    torch.testing.assert_close(early, weights)  # a pre-exposure weakens all frames alike
    assert torch.isfinite(dose_weights(k.float(), frames=3, dose_per_frame=1.0, dose_before=1e5, voltage_kv=300)).all()


def test_weighted_sums_have_the_better_ratio_in_every_shell(generator):
    k = torch.linspace(0, 0.5, 26, dtype=torch.float64)
    gain = weighting_gain(k, frames=40, dose_per_frame=1.25, voltage_kv=300)
    assert (gain >= 1 - 1e-12).all()
    assert gain[0].item() == pytest.approx(1)
    assert (gain[1:].diff() > 0).all()
    assert gain[-1] > 3
    # measured: signal a_f with unit noise in each frame
    left = torch.stack([attenuation(k, dose_before=1.25 * f, dose=1.25, voltage_kv=300) for f in range(40)])
    noise = torch.randn(4000, 40, 26, generator=generator, dtype=torch.float64)
    weights = dose_weights(k, frames=40, dose_per_frame=1.25, voltage_kv=300)
    plain = left.sum(dim=0) ** 2 / noise.sum(dim=1).var(dim=0)
    weighted = (weights * left).sum(dim=0) ** 2 / (weights * noise).sum(dim=1).var(dim=0)
    torch.testing.assert_close(weighted / plain, gain, rtol=0.15, atol=0)


def test_the_optimal_dose_is_where_the_ratio_is_largest():
    k = torch.tensor([0.1, 1 / 3], dtype=torch.float64)
    best = optimal_dose(k, voltage_kv=300)
    torch.testing.assert_close(best, 2.5128624 * critical_exposure(k, voltage_kv=300), rtol=1e-7, atol=0)
    doses = torch.linspace(0.5, 120, 24_000, dtype=torch.float64)[:, None]
    ratio = attenuation(k, dose_before=0.0, dose=doses, voltage_kv=300) * torch.sqrt(doses)
    torch.testing.assert_close(doses[ratio.argmax(dim=0), 0], best, rtol=0, atol=0.02)


def test_doses_that_cannot_be_are_refused():
    k = torch.linspace(0, 0.5, 5)
    with pytest.raises(UsageError, match="dose must be zero or above"):
        attenuation(k, dose_before=0.0, dose=-1.0, voltage_kv=300)
    with pytest.raises(UsageError, match="before the frame"):
        attenuation(k, dose_before=math.nan, dose=1.0, voltage_kv=300)
    with pytest.raises(UsageError, match="dose per frame"):
        dose_weights(k, frames=3, dose_per_frame=0.0, voltage_kv=300)
    with pytest.raises(UsageError, match="at least one frame"):
        dose_weights(k, frames=0, dose_per_frame=1.0, voltage_kv=300)
