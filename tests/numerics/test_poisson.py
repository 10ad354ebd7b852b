"""Poisson and binomial numbers: their law, and that they are the same whatever the threads."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from cryowalk.numerics.poisson import binomial, poisson


def at(seed):
    return torch.Generator().manual_seed(seed)


def chi_square(numbers, law):
    """The chance of a worse fit; bins with few expected numbers are joined at the ends."""
    top = int(numbers.max()) + 2
    expected = law.pmf(np.arange(top)) * len(numbers)
    observed = np.bincount(numbers.astype(int), minlength=top).astype(float)
    good = np.flatnonzero(expected > 20)
    first, last = good[0], good[-1] + 1
    join = lambda x, total: np.concatenate([[x[:first].sum()], x[first:last], [total - x[:last].sum()]])  # noqa: E731
    observed, expected = join(observed, len(numbers)), join(expected, len(numbers))
    kept = expected > 5
    return stats.chisquare(observed[kept], expected[kept] * observed[kept].sum() / expected[kept].sum()).pvalue


@pytest.mark.parametrize("mean", [0.01, 0.3, 1.0, 4.7, 11.99, 12.0, 12.5, 30.0, 141.0, 3000.0])
def test_poisson_numbers_have_their_law(mean):
    numbers = poisson(torch.full((700, 601), mean, dtype=torch.float64), generator=at(int(10 * mean) + 1)).numpy().ravel()
    assert chi_square(numbers, stats.poisson(mean)) > 1e-4
    assert numbers.mean() == pytest.approx(mean, abs=5 * math.sqrt(mean / numbers.size))
    assert numbers.var() == pytest.approx(mean, abs=6 * math.sqrt((mean + 2 * mean**2) / numbers.size))


@pytest.mark.parametrize(("trials", "chance"), [(1, 0.3), (40, 0.02), (75, 0.5), (75, 0.97), (3000, 0.4), (5, 1.0), (5, 0.0)])
def test_binomial_numbers_have_their_law(trials, chance):
    shape = (60, 101) if trials > 1000 else (400, 301)
    numbers = binomial(torch.full(shape, chance, dtype=torch.float64), trials=trials, generator=at(trials)).numpy().ravel()
    if chance in {0.0, 1.0}:
        assert (numbers == trials * chance).all()
    else:
        assert chi_square(numbers, stats.binom(trials, chance)) > 1e-4


def test_rows_and_neighbours_are_independent():
    numbers = poisson(torch.full((512, 511), 1.3), generator=at(5)).double() - 1.3
    for other in (numbers.roll(1, 0), numbers.roll(1, 1), numbers.roll((1, 1), (0, 1)), numbers.flip(0)):
        assert abs((numbers * other).mean().item()) < 5 * 1.3 / math.sqrt(numbers.numel())
    again = poisson(torch.full((512, 511), 1.3), generator=at(6)).double() - 1.3
    assert abs((numbers * again).mean().item()) < 5 * 1.3 / math.sqrt(numbers.numel())


def test_the_numbers_do_not_depend_on_the_threads():
    mean = torch.rand(3, 57, 44, generator=at(1)) * 30
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone, alone_binomial = poisson(mean, generator=at(2)), binomial(mean / 40, trials=9, generator=at(2))
        torch.set_num_threads(4)
        together, together_binomial = poisson(mean, generator=at(2)), binomial(mean / 40, trials=9, generator=at(2))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(alone, together)
    assert torch.equal(alone_binomial, together_binomial)


def test_a_generator_moves_on_and_can_be_set_back():
    mean, generator = torch.full((40, 40), 2.0), at(3)
    first, second = poisson(mean, generator=generator), poisson(mean, generator=generator)
    assert not torch.equal(first, second)
    assert torch.equal(first, poisson(mean, generator=at(3)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_not_above_zero_gives_zero_and_the_type_is_kept(dtype):
    mean = torch.tensor([[0.0, -3.0, float("nan"), 1e-30]], dtype=dtype).expand(2, 5, 4)
    numbers = poisson(mean, generator=at(1))
    assert numbers.dtype == dtype
    assert numbers.shape == (2, 5, 4)
    assert (numbers == 0).all()


def test_counts_stay_exact_whole_numbers_at_large_means():
    numbers = poisson(torch.full((50, 50), 1e6, dtype=torch.float64), generator=at(1))
    assert torch.equal(numbers, numbers.round())
    assert numbers.std().item() == pytest.approx(1000, rel=0.05)


def test_trials_may_differ_from_pixel_to_pixel():
    trials = torch.arange(12.0).reshape(3, 4).expand(2000, 3, 4)
    numbers = binomial(torch.full((2000, 3, 4), 0.25), trials=trials, generator=at(4))
    assert (numbers <= trials).all()
    torch.testing.assert_close(numbers.mean(0), trials[0] * 0.25, atol=0.25, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_another_device_the_law_is_the_same():
    mean = torch.full((500, 500), 2.5, device="cuda")
    numbers = poisson(mean, generator=at(1))
    assert numbers.device.type == "cuda"
    assert chi_square(numbers.cpu().numpy().ravel(), stats.poisson(2.5)) > 1e-4
    assert torch.equal(numbers, poisson(mean, generator=at(1)))
    heads = binomial(torch.full((500, 500), 0.1, device="cuda"), trials=20, generator=at(1))
    assert chi_square(heads.cpu().numpy().ravel(), stats.binom(20, 0.1)) > 1e-4
