"""3D classification: particles shared out among several maps by expectation maximisation over classes and poses.

Each image is compared with every map at the poses that are looked at, each map is made anew from all images, each as far as it belongs there, and is
held by a prior on its spectrum that its own power gives: a map N / (D + 1/τ²) with N = Σ γ CTF y/σ² and D = Σ γ CTF²/σ².

Source: Scheres et al., Nat. Methods 4, 27 (2007), for classes in the likelihood; Scheres, J. Mol. Biol. 415, 406 (2012), for the prior.
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.classification.model import finest_shell
from cryowalk.classification.regularisation import expected_signal, next_radius
from cryowalk.core.errors import StateConflict
from cryowalk.core.execution import Checkpoint, NoCheckpoint, Progress, SilentProgress
from cryowalk.data import ParticleSet, Pose, Volume
from cryowalk.fourier.shells import shell_average
from cryowalk.fourier.transform import to_fourier
from cryowalk.geometry.symmetry import symmetry_name, symmetry_operators
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
from cryowalk.inference.assignments import joined, reordered
from cryowalk.inference.model_orientations import ModelOrientations
from cryowalk.numerics.random import generator as seeded
from cryowalk.refinement.class_planning import ClassWork, planned
from cryowalk.refinement.class_state import ClassRecord, ClassState, packed, unpacked
from cryowalk.refinement.half_pass import columns_of, pose_of, random_turn
from cryowalk.refinement.heterogeneous_settings import HeterogeneousSettings
from cryowalk.refinement.regularisation import flattened
from cryowalk.refinement.scale import fitted_scale
from cryowalk.refinement.state import PoseFacts

DEFAULT = HeterogeneousSettings()
CAREFUL = 0.5  # of the iterations, in which tau_fudge and temperature 1 are reached where classes begin at random
WARMTH = 40.0  # the temperature at first
HELD = 0.5  # particles below which a class is empty: its map stays as it was
LEAST_SHARE = 0.1  # of a particle: the occupancy that an empty class keeps, so that it can be joined again
RIM = 2  # shells at the end of what is summed, where coefficients lack neighbours: no more signal is believed there than before them
DAMPING = 1.0  # 1/τ² over the mean weight in the map whose power is measured
STRENGTH_SAMPLE = 96
STRENGTH_STEP = math.radians(15.0)
STRENGTH_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeClasses:
    """The maps of the classes, and the particles with their poses and classes (from 1); see `ClassState` for the rest."""

    volumes: tuple[Volume, ...]
    particles: ParticleSet
    state: ClassState
    left_out: tuple[tuple[int, str], ...]


def classify_volumes(
    particles: ParticleSet,
    references: Sequence[Volume],
    settings: HeterogeneousSettings = DEFAULT,
    *,
    mask: Volume | None = None,
    generator: torch.Generator,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> VolumeClasses:
    """The maps (V, particle frame) and the particles' classes, from one starting map or one for each class.

    With one map the first iteration shares the particles out at random. `mask` replaces the soft sphere of the particle's diameter.

    Raises
    ------
    InputError, UsageError
        As `class_planning.planned`.
    StateConflict
        If the checkpoint belongs to other particles or settings.
    """
    progress = progress or SilentProgress()
    work = planned(particles, references, settings, mask=mask, generator=generator, progress=progress)
    last = deque(iterations(work, progress=progress, checkpoint=checkpoint), maxlen=1)
    return finished(work, last[0])


def iterations(
    work: ClassWork, *, progress: Progress | None = None, checkpoint: Checkpoint | None = None
) -> Iterator[ClassState]:
    """The state after each iteration; a resumed classification first gives the state it was saved in.

    Raises
    ------
    StateConflict
        If the checkpoint belongs to other particles or settings.
    """
    progress, checkpoint = progress or SilentProgress(), checkpoint or NoCheckpoint()
    state = _resumed(work, checkpoint.load())
    if state is None:
        state = _begun(work, progress)
    else:
        progress.note(f"going on after iteration {state.iteration} of {work.settings.iterations}")
        yield state
    while state.iteration < work.settings.iterations:
        progress.start(f"iteration {state.iteration + 1}: {work.settings.classes} classes", len(work.particles))
        found, sums = _compared(work, state, progress)
        state = _advanced(work, state, found, sums)
        _tell(state.history[-1], progress)
        checkpoint.save({"fingerprint": work.fingerprint, "state": packed(state)})
        yield state


def finished(work: ClassWork, state: ClassState) -> VolumeClasses:
    """The result of a classification whose last state this is."""
    particles = replace(work.particles, pose=state.pose, class_number=state.model + 1)
    return VolumeClasses(volumes=state.maps, particles=particles, state=state, left_out=work.left_out)


def _resumed(work: ClassWork, saved: Mapping[str, Any] | None) -> ClassState | None:
    if saved is None:
        return None
    if saved.get("fingerprint") != work.fingerprint:
        raise StateConflict(
            "the checkpoint belongs to another classification",
            expected="the same particles, maps, mask and settings as when it was started",
            fix="give another output directory, or remove this one to begin again",
        )
    return unpacked(saved["state"])


def _begun(work: ClassWork, progress: Progress) -> ClassState:
    """The state before the first iteration: starting maps as strong as the images say, noise from the images' power."""
    count, classes, shells = len(work.particles), work.settings.classes, work.grid.box // 2 + 1
    zeros = torch.zeros(count)
    state = ClassState(
        iteration=0,
        maps=work.starts,
        references=tuple(flattened(start, work.mask) for start in work.starts),
        occupancy=torch.full((classes,), 1 / classes),
        noise=initial_noise(work.particles).power,
        weight=torch.zeros(classes, shells),
        signal=torch.zeros(classes, shells),
        pose=pose_of(work.particles),
        model=torch.full((count,), -1),
        model_probability=torch.full((count, classes), 1 / classes),
        facts=PoseFacts(
            max_probability=zeros, log_evidence=zeros, angular_width=zeros, shift_width=zeros,
            significant=torch.zeros(count, dtype=torch.int64), scale=torch.ones(count),
        ),
        radius=next_radius(work.shell_of(work.settings.starting_resolution), limit=work.last_shell),
        shift_deviation=max(work.shift_range, work.grid.pixel_size),
    )  # fmt: skip
    factors = [_strength(work, state, reference) for reference in state.references]
    progress.note(
        "the references were multiplied by " + ", ".join(f"{factor:.3g}" for factor in factors) + " to be as strong as the images"
    )
    scaled = tuple(
        Volume(voxels=one.voxels * factor, voxel_size=one.voxel_size)
        for one, factor in zip(state.references, factors, strict=True)
    )
    return replace(state, references=scaled)


