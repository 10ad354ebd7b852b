"""Micrographs with their CTF undone for the eye: Wiener's filter with a signal-to-noise ratio that is stated rather than measured.

Source: the parametrisation by strength and fall-off follows Tegunov & Cramer, Nat. Methods 16, 1146 (2019).
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_positive
from cryowalk.core.errors import InputError
from cryowalk.data.images import Micrograph
from cryowalk.data.optics import Defocus, Optics
from cryowalk.denoising.settings import DenoisingSettings
from cryowalk.fourier.grids import frequency_radius
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.microscope.lens import contrast_transfer

_FALL = 100.0  # Å: with fall-off 1 the assumed ratio has dropped by e at a resolution of 100 Å


def assumed_ratio(
    frequency: Float[Tensor, "*shape"], *, strength: float, falloff: float, high_pass: float
) -> Float[Tensor, "*shape"]:
    """The signal-to-noise ratio that is taken for granted at |k| (1/Å): 10^(3·strength) · e^(−100 Å·falloff·k) · ½(1 − cos π min(1, k·high_pass)).

    `high_pass` in Å. It stands for a spectrum that nobody measured: a filter for looking, not for measuring.
    """
    require_positive("high pass", high_pass, unit="Å")
    rise = 0.5 - 0.5 * torch.cos(math.pi * (frequency * high_pass).clamp(max=1.0))
    return 10 ** (3 * strength) * torch.exp(-_FALL * falloff * frequency) * rise


def deconvolve(micrograph: Micrograph, optics: Optics, defocus: Defocus, settings: DenoisingSettings | None = None) -> Micrograph:
    """The micrograph with its CTF undone, protein as dark as before, mean 0: Y · CTF / (CTF² + 1/SNR), SNR the stated `assumed_ratio`.

    Zeros of the CTF stay empty. The correlation with the truth in a thin ring is raised where the ring holds both signs of an astigmatic CTF, and
    otherwise only its sign changes; what the eye gains is contrast at low resolution.

    Raises
    ------
    InputError
        If the micrograph is constant or holds values that are not finite.
    """
    settings = settings or DenoisingSettings()
    pixels = micrograph.pixels
    if not bool(torch.isfinite(pixels).all()):
        raise InputError("the micrograph holds NaN or infinite values", file=micrograph.name or None, cause="a damaged file")
    if bool(pixels.max() == pixels.min()):
        raise InputError("the micrograph is constant: there is nothing to see", file=micrograph.name or None)
    size = (pixels.shape[0], pixels.shape[1])
    group = replace(optics, pixel_size=micrograph.pixel_size)
    transfer = contrast_transfer(group, defocus.to(pixels.device), size=size).to(pixels)
    radius = frequency_radius(size, pixel_size=micrograph.pixel_size, like=pixels)
    ratio = assumed_ratio(radius, strength=settings.strength, falloff=settings.falloff, high_pass=settings.high_pass)
    # In this form the ratio may be zero, at the origin as anywhere.
    weight = transfer * ratio / (transfer**2 * ratio + 1)
    return replace(micrograph, pixels=to_real(to_fourier(pixels - pixels.mean()) * weight, width=size[1]))
