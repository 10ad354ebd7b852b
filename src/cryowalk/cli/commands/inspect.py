"""`cryowalk inspect`: what is in a file, in words."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.core.errors import InputError

TOLD = 5  # files that could not be told, by name


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectFiles:
    """What to look at."""

    files: Annotated[tuple[Path, ...], "files of any kind that cryowalk knows, compressed or not", "FILE…"]
    json: Annotated[bool, "print JSON: an object for one file, a list for several"] = False


def run(files: InspectFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the descriptions are printed.

    Raises
    ------
    InputError
        If a file cannot be told; of several the others are told all the same.
    """
    from cryowalk.io import describe

    found, failures = [], []
    for path in files.files:
        try:
            found.append(describe(path))
        except InputError as error:
            if len(files.files) == 1:
                raise
            failures.append(error)
    facts = [each.as_dict() for each in found]
    context.emit(facts[0] if len(files.files) == 1 else facts, words=lambda: "\n".join(map(str, found)), as_json=files.json)
    if failures:
        more = [f"and {len(failures) - TOLD} more"] if len(failures) > TOLD else []
        raise InputError(
            f"{len(failures)} of {len(files.files)} files could not be told", details=[*map(str, failures[:TOLD]), *more]
        )


COMMAND = Command(name="inspect", summary="Tell in words what is in a file.", run=run, files=InspectFiles)
