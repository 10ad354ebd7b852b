"""2D classification: regularised maximum likelihood over classes, in-plane rotations and shifts, of the whole set or of growing parts of it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from cryowalk.classification.mini_batch import averaged, batch_rows, evidence_from, step_size
from cryowalk.classification.model import ClassModel, finest_shell
from cryowalk.classification.regularisation import next_radius, shell_power
from cryowalk.classification.result import Classification, Iteration, ParticleClasses
from cryowalk.classification.settings import ClassificationSettings
from cryowalk.classification.start import alike_classes, random_classes
from cryowalk.classification.step import Evidence, compare, maximise, scales_of_micrographs, search_settings
from cryowalk.classification.upkeep import centred, move_sums, refilled
from cryowalk.classification.usable import Usable, name_of, usable_particles
from cryowalk.core.errors import InputError, StateConflict
from cryowalk.core.execution import Checkpoint, NoCheckpoint, Progress, SilentProgress
from cryowalk.data import ParticleSet, Pose
from cryowalk.inference.noise import initial_noise

FIRST_DETAIL = 14.0  # pixels of the finest detail in the first classes
REFILL_UNTIL = 0.6  # of the iterations
TOLD_NAMES = 5
DEGREE = math.pi / 180
Each = Callable[[Classification], None]


@dataclass(slots=True, kw_only=True)
class _State:
    """What changes from iteration to iteration."""

    number: int
    model: ClassModel
    particles: ParticleClasses
    history: tuple[Iteration, ...]
    order: Int[Tensor, " n"]
    running: Evidence | None = None
    weight: Tensor | None = None
    halves: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What stays the same."""

    particles: ParticleSet
    usable: Usable
    settings: ClassificationSettings
    generator: torch.Generator
    progress: Progress
    diameter: float
    limit: int
    micrograph: Int[Tensor, " n"] | None


def classify(
    particles: ParticleSet,
    settings: ClassificationSettings | None = None,
    *,
    generator: torch.Generator,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
    each: Each | None = None,
) -> Classification:
    """The classes of particle images and what each particle shows, after the last iteration.

    Every iteration compares images y with every class in every in-plane rotation φ and shift s, log p = −½ Σ |y − CTF · R_φ A e^(−2πi k·s)|²/σ², and makes each class
    the average A = Σ γ CTF y/σ² / (Σ γ CTF²/σ² + 1/τ²) over the posteriors γ, τ² from the class's own spectrum. The noise σ² of each optics group, the classes'
    occupancies and the finest shell compared follow. With `settings.mini_batch` iterations but the last take parts of the set that grow.

    Images with NaN or infinite values, and those without contrast, are left out and told. `each` is given the state after every iteration. A run that was
    stopped goes on from its checkpoint and ends with the same numbers.

    Raises
    ------
    InputError
        If the particles cannot be classified (no images, no CTF, several pixel sizes, fewer than classes).
    StateConflict
        If the checkpoint is of other particles.

    Source: Scheres et al., J. Mol. Biol. 348, 139 (2005); Scheres, J. Mol. Biol. 415, 406 (2012).
    """
    settings = settings or ClassificationSettings()
    work = _prepared(particles, settings, generator=generator, progress=progress or SilentProgress())
    keeper = checkpoint or NoCheckpoint()
    saved = keeper.load()
    state = _begin(work) if saved is None else _resumed(saved, work)
    if saved is None:
        _save(keeper, state, work)
    elif state.number:
        work.progress.note(f"going on after iteration {state.number} of {settings.iterations}")
    work.progress.start("classifying images", settings.iterations * len(work.particles))
    work.progress.advance(sum(done.images for done in state.history))
    while state.number < settings.iterations:
        _iterate(state, work)
        if each is not None:
            each(_result(state, work))
        _save(keeper, state, work)
    return _result(state, work)


def _prepared(
    particles: ParticleSet, settings: ClassificationSettings, *, generator: torch.Generator, progress: Progress
) -> _Work:
    usable = usable_particles(particles, settings)
    for rows, what in ((usable.damaged, "hold NaN or infinite values"), (usable.flat, "have no contrast")):
        if len(rows):
            names = ", ".join(name_of(particles, row) for row in rows[:TOLD_NAMES].tolist())
            more = f" and {len(rows) - TOLD_NAMES} more" if len(rows) > TOLD_NAMES else ""
            progress.note(f"{len(rows)} images {what} and are left out: {names}{more}")
    kept = particles[usable.rows]
    if settings.ctf == "none":
        kept = replace(kept, defocus=None)
    if kept.images is None:
        raise InputError("the particles have no images")
    box, pixel_size = kept.images.image_shape[0], particles.optics[int(kept.optics_index[0])].pixel_size
    kept = replace(kept, optics=tuple(replace(group, pixel_size=pixel_size) for group in kept.optics))  # unused groups may differ
    search = search_settings(settings, box=box, pixel_size=pixel_size, radius=1)
    limit = (box - 1) // 2
    if settings.resolution_limit is not None:
        limit = max(2, min(limit, math.floor(box * pixel_size / settings.resolution_limit)))
    return _Work(
        particles=kept, usable=usable, settings=settings, generator=generator, progress=progress, diameter=search.diameter,
        limit=limit, micrograph=_micrographs(kept) if settings.scale == "micrograph" else None,
    )  # fmt: skip


