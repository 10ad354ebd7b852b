"""Defocus of particles, or of micrographs, against a map: a search within a range, then Newton's steps to the maximum of the likelihood.

A change δ of the defocus turns the CTF's phase by θδ, θ = πλk². The log-likelihood is L(δ) = Σ A cos θδ + B sin θδ + ¼ (C cos 2θδ − D sin 2θδ) + const with four sums of
an image at each k: one pass over its coefficients serves every δ.

Source: Zivanov et al., eLife 7, e42166 (2018), "Per-particle defocus"; Zivanov, Nakane & Scheres, IUCrJ 7, 253 (2020), sec. 2.6, for astigmatism.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.execution import Progress, SilentProgress
from cryowalk.data import Defocus, Optics, ParticleSet, Volume
from cryowalk.microscope.aberrations import true_frequency
from cryowalk.poses.evidence import Band, Calibration, Evidence, References, band_of, calibrate, evidence, require_refinable
from cryowalk.poses.phase_fits import EvenSums, fit_phase
from cryowalk.poses.settings import CtfRefinementSettings

BINS = 512  # of k²: a change of 2,000 Å turns the ends of a bin at 2.5 Å by 0.02 rad against each other
TURN = 0.35  # rad: the phase that one step of the search turns the finest coefficient by
NEWTON_STEPS = 6
DEFAULT = CtfRefinementSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class DefocusRefinement:
    """The particles with their new defocus, the change of each (Å), its standard deviation (Å) and the rise of the log-likelihood."""

    particles: ParticleSet
    change: Float[Tensor, " n"]
    deviation: Float[Tensor, " n"]
    gain: Float[Tensor, " n"]


def refine_defocus(
    particles: ParticleSet,
    maps: Sequence[Volume],
    settings: CtfRefinementSettings = DEFAULT,
    *,
    progress: Progress | None = None,
) -> DefocusRefinement:
    """Particles with the defocus that makes their images likeliest given the map: each its own, or one change for all of a micrograph.

    `maps` are one map, or both half maps, each for the particles of its half. Major and minor defocus change alike; with the astigmatism "per-micrograph" the
    micrographs' common astigmatism is refined first. Particles without micrograph names count as of one micrograph.

    Raises
    ------
    InputError, ShapeError, UsageError
        If particles or maps cannot be used.
    """
    progress = progress or SilentProgress()
    require_refinable(particles, maps)
    references, band = References.of(maps), band_of(particles, settings)
    calibration = calibrate(particles, references, band, settings=settings)
    return refined_defocus(particles, references, band, calibration, settings=settings, progress=progress)


def refined_defocus(
    particles: ParticleSet,
    references: References,
    band: Band,
    calibration: Calibration,
    *,
    settings: CtfRefinementSettings,
    progress: Progress,
) -> DefocusRefinement:
    """`refine_defocus` with what is known already."""
    micrograph = micrograph_of(particles)
    count = len(particles)
    change = torch.zeros(count, dtype=torch.float64)
    deviation, gain = torch.full_like(change, math.inf), torch.zeros_like(change)
    current = particles
    if settings.defocus != "off":
        per_particle = settings.defocus == "per-particle"
        units = torch.arange(count) if per_particle else micrograph
        progress.start("defocus", count)
        found = _search(current, references, band, calibration, settings=settings, units=units, progress=progress)
        change, deviation, gain = (values[units] for values in found)
        if per_particle and settings.defocus_deviation is not None:
            change, deviation = with_prior(change, deviation, micrograph, spread=settings.defocus_deviation)
        current = replace(current, defocus=moved(current, change))
    if settings.astigmatism == "per-micrograph":
        progress.start("astigmatism", count)
        current = _astigmatism(current, references, band, calibration, settings=settings, progress=progress)
    return DefocusRefinement(particles=current, change=change, deviation=deviation, gain=gain)


def micrograph_of(particles: ParticleSet) -> Int[Tensor, " n"]:
    """A number for each particle's micrograph, in the order of their first particles."""
    numbers: dict[str, int] = {}
    names = particles.micrograph_names or ("",) * len(particles)
    return torch.tensor([numbers.setdefault(name, len(numbers)) for name in names])


