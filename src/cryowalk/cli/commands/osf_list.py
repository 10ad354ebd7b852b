"""`cryowalk osf list`: the files of a project."""

from dataclasses import dataclass
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.commands.fetch import tell_list
from cryowalk.cli.context import Context
from cryowalk.io.archives.settings import TransferSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class OsfList:
    """Which project."""

    project: Annotated[str, "the five signs at the end of the project's address", "PROJECT"]
    pattern: Annotated[tuple[str, ...], "which files: patterns such as *.mrc, or words that are part of the path"] = ()
    json: Annotated[bool, "print JSON"] = False


def run(files: OsfList, settings: TransferSettings, context: Context) -> None:
    """Nothing; the list is printed."""
    from cryowalk.io.archives import open_archive

    archive = open_archive("osf", settings=settings, progress=context.progress)
    tell_list(archive.list(files.project, files.pattern), context, as_json=files.json)


COMMAND = Command(name="osf list", summary="List the files of an OSF project.", run=run, files=OsfList, settings=TransferSettings)