def _micrographs(particles: ParticleSet) -> Int[Tensor, " n"] | None:
    """The number of each particle's micrograph, where they are known."""
    if not particles.micrograph_names:
        return None
    number = {name: place for place, name in enumerate(dict.fromkeys(particles.micrograph_names))}
    return torch.tensor([number[name] for name in particles.micrograph_names])


def _begin(work: _Work) -> _State:
    """The first classes."""
    settings, particles = work.settings, work.particles
    pixel_size = particles.pixel_size
    if particles.images is None:
        raise InputError("the particles have no images")
    box, count = particles.images.image_shape[0], len(particles)
    detail = settings.initial_resolution or FIRST_DETAIL * pixel_size
    detail = min(max(detail, 2 * pixel_size), box * pixel_size / 8)
    work.progress.note("making the first classes")
    images = None
    if settings.start == "alike":
        fine = max(detail / 2, 4 * pixel_size) if settings.initial_resolution is None else detail
        images = alike_classes(particles, settings.classes, diameter=work.diameter, resolution=fine, generator=work.generator)
        if images is None:
            work.progress.note(
                "the images do not stand out from noise: the first classes are averages of random parts of the set"
            )
        else:
            detail = fine
    if images is None:
        images = random_classes(particles, settings.classes, resolution=detail, generator=work.generator)
    noise = initial_noise(particles)
    shells = box // 2 + 1
    radius = next_radius(math.floor(box * pixel_size / detail), limit=work.limit)
    model = ClassModel(
        images=images,
        occupancy=torch.full((settings.classes,), 1 / settings.classes),
        noise=noise,
        signal=shell_power(images),
        ratio=torch.zeros(settings.classes, shells),
        pixel_size=pixel_size,
        radius=work.limit if settings.regularisation == "none" else radius,
    )
    shift = torch.zeros(count, 2, dtype=torch.float64) if particles.pose is None else particles.pose.shift.double().cpu()
    pose = Pose(lab_from_particle=torch.eye(3, dtype=torch.float64).expand(count, 3, 3).clone(), shift=shift)
    order = torch.randperm(count, generator=work.generator)
    return _State(number=0, model=model, particles=ParticleClasses.unknown(pose), history=(), order=order)


def _iterate(state: _State, work: _Work) -> None:
    """One iteration: the state becomes the next one."""
    settings, model = work.settings, state.model
    is_last = state.number + 1 == settings.iterations
    rows = batch_rows(state.order, state.number, settings) if not is_last else torch.arange(len(work.particles))
    step = settings.angular_step_degrees * DEGREE
    turn = float(torch.rand((), generator=work.generator, dtype=torch.float64) - 0.5) * 2 * settings.perturbation * step
    before = state.particles.label[rows].clone()
    found, evidence = _compared(state, work, rows, turn=turn, is_last=is_last)
    state.particles = state.particles.with_part(rows, found)
    share = step_size(state.number, settings, is_last=is_last or len(rows) == len(work.particles))
    state.running = averaged(state.running, evidence, share=share, factor=len(work.particles) / len(rows))
    model = maximise(state.running, model, settings, limit=work.limit)
    state.weight = state.running.sums.weight()
    if work.micrograph is not None and len(rows) == len(work.particles):
        model = replace(model, scale=scales_of_micrographs(evidence.scale, work.micrograph))
    if not is_last:
        model = _tidied(state, work, model)
    shell = int(finest_shell(model.ratio).max())
    state.history = (
        *state.history,
        Iteration(
            number=state.number + 1,
            images=len(rows),
            log_likelihood=evidence.log_likelihood,
            radius=state.model.radius,
            resolution=model.box * model.pixel_size / max(shell, 1),
            moved=_moved(before, found.label),
        ),
    )
    state.model, state.number = model, state.number + 1
    done = state.history[-1]
    work.progress.note(
        f"iteration {done.number}: {done.resolution:.1f} Å, log-likelihood {done.log_likelihood:.6g} of {done.images} images, "
        f"{100 * done.moved:.1f} % changed their class"
    )


