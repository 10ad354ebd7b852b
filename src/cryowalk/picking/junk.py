"""What is not ice with particles: carbon, ice crystals, and other strong features."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cryowalk.picking.search import Coarse, disk, searched

_STRONG = 5.0  # robust standard deviations of local mean and local variance beyond which a place is unusual
_WIDE = 1.0  # radii over which both are taken
_COPIED = 0.15  # of the usual difference of neighbouring rows: those of a rim that was filled in differ by less
_FEWEST = 8  # such rows that make a rim
_MOST = 0.3  # of the rows of a rim, that are such rows at least: filters ring at the very border
_DEEPEST = 8  # of a side, the part (one in so many) that a rim takes at most
_LARGE = 2.2  # radii: what is unusual over less may be a particle that stands out


def junk_mask(coarse: Coarse) -> Bool[Tensor, "h w"]:
    """Where the mean or the variance of the surroundings is far from what is usual in this micrograph, over more than a particle.

    Both are compared with their median in units of their median absolute deviation: carbon is darker and rougher than ice, crystals and drops are stronger. What a
    square of 4.4 radii does not fit into is left in. At most half of a micrograph can be unusual: where most is carbon, it is the ice that is left out.
    """
    kernel = disk(_WIDE * coarse.radius).to(coarse.pixels)
    kernel = kernel / kernel.sum()
    reach = kernel.shape[-1] // 2
    mean = searched(coarse.pixels, reach).correlated(kernel)
    rough = searched((coarse.pixels - mean).square(), reach).correlated(kernel).clamp_min(1e-12).log()
    found = torch.zeros_like(mean, dtype=torch.bool)
    for values in (mean, rough):
        apart = (values - values.median()).abs()
        found |= apart > _STRONG * 1.4826 * apart.median().clamp_min(1e-6)
    side = 2 * round(_LARGE * coarse.radius) + 1
    inner = 1 - widened((~found).float(), side)
    return widened(inner, side + 2 * round(coarse.radius)) > 0.5


def blank_rim(pixels: Float[Tensor, "h w"]) -> tuple[int, int, int, int]:
    """How many rows at the top and the bottom, and columns at the left and the right, were filled in where the movie's frames did not reach.

    Programs copy the last row outward, or fill with one grey: neighbouring rows are then all but equal.
    """
    found = []
    for image in (pixels, pixels.T):
        deepest = image.shape[0] // _DEEPEST
        middle = image.shape[0] // 2
        usual = image[middle - deepest : middle + deepest + 1].diff(dim=0).square().mean(dim=1).sqrt().median()
        for edge in (image[: deepest + 1], image[-deepest - 1 :].flip(0)):
            steps = edge.diff(dim=0).square().mean(dim=1).sqrt()
            copied = torch.nonzero(steps < _COPIED * usual)[:, 0]
            depth = int(copied[-1]) + 1 if len(copied) else 0
            found.append(depth if len(copied) >= max(_FEWEST, _MOST * depth) else 0)
    top, bottom, left, right = found
    return top, bottom, left, right


def rim_mask(coarse: Coarse, rim: tuple[int, int, int, int], *, margin: float) -> Bool[Tensor, "h w"]:
    """Where a filled-in rim of a micrograph (its own pixels) lies on the coarse grid, and `margin` (coarse pixels) beyond it."""
    height, width = coarse.pixels.shape
    scales = (height / coarse.size[0],) * 2 + (width / coarse.size[1],) * 2
    top, bottom, left, right = (round(depth * scale + margin) if depth else 0 for depth, scale in zip(rim, scales, strict=True))
    mask = torch.ones_like(coarse.pixels, dtype=torch.bool)
    mask[top : height - bottom, left : width - right] = False
    return mask


def widened(mask: Float[Tensor, "h w"], side: int) -> Float[Tensor, "h w"]:
    """The largest value in a square about each pixel."""
    rows = torch.nn.functional.max_pool2d(mask[None, None], (1, side), 1, (0, side // 2))
    result: Tensor = torch.nn.functional.max_pool2d(rows, (side, 1), 1, (side // 2, 0))[0, 0]
    return result
