"""Simulated fields that a network learns to pick from: molecules of any shape in any ice, through any lens, with all that a picker should leave alone.

Nothing in a field comes from a real specimen: shapes are random clumps of balls under a random point group, half of them hollow or long. What is varied is what
differs between data sets (size against the stated diameter, crowding, dose, ice, defocus, carbon, crystals, drops, clumps, broken particles, filters that others
have applied), so that what is left in common is what a particle is.
"""

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import UsageError
from cryowalk.data.images import Micrograph
from cryowalk.data.optics import Optics
from cryowalk.data.volume import Volume
from cryowalk.fourier.grids import frequency_radius
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.geometry.symmetry import symmetry_operators
from cryowalk.microscope.contamination import broken
from cryowalk.microscope.micrograph_settings import MicrographSimulationSettings
from cryowalk.microscope.simulate.micrographs import simulate_micrograph
from cryowalk.microscope.simulate.specimens import Source, prepare_specimens
from cryowalk.picking.search import RADIUS, coarse_micrograph, levelled

_GROUPS = ("C1", "C1", "C1", "C1", "C1", "C2", "C2", "C3", "C4", "C5", "C6", "C12", "D2", "D2", "D3", "D4", "D7", "T", "O", "I")
_DIAMETERS = (90.0, 320.0)  # Å, of the particle as a user states it
_FILL = (0.58, 1.08)  # of that diameter, what the particle really spans
_EMPTY = 0.08  # of the fields, that hold no particle
_HOLLOW = 0.25  # of the molecules, that are shells or rings of small balls
_VOXELS = 36  # a side, of the random molecules
_POTENTIAL = (2.5, 5.5)  # V above the ice
_CROWDED = 0.42  # of the field, what particles with the gaps about them cover at most: disks thrown at random end at 0.547
_TRIES = 20  # at a field that holds what was drawn for it
_PIECES = (0.2, 0.55)  # of a broken particle, what is left


