"""Images that the lens makes: of projections by the contrast transfer function, free of wrap-round; and of a wave, by its intensity."""

import math
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.errors import UsageError
from cryowalk.data.instrument import Gun, ObjectiveLens
from cryowalk.data.optics import Defocus, Optics
from cryowalk.fourier.filters import shift_phases
from cryowalk.fourier.grids import full_frequency_grid
from cryowalk.fourier.transform import filtering_transform, resize, to_fourier, to_real
from cryowalk.microscope.aberrations import antisymmetric_phase_at, has_odd_terms, true_frequency
from cryowalk.microscope.gun import focus_spread
from cryowalk.microscope.lens import (
    aberration_phase,
    antisymmetric_factor,
    aperture,
    canvas_size,
    contrast_transfer,
    per_image,
    wave_transfer,
)


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
        spectra = spectra * antisymmetric_factor(optics, size=(side, side), like=spectra)
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
    with the unscattered beam, too weak for that of scattered electrons with each other; `image_by_summation` is the full sum. B-factor and scale of
    the defocus act likewise, on all but the unscattered beam. The axes of the defocus broadcast with those of the wave, and what the lens moves
    across one border enters at the other.

    Source: Kirkland, Advanced Computing in Electron Microscopy (2020), ch. 5; Reimer & Kohl, Transmission Electron Microscopy (2008), sec. 6.4.
    """
    size = (wave.shape[-2], wave.shape[-1])
    transfer = wave_transfer(optics, defocus, size=size, gun=gun, lens=lens).to(wave)
    if defocus.b_factor is not None or defocus.scale is not None:
        transfer = transfer * _fading(defocus, size=size, pixel_size=optics.pixel_size).to(wave.real)
    image = filtering_transform(filtering_transform(wave, direction="forward") * transfer, direction="inverse")
    return image.real**2 + image.imag**2


def _fading(defocus: Defocus, *, size: tuple[int, int], pixel_size: float) -> Float[Tensor, "*batch h w"]:
    """Scale · exp(−B k²/4) on the full spectrum, 1 for the unscattered beam."""
    image = per_image(defocus)
    kx, ky = full_frequency_grid(size, pixel_size=pixel_size, dtype=torch.float64, device=defocus.major.device)
    squared = kx**2 + ky**2
    fading = torch.ones_like(squared) if image.b_factor is None else torch.exp(-image.b_factor.double() / 4 * squared)
    return fading if image.scale is None else torch.where(squared > 0, image.scale.double() * fading, fading)


def image_by_summation(
    wave: Complex[Tensor, "*batch h w"],
    optics: Optics,
    defocus: Defocus,
    *,
    gun: Gun,
    lens: ObjectiveLens,
    focus_nodes: int = 9,
    angle_nodes: int = 5,
) -> Float[Tensor, "*result h w"]:
    """The image intensity under partial coherence as what it is: the mean of coherent images over the beam's energies and directions.

    I = ⟨|FT⁻¹ ψ(k) exp(iχ(k + θ/λ; Δf + ε))|²⟩ with the focus error ε normal of standard deviation `gun.focus_spread` and the direction θ distributed as
    exp(−θ²/α²), by Gauss–Hermite quadrature of `focus_nodes` × `angle_nodes`² coherent images. It holds for interference of scattered electrons with each
    other too (the transmission cross coefficients), where the envelopes of `image_of_wave` do not. The exit wave is taken to be the same, but
    turned, for all directions: a thin specimen.

    Source: Frank, Optik 38, 519 (1973); Reimer & Kohl, Transmission Electron Microscopy (2008), sec. 6.4.2.
    """
    size = (wave.shape[-2], wave.shape[-1])
    spectrum = filtering_transform(wave, direction="forward")
    image, spread = per_image(defocus), focus_spread(optics, gun, lens)
    seen = full_frequency_grid(size, pixel_size=optics.pixel_size, dtype=torch.float64, device=wave.device)
    kx, ky = true_frequency(*seen, optics=optics)
    directions = [(x * gun.convergence / math.sqrt(2), weight) for x, weight in _normal_nodes(angle_nodes)]
    total: Tensor | float = 0.0
    for error, by_focus in _normal_nodes(focus_nodes):
        focus = replace(image, major=image.major + spread * error, minor=image.minor + spread * error)
        for (x, by_x), (y, by_y) in product(directions, directions):
            transfer = _coherent_transfer(kx + x / optics.wavelength, ky + y / optics.wavelength, optics, focus, lens=lens)
            part = filtering_transform(spectrum * transfer.to(wave), direction="inverse")
            total = total + by_focus * by_x * by_y * (part.real**2 + part.imag**2)
    return torch.as_tensor(total)


def _coherent_transfer(kx: Tensor, ky: Tensor, optics: Optics, image: Defocus, *, lens: ObjectiveLens) -> Tensor:
    """exp(iχ) and the aperture at frequencies counted from the optic axis; the first is the unscattered beam's, which no phase plate turns."""
    zero = kx.new_zeros(())
    plate = image.phase_shift.double() + aberration_phase(zero, zero, optics=optics, defocus=image)
    phase = aberration_phase(kx, ky, optics=optics, defocus=image) + antisymmetric_phase_at(kx, ky, optics=optics)
    is_unscattered = torch.zeros(phase.shape[-2:], dtype=phase.dtype, device=phase.device)
    is_unscattered[0, 0] = 1.0
    phase = phase + image.phase_shift.double() - plate * is_unscattered
    return torch.polar(aperture(torch.sqrt(kx**2 + ky**2), optics=optics, lens=lens).expand_as(phase).contiguous(), phase)


def _normal_nodes(count: int) -> list[tuple[float, float]]:
    """Places and weights of a Gauss quadrature over the standard normal distribution."""
    if count < 1:
        raise UsageError(f"a sum over the beam needs one node at least: got {count}")
    places, weights = np.polynomial.hermite_e.hermegauss(count)
    return list(zip(places.tolist(), (weights / weights.sum()).tolist(), strict=True))
