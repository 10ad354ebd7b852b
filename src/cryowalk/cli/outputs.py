"""The one rule for commands that write files where they are told: never over an input, and over an older file only with `--overwrite`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from cryowalk.core.errors import StateConflict, UsageError

# the field of a command's files: `overwrite: Overwrite = False`
Overwrite = Annotated[bool, "write over files that are there already"]


def check_outputs(outputs: Iterable[Path], *, sources: Iterable[Path | None] = (), overwrite: bool) -> None:
    """Nothing, if these files may be written; their folders are made.

    Raises
    ------
    UsageError
        If one is an input, a folder, or named twice.
    StateConflict
        If one is there already and was not to be overwritten.
    """
    outputs = list(outputs)
    inputs = [path for path in sources if path is not None and path.exists()]
    for path in outputs:
        same = next((source for source in inputs if path.exists() and path.samefile(source)), None)
        if same is not None:
            raise UsageError(
                "input and output are the same file, which would be written over itself", file=same, fix="give another --o"
            )
        if path.is_dir():
            raise UsageError("this is a folder, a file is to be written", file=path, fix="give the name of a file as --o")
    if len({*outputs}) < len(outputs):
        raise UsageError("two outputs have one name and would be written over each other", fix="give them one at a time")
    there = [path for path in outputs if path.exists() or path.is_symlink()]
    if there and not overwrite:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        raise StateConflict(
            f"this file is there already{more}; it is left as it is",
            file=there[0],
            fix="give another --o, or --overwrite to replace it",
        )
    for path in outputs:
        path.parent.mkdir(parents=True, exist_ok=True)
