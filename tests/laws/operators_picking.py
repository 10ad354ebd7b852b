"""The linear parts of picking: correlation with a kernel about every pixel, the rotational average, and rotation."""

import torch

from cryowalk.picking.search import searched
from cryowalk.picking.templates import rotated, round_average

from .registry import SQUARES, Map, Operator, Setting


def _correlated(setting: Setting) -> Map:
    kernel = setting.like((5, 5))
    return lambda image: searched(image, 3).correlated(kernel)


def _correlated_back(setting: Setting) -> Map:
    """Each value goes where it came from; what was read beyond a border goes to the mirrored pixel."""
    kernel = setting.like((5, 5))
    height, width = setting.size
    rows, columns = (
        torch.nn.functional.pad(torch.arange(side, dtype=torch.float64)[None, None], (2, 2), mode="reflect")[0, 0].long()
        for side in (height, width)
    )

    def back(image: torch.Tensor) -> torch.Tensor:
        total = torch.zeros_like(image)
        for y in range(5):
            for x in range(5):
                place = rows[y : y + height, None] * width + columns[x : x + width]
                total.view(-1).index_add_(0, place.flatten(), (kernel[y, x] * image).flatten())
        return total

    return back


OPERATORS = [
    Operator(name="correlated", build=_correlated, adjoint=_correlated_back, has_batch=False),
    Operator(name="round_average", build=lambda _: round_average, sizes=SQUARES),
    Operator(name="rotated", build=lambda _: lambda image: rotated(image, 0.7), sizes=((9, 9),), has_batch=False),
]