class Field(NamedTuple):
    """A field as the picker sees it (coarse and levelled), the rows and columns of its particles (pixels), and whether each is one or a decoy."""

    level: Float[Tensor, "h w"]
    places: Float[Tensor, "n 2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """Random numbers for choices, one after another from one generator."""

    generator: torch.Generator

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number between two others, evenly."""
        return low + (high - low) * float(torch.rand((), generator=self.generator, dtype=torch.float64))

    def log_uniform(self, low: float, high: float) -> float:
        """A number between two others above zero, its logarithm evenly."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def happens(self, chance: float) -> bool:
        """Whether something of this chance happens."""
        return self.uniform() < chance


def random_molecule(draws: Draws, *, diameter: float, voxel_size: float) -> Volume:
    """The potential (V above the ice) of a random clump of balls under a random point group, `diameter` Å across."""
    group = symmetry_operators(_GROUPS[draws.whole(0, len(_GROUPS) - 1)])
    is_hollow = draws.happens(_HOLLOW)
    count = draws.whole(30, 60) // len(group) + 1 if is_hollow else draws.whole(2, max(3, round(16 / math.sqrt(len(group)))))
    axes = torch.tensor([draws.uniform(0.8 if is_hollow else 0.35, 1.0) for _ in range(3)], dtype=torch.float64)
    places = torch.randn(count, 3, generator=draws.generator, dtype=torch.float64)
    depth = 0.02 if is_hollow else draws.uniform(0.05, 0.5)
    shell = torch.rand(count, 1, generator=draws.generator, dtype=torch.float64) ** depth
    places = places / places.norm(dim=1, keepdim=True).clamp_min(1e-6) * shell * axes
    sizes = (0.14, 0.24) if is_hollow else (0.16, 0.42)
    radii = torch.tensor([draws.uniform(*sizes) for _ in range(count)], dtype=torch.float64)
    weights = torch.tensor([draws.uniform(0.6, 1.2) for _ in range(count)], dtype=torch.float64)
    if len(group) == 1:
        places = places - (places * radii[:, None] ** 3).sum(dim=0) / (radii**3).sum()
    places = torch.einsum("gij,nj->gni", group, places).reshape(-1, 3)
    radii, weights = radii.repeat(len(group)), weights.repeat(len(group))
    scale = diameter / 2 / float((places.norm(dim=1) + radii).max())
    axis = (torch.arange(_VOXELS, dtype=torch.float32) - _VOXELS // 2) * voxel_size
    total = torch.zeros(_VOXELS, _VOXELS, _VOXELS)
    for place, radius, weight in zip((places * scale).tolist(), (radii * scale).tolist(), weights.tolist(), strict=True):
        x, y, z = (torch.exp(-((axis - middle) ** 2) / (radius**2)) for middle in place)
        total += weight * z[:, None, None] * y[:, None] * x
    density = ((total - 0.25) / 0.5).clamp(0, 1)
    return Volume(voxels=draws.uniform(*_POTENTIAL) * density, voxel_size=voxel_size)


def practice_field(generator: torch.Generator, *, side: int) -> Field:
    """A random simulated field of `side` pixels a side, as the picker sees micrographs, with the places of its particles.

    What does not go together (more particles than find room) is drawn again.
    """
    for _ in range(_TRIES - 1):
        with suppress(UsageError):
            return _drawn_field(Draws(generator=generator), side=side)
    return _drawn_field(Draws(generator=generator), side=side)


def _drawn_field(draws: Draws, *, side: int) -> Field:
    """A random field, where its particles find room."""
    generator = draws.generator
    diameter = draws.log_uniform(*_DIAMETERS)
    pixel_size = diameter / (2 * RADIUS)
    spans = diameter * draws.uniform(*_FILL)
    optics = Optics(
        pixel_size=pixel_size,
        voltage_kv=300.0 if draws.happens(0.7) else 200.0,
        spherical_aberration_mm=2.7,
        amplitude_contrast=draws.uniform(0.05, 0.12),
    )
    molecule = random_molecule(draws, diameter=spans, voxel_size=pixel_size)
    sources = [Source(structure=molecule, weight=1.0, name="particle")]
    if draws.happens(0.5):
        piece = broken(molecule, fraction=draws.uniform(*_PIECES), generator=generator, edge=2 * pixel_size)
        sources.append(Source(structure=piece, weight=draws.log_uniform(0.05, 0.6), name="piece"))
    if draws.happens(0.4):
        other = random_molecule(draws, diameter=spans * draws.uniform(0.25, 0.6), voxel_size=pixel_size)
        sources.append(Source(structure=other, weight=draws.log_uniform(0.1, 1.0), name="other"))
    specimens = prepare_specimens(sources, optics)
    settings = _settings(draws, side=side, spans=2 * float(specimens.radii.max()), field=side * pixel_size)
    micrograph, truth = simulate_micrograph(specimens, optics, generator=generator, settings=settings)
    seen = _as_others_leave_it(micrograph, draws)
    places = truth.coordinates[truth.specimen == 0].flip(-1)
    return Field(levelled(coarse_micrograph(seen, diameter=diameter)).float(), places)


def _settings(draws: Draws, *, side: int, spans: float, field: float) -> MicrographSimulationSettings:
    """What lies in a field and how it is seen."""
    has_dirt = draws.happens(0.4)
    gap = -0.2 * draws.uniform() if draws.happens(0.6) else draws.uniform(0, 0.2)  # of the particle
    return MicrographSimulationSettings(
        size=(side, side),
        dose=draws.log_uniform(8.0, 80.0),
        particles=0 if draws.happens(_EMPTY) else None,
        coverage=min(draws.log_uniform(0.03, 0.5), _CROWDED / (1 + gap) ** 2),
        separation="volume" if draws.happens(0.35) else "projection",
        gap=gap * spans,
        ice_thickness=spans * 1.05 + draws.log_uniform(20.0, 600.0),
        support="carbon" if draws.happens(0.3) else "none",
        carbon_thickness=draws.uniform(60.0, 300.0),
        hole_radius=field * draws.log_uniform(0.6, 6.0),
        ice_crystals=draws.whole(0, 4) if has_dirt else 0,
        ethane_drops=draws.whole(0, 4) if has_dirt else 0,
        aggregates=draws.whole(0, 12) if has_dirt else 0,
        defocus_range=(first := draws.log_uniform(4e3, 4e4), first),
        energy_filter="slit" if draws.happens(0.6) else "none",
        b_factor=draws.uniform(30.0, 400.0),
        damage="none",
        camera="ideal",
    )


def _as_others_leave_it(micrograph: Micrograph, draws: Draws) -> Micrograph:
    """The micrograph after filters and noise of other programs and cameras: white noise on top, a low pass, a high pass, or none."""
    pixels = micrograph.pixels.float()
    pixels = pixels - pixels.mean()
    if draws.happens(0.6):
        pixels = pixels + pixels.std() * draws.log_uniform(0.3, 4.0) * torch.randn(pixels.shape, generator=draws.generator)
    size = (pixels.shape[0], pixels.shape[1])
    radius = frequency_radius(size, pixel_size=1.0)
    weight = torch.ones_like(radius)
    if draws.happens(0.6):
        weight /= 1 + (radius / draws.log_uniform(0.08, 0.5)) ** (2 * draws.whole(1, 5))
    if draws.happens(0.3):
        weight *= 1 - torch.exp(-((radius * draws.log_uniform(25.0, 120.0)) ** 2))
    if draws.happens(0.2):
        weight *= 1 + draws.uniform(0, 3) * radius / 0.5
    filtered = to_real(to_fourier(pixels) * weight, width=size[1])
    return Micrograph(pixels=filtered, pixel_size=micrograph.pixel_size)
