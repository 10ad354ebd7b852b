"""What a check answers, and the ready-made checks: a number, a choice, a quiz, a property.

A check is a function of the learner's answer and the learner's seed. Its message may say what kind of mistake it sees,
never what the right answer is.
"""

import html
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether an answer passed, and one or two friendly sentences; a notebook shows it as the value of the cell."""

    passed: bool
    message: str

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return f"{'✔' if self.passed else '✘'} {self.message}"

    def _repr_html_(self) -> str:
        colour, mark = ("#1b7f4b", "✔") if self.passed else ("#a4480f", "✘")
        body = html.escape(self.message).replace("\n", "<br>")
        style = f"border-left:4px solid {colour};padding:.4em .8em"
        return f'<div style="{style}"><span style="color:{colour};font-weight:bold">{mark}</span> {body}</div>'


Check = Callable[[Any, int], Verdict]

PASSED = "Right."
_NO_ANSWER = "There is no answer here yet."
_NOT_A_NUMBER = "I expected numbers here, and could not read your answer as numbers."
_MISSING = (None, ..., "")


def is_missing(answer: object) -> bool:
    """Whether the learner has not answered yet (None, `...` or an empty text)."""
    return any(answer is nothing for nothing in _MISSING[:2]) or (isinstance(answer, str) and not answer.strip())


def as_numbers(answer: Any) -> np.ndarray | None:
    """The answer as an array of numbers, or None if it cannot be one; tensors, tuples and number-like texts are welcome."""
    if isinstance(answer, str):
        try:
            answer = complex(answer.replace(" ", "").replace("i", "j"))
        except ValueError:
            return None
        answer = answer if answer.imag else answer.real
    if callable(getattr(answer, "detach", None)):
        answer = answer.detach().cpu().numpy()
    try:
        numbers = np.asarray(answer)
        numbers = numbers.astype(complex if np.iscomplexobj(numbers) else float)
    except (TypeError, ValueError):
        return None
    return numbers


def number_check(
    expected: Any, *, relative: float = 1e-6, absolute: float = 0.0, success: str = PASSED, wrong: str = "Not yet."
) -> Check:
    """A check of one number or several against `expected`: a value, or a function of the learner's seed that returns it.

    An answer x passes where |x − expected| ≤ absolute + relative · |expected|, for every number. Infinities must be equal.
    """

    def check(answer: Any, seed: int) -> Verdict:
        if is_missing(answer):
            return Verdict(passed=False, message=_NO_ANSWER)
        numbers = as_numbers(answer)
        if numbers is None:
            return Verdict(passed=False, message=_NOT_A_NUMBER)
        truth = as_numbers(expected(seed) if callable(expected) else expected)
        if truth is None:
            raise TypeError("number_check: the expected answer is not numeric")
        if numbers.size != truth.size:
            return Verdict(passed=False, message=f"I expected {truth.size} number(s) and found {numbers.size}.")
        numbers, truth = numbers.reshape(-1), truth.reshape(-1)
        if np.isnan(numbers).any():
            return Verdict(passed=False, message="Your answer holds a NaN: a division of zero by zero, or a missing value.")
        if np.allclose(numbers, truth, rtol=relative, atol=absolute):
            return Verdict(passed=True, message=success)
        return Verdict(
            passed=False, message=f"{wrong} {_kind_of_mistake(numbers, truth, relative=relative, absolute=absolute)}".strip()
        )

    check.expected = expected  # type: ignore[attr-defined]
    return check


def _kind_of_mistake(numbers: np.ndarray, truth: np.ndarray, *, relative: float, absolute: float) -> str:
    def close(first: np.ndarray) -> bool:
        return bool(np.allclose(first, truth, rtol=max(relative, 1e-3), atol=absolute))

    if close(-numbers):
        return "The size is right, but look at the sign."
    if numbers.size > 1 and close(numbers[::-1]):
        return "The numbers are right, but in the opposite order."
    right = np.isclose(numbers, truth, rtol=relative, atol=absolute)
    if right.any():
        wrong_places = ", ".join(str(i + 1) for i in np.flatnonzero(~right)[:5])
        return f"Part of it is right; look again at number {wrong_places}."
    if np.isfinite(truth).all() and np.all(truth != 0):
        ratio = np.abs(numbers / truth)
        if np.all(ratio > 30) or np.all(ratio < 1 / 30):
            return "The order of magnitude is far off: are the units the ones asked for?"
    return ""


def choice_check(correct: str | Iterable[str], *, feedback: Mapping[str, str] | None = None, success: str = PASSED) -> Check:
    """A check of a chosen option (upper or lower case alike); `feedback` has a sentence for each tempting wrong option.

    `correct` is one option, or a set of options that all must be chosen.
    """
    right = {correct.casefold()} if isinstance(correct, str) else {option.casefold() for option in correct}

    def check(answer: Any, seed: int) -> Verdict:
        if is_missing(answer):
            return Verdict(passed=False, message=_NO_ANSWER)
        chosen = {answer} if isinstance(answer, str) else set(answer) if isinstance(answer, Iterable) else {str(answer)}
        chosen = {str(option).strip().casefold() for option in chosen}
        if chosen == right:
            return Verdict(passed=True, message=success)
        reasons = [text for option, text in (feedback or {}).items() if option.casefold() in chosen - right]
        if len(right) > 1 and not chosen - right:
            reasons.append("What you chose is right, but something is missing.")
        return Verdict(passed=False, message=" ".join(reasons) or "Not this one.")

    return check


def matching_check(pairs: Mapping[str, str], *, success: str = PASSED) -> Check:
    """A check of a matching board: the answer is a mapping with the same keys; it says how many pairs are right, not which."""

    def check(answer: Any, seed: int) -> Verdict:
        if is_missing(answer) or not isinstance(answer, Mapping):
            return Verdict(passed=False, message=f"{_NO_ANSWER} I expected a dictionary with {len(pairs)} entries.")
        absent = [key for key in pairs if is_missing(answer.get(key))]
        if absent:
            return Verdict(passed=False, message=f"Still without a partner: {', '.join(absent)}.")
        right = sum(str(answer[key]).strip().casefold() == partner.casefold() for key, partner in pairs.items())
        if right == len(pairs):
            return Verdict(passed=True, message=success)
        return Verdict(passed=False, message=f"{right} of {len(pairs)} pairs fit.")

    return check


def property_check(holds: Callable[[Any, int], str | bool | None], *, success: str = PASSED) -> Check:
    """A check by a property: `holds(answer, seed)` returns None (or True) when it holds, else a sentence on what fails.

    The answer is often a function that the learner wrote; what it raises becomes the message, except NotImplementedError
    (an untouched stub), which is passed on.
    """

    def check(answer: Any, seed: int) -> Verdict:
        if is_missing(answer):
            return Verdict(passed=False, message=_NO_ANSWER)
        try:
            problem = holds(answer, seed)
        except NotImplementedError:
            raise
        except Exception as error:  # noqa: BLE001 (the learner's own code runs here, and may raise anything)
            return Verdict(passed=False, message=f"Your answer stopped with {type(error).__name__}: {error}")
        if problem is None or problem is True:
            return Verdict(passed=True, message=success)
        return Verdict(passed=False, message=problem if isinstance(problem, str) else "Not yet.")

    return check


def quiz_check(items: Mapping[str, Iterable[str]]) -> Check:
    """A check that every item of a self-test is answered with one of its options; it does not grade."""

    def check(answer: Any, seed: int) -> Verdict:
        if is_missing(answer) or not isinstance(answer, Mapping):
            return Verdict(passed=False, message=f"{_NO_ANSWER} I expected a dictionary with {len(items)} entries.")
        open_items = [name for name in items if is_missing(answer.get(name))]
        if open_items:
            return Verdict(passed=False, message=f"Still open: {', '.join(open_items)}.")
        odd = [name for name, options in items.items() if str(answer[name]) not in {str(option) for option in options}]
        if odd:
            return Verdict(passed=False, message=f"Not one of the offered options: {', '.join(odd)}.")
        return Verdict(passed=True, message="Stored. Nothing is graded: this tells you where to brush up.")

    return check
