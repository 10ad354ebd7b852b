"""`cryowalk ctf-refine`: defocus, aberrations and magnification of particles with poses, against a map."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.poses.settings import CtfRefinementSettings
from cryowalk.workflow.manifest import Manifest
from cryowalk.workflow.usable_images import OnNan


@dataclass(frozen=True, slots=True, kw_only=True)
class CtfRefinementFiles:
    """The particles and the map, and where the results go."""

    particles: Annotated[Path, "STAR file of particles with poses", "--i"]
    reference: Annotated[
        Path, "a map, or a half map such as run_half1_class001_unfil.mrc: then each half is compared with its own", "--ref"
    ]
    output: Annotated[Path, "directory of the results"]
    on_nan: OnNan = "drop"


def run(files: CtfRefinementFiles, settings: CtfRefinementSettings, context: Context) -> None:
    """Nothing; particles_ctf_refine.star, the numbers and the report are in the output directory."""
    from cryowalk.cli.commands.reconstruct import stacks_of
    from cryowalk.cli.ctf_refine_reports import summary_of
    from cryowalk.io import read_particles
    from cryowalk.workflow.ctf_refine_stages import read_references, reference_files, refine_ctf_files
    from cryowalk.workflow.usable_images import without_damaged

    found = reference_files(files.reference)
    context.verify(files.particles, *found)
    particles, maps = read_particles(files.particles), read_references(found)
    more = {f"reference {number}": path for number, path in enumerate(found, start=1)} | stacks_of(particles.images)
    with context.job(files, settings, more_inputs=more) as job:
        particles = without_damaged(particles, on_nan=files.on_nan, progress=job.progress)
        facts = refine_ctf_files(job, particles, maps, settings)
        draw_again(job.directory, job.manifest)
    context.say(summary_of(facts))


def draw_again(directory: Path, manifest: Manifest) -> Path:
    """The path of the report of a finished job, drawn again."""
    from cryowalk.cli.ctf_refine_reports import write_ctf_refine_report

    return write_ctf_refine_report(directory, manifest)


COMMAND = Command(
    name="ctf-refine",
    summary="Refine defocus, aberrations and magnification against a map.",
    run=run,
    files=CtfRefinementFiles,
    settings=CtfRefinementSettings,
    details="Writes particles_ctf_refine.star, as RELION's columns, ctf_refine.json and aberrations_groupNN.mrcs (phases in degrees).",
    report=draw_again,
)
