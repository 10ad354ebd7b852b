"""Homogeneous refinement: poses and a map in turns, in two halves of the particles that never see each other's map.

Each iteration compares each half's images with that half's map (marginal likelihood over poses), sums them weighted, and learns from the agreement of
the two new maps how much of each shell to believe. The halves share the starting map, and what is coarser than `joined_resolution`, nothing else.

Source: Scheres, J. Struct. Biol. 180, 519 (2012); Scheres & Chen, Nat. Methods 9, 853 (2012).
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import StateConflict
from cryowalk.core.execution import Checkpoint, NoCheckpoint, Progress, SilentProgress
from cryowalk.data import HalfMaps, ParticleSet, Pose, Volume
from cryowalk.geometry.symmetry import distance_modulo_symmetry, symmetry_order
from cryowalk.inference.noise import initial_noise
from cryowalk.numerics.random import generator as seeded
from cryowalk.refinement.cramer_rao import pose_bound
from cryowalk.refinement.half_pass import (
    HalfResult,
    HalfTask,
    packed_half,
    pass_over,
    placed,
    pose_of,
    unpacked_half,
)
from cryowalk.refinement.non_uniform import locally_filtered
from cryowalk.refinement.planning import RefinementWork, planned
from cryowalk.refinement.regularisation import (
    THRESHOLD,
    Agreement,
    flattened,
    inverse_prior,
    joined,
    last_shell_above,
    signal_beyond,
)
from cryowalk.refinement.sampling import Outlook, SamplingPlan, Schedule
from cryowalk.refinement.scale import fitted_scale
from cryowalk.refinement.settings import RefinementSettings
from cryowalk.refinement.solvent import Solvent, inside, own_shapes
from cryowalk.refinement.state import IterationRecord, PoseFacts, RefinementState, packed, told, unpacked
from cryowalk.validation.masks import independent_fraction
from cryowalk.validation.shell_correlation import ShellCorrelation
from cryowalk.validation.thresholds import shell_sizes, sigma_curve

DEFAULT = RefinementSettings()
SAMPLE = 64  # particles of a half from which the accuracy is estimated
STRENGTH_SAMPLE = 64  # particles of a half from which the reference's strength is
STRENGTH_STEP = math.radians(15.0)
STRENGTH_ROUNDS = 4
STRENGTH_SETTLED = 0.1
LEAKAGE = 2  # shells into which the circular mask of the images and the edge of the low-pass carry the starting map
WORST_ACCURACY = math.radians(30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """The end of a refinement: particles with poses and halves, unfiltered half maps, the regularised map of all, and how it came about.

    `correlation` is that of the half maps inside the solvent mask, `whole_correlation` that of whole maps; `noise` is σ² of a real component in each shell. `has_signal` tells whether the unfiltered
    halves agree beyond the resolution that the starting map was low-passed to.
    """

    particles: ParticleSet
    facts: PoseFacts
    halves: HalfMaps
    full: Volume
    correlation: ShellCorrelation
    whole_correlation: ShellCorrelation
    noise: Float[Tensor, "halves groups shells"]
    history: tuple[IterationRecord, ...]
    has_signal: bool
    left_out: tuple[tuple[int, str], ...]


def refine(
    particles: ParticleSet,
    reference: Volume,
    settings: RefinementSettings = DEFAULT,
    *,
    mask: Volume | None = None,
    generator: torch.Generator,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> Refinement:
    """The particles' poses and the half maps that fit each other best, from a starting map (V, particle frame).

    `mask` replaces the sphere of the particle's diameter and the halves' own shapes as what is not solvent. The generator divides the halves, where the set has none, and turns the grids.

    Raises
    ------
    InputError
        If there are too few usable particles, or images, CTF parameters or the map are not usable.
    StateConflict
        If the checkpoint belongs to other particles or settings.
    """
    progress = progress or SilentProgress()
    work = planned(particles, reference, settings, mask=mask, generator=generator, progress=progress)
    last = deque(iterations(work, progress=progress, checkpoint=checkpoint), maxlen=1)
    return finished(work, last[0] if last else None)


def iterations(
    work: RefinementWork, *, progress: Progress | None = None, checkpoint: Checkpoint | None = None
) -> Iterator[RefinementState]:
    """The state after each iteration, the last one with `plan.is_last` behind it; a resumed refinement first gives the state it was saved in.

    Raises
    ------
    StateConflict
        If the checkpoint belongs to other particles or settings.
    """
    progress, checkpoint = progress or SilentProgress(), checkpoint or NoCheckpoint()
    state, first_half = _resumed(work, checkpoint.load())
    if state is None:
        state = _begun(work, progress)
        checkpoint.save(_saved(work, state, None))
    elif state.iteration or first_half is not None:
        progress.note(
            f"going on after iteration {state.iteration}"
            + (", whose next one has its first half" if first_half is not None else "")
        )
    if state.iteration:
        yield state
    while not _is_over(state):
        results = []
        for number in (0, 1):
            if number == 0 and first_half is not None:
                results.append(first_half)
                continue
            results.append(_half_pass(work, state, number, progress))
            if number == 0:
                checkpoint.save(_saved(work, state, results[0]))
        first_half = None
        state = _advanced(work, state, (results[0], results[1]), progress)
        checkpoint.save(_saved(work, state, None))
        yield state


def _is_over(state: RefinementState) -> bool:
    return bool(state.history) and state.history[-1].is_last


def _saved(work: RefinementWork, state: RefinementState, half: HalfResult | None) -> Mapping[str, Any]:
    return {
        "fingerprint": work.fingerprint,
        "state": packed(state),
        "first_half": None if half is None else packed_half(half),
    }


def _resumed(work: RefinementWork, saved: Mapping[str, Any] | None) -> tuple[RefinementState | None, HalfResult | None]:
    if saved is None:
        return None, None
    if saved.get("fingerprint") != work.fingerprint:
        raise StateConflict(
            "the checkpoint belongs to another refinement",
            expected="the same particles, map, mask and settings as when it was started",
            fix="give another output directory, or remove this one to begin again",
        )
    half = None if saved["first_half"] is None else unpacked_half(saved["first_half"])
    return unpacked(saved["state"]), half


def _begun(work: RefinementWork, progress: Progress) -> RefinementState:
    """The state before the first iteration: the starting map, as strong as the images say, in both halves; noise from the images' power."""
    count, shells = len(work.particles), work.schedule.box // 2 + 1
    noise = torch.stack([initial_noise(work.particles[rows]).power for rows in work.members])
    ones, zeros = torch.ones(count), torch.zeros(count)
    plan = work.schedule.first()
    state = RefinementState(
        iteration=0,
        references=HalfMaps(first=work.start, second=work.start),
        unfiltered=None,
        full=None,
        noise=noise,
        weight=torch.zeros(2, shells),
        pose=pose_of(work.particles),
        facts=PoseFacts(
            max_probability=zeros, log_evidence=zeros, angular_width=zeros, shift_width=zeros,
            significant=torch.zeros(count, dtype=torch.int64), scale=ones,
        ),
        plan=work.schedule.closing(plan) if work.settings.iterations == 1 else plan,
        correlation=torch.zeros(shells),
        whole_correlation=torch.zeros(shells),
        curves=torch.zeros(0, shells),
        shift_deviation=work.settings.shift_deviation or work.schedule.widest_shift,
        best_shell=0,
    )  # fmt: skip
    factor = _strength(work, state)
    progress.note(f"the reference was multiplied by {factor:.3g} to be as strong as the images")
    start = flattened(Volume(voxels=work.start.voxels * factor, voxel_size=work.start.voxel_size), work.mask)
    state = replace(state, references=HalfMaps(first=start, second=start))
    accuracy, _ = _accuracy(work, state, state.plan)
    return replace(state, plan=work.schedule.opened(state.plan, accuracy=accuracy))


