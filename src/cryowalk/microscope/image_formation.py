"""From projections to the particle images that the lens makes of them, free of wrap-round."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import UsageError
from cryowalk.data.optics import Defocus, Optics
from cryowalk.fourier.filters import shift_phases
from cryowalk.fourier.transform import resize, to_fourier, to_real
from cryowalk.microscope.lens import canvas_size, contrast_transfer


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

    The lens spreads detail of frequency k by λ Δf k, so images form on a canvas of `lens.canvas_size` pixels (or `canvas`) and are cropped:
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
    spectra = spectra * shift_phases((side, side), shift.to(projections), pixel_size=optics.pixel_size)
    whole = to_real(spectra, width=side)
    images = resize(whole, box)
    energy = whole.square().sum(dim=(-2, -1))
    kept = images.square().sum(dim=(-2, -1))
    return FormedImages(images, 1 - kept / energy.clamp_min(torch.finfo(energy.dtype).tiny))
