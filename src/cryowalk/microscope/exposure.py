"""Dose and noise: how many electrons make an image, what their counting noise is, and noise of a stated power spectrum."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_positive
from cryowalk.core.constants import interaction_constant
from cryowalk.data.optics import Optics
from cryowalk.fourier.filters import weights_on_spectrum
from cryowalk.fourier.grids import friedel_weights
from cryowalk.fourier.shells import shell_frequency
from cryowalk.fourier.transform import to_fourier, to_real

_ICE_RISE = 3.0  # how much more power the ice background has at low frequency
_ICE_FREQUENCY = 1 / 40  # 1/Å, where that rise has fallen to half
_DETECTOR_FLOOR = 0.3  # the part of the camera's noise that is white: counted electrons


def electrons_per_pixel(optics: Optics, *, dose: float) -> float:
    """The expected number of electrons in a pixel without specimen, I₀ = dose · pixel size²."""
    return require_positive("dose", dose, unit="e⁻/Å²") * optics.pixel_size**2


def expected_intensity(images: Float[Tensor, "*shape"], optics: Optics, *, dose: float) -> Float[Tensor, "*shape"]:
    """The expected number of electrons in each pixel, protein dark, of protein-bright images in V Å: I = I₀ (1 − 2 σₑ · image).

    `images` are CTF ∗ ∫ V dz; the weak-phase limit.

    Source: Frank, Three-Dimensional Electron Microscopy of Macromolecular Assemblies (2006), eq. 2.12.
    """
    return electrons_per_pixel(optics, dose=dose) * (1 - 2 * interaction_constant(optics.voltage_kv) * images)


def images_of_counts(counts: Float[Tensor, "*shape"], optics: Optics, *, dose: float) -> Float[Tensor, "*shape"]:
    """Protein-bright images in V Å from electron counts: the inverse of `expected_intensity`, with the counting noise carried along."""
    return (1 - counts / electrons_per_pixel(optics, dose=dose)) / (2 * interaction_constant(optics.voltage_kv))


def noise_deviation(optics: Optics, *, dose: float) -> float:
    """Standard deviation of the counting noise of protein-bright images, V Å: 1/√I₀ of the intensity, divided by 2 σₑ.

    A perfect counting camera and a weak specimen: Poisson noise of I₀ = dose · pixel size² electrons in each pixel.
    """
    return 1 / math.sqrt(electrons_per_pixel(optics, dose=dose)) / (2 * interaction_constant(optics.voltage_kv))


def noise_power(
    box: int, *, pixel_size: float, deviation: float, colour: Literal["white", "ice", "none"]
) -> Float[Tensor, " shells"]:
    """E|n_k|² of the noise in each Fourier shell 0 … box // 2 (orthonormal), such that a pixel's standard deviation is `deviation`.

    `white`: the same in each shell. `ice`: a Lorentzian rise below 1/40 Å⁻¹, as inelastic scattering and thickness of ice give it, times the
    roll-off of a camera, 0.3 + 0.7 sinc²(k · pixel size). `none`: zero. The corners beyond Nyquist have the last shell's.
    """
    frequency = shell_frequency(box, pixel_size=pixel_size).double()
    shape = torch.zeros_like(frequency) if colour == "none" else torch.ones_like(frequency)
    if colour == "ice":
        rise = 1 + _ICE_RISE / (1 + (frequency / _ICE_FREQUENCY) ** 2)
        shape = rise * (_DETECTOR_FLOOR + (1 - _DETECTOR_FLOOR) * torch.sinc(frequency * pixel_size) ** 2)
    on_spectrum = weights_on_spectrum(shape, size=(box, box)) * friedel_weights((box, box), like=shape)
    return shape * (deviation**2 * box**2 / on_spectrum.sum().clamp_min(1e-300))


def noise_images(indices: Sequence[int], *, seed: int, power: Float[Tensor, " shells"], box: int) -> Float[Tensor, "n h w"]:
    """Noise of the images with these numbers, of this power in each shell; that of image i depends on (seed, i) alone.

    So images may be made in any batches, in any order and by any worker. Random numbers: numpy's Philox, keyed by seed and number.
    """
    white = np.empty((len(indices), box, box), dtype=np.float32)
    for row, index in enumerate(indices):
        random = np.random.Generator(np.random.Philox(key=np.array([seed, index], dtype=np.uint64)))
        random.standard_normal(out=white[row], dtype=np.float32)
    noise = torch.from_numpy(white)
    if bool((power == power[0]).all()):
        return noise * math.sqrt(float(power[0]))
    amplitude = weights_on_spectrum(torch.sqrt(power).float(), size=(box, box))
    return to_real(to_fourier(noise) * amplitude, width=box)


def deviation_for_snr(signal: Float[Tensor, "n h w"], *, snr: float) -> float:
    """The standard deviation of noise that gives these noiseless images a signal-to-noise ratio.

    The ratio is that of variances over the whole image: mean over the images of each one's variance over its pixels, over the noise's variance.
    """
    return math.sqrt(signal_variance(signal) / require_positive("snr", snr))


def signal_variance(signal: Float[Tensor, "n h w"]) -> float:
    """The mean over the images of each one's variance over its pixels."""
    return float(signal.double().var(dim=(-2, -1), correction=0).mean())
