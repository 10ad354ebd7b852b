"""Particle images through Wiener's filter one by one: the radial signal of the whole set, each image's own CTF."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.execution import ImageSink, Progress, SilentProgress
from cryowalk.data.particles import ParticleSet
from cryowalk.denoising.passes import Passes
from cryowalk.denoising.settings import DenoisingSettings
from cryowalk.denoising.wiener import wiener_filter
from cryowalk.fourier.filters import weights_on_spectrum
from cryowalk.fourier.shells import shell_average
from cryowalk.fourier.transform import to_fourier


@dataclass(frozen=True, slots=True, kw_only=True)
class RadialStatistics:
    """Signal and noise power of clean images and of noise in each shell, and what the filter leaves of the signal on average (1: all)."""

    signal: Float[Tensor, " shells"]
    noise: Float[Tensor, " shells"]
    amplitude: Float[Tensor, " shells"]


def wiener_particles(
    particles: ParticleSet, settings: DenoisingSettings | None = None, *, sink: ImageSink, progress: Progress | None = None
) -> RadialStatistics:
    """The spectra that every image was filtered with; the filtered images, free of CTF and of most noise, go to `sink`.

    The noise is measured outside the particle's circle, the signal is Σ (|Y|² − N) / Σ H² over the set. CTFs enter by their mean over azimuth.

    Raises
    ------
    InputError
        If an image is constant or not finite, or there is no background.
    """
    settings, progress = settings or DenoisingSettings(), progress or SilentProgress()
    passes = Passes(particles, settings)
    progress.start("filtering", 3 * len(particles))
    noise = passes.noise(progress)
    radii = torch.arange(len(noise), dtype=noise.dtype, device=noise.device)
    power, transferred = torch.zeros_like(noise), torch.zeros_like(noise)
    size = (passes.box, passes.box)
    for places, images in passes.batches(progress):
        power += (shell_average(to_fourier(images).abs().square(), size=size) - noise).sum(dim=0)
        transferred += passes.transfer(places, radii).square().sum(dim=0)
    signal = power / transferred.clamp_min(1e-3 * float(transferred.max()))
    signal = signal.clamp_min(1e-6 * float(noise.max()))  # each shell by itself: the signal falls tenfold from one to the next
    amplitude = torch.zeros_like(noise)
    for places, images in passes.batches(progress):
        lens = passes.transfer(places, radii)
        amplitude += (lens**2 * signal / (lens**2 * signal + noise)).sum(dim=0)
        sink.write(wiener_filter(images, signal=signal, noise=noise, transfer=weights_on_spectrum(lens, size=size)))
    return RadialStatistics(signal=signal, noise=noise, amplitude=amplitude / len(particles))
