"""The walk: structure → gun, ice, lens, camera → images → half maps → scores → report; or real particles with poses → half maps → FSC → report.

Each stage is a job of its own in a sub-directory, so a walk that was killed goes on with the stage it was in. Later stages join as they land.
"""

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from cryowalk.core.errors import InputError, UsageError
from cryowalk.core.units import radians_from_degrees
from cryowalk.data import Atoms, HalfMaps, Optics, ParticleSet, Truth, Volume
from cryowalk.fourier.transform import resample, resize
from cryowalk.geometry.symmetry import symmetry_operators
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.maps import read_map, write_map
from cryowalk.io.relion import read_particles, write_particles
from cryowalk.io.star import StarBlock, write_star
from cryowalk.io.star_numbers import exact_texts, integer_texts
from cryowalk.io.truth import read_truth
from cryowalk.microscope.settings import ParticleSimulationSettings
from cryowalk.microscope.simulate.parameters import check_settings
from cryowalk.reconstruction.settings import ReconstructionSettings
from cryowalk.validation.masks import spherical_mask
from cryowalk.validation.scores import score
from cryowalk.validation.shell_correlation import ShellCorrelation, compare_maps, fourier_shell_correlation
from cryowalk.workflow.chimerax_views import VIEW_NAME, View, write_view
from cryowalk.workflow.job import AlreadyDone, Execution, Job, open_job
from cryowalk.workflow.settings import WalkSettings
from cryowalk.workflow.stages import (
    MAP_NAME,
    check_particles,
    perturbed,
    read_half_map_files,
    read_specimen,
    reconstruct_files,
    simulate_particle_files,
)

SIMULATE = "simulate"
TRUE_POSES = "reconstruct_true_poses"
PERTURBED_POSES = "reconstruct_perturbed_poses"
GIVEN_POSES = "reconstruct"
SCORES_NAME = "scores.json"
BOX_PER_DIAMETER = 1.5
SMALLEST_MARGIN = 8.0  # Å around a molecule, on both sides together: its atoms are not points
DEFAULT_MASK_RADIUS = 0.44  # of the box
WIDEST_EDGE = 6.0  # voxels of the mask's soft edge
PERTURBATION_SEED = 1  # added to the seed, so that pose errors are independent of the simulation's draws


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkInputs:
    """Where the walk begins: a structure, a map, particles with poses, or nothing of these (the procedural specimen)."""

    structure: Path | None = None
    map: Path | None = None
    particles: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One pair of half maps with what they are compared by; `to_truth` where the truth is known."""

    halves: HalfMaps
    full: Volume
    mask: Volume
    between_halves: ShellCorrelation
    masked: ShellCorrelation
    to_truth: ShellCorrelation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """What a walk ends with: the scores, and what the report shows, by label; `simulation` is how its data were made, if they were."""

    scores: Mapping[str, float | int | str]
    results: Mapping[str, Result]
    particles: ParticleSet
    truth: Truth | None = None
    symmetry: str = "C1"
    simulation: ParticleSimulationSettings | None = None


def walk(job: Job, inputs: WalkInputs, settings: WalkSettings, *, seed: int, execution: Execution) -> Walked:
    """The scores and maps of the whole walk, written under the job's directory as scores.json, fsc_*.star and the stages' files.

    Raises
    ------
    UsageError
        If more than one beginning is given.
    InputError
        If an input is not usable.
    """
    given = [name for name, path in asdict(inputs).items() if path is not None]
    if len(given) > 1:
        raise UsageError(f"the walk has one beginning: {' and '.join('--' + name for name in given)} were given")
    symmetry_operators(settings.symmetry)  # an unknown group is told before anything is computed
    walked = _walked(_Stages(job.directory, seed, execution), inputs, settings)
    for label, result in walked.results.items():
        _write_curves(result, job.path(f"fsc_{label.replace(' ', '_')}.star"))
    atomic_write_text(job.path(SCORES_NAME), json.dumps(_finite(walked.scores), indent=1) + "\n")
    maps, masks = ([*sorted(job.directory.rglob(name))] for name in (MAP_NAME, "mask.mrc"))
    write_view(View(maps=[*maps, *sorted(job.directory.rglob("truth_map.mrc"))], masks=masks), job.path(VIEW_NAME))
    return walked


def finished_walk(directory: Path, inputs: WalkInputs, settings: WalkSettings, *, seed: int) -> Walked:
    """What a walk that is done ended with, read again from its directory."""
    return _walked(_Stages(directory, seed, None), inputs, settings)


def _walked(stages: "_Stages", inputs: WalkInputs, settings: WalkSettings) -> Walked:
    if inputs.particles is not None:
        return _from_particles(stages, inputs.particles, settings)
    return _from_specimen(stages, inputs, settings)


class _Stages:
    """The stages of one walk: each is a job in a sub-directory, done once; without an execution all of them are done already."""

    def __init__(self, directory: Path, seed: int, execution: Execution | None) -> None:
        self.directory = directory
        self.seed = seed
        self.execution = execution

    def run(self, name: str, command: str, settings: Mapping[str, object], work: Callable[[Job], object]) -> Path:
        """The stage's directory, its work done now or before."""
        directory = self.directory / name
        if self.execution is None:
            return directory
        with (
            suppress(AlreadyDone),
            open_job(directory, command=command, settings=settings, seed=self.seed, execution=self.execution) as stage,
        ):
            work(stage)
        return directory


