"""`cryowalk align-maps`: a map turned and moved onto another, and the poses of its particles with it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.workflow.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignFiles:
    """The map, what it is brought onto, the particles that follow, and where the results go."""

    volume: Annotated[Path, "the map that is moved, MRC", "--i"]
    reference: Annotated[Path, "the map that it is brought onto, MRC", "--ref"]
    output: Annotated[Path, "directory of the results"]
    particles: Annotated[Path | None, "STAR file whose poses follow the map, in particles.star"] = None
    hand: Annotated[Literal["keep", "either"], "whether the mirror image is tried too"] = "keep"
    resolution: Annotated[
        float | None, "finest detail that is used, Å; unless given, about 2.5 voxels of a grid of 48", ("above", 0)
    ] = None
    pixel_size: Annotated[float | None, "voxel size of the moved map, Å, instead of that of its header"] = None


def run(files: AlignFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the moved map, its motion and the report are in the output directory."""
    from cryowalk.core.errors import naming
    from cryowalk.workflow.map_motion_stages import AlignmentInputs, align_map_files

    inputs = AlignmentInputs(
        volume=files.volume,
        reference=files.reference,
        particles=files.particles,
        hand=files.hand,
        resolution=files.resolution,
        voxel_size=files.pixel_size,
    )
    with context.job(files) as job:
        with naming(files.volume):
            facts = align_map_files(job, inputs)
        draw_again(job.directory, job.manifest)
    context.say(
        f"turned by {facts['alignment_angle_degrees']:.2f}°, correlation {facts['correlation']:.4f}"
        + (", mirrored" if facts["is_mirrored"] else "")
    )


def draw_again(directory: Path, manifest: Manifest) -> Path:
    """The path of the report of a finished job, drawn again."""
    from cryowalk.io import read_map
    from cryowalk.validation import compare_maps
    from cryowalk.view import Report, fsc, slices, write_report
    from cryowalk.workflow.job import REPORT_NAME
    from cryowalk.workflow.map_motion_stages import ALIGNED_NAME, ALIGNMENT_NAME

    facts = json.loads((directory / ALIGNMENT_NAME).read_text(encoding="utf-8"))
    moved = read_map(directory / ALIGNED_NAME)
    numbers = {name: value for name, value in facts.items() if isinstance(value, float)}
    words = f"{facts['meaning']}: shift {', '.join(f'{value:.2f}' for value in facts['alignment_shift_angstrom'])} Å, mirrored: {facts['is_mirrored']}."
    report = Report(title=f"cryowalk {manifest.command}", summary=words, provenance=manifest.provenance()).with_section(
        "Motion", numbers
    )
    source = Path(str(manifest.inputs["reference"]["path"])) if "reference" in manifest.inputs else None
    if source is not None and source.is_file():
        reference = read_map(source)
        report = report.with_section(
            "Agreement", fsc(compare_maps(moved, reference)), slices({"moved": moved, "reference": reference})
        )
    else:
        report = report.with_section("The moved map", slices(moved))
    path: Path = write_report(report, directory / REPORT_NAME)
    return path


COMMAND = Command(
    name="align-maps",
    summary="Turn and move a map onto another.",
    run=run,
    files=AlignFiles,
    details="Writes aligned.mrc on the reference's grid and alignment.json with the rotation and the shift; with --particles also particles.star.",
    report=draw_again,
)
