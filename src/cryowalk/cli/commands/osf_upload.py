"""`cryowalk osf upload`: files and folders that a project lacks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.commands.fetch import megabytes
from cryowalk.cli.context import Context
from cryowalk.io.archives.settings import TransferSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class OsfUpload:
    """What to send, and to which project."""

    input: Annotated[tuple[Path, ...], "files and folders to send", "--i"]
    project: Annotated[str, "the five signs at the end of the project's address"]
    to: Annotated[str, "folder of the project; made if it is missing"] = ""
    update: Annotated[bool, "send files as new versions that are others in the project"] = False
    json: Annotated[bool, "print JSON"] = False


def run(files: OsfUpload, settings: TransferSettings, context: Context) -> None:
    """Nothing; the project holds the files.

    Raises
    ------
    EnvironmentFault
        If there is no token, or the project does not take or confirm a file.
    """
    from cryowalk.core.errors import EnvironmentFault
    from cryowalk.io.archives import configuration, open_archive
    from cryowalk.io.archives.credentials import find_token

    site = configuration().site("osf")
    if find_token(site) is None:
        raise EnvironmentFault(
            "sending files needs a token",
            fix=f"make one in the settings of your OSF account, put it into {site.token_variable} or a credentials file of mode 600",
        )
    archive = open_archive("osf", settings=settings, progress=context.progress)
    sent = archive.upload(files.project, files.input, folder=files.to, existing="update" if files.update else "keep")
    facts = [{"name": each.name, "bytes": each.bytes, "checksums": list(each.checksums)} for each in sent]
    lines = [f"{each.name}: {megabytes(each.bytes)} sent" for each in sent]
    context.emit(facts, words=lambda: "\n".join([*lines, f"{len(sent)} files sent; the others were there"]), as_json=files.json)


COMMAND = Command(
    name="osf upload",
    summary="Send files and folders that an OSF project lacks.",
    run=run,
    files=OsfUpload,
    settings=TransferSettings,
    details="Folders are sent with all that is in them, without hidden files. What the project holds already is not sent again.",
)
