"""Arithmetic of maps, their statistics, selection by value, and segments sorted by volume; values are taken as they are, whatever their unit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data import Volume
from cryowalk.validation.masks import density_threshold

Operation = Literal["add", "subtract", "multiply", "divide"]
VOXEL_SIZE_TOLERANCE = 1e-3  # relative
LARGEST_SEGMENTS = 32000  # what a map of labels in 16 bits can count


def combined(volumes: Sequence[Volume], operation: Operation, *, by: float | None = None) -> Volume:
    """The maps combined voxel by voxel, from left to right, and with a number: a + b + …, a − b − …, a · b …, a / b ….

    Where a divisor is zero the result is zero: outside a mask there is nothing. The grid is that of the first map.

    Raises
    ------
    UsageError
        If there is nothing to combine a map with, or the number is a zero divisor.
    ShapeError
        If the maps differ in size.
    InputError
        If they differ in voxel size.
    """
    first, *others = volumes
    if not others and by is None:
        raise UsageError("there is one map and no number to combine it with", fix="name more maps, or give --by NUMBER")
    if operation == "divide" and by == 0:
        raise UsageError("a map cannot be divided by zero")
    result = first.voxels.double()
    for other in others:
        _require_same_grid(first, other)
        result = _applied(operation, result, other.voxels.double())
    if by is not None:
        result = _applied(operation, result, torch.tensor(by, dtype=torch.float64))
    return replace(first, voxels=result.to(first.voxels.dtype))


def _applied(operation: Operation, left: Tensor, right: Tensor) -> Tensor:
    if operation == "add":
        return left + right
    if operation == "subtract":
        return left - right
    if operation == "multiply":
        return left * right
    return torch.where(right == 0, torch.zeros_like(left), left / torch.where(right == 0, 1.0, right))


def _require_same_grid(first: Volume, other: Volume) -> None:
    if first.voxels.shape != other.voxels.shape:
        raise ShapeError(
            f"the maps differ in size: {tuple(first.voxels.shape)} and {tuple(other.voxels.shape)} voxels (z, y, x)",
            fix="bring them to one grid: cryowalk map resample, crop or pad",
        )
    if not math.isclose(first.voxel_size, other.voxel_size, rel_tol=VOXEL_SIZE_TOLERANCE):
        raise InputError(
            f"the maps differ in voxel size: {first.voxel_size:g} and {other.voxel_size:g} Å",
            fix="bring them to one grid: cryowalk map resample",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MapStatistics:
    """The distribution of a map's values, and where its density lies: `centre` (x, y, z) of what is above the mean, voxels from the origin voxel."""

    count: int
    minimum: float
    maximum: float
    mean: float
    deviation: float
    root_mean_square: float
    median: float
    percentile_1: float
    percentile_99: float
    total: float
    centre: tuple[float, ...]


def map_statistics(voxels: Float[Tensor, "*size"], *, inside: Float[Tensor, "*size"] | None = None) -> MapStatistics:
    """The statistics of an image's or a map's values, or of those where `inside` is above ½.

    Raises
    ------
    InputError
        If no voxel is inside.
    """
    chosen = torch.ones_like(voxels, dtype=torch.bool) if inside is None else inside > 0.5
    if not bool(chosen.any()):
        raise InputError("the mask holds no voxel above 0.5", fix="look at it: cryowalk inspect FILE")
    values = voxels[chosen].double()
    mean = float(values.mean())
    above = torch.where(chosen, (voxels.double() - mean).clamp_min(0), 0.0)
    weight = float(above.sum())
    centre = [
        float((above.sum(dim=[d for d in range(voxels.ndim) if d != axis]) * _index(voxels.shape[axis])).sum()) / weight
        if weight > 0
        else math.nan
        for axis in reversed(range(voxels.ndim))
    ]
    low, middle, high = np.percentile(values.numpy(), [1, 50, 99]).tolist()
    return MapStatistics(
        count=len(values),
        minimum=float(values.min()),
        maximum=float(values.max()),
        mean=mean,
        deviation=float(values.std(correction=0)),
        root_mean_square=float(values.square().mean().sqrt()),
        median=middle,
        percentile_1=low,
        percentile_99=high,
        total=float(values.sum()),
        centre=tuple(centre),
    )


