"""Networks that learn to denoise from the data's own halves: from one noisy half they predict the other, and the best prediction is the object without noise.

Two networks are trained, each on one half of the space (or of the micrographs), and each is used where it was not trained. So what comes out does not know the noise of the
half that it is compared with, and `recombination` can tell from that half whether it helped.

Source: Lehtinen et al., ICML 2018, arXiv:1803.04189; for micrographs Bepler et al., Nature Communications 11, 5208 (2020).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError, ShapeError
from cryowalk.core.execution import Checkpoint, NoCheckpoint, Progress, SilentProgress
from cryowalk.denoising.network import MULTIPLE, Parameters, apply_in_tiles, first_parameters, network
from cryowalk.denoising.settings import DenoisingSettings
from cryowalk.fourier.filters import apply_shell_weights
from cryowalk.fourier.shells import shell_correlation

Pair = tuple[Tensor, Tensor]

_POOL_BYTES = 256 * 2**20  # of pieces that one network learns from
_POOL = 1024  # pieces at most
_TILES = {2: 512, 3: 48}
_FOLDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The two networks of a training, and whether space was halved between them (else the pairs were: even ones to the first)."""

    folds: tuple[Parameters, Parameters]
    divides_space: bool
    losses: tuple[Float[Tensor, " steps"], Float[Tensor, " steps"]]


@dataclass(slots=True)
class _Training:
    """What changes while one network learns."""

    parameters: dict[str, Tensor]
    generator: torch.Generator
    step: int = 0
    losses: list[float] = field(default_factory=list)
    means: list[Tensor] = field(default_factory=list)
    squares: list[Tensor] = field(default_factory=list)

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "generator": self.generator.get_state(),
            "parameters": dict(self.parameters),
            "means": self.means,
            "squares": self.squares,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        for name, value in state["parameters"].items():
            self.parameters[name] = value.to(self.parameters[name])
        self.step, self.losses = state["step"], state["losses"].tolist()
        self.generator.set_state(state["generator"])
        devices = [value.device for value in self.parameters.values()]
        self.means = [value.to(device) for value, device in zip(state["means"], devices, strict=True)]
        self.squares = [value.to(device) for value, device in zip(state["squares"], devices, strict=True)]