def _strength(work: ClassWork, state: ClassState, reference: Volume) -> float:
    """The factor on a reference that fits some of the images best, looked for coarsely."""
    count = len(work.particles)
    rows = torch.linspace(0, count - 1, min(count, STRENGTH_SAMPLE), dtype=torch.float64).round().long()
    factor = 1.0
    for _ in range(STRENGTH_ROUNDS):
        trial = Volume(voxels=reference.voxels * factor, voxel_size=reference.voxel_size)
        step = max(STRENGTH_STEP, _angular_step(work)) if work.settings.looks_for == "global" else _angular_step(work)
        found = _expected(work, state, (trial,), rows=rows, sums=None, step=step)
        above, below = (float(part.double().sum()) for part in (found.scale_numerator, found.scale_denominator))
        factor *= above / below if below > 0 and above > 0 else 0.5
    return factor


def _angular_step(work: ClassWork) -> float:
    settings = work.settings
    step = math.radians(settings.angular_step_degrees)
    return min(step, math.radians(settings.angle_deviation_degrees) / 2) if settings.looks_for == "local" else step


def _expected(
    work: ClassWork,
    state: ClassState,
    references: tuple[Volume, ...],
    *,
    rows: Int[Tensor, " m"],
    sums: VolumeSums | None,
    step: float | None = None,
    progress: Progress | None = None,
) -> Assignments:
    """The expectation step of some particles with one map, or with those of all classes."""
    settings, models = work.settings, len(references)
    heat = temperature_of(work, state.iteration + 1) if models > 1 else 1.0
    search = SearchSettings(
        radius=state.radius, diameter=work.diameter, angular_step=step or _angular_step(work), shift_range=work.shift_range,
        shift_step=settings.shift_step or work.grid.pixel_size, byte_budget=settings.memory_budget,
        shift_deviation=None if settings.looks_for == "none" else state.shift_deviation,
    )  # fmt: skip
    return expectation(
        work.particles[rows].with_pose(state.pose[rows]), VolumeReferences.of(references, radius=state.radius),
        NoiseModel(power=state.noise * heat), search, orientations=_orientations(work, state, rows, models=models, step=search.angular_step),
        sums=sums, scale=state.facts.scale[rows], progress=progress,
    )  # fmt: skip


