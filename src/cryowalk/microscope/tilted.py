"""Tilted and thick specimens: a defocus that changes over the field, and a power spectrum that is an average over depth.

Source: Philippsen, Engel & Engel, Ultramicroscopy 107, 202 (2007), for the contrast-imaging function of tilted specimens.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_between, require_positive
from cryowalk.core.errors import ShapeError
from cryowalk.data.instrument import Gun, ObjectiveLens
from cryowalk.data.optics import Defocus, Optics
from cryowalk.fourier.grids import coordinates, frequency_grid
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.microscope.aberrations import has_odd_terms
from cryowalk.microscope.lens import aberration_phase, antisymmetric_factor, contrast_transfer

_TOLERANCE = 1e-5  # of the layers' polynomials
_STEEPEST = math.radians(89)


def tilted_heights(
    size: tuple[int, int], *, pixel_size: float, tilt_angle: float, tilt_axis: float = 0.0, like: Tensor | None = None
) -> Float[Tensor, "h w"]:
    """Height z of a flat tilted specimen over the pixels of its image, Å: z = u tan θ, u the distance from the tilt axis through the origin pixel.

    The specimen is turned by θ = `tilt_angle` (rad) about the axis (cos β, sin β, 0), β = `tilt_axis` from +x towards +y; u = y cos β − x sin β. Where z
    is larger, farther along the beam, the underfocus is larger by z.

    Raises
    ------
    UsageError
        If the tilt is not between −89° and 89°.
    """
    require_between("tilt angle", tilt_angle, -_STEEPEST, _STEEPEST)
    x, y = coordinates(size, pixel_size=pixel_size, like=like)
    return math.tan(tilt_angle) * (y * math.cos(tilt_axis) - x * math.sin(tilt_axis))


def apply_tilted_transfer(
    images: Float[Tensor, "*batch h w"],
    optics: Optics,
    defocus: Defocus,
    *,
    tilt_angle: float,
    tilt_axis: float = 0.0,
    gun: Gun | None = None,
    lens: ObjectiveLens | None = None,
) -> Float[Tensor, "*batch2 h w"]:
    """The images that the lens makes of projections of a flat tilted specimen: every point with the CTF of its own defocus.

    `defocus` holds at the origin pixel; see `tilted_heights` for the signs and `apply_transfer_over_heights` for the method.

    Raises
    ------
    UsageError
        If the tilt is not between −89° and 89°.
    """
    size = (images.shape[-2], images.shape[-1])
    heights = tilted_heights(size, pixel_size=optics.pixel_size, tilt_angle=tilt_angle, tilt_axis=tilt_axis, like=images)
    return apply_transfer_over_heights(images, optics, defocus, heights=heights, gun=gun, lens=lens)


def apply_transfer_over_heights(
    images: Float[Tensor, "*batch h w"],
    optics: Optics,
    defocus: Defocus,
    *,
    heights: Float[Tensor, "h2 w2"],
    gun: Gun | None = None,
    lens: ObjectiveLens | None = None,
) -> Float[Tensor, "*batch2 h w"]:
    """The images of projections whose point x lies at the height z(x), Å: Σ_x f(x) CTF(Δf + z(x)) e^(−2πi k·x), back in real space.

    The CTF is a smooth function of the height, so a few layers hold it all: CTF(Δf + z) = Σ_l ℓ_l(z) CTF(Δf + z_l), with ℓ_l the polynomials that are 1
    at one Chebyshev point z_l and 0 at the others. Each layer is one transform; their number is about the largest change of phase πλ k² z and some,
    and is chosen for an error below 1e-5. It is linear in the images; what delocalisation takes out at one side enters at the other.

    Raises
    ------
    ShapeError
        If the heights are not those of the images' pixels.
    """
    middle, nodes, position = _layers(images, optics, heights)
    total = None
    for node, weight in zip(nodes, _cardinal(position, nodes), strict=True):
        transfer = _layer_transfer(optics, defocus, middle + node * _reach(heights), images, gun=gun, lens=lens)
        layer = to_fourier(images * weight) * transfer
        total = layer if total is None else total + layer
    if total is None:
        raise ShapeError("images without pixels have no layers")
    if has_odd_terms(optics.aberrations):
        total = total * antisymmetric_factor(optics, size=(images.shape[-2], images.shape[-1]), like=total)
    return to_real(total, width=images.shape[-1])


def spread_back_over_heights(
    images: Float[Tensor, "*batch h w"],
    optics: Optics,
    defocus: Defocus,
    *,
    heights: Float[Tensor, "h2 w2"],
    gun: Gun | None = None,
    lens: ObjectiveLens | None = None,
) -> Float[Tensor, "*batch2 h w"]:
    """The adjoint of `apply_transfer_over_heights`: every pixel of the result is the image filtered with the CTF of that pixel's own height.

    It is also what phase flipping and matched filtering of a tilted micrograph need.

    Raises
    ------
    ShapeError
        If the heights are not those of the images' pixels.
    """
    middle, nodes, position = _layers(images, optics, heights)
    spectrum = to_fourier(images)
    if has_odd_terms(optics.aberrations):
        spectrum = spectrum * antisymmetric_factor(optics, size=(images.shape[-2], images.shape[-1]), like=spectrum).conj()
    total = torch.zeros_like(images)
    for node, weight in zip(nodes, _cardinal(position, nodes), strict=True):
        transfer = _layer_transfer(optics, defocus, middle + node * _reach(heights), images, gun=gun, lens=lens)
        total = total + to_real(spectrum * transfer, width=images.shape[-1]) * weight
    return total


def _reach(heights: Tensor) -> float:
    """Half the range of the heights, Å."""
    return float((heights.max() - heights.min()) / 2)


def _layers(images: Tensor, optics: Optics, heights: Tensor) -> tuple[float, list[float], Tensor]:
    """The middle of the heights, the layers' positions between −1 and 1, and each pixel's."""
    size = (images.shape[-2], images.shape[-1])
    if tuple(heights.shape) != size:
        raise ShapeError(f"one height a pixel is needed: got {tuple(heights.shape)} for images of {size}")
    reach = _reach(heights)
    middle = float(heights.min()) + reach
    finest = 0.5 / optics.pixel_size**2  # k² in the corner of the spectrum
    count = layer_count(math.pi * optics.wavelength * finest * reach)
    nodes = [math.cos(math.pi * (2 * layer + 1) / (2 * count)) for layer in range(count)]
    position = (heights.to(images.dtype) - middle) / reach if reach > 0 else torch.zeros_like(heights, dtype=images.dtype)
    return middle, nodes, position


def layer_count(phase: float) -> int:
    """How many layers hold a CTF whose phase changes by ± `phase` (rad) over the heights, for an error below 1e-5.

    e^(i φ t) = Σ_n (2 − δ_n0) iⁿ J_n(φ) T_n(t) on |t| ≤ 1: the Bessel functions vanish fast once n exceeds φ, and with them the error of n layers.
    """
    from scipy.special import jv

    count = 1
    while count <= phase or 4 * abs(float(jv(count, phase))) > _TOLERANCE:
        count += 1
    return count


def _cardinal(position: Float[Tensor, "h w"], nodes: list[float]) -> Iterator[Float[Tensor, "h w"]]:
    """The polynomials ℓ_l at each pixel's position, one after the other, in their barycentric form at Chebyshev points.

    Source: Berrut & Trefethen, SIAM Review 46, 501 (2004), sec. 5.
    """
    count = len(nodes)
    signs = [(1 - 2 * (layer % 2)) * math.sin(math.pi * (2 * layer + 1) / (2 * count)) for layer in range(count)]
    total, one = torch.zeros_like(position), torch.ones_like(position)
    for sign, node in zip(signs, nodes, strict=True):
        total = torch.addcdiv(total, one, position - node, value=sign)
    inverse = 1 / total
    for sign, node in zip(signs, nodes, strict=True):
        # A pixel exactly on a node is 0 · ∞ there and 0 in the other layers.
        yield torch.addcdiv(torch.zeros_like(total), inverse, position - node, value=sign).nan_to_num_(nan=1.0)


def _layer_transfer(
    optics: Optics, defocus: Defocus, height: float, images: Tensor, *, gun: Gun | None, lens: ObjectiveLens | None
) -> Tensor:
    """The CTF of what lies at this height, in the precision of the images."""
    at_height = replace(defocus, major=defocus.major + height, minor=defocus.minor + height)
    return contrast_transfer(optics, at_height, size=(images.shape[-2], images.shape[-1]), gun=gun, lens=lens).to(images.dtype)


def apply_transfer_pixel_by_pixel(
    images: Float[Tensor, "*batch h w"], optics: Optics, defocus: Defocus, *, heights: Float[Tensor, "h w"]
) -> Float[Tensor, "*batch h w"]:
    """The same as `apply_transfer_over_heights` by brute force: the point spread of every pixel, with its own defocus, one after the other.

    It takes a spectrum for each pixel and is there to be compared with, on small images.
    """
    height, width = images.shape[-2:]
    total = torch.zeros_like(to_fourier(images))
    for row in range(height):
        points = torch.zeros(width, height, width, dtype=images.dtype, device=images.device)
        points[torch.arange(width), row, torch.arange(width)] = 1
        own = heights[row].to(defocus.major.dtype)
        transfer = contrast_transfer(
            optics,
            Defocus(
                major=defocus.major + own,
                minor=defocus.minor + own,
                azimuth=defocus.azimuth.expand_as(own),
                phase_shift=defocus.phase_shift.expand_as(own),
            ),
            size=(height, width),
        )
        spread = to_fourier(points) * transfer.to(images.dtype)
        total = total + torch.einsum("...p,phw->...hw", images[..., row, :].to(spread.dtype), spread)
    if has_odd_terms(optics.aberrations):
        total = total * antisymmetric_factor(optics, size=(height, width), like=total)
    return to_real(total, width=width)


class SideBands(NamedTuple):
    """Where a tilt takes the two halves of a CTF: the image at k holds e^(±iχ(k)) / 2i times the specimen at k ∓ the displacement, 1/Å."""

    displacement_x: Tensor
    displacement_y: Tensor


def side_bands(
    kx: Float[Tensor, "*shape"], ky: Float[Tensor, "*other"], *, optics: Optics, tilt_angle: float, tilt_axis: float = 0.0
) -> SideBands:
    """The displacement ½ λ k² ∇z of the two side bands of a flat tilted specimen, 1/Å: ∇z = tan θ (−sin β, cos β).

    sin(χ + πλk² z(x)) with z = ∇z · x is a pair of plane waves over the field, and a plane wave in real space is a shift in Fourier space. So the image of
    a tilted lattice has two spots for each of the untilted one's, on either side across the tilt axis, in place of one with a CTF.

    Source: Philippsen, Engel & Engel, Ultramicroscopy 107, 202 (2007).
    """
    size = 0.5 * optics.wavelength * math.tan(tilt_angle) * (kx**2 + ky**2)
    return SideBands(-math.sin(tilt_axis) * size, math.cos(tilt_axis) * size)


def apply_tilted_transfer_by_side_bands(
    image: Float[Tensor, "h w"], optics: Optics, defocus: Defocus, *, tilt_angle: float, tilt_axis: float = 0.0
) -> Float[Tensor, "h w"]:
    """The same as `apply_tilted_transfer`, in closed form: [e^(iχ') F(k − q) − e^(−iχ') F(k + q)] / 2i, χ' = χ + φ + arcsin Q, q of `side_bands`.

    F between the image's frequencies is the exact sum over its pixels, so this too is for small images.
    """
    height, width = image.shape
    kx, ky = frequency_grid((height, width), pixel_size=optics.pixel_size, dtype=torch.float64, device=image.device)
    phase = aberration_phase(kx, ky, optics=optics, defocus=defocus) + defocus.phase_shift + math.asin(optics.amplitude_contrast)
    bands = side_bands(kx, ky, optics=optics, tilt_angle=tilt_angle, tilt_axis=tilt_axis)
    x, y = coordinates((height, width), pixel_size=optics.pixel_size, dtype=torch.float64, device=image.device)
    spectrum = torch.zeros(phase.shape, dtype=torch.complex128, device=image.device)
    for sign in (1, -1):
        across = (kx - sign * bands.displacement_x).reshape(-1, 1) * x
        along = (ky - sign * bands.displacement_y).reshape(-1, 1) * y.reshape(-1)
        sums = torch.einsum("yx,kx->ky", image.to(torch.complex128), torch.exp(-2j * math.pi * across))
        shifted = (sums * torch.exp(-2j * math.pi * along)).sum(dim=-1).reshape(phase.shape)
        spectrum = spectrum + sign * torch.exp(sign * 1j * phase) * shifted / 2j
    return to_real(spectrum / math.sqrt(height * width), width=width).to(image.dtype)


def thickness_averaged_power(
    frequency: Float[Tensor, "*shape"], *, optics: Optics, defocus: Defocus, thickness: float
) -> Float[Tensor, "*result"]:
    """The mean of CTF² over a slab of `thickness` Å at |k| = `frequency` (1/Å): ½ (1 − sinc(λ k² t) cos 2χ'), sinc x = sin πx / πx.

    χ' = χ + φ + arcsin Q at the middle of the slab, the two defoci's mean. The power of scatterers that know nothing of each other adds up over depth, so
    Thon rings fade, vanish at the node k = 1/√(λt) and return with opposite sign: bright becomes dark. The result has the axes of the defocus
    and then those of the frequency.

    Raises
    ------
    UsageError
        If the thickness is below zero.

    Source: McMullan, Vinothkumar & Henderson, Ultramicroscopy 158, 26 (2015); Elferich, Kong, Zottig & Grigorieff, eLife 13, RP97227 (2024).
    """
    require_between("thickness", thickness, 0.0, math.inf)
    mean = (defocus.major + defocus.minor).double() / 2
    axes = (*mean.shape, *[1] * frequency.ndim)
    level = Defocus(
        major=mean.reshape(axes),
        minor=mean.reshape(axes),
        azimuth=torch.zeros(axes, dtype=torch.float64, device=mean.device),
        phase_shift=defocus.phase_shift.double().reshape(axes),
    )
    phase = aberration_phase(frequency, torch.zeros_like(frequency), optics=optics, defocus=level)
    phase = phase + level.phase_shift + math.asin(optics.amplitude_contrast)
    fading = torch.sinc(optics.wavelength * frequency.double() ** 2 * thickness)
    return (0.5 * (1 - fading * torch.cos(2 * phase))).to(frequency.dtype)


def thickness_node(optics: Optics, *, thickness: float) -> float:
    """The frequency 1/√(λt) at which the Thon rings of a slab of `thickness` Å vanish for the first time, 1/Å."""
    return 1 / math.sqrt(optics.wavelength * require_positive("thickness", thickness, unit="Å"))


def thickness_of_node(optics: Optics, *, frequency: float) -> float:
    """The thickness t = 1 / (λ k²) of a slab whose Thon rings vanish at `frequency` (1/Å), Å: the inverse of `thickness_node`."""
    return 1 / (optics.wavelength * require_positive("frequency", frequency, unit="1/Å") ** 2)