def _strength(work: RefinementWork, state: RefinementState) -> float:
    """The factor on the reference that fits some of the images best, looked for coarsely: it has to be right within a tenth."""
    factor, plan = 1.0, state.plan
    if plan.search == "global":
        state = replace(state, plan=replace(plan, step=max(plan.step, STRENGTH_STEP), shift_step=2 * plan.shift_step))
    for _ in range(STRENGTH_ROUNDS):
        above = below = 0.0
        for number, rows in enumerate(work.members):
            start = Volume(voxels=work.start.voxels * factor, voxel_size=work.start.voxel_size)
            trial = replace(state, references=HalfMaps(first=start, second=start))
            task = _task(work, trial, number, rows=rows[:STRENGTH_SAMPLE])
            found = pass_over(task, generator=seeded(work.seed), progress=SilentProgress()).columns
            above += float(found["scale_numerator"].double().sum())
            below += float(found["scale_denominator"].double().sum())
        change = above / below if below > 0 and above > 0 else 0.5
        factor *= change
        if abs(change - 1) < STRENGTH_SETTLED:
            break
    return factor


def _task(work: RefinementWork, state: RefinementState, number: int, *, rows: Int[Tensor, " n"] | None = None) -> HalfTask:
    rows = work.members[number] if rows is None else rows
    reference = (state.references.first, state.references.second)[number]
    return HalfTask(
        particles=work.particles[rows].with_pose(state.pose[rows]),
        reference=reference,
        noise=state.noise[number],
        scale=state.facts.scale[rows],
        plan=state.plan,
        schedule=work.schedule,
        shift_deviation=state.shift_deviation,
    )


