"""How good picks are: matches one to one with the true places."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cryowalk.core.checks import require_positive

_FAR = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class PickingScores:
    """How many picks there are, how many particles, and how many pairs; `offset` is the root mean square distance of a pair, pixels."""

    picks: int
    particles: int
    matches: int
    offset: float

    @property
    def precision(self) -> float:
        """Part of the picks that are particles."""
        return self.matches / self.picks if self.picks else math.nan

    @property
    def recall(self) -> float:
        """Part of the particles that were picked."""
        return self.matches / self.particles if self.particles else math.nan

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall: 2 · matches / (picks + particles)."""
        return 2 * self.matches / (self.picks + self.particles) if self.picks + self.particles else math.nan


def score_picks(picks: Float[Tensor, "n 2"], truth: Float[Tensor, "m 2"], *, tolerance: float) -> PickingScores:
    """The scores of picks against true places, both (x, y) in pixels: as many pairs within `tolerance` as there can be, the nearest among those.

    Each pick and each particle is in one pair at most: two picks of one particle are a hit and a miss.

    Raises
    ------
    UsageError
        If the tolerance is not above zero.
    """
    distance = _paired(picks, truth, tolerance)[2]
    offset = math.sqrt(float(np.mean(np.square(distance)))) if len(distance) else math.nan
    return PickingScores(picks=len(picks), particles=len(truth), matches=len(distance), offset=offset)


def is_matched(picks: Float[Tensor, "n 2"], truth: Float[Tensor, "m 2"], *, tolerance: float) -> Bool[Tensor, " n"]:
    """Which picks have a partner among the true places."""
    found = torch.zeros(len(picks), dtype=torch.bool)
    found[torch.from_numpy(_paired(picks, truth, tolerance)[0])] = True
    return found


def _paired(picks: Tensor, truth: Tensor, tolerance: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the partners and their distances, pixels: an assignment of least cost, where a pair too far apart costs more than all others."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    require_positive("tolerance", tolerance, unit="px")
    none = np.zeros(0, dtype=np.int64)
    if not len(picks) or not len(truth):
        return none, none, np.zeros(0)
    distance = cdist(picks.cpu().double().numpy(), truth.cpu().double().numpy())
    rows, columns = linear_sum_assignment(np.where(distance <= tolerance, distance, _FAR))
    near = distance[rows, columns] <= tolerance
    return rows[near], columns[near], distance[rows, columns][near]
