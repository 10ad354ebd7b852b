"""How the picking network learns: from simulated fields, then, where a user gives picks, from those.

A place within a fifth of a diameter of a particle's middle is a hit, one beyond two fifths is none, and what lies between does not count. On simulated fields all
particles are known, and the loss is the cross-entropy. A user's picks are mostly some of the particles: what is not picked is unlabelled, and the loss is the
non-negative risk π R₊ + max(0, R_u − π R₋), π the share of hits: R₊ and R₋ the losses of picked places called hits and none, R_u that of all places called none.

Source: Kiryo, Niu, du Plessis & Sugiyama, arXiv:1703.00593 (the risk); Kingma & Ba, arXiv:1412.6980 (the steps).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError, StateConflict
from cryowalk.core.execution import Checkpoint, NoCheckpoint, Progress, SilentProgress
from cryowalk.picking.network import HIT, PickingNetwork, log_odds, untrained
from cryowalk.picking.practice import Field, practice_field

SIDE = 288  # pixels of a simulated field, and of a piece of a user's micrograph
FIELDS = 2  # simulated fields a step
FEWEST_PICKS = 10  # of a user, that anything is learned from
_MISS = 8.0  # pixels from a particle's middle beyond which a place is none
_WEIGHT = 3.0  # of a hit, which is rare, against a place that is none
_RATE, _FINE_RATE = 2e-3, 3e-4  # of the steps, at their largest
_WARM = 50  # steps over which they grow to that
_MOMENTA = (0.9, 0.99)
_DECAY = 1e-4  # of the weights, relative to the rate
_LONGEST = 1.0  # norm of a gradient
_LARGEST_SHARE = 0.3  # of hits among places


@dataclass(frozen=True, slots=True, kw_only=True)
class _Training:
    """Where training is: steps done, the weights, the running means of gradients and of their squares, and the random numbers' state."""

    done: int
    weights: tuple[Tensor, ...]
    mean: tuple[Tensor, ...]
    square: tuple[Tensor, ...]

    @staticmethod
    def begun(network: PickingNetwork) -> "_Training":
        """Before the first step."""
        zeros = tuple(torch.zeros_like(weight) for weight in network.weights)
        return _Training(done=0, weights=network.weights, mean=zeros, square=tuple(torch.zeros_like(zero) for zero in zeros))


