"""`cryowalk course list`: the units of the course."""

from dataclasses import dataclass
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFiles:
    """How to tell."""

    json: Annotated[bool, "print JSON"] = False


def run(files: ListFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the units are printed."""
    from cryowalk.course import units

    found = units()
    facts = [
        {"unit": each.id, "title": each.title, "question": each.question, "exercises": len(each.exercises), "passed": each.passed}
        for each in found
    ]
    lines = [
        f"{each.id}  {each.title}  ({each.passed} of {len(each.exercises)} exercises passed)\n     {each.question}"
        for each in found
    ]
    context.emit(facts, words=lambda: "\n".join(lines), as_json=files.json)


COMMAND = Command(name="course list", summary="List the course's units.", run=run, files=ListFiles)
