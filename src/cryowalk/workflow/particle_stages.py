"""Tools for refined particles with files at both ends: expansion by a symmetry, subtraction of signal, removal of duplicates."""

import json
from dataclasses import dataclass
from pathlib import Path

from cryowalk.core.errors import InputError, UsageError, naming
from cryowalk.data import ParticleSet, Volume
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.maps import write_map, write_mask
from cryowalk.io.mrc import MrcStackReader
from cryowalk.io.mrc_writer import MrcStackWriter
from cryowalk.io.relion import read_particles, write_particles
from cryowalk.io.stacks import image_names
from cryowalk.refinement.duplicates import Duplicates, find_duplicates
from cryowalk.refinement.subtraction import Subtracted, subtract
from cryowalk.refinement.subtraction_settings import SubtractionSettings
from cryowalk.refinement.symmetry_expansion import expanded
from cryowalk.workflow.job import Job
from cryowalk.workflow.stages import FLOAT_BYTES

STACK_NAME, STAR_NAME = "particles_subtracted.mrcs", "particles_subtracted.star"
REFERENCE_NAME, MASK_NAME, SCORES_NAME = "reference.mrc", "mask.mrc", "scores.json"


def check_star_output(output: Path, source: Path) -> None:
    """Nothing, if the output can be a STAR file beside the source.

    Raises
    ------
    UsageError
        If it is no name of a STAR file, or the source itself.
    """
    if output.suffix.lower() != ".star":
        raise UsageError(f"--o {output} is no name of a STAR file", expected="a name that ends in .star")
    if output.exists() and output.samefile(source):
        raise UsageError("input and output are the same file", file=source, fix="give another --o")


def expand_file(source: Path, output: Path, *, symmetry: str) -> tuple[int, int]:
    """How many particles there were, and how many copies were written."""
    particles = read_particles(source)
    with naming(source):
        copies = expanded(particles, symmetry)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_particles(copies, output)
    return len(particles), len(copies)


def remove_duplicates_file(source: Path, output: Path, *, distance: float) -> Duplicates:
    """What was kept; those particles are in the output."""
    particles = read_particles(source)
    with naming(source):
        found = find_duplicates(particles, distance=distance)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_particles(particles[found.kept], output)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtractionInputs:
    """Particles with poses, the whole map, and the mask of what is to stay."""

    particles: ParticleSet
    reference: Volume
    mask: Volume


def subtract_files(job: Job, inputs: SubtractionInputs, settings: SubtractionSettings) -> Subtracted:
    """The particles without the rest of the map: particles_subtracted.mrcs and .star, reference.mrc and mask.mrc about their middle, and scores.json.

    A job that was stopped begins its stack anew.
    """
    images = inputs.particles.images
    if images is None:
        raise InputError("the particles have no images", fix="give a STAR file with rlnImageName")
    count, box = len(inputs.particles), settings.new_box or images.image_shape[0]
    job.require_space(count * FLOAT_BYTES * box**2)
    stack, star = job.path(STACK_NAME), job.path(STAR_NAME)
    writer = MrcStackWriter(stack, image_shape=(box, box), pixel_size=inputs.particles.pixel_size)
    try:
        result = subtract(inputs.particles, inputs.reference, inputs.mask, settings, sink=writer, progress=job.progress)
        writer.close()
    except BaseException:
        writer.abandon()
        raise
    named = result.particles.with_images(MrcStackReader(stack), image_names(stack, count, star=star))
    write_particles(named, star)
    write_map(result.kept, job.path(REFERENCE_NAME))
    write_mask(result.mask, job.path(MASK_NAME))
    scores = {
        "particles": count,
        "box": box,
        "scale_least": round(float(result.scale.min()), 5),
        "scale_median": round(float(result.scale.median()), 5),
        "scale_largest": round(float(result.scale.max()), 5),
        "images_beyond_their_edge": result.cut,
    }
    atomic_write_text(job.path(SCORES_NAME), json.dumps(scores, indent=1) + "\n")
    if result.cut:
        job.progress.note(f"the new box reaches beyond {result.cut} images, which are 0 there")
    return result
