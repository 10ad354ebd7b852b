"""Maps on other grids: cropped, padded, binned, resampled and put in another order of axes, each voxel staying where it is in space."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import UsageError
from cryowalk.data import Volume
from cryowalk.fourier.filters import unit_phase
from cryowalk.fourier.grids import frequency_grid
from cryowalk.fourier.transform import resample, resize, to_fourier, to_real
from cryowalk.validation.convention_maps import AxisOrder, reoriented

Size = tuple[int, int, int]  # x, y, z


def resized(volume: Volume, size: Size, *, centre: tuple[int, int, int] = (0, 0, 0), value: float = 0.0) -> Volume:
    """The map cropped or padded to `size` (x, y, z) voxels about a centre, in voxels from the origin voxel; its origin in Å moves with the first voxel.

    What lies outside the old box gets `value`.

    Raises
    ------
    UsageError
        If nothing of the map would be left.
    """
    start = [old // 2 + middle - new // 2 for old, new, middle in zip(reversed(volume.voxels.shape), size, centre, strict=True)]
    if any(first >= old or first + new <= 0 for first, new, old in zip(start, size, reversed(volume.voxels.shape), strict=True)):
        raise UsageError(f"nothing of the map lies in {size} voxels about {centre}", fix="give a centre inside the map")
    moved = volume.voxels
    if any(centre):
        # Padded first, so that what leaves the box on one side does not enter it on the other.
        reach = [2 * abs(middle) + old for middle, old in zip(centre, reversed(volume.voxels.shape), strict=True)]
        moved = resize(moved - value, (reach[2], reach[1], reach[0])).roll([-centre[2], -centre[1], -centre[0]], dims=(0, 1, 2))
        voxels = resize(moved, (size[2], size[1], size[0])) + value
    else:
        voxels = resize(moved - value, (size[2], size[1], size[0])) + value
    return replace(volume, voxels=voxels, origin=_moved(volume, start))


def _moved(volume: Volume, start: list[int]) -> tuple[float, float, float]:
    x, y, z = (old + first * volume.voxel_size for old, first in zip(volume.origin, start, strict=True))
    return x, y, z


def resampled(volume: Volume, size: Size) -> Volume:
    """The same map on another number of voxels over the same field, by cropping or padding its transform: nothing is aliased, and the origin voxel stays.

    Raises
    ------
    UsageError
        If the voxels would not be cubes.
    """
    old = tuple(reversed(volume.voxels.shape))
    factors = [volume.voxel_size * before / after for before, after in zip(old, size, strict=True)]
    if max(factors) / min(factors) > 1.001:
        raise UsageError(
            f"voxels of {' × '.join(f'{one:.4g}' for one in factors)} Å are no cubes", fix="give a size of the same proportions"
        )
    voxels = resample(volume.voxels, (size[2], size[1], size[0]))
    origin = [
        first + (before // 2) * volume.voxel_size - (after // 2) * factors[0]
        for first, before, after in zip(volume.origin, old, size, strict=True)
    ]
    return Volume(voxels=voxels, voxel_size=factors[0], origin=(origin[0], origin[1], origin[2]))


def binned_images(images: Float[Tensor, "*batch h w"], factor: int) -> Float[Tensor, "*batch2 h2 w2"]:
    """Images of pixels `factor` times as large, without aliasing: cropped to whole multiples about the origin pixel, then cropped in Fourier space."""
    height, width = images.shape[-2] // factor, images.shape[-1] // factor
    if min(height, width) < 1:
        raise UsageError(f"images of {images.shape[-1]} × {images.shape[-2]} pixels cannot be binned by {factor}")
    return resample(resize(images, (height * factor, width * factor)), (height, width))


def binned(volume: Volume, factor: int) -> Volume:
    """The map with voxels `factor` times as large, without aliasing: cropped to a whole multiple about the origin voxel, then cropped in Fourier space."""
    sides = [side // factor for side in reversed(volume.voxels.shape)]
    if min(sides) < 1:
        raise UsageError(f"a map of {tuple(reversed(volume.voxels.shape))} voxels cannot be binned by {factor}")
    whole = resized(volume, (sides[0] * factor, sides[1] * factor, sides[2] * factor))
    return resampled(whole, (sides[0], sides[1], sides[2]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reorientation:
    """How a map is put into our axes: moved (x, y, z in voxels) first, then its axes permuted and flipped about the origin voxel."""

    order: AxisOrder
    move: tuple[float, float, float] = (0.0, 0.0, 0.0)


def put_right(volume: Volume, how: Reorientation) -> Volume:
    """The map moved (by a Fourier shift where it is no whole number of voxels) and put into another order of axes; the origin in Å is left as it is."""
    voxels = volume.voxels
    if all(float(step).is_integer() for step in how.move):
        voxels = voxels.roll([int(how.move[2]), int(how.move[1]), int(how.move[0])], dims=(0, 1, 2))
    else:
        spectrum = to_fourier(voxels, dimensions=3)
        for frequency, step in zip(frequency_grid(tuple(voxels.shape), pixel_size=1.0, like=voxels), how.move, strict=True):  # type: ignore[arg-type]  # three sides
            spectrum = spectrum * unit_phase(frequency * step)
        voxels = to_real(spectrum, width=voxels.shape[-1], dimensions=3)
    return replace(volume, voxels=reoriented(voxels, how.order))


def mean_projections(volume: Volume) -> dict[str, Float[Tensor, "up across"]]:
    """The mean of the map along each axis, by the axis looked along."""
    return {axis: torch.mean(volume.voxels, dim=dim) for axis, dim in (("z", 0), ("y", 1), ("x", 2))}