def _index(side: int) -> Tensor:
    return torch.arange(side, dtype=torch.float64) - side // 2


def selected(volume: Volume, *, above: float | None = None, below: float | None = None, outside: float = 0.0) -> Volume:
    """The map with every value that is not above the one limit and below the other replaced by `outside`; limits belong to what is kept.

    Raises
    ------
    UsageError
        If there is no limit, or none of the values can lie between both.
    """
    if above is None and below is None:
        raise UsageError("there is no limit to select by", fix="give --above or --below")
    if above is not None and below is not None and above > below:
        raise UsageError(f"no value is above {above:g} and below {below:g}", fix="exchange the limits")
    kept = torch.ones_like(volume.voxels, dtype=torch.bool)
    if above is not None:
        kept &= volume.voxels >= above
    if below is not None:
        kept &= volume.voxels <= below
    return replace(volume, voxels=torch.where(kept, volume.voxels, torch.full_like(volume.voxels, outside)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmentation:
    """A map cut into parts: `labels` are 0 outside and 1, 2, … from the largest part on; `voxels` counts each; `level` is where the map was cut."""

    labels: Int[Tensor, "z y x"]
    voxels: tuple[int, ...]
    level: float


def segmented(volume: Volume, *, level: float | None = None, separation: float = 0.0, smallest: int = 1) -> Segmentation:
    """The parts of a map above a level, the largest first.

    With `separation` 0 they are what hangs together (26 neighbours). Otherwise each is grown, by a watershed on the distance to the surface, from a point farthest from
    it within `separation` voxels. Without a level it is `density_threshold`. Parts of fewer than `smallest` voxels are left out.

    Raises
    ------
    InputError
        If nothing lies above the level, or all does, or there are more parts than 16 bits can count.
    """
    from scipy.ndimage import label

    cut = float(density_threshold(volume.voxels)) if level is None else level
    inside = (volume.voxels >= cut).cpu().numpy()
    if not inside.any() or inside.all():
        what = "nothing" if not inside.any() else "the whole box"
        raise InputError(
            f"{what} lies above the level {cut:.4g}: the map runs from {float(volume.voxels.min()):.4g} to {float(volume.voxels.max()):.4g}",
            fix="give another --level",
        )
    found = _watershed(inside, separation) if separation > 0 else label(inside, structure=np.ones((3, 3, 3)))[0]
    sizes = np.bincount(found.ravel())
    sizes[0] = 0
    order = [int(number) for number in np.argsort(-sizes, kind="stable") if sizes[number] >= max(smallest, 1)]
    if len(order) > LARGEST_SEGMENTS:
        raise InputError(f"there are {len(order)} parts", fix="give --smallest VOXELS, or another --level")
    renamed = np.zeros(len(sizes), dtype=np.int64)
    renamed[order] = np.arange(1, len(order) + 1)
    return Segmentation(labels=torch.from_numpy(renamed[found]), voxels=tuple(int(sizes[number]) for number in order), level=cut)


def _watershed(
    inside: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]", separation: float
) -> "np.ndarray[tuple[int, ...], np.dtype[np.int32]]":
    from scipy.ndimage import distance_transform_edt, gaussian_filter
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    # A little smoothing leaves one peak on the plateaus that whole-voxel distances make.
    depth = gaussian_filter(distance_transform_edt(inside), 1.0)
    peaks = peak_local_max(depth, min_distance=max(1, round(separation)), labels=inside.astype(np.int32), exclude_border=False)  # type: ignore[no-untyped-call]
    seeds = np.zeros(inside.shape, dtype=np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    found: np.ndarray[tuple[int, ...], np.dtype[np.int32]] = watershed(-depth, seeds, mask=inside)  # type: ignore[no-untyped-call]
    return found
