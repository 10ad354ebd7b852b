"""The operators of the sample."""

import torch

from cryowalk.microscope.absorption import unfiltered

from .registry import Operator, Setting

PIXEL = 1.3


def even_ice(setting: Setting):
    return lambda x: unfiltered(x, 600.0, voltage_kv=300, pixel_size=PIXEL, spread=2.0)


def uneven_ice(setting: Setting):
    thickness = 900 * torch.sigmoid(setting.like(setting.size, seed=4))
    return lambda x: unfiltered(x, thickness, voltage_kv=200, pixel_size=PIXEL, spread=2.0)


OPERATORS = [
    # The blur is symmetric: with ice of one thickness the operator is its own adjoint.
    Operator(name="unfiltered, even ice", build=even_ice, adjoint=even_ice),
    Operator(name="unfiltered, uneven ice", build=uneven_ice),
]
