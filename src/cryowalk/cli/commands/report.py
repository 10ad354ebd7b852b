"""`cryowalk report`: the report of a finished job, drawn again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.core.errors import StateConflict


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFiles:
    """The job."""

    directory: Annotated[Path, "directory of a finished job", "DIR"]


def run(files: ReportFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; report.html is in the directory.

    Raises
    ------
    StateConflict
        If the job is not done.
    """
    from cryowalk.cli.main import load_command
    from cryowalk.cli.registry import entry_for
    from cryowalk.cli.reports import write_directory_report
    from cryowalk.workflow.job import read_job
    from cryowalk.workflow.lock import directory_lock

    manifest = read_job(files.directory)
    if manifest.state != "done":
        raise StateConflict(
            f"the job is {manifest.state}, not done",
            file=files.directory,
            fix="start its command again; it continues where it stopped",
        )
    entry = entry_for(manifest.command.split())
    draw = (load_command(entry).report if entry is not None else None) or write_directory_report
    with directory_lock(files.directory):
        path = draw(files.directory, manifest)
    context.say(f"report: {path}")


COMMAND = Command(name="report", summary="Draw the report of a finished job again.", run=run, files=ReportFiles)