def moved(particles: ParticleSet, change: Float[Tensor, " n"]) -> Defocus:
    """The defocus of all particles, major and minor increased by the change (Å)."""
    if particles.defocus is None:
        raise ValueError("the particles have no defocus")  # require_refinable came before
    defocus = particles.defocus
    return replace(defocus, major=defocus.major + change.to(defocus.major), minor=defocus.minor + change.to(defocus.minor))


def with_prior(
    change: Float[Tensor, " n"], deviation: Float[Tensor, " n"], micrograph: Int[Tensor, " n"], *, spread: float
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Changes drawn towards the weighted mean of their micrograph: a Gaussian of `spread` (Å) about it, times each one's own."""
    precision = (1 / deviation.square()).nan_to_num(0.0, posinf=0.0)
    number = int(micrograph.max()) + 1
    weight = 1 / (deviation.square() + spread**2)
    total = torch.zeros(number, dtype=change.dtype).index_add(0, micrograph, weight * change)
    mean = total / torch.zeros_like(total).index_add(0, micrograph, weight).clamp_min(torch.finfo(change.dtype).tiny)
    both = precision + spread**-2
    return (precision * change + mean[micrograph] * spread**-2) / both, both.rsqrt()


@dataclass(frozen=True, slots=True, kw_only=True)
class DefocusSums:
    """A, B, C and D of L(δ) in bins of k² of each particle or micrograph, and θ = πλk² of the bins."""

    sums: Float[Tensor, "4 units bins"]
    turn: Float[Tensor, " bins"]

    def likelihood(self, change: Float[Tensor, "units steps"]) -> Float[Tensor, "units steps"]:
        """L(δ) of each unit at its changes (Å)."""
        a, b, c, d = self.sums[..., None].unbind(0)
        angle = self.turn[:, None] * change[:, None, :]
        terms = a * angle.cos() + b * angle.sin() + (c * (2 * angle).cos() - d * (2 * angle).sin()) / 4
        return terms.sum(dim=1)

    def on_grid(self, grid: Float[Tensor, " steps"]) -> Float[Tensor, "units steps"]:
        """L(δ) of every unit on one grid: four matrix products, where all share θ."""
        angle = self.turn[:, None] * grid
        a, b, c, d = self.sums.unbind(0)
        return a @ angle.cos() + b @ angle.sin() + (c @ (2 * angle).cos() - d @ (2 * angle).sin()) / 4

    def slopes(self, change: Float[Tensor, " units"]) -> tuple[Float[Tensor, " units"], Float[Tensor, " units"]]:
        """L′ and L″ at δ."""
        a, b, c, d = self.sums.unbind(0)
        angle = self.turn * change[:, None]
        sine, cosine = angle.sin(), angle.cos()
        sine2, cosine2 = 2 * sine * cosine, 1 - 2 * sine**2
        first = self.turn * (b * cosine - a * sine - (c * sine2 + d * cosine2) / 2)
        second = self.turn**2 * (-a * cosine - b * sine - c * cosine2 + d * sine2)
        return first.sum(dim=1), second.sum(dim=1)


def defocus_sums(part: Evidence, turn: Float[Tensor, " K"], *, largest: float) -> DefocusSums:
    """The four sums of each image, in bins of θ up to `largest`."""
    bins = ((turn / largest) * (BINS - 1)).round().long()
    # Phases need double precision, their sines do not.
    sine, cosine = part.phase.sin().float(), part.phase.cos().float()
    agreement, strength = part.agreement, part.strength
    columns = (agreement * sine, agreement * cosine, strength * (1 - 2 * sine**2), strength * (2 * sine * cosine))
    sums = torch.stack([torch.zeros(len(c), BINS, dtype=torch.float64).index_add(1, bins, c.double()) for c in columns])
    middle = torch.arange(BINS, dtype=torch.float64) * (largest / (BINS - 1))
    return DefocusSums(sums=sums, turn=middle)


def _search(
    particles: ParticleSet,
    references: References,
    band: Band,
    calibration: Calibration,
    *,
    settings: CtfRefinementSettings,
    units: Int[Tensor, " n"],
    progress: Progress,
) -> tuple[Tensor, Tensor, Tensor]:
    """Change, deviation and gain of each unit (particle or micrograph)."""
    number = int(units.max()) + 1
    turns = [_turn(band, optics) for optics in particles.optics]
    largest = max(float(turn.max()) for turn in turns)
    results = torch.zeros(3, number, dtype=torch.float64)
    are_particles = number == len(particles)
    pooled = None if are_particles else torch.zeros(4, number, BINS, dtype=torch.float64)
    for part in evidence(particles, references, band, settings=settings, calibration=calibration, progress=progress):
        found = defocus_sums(part, turns[part.group], largest=largest)
        if pooled is None:
            results[:, units[part.indices]] = torch.stack(best_change(found, settings.defocus_range))
        else:
            pooled.index_add_(1, units[part.indices], found.sums)
            turn = found.turn
    if pooled is not None:
        results = torch.stack(best_change(DefocusSums(sums=pooled, turn=turn), settings.defocus_range))
    return results[0], results[1], results[2]


def _turn(band: Band, optics: Optics) -> Float[Tensor, " K"]:
    kx, ky = true_frequency(band.kx, band.ky, optics=optics)
    turn: Tensor = math.pi * optics.wavelength * (kx**2 + ky**2)
    return turn


def best_change(sums: DefocusSums, reach: float) -> tuple[Tensor, Tensor, Tensor]:
    """The change (Å) within ± reach of the greatest L, its deviation 1/√(−L″), and how much L rose: a grid, then Newton's steps within one grid step."""
    spacing = TURN / float(sums.turn.max())
    number = 2 * math.ceil(reach / spacing) + 1
    grid = torch.linspace(-reach, reach, number, dtype=torch.float64)
    start = grid[sums.on_grid(grid).argmax(dim=1)]
    change = start.clone()
    for _ in range(NEWTON_STEPS):
        first, second = sums.slopes(change)
        step = torch.where(second < 0, -first / second.clamp_max(-torch.finfo(torch.float64).tiny), first.sign() * spacing / 4)
        change = torch.minimum(torch.maximum(change + step, start - spacing), start + spacing).clamp(-reach, reach)
    _, second = sums.slopes(change)
    deviation = torch.where(second < 0, (-second).clamp_min(torch.finfo(torch.float64).tiny).rsqrt(), math.inf)
    rise = sums.likelihood(torch.stack((torch.zeros_like(change), change), dim=1))
    return change, deviation, rise[:, 1] - rise[:, 0]


def _astigmatism(
    particles: ParticleSet,
    references: References,
    band: Band,
    calibration: Calibration,
    *,
    settings: CtfRefinementSettings,
    progress: Progress,
) -> ParticleSet:
    """The particles with a change of astigmatism (and of the mean defocus) that all of a micrograph share."""
    if particles.defocus is None:
        return particles
    micrograph = micrograph_of(particles)
    old = particles.defocus
    major, minor, azimuth = old.major.clone(), old.minor.clone(), old.azimuth.clone()
    for number in range(int(micrograph.max()) + 1):
        members = (micrograph == number).nonzero().flatten()
        sums = EvenSums.empty(len(band.shell))
        for part in evidence(particles[members], references, band, settings=settings, calibration=calibration, progress=progress):
            sums.add(part)
        optics = particles.optics[int(particles.optics_index[members[0]])]
        kx, ky = true_frequency(band.kx, band.ky, optics=optics)
        basis = math.pi * optics.wavelength * torch.stack((kx**2 + ky**2, kx**2 - ky**2, 2 * kx * ky))
        fitted = fit_phase(sums, basis, band=band).coefficients
        mean, half = (
            (old.major[members] + old.minor[members]).double() / 2,
            (old.major[members] - old.minor[members]).double() / 2,
        )
        along = half * torch.cos(2 * old.azimuth[members].double()) + fitted[1]
        across = half * torch.sin(2 * old.azimuth[members].double()) + fitted[2]
        half, mean = torch.hypot(along, across), mean + fitted[0]
        major[members], minor[members] = (mean + half).to(major), (mean - half).to(minor)
        azimuth[members] = torch.remainder(torch.atan2(across, along) / 2, math.pi).to(azimuth)
    return replace(particles, defocus=replace(old, major=major, minor=minor, azimuth=azimuth))
