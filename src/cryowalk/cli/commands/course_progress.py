"""`cryowalk course progress`: which exercises are done."""

from dataclasses import dataclass
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressFiles:
    """How to tell."""

    json: Annotated[bool, "print JSON"] = False


def run(files: ProgressFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the status of every exercise is printed."""
    from cryowalk.course import progress

    found = progress()
    facts = {
        unit: [
            {"exercise": each.id, "stream": each.stream, "passed": each.passed, "attempts": each.attempts} for each in exercises
        ]
        for unit, exercises in found.items()
    }
    lines = []
    for unit, exercises in found.items():
        lines.append(f"{unit}: {sum(each.passed for each in exercises)} of {len(exercises)}")
        lines += [f"  {'x' if each.passed else ' '} {each.id} ({each.stream})  {each.task}" for each in exercises]
    context.emit(facts, words=lambda: "\n".join(lines), as_json=files.json)


COMMAND = Command(name="course progress", summary="Show which exercises are done.", run=run, files=ProgressFiles)
