"""A refinement with files at both ends: RELION's files of every iteration, and at the end half maps, the map, the particles and scores."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from cryowalk.core.errors import InputError, UsageError
from cryowalk.core.units import DEGREE
from cryowalk.data import ParticleSet, Volume
from cryowalk.data.images import ImagesOnDevice
from cryowalk.fourier.shells import snr_from_fsc
from cryowalk.geometry.symmetry import symmetry_name
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.maps import write_map
from cryowalk.io.relion import write_particles
from cryowalk.io.relion_refinement import write_iteration
from cryowalk.io.relion_refinement_state import (
    ParticleStatistics,
    RefinementModel,
    RefinementOptions,
    RefinementProgress,
    RefinementSampling,
    groups_of,
    noise_of_groups,
)
from cryowalk.io.relion_refinement_state import RefinementState as IterationFiles
from cryowalk.io.star_numbers import integer_texts, number_texts
from cryowalk.numerics.random import generator
from cryowalk.refinement.homogeneous import Refinement, finished, iterations
from cryowalk.refinement.planning import RefinementWork, planned
from cryowalk.refinement.regularisation import LARGEST_FSC, LEAST_FSC
from cryowalk.refinement.settings import RefinementSettings
from cryowalk.refinement.state import IterationRecord, PoseFacts, RefinementState
from cryowalk.workflow.chimerax_views import VIEW_NAME, View, write_view
from cryowalk.workflow.job import Job
from cryowalk.workflow.stages import FLOAT_BYTES, HALF_MAP_NAMES, MAP_NAME, is_constant, require_images

DATA_NAME = "run_data.star"
SCORES_NAME = "scores.json"
CURVES_NAME = "fsc.json"
NO_SIGNAL = (
    "there is no signal beyond the starting model: the unfiltered halves do not agree beyond the resolution it was low-passed to"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementInputs:
    """What is refined: particles, the starting map, and where solvent is."""

    particles: ParticleSet
    reference: Volume
    mask: Volume | None = None


def check_inputs(inputs: RefinementInputs, settings: RefinementSettings, *, file: Path) -> None:
    """Nothing, if these particles can be refined; told before a directory is touched, with the name of their file.

    Raises
    ------
    InputError
        If they have no images or no CTF, are sub-tomograms, or lack the poses that a local search begins at.
    UsageError
        If a symmetry is relaxed and poses are looked for everywhere.
    """
    particles = inputs.particles
    if symmetry_name(settings.relax_symmetry) != "C1" and settings.search != "local":
        raise UsageError(
            "--relax-symmetry tries copies of known poses, and --search global knows none", fix="give --search local as well"
        )
    absent = {
        "rlnImageName": particles.images is None,
        "rlnDefocusU": particles.defocus is None,
        "rlnAngleRot, rlnAngleTilt and rlnAnglePsi": particles.pose is None and settings.search != "global",
    }
    fix = "estimate the CTF first: cryowalk ctf --i MICROGRAPHS.star --coords PARTICLES.star"
    require_images(particles, absent, file=file, without_ctf=fix)
    if is_constant(inputs.reference):
        raise InputError("the reference is constant: there is nothing to compare with", fix="look at it: cryowalk inspect FILE")


def refine_files(job: Job, inputs: RefinementInputs, settings: RefinementSettings, *, seed: int) -> Refinement:
    """The refined particles and maps, written under RELION's names: run_itNNN_* of each iteration, then run_data.star, the half maps and the map.

    A job that was stopped goes on with the iteration it was in.
    """
    particles = inputs.particles
    if particles.images is None:
        raise InputError("the particles have no images", fix="give a STAR file with rlnImageName")
    job.require_space(5 * FLOAT_BYTES * particles.images.image_shape[0] ** 3)
    if job.manifest.device != "cpu":
        particles = replace(particles, images=ImagesOnDevice(source=particles.images, device=torch.device(job.manifest.device)))
    work = planned(particles, inputs.reference, settings, mask=inputs.mask, generator=generator(seed), progress=job.progress)
    state = None
    for state in iterations(work, progress=job.progress, checkpoint=job.checkpoint("refine")):
        write_iteration(iteration_files(work, state, seed=seed), job.path("run"))
        atomic_write_text(job.path(CURVES_NAME), json.dumps(_curves(work, state), indent=1) + "\n")
    result = finished(work, state)
    _write_end(job, work, result)
    return result


def _write_end(job: Job, work: RefinementWork, result: Refinement) -> None:
    for name, volume in zip((*HALF_MAP_NAMES, MAP_NAME), (result.halves.first, result.halves.second, result.full), strict=True):
        write_map(volume, job.path(name))
    halves = [job.path(name) for name in HALF_MAP_NAMES]
    write_view(View(maps=[job.path(MAP_NAME)], half_maps=halves), job.path(VIEW_NAME))
    write_particles(with_facts(result.particles, result.facts), job.path(DATA_NAME))
    scores = scores_of(work, result)
    atomic_write_text(job.path(SCORES_NAME), json.dumps(scores, indent=1) + "\n")
    if not result.has_signal:
        job.progress.note(NO_SIGNAL)


def with_facts(particles: ParticleSet, facts: PoseFacts) -> ParticleSet:
    """The particles with RELION's columns of what is known of each, and two of ours: the widths of the posterior."""
    _, group = groups_of(particles)
    ones = torch.ones(len(particles), dtype=torch.int64)
    columns = {
        "rlnGroupNumber": integer_texts(group + 1),
        "rlnLogLikeliContribution": number_texts(facts.log_evidence.double()),
        "rlnMaxValueProbDistribution": number_texts(facts.max_probability.double()),
        "rlnNrOfSignificantSamples": integer_texts(facts.significant),
        "cwAngularWidth": number_texts(facts.angular_width.double() / DEGREE),
        "cwShiftWidth": number_texts(facts.shift_width.double()),
        "cwScale": number_texts(facts.scale.double()),
    }
    return replace(particles, class_number=ones, extra={**particles.extra, **columns})


