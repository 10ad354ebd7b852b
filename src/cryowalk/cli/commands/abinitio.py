"""`cryowalk abinitio`: maps from particle images alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.refinement.ab_initio_settings import AbInitioSettings
from cryowalk.workflow.manifest import Manifest
from cryowalk.workflow.usable_images import OnNan

if TYPE_CHECKING:
    from cryowalk.refinement.ab_initio import AbInitio


@dataclass(frozen=True, slots=True, kw_only=True)
class AbInitioFiles:
    """The particles, and where the maps go."""

    particles: Annotated[Path, "STAR file of particles with CTF parameters", "--i"]
    output: Annotated[Path, "directory of the results"]
    on_nan: OnNan = "drop"


def run(files: AbInitioFiles, settings: AbInitioSettings, context: Context) -> None:
    """Nothing; the maps, run_data.star, scores.json and the report are in the output directory."""
    from cryowalk.cli.ab_initio_reports import write_ab_initio_report
    from cryowalk.cli.commands.reconstruct import stacks_of
    from cryowalk.geometry.symmetry import symmetry_operators
    from cryowalk.io import read_particles
    from cryowalk.workflow.ab_initio_stages import ab_initio_files, check_ab_initio
    from cryowalk.workflow.usable_images import refuse_damaged

    symmetry_operators(settings.symmetry)  # an unknown group is told before anything is read
    particles = read_particles(files.particles)
    check_ab_initio(particles, file=files.particles)
    with context.job(files, settings, more_inputs=stacks_of(particles.images)) as job:
        refuse_damaged(particles, on_nan=files.on_nan, progress=job.progress)
        result = ab_initio_files(job, particles, settings, seed=context.seed)
        write_ab_initio_report(job.directory, job.manifest)
    context.say(summary(result, settings))


def summary(result: "AbInitio", settings: AbInitioSettings) -> str:
    """What was found, in a few lines."""
    shares = ", ".join(f"{int((result.assignments.model == k).sum())}" for k in range(len(result.volumes)))
    lines = [
        f"{len(result.particles)} particles, {len(result.left_out)} left out; in the classes: {shares}",
        "log evidence of a particle from each start: " + ", ".join(f"{value:.2f}" for value in result.starts),
        "the hand is one of two that the images cannot tell apart: cryowalk flip-hand makes the other",
    ]
    if result.symmetry_fit < 0.8:
        lines.append(
            f"the map found without symmetry agrees with its {settings.symmetry} copies by {result.symmetry_fit:.2f} only: is the group right?"
        )
    return "\n".join(lines)


def draw_again(directory: Path, manifest: Manifest) -> Path:
    """The path of the report of a finished job, drawn again."""
    from cryowalk.cli.ab_initio_reports import write_ab_initio_report

    return write_ab_initio_report(directory, manifest)


COMMAND = Command(
    name="abinitio",
    summary="Find maps from particle images alone.",
    run=run,
    files=AbInitioFiles,
    settings=AbInitioSettings,
    details="Writes abinitio_class001.mrc (and one for each further class), run_data.star and scores.json.",
    report=draw_again,
)
