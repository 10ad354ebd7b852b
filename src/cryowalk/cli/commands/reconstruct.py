"""`cryowalk reconstruct`: half maps and a map from particles with poses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.reconstruction.settings import ReconstructionSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructionFiles:
    """The particles, and where the maps go."""

    particles: Annotated[Path, "STAR file of particles with poses", "--i"]
    output: Annotated[Path, "directory of the maps"]


def run(files: ReconstructionFiles, settings: ReconstructionSettings, context: Context) -> None:
    """Nothing; the half maps and the map are in the output directory, under RELION's names."""
    from cryowalk.cli.reports import write_directory_report
    from cryowalk.geometry.symmetry import symmetry_operators
    from cryowalk.io import read_particles
    from cryowalk.validation import fourier_shell_correlation
    from cryowalk.validation.directional_correlation import directional_sampling
    from cryowalk.workflow.stages import check_particles, reconstruct_files

    symmetry_operators(settings.symmetry)  # an unknown group is told before anything is read
    particles = read_particles(files.particles)
    check_particles(particles, settings, file=files.particles)
    with context.job(files, settings, more_inputs=stacks_of(particles.images)) as job:
        result = reconstruct_files(job, particles, settings, seed=context.seed)
        write_directory_report(job.directory, job.manifest)
    curve = fourier_shell_correlation(result.halves)
    context.say(f"{result.used} images used, {result.left_out} left out")
    if particles.pose is not None:
        evenness = directional_sampling(particles.pose, symmetry=settings.symmetry).compensation
        context.say(f"sampling compensation factor of the views {evenness:.2f} (1: even; 0: some directions are not seen)")
    if all(bool(half.voxels.any()) for half in (result.halves.first, result.halves.second)):
        context.say(f"half maps agree to {curve.resolution(at=0.143):.2f} Å (FSC 0.143, no mask)")
    else:
        context.say("a half is empty: the half maps say nothing about resolution")


def stacks_of(images: object) -> dict[str, Path]:
    """The stacks that images lie in, by name, as inputs of a job."""
    return {f"stack {stack.path.as_posix()}": stack.path for stack in getattr(images, "stacks", ())}


COMMAND = Command(
    name="reconstruct",
    summary="Reconstruct half maps and a map from particles with poses.",
    run=run,
    files=ReconstructionFiles,
    settings=ReconstructionSettings,
    details="Writes run_half1_class001_unfil.mrc, run_half2_class001_unfil.mrc and run_class001.mrc; with --method wiener or least-squares also run_half1_class001.mrc and run_half2_class001.mrc.",
)