def scores_of(work: RefinementWork, result: Refinement) -> dict[str, Any]:
    """The numbers of scores.json."""
    return {
        "resolution_0.143_masked_angstrom": round(result.correlation.resolution(at=0.143), 4),
        "resolution_0.5_masked_angstrom": round(result.correlation.resolution(at=0.5), 4),
        "resolution_0.143_unmasked_angstrom": round(result.whole_correlation.resolution(at=0.143), 4),
        "resolution_0.5_unmasked_angstrom": round(result.whole_correlation.resolution(at=0.5), 4),
        "signal_beyond_starting_model": result.has_signal,
        "particles": len(result.particles),
        "left_out": len(result.left_out),
        "starting_resolution_angstrom": work.settings.starting_resolution,
        "joined_resolution_angstrom": work.settings.joined_resolution,
        "angular_width_median_degrees": round(float(result.facts.angular_width.median()) / DEGREE, 4),
        "shift_width_median_angstrom": round(float(result.facts.shift_width.median()), 4),
        "iterations": [_row(record) for record in result.history],
    }


def _row(record: IterationRecord) -> dict[str, object]:
    """One iteration as scores.json tells it, degrees and Å."""
    return {
        "iteration": record.iteration,
        "search": record.search,
        "step_degrees": round(record.step / DEGREE, 4),
        "shift_range_angstrom": round(record.shift_range, 3),
        "shift_step_angstrom": round(record.shift_step, 3),
        "radius_shells": record.radius,
        "resolution_masked_angstrom": round(record.resolution, 3),
        "resolution_unmasked_angstrom": round(record.unmasked_resolution, 3),
        "accuracy_degrees": round(record.angular_accuracy / DEGREE, 4),
        "accuracy_angstrom": round(record.shift_accuracy, 4),
        "change_degrees": round(record.angular_change / DEGREE, 4),
        "change_angstrom": round(record.shift_change, 4),
        "max_probability": round(record.max_probability, 5),
        "log_evidence": round(record.log_evidence, 1),
    }


