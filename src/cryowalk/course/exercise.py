"""Exercises that check themselves: `check`, `hints`, `parameters`, `predict`, `prediction` and `explain`.

How to write exercises and units: docs/guide/course.md. The exercises of unit U05 live in `cryowalk.course.checks.u05` as a tuple
EXERCISES (and, where the unit asks for an explanation in the learner's own words, a tuple EXPLANATIONS).
"""

import hashlib
import marshal
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import CodeType
from typing import Any, Literal

from cryowalk.core.errors import UsageError
from cryowalk.course import store
from cryowalk.course.symbols import derivation_check, symbolic_check
from cryowalk.course.verdict import (
    Check,
    Verdict,
    as_numbers,
    choice_check,
    is_missing,
    matching_check,
    number_check,
    property_check,
    quiz_check,
)

__all__ = [
    "Check",
    "Exercise",
    "Explanation",
    "Verdict",
    "as_numbers",
    "check",
    "choice_check",
    "derivation_check",
    "draw",
    "exercise",
    "exercises",
    "explain",
    "explanations",
    "hints",
    "is_missing",
    "matching_check",
    "number_check",
    "parameters",
    "predict",
    "prediction",
    "property_check",
    "quiz_check",
    "symbolic_check",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exercise:
    """One exercise: what it asks, how an answer is checked, and hints from gentle to nearly there."""

    id: str
    stream: Literal["blur", "sharpen"]
    kind: Literal["numeric", "predict", "quiz", "code", "debug", "symbolic", "design", "explain"]
    task: str
    check: Check
    hints: tuple[str, ...]
    # The learner's own numbers as a function of the learner's seed (draw them with `draw`).
    parameters: Callable[[int], Mapping[str, Any]] | None = None

    @property
    def unit(self) -> str:
        """The unit that the exercise belongs to, such as U05."""
        return self.id.partition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A question to answer in one's own words; the model answer is shown after the learner's text is stored, and holds the rubric."""

    id: str
    question: str
    rubric: tuple[str, ...]
    model_answer: str


def draw(seed: int, exercise_id: str) -> random.Random:
    """A random generator for one exercise of one learner; the same on every machine and in every Python."""
    return random.Random(f"{seed}:{exercise_id}")


def exercises(unit: str) -> tuple[Exercise, ...]:
    """The exercises of a unit such as U05, in order; none where the unit has no checks."""
    return tuple(getattr(_checks(unit), "EXERCISES", ()))


def explanations(unit: str) -> tuple[Explanation, ...]:
    """The questions of a unit that are answered in one's own words."""
    return tuple(getattr(_checks(unit), "EXPLANATIONS", ()))


def exercise(exercise_id: str) -> Exercise:
    """The exercise of that name.

    Raises
    ------
    UsageError
        If there is none.
    """
    unit = exercise_id.partition(".")[0]
    known = exercises(unit)
    for candidate in known:
        if candidate.id == exercise_id:
            return candidate
    names = ", ".join(candidate.id for candidate in known) or "no exercises"
    raise UsageError(
        f"there is no exercise {exercise_id!r}", expected=f"one of {names}", fix="write it as in the heading, such as U03.1"
    )


def parameters(exercise_id: str, *, seed: int | None = None) -> dict[str, Any]:
    """The learner's own numbers for an exercise, by name; the seed is the learner's unless given."""
    asked = exercise(exercise_id)
    if asked.parameters is None:
        raise UsageError(f"exercise {exercise_id} has no numbers of its own")
    return dict(asked.parameters(_seed(seed)))


def check(exercise_id: str, answer: Any, *, seed: int | None = None) -> Verdict:
    """The verdict on an answer; a failed one brings a hint that grows with the attempts and never the answer.

    The attempt is recorded in the learner's progress file. A passed exercise stays passed.
    """
    asked = exercise(exercise_id)
    if isinstance(answer, Prediction):
        answer = answer.answer
    if is_missing(answer):
        return Verdict(passed=False, message=f"{exercise_id}: there is no answer here yet.")
    verdict = asked.check(answer, _seed(seed))
    mark = _fingerprint(answer)

    def record_attempt(record: store.Record) -> None:
        entry = record["exercises"].setdefault(exercise_id, {"attempts": 0, "passed": False})
        if entry.get("answer") != mark:
            # The same answer again, as when a notebook is run from the top, costs no hint.
            entry["attempts"] = int(entry.get("attempts", 0)) + 1
        entry["answer"] = mark
        entry["last"] = store.now()
        if verdict.passed:
            entry["passed"] = True
        if asked.kind == "quiz" and verdict.passed:
            record["answers"][exercise_id] = _plain(answer)

    record = store.update(record_attempt)
    attempts = record["exercises"][exercise_id]["attempts"]
    if verdict.passed:
        shown = Verdict(passed=True, message=f"{exercise_id}: {verdict.message}")
    else:
        shown = Verdict(passed=False, message=f"{exercise_id}: {verdict.message}" + _hint(asked, attempts))
    _recent.append((exercise_id, shown))
    return shown


_recent: list[tuple[str, Verdict]] = []


def recent_verdicts() -> tuple[tuple[str, Verdict], ...]:
    """The verdicts given in this process, oldest first."""
    return tuple(_recent)


def hints(exercise_id: str) -> str:
    """The hints that the attempts so far have earned, and always the first one."""
    asked = exercise(exercise_id)
    attempts = store.read()["exercises"].get(exercise_id, {}).get("attempts", 0)
    shown = asked.hints[: max(1, attempts)]
    left = len(asked.hints) - len(shown)
    lines = [f"{number}. {hint}" for number, hint in enumerate(shown, 1)]
    return "\n".join(
        [*lines, f"({left} more after the next tries.)" if left else "(That was the last one; then unfold the solution.)"]
    )


def _hint(asked: Exercise, attempts: int) -> str:
    if not asked.hints:
        return ""
    number = min(attempts, len(asked.hints))
    return f"\nHint {number} of {len(asked.hints)}: {asked.hints[number - 1]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A stored prediction; `answer` is what was predicted."""

    name: str
    answer: Any

    def __repr__(self) -> str:
        return f"Stored for {self.name}: {self.answer!r}. Now run on and see."


def predict(name: str, answer: Any, *, options: Iterable[str] | None = None) -> Prediction:
    """The prediction, stored before the next cell shows what happens; the first one is kept beside later ones.

    Raises
    ------
    UsageError
        If there is no answer yet, or if it is not one of the options.
    """
    if is_missing(answer):
        raise UsageError(f"{name}: no prediction yet", fix="a guess is enough; it is stored, not graded")
    offered = None if options is None else [str(option) for option in options]
    if offered is not None and str(answer) not in offered:
        raise UsageError(f"{name}: {answer!r} is not one of the options", expected=", ".join(offered))

    def record_prediction(record: store.Record) -> None:
        entry = record["predictions"].setdefault(name, {"first": _plain(answer), "at": store.now()})
        entry["latest"] = _plain(answer)

    store.update(record_prediction)
    return Prediction(name=name, answer=answer)


class PredictionMissingError(UsageError):
    """A cell that shows an outcome was run before the prediction was made."""


def prediction(name: str) -> Any:
    """The learner's latest prediction of that name; the cells that show the outcome begin with this call.

    Raises
    ------
    PredictionMissingError
        If nothing was predicted yet.
    """
    entry = store.read()["predictions"].get(name)
    if entry is None:
        raise PredictionMissingError(
            f"{name}: predict first", cause="the cell above with predict(...) was not run", fix="commit to a guess there"
        )
    return entry["latest"]


def explain(name: str, text: str, *, rubric: Iterable[str] | None = None, model_answer: str | None = None) -> Verdict:
    """A verdict that shows which ideas of the rubric the learner's text names, and the model answer; it never blocks.

    The text is stored first. Rubric and model answer come from the unit's EXPLANATIONS unless given.
    """
    if is_missing(text):
        return Verdict(passed=False, message=f"{name}: write two or three sentences first; they are stored, not graded.")
    if rubric is None or model_answer is None:
        known = {item.id: item for item in explanations(name.partition(".")[0])}
        if name not in known:
            raise UsageError(f"there is no question {name!r} to explain", expected=", ".join(known) or "none in this unit")
        rubric, model_answer = known[name].rubric, known[name].model_answer

    def record_text(record: store.Record) -> None:
        record["explanations"][name] = {"text": text, "at": store.now()}

    store.update(record_text)
    folded = text.casefold()
    named = [word for word in rubric if word.casefold() in folded]
    absent = [word for word in rubric if word.casefold() not in folded]
    lines = [f"{name}: stored. You named {', '.join(named) if named else 'none of the key words yet'}."]
    if absent:
        lines.append(f"Others would also mention: {', '.join(absent)}.")
    lines.append(f"One way to say it: {model_answer}")
    return Verdict(passed=True, message="\n".join(lines))


def _seed(seed: int | None) -> int:
    return store.learner_seed() if seed is None else seed


def _fingerprint(answer: Any) -> str:
    """A short mark that tells two answers apart; a function is known by its code."""
    code = getattr(answer, "__code__", None)
    content = (
        marshal.dumps(code.replace(co_filename="", co_firstlineno=1)) if isinstance(code, CodeType) else repr(answer).encode()
    )
    return hashlib.sha256(content).hexdigest()[:16]


def _plain(value: Any) -> Any:
    """The value as JSON can hold it."""
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return repr(value)


def _checks(unit: str) -> Any:
    name = f"cryowalk.course.checks.{unit.lower()}"
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise UsageError(f"there is no unit {unit!r} with exercises", fix="`cryowalk course list` shows the units") from error
