"""What `cryowalk course list | open | check | progress` do, as functions with plain return values."""

import ast
import json
import pkgutil
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryowalk.core.errors import EnvironmentFault, UsageError
from cryowalk.course import build, checks, store
from cryowalk.course.exercise import Exercise, check, exercise, exercises
from cryowalk.course.verdict import Verdict
from cryowalk.io.atomic import atomic_write_text

_SECONDS_LIMIT = 300
_UNIT = re.compile(r"U\d\d")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitSummary:
    """One unit as the list shows it: how many of its exercises there are and how many this learner has passed."""

    id: str
    title: str
    question: str
    source: Path
    notebook: Path
    exercises: tuple[str, ...]
    passed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedUnit:
    """The learner's own copy of a unit; `is_new` tells whether it was made now; `command` opens it in JupyterLab."""

    unit: str
    path: Path
    is_new: bool
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExerciseStatus:
    """One exercise of this learner: what it asks, whether it is passed, after how many attempts."""

    id: str
    stream: str
    task: str
    passed: bool
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitReport:
    """What checking a whole unit found: the verdicts of this run, the status of every exercise, and what went wrong in other cells."""

    unit: str
    notebook: Path | None
    verdicts: tuple[tuple[str, Verdict], ...]
    exercises: tuple[ExerciseStatus, ...]
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every exercise of the unit is passed."""
        return all(item.passed for item in self.exercises)


def units() -> tuple[UnitSummary, ...]:
    """The units that exist, in order."""
    record = store.read()["exercises"]
    return tuple(_summary(name, source, record) for name, source in build.unit_sources().items())


def _summary(name: str, source: Path, record: dict[str, Any]) -> UnitSummary:
    title, question = _opening(source)
    known = _exercises(name)
    return UnitSummary(
        id=name,
        title=title,
        question=question,
        source=source,
        notebook=build.notebook_path(source),
        exercises=tuple(item.id for item in known),
        passed=sum(bool(record.get(item.id, {}).get("passed")) for item in known),
    )


def _opening(source: Path) -> tuple[str, str]:
    """The title of a unit and the first paragraph below it, read without jupytext so that the list is quick."""
    lines: list[str] = []
    seen = False
    for line in source.read_text(encoding="utf-8").splitlines():
        if line.startswith("# %%"):
            if seen:
                break
            seen = "[markdown]" in line
        elif seen:
            lines.append(line.removeprefix("#").strip())
    text = "\n".join(lines)
    title = next((line.removeprefix("# ").strip() for line in lines if line.startswith("# ")), source.stem)
    paragraphs = [part.strip().replace("\n", " ") for part in text.split("\n\n")]
    question = next((part for part in paragraphs if part and not part.startswith(("#", "<"))), "")
    return title.partition(" ")[2] if _UNIT.match(title) else title, question.replace("**", "").removeprefix("Question").lstrip(
        ".: "
    )


def _exercises(unit: str) -> tuple[Exercise, ...]:
    try:
        return exercises(unit)
    except UsageError:
        return ()


def open_unit(unit: str, *, directory: Path | None = None, solved: bool = False) -> OpenedUnit:
    """The learner's own copy of a unit, made in `directory` (default: here) unless it is there already: work is never overwritten.

    `solved` makes a copy with the solutions instead, beside the learner's own.

    Raises
    ------
    UsageError
        If there is no such unit.
    """
    source = build.unit_source(unit.upper())
    folder = Path.cwd() if directory is None else directory
    path = (folder / f"{source.stem}{'_solved' if solved else ''}.ipynb").absolute()
    is_new = not path.exists()
    if is_new:
        text = build.solved_notebook(source) if solved else _student_text(source)
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, text)
    if not solved:
        store.update(lambda record: record.setdefault("opened", {}).update({unit.upper(): str(path)}))
    return OpenedUnit(unit=unit.upper(), path=path, is_new=is_new, command=("jupyter", "lab", str(path)))


def _student_text(source: Path) -> str:
    ready = build.notebook_path(source)
    return ready.read_text(encoding="utf-8") if ready.is_file() else build.student_notebook(source)


def check_answer(exercise_id: str, answer: str) -> Verdict:
    """The verdict on an answer typed as text: a number, a tuple or a dictionary in Python's notation, or the text itself.

    Raises
    ------
    UsageError
        If there is no such exercise, or if its answer is code, which only the notebook can check.
    """
    exercise_id = exercise_id[:1].upper() + exercise_id[1:]
    asked = exercise(exercise_id)
    if asked.kind in {"code", "debug"}:
        raise UsageError(
            f"the answer to {exercise_id} is code", fix=f"check it in the notebook: cryowalk course open {asked.unit}"
        )
    try:
        value = ast.literal_eval(answer)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = answer
    if asked.kind == "symbolic" and not isinstance(value, dict):
        value = answer
    return check(exercise_id, value)


def check_unit(unit: str, *, notebook: Path | None = None) -> UnitReport:
    """What every check of the learner's notebook says; without a notebook, the status of the unit's exercises.

    The notebook is the one given, else the copy that `open_unit` made. Its cells run in a process of their own.

    Raises
    ------
    UsageError
        If there is no such unit.
    EnvironmentFault
        If the notebook runs for longer than five minutes or its process breaks.
    """
    unit = unit.upper()
    build.unit_source(unit)
    if notebook is None:
        opened = store.read().get("opened", {}).get(unit)
        notebook = Path(opened) if opened and Path(opened).is_file() else None
    if notebook is None:
        return UnitReport(unit=unit, notebook=None, verdicts=(), exercises=_status(unit), problems=())
    record = _run_apart(notebook)
    verdicts = tuple((name, Verdict(passed=passed, message=message)) for name, passed, message in record["verdicts"])
    waiting = dict.fromkeys(stub.removeprefix("your answer to ") for stub in record["stubs"])
    problems = [f"still open: {', '.join(waiting)}"] if waiting else []
    return UnitReport(
        unit=unit, notebook=notebook, verdicts=verdicts, exercises=_status(unit), problems=(*problems, *record["errors"])
    )


def _run_apart(notebook: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "cryowalk.course.run", str(notebook)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS_LIMIT, check=False)
    except subprocess.TimeoutExpired as error:
        raise EnvironmentFault(f"the notebook ran for more than {_SECONDS_LIMIT} s and was stopped", file=notebook) from error
    try:
        return dict(json.loads(done.stdout.rstrip().rpartition("\n")[2]))
    except ValueError as error:
        last = done.stderr.strip().rpartition("\n")[2]
        raise EnvironmentFault("the notebook could not be run", file=notebook, cause=last) from error


def progress() -> dict[str, tuple[ExerciseStatus, ...]]:
    """The status of every exercise of every unit, by unit; it needs no repository."""
    names = sorted(module.name.upper() for module in pkgutil.iter_modules(checks.__path__))
    return {name: _status(name) for name in names}


def _status(unit: str) -> tuple[ExerciseStatus, ...]:
    record = store.read()["exercises"]
    return tuple(
        ExerciseStatus(
            id=item.id,
            stream=item.stream,
            task=item.task,
            passed=bool(record.get(item.id, {}).get("passed")),
            attempts=int(record.get(item.id, {}).get("attempts", 0)),
        )
        for item in _exercises(unit)
    )