def _curves(work: RefinementWork, state: RefinementState) -> Mapping[str, object]:
    """The halves' correlations of the latest iteration, and of all before as far as they are known."""
    schedule = work.schedule
    step = 1 / (schedule.box * schedule.pixel_size)
    return {
        "frequency": [round(shell * step, 6) for shell in range(len(state.correlation))],
        "masked": [[round(value, 5) for value in curve.tolist()] for curve in state.curves],
        "unmasked": [round(value, 5) for value in state.whole_correlation.tolist()],
    }


def iteration_files(work: RefinementWork, state: RefinementState, *, seed: int) -> IterationFiles:
    """An iteration as RELION's files hold it."""
    record, particles = state.history[-1], work.particles.with_pose(state.pose)
    facts = state.facts
    statistics = ParticleStatistics(
        log_likelihood=facts.log_evidence.double(),
        max_probability=facts.max_probability.double(),
        significant=facts.significant,
    )
    return IterationFiles(
        iteration=state.iteration,
        particles=with_facts(particles, facts),
        models=tuple(_model(work, state, number) for number in (0, 1)),
        sampling=_sampling(work, record),
        options=_options(work, seed=seed),
        resolution=record.resolution,
        current_size=2 * record.radius,
        statistics=statistics,
        progress=_progress(state),
    )


def _model(work: RefinementWork, state: RefinementState, number: int) -> RefinementModel:
    """What RELION's model.star holds of one half."""
    record = state.history[-1]
    reference = (state.references.first, state.references.second)[number]
    noise = 1 / state.weight[number].double().clamp_min(1e-30)
    ratio = snr_from_fsc(state.correlation.double().clamp(LEAST_FSC, LARGEST_FSC))
    rows = work.members[number]
    names, group = groups_of(work.particles)
    scale = torch.ones(len(names), dtype=torch.float64)
    scale[group[rows]] = state.facts.scale[rows].double()
    return RefinementModel(
        references=(reference,),
        distribution=torch.ones(1),
        noise=noise_of_groups(state.noise[number].double(), work.particles),
        signal=(ratio * noise)[None],
        reference_noise=noise[None],
        shell_correlation=state.correlation.double()[None],
        resolution=torch.tensor([record.resolution]),
        accuracy_angle=torch.tensor([record.angular_accuracy]),
        accuracy_shift=torch.tensor([record.shift_accuracy]),
        group_scale=scale,
        shift_deviation=state.shift_deviation,
        log_likelihood=float(state.facts.log_evidence[rows].double().sum()),
        mean_max_probability=float(state.facts.max_probability[rows].double().mean()),
    )


def _sampling(work: RefinementWork, record: IterationRecord) -> RefinementSampling:
    """RELION's grid nearest to ours: its finer passes halve the step once."""
    order = max(0, round(math.log2(60 * DEGREE / record.step)) - 1)
    return RefinementSampling(
        order=order,
        psi_step=60 * DEGREE / 2**order,
        shift_range=record.shift_range,
        shift_step=2 * record.shift_step,
        symmetry=work.settings.symmetry,
    )


def _options(work: RefinementWork, *, seed: int) -> RefinementOptions:
    settings = work.settings
    return RefinementOptions(
        iterations=settings.iterations,
        diameter=work.schedule.diameter,
        is_automatic=True,
        seed=seed % 2**31,
        join_resolution=settings.joined_resolution or None,
        local_order=max(0, round(math.log2(60 / max(settings.local_from_degrees, 0.05))) - 1),
        has_scale_correction=settings.scale_correction == "micrograph",
    )


def _progress(state: RefinementState) -> RefinementProgress:
    record = state.history[-1]
    return RefinementProgress(
        angle_change=record.angular_change,
        shift_change=record.shift_change,
        class_change=0.0,
        smallest_angle_change=min(one.angular_change for one in state.history),
        smallest_shift_change=min(one.shift_change for one in state.history),
        smallest_class_change=0.0,
        best_resolution=min(one.resolution for one in state.history),
        has_converged=record.is_last,
    )


def read_scores(directory: Path) -> dict[str, Any]:
    """The numbers that a finished refinement left."""
    scores: dict[str, Any] = json.loads((directory / SCORES_NAME).read_text(encoding="utf-8"))
    return scores
