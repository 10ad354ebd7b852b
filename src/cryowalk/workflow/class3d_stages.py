"""3D classification with files at both ends: RELION's files of every iteration, and at the end the maps, the particles and scores."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError, naming
from cryowalk.core.units import DEGREE
from cryowalk.data import ParticleSet, Volume
from cryowalk.data.images import ImagesOnDevice
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
    RefinementState,
    groups_of,
    noise_of_groups,
)
from cryowalk.io.star_numbers import number_texts
from cryowalk.numerics.random import generator
from cryowalk.refinement.class_planning import ClassWork, check_choices, planned
from cryowalk.refinement.class_state import ClassState
from cryowalk.refinement.heterogeneous import VolumeClasses, finished, iterations, ratio_of
from cryowalk.refinement.heterogeneous_settings import HeterogeneousSettings
from cryowalk.refinement.settings import RefinementSettings
from cryowalk.workflow.chimerax_views import VIEW_NAME, View, write_view
from cryowalk.workflow.job import Job
from cryowalk.workflow.refine_stages import RefinementInputs, check_inputs, with_facts
from cryowalk.workflow.stages import FLOAT_BYTES

DATA_NAME = "run_data.star"
SCORES_NAME = "scores.json"
PROBABILITY = "cwClassProbability"


@dataclass(frozen=True, slots=True, kw_only=True)
class Class3dInputs:
    """What is sorted: particles, one starting map or one for each class, and where solvent is."""

    particles: ParticleSet
    references: tuple[Volume, ...]
    mask: Volume | None = None


def map_name(number: int) -> str:
    """The file of a class's map; classes count from 1."""
    return f"run_class{number:03d}.mrc"


def check_class3d(inputs: Class3dInputs, settings: HeterogeneousSettings, *, file: Path) -> None:
    """Nothing, if these particles can be sorted; told before a directory is touched, with the name of their file.

    Raises
    ------
    InputError, UsageError
        If they cannot.
    """
    for reference in inputs.references:
        like = RefinementInputs(particles=inputs.particles, reference=reference)
        check_inputs(like, RefinementSettings(search="global"), file=file)
    with naming(file):
        check_choices(inputs.particles, len(inputs.references), settings)


def class3d_files(job: Job, inputs: Class3dInputs, settings: HeterogeneousSettings, *, seed: int) -> VolumeClasses:
    """The sorted particles and the maps: run_itNNN_* of each iteration, then run_class001.mrc …, run_data.star and scores.json.

    A job that was stopped goes on with the iteration it was in.
    """
    particles = inputs.particles
    if particles.images is None:
        raise InputError("the particles have no images", fix="give a STAR file with rlnImageName")
    job.require_space((settings.iterations + 1) * settings.classes * FLOAT_BYTES * particles.images.image_shape[0] ** 3)
    if job.manifest.device != "cpu":
        particles = replace(particles, images=ImagesOnDevice(source=particles.images, device=torch.device(job.manifest.device)))
    work = planned(particles, inputs.references, settings, mask=inputs.mask, generator=generator(seed), progress=job.progress)
    result = None
    for state in iterations(work, progress=job.progress, checkpoint=job.checkpoint("class3d")):
        result = finished(work, state)
        write_iteration(iteration_files(work, result, seed=seed), job.path("run"))
    if result is None:
        raise InputError("no iteration was made", expected="at least one iteration")
    for number, volume in enumerate(result.volumes, start=1):
        write_map(volume, job.path(map_name(number)))
    shown = [job.path(map_name(number)) for number in range(1, len(result.volumes) + 1)]
    write_view(View(maps=shown), job.path(VIEW_NAME))
    write_particles(told_particles(result), job.path(DATA_NAME))
    atomic_write_text(job.path(SCORES_NAME), json.dumps(scores_of(result), indent=1) + "\n")
    return result


def told_particles(result: VolumeClasses) -> ParticleSet:
    """The particles with RELION's columns of what is known of each, and ours: the probability of its class."""
    number = result.particles.class_number
    told = replace(with_facts(result.particles, result.state.facts), class_number=number)
    share = result.state.model_probability.double().amax(dim=1)
    return replace(told, extra={**told.extra, PROBABILITY: number_texts(share)})


