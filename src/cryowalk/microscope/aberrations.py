"""The complete aberration function of the lens: defocus, astigmatism, Cs and even Zernike terms; beam tilt and odd Zernike terms; magnification.

Zernike polynomials take the frequency in 1/Å as their radius, and come in RELION's order, so that coefficients mean what its optics table says.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.errors import UsageError
from cryowalk.data.optics import Aberrations, Defocus, Optics
from cryowalk.fourier.grids import frequency_grid
from cryowalk.fourier.slices import FourierVolume, extract_slices


class ZernikeTerm(NamedTuple):
    """A polynomial Z = R_n^|m|(ρ) cos mφ for m ≥ 0, R_n^|m|(ρ) sin |m|φ for m < 0."""

    order: int  # n, the highest power of the radius
    fold: int  # m, how often it repeats in a turn


def zernike_term(index: int, *, parity: Literal["even", "odd"]) -> ZernikeTerm:
    """The polynomial that a coefficient of RELION's even or odd list belongs to, counted from 0.

    Even: n = 2k has the m = −2k, −2k + 2, …, 2k. Odd: n = 2k + 1 has the m = −n, −n + 2, …, n. The first even one is a constant, the first
    two odd ones move the image; beam tilt is in odd numbers 3 and 4, trefoil in 2 and 5, astigmatism in even numbers 1 and 3, tetrafoil in 4 and 8.
    """
    if parity == "even":
        level = math.isqrt(index)
        return ZernikeTerm(2 * level, 2 * (index - level * level - level))
    level = (math.isqrt(1 + 4 * index) - 1) // 2
    order = 2 * level + 1
    return ZernikeTerm(order, 2 * (index - level * (level + 1)) - order)


def zernike_sum(
    coefficients: Sequence[float], kx: Float[Tensor, "*shape"], ky: Float[Tensor, "*other"], *, parity: Literal["even", "odd"]
) -> Float[Tensor, "*result"]:
    """Σ c_i Z_i(kx, ky) of RELION's even or odd list, rad, float64; frequencies in 1/Å."""
    return _zernike_parts(coefficients, kx, ky, parity=parity)[0]


def _zernike_parts(
    coefficients: Sequence[float], kx: Tensor, ky: Tensor, *, parity: Literal["even", "odd"]
) -> tuple[Tensor, Tensor, Tensor]:
    """Σ c Z and its derivatives along kx and ky.

    With z = kx + i ky the term c ρ^n cos mφ is Re[c z^m] (z z̄)^((n − m)/2): a polynomial, so that its gradient needs no angle.
    """
    nothing = torch.zeros_like(kx.double() + ky.double())
    kx, ky = kx.double() + nothing, ky.double() + nothing
    total, across, along = nothing, nothing, nothing
    squared = kx**2 + ky**2
    powers = _complex_powers(kx, ky, _largest_fold(coefficients, parity))
    for index, coefficient in enumerate(coefficients):
        if coefficient == 0:
            continue
        order, signed_fold = zernike_term(index, parity=parity)
        fold, part = abs(signed_fold), int(signed_fold < 0)
        angular = powers[fold][part]
        # d/dx z^m = m z^(m−1), d/dy z^m = i m z^(m−1): real and imaginary parts change places.
        slope = powers[fold - 1] if fold else (torch.zeros_like(kx), torch.zeros_like(kx))
        slope_x = fold * slope[part]
        slope_y = fold * (slope[0] if part else -slope[1])
        radial, radial_slope = _radial(order, fold, squared)
        total = total + coefficient * radial * angular
        across = across + coefficient * (radial * slope_x + radial_slope * 2 * kx * angular)
        along = along + coefficient * (radial * slope_y + radial_slope * 2 * ky * angular)
    return total, across, along


def _largest_fold(coefficients: Sequence[float], parity: Literal["even", "odd"]) -> int:
    return max((abs(zernike_term(i, parity=parity).fold) for i in range(len(coefficients))), default=0)


def _complex_powers(kx: Tensor, ky: Tensor, largest: int) -> list[tuple[Tensor, Tensor]]:
    """Real and imaginary parts of (kx + i ky)^m for m = 0 … largest."""
    powers = [(torch.ones_like(kx), torch.zeros_like(kx))]
    for _ in range(largest):
        real, imaginary = powers[-1]
        powers.append((real * kx - imaginary * ky, real * ky + imaginary * kx))
    return powers


