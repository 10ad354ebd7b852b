"""What a particle simulation draws before any image is made: poses, defocus, half sets, conformations, and the seed of the noise."""

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.checks import require_between, require_positive
from cryowalk.core.errors import UsageError
from cryowalk.data.optics import Defocus
from cryowalk.data.pose import Pose
from cryowalk.geometry.sampling import preferred_orientations, random_rotations
from cryowalk.microscope.camera import CAMERAS
from cryowalk.microscope.settings import ParticleSimulationSettings

_SEEDS = 2**62  # noise seeds lie below it


EMPTY, CONTAMINATION = 1, 2  # what an image holds in place of a particle


class ParticleParameters(NamedTuple):
    """Parameters of all particles: poses, defocus, half sets (1 or 2), the hinge angles there are (rad), each one's state, and the noise seed.

    `specimen` counts the specimens from 0, and `junk` is 0 for a particle, 1 for empty ice, 2 for contamination.
    """

    pose: Pose
    defocus: Defocus
    half: Int[Tensor, " n"]
    angles: Float[Tensor, " states"]
    state: Int[Tensor, " n"]
    noise_seed: int
    specimen: Int[Tensor, " n"]
    junk: Int[Tensor, " n"]


def check_settings(settings: ParticleSimulationSettings) -> None:
    """Nothing, if the settings can be meant.

    Raises
    ------
    UsageError
        Otherwise, naming the setting.
    """
    for name in ("count", "box", "batch", "conformations"):
        require_positive(name, getattr(settings, name))
    require_positive("dose", settings.dose, unit="e⁻/Å²")
    if settings.snr is not None:
        require_positive("snr", settings.snr)
    low, high = settings.defocus_range
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise UsageError(f"defocus_range must go from a smaller to a larger defocus: got {low:g} to {high:g} Å")
    require_between("box", settings.box, 8, 4096)
    for name, largest in (("astigmatism", 5e4), ("shift_deviation", 1e4), ("hinge_spread", 1e6), ("concentration", 1e6)):
        require_between(name, getattr(settings, name), 0.0, largest)
    require_between("defocus_range", max(abs(low), abs(high)), 0.0, 2e5)
    if settings.canvas is not None:
        require_between("canvas", settings.canvas, settings.box, 16384)
    require_between("b_factor", settings.b_factor, -1e4, 1e4)
    require_between("phase_shift_degrees", settings.phase_shift_degrees, -360.0, 360.0)
    require_between("junk", settings.junk, 0.0, 1.0)
    _check_microscope(settings)


def _check_microscope(settings: ParticleSimulationSettings) -> None:
    """Nothing, if what bears on the noise of the microscope can be meant."""
    require_between("ice_thickness", settings.ice_thickness, 0.0, 2e4)
    require_positive("slice_thickness", settings.slice_thickness, unit="Å")
    require_between("energy_spread_ev", settings.energy_spread_ev, 0.0, 100.0)
    require_between("convergence", settings.convergence, 0.0, 0.1)
    require_between("chromatic_aberration_mm", settings.chromatic_aberration_mm, 0.0, 100.0)
    if settings.camera not in CAMERAS:
        raise UsageError(f"there is no camera {settings.camera!r}", expected=f"one of {', '.join(CAMERAS)}")
    drawn = colour_of_noise(settings)
    if settings.scattering != "weak_phase" and drawn is not None:
        raise UsageError(
            f"scattering {settings.scattering} makes intensities, which the camera counts; with the noise “{drawn}” nothing is counted",
            fix="leave out the SNR and let the noise be “microscope”, or the scattering “weak_phase”",
        )


def colour_of_noise(settings: ParticleSimulationSettings) -> Literal["white", "ice", "none"] | None:
    """The colour of drawn noise, or None where the noise comes of ice, damage and counting.

    An SNR that is asked for is met by drawn noise: that of the microscope is what it is.
    """
    if settings.noise != "microscope":
        return settings.noise
    return None if settings.snr is None else "ice"


