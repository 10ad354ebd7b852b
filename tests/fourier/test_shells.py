"""Shell averages counted by hand, and the correlation of noise, of equal maps and of scaled ones."""

import math

import pytest
import torch

from cryowalk.core.errors import ShapeError
from cryowalk.fourier.grids import shell_index
from cryowalk.fourier.shells import (
    correlation_with_truth,
    fsc_from_snr,
    shell_average,
    shell_correlation,
    shell_frequency,
    shell_sum,
    snr_from_fsc,
)
from cryowalk.fourier.transform import complex_transform, to_fourier

SIZES = [(8, 8), (9, 9), (8, 9), (9, 8), (6, 6, 6), (5, 5, 5)]


@pytest.mark.parametrize("size", SIZES)
def test_average_counts_both_friedel_mates(size, generator):
    """Averages over the full spectrum, written out coefficient by coefficient."""
    array = torch.randn(size, generator=generator, dtype=torch.float64)
    full = complex_transform(array.to(torch.complex128), dimensions=len(size), direction="forward").abs() ** 2
    shells: dict[int, list[float]] = {}
    for index in torch.cartesian_prod(*[torch.arange(n) for n in size]).tolist():
        k = [min(i, n - i) / n for i, n in zip(index, size, strict=True)]
        shells.setdefault(math.floor(math.hypot(*k) * min(size) + 0.5 + 1e-9), []).append(full[tuple(index)].item())
    expected = torch.tensor([sum(shells[s]) / len(shells[s]) for s in range(min(size) // 2 + 1)], dtype=torch.float64)
    power = to_fourier(array, dimensions=len(size)).abs() ** 2
    torch.testing.assert_close(shell_average(power, size=size), expected)


def test_average_of_a_batch_keeps_its_leading_axes(generator):
    power = torch.rand(3, 2, 8, 5, generator=generator)
    both = shell_average(power, size=(8, 8))
    assert both.shape == (3, 2, 5)
    torch.testing.assert_close(both[1, 1], shell_average(power[1, 1], size=(8, 8)))


def test_sum_over_shells_is_the_total_power_inside_nyquist(generator):
    volume = torch.randn(10, 10, 10, generator=generator)
    power = to_fourier(volume, dimensions=3).abs() ** 2
    inside = torch.where(shell_index((10, 10, 10)) <= 5, power, torch.zeros(()))
    both = torch.full((6,), 2.0)
    both[0] = both[-1] = 1
    torch.testing.assert_close(shell_sum(power, size=(10, 10, 10)).sum(), (inside * both).sum())


def test_large_sums_stay_exact():
    ones = torch.ones(64, 64, 33)
    assert torch.equal(shell_average(ones, size=(64, 64, 64)), torch.ones(33))


def test_wrong_half_spectrum():
    with pytest.raises(ShapeError, match="half spectrum"):
        shell_average(torch.ones(8, 8), size=(8, 8))


@pytest.mark.parametrize("size", SIZES)
def test_correlation_ignores_scale_and_sees_sign(size, generator):
    array = torch.randn(size, generator=generator)
    torch.testing.assert_close(shell_correlation(array, 3 * array), torch.ones(min(size) // 2 + 1))
    torch.testing.assert_close(shell_correlation(array, -array), -torch.ones(min(size) // 2 + 1))


def test_correlation_of_independent_noise_spreads_as_one_over_root_n(generator):
    first, second = torch.randn(2, 40, 32, 32, generator=generator)
    curves = shell_correlation(first, second, dimensions=2)[:, 2:]
    count = shell_sum(torch.ones(32, 17), size=(32, 32))[2:]
    # Friedel mates repeat each other, so n coefficients carry n independent real numbers.
    assert curves.mean().abs() < 0.01
    torch.testing.assert_close(curves.std(dim=0) * count.sqrt(), torch.ones(15), rtol=0, atol=0.4)
    assert (curves.std(dim=0) * count.sqrt()).mean().item() == pytest.approx(1, abs=0.08)


def test_correlation_of_noisy_copies_gives_their_snr(generator):
    signal = torch.randn(48, 48, 48, generator=generator)
    first, second = (signal + 0.5 * torch.randn(48, 48, 48, generator=generator) for _ in range(2))
    curve = shell_correlation(first, second)[8:]
    assert curve.mean().item() == pytest.approx(fsc_from_snr(torch.tensor(4.0)).item(), abs=0.01)
    truth = shell_correlation((first + second) / 2, signal)[8:]
    torch.testing.assert_close(correlation_with_truth(curve), truth, rtol=0, atol=0.02)


def test_correlation_of_nothing_is_zero():
    assert torch.equal(shell_correlation(torch.zeros(6, 6), torch.ones(6, 6)), torch.zeros(4))


def test_snr_and_fsc_are_inverse():
    fsc = torch.tensor([0.0, 0.143, 0.5, 0.9])
    torch.testing.assert_close(fsc_from_snr(snr_from_fsc(fsc)), fsc)
    assert snr_from_fsc(torch.tensor(0.5)).item() == pytest.approx(1)


def test_shell_frequencies():
    torch.testing.assert_close(shell_frequency(9, pixel_size=1.5), torch.arange(5) / 13.5)


def test_correlation_needs_equal_shapes():
    with pytest.raises(ShapeError, match="one shape"):
        shell_correlation(torch.zeros(4, 4), torch.zeros(5, 5))
