"""`cryowalk class2d`: particles into 2D classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.classification.settings import ClassificationSettings
from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.workflow.manifest import Manifest
from cryowalk.workflow.usable_images import OnNan


@dataclass(frozen=True, slots=True, kw_only=True)
class Class2dFiles:
    """The particles, and where the classes go."""

    particles: Annotated[Path, "STAR file of particles", "--i"]
    output: Annotated[Path, "directory of the classes"]
    on_nan: OnNan = "drop"


def run(files: Class2dFiles, settings: ClassificationSettings, context: Context) -> None:
    """Nothing; the tables, the class averages, their ranking and the report are in the output directory."""
    from cryowalk.cli.class2d_reports import write_class2d_report
    from cryowalk.cli.commands.reconstruct import stacks_of
    from cryowalk.io import read_particles
    from cryowalk.workflow.class2d_stages import LEAST_SCORE, check_class2d, classify_files
    from cryowalk.workflow.usable_images import refuse_damaged

    particles = read_particles(files.particles)
    check_class2d(particles, settings, file=files.particles)
    with context.job(files, settings, more_inputs=stacks_of(particles.images)) as job:
        refuse_damaged(particles, on_nan=files.on_nan, progress=job.progress)
        result = classify_files(job, particles, settings, seed=context.seed)
        write_class2d_report(job.directory, job.manifest)
    good = result.ranking.chosen(least=LEAST_SCORE)
    held = int(result.ranking.images[good].sum())
    context.say(
        f"{files.output}: {len(result.found.rows)} particles in {settings.classes} classes, "
        f"{len(good)} of them with a score of {LEAST_SCORE} and more ({held} particles)"
    )
    context.say(f"next: cryowalk select --i {files.output} --classes auto --o particles.star")


def draw_again(directory: Path, manifest: Manifest) -> Path:
    """The path of the report of a finished job, drawn again."""
    from cryowalk.cli.class2d_reports import write_class2d_report

    return write_class2d_report(directory, manifest)


COMMAND = Command(
    name="class2d",
    summary="Sort particles into 2D classes and rank them.",
    run=run,
    files=Class2dFiles,
    settings=ClassificationSettings,
    details="Writes run_itNNN_data.star, run_itNNN_classes.mrcs and run_itNNN_model.star of each iteration, which RELION opens, and class_ranking.json.",
    report=draw_again,
)
