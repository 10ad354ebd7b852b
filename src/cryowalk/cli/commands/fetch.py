"""`cryowalk fetch`: files of the PDB, EMDB, EMPIAR or OSF, whole or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.io.archives.settings import TransferSettings

if TYPE_CHECKING:
    from cryowalk.io.archives.archive import Fetched, RemoteFile

SHOWN = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFiles:
    """What to fetch, and where it goes."""

    archive: Annotated[Literal["pdb", "emdb", "empiar", "osf"], "pdb, emdb, empiar or osf", "ARCHIVE"]
    entry: Annotated[str, "entry, such as 3pqr, EMD-1832, EMPIAR-10017 or the five signs of an OSF project", "ENTRY"]
    output: Annotated[Path | None, "folder for the files; the user's cache unless given"] = None
    pattern: Annotated[tuple[str, ...], "which files: patterns such as data/*.mrc, or words that are part of the path"] = ()
    half_maps: Annotated[bool, "emdb: the half maps, too"] = False
    form: Annotated[Literal["cif", "pdb"], "pdb: mmCIF or the old PDB form", "--format"] = "cif"
    sums: Annotated[Path | None, "list of sums as md5sum or sha256sum write it, for archives that state none"] = None
    list: Annotated[bool, "only list what would be fetched"] = False
    update: Annotated[bool, "fetch files again that the archive has changed since"] = False
    json: Annotated[bool, "print JSON"] = False


def run(files: FetchFiles, settings: TransferSettings, context: Context) -> None:
    """Nothing; the files are in the folder or the cache, and their paths are told.

    Raises
    ------
    UsageError
        If the entry or an option cannot be meant.
    EnvironmentFault
        If a file cannot be fetched whole.
    """
    from cryowalk.core.errors import UsageError
    from cryowalk.io.archives import cache_folder, open_archive
    from cryowalk.io.archives.providers import entry_name
    from cryowalk.io.archives.sums import read_sums

    if files.half_maps and files.archive != "emdb":
        raise UsageError("only the EMDB has half maps", fix="leave --half-maps out")
    sums = read_sums(files.sums) if files.sums is not None else None
    archive = open_archive(files.archive, settings=settings, progress=context.progress, sums=sums)
    entry = entry_name(files.archive, files.entry)
    patterns = files.pattern
    if files.archive == "pdb":
        patterns = patterns or (files.form,)
    if files.half_maps:
        patterns = ("map", "half-maps", *patterns)
    if files.list:
        tell_list(archive.list(entry, patterns), context, as_json=files.json)
        return
    folder = files.output or cache_folder() / files.archive / entry
    found = archive.download(entry, folder, patterns, existing="update" if files.update else "keep")
    tell_files(found, context, as_json=files.json)


def tell_list(found: "Sequence[RemoteFile]", context: Context, *, as_json: bool) -> None:
    """Print the files that an archive has."""
    from cryowalk.core.errors import printable

    facts = [{"name": each.name, "bytes": each.bytes, "checksums": list(each.checksums), "url": each.urls[0]} for each in found]
    lines = [f"{megabytes(each.bytes):>14}  {printable(each.name)}" for each in found]
    context.emit(facts, words=lambda: "\n".join([*lines, f"{len(found)} files"]), as_json=as_json)


def tell_files(found: "Sequence[Fetched]", context: Context, *, as_json: bool) -> None:
    """Print what was fetched: paths, lengths, and by what each file is known to be whole."""
    from cryowalk.core.errors import printable

    facts = [
        {
            "name": each.name,
            "path": str(each.path),
            "bytes": each.bytes,
            "transferred": each.transferred,
            "sha256": each.sha256,
            "verified": each.verified,
        }
        for each in found
    ]
    lines = [
        f"{printable(each.path)}: {megabytes(each.bytes)}, {'fetched' if each.transferred else 'was here'}, verified by {each.verified}"
        for each in found[:SHOWN]
    ]
    if len(found) > SHOWN:
        lines.append(f"and {len(found) - SHOWN} more")
    total = sum(each.transferred for each in found)
    lines.append(f"{len(found)} files, {megabytes(total)} transferred")
    context.emit(facts, words=lambda: "\n".join(lines), as_json=as_json)


def megabytes(size: int | None) -> str:
    """A length for people: 12.3 MB."""
    if size is None:
        return "?"
    return f"{size} bytes" if size < 10**5 else f"{size / 1e6:.1f} MB" if size < 10**9 else f"{size / 1e9:.2f} GB"


COMMAND = Command(
    name="fetch",
    summary="Fetch files of the PDB, EMDB, EMPIAR or OSF, whole or not at all.",
    run=run,
    files=FetchFiles,
    settings=TransferSettings,
    details="What breaks off goes on where it broke off; sums that the archive states are checked, otherwise lengths and the file's own form. Needs `pip install 'cryowalk[data]'`.",
)