def _moved(before: Int[Tensor, " m"], label: Int[Tensor, " m"]) -> float:
    """The part of the images that were in another class before; of those that were in one at all."""
    known = before >= 0
    return float((before != label)[known].double().mean()) if bool(known.any()) else 1.0


def _compared(
    state: _State, work: _Work, rows: Int[Tensor, " m"], *, turn: float, is_last: bool
) -> tuple[ParticleClasses, Evidence]:
    """What the images of these rows show; in the last iteration half by half, and the averages of both halves are kept."""
    scale = None
    if state.model.scale is not None and work.micrograph is not None:
        scale = state.model.scale[work.micrograph]

    def part(chosen: Int[Tensor, " m"]) -> tuple[ParticleClasses, Evidence]:
        particles = work.particles[chosen].with_pose(state.particles.pose[chosen])
        return compare(
            particles,
            state.model,
            work.settings,
            turn=turn,
            progress=work.progress,
            scale=None if scale is None else scale[chosen],
        )

    if not is_last:
        return part(rows)
    is_first = torch.zeros(len(rows), dtype=torch.bool)
    is_first[state.order[::2]] = True
    (one, first), (other, second) = part(rows[is_first]), part(rows[~is_first])
    state.halves = torch.stack([first.sums.images(), second.sums.images()])
    found = state.particles.with_part(rows[is_first], one).with_part(rows[~is_first], other)
    fits = torch.zeros(len(rows), 2, dtype=first.scale.dtype)
    fits[is_first], fits[~is_first] = first.scale.cpu(), second.scale.cpu()
    first.sums.merge(second.sums)
    return found, Evidence(
        sums=first.sums,
        members=first.members + second.members,
        residual=first.residual + second.residual,
        log_likelihood=first.log_likelihood + second.log_likelihood,
        scale=fits,
    )


def _tidied(state: _State, work: _Work, model: ClassModel) -> ClassModel:
    """The classes in their middles, empty ones filled while there is time to part them."""
    if work.settings.centring == "mass":
        model, pose, away = centred(model, state.particles.pose, state.particles.label, diameter=work.diameter)
        state.particles = replace(state.particles, pose=pose)
        if state.running is not None:
            move_sums(state.running.sums, -away, pixel_size=model.pixel_size)
    if state.number + 1 <= REFILL_UNTIL * work.settings.iterations:
        model, filled = refilled(model, images=len(work.particles), generator=work.generator)
        if filled:
            work.progress.note(f"{filled} empty class{'' if filled == 1 else 'es'} begun again from halves of the fullest")
    return model


def _result(state: _State, work: _Work) -> Classification:
    nothing = torch.zeros_like(state.model.ratio)
    return Classification(
        model=state.model,
        particles=state.particles,
        rows=work.usable.rows,
        damaged=work.usable.damaged,
        flat=work.usable.flat,
        history=state.history,
        evidence=nothing if state.weight is None else state.weight,
        diameter=work.diameter,
        halves=state.halves,
    )


def _save(keeper: Checkpoint, state: _State, work: _Work) -> None:
    running = state.running if work.settings.mini_batch is not None else None
    sums: dict[str, Any] | None = None
    if running is not None:
        sums = {
            "sums": running.sums.state(),
            "members": running.members,
            "power": running.residual.power,
            "coefficients": running.residual.coefficients,
            "images": running.residual.images,
        }
    keeper.save(
        {
            "number": state.number,
            "count": len(work.particles),
            "model": state.model.state(),
            "particles": state.particles.state(),
            "history": [asdict(done) for done in state.history],
            "order": state.order,
            "running": sums,
            "weight": state.weight,
            "halves": state.halves,
            "generator": work.generator.get_state(),
        }
    )


def _resumed(saved: Mapping[str, Any], work: _Work) -> _State:
    if saved["count"] != len(work.particles):
        raise StateConflict(
            f"the checkpoint is of {saved['count']} particles, these are {len(work.particles)}",
            fix="remove the directory or give another one",
        )
    work.generator.set_state(saved["generator"])
    running = None if saved["running"] is None else evidence_from(saved["running"])
    return _State(
        number=int(saved["number"]),
        model=ClassModel.from_state(saved["model"]),
        particles=ParticleClasses.from_state(saved["particles"]),
        history=tuple(Iteration(**done) for done in saved["history"]),
        order=saved["order"],
        running=running,
        weight=saved["weight"],
        halves=saved["halves"],
    )
