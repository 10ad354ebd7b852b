"""A map from images alone, with files at both ends."""

import json
from dataclasses import replace
from pathlib import Path

import torch

from cryowalk.core.errors import InputError
from cryowalk.core.units import DEGREE
from cryowalk.data import ParticleSet
from cryowalk.data.images import ImagesOnDevice
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.maps import write_map
from cryowalk.io.relion import write_particles
from cryowalk.io.star_numbers import integer_texts, number_texts
from cryowalk.numerics.random import generator
from cryowalk.refinement.ab_initio import AbInitio, ab_initio
from cryowalk.refinement.ab_initio_settings import AbInitioSettings
from cryowalk.workflow.chimerax_views import VIEW_NAME, View, write_view
from cryowalk.workflow.job import Job
from cryowalk.workflow.stages import FLOAT_BYTES, refuse_subtomograms

DATA_NAME = "run_data.star"
SCORES_NAME = "scores.json"


def map_name(number: int) -> str:
    """The file of a class's map; classes count from 1."""
    return f"abinitio_class{number:03d}.mrc"


def check_ab_initio(particles: ParticleSet, *, file: Path) -> None:
    """Nothing, if a map can be looked for in these particles; told before a directory is touched, with the name of their file.

    Raises
    ------
    InputError
        If they have no images or no CTF, or are sub-tomograms.
    """
    refuse_subtomograms(particles, file=file)
    absent = {"rlnImageName": particles.images is None, "rlnDefocusU": particles.defocus is None}
    lacking = [name for name, is_absent in absent.items() if is_absent]
    if lacking:
        without_ctf = "estimate the CTF first: cryowalk ctf --i MICROGRAPHS.star --coords PARTICLES.star"
        fix = "give a STAR file whose rlnImageName column names a stack" if particles.images is None else without_ctf
        raise InputError(f"the particles lack {', '.join(lacking)}", file=file, fix=fix)


def ab_initio_files(job: Job, particles: ParticleSet, settings: AbInitioSettings, *, seed: int) -> AbInitio:
    """The maps, written as abinitio_class001.mrc …, the particles with their poses as run_data.star, and scores.json.

    A job that was stopped goes on with the mini-batch it was in.
    """
    if particles.images is None:
        raise InputError("the particles have no images", fix="give a STAR file with rlnImageName")
    job.require_space((settings.classes + 2) * FLOAT_BYTES * particles.images.image_shape[0] ** 3)
    if job.manifest.device != "cpu":
        particles = replace(particles, images=ImagesOnDevice(source=particles.images, device=torch.device(job.manifest.device)))
    result = ab_initio(
        particles, settings, generator=generator(seed), progress=job.progress, checkpoint=job.checkpoint("ab_initio")
    )
    for number, volume in enumerate(result.volumes, start=1):
        write_map(volume, job.path(map_name(number)))
    shown = [job.path(map_name(number)) for number in range(1, len(result.volumes) + 1)]
    write_view(View(maps=shown), job.path(VIEW_NAME))
    found = result.assignments
    columns = {
        "rlnLogLikeliContribution": number_texts(found.log_evidence.double()),
        "rlnMaxValueProbDistribution": number_texts(found.max_probability.double()),
        "rlnNrOfSignificantSamples": integer_texts(found.significant),
        "cwAngularWidth": number_texts(found.angular_width.double() / DEGREE),
    }
    write_particles(replace(result.particles, extra={**result.particles.extra, **columns}), job.path(DATA_NAME))
    shares = torch.bincount(found.model, minlength=len(result.volumes)).tolist()
    scores = {
        "log_evidence_of_starts": [round(value, 4) for value in result.starts],
        "symmetry": settings.symmetry,
        "least_correlation_with_turned_copies": round(result.symmetry_fit, 4),
        "particles": len(result.particles),
        "particles_of_classes": shares,
        "left_out": len(result.left_out),
        "angular_width_median_degrees": round(float(found.angular_width.median()) / DEGREE, 4),
    }
    atomic_write_text(job.path(SCORES_NAME), json.dumps(scores, indent=1) + "\n")
    return result
