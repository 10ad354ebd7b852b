"""Exact Poisson and binomial numbers for whole images, fast on a CPU, and the same whatever the number of threads.

Each row of an image has a stream of random numbers of its own (xoshiro256++), started from the seed and the row's number by splitmix64.

Blackman & Vigna, ACM Trans. Math. Softw. 47, 36 (2021); Hörmann, Insurance: Mathematics and Economics 12, 39 (1993), algorithm PTRS.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.numerics.compiling import inlined, kernel

_UNIT = 2.0**-53
_LARGE = 12.0  # from here on rejection is faster than the sum of probabilities


@inlined()
def _started(state: Any, seed: int, row: int) -> None:
    """Fill the four words of a row's state by splitmix64."""
    word = np.uint64(seed) ^ (np.uint64(row) * np.uint64(0xD1342543DE82EF95))
    for index in range(4):
        word += np.uint64(0x9E3779B97F4A7C15)
        mixed = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state[index] = mixed ^ (mixed >> np.uint64(31))


@inlined()
def _uniform(state: Any) -> float:
    """The next number in [0, 1) of a row's stream, xoshiro256++."""
    total = state[0] + state[3]
    result = ((total << np.uint64(23)) | (total >> np.uint64(41))) + state[0]
    shifted = state[1] << np.uint64(17)
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= shifted
    state[3] = (state[3] << np.uint64(45)) | (state[3] >> np.uint64(19))
    return float(result >> np.uint64(11)) * _UNIT


@inlined()
def _large_poisson(state: Any, mean: float) -> Any:
    """A Poisson number of a mean of ten or more, by transformed rejection (PTRS)."""
    b = 0.931 + 2.53 * math.sqrt(mean)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    accepted = 0.9277 - 3.6224 / (b - 2.0)
    log_mean = math.log(mean)
    while True:
        u = _uniform(state) - 0.5
        v = _uniform(state)
        distance = 0.5 - abs(u)
        if distance <= 0:
            continue
        number = math.floor((2 * a / distance + b) * u + mean + 0.43)
        if distance >= 0.07 and v <= accepted:
            return number
        if number < 0 or (distance < 0.013 and v > distance):
            continue
        bound = number * log_mean - mean - math.lgamma(number + 1)
        if math.log(v * inverse_alpha / (a / (distance * distance) + b)) <= bound:
            return number


@kernel()
def _poisson_rows(mean: Any, counts: Any, seed: int, first: int, last: int) -> None:  # noqa: PLR0917  compiled functions take no keywords
    """Rows `first` to `last` of `counts`; small means by adding up probabilities until they exceed a uniform number."""
    state = np.empty(4, dtype=np.uint64)
    for row in range(first, last):
        _started(state, seed, row)
        for column in range(mean.shape[1]):
            expected = float(mean[row, column])
            if not expected > 0:
                counts[row, column] = 0
            elif expected < _LARGE:
                left = _uniform(state)
                probability = math.exp(-expected)
                number = 0
                while left >= probability and probability > 0:
                    left -= probability
                    number += 1
                    probability *= expected / number
                counts[row, column] = number
            else:
                counts[row, column] = _large_poisson(state, expected)


@kernel()
def _binomial_rows(chance: Any, trials: Any, counts: Any, seed: int, first: int, last: int) -> None:  # noqa: PLR0917
    """Rows `first` to `last` of `counts`, the same way; rare chances count successes, common ones failures."""
    state = np.empty(4, dtype=np.uint64)
    for row in range(first, last):
        _started(state, seed, row)
        for column in range(chance.shape[1]):
            tried = int(trials[row, column])
            p = min(max(float(chance[row, column]), 0.0), 1.0)
            rare = min(p, 1 - p)
            ratio = rare / (1 - rare)
            left = _uniform(state)
            probability = math.exp(tried * math.log1p(-rare))
            number = 0
            if probability > 1e-280:
                while left >= probability and number < tried:
                    left -= probability
                    probability *= ratio * (tried - number) / (number + 1)
                    number += 1
            else:  # too many trials for the sum of probabilities: one by one
                for _ in range(tried):
                    number += left < rare
                    left = _uniform(state)
            counts[row, column] = number if p <= 0.5 else tried - number


def poisson(mean: Float[Tensor, "*batch h w"], *, generator: torch.Generator) -> Float[Tensor, "*batch h w"]:
    """Poisson numbers of these means, in their dtype; a mean that is not above zero gives zero.

    Exact in distribution to the 53 bits of the uniform numbers. On a CPU the result depends on the generator's state alone, not on the number of
    threads; on another device torch's own sampler is used, which gives other numbers of the same law.

    Example
    -------
    >>> import torch
    >>> counts = poisson(torch.full((100, 100), 4.0), generator=torch.Generator().manual_seed(1))
    >>> abs(counts.mean().item() - 4) < 0.1
    True
    """
    if mean.device.type != "cpu":
        return torch.poisson(mean.clamp_min(0), generator=_on_device(generator, mean.device))
    return _by_rows(mean, lambda *part: _poisson_rows(*part), generator)


def binomial(
    chance: Float[Tensor, "*batch h w"], *, trials: Float[Tensor, "*batch h w"] | int, generator: torch.Generator
) -> Float[Tensor, "*batch h w"]:
    """The number of successes in `trials` trials of these chances, in their dtype; chances are cut to [0, 1]. Exact, as `poisson` is."""
    number = torch.full_like(chance, float(trials)) if isinstance(trials, int) else trials.to(chance)
    if chance.device.type != "cpu":
        return torch.binomial(number, chance.clamp(0, 1), generator=_on_device(generator, chance.device))
    rows = number.reshape(-1, number.shape[-1]).contiguous().numpy()
    return _by_rows(chance, lambda p, counts, *part: _binomial_rows(p, rows, counts, *part), generator)


def _by_rows(array: Tensor, fill: Callable[..., None], generator: torch.Generator) -> Tensor:
    """`fill(array, result, seed, first, last)` over the rows of all images, in as many threads as torch has."""
    seed = _drawn_seed(generator)
    rows = array.detach().reshape(-1, array.shape[-1]).contiguous()
    result = torch.empty_like(rows)
    source, target = rows.numpy(), result.numpy()
    parts = max(1, min(torch.get_num_threads(), len(rows)))
    if parts == 1:
        fill(source, target, seed, 0, len(rows))
        return result.reshape(array.shape)
    pieces = 8 * parts  # small ones: bright rows take longer than dark ones
    with ThreadPoolExecutor(parts) as pool:
        bounds = [index * len(rows) // pieces for index in range(pieces + 1)]
        for done in [pool.submit(fill, source, target, seed, first, last) for first, last in pairwise(bounds)]:
            done.result()
    return result.reshape(array.shape)


def _drawn_seed(generator: torch.Generator) -> int:
    """A whole number below 2⁶³ from the generator, which moves on."""
    return int(torch.randint(2**63 - 1, (1,), generator=generator, device=generator.device).item())


def _on_device(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """The generator, or one on the device that it seeds."""
    if generator.device.type == device.type:
        return generator
    return torch.Generator(device=device).manual_seed(_drawn_seed(generator))
