"""What makes one pixel of a camera differ from the next: the gain reference, and pixels and columns that do not work.

One relation, stated here for everything: corrected = raw × gain reference. A sensitive pixel has a gain reference below 1. It is that of RELION and
MotionCor2.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cryowalk.core.checks import require_between
from cryowalk.core.errors import ShapeError

_SECTORS = (2, 8)  # down and across: the parts of a sensor that are read out side by side
_WAVES = 3  # the finest smooth variation, periods over the sensor
_SHARES = (0.5, 0.3, 0.2)  # of the variance: pixel by pixel, sectors, smooth


class Defects(NamedTuple):
    """Pixels that do not work, and what each of them always shows (output units)."""

    is_defective: Bool[Tensor, "h w"]
    value: Float[Tensor, "h w"]


def gain_reference(size: tuple[int, int], *, deviation: float, generator: torch.Generator) -> Float[Tensor, "h w"]:
    """The gain reference of a sensor, mean 1 and standard deviation `deviation`, all above zero: corrected = raw × gain reference.

    The logarithm is a sum of differences between single pixels, between read-out sectors, and of a smooth part.
    """
    require_between("deviation", deviation, 0.0, 1.0)
    pixels = torch.randn(size, generator=generator, device=generator.device)
    sectors = torch.randn(_SECTORS, generator=generator, device=generator.device)
    blocks = _nearest(sectors, size)
    waves = torch.randn((2 * _WAVES, 2 * _WAVES), generator=generator, device=generator.device)
    smooth = torch.nn.functional.interpolate(waves[None, None], size=size, mode="bicubic", align_corners=True)[0, 0]
    logarithm = torch.zeros(size, device=generator.device)
    for share, part in zip(_SHARES, (pixels, blocks, smooth), strict=True):
        centred = part - part.mean()
        logarithm += math.sqrt(share) * centred / centred.std().clamp_min(1e-6)
    reference = torch.exp(logarithm * (deviation / logarithm.std().clamp_min(1e-6)))
    return reference / reference.mean()


def defects(
    size: tuple[int, int], *, generator: torch.Generator, dead: int = 20, hot: int = 20, columns: int = 1, hot_value: float = 50.0
) -> Defects:
    """Dead pixels (always 0), hot pixels (always `hot_value`) and dead columns at random places."""
    height, width = size
    for name, number in (("dead", dead), ("hot", hot), ("columns", columns)):
        require_between(name, number, 0, height * width)
    place = torch.randperm(height * width, generator=generator, device=generator.device)[: dead + hot]
    value = torch.zeros(height * width, device=generator.device)
    is_defective = torch.zeros(height * width, dtype=torch.bool, device=generator.device)
    is_defective[place] = True
    value[place[dead:]] = hot_value
    value, is_defective = value.reshape(size), is_defective.reshape(size)
    across = torch.randperm(width, generator=generator, device=generator.device)[:columns]
    value[:, across] = 0
    is_defective[:, across] = True
    return Defects(is_defective, value)


def corrected(
    raw: Float[Tensor, "*batch h w"], gain_reference: Float[Tensor, "h w"], *, defects: Defects | None = None
) -> Float[Tensor, "*batch h w"]:
    """The frame times the gain reference, defective pixels replaced by the mean of the working ones around them.

    A pixel whose gain reference is zero or not finite counts as defective too: that is how some programs mark them.
    """
    require_same_size(raw, gain_reference)
    broken = ~torch.isfinite(gain_reference) | (gain_reference <= 0)
    if defects is not None:
        require_same_size(raw, defects.value)
        broken = broken | defects.is_defective
    image = raw * torch.where(broken, 0.0, gain_reference)
    return _filled(image, broken) if bool(broken.any()) else image


def _filled(images: Tensor, broken: Tensor) -> Tensor:
    """The images with broken pixels replaced by the mean of working ones in a square around them, as wide as it must be."""
    height, width = broken.shape
    flat = torch.where(broken, 0.0, images).reshape(-1, 1, height, width)
    good = (~broken).to(images.dtype)[None, None]
    todo, radius = broken.clone(), 2
    while bool(todo.any()):
        kernel = 2 * radius + 1
        number = torch.nn.functional.avg_pool2d(good, kernel, stride=1, padding=radius)
        total = torch.nn.functional.avg_pool2d(flat, kernel, stride=1, padding=radius)
        ready = todo & (number[0, 0] > 0.1 / kernel**2)
        images = torch.where(ready, (total / number.clamp_min(1e-9)).reshape(images.shape), images)
        todo = todo & ~ready
        if radius >= max(height, width):
            break
        radius *= 2
    return images


def _nearest(values: Tensor, size: tuple[int, int]) -> Tensor:
    return torch.nn.functional.interpolate(values[None, None], size=size, mode="nearest")[0, 0]


def require_same_size(images: Tensor, other: Tensor) -> None:
    """Nothing, if a gain reference or defect map has the image's pixels.

    Raises
    ------
    ShapeError
        If it has not.
    """
    if images.shape[-2:] != other.shape[-2:]:
        raise ShapeError(
            f"the gain reference or defect map has {tuple(other.shape[-2:])} pixels (height × width), the image {tuple(images.shape[-2:])}",
            cause="a reference of another camera or binning, or one that must be turned first",
        )