def _from_specimen(stages: _Stages, inputs: WalkInputs, settings: WalkSettings) -> Walked:
    specimen = read_specimen(structure=inputs.structure, map_file=inputs.map)
    if isinstance(specimen, Volume):
        specimen = fitted_map(specimen, box=settings.box, pixel_size=settings.pixel_size)
        pixel_size = specimen.voxel_size
    else:
        atoms = specimen if isinstance(specimen, Atoms) else specimen()
        pixel_size = settings.pixel_size or fitting_pixel_size(atoms, box=settings.box)
    mask_radius(settings, box=settings.box, voxel_size=pixel_size)  # a wrong one is told before anything is computed
    optics = Optics(pixel_size=pixel_size)
    simulation = ParticleSimulationSettings(
        count=settings.count, box=settings.box, snr=settings.snr, dose=settings.dose, camera=settings.camera
    )
    check_settings(simulation)  # as is a wrong choice here
    simulated = stages.run(
        SIMULATE,
        "simulate particles",
        {**asdict(simulation), "pixel_size": pixel_size},
        lambda job: simulate_particle_files(job, specimen, optics, simulation, seed=stages.seed),
    )
    particles, truth = read_particles(simulated / "particles.star"), read_truth(simulated / "truth.star")
    if truth.volume is None:
        raise InputError(
            "the truth of the simulation holds no map", file=simulated / "truth.star", fix="start the walk in a new directory"
        )
    turned = perturbed(
        particles,
        angle=radians_from_degrees(settings.pose_error_degrees),
        shift=settings.shift_error,
        seed=stages.seed + PERTURBATION_SEED,
    )
    results = {
        "true poses": _reconstructed(stages, TRUE_POSES, particles, settings, truth=truth.volume),
        "perturbed poses": _reconstructed(stages, PERTURBED_POSES, turned, settings, truth=truth.volume),
    }
    scores = _common_scores(particles, pixel_size)
    if truth.snr is not None:
        scores["snr"] = truth.snr
    if truth.dose is not None:
        scores["dose_electrons_per_square_angstrom"] = truth.dose
    for label, suffix in (("true poses", ""), ("perturbed poses", "_perturbed_poses")):
        found = {**score(results[label].full, truth, mask=results[label].mask), **_half_map_scores(results[label])}
        scores |= {name + suffix: value for name, value in found.items()}
    pose_scores = score(turned, truth)
    scores |= {f"{name}_perturbed_poses": value for name, value in pose_scores.items() if name.startswith(("pose_", "shift_"))}
    return Walked(
        scores=scores, results=results, particles=particles, truth=truth, symmetry=settings.symmetry, simulation=simulation
    )


def _from_particles(stages: _Stages, star: Path, settings: WalkSettings) -> Walked:
    particles = read_particles(star)
    check_particles(particles, ReconstructionSettings(symmetry=settings.symmetry), file=star)
    if particles.images is not None:
        mask_radius(settings, box=particles.images.image_shape[-1], voxel_size=particles.pixel_size)
    result = _reconstructed(stages, GIVEN_POSES, particles, settings)
    scores = _common_scores(particles, particles.pixel_size)
    scores |= _half_map_scores(result)
    scores["half_fsc_at_nyquist"] = result.masked.correlation[-1].item()
    return Walked(scores=scores, results={"given poses": result}, particles=particles, symmetry=settings.symmetry)