def learn(
    pairs: Sequence[Pair],
    settings: DenoisingSettings,
    *,
    generator: torch.Generator,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> Networks:
    """Two networks trained on pairs of halves (images or volumes), on the pairs' device; the generator alone decides the outcome.

    One pair, or several volumes: each network learns from one half along the last axis. Several pairs of images: from every second pair. The pieces that they learn from are
    turned at random by quarter turns, and either half of a pair may be the input.

    Raises
    ------
    ShapeError
        If the halves are too small for two regions of `crop`.
    """
    progress, checkpoint = progress or SilentProgress(), checkpoint or NoCheckpoint()
    if not len(pairs):
        raise InputError("there are no pairs to learn from")
    dimensions = pairs[0][0].ndim
    divides_space = len(pairs) == 1 or dimensions == 3
    seeds = torch.randint(2**62, (2 * _FOLDS,), generator=generator).tolist()
    saved = checkpoint.load() or {}
    progress.start("training", settings.steps * _FOLDS)
    done: list[_Training] = []
    for fold in range(_FOLDS):
        pool = _pieces(pairs, settings, fold=fold if divides_space else None, generator=_source(seeds[fold]), chosen=fold)
        source = _source(seeds[_FOLDS + fold])
        parameters = first_parameters(dimensions, settings.channels, generator=source, device=pool.device)
        training = _Training(parameters, source)
        training.means = [torch.zeros_like(value) for value in parameters.values()]
        training.squares = [torch.zeros_like(value) for value in parameters.values()]
        if f"fold{fold}" in saved:
            training.load(saved[f"fold{fold}"])
        progress.advance(training.step)
        earlier = {f"fold{number}": each.state() for number, each in enumerate(done)}
        while training.step < settings.steps:
            _step(training, pool, settings)
            if training.step % 10 == 0 or training.step == settings.steps:
                checkpoint.save({**earlier, f"fold{fold}": training.state()})
            progress.advance()
        done.append(training)
    losses = [torch.tensor(each.losses, dtype=torch.float64) for each in done]
    return Networks(folds=(done[0].parameters, done[1].parameters), divides_space=divides_space, losses=(losses[0], losses[1]))


def apply(networks: Networks, pair: Pair, *, number: int = 0) -> Pair:
    """Both halves of the pair of this number, each denoised by itself, by the network that did not learn from that region (or from that pair).

    What comes out stands for the object times the shell weights that the pair's correlation gives: `recombine` finds the amplitudes.
    """
    inputs = _channels(pair)
    tile = _TILES[pair[0].ndim]
    found = []
    for half in range(2):
        given = inputs[half, :2]
        if not networks.divides_space:
            found.append(apply_in_tiles(networks.folds[1 - number % _FOLDS], given, tile=tile))
            continue
        middle = pair[0].shape[-1] // 2
        by_each = [apply_in_tiles(parameters, given, tile=tile) for parameters in networks.folds]
        found.append(torch.cat([by_each[1][..., :middle], by_each[0][..., middle:]], dim=-1))
    return found[0].to(pair[0]), found[1].to(pair[1])


def _source(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _channels(pair: Pair) -> Float[Tensor, "halves channels *size"]:
    """For each half what a network sees, and what it should predict of the other: the half itself, its best linear prediction, the target.

    The target is the half times w, its shells' correlation with the other: noise where nothing is shared would only drown the learning. Then w² times a half is the
    best linear prediction of w times the other.
    """
    halves = torch.stack([(half - half.mean()).float() for half in pair])
    halves = halves / halves.std().clamp_min(torch.finfo(torch.float32).tiny)
    dimensions = pair[0].ndim
    weight = shell_correlation(halves[0], halves[1])
    smooth = torch.nn.functional.avg_pool1d(torch.nn.functional.pad(weight[None], (1, 1), mode="replicate"), 3, 1)[0]
    smooth = smooth.clamp(1e-3, 1.0)
    smooth[0] = 1.0
    target = apply_shell_weights(halves, smooth, dimensions=dimensions)
    linear = apply_shell_weights(target, smooth, dimensions=dimensions)
    unit = target.std().clamp_min(torch.finfo(torch.float32).tiny)
    return torch.stack([halves, linear / unit, target / unit], dim=1)


def _pieces(
    pairs: Sequence[Pair], settings: DenoisingSettings, *, fold: int | None, chosen: int, generator: torch.Generator
) -> Float[Tensor, "pieces halves channels *crop"]:
    """Pieces at random places of the pairs, from one half of space (`fold`) or from every second pair."""
    crop = settings.crop
    if crop % MULTIPLE:
        raise ShapeError(f"pieces of {crop} pixels cannot be halved {MULTIPLE.bit_length() - 1} times", fix="--crop 32")
    dimensions = pairs[0][0].ndim
    numbers = range(len(pairs)) if fold is not None else range(chosen, len(pairs), _FOLDS)
    most = max(len(numbers), min(_POOL, _POOL_BYTES // (24 * crop**dimensions), 16 * settings.steps * settings.batch))
    pieces = []
    for number in numbers:
        channels = _channels(pairs[number])
        size = channels.shape[2:]
        low, high = [0] * dimensions, list(size)
        if fold is not None:
            middle = size[-1] // 2
            low[-1], high[-1] = (0, middle) if fold == 0 else (middle, size[-1])
        if any(end - start < crop for start, end in zip(low, high, strict=True)):
            raise ShapeError(
                f"a half of {tuple(size)} has no room for pieces of {crop} pixels",
                cause="each of two networks learns from one half along the last axis",
                fix=f"--crop {max(MULTIPLE, size[-1] // 2 // MULTIPLE * MULTIPLE)} or less",
            )
        for _ in range(math.ceil(most / len(numbers))):
            place = [
                int(torch.randint(start, end - crop + 1, (), generator=generator)) for start, end in zip(low, high, strict=True)
            ]
            pieces.append(channels[(slice(None), slice(None), *(slice(at, at + crop) for at in place))].clone())
    return torch.stack(pieces)


def _step(training: _Training, pool: Tensor, settings: DenoisingSettings) -> None:
    """One step of Adam on a batch of pieces. Source: Kingma & Ba, ICLR 2015, algorithm 1."""
    source = training.generator
    chosen = torch.randint(len(pool), (settings.batch,), generator=source).tolist()
    direction = torch.randint(2, (settings.batch,), generator=source).tolist()
    turns = torch.randint(48, (settings.batch,), generator=source).tolist()
    pieces = torch.stack([turned(pool[i], turn) for i, turn in zip(chosen, turns, strict=True)])
    inputs = torch.stack([piece[way, :2] for piece, way in zip(pieces, direction, strict=True)])
    targets = torch.stack([piece[1 - way, 2:] for piece, way in zip(pieces, direction, strict=True)])
    leaves = [value.requires_grad_() for value in training.parameters.values()]
    loss = ((network(training.parameters, inputs) - targets) ** 2).mean()
    gradients = torch.autograd.grad(loss, leaves)
    training.step += 1
    training.losses.append(float(loss.detach()))
    rate = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (training.step - 1) / settings.steps))
    with torch.no_grad():
        for index, (value, gradient) in enumerate(zip(leaves, gradients, strict=True)):
            mean = training.means[index].mul_(0.9).add_(gradient, alpha=0.1)
            square = training.squares[index].mul_(0.99).addcmul_(gradient, gradient, value=0.01)
            length = rate / (1 - 0.9**training.step)
            value.sub_(length * mean / ((square / (1 - 0.99**training.step)).sqrt() + 1e-8))


def turned(piece: Float[Tensor, "*batch crop"], turn: int) -> Float[Tensor, "*batch crop"]:
    """The piece `[2, 3, …]` turned by one of the 24 rotations of a cube, or one of the 8 symmetries of a square (an image's mirror is an image too)."""
    dimensions = piece.ndim - 2
    if dimensions == 2:
        flips = [axis for bit, axis in enumerate((-1, -2)) if turn >> bit & 1]
        flipped = piece.flip(flips) if flips else piece
        return flipped.transpose(-1, -2) if turn >> 2 & 1 else flipped
    orders = ((0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (2, 1, 0), (1, 0, 2))
    number = turn % 6
    order = orders[number]
    flips = [-1 - bit for bit in range(2) if turn // 6 >> bit & 1]
    # An odd exchange of axes mirrors, and so does each flip: a third flip makes it a rotation.
    if (len(flips) + (number >= 3)) % 2:
        flips.append(-3)
    moved = piece.permute(0, 1, *(2 + axis for axis in order))
    return moved.flip(flips) if flips else moved