def _orientations(
    work: ClassWork, state: ClassState, rows: Int[Tensor, " m"], *, models: int, step: float
) -> GlobalOrientations | ModelOrientations:
    settings = work.settings
    prior = state.occupancy.clamp_min(1e-30).log() if models > 1 else None
    turn = random_turn(step, seeded(work.seed + 2 * state.iteration))
    if settings.looks_for == "global":
        return GlobalOrientations(models=models, symmetry=settings.symmetry, turn=turn, log_prior=prior)
    is_relaxed = symmetry_name(settings.relax_symmetry) != "C1"
    return ModelOrientations(
        centres=state.pose.lab_from_particle[rows],
        models=models,
        sigma=math.radians(settings.angle_deviation_degrees) if settings.looks_for == "local" else 0.0,
        operators=symmetry_operators(settings.relax_symmetry) if is_relaxed else None,
        turn=turn if settings.looks_for == "local" else None,
        log_prior=prior,
    )


def _compared(work: ClassWork, state: ClassState, progress: Progress) -> tuple[Assignments, VolumeSums]:
    """All particles compared with all maps; or, where all classes begin at one map, each with that one, for a class drawn at random."""
    everyone = torch.arange(len(work.particles))
    if state.iteration > 0 or len(state.references) == work.settings.classes:
        sums = _empty(work, state, work.settings.classes)
        found = _expected(work, state, state.references, rows=everyone, sums=sums, progress=progress)
        for part in sums.parts:  # the noise that the posterior was taken with is not that of the images
            part.sums.mul_(temperature_of(work, state.iteration + 1))
        return found, sums
    label = torch.randperm(len(everyone), generator=seeded(work.seed + 1)) % work.settings.classes
    whole, parts = _empty(work, state, 0), []
    for number in range(work.settings.classes):
        rows, sums = (label == number).nonzero().flatten(), _empty(work, state, 1)
        parts.append(_expected(work, state, state.references, rows=rows, sums=sums, progress=progress))
        whole.parts.append(sums.parts[0])
    order = torch.argsort(torch.argsort(label, stable=True))
    found = reordered(joined(parts), order)
    sure = torch.nn.functional.one_hot(label, work.settings.classes).to(found.model_probability)
    return replace(found, model=label, model_probability=sure), whole


def _empty(work: ClassWork, state: ClassState, models: int) -> VolumeSums:
    grid = work.grid
    return VolumeSums(models, box=grid.box, pixel_size=grid.pixel_size, radius=state.radius, symmetry=work.settings.symmetry)


def _advanced(work: ClassWork, state: ClassState, found: Assignments, sums: VolumeSums) -> ClassState:
    """The state after an iteration whose comparison is done."""
    members = found.model_probability.double().sum(dim=0)
    fudge = fudge_of(work, state.iteration + 1)
    made = [_class_map(work, sums, number, fudge=fudge) for number in range(work.settings.classes)]
    kept = [number for number in range(work.settings.classes) if float(members[number]) < HELD]
    maps = [one for one, _, _ in made]
    references = [flattened(one, work.mask) for one in maps]
    for number in kept:
        source = number if len(state.references) > 1 else 0
        maps[number], references[number] = state.maps[source], state.references[source]
    share = members.clamp_min(LEAST_SHARE)
    columns = columns_of(found)
    scale = state.facts.scale
    if work.settings.scale_correction == "micrograph":
        scale = fitted_scale(work.groups, columns["scale_numerator"], columns["scale_denominator"], current=scale)
    names = ("max_probability", "log_evidence", "angular_width", "shift_width", "significant")
    pose = Pose(lab_from_particle=columns["rotations"], shift=columns["shifts"])
    weight, signal = torch.stack([one for _, _, one in made]), torch.stack([one for _, one, _ in made])
    after = replace(
        state,
        iteration=state.iteration + 1,
        maps=tuple(maps),
        references=tuple(references),
        occupancy=(share / share.sum()).float(),
        noise=found.residual.noise_model().power,
        weight=weight,
        signal=signal,
        pose=pose if work.settings.looks_for != "none" or _is_relaxed(work) else state.pose,
        model=found.model,
        model_probability=found.model_probability.float(),
        facts=PoseFacts(scale=scale, **{name: columns[name] for name in names}),
        shift_deviation=max(float(pose.shift.square().mean().sqrt()), work.grid.pixel_size / 2),
    )
    shells = finest_shell(ratio_of(work, after))
    return replace(
        after,
        radius=next_radius(int(shells.max()), limit=work.last_shell),
        history=(*state.history, _record(work, state, after, shells)),
    )