def draw_parameters(
    settings: ParticleSimulationSettings, *, generator: torch.Generator, specimens: int = 1
) -> ParticleParameters:
    """The parameters of all particles, drawn in a fixed order: the same generator state gives the same particles, however images are batched."""
    count = settings.count

    def uniform() -> Tensor:
        return torch.rand(count, generator=generator, dtype=torch.float64, device=generator.device).cpu()

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64, device=generator.device).cpu()

    rotations = _rotations(settings, generator=generator)
    shift = settings.shift_deviation * normal(count, 2)
    low, high = settings.defocus_range
    mean = low + (high - low) * uniform()
    half_difference = (settings.astigmatism * normal(count)).abs() / 2
    azimuth = math.pi * uniform()
    order = torch.randperm(count, generator=generator, device=generator.device).cpu()
    angles, state = _conformations(settings, normal(count))
    seed = int(torch.randint(_SEEDS, (), generator=generator, device=generator.device))
    specimen, junk = _kinds(settings, specimens, uniform(), uniform())
    defocus = Defocus(
        major=mean + half_difference,
        minor=mean - half_difference,
        azimuth=azimuth,
        phase_shift=torch.full((count,), settings.phase_shift_degrees * math.pi / 180, dtype=torch.float64),
        b_factor=torch.full((count,), settings.b_factor, dtype=torch.float64) if settings.b_factor else None,
    )
    pose = Pose(lab_from_particle=rotations, shift=shift)
    return ParticleParameters(pose, defocus, 1 + order % 2, angles, state, seed, specimen, junk)


def _kinds(
    settings: ParticleSimulationSettings, specimens: int, which: Float[Tensor, " n"], what: Float[Tensor, " n"]
) -> tuple[Tensor, Tensor]:
    """The specimen of each image by the weights, and what it holds in place of a particle, of two uniform numbers each.

    Raises
    ------
    UsageError
        If there is not one weight for each specimen, or none is above zero.
    """
    weights = torch.tensor(settings.weights or (1.0,) * specimens, dtype=torch.float64)
    if len(weights) != specimens:
        raise UsageError(f"{len(weights)} weights were given for {specimens} specimens", expected="one weight for each specimen")
    if not bool(torch.isfinite(weights).all()) or bool((weights < 0).any()) or float(weights.sum()) <= 0:
        raise UsageError(f"weights must not be negative, and one must be above zero: got {settings.weights}")
    bounds = torch.cumsum(weights, 0) / weights.sum()
    specimen = torch.searchsorted(bounds, which, right=True).clamp(max=int(torch.nonzero(weights).max()))
    junk = torch.where(what < settings.junk / 2, EMPTY, torch.where(what < settings.junk, CONTAMINATION, 0))
    return specimen, junk


def _rotations(settings: ParticleSimulationSettings, *, generator: torch.Generator) -> Tensor:
    """Uniform rotations, or views about one oblique axis of the particle and its reverse."""
    if settings.orientations == "uniform":
        return random_rotations(settings.count, generator=generator).cpu()
    axis = torch.tensor([[0.48, 0.36, 0.8]], dtype=torch.float64)
    return preferred_orientations(
        settings.count, directions=torch.cat([axis, -axis]), concentration=settings.concentration, generator=generator
    ).cpu()


def _conformations(settings: ParticleSimulationSettings, normal: Float[Tensor, " n"]) -> tuple[Tensor, Tensor]:
    """The hinge angles (rad) that occur and the state of each particle: a normal law cut at ±2 standard deviations into equal bins."""
    if settings.hinge_spread == 0 or settings.conformations == 1:
        return torch.zeros(1, dtype=torch.float64), torch.zeros(len(normal), dtype=torch.int64)
    states = settings.conformations
    width = 4 / states
    state = torch.floor((normal.clamp(-2, 2) + 2) / width).long().clamp(0, states - 1)
    middles = -2 + width * (torch.arange(states, dtype=torch.float64) + 0.5)
    return settings.hinge_spread * middles, state
