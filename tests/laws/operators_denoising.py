"""The linear filters of denoising: each is its own adjoint but for the lens, which is real and even."""

import torch

from cryowalk.data import Defocus, Optics
from cryowalk.denoising.wiener import tikhonov_filter, wiener_filter, wiener_sum
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.microscope.lens import contrast_transfer

from .registry import BOXES_3D, Operator


def lens(setting, count=1):
    values = torch.linspace(9000, 15000, count, dtype=setting.dtype, device=setting.device)
    defocus = Defocus(major=values, minor=values - 300, azimuth=0 * values + 0.4, phase_shift=0 * values)
    return contrast_transfer(Optics(pixel_size=1.7), defocus, size=setting.size)


def powers(setting):
    shells = min(setting.size) // 2 + 1
    return setting.like((shells,), seed=3).square() + 0.1, setting.like((shells,), seed=4).square() + 0.1


def wiener(setting):
    signal, noise = powers(setting)
    transfer = lens(setting)[0] if len(setting.size) == 2 else None
    return lambda x: wiener_filter(x, signal=signal, noise=noise, transfer=transfer, dimensions=len(setting.size))


def tikhonov(setting):
    transfer = lens(setting)[0]
    return lambda x: tikhonov_filter(x, transfer, constant=0.1)


def summed(setting):
    transfer = lens(setting, 3)
    return lambda x: wiener_sum(x, transfer, noise_to_signal=0.2)


def spread(setting):
    transfer = lens(setting, 3)
    weight = transfer / ((transfer**2).sum(dim=0) + 0.2)
    return lambda y: to_real(to_fourier(y)[..., None, :, :] * weight, width=setting.size[-1])


OPERATORS = [
    Operator(name="wiener filter", build=wiener, adjoint=wiener),
    Operator(name="wiener filter 3D", build=wiener, adjoint=wiener, sizes=BOXES_3D),
    Operator(name="tikhonov filter", build=tikhonov, adjoint=tikhonov),
    Operator(name="wiener sum", build=summed, adjoint=spread, batch=(3,), has_batch=False),
]
