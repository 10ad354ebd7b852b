"""Which images show a particle: figures of each, and one score between 0 (none) and 1.

An empty image is explained no better by the classes than by noise; a stain or an edge goes to classes that are poor, and differs from noise by far more than any
class explains. A score says how likely a particle is, from both.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.classification.ranking import ClassRanking, rank_classes
from cryowalk.classification.result import Classification
from cryowalk.core.errors import InputError
from cryowalk.fourier.disk import half_disk

_ROUNDS = 200
_STEEP = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticleJudgement:
    """Figures of each particle that took part in a classification.

    `score` between 0 and 1; `gain` is the logarithm of how much better its classes explain it than noise alone, `misfit` how far its power exceeds what noise
    and class together have, in standard deviations; `class_score` is that of its class.
    """

    score: Float[Tensor, " n"]
    gain: Float[Tensor, " n"]
    misfit: Float[Tensor, " n"]
    class_score: Float[Tensor, " n"]


def judge_particles(found: Classification, ranking: ClassRanking | None = None) -> ParticleJudgement:
    """How likely each image shows a particle.

    The gains fall into two groups where there are empty images: their mixture of two normal laws gives the probability of the upper one. Misfits
    beyond the bulk lower it, as a class does that is no particle's.

    Raises
    ------
    InputError
        If some particles were not looked at yet.
    """
    particles = found.particles
    if bool((particles.label < 0).any()):
        raise InputError("the classification has not ended: some particles were not looked at yet")
    ranking = ranking or rank_classes(found)
    gain = particles.log_evidence.double()
    misfit = _misfit(found)
    class_score = ranking.score[particles.label]
    worth = class_score / class_score.max().clamp_min(1e-12)
    score = upper_group(gain) * ordinary(misfit) * worth.sqrt()
    return ParticleJudgement(score=score, gain=gain, misfit=misfit, class_score=class_score)


def _misfit(found: Classification) -> Float[Tensor, " n"]:
    """How far Σ |y|²/σ² of each image exceeds twice its gain and the number of coefficients, in robust standard deviations."""
    disk = half_disk(found.model.box)
    coefficients = disk.prefix(found.history[-1].radius) - 1
    particles = found.particles
    left = -2 * (particles.log_noise.double() + particles.log_evidence.double()) - 2 * coefficients
    middle = left.median()
    spread = (left - middle).abs().median().clamp_min(1e-9) * 1.4826
    return (left - middle) / spread


def ordinary(deviations: Float[Tensor, " n"], *, limit: float = 4.0) -> Float[Tensor, " n"]:
    """1 for what lies within the bulk, falling to 0 beyond `limit` standard deviations: 1 / (1 + e^(|z| − limit))."""
    return torch.sigmoid(limit - deviations.abs())


def upper_group(values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """The probability that each value belongs to the upper of two groups; ½ and more where only one is seen.

    A mixture of two normal laws by expectation–maximisation. Where it explains the values no better than one law does (by the Bayesian information
    criterion) there is one group, and a value's rank within it is all that is told: ½ + ½ Φ(z).
    """
    if len(values) < 8 or float(values.std()) < _STEEP:
        return torch.ones_like(values)
    middle, spread = values.mean(), values.std().clamp_min(_STEEP)
    z = (values - middle) / spread
    low, high = z.quantile(0.1), z.quantile(0.7)
    mean = torch.stack([low, high])
    deviation = torch.full((2,), 0.5, dtype=z.dtype)
    share = torch.tensor([0.3, 0.7], dtype=z.dtype)
    for _ in range(_ROUNDS):
        weight = _responsibility(z, mean, deviation, share)
        total = weight.sum(dim=0).clamp_min(1e-9)
        mean = (weight * z[:, None]).sum(dim=0) / total
        deviation = ((weight * (z[:, None] - mean).square()).sum(dim=0) / total).sqrt().clamp_min(0.05)
        share = total / len(z)
    two = _log_density(z, mean, deviation, share)
    one = -0.5 * (z.square() + math.log(2 * math.pi))
    has_two = float((two - one).sum()) > 1.5 * math.log(len(z)) and float(mean[1] - mean[0]) > float(deviation.max())
    if not has_two:
        return 0.5 + 0.25 * (1 + torch.erf(z / math.sqrt(2)))
    weight = _responsibility(z, mean, deviation, share)[:, 1]
    # Beyond the means a broad law would claim what lies on the far side.
    weight = torch.where(z >= mean[1], weight.max(), weight)
    return torch.where(z <= mean[0], weight.min(), weight)


def _log_parts(z: Tensor, mean: Tensor, deviation: Tensor, share: Tensor) -> Tensor:
    law = -0.5 * ((z[:, None] - mean) / deviation).square() - torch.log(deviation) - 0.5 * math.log(2 * math.pi)
    return law + torch.log(share.clamp_min(1e-12))


def _responsibility(z: Tensor, mean: Tensor, deviation: Tensor, share: Tensor) -> Tensor:
    return torch.softmax(_log_parts(z, mean, deviation, share), dim=1)


def _log_density(z: Tensor, mean: Tensor, deviation: Tensor, share: Tensor) -> Tensor:
    return torch.logsumexp(_log_parts(z, mean, deviation, share), dim=1)
