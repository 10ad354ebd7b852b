"""`cryowalk map segment`: the parts of a map as masks, sorted by volume."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFiles:
    """The map, how it is cut, and where the masks go."""

    map: Annotated[Path, "the map, MRC", "--i"]
    output: Annotated[Path, "directory of the masks"]
    level: Annotated[float | None, "where the map is cut, in the values of the file; found from the map unless given"] = None
    separation: Annotated[
        float, "0: what hangs together; above: one part for each thick place this far apart, voxels", ("min", 0)
    ] = 0.0
    smallest: Annotated[int, "parts of fewer voxels are left out", ("min", 1)] = 10
    soft_edge: Annotated[float, "width of the masks' soft edge, voxels", ("min", 0)] = 0.0
    most: Annotated[int, "so many masks at most; labels.mrc holds all parts", ("min", 0)] = 50


def run(files: SegmentFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the masks, the labels, their table and the report are in the output directory."""
    from cryowalk.cli.reports import write_directory_report
    from cryowalk.core.errors import naming
    from cryowalk.workflow.map_stages import segment_files

    with context.job(files) as job:
        with naming(files.map):
            found = segment_files(
                job,
                files.map,
                level=files.level,
                separation=files.separation,
                smallest=files.smallest,
                soft_edge=files.soft_edge,
                most=files.most,
            )
        write_directory_report(job.directory, job.manifest)
    told = ", ".join(map(str, found.voxels[:6])) + (", …" if len(found.voxels) > 6 else "")
    context.say(f"{len(found.voxels)} parts above {found.level:.4g}, of {told} voxels")


COMMAND = Command(
    name="map segment",
    summary="Cut a map into parts, sorted by volume.",
    run=run,
    files=SegmentFiles,
    details="Writes segment_001.mrc (the largest) and so on, labels.mrc and segments.json. With --separation a watershed parts what hangs together.",
)
