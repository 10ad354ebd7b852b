"""Locally regularised maps: each place is low-passed where the two halves predict each other best.

For a family of low-pass filters the cross-validated error of each, E(x) = w ∗ [(F a − b)² + (F b − a)²] with a, b the halves to their common resolution and
w a window of the filter's own width, is smallest where the filter lets through what the halves share there and no more. Both halves are filtered alike, so
nothing of one enters the other but the choice of filters.

Source: Punjani, Zhang & Fleet, Nat. Methods 17, 1214 (2020), for cross-validated local regularisation in refinement.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.data import HalfMaps, Volume
from cryowalk.fourier.filters import apply_shell_weights
from cryowalk.fourier.shells import shell_frequency

FILTERS = 10
WINDOW = 1.0  # standard deviation of the window over the resolution of its filter
SMOOTHING = 0.5  # likewise of the borders between filters
EDGE = 2.0  # shells


def locally_filtered(halves: HalfMaps, *, coarsest: int, finest: int) -> HalfMaps:
    """Both halves, each voxel low-passed to the shell between `coarsest` and `finest` at which the halves predict each other best about it."""
    shells = _cut_offs(coarsest, finest)
    first, second = (_low_passed(half, shells) for half in (halves.first, halves.second))
    choice = _best_filter(first, second, halves.first, shells)
    parts = _partition(choice, halves.first, shells)
    filtered = [(maps * parts).sum(dim=0) for maps in (first, second)]
    return HalfMaps(
        first=Volume(voxels=filtered[0], voxel_size=halves.first.voxel_size),
        second=Volume(voxels=filtered[1], voxel_size=halves.second.voxel_size),
    )


def _cut_offs(coarsest: int, finest: int) -> list[int]:
    """At most `FILTERS` shells, evenly spread from the coarsest to the finest."""
    finest = max(finest, 1)
    coarsest = max(1, min(coarsest, finest))
    spread = torch.linspace(coarsest, finest, min(FILTERS, finest - coarsest + 1))
    return sorted({round(shell) for shell in spread.tolist()})


def _low_passed(volume: Volume, shells: list[int]) -> Float[Tensor, "filters z y x"]:
    radius = torch.arange(volume.voxels.shape[-1] // 2 + 1)
    weights = [((shell - radius) / EDGE + 0.5).clamp(0, 1).to(volume.voxels) for shell in shells]
    return torch.stack([apply_shell_weights(volume.voxels, weight, dimensions=3) for weight in weights])


def _best_filter(first: Tensor, second: Tensor, like: Volume, shells: list[int]) -> Int[Tensor, "z y x"]:
    """Which filter has the least error about each voxel, the coarser of equals."""
    raw_first, raw_second = first[-1], second[-1]
    best = torch.full(raw_first.shape, torch.inf, dtype=raw_first.dtype)
    choice = torch.zeros(raw_first.shape, dtype=torch.int64)
    for number, shell in enumerate(shells):
        error = _blurred((first[number] - raw_second).square() + (second[number] - raw_first).square(), like, shell, width=WINDOW)
        is_better = error < best
        best = torch.where(is_better, error, best)
        choice[is_better] = number
    return choice


def _partition(choice: Int[Tensor, "z y x"], like: Volume, shells: list[int]) -> Float[Tensor, "filters z y x"]:
    """The share of each filter at each voxel, smooth, of sum 1."""
    shares = torch.stack(
        [_blurred((choice == number).to(like.voxels), like, shell, width=SMOOTHING) for number, shell in enumerate(shells)]
    ).clamp_min(0)
    return shares / shares.sum(dim=0).clamp_min(1e-6)


def _blurred(values: Tensor, like: Volume, shell: int, *, width: float) -> Tensor:
    """Values convolved with a Gaussian whose standard deviation is `width` times the resolution of a shell."""
    box = values.shape[-1]
    deviation = width * box * like.voxel_size / shell
    frequency = shell_frequency(box, pixel_size=like.voxel_size, dtype=values.dtype)
    return apply_shell_weights(values, torch.exp(-2 * (torch.pi * deviation * frequency) ** 2), dimensions=3)
