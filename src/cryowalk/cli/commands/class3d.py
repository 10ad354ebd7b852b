"""`cryowalk class3d`: particles into several maps."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.refinement.heterogeneous_settings import HeterogeneousSettings
from cryowalk.workflow.manifest import Manifest
from cryowalk.workflow.usable_images import OnNan

if TYPE_CHECKING:
    from cryowalk.refinement.heterogeneous import VolumeClasses


@dataclass(frozen=True, slots=True, kw_only=True)
class Class3dFiles:
    """The particles, the starting maps, a mask, and where the results go."""

    particles: Annotated[Path, "STAR file of particles with CTF parameters", "--i"]
    references: Annotated[
        tuple[Path, ...], "starting map, an MRC file: one for all classes, or one for each (A.mrc B.mrc, or A.mrc,B.mrc)", "--ref"
    ]
    mask: Annotated[Path | None, "what is compared, a soft mask; else a sphere of the particle's diameter", "--solvent-mask"] = (
        None
    )
    reference_pixel_size: Annotated[
        float | None, "voxel size of the starting maps, Å, instead of their headers'", "--ref-angpix", ("above", 0)
    ] = None
    output: Annotated[Path, "directory of the results"]
    on_nan: OnNan = "drop"


def run(files: Class3dFiles, settings: HeterogeneousSettings, context: Context) -> None:
    """Nothing; the maps, run_data.star, scores.json and the report are in the output directory."""
    from cryowalk.cli.commands.fsc import read_mask
    from cryowalk.cli.commands.reconstruct import stacks_of
    from cryowalk.geometry.symmetry import symmetry_operators
    from cryowalk.io import read_map, read_particles
    from cryowalk.workflow.class3d_stages import Class3dInputs, check_class3d, class3d_files
    from cryowalk.workflow.usable_images import refuse_damaged

    symmetry_operators(settings.symmetry)  # an unknown group is told before anything is read
    symmetry_operators(settings.relax_symmetry)
    context.verify(*files.references, files.mask)
    inputs = Class3dInputs(
        particles=read_particles(files.particles),
        references=tuple(read_map(path, voxel_size=files.reference_pixel_size) for path in files.references),
        mask=None if files.mask is None else read_mask(files.mask),
    )
    check_class3d(inputs, settings, file=files.particles)
    with context.job(files, settings, more_inputs=stacks_of(inputs.particles.images)) as job:
        refuse_damaged(inputs.particles, on_nan=files.on_nan, progress=job.progress)
        result = class3d_files(job, inputs, settings, seed=context.seed)
        draw_again(job.directory, job.manifest)
    context.say(_summary(result))


def _summary(result: "VolumeClasses") -> str:
    last = result.state.history[-1]
    lines = [f"{len(result.particles)} particles in {len(result.volumes)} classes, {len(result.left_out)} left out"]
    for number, (count, resolution) in enumerate(zip(last.particles, last.resolution, strict=True), start=1):
        lines.append(f"class {number}: {count} particles, signal above noise to {resolution:.1f} Å")
    return "\n".join(lines)


def draw_again(directory: Path, manifest: Manifest) -> Path:
    """The path of the report of a finished job, drawn again."""
    from cryowalk.cli.class3d_reports import write_class3d_report

    return write_class3d_report(directory, manifest)


COMMAND = Command(
    name="class3d",
    summary="Sort particles into several maps.",
    run=run,
    files=Class3dFiles,
    settings=HeterogeneousSettings,
    details=(
        "Writes run_class001.mrc (and one for each further class), run_data.star with rlnClassNumber, scores.json, and run_itNNN_* files of each "
        "iteration, which RELION opens and continues. --skip-align with --mask is focused classification. Stopped at any time, the same command goes on."
    ),
    report=draw_again,
)
