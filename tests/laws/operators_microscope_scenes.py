"""Operators of simulated scenes: the warp that moves a background, the lens on a sheet, and sheets at a height."""

import torch
from torch import Tensor

from cryowalk.data.optics import Defocus, Optics
from cryowalk.microscope.simulate.scene import Layers, transfer_layers
from cryowalk.numerics.sinc_warp import warp

from .registry import Map, Operator, Setting

OPTICS = Optics(pixel_size=1.7)


def _warp(setting: Setting) -> Map:
    displacement = 0.3 * setting.like((2, *setting.size)).float()

    def apply(image: Tensor) -> Tensor:
        return warp(image, displacement)

    return apply


def _layers(setting: Setting) -> Map:
    number = torch.tensor(9000.0, dtype=torch.float64, device=setting.device)
    zero = torch.zeros_like(number)
    defocus = Defocus(major=number, minor=number - 400, azimuth=zero + 0.3, phase_shift=zero)

    def apply(image: Tensor) -> Tensor:
        return transfer_layers(Layers(image.float(), None), OPTICS, defocus).to(image.dtype)

    return apply


OPERATORS = [
    Operator(
        name="numerics.sinc_warp.warp",
        build=_warp,
        has_batch=False,  # one image, one field of displacements
        has_gradient=False,  # compiled: backgrounds of a simulation need none
    ),
    Operator(
        name="microscope.simulate.scene.transfer_layers",
        build=_layers,
        adjoint=_layers,  # an even, real factor on the spectrum
        has_batch=False,  # a micrograph at a time
        has_gradient=False,
        tolerance=1e-4,  # single precision inside
    ),
]