def _radial(order: int, fold: int, squared: Tensor) -> tuple[Tensor, Tensor]:
    """R_n^m(ρ) / ρ^m as a polynomial in ρ², and its derivative by ρ². Source: Born & Wolf, Principles of Optics, sec. 9.2.1."""
    value, slope = torch.zeros_like(squared), torch.zeros_like(squared)
    for s in range((order - fold) // 2 + 1):
        numerator = (-1) ** s * math.factorial(order - s)
        denominator = math.factorial(s) * math.factorial((order + fold) // 2 - s) * math.factorial((order - fold) // 2 - s)
        factor, power = numerator / denominator, (order - fold) // 2 - s
        value = value + factor * squared**power
        if power:
            slope = slope + factor * power * squared ** (power - 1)
    return value, slope


def phase_coefficients(optics: Optics, defocus: Defocus) -> tuple[Tensor, Tensor, Tensor, float]:
    """The factors of kx², ky², kx·ky (one each an image) and k⁴ in the phase of defocus, astigmatism and Cs, float64."""
    major, minor, azimuth = defocus.major.double(), defocus.minor.double(), defocus.azimuth.double()
    wavelength = optics.wavelength
    mean, half = (major + minor) / 2, (major - minor) / 2
    cosine, sine = half * torch.cos(2 * azimuth), half * torch.sin(2 * azimuth)
    factor = math.pi * wavelength
    quartic = -0.5 * math.pi * optics.spherical_aberration * wavelength**3
    return factor * (mean + cosine), factor * (mean - cosine), 2 * factor * sine, quartic


def symmetric_offset(kx: Float[Tensor, "*shape"], ky: Float[Tensor, "*other"], *, optics: Optics) -> Float[Tensor, "*result"]:
    """The even phase beyond defocus, astigmatism and Cs, rad: −Σ c_i Z_i of RELION's even Zernike coefficients, float64.

    RELION's phase runs against ours (its CTF is −sin of it): hence the minus, measured on the images of `relion_project`.
    """
    return -zernike_sum(optics.aberrations.even_zernike, kx, ky, parity="even")


def antisymmetric_phase_at(
    kx: Float[Tensor, "*shape"], ky: Float[Tensor, "*other"], *, optics: Optics
) -> Float[Tensor, "*result"]:
    """The odd phase ρ of the lens at (kx, ky), rad, float64: beam tilt −2π Cs λ² k² (k · t) and RELION's odd Zernike terms + Σ c_i Z_i.

    Images carry the factor exp(iρ) beside the CTF: detail is displaced, contrast is not lost. t is the direction of the beam in rad: the term of
    χ(k + t/λ) that is odd and of third order. Its first-order term, which moves the whole image, is left out, as RELION leaves it out.

    Source: Glaeser, Typke, Tiemeijer, Pulokas & Cheng, J. Struct. Biol. 174, 1 (2011), for axial coma.
    """
    kx, ky = kx.double(), ky.double()
    tilt, factor = optics.aberrations.beam_tilt, _coma_factor(optics)
    coma = factor * (kx**2 + ky**2) * (tilt[0] * kx + tilt[1] * ky)
    return coma + zernike_sum(optics.aberrations.odd_zernike, kx, ky, parity="odd")


def _coma_factor(optics: Optics) -> float:
    return -2 * math.pi * optics.spherical_aberration * optics.wavelength**2


def phase_gradient(
    kx: Float[Tensor, "*shape"], ky: Float[Tensor, "*other"], *, optics: Optics, defocus: Defocus
) -> tuple[Float[Tensor, "*result"], Float[Tensor, "*result"]]:
    """(∂χ/∂kx, ∂χ/∂ky) of the complete aberration phase, rad Å: 2π times how far the lens moves this detail.

    The defocus has its batch axes, which must broadcast with the frequencies.
    """
    kx, ky = kx.double(), ky.double()
    across, along, diagonal, quartic = phase_coefficients(optics, defocus)
    squared = kx**2 + ky**2
    slope_x = 2 * across * kx + diagonal * ky + 4 * quartic * squared * kx
    slope_y = 2 * along * ky + diagonal * kx + 4 * quartic * squared * ky
    aberrations = optics.aberrations
    if has_even_terms(aberrations):
        _, even_x, even_y = _zernike_parts(aberrations.even_zernike, kx, ky, parity="even")
        slope_x, slope_y = slope_x - even_x, slope_y - even_y
    if has_odd_terms(aberrations):
        _, odd_x, odd_y = _zernike_parts(aberrations.odd_zernike, kx, ky, parity="odd")
        tilt, factor = aberrations.beam_tilt, _coma_factor(optics)
        along_tilt = tilt[0] * kx + tilt[1] * ky
        slope_x = slope_x + odd_x + factor * (2 * kx * along_tilt + squared * tilt[0])
        slope_y = slope_y + odd_y + factor * (2 * ky * along_tilt + squared * tilt[1])
    return slope_x, slope_y


def has_even_terms(aberrations: Aberrations) -> bool:
    """Whether there is an even phase beyond defocus, astigmatism and Cs."""
    return any(aberrations.even_zernike)


def has_odd_terms(aberrations: Aberrations) -> bool:
    """Whether images carry an odd phase."""
    return any(aberrations.beam_tilt) or any(aberrations.odd_zernike)


def is_magnified_evenly(aberrations: Aberrations) -> bool:
    """Whether observed and true coordinates are the same."""
    return aberrations.magnification == (1.0, 0.0, 0.0, 1.0)


def true_frequency(
    kx: Float[Tensor, "*shape"], ky: Float[Tensor, "*other"], *, optics: Optics
) -> tuple[Float[Tensor, "*result"], Float[Tensor, "*result2"]]:
    """The specimen's frequency M k that the camera sees at k = (kx, ky), M the magnification matrix; k itself where M is the identity.

    A point of the specimen at x is seen at Mᵀ x. Measured on the CTF of `relion_project` and the slices of `relion_reconstruct`.
    """
    if is_magnified_evenly(optics.aberrations):
        return kx, ky
    m00, m01, m10, m11 = optics.aberrations.magnification
    return m00 * kx + m01 * ky, m10 * kx + m11 * ky


def magnified(lab_from_particle: Float[Tensor, "*batch 3 3"], *, optics: Optics) -> Float[Tensor, "*batch 3 3"]:
    """The matrices that take central slices where the camera sees them: Mᵀ on x and y of the lab, after the rotation.

    In place of rotations in `fourier.slices.extract_slices` (and where slices are put back): the slice's coefficient at k is then the map's at Rᵀ M k.
    An image's coefficients are larger by `magnified_area`; those with |M k| beyond Nyquist are unknown (`magnified_reach`). The grid that is
    read must allow for a `stretch` of `magnified_stretch`. The same rotations where M is the identity.
    """
    if is_magnified_evenly(optics.aberrations):
        return lab_from_particle
    m00, m01, m10, m11 = optics.aberrations.magnification
    matrix = [[m00, m10, 0.0], [m01, m11, 0.0], [0.0, 0.0, 1.0]]
    return torch.tensor(matrix, dtype=lab_from_particle.dtype, device=lab_from_particle.device) @ lab_from_particle


def magnified_stretch(optics: Optics) -> float:
    """The largest factor by which the magnification matrix lengthens a frequency, at least 1: its larger singular value."""
    m00, m01, m10, m11 = optics.aberrations.magnification
    square, area = (m00**2 + m01**2 + m10**2 + m11**2) / 2, m00 * m11 - m01 * m10
    return max(1.0, math.sqrt(square + math.sqrt(max(square**2 - area**2, 0.0))))


def magnified_reach(
    kx: Float[Tensor, "*shape"], ky: Float[Tensor, "*other"], *, optics: Optics, limit: float
) -> Float[Tensor, "*result"]:
    """1 where the specimen's frequency |M k| seen at (kx, ky) is not above `limit` (1/Å), else 0."""
    true_x, true_y = true_frequency(kx, ky, optics=optics)
    return (true_x**2 + true_y**2 <= limit**2).to(true_x.dtype)


def observed_slices(
    reference: FourierVolume, lab_from_particle: Float[Tensor, "n 3 3"], *, optics: Optics
) -> Complex[Tensor, "n box half"]:
    """Half spectra of a map's projections as the camera sees them, value · Å: `extract_slices` with the magnification matrix of the optics.

    The map must be prepared with a `stretch` of `magnified_stretch`; without a magnification matrix this is `extract_slices`.

    Raises
    ------
    UsageError
        If the map was prepared for less stretch.
    """
    if is_magnified_evenly(optics.aberrations):
        return extract_slices(reference, lab_from_particle)
    needed = magnified_stretch(optics)
    if reference.grid.stretch < needed - 1e-9:
        raise UsageError(
            f"the map was prepared for a stretch of {reference.grid.stretch:g}, the magnification matrix needs {needed:.6g}",
            fix="prepare_volume(volume, stretch=magnified_stretch(optics))",
        )
    slices = extract_slices(reference, magnified(lab_from_particle, optics=optics))
    kx, ky = frequency_grid((reference.box, reference.box), pixel_size=reference.voxel_size, like=slices)
    known = magnified_reach(kx, ky, optics=optics, limit=0.5 / reference.voxel_size)
    return slices * (known * magnified_area(optics))


def magnified_area(optics: Optics) -> float:
    """By how much the magnification matrix enlarges areas, |det M|: 1 where it is the identity."""
    m00, m01, m10, m11 = optics.aberrations.magnification
    return abs(m00 * m11 - m01 * m10)