def _half_pass(work: RefinementWork, state: RefinementState, number: int, progress: Progress) -> HalfResult:
    task = _task(work, state, number)
    step = math.degrees(state.plan.step)
    progress.start(f"iteration {state.iteration + 1}, half {number + 1}: {state.plan.search}, {step:.2g}°", len(task.particles))
    return pass_over(task, generator=seeded(work.seed + 2 * state.iteration + number + 1), progress=progress)


def _advanced(
    work: RefinementWork, state: RefinementState, results: tuple[HalfResult, HalfResult], progress: Progress
) -> RefinementState:
    """The state after an iteration whose two passes are done."""
    count = len(work.particles)

    def column(name: str) -> Tensor:
        return placed(work.members, results, name, count=count)

    pose = Pose(lab_from_particle=column("rotations"), shift=column("shifts"))
    scale = state.facts.scale
    if work.settings.scale_correction == "micrograph":
        scale = fitted_scale(work.groups, column("scale_numerator"), column("scale_denominator"), current=scale)
    names = ("max_probability", "log_evidence", "angular_width", "shift_width", "significant")
    facts = PoseFacts(scale=scale, **{name: column(name) for name in names})
    first, second = (result.sums.volume() for result in results)
    unfiltered = HalfMaps(first=first, second=second)
    solvent = _solvent(work, state, unfiltered)
    agreed = solvent.agreed
    after = replace(
        state,
        iteration=state.iteration + 1,
        references=_references(work, results, solvent),
        unfiltered=unfiltered,
        noise=torch.stack([result.noise for result in results]),
        weight=torch.stack([result.sums.weight() for result in results]),
        pose=pose,
        facts=facts,
        correlation=agreed.masked,
        whole_correlation=agreed.whole,
        curves=torch.cat([state.curves, agreed.masked[None]]),
        shift_deviation=work.settings.shift_deviation or _spread(pose.shift, work.schedule),
    )
    outlook = _outlook(work, state, after)
    record = _record(work, after, state.plan, outlook)
    progress.note(told(record))
    full = _full(results, agreed) if state.plan.is_last else None
    best = max(state.best_shell, outlook.shell)
    return replace(
        after, full=full, best_shell=best, history=(*state.history, record), plan=_next_plan(work, after, state.plan, outlook)
    )


def _solvent(work: RefinementWork, state: RefinementState, halves: HalfMaps) -> Solvent:
    """What is solvent in these half maps, and how they agree in the rest."""
    radius, phases = state.plan.radius, seeded(work.seed + state.iteration)
    if work.is_mask_given or work.settings.solvent == "sphere":
        return inside(halves, work.mask, radius=radius, generator=phases if work.is_mask_given else None)
    beyond = work.schedule.shell_of(work.settings.starting_resolution) + LEAKAGE
    return own_shapes(halves, work.mask, radius=radius, diameter=work.schedule.diameter, beyond=beyond, generator=phases)


def _references(work: RefinementWork, results: tuple[HalfResult, HalfResult], solvent: Solvent) -> HalfMaps:
    """Both halves' regularised maps, their low resolution joined, their solvent flattened."""
    agreed = solvent.agreed
    maps = [result.sums.volume(precision=inverse_prior(agreed.masked, result.sums.weight())) for result in results]
    halves = HalfMaps(first=maps[0], second=maps[1])
    if work.settings.regularisation == "non-uniform":
        coarsest = work.schedule.shell_of(work.settings.starting_resolution)
        halves = locally_filtered(halves, coarsest=coarsest, finest=last_shell_above(agreed.masked))
    resolution = work.settings.joined_resolution
    shell = work.schedule.shell_of(resolution) if resolution > 0 else 0
    halves = joined(halves, shell=shell)
    first, second = solvent.masks
    return HalfMaps(first=flattened(halves.first, first), second=flattened(halves.second, second))


def _full(results: tuple[HalfResult, HalfResult], agreed: Agreement) -> Volume:
    """The regularised map of both halves' sums: the weights are twice as large, and so is the signal-to-noise ratio."""
    prior = inverse_prior(agreed.masked, (results[0].sums.weight() + results[1].sums.weight()) / 2)
    both = results[0].sums
    both.merge(results[1].sums)
    return both.volume(precision=prior)


