"""`cryowalk osf download`: the files of a project that a folder lacks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.commands.fetch import tell_files
from cryowalk.cli.context import Context
from cryowalk.io.archives.settings import TransferSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class OsfDownload:
    """Which project, and where its files go."""

    project: Annotated[str, "the five signs at the end of the project's address", "PROJECT"]
    output: Annotated[Path, "folder for the files; folders of the project are kept"]
    pattern: Annotated[tuple[str, ...], "which files: patterns such as *.mrc, or words that are part of the path"] = ()
    update: Annotated[bool, "fetch files again that the project has changed since"] = False
    json: Annotated[bool, "print JSON"] = False


def run(files: OsfDownload, settings: TransferSettings, context: Context) -> None:
    """Nothing; the files are in the folder."""
    from cryowalk.io.archives import open_archive

    archive = open_archive("osf", settings=settings, progress=context.progress)
    found = archive.download(files.project, files.output, files.pattern, existing="update" if files.update else "keep")
    tell_files(found, context, as_json=files.json)


COMMAND = Command(
    name="osf download",
    summary="Fetch the files of an OSF project that a folder lacks.",
    run=run,
    files=OsfDownload,
    settings=TransferSettings,
    details="A private project needs a token: in OSF_TOKEN, or in a credentials file of mode 600 (docs/guide/archives.md).",
)
