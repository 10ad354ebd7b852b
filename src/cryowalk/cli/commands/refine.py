"""`cryowalk refine`: poses and a map, refined in independent halves."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.refinement.settings import RefinementSettings
from cryowalk.workflow.manifest import Manifest
from cryowalk.workflow.usable_images import OnNan

if TYPE_CHECKING:
    from cryowalk.refinement import Refinement


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementFiles:
    """The particles, the starting map, a mask, and where the results go."""

    particles: Annotated[Path, "STAR file of particles with CTF parameters", "--i"]
    reference: Annotated[Path, "starting map, an MRC file", "--ref"]
    mask: Annotated[
        Path | None, "what is not solvent, a soft mask; else a sphere of the particle's diameter", "--solvent-mask"
    ] = None
    reference_pixel_size: Annotated[
        float | None, "voxel size of the starting map, Å, instead of its header's", "--ref-angpix", ("above", 0)
    ] = None
    output: Annotated[Path, "directory of the results"]
    on_nan: OnNan = "drop"


def run(files: RefinementFiles, settings: RefinementSettings, context: Context) -> None:
    """Nothing; the half maps, the map, run_data.star, scores.json and the report are in the output directory."""
    from cryowalk.cli.commands.fsc import read_mask
    from cryowalk.cli.commands.reconstruct import stacks_of
    from cryowalk.cli.refinement_reports import write_refinement_report
    from cryowalk.geometry.symmetry import symmetry_operators
    from cryowalk.io import read_map, read_particles
    from cryowalk.workflow.refine_stages import RefinementInputs, check_inputs, refine_files
    from cryowalk.workflow.usable_images import refuse_damaged

    symmetry_operators(settings.symmetry)  # an unknown group is told before anything is read
    symmetry_operators(settings.relax_symmetry)
    context.verify(files.reference, files.mask)
    inputs = RefinementInputs(
        particles=read_particles(files.particles),
        reference=read_map(files.reference, voxel_size=files.reference_pixel_size),
        mask=None if files.mask is None else read_mask(files.mask),
    )
    check_inputs(inputs, settings, file=files.particles)
    with context.job(files, settings, more_inputs=stacks_of(inputs.particles.images)) as job:
        refuse_damaged(inputs.particles, on_nan=files.on_nan, progress=job.progress)
        result = refine_files(job, inputs, settings, seed=context.seed)
        write_refinement_report(job.directory, job.manifest)
    context.say(_summary(result))


def _summary(result: "Refinement") -> str:
    from cryowalk.workflow.refine_stages import NO_SIGNAL

    masked, whole = (curve.resolution(at=0.143) for curve in (result.correlation, result.whole_correlation))
    lines = [
        f"{len(result.particles)} particles in {len(result.history)} iterations, {len(result.left_out)} left out",
        f"half maps agree to {masked:.2f} Å inside the mask, {whole:.2f} Å without (FSC 0.143)",
    ]
    return "\n".join(lines if result.has_signal else [*lines, NO_SIGNAL])


def draw_again(directory: Path, manifest: Manifest) -> Path:
    """The path of the report of a finished job, drawn again."""
    from cryowalk.cli.refinement_reports import write_refinement_report

    return write_refinement_report(directory, manifest)


COMMAND = Command(
    name="refine",
    summary="Refine poses and a map in independent halves.",
    run=run,
    files=RefinementFiles,
    settings=RefinementSettings,
    details=(
        "Writes run_half1_class001_unfil.mrc, run_half2_class001_unfil.mrc, run_class001.mrc, run_data.star, scores.json, and run_itNNN_* "
        "files of each iteration, which RELION opens and continues. Stopped at any time, the same command goes on."
    ),
    report=draw_again,
)
