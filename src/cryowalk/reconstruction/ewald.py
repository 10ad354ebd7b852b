"""The curvature of the Ewald sphere: each image is two curved sheets of the map's transform, and is put back on both.

An image shows a specimen's plane at height z with an underfocus larger by z. Summed over z its transform is
X(k) = [e^(iγ) F(k, −s) − e^(−iγ) F(k, +s)] / 2i with s = λk²/2, γ the CTF's phase and F the map's transform in the image's frame: of one number there are
two unknowns. The adjoint puts (i/2) e^(−iγ) X on the sheet below and −(i/2) e^(iγ) X on the one above; in the sum over many defoci the other sheet's share in
each averages out.

Source: Russo & Henderson, Ultramicroscopy 187, 56 (2018), "simple insertion"; DeRosier, Ultramicroscopy 81, 83 (2000).
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.errors import UsageError
from cryowalk.data import Defocus, Optics
from cryowalk.fourier.grids import frequency_grid
from cryowalk.microscope.aberrations import magnified_area, true_frequency
from cryowalk.microscope.lens import aberration_phase, per_image
from cryowalk.reconstruction.settings import ReconstructionSettings

IMAGES = 64  # worked on at a time: their phases are in double precision


class Sheet(NamedTuple):
    """What images of one optics group put on one sheet: numerators, weights, and the sheet's kz in cycles over the box."""

    numerator: Complex[Tensor, "n h half"]
    weight: Float[Tensor, "n h half"]
    height: Float[Tensor, "h half"]


def require_curved(optics: Optics, settings: ReconstructionSettings) -> None:
    """Refuse images whose phases are not as the lens left them.

    Raises
    ------
    UsageError
        If the images are phase-flipped, premultiplied, or without a CTF.
    """
    if settings.ctf != "correct" or optics.is_premultiplied:
        raise UsageError(
            "the Ewald sphere can be corrected only in images that still have their CTF",
            expected="--ctf correct, and images that are neither phase-flipped nor premultiplied",
            fix="extract the particles again without a correction of the CTF, or leave --ewald off",
        )


def curved_sheets(
    spectra: Complex[Tensor, "n h half"],
    optics: Optics,
    defocus: Defocus,
    *,
    common: Float[Tensor, "h half"],
    settings: ReconstructionSettings,
) -> Iterator[Sheet]:
    """The sheet below and the sheet above of images' centred spectra, odd aberrations already undone; `common` multiplies both sums.

    A sheet's weight is ¼ (1 − ρ cos 2γ) CTF-envelope², what the numerator holds of the map on the average: ρ is the correlation of the map's transform
    between the sheets, that of a ball of the particle's diameter. Where they fall together ρ is 1 and both weights add to sin²γ.
    """
    box = spectra.shape[-2]
    diameter = settings.diameter or box * optics.pixel_size / 2
    kx, ky = frequency_grid((box, box), pixel_size=optics.pixel_size, dtype=torch.float64, device=spectra.device)
    kx, ky = true_frequency(kx, ky, optics=optics)
    squared = kx**2 + ky**2
    image = per_image(defocus.to(spectra.device))
    phase = (
        aberration_phase(kx, ky, optics=optics, defocus=image) + image.phase_shift.double() + math.asin(optics.amplitude_contrast)
    )
    amplitude = torch.full_like(squared, magnified_area(optics))
    if image.b_factor is not None:
        amplitude = amplitude * torch.exp(-image.b_factor.double() / 4 * squared)
    if image.scale is not None:
        amplitude = amplitude * image.scale.double()
    between = ball_correlation(optics.wavelength * squared, diameter=diameter)
    weight = (0.25 * common * amplitude**2 * (1 - between * torch.cos(2 * phase))).to(common)
    half = (0.5 * common * amplitude).to(common) * spectra
    turned = torch.polar(torch.ones_like(phase), phase - math.pi / 2).to(spectra.dtype)  # −i e^(iγ)
    sag = (optics.wavelength * squared / 2 * (box * optics.pixel_size)).to(common)
    upwards = 1.0 if settings.ewald == "on" else -1.0
    yield Sheet(half * turned.conj(), weight, -upwards * sag)
    yield Sheet(half * turned, weight, upwards * sag)


def ball_correlation(distance: Float[Tensor, "*shape"], *, diameter: float) -> Float[Tensor, "*shape"]:
    """How the transform of a random density within a ball correlates over a distance (1/Å): 3 (sin t − t cos t) / t³ with t = π · distance · diameter."""
    t = (math.pi * diameter * distance.double()).clamp_min(1e-2)
    return (3 * (torch.sin(t) - t * torch.cos(t)) / t**3).to(distance.dtype)


def sheet_stretch(optics: Optics) -> float:
    """How much farther from the origin than its own frequency a sheet's coefficient may lie, at Nyquist: √(1 + (λk/2)²)."""
    return math.sqrt(1 + (optics.wavelength / (4 * optics.pixel_size)) ** 2)
