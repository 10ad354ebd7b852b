"""A threshold between the peaks of noise and those of particles, from their heights alone."""

import torch
from jaxtyping import Float
from torch import Tensor

_LOWER = 0.75  # of the middle between the two groups: a particle too many costs less than one lost
FAINTEST = -4.0  # log-odds of the network, one in fifty, below which a peak is not looked at
_LIKELY = -2.5  # mean log-odds of a group of peaks that are particles rather than noise
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


def odds_threshold(odds: Float[Tensor, " n"]) -> float:
    """The log-odds from which peaks of a network's map are taken for particles.

    A network that has seen simulations alone is less sure of real particles than it should be, by as much as data differ. So the peaks above odds of one in fifty are parted
    in two groups as other scores are (`automatic_threshold`), or kept as one; where what is kept is unlikely on the mean, only peaks of even odds are particles.
    """
    seen = odds[odds > FAINTEST]
    threshold = FAINTEST + automatic_threshold(seen - FAINTEST)
    chosen = seen[seen >= threshold]
    return threshold if len(chosen) and float(chosen.mean()) > _LIKELY else 0.0
