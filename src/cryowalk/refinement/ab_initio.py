"""A map from images alone: stochastic expectation maximisation from random beginnings, the likeliest end kept, symmetry found last.

Mini-batches grow while the temperature falls and detail is let in. Symmetry is not imposed on the search (from random beginnings it leads to wrong
optima); it is looked for in the map that was found, and then imposed.

Source: Punjani, Rubinstein, Fleet & Brubaker, Nat. Methods 14, 290 (2017), for mini-batches from random maps; Kimanius et al., Biochem. J. 478, 4169
(2021), for sums that decay.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import StateConflict
from cryowalk.core.execution import Checkpoint, NoCheckpoint, Progress, SilentProgress
from cryowalk.data import ParticleSet, Pose, Volume
from cryowalk.fourier.filters import low_pass
from cryowalk.geometry.sampling import random_rotations
from cryowalk.geometry.symmetry import symmetry_name
from cryowalk.inference import (
    Assignments,
    GlobalOrientations,
    NoiseModel,
    SearchSettings,
    VolumeReferences,
    VolumeSums,
    expectation,
    initial_noise,
)
from cryowalk.inference.assignments import Contribution
from cryowalk.inference.search import ARC
from cryowalk.inference.weighting import ImageModel
from cryowalk.refinement.ab_initio_settings import AbInitioSettings
from cryowalk.refinement.regularisation import flattened, solvent_mask
from cryowalk.refinement.starting_map import image_grid
from cryowalk.refinement.symmetry_axes import symmetry_frame, turned_map
from cryowalk.refinement.usable import usable_particles

DEFAULT_DIAMETER = 0.9  # of the box
PRIOR = 0.1  # 1/τ² as a fraction of each shell's mean weight: the map's own power would shrink to nothing
FIRST_CONTRAST = 0.3  # of the random beginning: too strong a one would hold its noise fast
DECAY = (0.5, 0.4)  # share of the newest mini-batch in the sums, in the first half and after it
COARSEST = math.radians(15)
SYMMETRIC_ROUNDS = 4  # iterations with all particles once the symmetry is imposed
JUDGED = 2000  # particles that the ends are compared on, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRecord:
    """One beginning's end: the mean log evidence of a particle over noise alone, and the maps."""

    log_evidence: float
    volumes: tuple[Volume, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AbInitio:
    """Maps found from images alone, the likeliest class first, and the particles with the poses that they have in them.

    `starts` are the mean log evidences of all beginnings, in order; `symmetry_fit` is the least correlation of the map without symmetry with
    its copies turned by the group (1 without one). The hand is one of two that images cannot tell apart.
    """

    volumes: tuple[Volume, ...]
    particles: ParticleSet
    assignments: Assignments
    starts: tuple[float, ...]
    symmetry_fit: float
    left_out: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What stays the same over all iterations."""

    particles: ParticleSet
    noise: NoiseModel
    settings: AbInitioSettings
    mask: Float[Tensor, "z y x"]
    diameter: float
    box: int
    pixel_size: float
    seed: int
    left_out: tuple[tuple[int, str], ...]

    @property
    def field(self) -> float:
        return self.box * self.pixel_size

    def radius(self, resolution: float) -> int:
        """The shell of a resolution (Å), within what the box holds."""
        return max(3, min(int(self.field / resolution), self.box // 2 - 2))

    @property
    def last_radius(self) -> int:
        return self.radius(self.settings.final_resolution)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One iteration's choices."""

    radius: int
    batch: int
    temperature: float
    decay: float


DEFAULT = AbInitioSettings()


def ab_initio(
    particles: ParticleSet,
    settings: AbInitioSettings = DEFAULT,
    *,
    generator: torch.Generator,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> AbInitio:
    """The maps (V, particle frame) that explain the images best, and the particles' poses in them.

    Raises
    ------
    InputError
        If there are too few usable particles, or their images or CTF parameters are not usable.
    StateConflict
        If the checkpoint belongs to other particles or settings.
    """
    progress, checkpoint = progress or SilentProgress(), checkpoint or NoCheckpoint()
    work = _planned(particles, settings, generator=generator, progress=progress)
    saved = checkpoint.load()
    records = _records(work, saved)
    if saved is not None:
        progress.note(f"going on with start {min(len(records) + 1, settings.starts)} of {settings.starts}")
    for number in range(len(records), settings.starts):
        records.append(_start(work, number, records, saved=saved, progress=progress, checkpoint=checkpoint))
        saved = None
        checkpoint.save(_state(work, records))
    best = max(range(len(records)), key=lambda i: records[i].log_evidence)
    for number, record in enumerate(records):
        progress.note(
            f"start {number + 1}: log evidence of a particle {record.log_evidence:.2f}{' (kept)' if number == best else ''}"
        )
    return _finished(work, records, records[best].volumes, progress)


def _planned(particles: ParticleSet, settings: AbInitioSettings, *, generator: torch.Generator, progress: Progress) -> _Work:
    usable = usable_particles(particles, generator=generator, progress=progress)
    grid = image_grid(usable.particles)
    field = grid.box * grid.pixel_size
    diameter = min(settings.diameter or DEFAULT_DIAMETER * field, field)
    return _Work(
        particles=replace(usable.particles, pose=None), noise=initial_noise(usable.particles), settings=settings,
        mask=solvent_mask(grid.box, diameter=diameter, pixel_size=grid.pixel_size), diameter=diameter,
        box=grid.box, pixel_size=grid.pixel_size, seed=int(torch.randint(2**31, (), generator=generator)), left_out=usable.left_out,
    )  # fmt: skip


def _schedule(work: _Work, iteration: int) -> _Step:
    """Detail grows geometrically over the first four fifths, mini-batches too, and the temperature falls to one over the first two thirds."""
    settings = work.settings
    done = iteration / max(settings.iterations - 1, 1)
    ratio = settings.final_resolution / settings.starting_resolution
    resolution = settings.starting_resolution * ratio ** min(1.0, 1.25 * done)
    last = max(settings.first_batch, min(settings.last_batch * settings.classes, len(work.particles)))
    batch = settings.first_batch * (last / settings.first_batch) ** min(1.0, 1.1 * done)
    return _Step(
        radius=work.radius(resolution), batch=min(round(batch), len(work.particles)),
        temperature=max(1.0, settings.temperature ** (1 - 1.5 * done)), decay=DECAY[0] if done < 0.5 else DECAY[1],
    )  # fmt: skip


def _start(
    work: _Work,
    number: int,
    records: list[StartRecord],
    *,
    saved: Mapping[str, Any] | None,
    progress: Progress,
    checkpoint: Checkpoint,
) -> StartRecord:
    """One beginning followed to its end; a saved one is gone on with."""
    iterations = work.settings.iterations
    begun = saved is not None and saved.get("sums") is not None
    sums = VolumeSums.from_state(saved["sums"]) if begun and saved is not None else _random_sums(work, number)
    first = int(saved["iteration"]) if begun and saved is not None else 0
    volumes = _volumes(work, sums, _schedule(work, max(first - 1, 0)).radius)
    if first == 0:
        volumes = tuple(replace(volume, voxels=FIRST_CONTRAST * volume.voxels) for volume in volumes)
    progress.start(f"start {number + 1} of {work.settings.starts}: mini-batches", iterations - first)
    for iteration in range(first, iterations):
        step = _schedule(work, iteration)
        source = _generator(work, number, iteration + 1)
        chosen = torch.randperm(len(work.particles), generator=source)[: step.batch].sort().values
        newest = _empty_sums(work)
        _expected(work, volumes, chosen, step=step, generator=source, sums=newest)
        share = step.decay * step.temperature * len(work.particles) / step.batch
        for part, new in zip(sums.parts, newest.parts, strict=True):
            part.sums.mul_(1 - step.decay).add_(new.sums * share)
        volumes = _volumes(work, sums, step.radius)
        checkpoint.save({**_state(work, records), "sums": sums.state(), "iteration": iteration + 1})
        progress.advance()
    judged = _judged(work, volumes)
    return StartRecord(log_evidence=float(judged.log_evidence.mean()), volumes=volumes)


def _expected(
    work: _Work,
    volumes: tuple[Volume, ...],
    chosen: Int[Tensor, " m"],
    *,
    step: _Step,
    generator: torch.Generator,
    sums: VolumeSums | None,
) -> Assignments:
    """The expectation step of some particles; a temperature T divides log likelihoods by T, as T times the noise does."""
    settings = work.settings
    angular_step = min(COARSEST, 2 * ARC * work.field / (work.diameter * step.radius))
    search = SearchSettings(
        radius=step.radius, diameter=work.diameter, angular_step=angular_step, shift_range=settings.shift_range,
        shift_step=max(work.pixel_size / 2, 0.3 * work.field / step.radius), most_cells=settings.most_cells,
        byte_budget=settings.memory_budget,
    )  # fmt: skip
    turn = random_rotations(1, generator=generator)[0].float()
    orientations = GlobalOrientations(models=len(volumes), turn=turn)
    return expectation(
        work.particles[chosen], VolumeReferences.of(volumes, radius=step.radius), NoiseModel(power=work.noise.power * step.temperature),
        search, orientations=orientations, sums=sums,
    )  # fmt: skip


def _judged(work: _Work, volumes: tuple[Volume, ...]) -> Assignments:
    """The assignments of the same particles for every beginning, at the last resolution and temperature one."""
    count = min(len(work.particles), JUDGED)
    chosen = torch.linspace(0, len(work.particles) - 1, count, dtype=torch.float64).round().long()
    step = _Step(radius=work.last_radius, batch=count, temperature=1.0, decay=1.0)
    return _expected(work, volumes, chosen, step=step, generator=_generator(work, 0, 0), sums=None)


def _empty_sums(work: _Work) -> VolumeSums:
    return VolumeSums(work.settings.classes, box=work.box, pixel_size=work.pixel_size, radius=work.last_radius)


def _random_sums(work: _Work, number: int) -> VolumeSums:
    """The sums of the first mini-batches at random orientations, one of each class."""
    sums, source = _empty_sums(work), _generator(work, number, 0)
    model = ImageModel(noise=work.noise, diameter=work.diameter, radius=work.radius(work.settings.starting_resolution))
    count = min(2 * work.settings.first_batch, len(work.particles))
    for label in range(work.settings.classes):
        chosen = torch.randperm(len(work.particles), generator=source)[:count]
        part = work.particles[chosen]
        if part.images is None:
            continue
        images = part.images.read(range(count))
        rows = model.weighted(images, part, torch.arange(count), scale=torch.ones(count))
        classes = torch.full((count,), label)
        turns = random_rotations(count, generator=source).float()
        sums.add(Contribution(classes, chosen, turns, rows.summed, rows.weight))
    return sums


def _volumes(work: _Work, sums: VolumeSums, radius: int) -> tuple[Volume, ...]:
    """The regularised maps up to a shell, without solvent and without negative density, which a protein in ice has not at this resolution."""
    volumes = []
    for label in range(work.settings.classes):
        part = VolumeSums.from_state({**sums.state(), "parts": [sums.parts[label].state()]})
        weight = part.weight()
        precision = PRIOR * weight.clamp_min(1e-6 * float(weight.max()) + 1e-30)
        volume = part.volume(precision=precision)
        voxels = low_pass(volume.voxels, resolution=work.field / radius, pixel_size=work.pixel_size, dimensions=3)
        smooth = flattened(Volume(voxels=voxels, voxel_size=work.pixel_size), work.mask)
        volumes.append(Volume(voxels=smooth.voxels.clamp_min(0), voxel_size=work.pixel_size))
    return tuple(volumes)


def _finished(work: _Work, records: list[StartRecord], volumes: tuple[Volume, ...], progress: Progress) -> AbInitio:
    """All particles against the maps that are kept, with the symmetry found and imposed."""
    fit, symmetry = 1.0, symmetry_name(work.settings.symmetry)
    if symmetry != "C1":
        volumes, fit = _symmetric(work, volumes, symmetry, progress)
    step = _Step(radius=work.last_radius, batch=len(work.particles), temperature=1.0, decay=1.0)
    found = _expected(work, volumes, torch.arange(len(work.particles)), step=step, generator=_generator(work, 0, 0), sums=None)
    order = torch.argsort(torch.bincount(found.model, minlength=len(volumes)), descending=True, stable=True)
    rank = torch.argsort(order)
    found = replace(found, model=rank[found.model], model_probability=found.model_probability[:, order])
    pose = Pose(lab_from_particle=found.pose.lab_from_particle, shift=found.pose.shift)
    particles = replace(work.particles.with_pose(pose), class_number=found.model + 1)
    return AbInitio(
        volumes=tuple(volumes[i] for i in order.tolist()), particles=particles, assignments=found,
        starts=tuple(record.log_evidence for record in records), symmetry_fit=fit, left_out=work.left_out,
    )  # fmt: skip


def _symmetric(work: _Work, volumes: tuple[Volume, ...], symmetry: str, progress: Progress) -> tuple[tuple[Volume, ...], float]:
    """Each map turned so that its axes stand where the group has them, and then fitted to all particles with the symmetry imposed."""
    least = 1.0
    turned = []
    for volume in volumes:
        frame = symmetry_frame(volume, symmetry)
        least = min(least, frame.correlation)
        turned.append(turned_map(volume, frame.rotation, frame.centre))
    progress.note(f"least correlation of the map without symmetry with its copies turned by {symmetry}: {least:.2f}")
    current = tuple(turned)
    progress.start(f"all particles with {symmetry} imposed", SYMMETRIC_ROUNDS)
    for round_number in range(SYMMETRIC_ROUNDS):
        sums = VolumeSums(len(current), box=work.box, pixel_size=work.pixel_size, radius=work.last_radius, symmetry=symmetry)
        step = _Step(radius=work.last_radius, batch=len(work.particles), temperature=1.0, decay=1.0)
        chosen = torch.arange(len(work.particles))
        _expected(work, current, chosen, step=step, generator=_generator(work, 1, round_number), sums=sums)
        current = _volumes(work, sums.finished(), work.last_radius)
        progress.advance()
    return current, least


def _generator(work: _Work, number: int, iteration: int) -> torch.Generator:
    """Random numbers of one iteration of one start, whatever came before it."""
    return torch.Generator().manual_seed((work.seed * 1_000_003 + number * 10_007 + iteration) % 2**63)


def _state(work: _Work, records: list[StartRecord]) -> dict[str, Any]:
    return {
        "seed": work.seed, "particles": len(work.particles), "settings": repr(work.settings),
        "records": [
            {"log_evidence": record.log_evidence, "voxels": [volume.voxels for volume in record.volumes]} for record in records
        ],
    }  # fmt: skip


def _records(work: _Work, saved: Mapping[str, Any] | None) -> list[StartRecord]:
    """The finished starts of an earlier run.

    Raises
    ------
    StateConflict
        If it had other particles or settings.
    """
    if saved is None:
        return []
    expected = _state(work, [])
    if any(saved[name] != expected[name] for name in ("seed", "particles", "settings")):
        raise StateConflict(
            "the saved search belongs to other particles, settings or another seed", fix="start it anew in an empty directory"
        )
    return [
        StartRecord(
            log_evidence=float(record["log_evidence"]),
            volumes=tuple(Volume(voxels=torch.as_tensor(v), voxel_size=work.pixel_size) for v in record["voxels"]),
        )
        for record in saved["records"]
    ]