def _is_relaxed(work: ClassWork) -> bool:
    return symmetry_name(work.settings.relax_symmetry) != "C1"


def _class_map(
    work: ClassWork, sums: VolumeSums, number: int, *, fudge: float
) -> tuple[Volume, Float[Tensor, " shells"], Float[Tensor, " shells"]]:
    """A class's regularised map, the signal τ² that it was believed to have, and its weight.

    Power is measured in the map N / (D + w), w the mean of D over the shell: where D = w it is a quarter of the power without a prior, and, whatever
    the spread of D, never more of the noise than 1/4w. So what sparse views leave undetermined is not mistaken for signal.
    """
    weight = sums.weight(number)
    damped = sums.volume(number, precision=DAMPING * weight + 1e-30)
    inside = float(work.mask.square().mean())
    power = (1 + DAMPING) ** 2 * slice_power(replace(damped, voxels=damped.voxels * work.mask)) / inside
    signal = inside * expected_signal(power[None].to(weight), weight[None], fudge=1.0)[0]
    rim = max(1, sums.radius - RIM)
    signal[rim + 1 :] = signal[rim + 1 :].clamp_max(float(signal[rim]))
    volume = sums.volume(number, precision=1 / (fudge * signal).clamp_min(1e-30))
    return volume, signal, weight


def slice_power(volume: Volume) -> Float[Tensor, " shells"]:
    """Half the mean |F|² of each shell of a map's slices: the variance of a real component of an orthonormal transform of ∫ V dz."""
    size = tuple(volume.voxels.shape)
    spectrum = to_fourier(volume.voxels, dimensions=3)
    power = shell_average(spectrum.real.square() + spectrum.imag.square(), size=size)
    return power * (size[-1] * volume.voxel_size**2 / 2)


def ratio_of(work: ClassWork, state: ClassState) -> Float[Tensor, "classes shells"]:
    """The data's evidence over the prior's in each shell, T τ² Σ γ CTF²/σ²: above 1 the data decide. 0 for an empty class."""
    held = (state.model_probability.double().sum(dim=0) >= HELD).to(state.weight)
    return fudge_of(work, state.iteration) * state.signal * state.weight * held[:, None]


def fudge_of(work: ClassWork, iteration: int) -> float:
    """How much more than τ² says the data of an iteration are believed: tau_fudge T, reached from 1 in the first half of the iterations where classes begin at random.

    Maps of random parts hold their own particles' noise, and hold on to these particles by it: the more so the more noise T lets through.
    """
    fudge = work.settings.tau_fudge
    return fudge if fudge <= 1 else float(fudge ** (1 - _care(work, iteration)))


def temperature_of(work: ClassWork, iteration: int) -> float:
    """By what log likelihoods are divided in an iteration: from `WARMTH` to 1 in the first half of the iterations where classes begin at random."""
    return float(WARMTH ** _care(work, iteration))


def _care(work: ClassWork, iteration: int) -> float:
    """From 1 to 0 over the first half of the iterations where classes begin at random; else 0."""
    if len(work.starts) == work.settings.classes:
        return 0.0
    return max(0.0, 1 - (iteration - 1) / max(1.0, CAREFUL * work.settings.iterations))


def _record(work: ClassWork, before: ClassState, after: ClassState, shells: Int[Tensor, " classes"]) -> ClassRecord:
    field = work.grid.box * work.grid.pixel_size
    return ClassRecord(
        iteration=after.iteration,
        radius=before.radius,
        occupancy=tuple(after.occupancy.tolist()),
        particles=tuple(torch.bincount(after.model, minlength=work.settings.classes).tolist()),
        resolution=tuple(field / max(1, shell) for shell in shells.tolist()),
        moved=float((after.model != before.model).double().mean()),
        max_probability=float(after.facts.max_probability.double().mean()),
        log_evidence=float(after.facts.log_evidence.double().sum()),
    )


def _tell(record: ClassRecord, progress: Progress) -> None:
    shares = ", ".join(
        f"{100 * share:.0f} % to {resolution:.1f} Å"
        for share, resolution in zip(record.occupancy, record.resolution, strict=True)
    )
    progress.note(f"iteration {record.iteration}: {shares}; {100 * record.moved:.0f} % changed their class")
    empty = [number + 1 for number, share in enumerate(record.particles) if share == 0]
    if empty:
        progress.note(f"iteration {record.iteration}: nobody's likeliest class is {', '.join(map(str, empty))}")