def train_network(
    *,
    generator: torch.Generator,
    steps: int,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> PickingNetwork:
    """A network that has learned from simulated fields alone, two a step; on the generator's device.

    Everything follows from the generator's state; begun again from a checkpoint, the result is the same.

    Raises
    ------
    StateConflict
        If the checkpoint is that of another training.
    """
    start = untrained(generator)
    seeds = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    fields = torch.Generator().manual_seed(seeds)

    def loss(weights: tuple[Tensor, ...]) -> Tensor:
        drawn = [practice_field(fields, side=SIDE) for _ in range(FIELDS)]
        return supervised_loss(PickingNetwork(weights=weights), drawn)

    return _run(start, loss, steps=steps, rate=_RATE, random=(fields,), ways=(progress, checkpoint, "training"))


def adapted_network(
    network: PickingNetwork,
    examples: Sequence[Field],
    *,
    picks: Literal["some", "all"],
    generator: torch.Generator,
    steps: int,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> PickingNetwork:
    """The network after further steps, each on a simulated field and on a piece of one of these micrographs with a user's picks.

    `picks` says whether they are some of the particles or all of them. With some, the share of hits is what the network finds before, or that of the picks where that is more.

    Raises
    ------
    InputError
        If there are fewer than ten picks.
    StateConflict
        If the checkpoint is that of another training.
    """
    count = sum(len(example.places) for example in examples)
    if count < FEWEST_PICKS:
        raise InputError(
            f"{count} picks lie in these micrographs: too few to learn from",
            expected=f"{FEWEST_PICKS} at least",
            cause="picks outside the micrographs, or of others",
        )
    share = _share_of_hits(network, examples)
    weights = torch.tensor([float(len(example.places)) for example in examples])

    def loss(weights_now: tuple[Tensor, ...]) -> Tensor:
        now = PickingNetwork(weights=weights_now)
        example = examples[int(torch.multinomial(weights, 1, generator=generator))]
        piece = piece_about_pick(example, generator)
        practice = supervised_loss(now, [practice_field(generator, side=SIDE)])
        own = supervised_loss(now, [piece]) if picks == "all" else unlabelled_loss(now, piece, share=share)
        return practice + own

    return _run(network, loss, steps=steps, rate=_FINE_RATE, random=(generator,), ways=(progress, checkpoint, "adapting"))


def supervised_loss(network: PickingNetwork, fields: Sequence[Field]) -> Tensor:
    """The mean cross-entropy over the places of fields whose particles are all known."""
    device = network.weights[0].device
    levels = torch.stack([field.level for field in fields]).to(device)
    labels = [labels_of(field) for field in fields]
    hits, counted = (torch.stack(part).to(device) for part in zip(*labels, strict=True))
    found = log_odds(network, levels)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(found, hits, reduction="none")
    return (losses * counted * (1 + (_WEIGHT - 1) * hits)).mean()


def unlabelled_loss(network: PickingNetwork, field: Field, *, share: float) -> Tensor:
    """The non-negative risk of a field of which some particles are known and `share` of the places are hits."""
    device = network.weights[0].device
    hits = labels_of(field)[0].to(device)
    found = log_odds(network, field.level.to(device)[None])[0]
    picked = hits.sum().clamp_min(1)
    softplus = torch.nn.functional.softplus
    as_hits, as_none = (softplus(-found) * hits).sum() / picked, (softplus(found) * hits).sum() / picked
    rest = softplus(found).mean() - share * as_none
    return _WEIGHT * share * as_hits + rest.clamp_min(0)


def labels_of(field: Field) -> tuple[Float[Tensor, "half_h half_w"], Float[Tensor, "half_h half_w"]]:
    """Which of the places that the network looks at are hits, and which count."""
    height, width = ((side + 1) // 2 for side in field.level.shape)
    y, x = 2 * torch.arange(height, dtype=torch.float32), 2 * torch.arange(width, dtype=torch.float32)
    nearest = torch.full((height, width), math.inf)
    for row, column in field.places.tolist():
        nearest = torch.minimum(nearest, (y[:, None] - row) ** 2 + (x - column) ** 2)
    return (nearest < HIT**2).float(), ((nearest < HIT**2) | (nearest >= _MISS**2)).float()


def piece_about_pick(example: Field, generator: torch.Generator) -> Field:
    """A piece of a micrograph about a random one of its picks, turned and mirrored at random, smaller where the micrograph is."""
    pick = example.places[int(torch.randint(len(example.places), (), generator=generator))]
    offset = SIDE * (torch.rand(2, generator=generator) - 0.5)
    first = []
    for axis in (0, 1):
        last = max(0, example.level.shape[axis] - SIDE)
        first.append(min(max(0, round(float(pick[axis] + offset[axis])) - SIDE // 2), last))
    top, left = first
    level = example.level[top : top + SIDE, left : left + SIDE]
    inside = torch.tensor(level.shape, dtype=torch.float64) - 1
    places = example.places.double() - torch.tensor([top, left], dtype=torch.float64)
    places = places[((places >= 0) & (places <= inside)).all(dim=1)]
    for axis, turned in enumerate((torch.rand(3, generator=generator) < 0.5).tolist()):
        if turned and axis < 2:
            level = level.flip(axis)
            places = places.clone()
            places[:, axis] = level.shape[axis] - 1 - places[:, axis]
        elif turned:
            level, places = level.T, places.flip(1)
    return Field(level.contiguous(), places)


def _share_of_hits(network: PickingNetwork, examples: Sequence[Field]) -> float:
    """The share of the places of micrographs that are hits, by the network or by the picks, whichever is more."""
    hits = found = places = 0.0
    for example in examples:
        with torch.no_grad():
            odds = log_odds(network, example.level.to(network.weights[0].device)[None])
        found += float(torch.sigmoid(odds).sum())
        hits += float(labels_of(example)[0].sum())
        places += odds.numel()
    return min(_LARGEST_SHARE, max(hits, found) / places)


def _run(
    start: PickingNetwork,
    loss: Any,
    *,
    steps: int,
    rate: float,
    random: tuple[torch.Generator, ...],
    ways: tuple[Progress | None, Checkpoint | None, str],
) -> PickingNetwork:
    """The network after so many steps down the gradient of a random loss; the steps grow, then shrink to nothing along a cosine."""
    progress, checkpoint = ways[0] or SilentProgress(), ways[1] or NoCheckpoint()
    now = _resumed(_Training.begun(start), checkpoint.load(), steps=steps, random=random)
    progress.start(ways[2], steps)
    progress.advance(now.done)
    while now.done < steps:
        weights = tuple(weight.detach().requires_grad_() for weight in now.weights)
        gradients = torch.autograd.grad(loss(weights), weights)
        part = min(1.0, (now.done + 1) / _WARM) * 0.5 * (1 + math.cos(math.pi * now.done / steps))
        now = _stepped(now, gradients, rate=rate * part)
        if not isinstance(checkpoint, NoCheckpoint):
            checkpoint.save(_state(now, steps=steps, random=random))
        progress.advance()
    return PickingNetwork(weights=now.weights)


def _stepped(now: _Training, gradients: Sequence[Tensor], *, rate: float) -> _Training:
    """One step: the mean gradient over the root of the mean square, both without the bias of their beginning, and a decay of the weights."""
    norm = torch.linalg.vector_norm(torch.stack([gradient.norm() for gradient in gradients]))
    shrunk = [gradient * (_LONGEST / norm.clamp_min(_LONGEST)) for gradient in gradients]
    first, second = _MOMENTA
    done = now.done + 1
    mean = tuple(first * old + (1 - first) * new for old, new in zip(now.mean, shrunk, strict=True))
    square = tuple(second * old + (1 - second) * new.square() for old, new in zip(now.square, shrunk, strict=True))
    weights = tuple(
        weight * (1 - rate * _DECAY) - rate * (m / (1 - first**done)) / ((s / (1 - second**done)).sqrt() + 1e-8)
        for weight, m, s in zip(now.weights, mean, square, strict=True)
    )
    return replace(now, done=done, weights=weights, mean=mean, square=square)


def _state(now: _Training, *, steps: int, random: tuple[torch.Generator, ...]) -> dict[str, Any]:
    parts = {"weights": now.weights, "mean": now.mean, "square": now.square}
    return {"done": now.done, "steps": steps, "random": [each.get_state() for each in random], **parts}


def _resumed(begun: _Training, state: Mapping[str, Any] | None, *, steps: int, random: tuple[torch.Generator, ...]) -> _Training:
    """Where a checkpoint left off, or the beginning."""
    if state is None:
        return begun
    if state["steps"] != steps:
        raise StateConflict("the checkpoint belongs to another training", fix="remove the directory or give another one")
    for each, saved in zip(random, state["random"], strict=True):
        each.set_state(saved)
    device = begun.weights[0].device
    weights, mean, square = (tuple(part.to(device) for part in state[name]) for name in ("weights", "mean", "square"))
    return _Training(done=state["done"], weights=weights, mean=mean, square=square)
