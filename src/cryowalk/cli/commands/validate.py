"""`cryowalk validate`: whether files are sound."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.core.errors import InputError, printable


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidateFiles:
    """What to check."""

    files: Annotated[tuple[Path, ...], "MRC, STAR, PDB or mmCIF files, compressed or not", "FILE…"]
    json: Annotated[bool, "print JSON"] = False


def run(files: ValidateFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the faults are printed.

    Raises
    ------
    InputError
        If a file has a fault that would stop or spoil a computation.
    """
    from cryowalk.io import faults
    from cryowalk.io.validate import is_sound

    context.progress.start("checking files", len(files.files))
    found = {}
    for path in files.files:
        found[path] = faults(path)
        context.progress.advance()
    context.progress.finish()
    sound = {path: is_sound(each) and not (context.is_strict and each) for path, each in found.items()}
    unsound = [path for path in found if not sound[path]]
    facts = {
        "sound": not unsound,
        "files": [
            {
                "file": printable(path),
                "sound": sound[path],
                "faults": [fault.what for fault in each if fault.is_serious],
                "notices": [fault.what for fault in each if not fault.is_serious],
            }
            for path, each in found.items()
        ],
    }
    lines = [
        line
        for path, each in found.items()
        for line in (f"{printable(path)}: {'sound' if sound[path] else 'NOT SOUND'}", *(f"  {fault}" for fault in each))
    ]
    context.emit(facts, words=lambda: "\n".join(lines), as_json=files.json)
    if unsound:
        raise InputError(f"{len(unsound)} of {len(found)} files are not sound", fix="the faults are listed above")


COMMAND = Command(
    name="validate", summary="Check files for faults; exit 0 only when all are sound.", run=run, files=ValidateFiles
)
