"""Images that the lens makes: of projections by the contrast transfer function, free of wrap-round; and of a wave, by its intensity."""

from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.errors import UsageError
from cryowalk.data.instrument import Gun, ObjectiveLens
from cryowalk.data.optics import Defocus, Optics
from cryowalk.fourier.filters import shift_phases
from cryowalk.fourier.transform import filtering_transform, resize, to_fourier, to_real
from cryowalk.microscope.aberrations import has_odd_terms
from cryowalk.microscope.lens import antisymmetric_phase, canvas_size, contrast_transfer, wave_transfer


class FormedImages(NamedTuple):
    """Noiseless particle images, V Å, protein bright, and the part of each one's signal energy that fell outside the box."""

    images: Float[Tensor, "n h w"]
    signal_lost: Float[Tensor, " n"]


def form_images(
    projections: Float[Tensor, "n h w"],
    optics: Optics,
    defocus: Defocus,
    *,
    shift: Float[Tensor, "n 2"],
    canvas: int | None = None,
) -> FormedImages:
    """Images CTF ∗ projection, each moved by its shift (Å), cropped to the size of the projections; and the signal lost by delocalisation.

    Beam tilt and odd Zernike terms of the optics displace detail (`lens.antisymmetric_phase`). The lens spreads detail of frequency k by λ Δf k, so images form on a canvas of `lens.canvas_size` pixels (or `canvas`) and are cropped:
    what leaves the box is lost, as it is in a micrograph, and does not come back at the other side.

    Raises
    ------
    UsageError
        If the canvas is smaller than the images.
    """
    box = projections.shape[-1]
    side = canvas_size(optics, defocus, box=box) if canvas is None else canvas
    if side < box:
        raise UsageError(f"the canvas must not be smaller than the images: got {side} for images of {box} pixels")
    spectra = to_fourier(resize(projections, side))
    spectra = spectra * contrast_transfer(optics, defocus, size=(side, side)).to(projections.dtype)
    if has_odd_terms(optics.aberrations):
        odd = antisymmetric_phase(optics, size=(side, side), device=projections.device)
        spectra = spectra * torch.polar(torch.ones_like(odd), odd).to(spectra.dtype)
    spectra = spectra * shift_phases((side, side), shift.to(projections), pixel_size=optics.pixel_size)
    whole = to_real(spectra, width=side)
    images = resize(whole, box)
    energy = whole.square().sum(dim=(-2, -1))
    kept = images.square().sum(dim=(-2, -1))
    return FormedImages(images, 1 - kept / energy.clamp_min(torch.finfo(energy.dtype).tiny))


def image_of_wave(
    wave: Complex[Tensor, "*batch h w"],
    optics: Optics,
    defocus: Defocus,
    *,
    gun: Gun | None = None,
    lens: ObjectiveLens | None = None,
) -> Float[Tensor, "*result h w"]:
    """The image intensity |ψ ∗ lens|² of an exit wave referred to z = 0; its mean is 1 without specimen. Protein dark.

    The spectrum of ψ times `lens.wave_transfer` of this defocus; times dose · pixel size² it is the expected number of electrons. In the weak
    limit it is 1 − 2σₑ ∫ V dz ∗ sin(χ + φ + arcsin Q). With a gun, partial coherence acts by its envelopes on the wave: right for the interference
    with the unscattered beam, too weak for that of scattered electrons with each other; `image_by_summation` is the full sum. The axes of
    the defocus broadcast with those of the wave, and what the lens moves across one border enters at the other.

    Source: Kirkland, Advanced Computing in Electron Microscopy (2020), sec. 5.4; Reimer & Kohl, Transmission Electron Microscopy (2008), sec. 6.4.
    """
    size = (wave.shape[-2], wave.shape[-1])
    transfer = wave_transfer(optics, defocus, size=size, gun=gun, lens=lens).to(wave)
    image = filtering_transform(filtering_transform(wave, direction="forward") * transfer, direction="inverse")
    return image.real**2 + image.imag**2
