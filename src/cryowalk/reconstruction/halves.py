"""Which particles make which half map."""

import torch
from jaxtyping import Int
from torch import Tensor

from cryowalk.data import ParticleSet


def random_halves(count: int, *, generator: torch.Generator) -> Int[Tensor, " count"]:
    """The half set, 1 or 2, of each particle: a random division whose halves differ by at most one particle."""
    order = torch.randperm(count, generator=generator, device=generator.device).cpu()
    half = torch.empty(count, dtype=torch.long)
    half[order] = torch.arange(count) % 2 + 1
    return half


def halves_of(particles: ParticleSet, generator: torch.Generator | None) -> Int[Tensor, " n"]:
    """The half set of each particle: its own where the set has one, else random with a generator, else in turn (1, 2, 1, 2, …)."""
    if particles.half is not None:
        return particles.half.cpu()
    if generator is not None:
        return random_halves(len(particles), generator=generator)
    return torch.arange(len(particles)) % 2 + 1