def _reconstructed(
    stages: _Stages, name: str, particles: ParticleSet, settings: WalkSettings, *, truth: Volume | None = None
) -> Result:
    choices = ReconstructionSettings(symmetry=settings.symmetry)

    def work(job: Job) -> None:
        write_particles(particles, job.path("particles.star"))
        result = reconstruct_files(job, particles, choices, seed=stages.seed)
        write_map(walk_mask(result.full, settings), job.path("mask.mrc"))

    identity = {**asdict(choices), "mask_radius": settings.mask_radius}
    if truth is not None:
        identity |= {"pose_error_degrees": settings.pose_error_degrees, "shift_error": settings.shift_error}
    directory = stages.run(name, "reconstruct", identity, work)
    halves, full = read_half_map_files(directory), read_map(directory / MAP_NAME)
    mask = walk_mask(full, settings)
    return Result(
        halves=halves,
        full=full,
        mask=mask,
        between_halves=fourier_shell_correlation(halves),
        masked=fourier_shell_correlation(halves, mask=mask),
        to_truth=None if truth is None else compare_maps(full, replace(truth, voxel_size=full.voxel_size), mask=mask),
    )


def mask_radius(settings: WalkSettings, *, box: int, voxel_size: float) -> float:
    """The radius of the mask, Å.

    Raises
    ------
    UsageError
        If it does not fit in the box.
    """
    half_box = box // 2 * voxel_size
    radius = settings.mask_radius or DEFAULT_MASK_RADIUS * box * voxel_size
    if radius >= half_box:
        raise UsageError(f"the mask radius of {radius:g} Å does not fit in the box", expected=f"below {half_box:g} Å")
    return radius


def walk_mask(volume: Volume, settings: WalkSettings) -> Volume:
    """The soft spherical mask of the walk's FSC: the radius asked for, or 0.44 of the box; its edge ends inside the box."""
    box = volume.voxels.shape[0]
    half_box = box // 2 * volume.voxel_size
    radius = mask_radius(settings, box=box, voxel_size=volume.voxel_size)
    return spherical_mask(volume, radius=radius, edge=min(WIDEST_EDGE * volume.voxel_size, half_box - radius))


def fitting_pixel_size(atoms: Atoms, *, box: int) -> float:
    """A pixel size at which the box is one and a half times the molecule's diameter, Å, rounded to 0.01; small molecules keep a margin."""
    positions = atoms.positions.double()
    diameter = 2 * float((positions - positions.mean(dim=0)).norm(dim=-1).max())
    return math.ceil(100 * max(BOX_PER_DIAMETER * diameter / box, (diameter + SMALLEST_MARGIN) / max(1, box - 3))) / 100


def fitted_map(volume: Volume, *, box: int, pixel_size: float | None) -> Volume:
    """The map on a cubic grid of `box` voxels: its whole field of view, or cut to the given pixel size; the grid rounds that to fit."""
    side = max(volume.voxels.shape)
    cube = resize(volume.voxels, (side, side, side))
    if pixel_size is None:
        return Volume(voxels=resample(cube, (box, box, box)), voxel_size=volume.voxel_size * side / box)
    fine = max(2, round(side * volume.voxel_size / pixel_size))
    voxels = resize(resample(cube, (fine, fine, fine)), (box, box, box))
    return Volume(voxels=voxels, voxel_size=side * volume.voxel_size / fine)


def _common_scores(particles: ParticleSet, pixel_size: float) -> dict[str, float | int | str]:
    box = 0 if particles.images is None else particles.images.image_shape[-1]
    return {
        "particles": len(particles),
        "box_pixels": box,
        "pixel_size_angstrom": pixel_size,
        "nyquist_angstrom": 2 * pixel_size,
    }


def _half_map_scores(result: Result) -> dict[str, float]:
    """How far the halves agree, under the mask and without it."""
    scores = {f"half_fsc_{at}_angstrom": result.masked.resolution(at=at) for at in (0.5, 0.143)}
    return scores | {f"half_fsc_{at}_angstrom_unmasked": result.between_halves.resolution(at=at) for at in (0.5, 0.143)}


def _write_curves(result: Result, path: Path) -> None:
    """The curves as a STAR table under RELION's column names."""
    frequency = result.masked.frequency.double()
    angstrom = torch.where(frequency > 0, 1 / frequency.clamp(min=1e-12), torch.full_like(frequency, 999.0))
    columns = {
        "rlnSpectralIndex": integer_texts(range(len(frequency))),
        "rlnResolution": exact_texts(frequency.numpy()),
        "rlnAngstromResolution": exact_texts(angstrom.numpy()),
        "rlnFourierShellCorrelationUnmaskedMaps": exact_texts(result.between_halves.correlation.double().numpy()),
        "rlnFourierShellCorrelationMaskedMaps": exact_texts(result.masked.correlation.double().numpy()),
    }
    if result.to_truth is not None:
        columns["cryowalkFourierShellCorrelationToTruth"] = exact_texts(result.to_truth.correlation.double().numpy())
    write_star([StarBlock(name="fsc", columns=columns)], path)


def _finite(scores: Mapping[str, float | int | str]) -> dict[str, float | int | str | None]:
    """The scores with numbers that JSON does not know as null."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in scores.items()}
