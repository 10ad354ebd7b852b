"""Weights of coefficients that even out how densely the Fourier grid is filled.

A grid point averages the coefficients around it. Where their weights rise steeply with frequency (where CTFs start near zero, and between the rings that they share), that average leans outwards and is wrong by several percent. A factor that depends on |k| alone leaves the least-squares map as it is, so coefficients
are scaled until their weights per volume are alike.

Source: Pipe & Menon, Magnetic Resonance in Medicine 41, 179 (1999), for why gridding wants an even density.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.data import Defocus, Optics, ParticleSet
from cryowalk.fourier.filters import weights_on_spectrum
from cryowalk.fourier.shells import shell_frequency
from cryowalk.microscope.lens import aberration_phase
from cryowalk.reconstruction.settings import ReconstructionSettings

LEAST_POWER = 0.05  # of the mean: a zero that all CTFs share is not blown up
STEPS_PER_OCTAVE = 64


def evening_weights(
    particles: ParticleSet,
    *,
    box: int,
    settings: ReconstructionSettings,
    inverse_noise: Float[Tensor, "groups shells"] | None,
) -> Float[Tensor, "box half"]:
    """The factor 1 / mean(CTF²/σ²) of each coefficient's shell, about 1 in the mean.

    That slices through the origin fill space in proportion to 1/|k| is `SliceAccumulator`'s own concern. The factors are rounded to 1/64 of an octave,
    so that the order in which particles are summed cannot change them.
    """
    frequency = shell_frequency(box, pixel_size=particles.pixel_size, dtype=torch.float64)
    power = torch.zeros_like(frequency)
    for group in range(len(particles.optics)):
        members = particles[particles.optics_index == group]
        total = _summed_power(members, frequency, optics=particles.optics[group], settings=settings)
        power += total if inverse_noise is None else total * inverse_noise[group].double()
    power = power.clamp_min(LEAST_POWER * float(power.mean()))
    inverse = torch.exp2(((power.mean() / power).log2() * STEPS_PER_OCTAVE).round() / STEPS_PER_OCTAVE)
    return weights_on_spectrum(inverse.float(), size=(box, box))


def _summed_power(
    particles: ParticleSet, frequency: Float[Tensor, " shells"], *, optics: Optics, settings: ReconstructionSettings
) -> Float[Tensor, " shells"]:
    """Σ CTF² of particles of one optics group, astigmatism left out."""
    defocus = particles.defocus
    if settings.ctf == "none" or defocus is None:
        return torch.full_like(frequency, len(particles))
    mean = ((defocus.major + defocus.minor) / 2)[:, None]
    phase_shift = defocus.phase_shift.double()[:, None]
    round_defocus = Defocus(major=mean, minor=mean, azimuth=torch.zeros_like(mean), phase_shift=phase_shift)
    phase = aberration_phase(frequency, torch.zeros_like(frequency), optics=optics, defocus=round_defocus)
    power = torch.sin(phase + phase_shift + math.asin(optics.amplitude_contrast)).square()
    if defocus.b_factor is not None:
        power = power * torch.exp(-defocus.b_factor.double()[:, None] / 2 * frequency**2)
    if defocus.scale is not None:
        power = power * defocus.scale.double().square()[:, None]
    return power.sum(dim=0)
