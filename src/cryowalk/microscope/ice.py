"""Vitreous ice: the fluctuations of its projected potential, and how the beam stirs them.

Ice is a Gaussian random field with a published spectrum and an absolute scale in V². Molecules of water further apart along the beam than a few Å are
independent, so that the spectrum of a slab grows with its thickness and slices add up to the slab.

Source: Parkhurst et al., Ultramicroscopy 256, 113882 (2024); McMullan, Vinothkumar & Henderson, Ultramicroscopy 158, 26 (2015).
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.checks import require_positive
from cryowalk.core.constants import AVOGADRO, METRE
from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.fourier.grids import frequency_grid, radius_of
from cryowalk.fourier.transform import filtered_image, filtering_half_spectrum

MEAN_INNER_POTENTIAL = 3.6  # V, of vitreous ice: Shang & Sigworth, J. Struct. Biol. 180, 10 (2012)
FREE_ATOM_INNER_POTENTIAL = 4.57  # V, what free atoms of water at the density below give; bonds make it smaller
BONDED_INNER_POTENTIAL = 4.17  # V, with the hydrogens of the form factors `bonded`
DENSITY = 0.94e6  # g/m³
MOLAR_MASS = 18.01528  # g/mol
MOLECULES_PER_VOLUME = DENSITY * AVOGADRO / MOLAR_MASS / METRE**3  # 1/Å³
MEAN_SQUARE_DISPLACEMENT = 1.1  # Å² for each e⁻/Å², of a water molecule in three dimensions, at 300 kV: McMullan et al. 2015

# The published shape is the sum of two Gaussians of the frequency: amplitude, centre and standard deviation in 1/Å.
_SHAPE = ((0.199, 0.0, 0.731), (0.801, 1 / 2.88, 0.081))
_ROW_BLOCK = 2**17  # coefficients that are worked on at a time on a CPU
VARIANCE_PER_MOLECULE = 10195.82  # V² Å⁴: variance of the projected potential on very small pixels, times the area of a molecule


def power(frequency: Float[Tensor, "*shape"], *, thickness: float) -> Float[Tensor, "*shape"]:
    """The power spectral density of the projected potential of ice, V² Å⁴, at spatial frequencies k in 1/Å.

    P(k) = ρ t A [0.199 exp(−½ (k/0.731)²) + 0.801 exp(−½ ((k − 1/2.88)/0.081)²)], with ρ molecules per Å³ and A such that ∫ P d²k is ρ t · 10 196 V² Å⁴.
    The variance on a grid is the integral of P up to its Nyquist frequencies. On this scale P(0) is a tenth, and P at the peak 1.2 times, what independent molecules
    of free atoms would give.

    Source: Parkhurst et al. (2024): shape and scale of their fit to water from molecular dynamics, as the programs parakeet and python-multem state them. Their correction of
    the variance for the size of the pixels belongs to their way of sampling atoms and is not used.
    """
    require_thickness(thickness)
    total = torch.zeros_like(frequency)
    for amplitude, centre, deviation in _SHAPE:
        total += amplitude * torch.exp(-0.5 * ((frequency - centre) / deviation) ** 2)
    return total.mul_(_scale() * thickness)


def _scale() -> float:
    """P(k) over shape and thickness, V² Å³: the shape's integral over the plane is 2π ∫ a exp(−½((k − m)/s)²) k dk, known in closed form."""
    area = 0.0
    for amplitude, m, s in _SHAPE:
        tail = math.sqrt(math.pi / 2) * s * math.erfc(-m / (s * math.sqrt(2)))
        area += 2 * math.pi * amplitude * (s**2 * math.exp(-0.5 * (m / s) ** 2) + m * tail)
    return MOLECULES_PER_VOLUME * VARIANCE_PER_MOLECULE / area


def projected_ice(
    size: tuple[int, int], *, pixel_size: float, thickness: float | Float[Tensor, "h w"], generator: torch.Generator
) -> Float[Tensor, "h w"]:
    """The fluctuation of ∫ V dz of a slab of ice about its mean, V Å, on the generator's device.

    White noise with the spectrum `power`; where the thickness (Å) varies, times the square root of its ratio. The field is periodic. Thickness
    times `MEAN_INNER_POTENTIAL` is its mean, which is not included.

    Raises
    ------
    UsageError
        If the thickness or the pixel size cannot be.
    ShapeError
        If the thickness map has another size.
    """
    amplitude = _amplitude_of_thickness(thickness, size, device=generator.device)
    noise = _noise(size, pixel_size=pixel_size, generator=generator)
    return filtered_image(noise, width=size[1]).mul_(amplitude)


def ice_slice(
    size: tuple[int, int],
    *,
    pixel_size: float,
    interval: tuple[float, float],
    thickness: float | Float[Tensor, "h w"],
    generator: torch.Generator,
) -> Float[Tensor, "h w"]:
    """The fluctuation of ∫ V dz, V Å, of that part of a slab that lies between two heights z (Å, the slab's middle is 0).

    Slices are independent of each other: those of a slab add up to `projected_ice` of the slab. That neighbouring slices of real ice are correlated over
    some 3 Å is left out.
    """
    low, high = interval
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(f"a slice reaches from a lower to a higher z: got {low:g} to {high:g} Å")
    if not isinstance(thickness, Tensor):
        require_thickness(thickness)
        within: float | Tensor = max(0.0, min(high, thickness / 2) - max(low, -thickness / 2))
    else:
        _require_thickness_map(thickness, size)
        within = ((thickness / 2).clamp(max=high) - (-thickness / 2).clamp(min=low)).clamp_(min=0)
    return projected_ice(size, pixel_size=pixel_size, thickness=within, generator=generator)


