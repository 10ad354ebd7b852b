"""`cryowalk course check`: the checks of a unit's notebook, or of one answer."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.core.errors import UsageError

if TYPE_CHECKING:
    from cryowalk.course.catalogue import UnitReport


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFiles:
    """What to check."""

    what: Annotated[str, "a unit (U05: runs your notebook) or an exercise (U05.1, with an answer)", "UNIT-OR-EXERCISE"]
    answer: Annotated[str | None, "the answer to an exercise", "ANSWER"] = None
    notebook: Annotated[Path | None, "your notebook, if `course open` did not make it"] = None
    json: Annotated[bool, "print JSON"] = False


def run(files: CheckFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the verdicts are printed.

    Raises
    ------
    UsageError
        If an exercise is named without an answer.
    """
    from cryowalk.course import check_answer, check_unit

    if re.fullmatch(r"[Uu]\d\d", files.what):
        report = check_unit(files.what, notebook=files.notebook)
        context.emit(_facts(report), words=lambda: _words(report), as_json=files.json)
        return
    if files.answer is None:
        raise UsageError(f"{files.what} needs an answer", fix=f"cryowalk course check {files.what} ANSWER")
    verdict = check_answer(files.what, files.answer)
    facts = {"exercise": files.what, "passed": verdict.passed, "message": verdict.message}
    context.emit(
        facts, words=lambda: f"{files.what}: {'passed' if verdict.passed else 'not yet'}. {verdict.message}", as_json=files.json
    )


def _facts(report: "UnitReport") -> dict[str, Any]:
    return {
        "unit": report.unit,
        "passed": report.passed,
        "verdicts": [
            {"exercise": name, "passed": verdict.passed, "message": verdict.message} for name, verdict in report.verdicts
        ],
        "exercises": [{"exercise": each.id, "passed": each.passed, "attempts": each.attempts} for each in report.exercises],
        "problems": list(report.problems),
    }


def _words(report: "UnitReport") -> str:
    lines = [f"{report.unit}: {report.notebook or 'no notebook yet; cryowalk course open ' + report.unit}"]
    lines += [f"  {name}: {'passed' if verdict.passed else 'not yet'}. {verdict.message}" for name, verdict in report.verdicts]
    lines += [f"  {problem}" for problem in report.problems]
    done = sum(each.passed for each in report.exercises)
    return "\n".join([*lines, f"  {done} of {len(report.exercises)} exercises passed"])


COMMAND = Command(name="course check", summary="Check answers of a unit or an exercise.", run=run, files=CheckFiles)
