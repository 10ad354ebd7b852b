"""`cryowalk pipeline`: our jobs in RELION's record of a project."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFiles:
    """The project."""

    project: Annotated[Path, "folder of the project", "DIR"] = Path()


def run(files: PipelineFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; default_pipeline.star names the jobs.

    Raises
    ------
    InputError
        If this is no folder.
    """
    from cryowalk.core.errors import InputError
    from cryowalk.workflow.pipeline import PIPELINE_NAME, record_project

    if not files.project.is_dir():
        raise InputError(
            "this is no folder", file=files.project, expected="the folder of a project, with Refine3D/job012 and so on in it"
        )
    count = record_project(files.project.resolve())
    context.say(f"{files.project / PIPELINE_NAME}: {count} jobs of ours")


COMMAND = Command(
    name="pipeline",
    summary="List our jobs in RELION's default_pipeline.star.",
    run=run,
    files=PipelineFiles,
    details="Jobs in folders such as Refine3D/job012 are listed while they run; this does it for a whole project, and begins the file where there is none.",
)
