"""What a particle simulation draws before any image is made: poses, defocus, half sets, conformations, and the seed of the noise."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.checks import require_between, require_positive
from cryowalk.core.errors import UsageError
from cryowalk.data.optics import Defocus
from cryowalk.data.pose import Pose
from cryowalk.geometry.sampling import preferred_orientations, random_rotations
from cryowalk.microscope.settings import ParticleSimulationSettings

_SEEDS = 2**62  # noise seeds lie below it


class ParticleParameters(NamedTuple):
    """Parameters of all particles: poses, defocus, half sets (1 or 2), the hinge angles there are (rad), each one's state, and the noise seed."""

    pose: Pose
    defocus: Defocus
    half: Int[Tensor, " n"]
    angles: Float[Tensor, " states"]
    state: Int[Tensor, " n"]
    noise_seed: int


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


def draw_parameters(settings: ParticleSimulationSettings, *, generator: torch.Generator) -> ParticleParameters:
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
    defocus = Defocus(
        major=mean + half_difference,
        minor=mean - half_difference,
        azimuth=azimuth,
        phase_shift=torch.full((count,), settings.phase_shift_degrees * math.pi / 180, dtype=torch.float64),
        b_factor=torch.full((count,), settings.b_factor, dtype=torch.float64) if settings.b_factor else None,
    )
    return ParticleParameters(Pose(lab_from_particle=rotations, shift=shift), defocus, 1 + order % 2, angles, state, seed)


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