def evolve_ice(
    ice: Float[Tensor, "h w"],
    *,
    pixel_size: float,
    dose: float,
    thickness: float | Float[Tensor, "h w"],
    generator: torch.Generator,
    mean_square_displacement: float = MEAN_SQUARE_DISPLACEMENT,
) -> Float[Tensor, "h w"]:
    """The same ice, V Å, after `dose` more electrons (e⁻/Å²): correlated with what it was, and of the same statistics.

    Water molecules walk at random. Each frequency keeps the fraction c = exp(−2π² k² σ²) of its amplitude, σ² = ⟨r²⟩ · dose / 3 along each axis, and gets √(1 − c²) of a new field.
    ⟨r²⟩ is 1.1 Å² for each e⁻/Å² at 300 kV: at 3.7 Å the correlation falls to 1/e in 1.9 e⁻/Å², which makes 4 e⁻/Å² the best exposure for Thon rings of ice.

    Source: McMullan, Vinothkumar & Henderson (2015).
    """
    if not (math.isfinite(dose) and dose >= 0):
        raise UsageError(f"the dose must not be negative: got {dose} e⁻/Å²")
    size = (ice.shape[0], ice.shape[1])
    amplitude = _amplitude_of_thickness(thickness, size, device=ice.device)
    unit = torch.where(amplitude > 0, ice / amplitude.clamp_min(torch.finfo(amplitude.dtype).tiny), torch.zeros_like(ice))
    spectrum, fresh = filtering_half_spectrum(unit), _noise(size, pixel_size=pixel_size, generator=generator)

    def walk(rows: slice, radius: Tensor) -> None:
        exponent = radius.square_().mul_(-2 * math.pi**2 * mean_square_displacement / 3 * dose)
        spectrum[rows] *= torch.exp(exponent)
        spectrum[rows] += fresh[rows].mul_(torch.sqrt(-torch.expm1(2 * exponent)))

    _on_rows(walk, size, pixel_size=pixel_size, like=ice)
    return filtered_image(spectrum, width=size[1]).mul_(amplitude)


def _noise(size: tuple[int, int], *, pixel_size: float, generator: torch.Generator) -> Complex[Tensor, "h half"]:
    """A random half spectrum with the power of ice of 1 Å thickness; zero at the origin."""
    height, width = size
    if height < 1 or width < 1:
        raise ShapeError(f"a field has at least one pixel: got {height} × {width}")
    require_positive("pixel_size", pixel_size, unit="Å")
    noise = torch.view_as_complex(torch.randn(height, width // 2 + 1, 2, generator=generator, device=generator.device))

    def colour(rows: slice, radius: Tensor) -> None:
        # E|F|² of an orthonormal transform is the density over the area of a pixel, half of it in each of the real and imaginary parts.
        noise[rows] *= power(radius, thickness=1.0).mul_(0.5 / pixel_size**2).sqrt_()

    _on_rows(colour, size, pixel_size=pixel_size, like=noise)
    # Of the columns that are their own Friedel mates the way back to real space keeps the Hermitian half.
    noise[:, 0] *= math.sqrt(2)
    if width % 2 == 0:
        noise[:, -1] *= math.sqrt(2)
    noise[0, 0] = 0
    return noise


def _on_rows(work: Callable[[slice, Tensor], None], size: tuple[int, int], *, pixel_size: float, like: Tensor) -> None:
    """Do `work` on every row of a half spectrum with its |k|: on a CPU some rows at a time, few enough for its cache, each thread rows of its own."""
    kx, ky = frequency_grid(size, pixel_size=pixel_size, like=like)
    if like.device.type != "cpu":
        work(slice(None), radius_of(kx, ky))
        return
    count = max(1, _ROW_BLOCK // kx.shape[0])

    def part(start: int) -> None:
        rows = slice(start, start + count)
        work(rows, radius_of(kx, ky[rows]))

    starts = range(0, size[0], count)
    if len(starts) == 1:
        part(0)
        return
    # Torch's threads would meet after every operation; the number of torch's threads is each calling thread's own.
    with ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for block in [pool.submit(part, start) for start in starts]:
            block.result()


def require_thickness(thickness: float) -> float:
    """The thickness (Å), known to be finite and not negative.

    Raises
    ------
    UsageError
        If it is not.
    """
    if not (math.isfinite(thickness) and thickness >= 0):
        raise UsageError(f"the thickness of ice must not be negative: got {thickness} Å")
    return thickness


def _require_thickness_map(thickness: Tensor, size: tuple[int, int]) -> None:
    if tuple(thickness.shape) != tuple(size):
        raise ShapeError(f"the thickness map must have the size of the field {size}: got {tuple(thickness.shape)}")
    if not bool(torch.isfinite(thickness).all()) or bool((thickness < 0).any()):
        raise InputError("the thickness map holds values that are negative or not finite", expected="Å, 0 where there is no ice")


def _amplitude_of_thickness(thickness: float | Tensor, size: tuple[int, int], *, device: torch.device) -> Tensor:
    """√thickness, as a tensor that multiplies a field."""
    if not isinstance(thickness, Tensor):
        return torch.tensor(math.sqrt(require_thickness(thickness)), device=device)
    _require_thickness_map(thickness, size)
    return thickness.to(device, torch.float32).sqrt()
