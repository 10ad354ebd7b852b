"""Operators of simulated particles: what the lens makes of a stack on its canvas, with damage, envelopes and shifts."""

import torch
from torch import Tensor

from cryowalk.data.optics import Aberrations, Defocus, Optics
from cryowalk.microscope.settings import ParticleSimulationSettings
from cryowalk.microscope.simulate.recording import instrument_for, weak_images

from .registry import SQUARES, Map, Operator, Setting

OPTICS = Optics(pixel_size=1.7, aberrations=Aberrations(beam_tilt=(1e-3, -5e-4)))


def _images(setting: Setting) -> Map:
    side = setting.size[0]
    instrument = instrument_for(ParticleSimulationSettings(box=side, ice_thickness=0.0), OPTICS, canvas=side)
    number = torch.tensor([9000.0, 7000.0], dtype=torch.float64, device=setting.device)
    zero = torch.zeros_like(number)
    defocus = Defocus(major=number, minor=number - 400, azimuth=zero + 0.3, phase_shift=zero)
    shift = 3 * setting.like((2, 2))

    def apply(stack: Tensor) -> Tensor:
        return weak_images(stack, instrument, defocus, shift=shift).images

    return apply


OPERATORS = [
    Operator(
        name="microscope.simulate.recording.weak_images",
        build=_images,
        sizes=SQUARES,
        batch=(2,),  # two images, each with its own defocus and shift
        has_batch=False,
        tolerance=1e-9,
    ),
]
