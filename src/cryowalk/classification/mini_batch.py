"""Classes from parts of the set: small ones at first, which are quick and find the way, larger ones towards the end.

Sums of a mini-batch stand for those of the whole set and are averaged with the earlier ones, S ← (1 − η) S + η S', with steps η that fall: stochastic EM.

Source: Cappé & Moulines, J. R. Stat. Soc. B 71, 593 (2009), for the steps; Kimanius et al., Biochem. J. 478, 4169 (2021), for growing mini-batches.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from cryowalk.classification.settings import ClassificationSettings
from cryowalk.classification.step import Evidence
from cryowalk.inference.assignments import NoiseResidual
from cryowalk.inference.class_sums import ClassSums

_FALL = 0.6  # exponent of the steps: above ½ they settle, below 1 they forget the start
_LAST = 0.5  # part of the set in the last mini-batch


def batch_count(number: int, settings: ClassificationSettings, *, images: int) -> int:
    """How many images iteration `number` (from 0) takes: growing in equal ratios from the first mini-batch to half the set."""
    if settings.mini_batch is None:
        return images
    first = min(images, settings.mini_batch * settings.classes)
    last = max(first, round(_LAST * images))
    progress = number / max(settings.iterations - 2, 1)
    return min(images, round(first * math.pow(last / first, min(progress, 1.0))))


def batch_rows(order: Int[Tensor, " n"], number: int, settings: ClassificationSettings) -> Int[Tensor, " m"]:
    """The particles of iteration `number`, in increasing order: the next ones of a random order, which begins again at its end."""
    images = len(order)
    count = batch_count(number, settings, images=images)
    if count == images:
        return torch.arange(images)
    start = sum(batch_count(earlier, settings, images=images) for earlier in range(number))
    return order[(start + torch.arange(count)) % images].sort().values


def step_size(number: int, settings: ClassificationSettings, *, is_last: bool) -> float:
    """The weight η of the new sums; 1 where they are of the whole set."""
    if settings.mini_batch is None or is_last or number == 0:
        return 1.0
    return float((number + 1) ** -_FALL)


def averaged(running: Evidence | None, new: Evidence, *, share: float, factor: float) -> Evidence:
    """The running sums after (1 − share) of the old and `share` of the new, the latter times `factor`, for the whole set."""
    old = 0.0 if running is None else 1 - share
    if running is None or old == 0:
        new.sums.sums *= factor
        return replace(new, members=new.members * factor, residual=_scaled(new.residual, factor))
    new.sums.sums *= factor * share
    running.sums.sums *= old
    running.sums.merge(new.sums)
    return replace(
        new,
        sums=running.sums,
        members=old * running.members + share * factor * new.members,
        residual=_scaled(running.residual, old) + _scaled(new.residual, share * factor),
    )


def _scaled(residual: NoiseResidual, factor: float) -> NoiseResidual:
    return NoiseResidual(power=residual.power * factor, coefficients=residual.coefficients * factor, images=residual.images)


def evidence_from(saved: Mapping[str, Any]) -> Evidence:
    """The running sums of a checkpoint."""
    return Evidence(
        sums=ClassSums.from_state(saved["sums"]),
        members=saved["members"],
        residual=NoiseResidual(power=saved["power"], coefficients=saved["coefficients"], images=saved["images"]),
        log_likelihood=float("nan"),
        scale=torch.zeros(0, 2),
    )
