"""Maps of sums with a prior: Wiener filter or least squares, of each half with its own weights and of both."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.execution import Progress
from cryowalk.data import HalfMaps, Volume
from cryowalk.fourier.accumulator import SliceAccumulator
from cryowalk.reconstruction.normal_equations import EMBEDDING, normal_equations, solve
from cryowalk.reconstruction.prior import Prior, directional_prior, shell_prior
from cryowalk.reconstruction.settings import ReconstructionSettings

FINEST = 4.0  # the widest padding there is


class RegularisedMaps(NamedTuple):
    """The half maps and the map of both halves' sums, and the prior of the latter."""

    halves: HalfMaps
    full: Volume
    prior: Prior


def padding_of(settings: ReconstructionSettings) -> float:
    """How many times finer than the images' the grid is: least squares need that of a box of twice the side."""
    return (
        min(FINEST, max(EMBEDDING + 1, EMBEDDING * settings.padding)) if settings.method == "least-squares" else settings.padding
    )


def regularised_maps(
    sums: tuple[SliceAccumulator, SliceAccumulator],
    unfiltered: HalfMaps,
    correlation: Float[Tensor, " shells"],
    *,
    settings: ReconstructionSettings,
    progress: Progress,
) -> RegularisedMaps:
    """The maps by the settings' method; the second half's sums are added to the first's.

    The prior of a half is that of the halves' agreement and its own weights; that of the whole map their mean.
    """
    invert = _method(settings, progress)
    priors = [_prior(one, unfiltered, correlation, settings) for one in sums]
    first, second = (invert(one, prior) for one, prior in zip(sums, priors, strict=True))
    mean = (priors[0].inverse_power + priors[1].inverse_power) / 2
    both = Prior(inverse_power=mean, axes=priors[0].axes, half_angle=priors[0].half_angle)
    sums[0].merge(sums[1])
    return RegularisedMaps(halves=HalfMaps(first=first, second=second), full=invert(sums[0], both), prior=both)


def _prior(one: SliceAccumulator, unfiltered: HalfMaps, correlation: Tensor, settings: ReconstructionSettings) -> Prior:
    if settings.directional:
        return directional_prior(one, unfiltered.first.voxels, unfiltered.second.voxels)
    return shell_prior(one, correlation)


def _method(settings: ReconstructionSettings, progress: Progress) -> Callable[[SliceAccumulator, Prior], Volume]:
    def wiener(one: SliceAccumulator, prior: Prior) -> Volume:
        return one.to_volume(prior=prior.on_grid(one.grid.size, box=one.grid.box))

    def least_squares(one: SliceAccumulator, prior: Prior) -> Volume:
        if not bool(one.sums[..., 2].any()):
            box = one.grid.box
            return Volume(
                voxels=torch.zeros(box, box, box, dtype=one.sums.dtype, device=one.sums.device), voxel_size=one.voxel_size
            )
        equations = normal_equations(one, prior=prior)
        volume, at = solve(equations, steps=settings.steps, tolerance=settings.tolerance)
        progress.note(f"least squares: {at.steps} steps to a residual of {at.relative_residual(equations):.2g}")
        return volume

    return wiener if settings.method == "wiener" else least_squares
