"""What is not ice with particles: carbon, ice crystals, and other strong features."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cryowalk.picking.search import Coarse, disk, searched

_STRONG = 5.0  # robust standard deviations of local mean and local variance beyond which a place is unusual
_WIDE = 1.0  # radii over which both are taken
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


def widened(mask: Float[Tensor, "h w"], side: int) -> Float[Tensor, "h w"]:
    """The largest value in a square about each pixel."""
    rows = torch.nn.functional.max_pool2d(mask[None, None], (1, side), 1, (0, side // 2))
    result: Tensor = torch.nn.functional.max_pool2d(rows, (side, 1), 1, (side // 2, 0))[0, 0]
    return result
