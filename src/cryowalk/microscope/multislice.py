"""The wave of a beam electron through a thick specimen: transmission by thin slices and free space between them, in turn.

Source: Cowley & Moodie, Acta Cryst. 10, 609 (1957); Kirkland, Advanced Computing in Electron Microscopy (2020), ch. 6.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.constants import interaction_constant
from cryowalk.core.errors import ShapeError
from cryowalk.data.optics import Optics
from cryowalk.fourier.grids import full_frequency_grid
from cryowalk.fourier.transform import filtering_transform


class ScatteredWave(NamedTuple):
    """A wave referred to z = 0, and the mean intensity that the band limit took from it on its way (1 is the whole beam)."""

    wave: Complex[Tensor, "*batch h w"]
    removed: Float[Tensor, "*batch"]


def band_limit(optics: Optics) -> float:
    """The highest frequency that multislice keeps, 1/Å: two thirds of Nyquist, 1/(3 · pixel size).

    A product of two functions with this limit reaches 4/3 of Nyquist and folds back onto what lies beyond the limit, which the next step of
    free space cuts away.

    Source: Kirkland, Advanced Computing in Electron Microscopy (2020), ch. 6.

    Examples
    --------
    >>> 1 / band_limit(Optics(pixel_size=0.5))  # Å
    1.5
    """
    return 1 / (3 * optics.pixel_size)


def transmission(potential: Tensor, *, optics: Optics) -> Complex[Tensor, "*batch h w"]:
    """The factor exp(iσₑ v (√(1 − Q²) + iQ)) by which a thin slice of projected potential v (V Å) multiplies the wave.

    A complex v is a potential with absorption: its imaginary part W damps the wave by exp(−σₑ W) besides.

    Source: Kirkland, Advanced Computing in Electron Microscopy (2020), ch. 5, for Q = 0.
    """
    strength = phase_strength(optics)
    if potential.is_complex():
        return torch.exp(1j * strength * potential)
    return torch.polar(torch.exp(-strength.imag * potential), strength.real * potential)


def phase_strength(optics: Optics) -> complex:
    """σₑ (√(1 − Q²) + iQ), rad/(V Å): phase and damping of the wave per projected potential, in the weak limit the contrast 2σₑ v sin(χ + arcsin Q)."""
    contrast = optics.amplitude_contrast
    return interaction_constant(optics.voltage_kv) * complex(math.sqrt(1 - contrast**2), contrast)


def propagate(wave: Complex[Tensor, "*batch h w"], *, optics: Optics, distance: float) -> Complex[Tensor, "*batch h w"]:
    """The wave after `distance` (Å, along the beam; negative is back towards the gun) of free space: its spectrum times exp(−iπλ Δz k²).

    The paraxial (Fresnel) propagator, without loss; what leaves on one side enters on the other.

    Source: Kirkland, Advanced Computing in Electron Microscopy (2020), ch. 6.
    """
    spectrum = filtering_transform(wave, direction="forward")
    size = (wave.shape[-2], wave.shape[-1])
    return filtering_transform(spectrum * free_space(size, optics=optics, distance=distance, like=wave), direction="inverse")


def free_space(size: tuple[int, int], *, optics: Optics, distance: float, like: Tensor) -> Complex[Tensor, "h w"]:
    """The propagator exp(−iπλ Δz k²) on the full spectrum, in the precision and on the device of the wave `like`."""
    kx, ky = full_frequency_grid(size, pixel_size=optics.pixel_size, dtype=torch.float64, device=like.device)
    factor = -math.pi * optics.wavelength * distance
    # A product of two short vectors in float64: phases of many turns keep their accuracy.
    along_x, along_y = (torch.polar(torch.ones_like(k), factor * k**2).to(like.dtype) for k in (kx, ky))
    return along_y * along_x


def inside_band(size: tuple[int, int], *, optics: Optics, like: Tensor) -> Float[Tensor, "h w"]:
    """1 within the circle |k| ≤ `band_limit` of the full spectrum, 0 beyond."""
    kx, ky = full_frequency_grid(size, pixel_size=optics.pixel_size, dtype=torch.float64, device=like.device)
    return (kx**2 + ky**2 <= band_limit(optics) ** 2).to(like.real.dtype)


def multislice_by_definition(slices: Iterable[Tensor], *, optics: Optics, slice_thickness: float) -> ScatteredWave:
    """`scattering.exit_wave` of the method "multislice", written as the formula reads: ψ ← P(Δz) t ψ for each slice, then back to z = 0.

    The propagator is limited to |k| ≤ `band_limit`, and so is the wave that meets a slice. The transmission is not: it stays a pure phase, so that
    the propagator's limit alone takes power from the beam, and `removed` counts it. Against a three times finer grid this errs less than
    with a limited transmission or potential (docs/guide/scattering.md). Gradients reach the potential.
    """
    wave: Tensor | None = None
    removed: Tensor | float = 0.0
    count = 0
    for potential in slices:
        passed = transmission(potential, optics=optics)
        if wave is None:
            wave = passed
            inside = inside_band((wave.shape[-2], wave.shape[-1]), optics=optics, like=wave)
            step = free_space((wave.shape[-2], wave.shape[-1]), optics=optics, distance=slice_thickness, like=wave)
        else:
            spectrum = filtering_transform(wave, direction="forward")
            removed = removed + _power(spectrum * (1 - inside))
            wave = passed * filtering_transform(spectrum * (step * inside), direction="inverse")
        count += 1
    if wave is None:
        raise no_slices()
    spectrum = filtering_transform(wave, direction="forward")
    removed = removed + _power(spectrum * (1 - inside))
    back = free_space((wave.shape[-2], wave.shape[-1]), optics=optics, distance=-(count - 1) / 2 * slice_thickness, like=wave)
    return ScatteredWave(filtering_transform(spectrum * (back * inside), direction="inverse"), torch.as_tensor(removed))


def no_slices() -> ShapeError:
    """The error for a specimen of no slices."""
    return ShapeError("the specimen has no slices", expected="at least one slice of projected potential")


def _power(spectrum: Tensor) -> Tensor:
    """Mean intensity of the wave that has this spectrum."""
    return (spectrum.real**2 + spectrum.imag**2).mean(dim=(-2, -1)) / (spectrum.shape[-2] * spectrum.shape[-1])
