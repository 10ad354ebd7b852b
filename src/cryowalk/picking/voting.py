"""What several pickers agree on."""

from collections.abc import Sequence

import torch

from cryowalk.core.checks import require_positive
from cryowalk.core.errors import UsageError
from cryowalk.data.coordinates import Coordinates
from cryowalk.picking.peaks import apart


def consensus(picks: Sequence[Coordinates], *, distance: float, votes: int = 2) -> Coordinates:
    """Places that at least `votes` of the pickers chose within `distance` (pixels), at the mean of their positions, most votes first.

    The figure of merit is the mean rank of the picks in their own lists, 1 for the best and 0 for the last, so that no common scale is needed, plus the number of votes.
    A picker has one vote a place.

    Raises
    ------
    UsageError
        If there are fewer pickers than votes.
    """
    require_positive("distance", distance, unit="px")
    if not 1 <= votes <= len(picks):
        raise UsageError(f"{len(picks)} pickers cannot give {votes} votes")
    places = [each.positions.double() for each in picks]
    ranks = [_ranks(each) for each in picks]
    seeds, seed_ranks = torch.cat(places), torch.cat(ranks)
    order = seed_ranks.argsort(descending=True, stable=True)
    seeds = seeds[order][apart(seeds[order], distance)]
    number, total = torch.zeros(len(seeds), dtype=torch.float64), torch.zeros(len(seeds), dtype=torch.float64)
    middle = torch.zeros_like(seeds)
    for positions, own in zip(places, ranks, strict=True):
        if not len(positions) or not len(seeds):
            continue
        away, nearest = torch.cdist(seeds, positions).min(dim=1)
        has_vote = away <= distance
        number += has_vote
        total += torch.where(has_vote, own[nearest], 0.0)
        middle += torch.where(has_vote[:, None], positions[nearest], 0.0)
    kept = number >= votes
    merit = (number + total / number.clamp_min(1))[kept]
    best = merit.argsort(descending=True, stable=True)
    positions = (middle / number.clamp_min(1)[:, None])[kept][best]
    chosen = apart(positions, distance)
    return Coordinates(positions=positions[chosen], merit=merit[best][chosen])


def _ranks(picks: Coordinates) -> torch.Tensor:
    """1 for the best, towards 0 for the last."""
    count = len(picks)
    merit = picks.merit if picks.merit is not None else -torch.arange(count, dtype=torch.float64)
    order = merit.argsort(descending=True, stable=True)
    ranks = torch.empty(count, dtype=torch.float64)
    ranks[order] = 1 - torch.arange(count, dtype=torch.float64) / max(count, 1)
    return ranks