def _spread(shift: Float[Tensor, "n 2"], schedule: Schedule) -> float:
    """Standard deviation of the places about the images' middles along one axis, never below half a pixel."""
    return max(float(shift.square().mean().sqrt()), schedule.pixel_size / 2)


def _outlook(work: RefinementWork, before: RefinementState, after: RefinementState) -> Outlook:
    turned = distance_modulo_symmetry(after.pose.lab_from_particle, before.pose.lab_from_particle, work.settings.symmetry)
    moved = (after.pose.shift - before.pose.shift).norm(dim=-1)
    angular, along = _accuracy(work, after, before.plan)
    return Outlook(
        shell=last_shell_above(after.correlation),
        best_shell=before.best_shell,
        angular_accuracy=angular,
        shift_accuracy=along,
        angular_change=float(turned.median()),
        shift_change=float(moved.quantile(0.95)),
        change_before=before.history[-1].angular_change if before.history else math.inf,
    )


def _accuracy(work: RefinementWork, state: RefinementState, plan: SamplingPlan) -> tuple[float, float]:
    """Least standard deviations about one axis (rad) and along one axis (Å), the median of some particles of both halves."""
    angles, shifts = [], []
    for number, rows in enumerate(work.members):
        task = _task(work, state, number, rows=rows[:SAMPLE])
        bound = pose_bound(task.particles, task.reference, task.noise, radius=plan.radius)
        angles.append(bound.angle / math.sqrt(3))
        shifts.append(bound.shift / math.sqrt(2))
    angle = min(float(torch.cat(angles).median()), WORST_ACCURACY)
    return angle, min(float(torch.cat(shifts).median()), work.schedule.widest_shift)


def _next_plan(work: RefinementWork, after: RefinementState, plan: SamplingPlan, outlook: Outlook) -> SamplingPlan:
    if plan.is_last:
        return plan
    following = work.schedule.following(plan, outlook)
    return work.schedule.closing(following) if after.iteration + 1 >= work.settings.iterations else following


def _record(work: RefinementWork, after: RefinementState, plan: SamplingPlan, outlook: Outlook) -> IterationRecord:
    curves = [_curve(work, fsc) for fsc in (after.correlation, after.whole_correlation)]
    return IterationRecord(
        iteration=after.iteration,
        search=plan.search,
        step=plan.step,
        shift_range=plan.shift_range,
        shift_step=plan.shift_step,
        radius=plan.radius,
        is_last=plan.is_last,
        resolution=curves[0].resolution(at=0.143),
        unmasked_resolution=curves[1].resolution(at=0.143),
        angular_accuracy=outlook.angular_accuracy,
        shift_accuracy=outlook.shift_accuracy,
        angular_change=outlook.angular_change,
        shift_change=outlook.shift_change,
        max_probability=float(after.facts.max_probability.mean()),
        log_evidence=float(after.facts.log_evidence.double().sum()),
    )


def _curve(work: RefinementWork, fsc: Float[Tensor, " shells"]) -> ShellCorrelation:
    schedule = work.schedule
    frequency = torch.arange(len(fsc), dtype=fsc.dtype) / (schedule.box * schedule.pixel_size)
    return ShellCorrelation(frequency=frequency, correlation=fsc)


def _signal_threshold(work: RefinementWork) -> Float[Tensor, " shells"]:
    """0.143, or three standard deviations of the correlation of noise where a shell has too few coefficients for that."""
    sizes = shell_sizes(work.schedule.box)
    mask = Volume(voxels=work.mask, voxel_size=work.schedule.pixel_size)
    share = independent_fraction(mask) / symmetry_order(work.settings.symmetry)
    return sigma_curve(sizes, independent_fraction=share).clamp_min(THRESHOLD).float()


def finished(work: RefinementWork, state: RefinementState | None) -> Refinement:
    """The result of a refinement whose last state this is.

    Raises
    ------
    StateConflict
        If it is not over.
    """
    if state is None or state.unfiltered is None or state.full is None:
        raise StateConflict("the refinement is not over", fix="go on with its iterations")
    shell = work.schedule.shell_of(work.settings.starting_resolution)
    return Refinement(
        particles=work.particles.with_pose(state.pose),
        facts=state.facts,
        halves=state.unfiltered,
        full=state.full,
        correlation=_curve(work, state.correlation),
        whole_correlation=_curve(work, state.whole_correlation),
        noise=state.noise,
        history=state.history,
        has_signal=signal_beyond(state.whole_correlation, shell=shell + LEAKAGE, threshold=_signal_threshold(work)),
        left_out=work.left_out,
    )
