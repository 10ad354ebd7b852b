"""The contrast of each micrograph relative to the mean of all: ice and exposure differ, the map does not.

A factor a on the images of a group that maximises the likelihood is Σ Re⟨x, p⟩ / Σ ⟨c², p²⟩ (a ratio of two sums of the expectation step). Factors
are drawn towards 1 by a Gaussian prior, and have the mean 1 over particles.

Source: Scheres, J. Struct. Biol. 180, 519 (2012), section 2.4, for scale factors of groups.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.data import ParticleSet

DEVIATION = 0.2  # of the prior about 1
LIMITS = (0.2, 5.0)


def scale_groups(particles: ParticleSet) -> Int[Tensor, " n"]:
    """The number of each particle's micrograph, from 0 in the order of their first particles; without micrographs its optics group."""
    if not particles.micrograph_names:
        return particles.optics_index
    place: dict[str, int] = {}
    return torch.tensor([place.setdefault(name, len(place)) for name in particles.micrograph_names])


def fitted_scale(
    group: Int[Tensor, " n"], numerator: Float[Tensor, " n"], denominator: Float[Tensor, " n"], *, current: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """The scale of each particle's group, with mean 1 over the particles.

    `numerator` and `denominator` are those of a factor on top of the `current` scales.
    """
    groups = int(group.max()) + 1
    weight = 1 / DEVIATION**2

    def total(values: Tensor) -> Tensor:
        return torch.zeros(groups, dtype=torch.float64).index_add(0, group, values.double())

    below = total(denominator)
    overall = float(numerator.double().sum() / denominator.double().sum().clamp_min(1e-30)) or 1.0
    correction = (total(numerator) / overall + weight) / (below + weight)
    scale = current.double() * correction[group]
    scale = (scale / scale.mean()).clamp(*LIMITS)
    return (scale / scale.mean()).float()
