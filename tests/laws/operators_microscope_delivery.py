"""The operators of sample delivery: what movement and damage do to an image."""

import torch

from cryowalk.fourier.grids import frequency_grid, frequency_radius
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.microscope.beam_motion import drift_transfer, motion_envelope
from cryowalk.microscope.damage import attenuation, dose_weights

from .registry import Operator

PIXEL = 1.3


def filtered(factor):
    """An image whose half spectrum is multiplied by factor(setting)."""

    def build(setting):
        weight = factor(setting)
        return lambda x: to_real(to_fourier(x) * weight, width=setting.size[-1])

    return build


def like(setting):
    return torch.empty(0, dtype=setting.dtype, device=setting.device)


def drift(setting):
    kx, ky = frequency_grid(setting.size, pixel_size=PIXEL, like=like(setting))
    return drift_transfer(kx, ky, drift=like(setting).new_tensor([1.7, -0.9]))


def shaken(setting):
    return motion_envelope(frequency_radius(setting.size, pixel_size=PIXEL, like=like(setting)), drift=0.8, jitter=0.3)


def damaged(setting):
    radius = frequency_radius(setting.size, pixel_size=PIXEL, like=like(setting))
    return attenuation(radius, dose_before=3.0, dose=1.5, voltage_kv=300)


def weighted(setting):
    """The dose-weighted sum of four frames, a stack."""
    radius = frequency_radius(setting.size, pixel_size=PIXEL, like=like(setting))
    weights = dose_weights(radius, frames=4, dose_per_frame=2.0, voltage_kv=200)
    return lambda x: to_real((to_fourier(x) * weights).sum(dim=-3), width=setting.size[-1])


OPERATORS = [
    Operator(name="uniform drift", build=filtered(drift), adjoint=filtered(drift)),
    Operator(name="motion envelope", build=filtered(shaken), adjoint=filtered(shaken)),
    Operator(name="radiation damage", build=filtered(damaged), adjoint=filtered(damaged)),
    Operator(name="dose weighting", build=weighted, batch=(4,)),
]
