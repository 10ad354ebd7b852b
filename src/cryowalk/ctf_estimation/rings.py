"""A power spectrum averaged over rings and sectors: what the fit works on."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import UsageError
from cryowalk.ctf_estimation.spectrum import PowerSpectrum

SECTORS = 36  # of 5°, over half a turn; the other half is their mirror
_FEWEST_RINGS = 16
_DIRECTIONAL_PIECES = 1
_ICE = (1 / 4.05, 1 / 3.45)  # 1/Å, the band of the rings of ice that is left out on request


@dataclass(frozen=True, slots=True, kw_only=True)
class Rings:
    """The logarithm of a power spectrum in sectors (rows) and rings one Fourier pixel wide (columns).

    `frequency` (1/Å) and `azimuth` (rad, from +x towards +y) are means over the pixels of a cell, `weight` their number, `ring` the mean frequency of
    each ring. Cells without pixels have weight 0.
    """

    value: Float[Tensor, "sectors rings"]
    weight: Float[Tensor, "sectors rings"]
    frequency: Float[Tensor, "sectors rings"]
    azimuth: Float[Tensor, "sectors rings"]
    ring: Float[Tensor, " rings"]

    @property
    def profile(self) -> Float[Tensor, " rings"]:
        """The rotational average."""
        return (self.value * self.weight).sum(0) / self.weight.sum(0).clamp_min(1)

    def sector_angles(self) -> Float[Tensor, " sectors"]:
        """The middle azimuth of each sector, rad."""
        return math.pi * ((torch.arange(SECTORS, dtype=torch.float64) + 0.5) / SECTORS - 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which pixels of a half plane belong to which cell, for all power spectra of one size: `pixels` are flat indices, `cell` their cells."""

    pixels: Int[Tensor, " used"]
    cell: Int[Tensor, " used"]
    weight: Float[Tensor, "sectors rings"]
    frequency: Float[Tensor, "sectors rings"]
    azimuth: Float[Tensor, "sectors rings"]
    ring: Float[Tensor, " rings"]

    def mean(self, values: Float[Tensor, "side half"]) -> Float[Tensor, "sectors rings"]:
        """The mean over the pixels of each cell, 0 where there are none."""
        total = torch.bincount(self.cell, weights=values.double().cpu().reshape(-1)[self.pixels], minlength=self.weight.numel())
        return total.reshape(self.weight.shape) / self.weight.clamp_min(1)


def layout_of(side: int, *, pixel_size: float, coarsest: float, finest: float, exclude_ice: bool = False) -> Layout:
    """The cells between two spacings (Å) of the power spectra of images of `side` pixels.

    Pixels on the axes are left out: edges of the image and of the camera's sectors leave crosses there.

    Raises
    ------
    UsageError
        If fewer than 16 rings lie in the band.
    """
    length = side * pixel_size
    low, high = max(2, math.ceil(length / coarsest)), min(side // 2 - 1, math.floor(length / finest))
    if high - low + 1 < _FEWEST_RINGS:
        raise UsageError(
            f"only {max(0, high - low + 1)} rings of the power spectrum lie between {coarsest:g} and {finest:g} Å",
            expected=f"at least {_FEWEST_RINGS}",
            fix="widen the band of resolution, or use a larger box",
        )
    ky, kx = half_plane(side)
    radius, azimuth = torch.hypot(kx, ky), torch.atan2(ky, kx)
    sector = ((azimuth / math.pi + 0.5) * SECTORS).floor().long().clamp(0, SECTORS - 1)
    number = radius.round().long() - low
    keep = (number >= 0) & (number <= high - low) & (kx > 0) & (ky != 0)
    if exclude_ice:
        keep &= ~((radius / length > _ICE[0]) & (radius / length < _ICE[1]))
    shape = (SECTORS, high - low + 1)
    cell = (sector * shape[1] + number)[keep]
    weight = torch.bincount(cell, minlength=math.prod(shape)).double().reshape(shape)
    place = Layout(
        pixels=torch.nonzero(keep.reshape(-1))[:, 0],
        cell=cell,
        weight=weight,
        frequency=weight,
        azimuth=weight,
        ring=torch.arange(low, high + 1, dtype=torch.float64) / length,
    )
    return replace(place, frequency=place.mean(radius / length), azimuth=place.mean(azimuth))


def half_plane(side: int) -> tuple[Float[Tensor, "side half"], Float[Tensor, "side half"]]:
    """(ky, kx) of the half plane of images of `side` pixels, in Fourier pixels."""
    index = torch.arange(side, dtype=torch.float64)
    half = side // 2 + 1
    ky = torch.where(index < (side + 1) // 2, index, index - side)[:, None].expand(side, half)
    return ky, torch.arange(half, dtype=torch.float64).expand(side, half)


def rings_of(spectrum: PowerSpectrum, layout: Layout) -> Rings:
    """The logarithm of a power spectrum's means over the cells of a layout."""
    mean = layout.mean(spectrum.power)
    filled = layout.weight > 0
    value = torch.log(mean.clamp_min(float(mean[filled].mean()) * 1e-9))
    return Rings(
        value=torch.where(filled, value, torch.zeros_like(value)),
        weight=layout.weight,
        frequency=layout.frequency,
        azimuth=layout.azimuth,
        ring=layout.ring,
    )


def spline_basis(position: Float[Tensor, "*shape"], *, pieces: int) -> Float[Tensor, "*shape functions"]:
    """The cubic B-splines on [0, 1] with so many equal pieces, evaluated at these positions; there are pieces + 3 of them."""
    knots = torch.arange(-1, pieces + 2, dtype=position.dtype, device=position.device)
    distance = (position[..., None] * pieces - knots).abs()
    near = (4 - 6 * distance**2 + 3 * distance**3) / 6
    far = (2 - distance).clamp_min(0) ** 3 / 6
    return torch.where(distance < 1, near, far)


def smooth_fit(
    values: Float[Tensor, " n"], weight: Float[Tensor, " n"], *, position: Float[Tensor, " n"], pieces: int
) -> Float[Tensor, " n"]:
    """The spline of so many pieces that is nearest to the values in weighted least squares, at their positions."""
    basis = spline_basis(position, pieces=pieces)
    root = weight.sqrt()[:, None]
    coefficients = torch.linalg.lstsq(basis * root, values[:, None] * root).solution
    fitted: Tensor = (basis @ coefficients)[:, 0]
    return fitted


def directional_basis(position: Float[Tensor, "*shape"], azimuth: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape functions"]:
    """Smooth functions of frequency times cos 2θ and sin 2θ: a background that depends on direction, too smooth to follow rings."""
    smooth = spline_basis(position, pieces=_DIRECTIONAL_PIECES)
    parts = (smooth * torch.cos(2 * azimuth)[..., None], smooth * torch.sin(2 * azimuth)[..., None])
    return torch.cat(parts, dim=-1)


def relative_position(rings: Rings, frequency: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Where frequencies lie in the band of the rings, from 0 to 1."""
    return ((frequency - rings.ring[0]) / (rings.ring[-1] - rings.ring[0])).clamp(0, 1)
