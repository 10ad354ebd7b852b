"""`cryowalk inspect`: what is in a file, in words."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectFiles:
    """What to look at."""

    files: Annotated[tuple[Path, ...], "MRC, STAR, PDB or mmCIF files, compressed or not", "FILE…"]
    json: Annotated[bool, "print JSON: an object for one file, a list for several"] = False


def run(files: InspectFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the descriptions are printed."""
    from cryowalk.io import describe

    found = [describe(path) for path in files.files]
    facts = [each.as_dict() for each in found]
    context.emit(facts[0] if len(facts) == 1 else facts, words=lambda: "\n".join(map(str, found)), as_json=files.json)


COMMAND = Command(name="inspect", summary="Tell in words what is in a file.", run=run, files=InspectFiles)
