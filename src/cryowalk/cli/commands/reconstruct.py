"""`cryowalk reconstruct`: half maps and a map from particles with poses."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.core.errors import InputError
from cryowalk.reconstruction.settings import ReconstructionSettings

if TYPE_CHECKING:
    from cryowalk.data import ParticleSet


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
    from cryowalk.workflow.stages import reconstruct_files

    symmetry_operators(settings.symmetry)  # an unknown group is told before anything is read
    particles = read_particles(files.particles)
    check_particles(particles, settings, file=files.particles)
    with context.job(files, settings, more_inputs=stacks_of(particles.images)) as job:
        result = reconstruct_files(job, particles, settings, seed=context.seed)
        write_directory_report(job.directory, job.manifest)
    curve = fourier_shell_correlation(result.halves)
    context.say(f"{result.used} images used, {result.left_out} left out")
    context.say(f"half maps agree to {curve.resolution(at=0.143):.2f} Å (FSC 0.143, no mask)")


def check_particles(particles: "ParticleSet", settings: ReconstructionSettings, *, file: Path) -> None:
    """Nothing, if these particles can be reconstructed; told before a directory is touched, with the name of their file.

    Raises
    ------
    InputError
        If they have no images, no poses or no CTF, or an image is in both half sets.
    """
    if any(group.extra.get("rlnImageDimensionality") == "3" for group in particles.optics):
        raise InputError(
            "the particles are sub-tomograms (rlnImageDimensionality 3)", file=file, expected="images: rlnImageDimensionality 2"
        )
    absent = {
        "rlnImageName": particles.images is None,
        "rlnAngleRot, rlnAngleTilt and rlnAnglePsi": particles.pose is None,
        "rlnDefocusU": particles.defocus is None and settings.ctf != "none",
    }
    lacking = [name for name, is_absent in absent.items() if is_absent]
    if lacking:
        fix = "estimate the CTF first, or give --ctf none if the images have no CTF" if lacking == ["rlnDefocusU"] else ""
        raise InputError(f"the particles lack {', '.join(lacking)}", file=file, fix=fix or "give a STAR file with these columns")
    if particles.half is not None:
        half_of: dict[str, int] = {}
        for row, (name, half) in enumerate(zip(particles.image_names, particles.half.tolist(), strict=True)):
            if half and half_of.setdefault(name, half) != half:
                raise InputError(
                    f"image {name} (row {row + 1}) is in both half sets, which feigns resolution",
                    file=file,
                    fix="give all rows of one image one rlnRandomSubset, or remove the copies",
                )


def stacks_of(images: object) -> dict[str, Path]:
    """The stacks that images lie in, by name, as inputs of a job."""
    return {f"stack {stack.path.as_posix()}": stack.path for stack in getattr(images, "stacks", ())}


COMMAND = Command(
    name="reconstruct",
    summary="Reconstruct half maps and a map from particles with poses.",
    run=run,
    files=ReconstructionFiles,
    settings=ReconstructionSettings,
    details="Writes run_half1_class001_unfil.mrc, run_half2_class001_unfil.mrc and run_class001.mrc.",
)
