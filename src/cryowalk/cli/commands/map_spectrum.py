"""`cryowalk map spectrum`: how the power of maps, micrographs or stacks falls with resolution."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.workflow.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectrumFiles:
    """What is transformed, and where the curve goes."""

    inputs: Annotated[tuple[Path, ...], "maps, micrographs or stacks of one box, MRC", "--i"]
    output: Annotated[Path, "directory of the results"]
    pixel_size: Annotated[float | None, "pixel size, Å, instead of that of the headers"] = None


def run(files: SpectrumFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the curves, their picture and the report are in the output directory."""
    from cryowalk.workflow.map_stages import SPECTRUM_NAME, spectrum_files

    with context.job(files) as job:
        curves = spectrum_files(job, files.inputs, pixel_size=files.pixel_size)
        draw_again(job.directory, job.manifest)
    rings = len(next(iter(curves.values())))
    context.say(f"{files.output / SPECTRUM_NAME}: {rings} rings of {len(curves)} file{'s' if len(curves) > 1 else ''}")


def draw_again(directory: Path, manifest: Manifest) -> Path:
    """The path of the report, drawn again from spectrum.csv."""
    import csv

    import torch

    from cryowalk.view import Report, write_report
    from cryowalk.view.map_pictures import rotational_averages
    from cryowalk.workflow.job import REPORT_NAME
    from cryowalk.workflow.map_stages import SPECTRUM_NAME

    with (directory / SPECTRUM_NAME).open(encoding="utf-8", newline="") as stream:
        head, *rows = csv.reader(stream)
    values = torch.tensor([[float(cell) for cell in row] for row in rows], dtype=torch.float64)
    curves = {name.removeprefix("power_"): values[:, column] for column, name in enumerate(head) if column > 1}
    report = Report(
        title=f"cryowalk {manifest.command}",
        summary="Mean power of each shell (maps) or ring (images); the transform is orthonormal: white noise has its variance.",
        provenance=manifest.provenance(),
    ).with_section("Power", rotational_averages(curves, frequency=values[:, 0]))
    path: Path = write_report(report, directory / REPORT_NAME)
    return path


COMMAND = Command(
    name="map spectrum",
    summary="Average the power of maps or images over shells or rings.",
    run=run,
    files=SpectrumFiles,
    details="Writes spectrum.csv (frequency, resolution, power) and spectrum.png. Images of a stack are averaged.",
    report=draw_again,
)
