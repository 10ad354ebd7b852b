"""Filters that multiply a spectrum: low and high pass, B factor, shell weights, and the phases that move an image."""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.checks import require_positive
from cryowalk.core.errors import ShapeError
from cryowalk.fourier.grids import Size, frequency_grid, frequency_radius, require_size, shell_count, shell_index
from cryowalk.fourier.transform import to_fourier, to_real


def low_pass(
    array: Float[Tensor, "*batch h w"], *, resolution: float, pixel_size: float, dimensions: int = 2, edge: float = 2.0
) -> Float[Tensor, "*batch h w"]:
    """The array without detail finer than `resolution` (Å): a raised-cosine edge, `edge` shells wide, half-way down at 1/resolution."""
    size = require_size(array, dimensions)
    return _filtered(array, low_pass_weights(size, resolution=resolution, pixel_size=pixel_size, edge=edge, like=array), size)


def high_pass(
    array: Float[Tensor, "*batch h w"], *, resolution: float, pixel_size: float, dimensions: int = 2, edge: float = 2.0
) -> Float[Tensor, "*batch h w"]:
    """The array without what is coarser than `resolution` (Å), the mean included: one minus the low pass of the same edge."""
    size = require_size(array, dimensions)
    return _filtered(array, 1 - low_pass_weights(size, resolution=resolution, pixel_size=pixel_size, edge=edge, like=array), size)


def b_factor(
    array: Float[Tensor, "*batch h w"], *, b_factor: float, pixel_size: float, dimensions: int = 2
) -> Float[Tensor, "*batch h w"]:
    """The array with its spectrum multiplied by exp(−B k²/4), B in Å²: a positive B blurs, a negative one sharpens."""
    size = require_size(array, dimensions)
    radius = frequency_radius(size, pixel_size=pixel_size, like=array)
    return _filtered(array, torch.exp(radius**2 * (-b_factor / 4)), size)


def apply_shell_weights(
    array: Float[Tensor, "*batch h w"], weights: Float[Tensor, "*batch2 shells"], *, dimensions: int = 2
) -> Float[Tensor, "*batch h w"]:
    """The array with each shell 0 … n // 2 of its spectrum multiplied by its weight; the corners take the last shell's.

    Raises
    ------
    ShapeError
        If there is not one weight a shell.
    """
    size = require_size(array, dimensions)
    return _filtered(array, weights_on_spectrum(weights, size=size), size)


def weights_on_spectrum(weights: Float[Tensor, "*batch shells"], *, size: Size) -> Float[Tensor, "*other h half"]:
    """Shell weights spread over the half spectrum of an array of `size`; the corners take the last shell's.

    Raises
    ------
    ShapeError
        If there is not one weight a shell.
    """
    shells = shell_count(size)
    if weights.shape[-1] != shells:
        raise ShapeError(
            f"an array of size {size} has {shells} shells, zero and Nyquist included: got {weights.shape[-1]} weights"
        )
    return weights[..., shell_index(size, device=weights.device).clamp_(max=shells - 1)]


def low_pass_weights(
    size: Size, *, resolution: float, pixel_size: float, edge: float = 2.0, like: Tensor | None = None
) -> Float[Tensor, "*size"]:
    """The factors of `low_pass` on the half spectrum: ½ + ½ cos π(k − k₁)/Δk inside the edge k₁ … k₁ + Δk."""
    require_positive("resolution", resolution, unit="Å")
    radius = frequency_radius(size, pixel_size=pixel_size, like=like)
    step = 1 / (min(size) * pixel_size)
    if edge <= 0:
        return (radius <= 1 / resolution).to(radius.dtype)
    position = (radius - 1 / resolution) / (edge * step) + 0.5
    return 0.5 + 0.5 * torch.cos(math.pi * position.clamp(0, 1))


def shift_phases(
    size: tuple[int, int], shift: Float[Tensor, "*batch 2"], *, pixel_size: float
) -> Complex[Tensor, "*batch h half"]:
    """Factors e^(−2πi k·s) on the half spectrum that move an image by +s, s = (x, y) in Å.

    dtype and device follow the shift. At an even side's Nyquist frequency a fractional shift is not invertible: only the part that
    keeps the image real survives the way back.
    """
    kx, ky = frequency_grid(size, pixel_size=pixel_size, like=shift)
    along_x = unit_phase(shift[..., 0, None] * kx)
    along_y = unit_phase(shift[..., 1, None] * ky[:, 0])
    # Two short vectors of cosines and one product: n² of them would cost more than the transform.
    return along_y[..., :, None] * along_x[..., None, :]


def shift_images(
    images: Float[Tensor, "*batch h w"], shift: Float[Tensor, "*batch2 2"], *, pixel_size: float
) -> Float[Tensor, "*batch3 h w"]:
    """The images moved by +s, s = (x, y) in Å, by Fourier interpolation (what leaves on one side enters on the other)."""
    size = require_size(images, 2)
    phases = shift_phases((size[0], size[1]), shift.to(images.dtype), pixel_size=pixel_size)
    return to_real(to_fourier(images) * phases, width=size[-1])


def unit_phase(turns: Tensor) -> Tensor:
    """e^(−2πi · turns)."""
    angle = -2 * math.pi * turns
    return torch.complex(torch.cos(angle), torch.sin(angle))


def _filtered(array: Tensor, weights: Tensor, size: Size) -> Tensor:
    spectrum = to_fourier(array, dimensions=len(size)) * weights.to(array.dtype)
    return to_real(spectrum, width=size[-1], dimensions=len(size))
