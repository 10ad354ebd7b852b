"""`cryowalk subtract`: particles without the signal of what lies outside a mask."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.refinement.subtraction_settings import SubtractionSettings
from cryowalk.workflow.usable_images import OnNan


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtractionFiles:
    """The particles, the map, the mask, and where the new images go."""

    particles: Annotated[Path, "STAR file of particles with poses, such as run_data.star", "--i"]
    reference: Annotated[Path, "map of the whole particle, such as run_class001.mrc", "--ref"]
    mask: Annotated[Path, "soft mask: 1 where the signal is to stay"]
    reference_pixel_size: Annotated[
        float | None, "voxel size of the map, Å, instead of its header's", "--ref-angpix", ("above", 0)
    ] = None
    output: Annotated[Path, "directory of the results"]
    on_nan: OnNan = "drop"


def run(files: SubtractionFiles, settings: SubtractionSettings, context: Context) -> None:
    """Nothing; the new stack, its STAR file, the masked map and the mask are in the output directory."""
    from cryowalk.cli.commands.fsc import read_mask
    from cryowalk.cli.commands.reconstruct import stacks_of
    from cryowalk.cli.reports import write_directory_report
    from cryowalk.io import read_map, read_particles
    from cryowalk.reconstruction.settings import ReconstructionSettings
    from cryowalk.workflow.particle_stages import STAR_NAME, SubtractionInputs, subtract_files
    from cryowalk.workflow.stages import check_particles
    from cryowalk.workflow.usable_images import without_damaged

    context.verify(files.particles, files.reference, files.mask)
    particles = read_particles(files.particles)
    check_particles(particles, ReconstructionSettings(), file=files.particles)
    reference = read_map(files.reference, voxel_size=files.reference_pixel_size)
    inputs = SubtractionInputs(particles=particles, reference=reference, mask=read_mask(files.mask))
    with context.job(files, settings, more_inputs=stacks_of(particles.images)) as job:
        particles = without_damaged(particles, on_nan=files.on_nan, progress=job.progress)
        result = subtract_files(job, replace(inputs, particles=particles), settings)
        write_directory_report(job.directory, job.manifest)
    context.say(
        f"{files.output / STAR_NAME}: {len(result.particles)} images; the map was {float(result.scale.median()):.3g} times as strong in them"
    )
    context.say(
        f"next: cryowalk class3d --i {files.output / STAR_NAME} --ref {files.output}/reference.mrc --mask {files.output}/mask.mrc --skip-align --classes 3 --o DIR"
    )


COMMAND = Command(
    name="subtract",
    summary="Take the signal outside a mask out of particle images.",
    run=run,
    files=SubtractionFiles,
    settings=SubtractionSettings,
    details="Writes particles_subtracted.mrcs and .star (rlnImageOriginalName leads back), and reference.mrc and mask.mrc in the new images' box.",
)
