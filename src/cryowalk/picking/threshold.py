"""A threshold between the peaks of noise and those of particles, from their heights alone."""

import torch
from jaxtyping import Float
from torch import Tensor

_LOWER = 0.75  # of the middle between the two groups: a particle too many costs less than one lost
_TWO_GROUPS = 0.65  # share of the variance that the parting explains; 2/π for a normal distribution that is one group


def automatic_threshold(heights: Float[Tensor, " n"]) -> float:
    """A little less than the height that parts the peaks into two groups with the largest variance between them; 0 where they are one group.

    Maximises n₁ n₂ (m₁ − m₂)² over the parting. Whether the one group is noise or particles, something else must say.

    Source: Otsu, IEEE Trans. Syst. Man Cybern. 9, 62 (1979).
    """
    ordered = heights.double().sort().values
    count = len(ordered)
    if count < 2 or float(ordered[-1] - ordered[0]) == 0:
        return 0.0
    lower = torch.arange(1, count, dtype=torch.float64, device=ordered.device)
    sums = ordered.cumsum(0)
    apart = sums[:-1] / lower - (sums[-1] - sums[:-1]) / (count - lower)
    between = lower * (count - lower) * apart.square() / count**2
    best = int(between.argmax())
    if float(between[best] / ordered.var(correction=0)) < _TWO_GROUPS:
        return 0.0
    return _LOWER * float(ordered[best] + ordered[best + 1]) / 2
