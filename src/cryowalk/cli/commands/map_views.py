"""`cryowalk map views`: maps at a glance, as means along three axes with histograms."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.workflow.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewsFiles:
    """The maps, and where the pictures go."""

    inputs: Annotated[tuple[Path, ...], "maps, MRC", "--i"]
    output: Annotated[Path, "directory of the pictures"]


def run(files: ViewsFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; views.png and the report are in the output directory."""
    from cryowalk.workflow.map_stages import VIEWS_PICTURE, views_files

    with context.job(files) as job:
        views_files(job, files.inputs)
        draw_again(job.directory, job.manifest)
    context.say(f"{files.output / VIEWS_PICTURE}")


def draw_again(directory: Path, manifest: Manifest) -> Path:
    """The path of the report, drawn again from the maps as far as they still are there."""
    from cryowalk.view import Report, slices, write_report
    from cryowalk.view.map_pictures import mean_views
    from cryowalk.workflow.job import REPORT_NAME
    from cryowalk.workflow.map_stages import read_by_name

    paths = [Path(str(facts["path"])) for facts in manifest.inputs.values()]
    maps = read_by_name([path for path in paths if path.is_file()])
    report = Report(title=f"cryowalk {manifest.command}", summary=f"{len(maps)} maps.", provenance=manifest.provenance())
    if maps:
        report = report.with_section("Means along the axes", mean_views(maps)).with_section("Slices", slices(maps))
    path: Path = write_report(report, directory / REPORT_NAME)
    return path


COMMAND = Command(
    name="map views",
    summary="Draw maps as means along three axes, with histograms.",
    run=run,
    files=ViewsFiles,
    report=draw_again,
)
