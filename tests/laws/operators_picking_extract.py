"""The linear parts of particle extraction: the background's plane, and boxes cut from an image."""

import torch

from cryowalk.picking.background import background_mask, plane_of_background
from cryowalk.picking.extract import cut_boxes

from .registry import SQUARES, Map, Operator, Setting


def _plane(setting: Setting) -> Map:
    mask = background_mask(setting.size[-1], radius=2.5)
    return lambda images: plane_of_background(images, mask=mask)


def _boxes(_: Setting) -> Map:
    centres = torch.tensor([[3, 4], [5, 3], [3, 4]])
    return lambda pixels: cut_boxes(pixels, centres, box=5)


def _boxes_back(setting: Setting) -> Map:
    def add(boxes: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(setting.size, dtype=boxes.dtype, device=boxes.device)
        for box, (x, y) in zip(boxes, [(3, 4), (5, 3), (3, 4)], strict=True):
            total[y - 2 : y + 3, x - 2 : x + 3] += box
        return total

    return add


OPERATORS = [
    Operator(name="plane_of_background", build=_plane, sizes=SQUARES),
    Operator(name="cut_boxes", build=_boxes, adjoint=_boxes_back, has_batch=False, output_size=lambda _: (5, 5)),
]