def scores_of(result: VolumeClasses) -> dict[str, Any]:
    """The numbers of scores.json."""
    last = result.state.history[-1]
    share = result.state.model_probability.double().amax(dim=1)
    return {
        "particles": len(result.particles),
        "left_out": len(result.left_out),
        "particles_of_classes": list(last.particles),
        "occupancy": [round(value, 5) for value in last.occupancy],
        "resolution_angstrom": [round(value, 4) for value in last.resolution],
        "class_probability_median": round(float(share.median()), 5),
        "class_probability_above_0.9": round(float((share > 0.9).double().mean()), 5),
        "log_evidence": round(last.log_evidence, 2),
        "iterations": [
            {
                "iteration": one.iteration,
                "radius_shells": one.radius,
                "occupancy": [round(value, 5) for value in one.occupancy],
                "resolution_angstrom": [round(value, 4) for value in one.resolution],
                "moved": round(one.moved, 5),
                "max_probability": round(one.max_probability, 5),
                "log_evidence": round(one.log_evidence, 2),
            }
            for one in result.state.history
        ],
    }


def iteration_files(work: ClassWork, result: VolumeClasses, *, seed: int) -> RefinementState:
    """An iteration as RELION's files hold it."""
    state, last = result.state, result.state.history[-1]
    facts = state.facts
    return RefinementState(
        iteration=state.iteration,
        particles=told_particles(result),
        models=(_model(work, state, result.particles),),
        sampling=_sampling(work),
        options=RefinementOptions(
            iterations=work.settings.iterations,
            diameter=work.diameter,
            regularisation=work.settings.tau_fudge,
            seed=seed % 2**31,
            has_scale_correction=work.settings.scale_correction == "micrograph",
        ),
        resolution=min(last.resolution),
        current_size=min(work.grid.box, 2 * (last.radius + 1)),
        statistics=ParticleStatistics(
            log_likelihood=facts.log_evidence.double(),
            max_probability=facts.max_probability.double(),
            significant=facts.significant,
        ),
        progress=RefinementProgress(
            class_change=last.moved,
            smallest_class_change=min(one.moved for one in state.history),
            best_resolution=min(min(one.resolution) for one in state.history),
        ),
    )


def _model(work: ClassWork, state: ClassState, particles: ParticleSet) -> RefinementModel:
    """The classes, their spectra and the groups' noise and contrast."""
    last = state.history[-1]
    weight = state.weight.double()
    return RefinementModel(
        references=state.maps,
        distribution=state.occupancy.double(),
        noise=noise_of_groups(state.noise.double(), particles),
        signal=state.signal.double(),
        reference_noise=torch.where(weight > 0, 1 / weight.clamp_min(1e-30), torch.zeros_like(weight)),
        signal_to_noise=ratio_of(work, state).double(),
        resolution=torch.tensor(last.resolution, dtype=torch.float64),
        group_scale=_group_scale(particles, state.facts.scale),
        shift_deviation=state.shift_deviation,
        log_likelihood=last.log_evidence,
        mean_max_probability=last.max_probability,
    )


def _group_scale(particles: ParticleSet, scale: Float[Tensor, " n"]) -> Float[Tensor, " groups"]:
    names, group = groups_of(particles)
    each = torch.ones(len(names), dtype=torch.float64)
    each[group] = scale.double()
    return each


def _sampling(work: ClassWork) -> RefinementSampling:
    """RELION's grid nearest to ours: its finer passes halve the step once."""
    settings = work.settings
    order = max(0, round(math.log2(60 / settings.angular_step_degrees)) - 1)
    return RefinementSampling(
        order=order,
        psi_step=60 * DEGREE / 2**order,
        shift_range=work.shift_range,
        shift_step=2 * (settings.shift_step or work.grid.pixel_size),
        symmetry=settings.symmetry,
    )


def read_scores(directory: Path) -> dict[str, Any]:
    """The numbers that a finished classification left."""
    scores: dict[str, Any] = json.loads((directory / SCORES_NAME).read_text(encoding="utf-8"))
    return scores
