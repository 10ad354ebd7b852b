"""Checks of U00: the tools, a first complex number, the self-test, and what makes a good check."""

from collections.abc import Callable, Mapping
from math import cos, pi, sin
from typing import Any

import numpy as np

from cryowalk.course.exercise import Exercise, Explanation, Verdict, draw, number_check, property_check, quiz_check

# The self-test: topic -> the letter that fits. Each question is in the unit; "?" is always allowed.
_SELF_TEST: Mapping[str, str] = {
    "calculus": "a",
    "trigonometry": "c",
    "linear algebra": "b",
    "statistics": "b",
    "summation": "d",
    "derivatives": "c",
    "chain rule": "a",
    "integrals": "d",
    "series": "b",
    "vectors": "a",
    "probability": "c",
    "combinations": "b",
    "random variables": "d",
    "modern physics": "a",
    "the specimen": "c",
}
_OPTIONS = ("a", "b", "c", "d", "?")
_all_answered = quiz_check(dict.fromkeys(_SELF_TEST, _OPTIONS))


def _self_test(answer: Any, seed: int) -> Verdict:
    verdict = _all_answered(answer, seed)
    if not verdict.passed:
        return verdict
    weak = [topic for topic, letter in _SELF_TEST.items() if str(answer[topic]) != letter]
    advice = f"Worth the refresher below: {', '.join(weak)}." if weak else "Nothing to brush up: walk on."
    return Verdict(passed=True, message=f"Stored; nothing is graded. {advice}")


def _turns(answer: Callable[[float], Any], seed: int) -> str | None:
    """Whether the learner's matrices are e^{ia}: they turn a vector as the phasor does, and multiply as phases add."""
    source = draw(seed, "U00.4")
    for _ in range(20):
        a, b = source.uniform(-pi, pi), source.uniform(-pi, pi)
        first, second, both = (np.asarray(answer(angle), dtype=float) for angle in (a, b, a + b))
        if first.shape != (2, 2):
            return f"I expected a 2 × 2 matrix and got the shape {first.shape}."
        turned = first @ np.array([1.0, 0.0])
        if abs(complex(*turned)) < 0.5 or not np.isclose(abs(complex(*turned)), 1.0):
            return "A rotation keeps lengths; the first column of yours is not of length one."
        if not np.allclose(turned, [cos(a), sin(a)], atol=1e-9):
            return "The vector (1, 0) does not go where e^{ia} points. Which way does it turn? Are the angles in radians?"
        if np.abs(first @ second - both).max() > 1e-12:
            return "R(a) R(b) is not R(a + b): the second column is not what multiplying by i e^{ia} gives."
    return None


def _tolerant(answer: Callable[[float, float], Any], seed: int) -> str | None:
    """Whether the learner's comparison accepts round-off and nothing more."""
    cases = (
        (0.1 + 0.2, 0.3, True, "0.1 + 0.2 should count as 0.3"),
        (0.3001, 0.3, False, "0.3001 is not 0.3"),
        (0.2999, 0.3, False, "0.2999 is not 0.3: is the difference taken without its sign?"),
        (-0.3, 0.3, False, "−0.3 is not 0.3"),
        (3e8 * (1 + 1e-15), 3e8, True, "300,000,000 with an error in the last bit should count: make the tolerance relative"),
        (2.1e-12, 2.0e-12, False, "2.1e-12 is 5 % away from 2.0e-12: an absolute tolerance alone is blind to small numbers"),
        (float("nan"), 0.3, False, "NaN is never right"),
    )
    for given, expected, right, sentence in cases:
        if bool(answer(given, expected)) is not right:
            return f"Not yet: {sentence}."
    return None


EXERCISES = (
    Exercise(
        id="U00.1",
        stream="blur",
        kind="predict",
        task="Where does the phasor point at the angle 3π/4?",
        check=number_check((cos(3 * pi / 4), sin(3 * pi / 4)), absolute=1e-3, relative=0.0),
        hints=(
            "A phasor has length one. Its tip is (x, y), and 3π/4 is three eighths of a full turn, counter-clockwise from +x.",
            "Three eighths of a turn lies between 'up' and 'left'. So which of x and y is negative?",
            "It lies on the diagonal, so |x| = |y|, and x² + y² = 1.",
        ),
    ),
    Exercise(
        id="U00.2",
        stream="blur",
        kind="numeric",
        task="The modulus and the phase (in radians) of 3 + 4i.",
        check=number_check((5.0, float(np.angle(3 + 4j))), absolute=1e-3, relative=0.0),
        hints=(
            "Draw the arrow from the origin to (3, 4). The modulus is its length, the phase its angle to the x axis.",
            "Pythagoras gives the length. The angle is the one whose tangent is y/x.",
            "np.arctan2(y, x) knows the quadrant and answers in radians. Is y the first argument?",
        ),
    ),
    Exercise(
        id="U00.3",
        stream="blur",
        kind="quiz",
        task="A self-test of fifteen items, to find what is worth brushing up.",
        check=_self_test,
        hints=(
            "Every topic needs a letter; '?' is a fine one where you do not know.",
            "The dictionary's keys are the topics, the values one of a, b, c, d, ?.",
        ),
    ),
    Exercise(
        id="U00.4",
        stream="sharpen",
        kind="code",
        task="Write multiplication by e^{ia} as a rotation matrix.",
        check=property_check(
            _turns, success="Right: complex numbers of modulus one and rotations of the plane are the same thing."
        ),
        hints=(
            "Multiply (x + iy) by (cos a + i sin a) on paper and sort into real and imaginary part.",
            "The first column is where (1, 0) goes, the second where (0, 1) goes, that is, where i goes.",
            "i e^{ia} = −sin a + i cos a. That is the second column.",
        ),
    ),
    Exercise(
        id="U00.5",
        stream="sharpen",
        kind="debug",
        task="Repair a check that compares floating-point numbers with ==.",
        check=property_check(_tolerant, success="Right: it forgives round-off, at any scale, and nothing else."),
        hints=(
            "Print 0.1 + 0.2 − 0.3. A check has to forgive a difference of that size.",
            "Compare the size of the difference with a tolerance, and let the tolerance grow with the expected value.",
            "Something like |answer − expected| ≤ relative · |expected|, with a relative tolerance between round-off and the 3e-4 of 0.3001.",
        ),
    ),
)

EXPLANATIONS = (
    Explanation(
        id="U00.words",
        question="Why is it worth predicting before you run a cell?",
        rubric=("commit", "surprise", "memory"),
        model_answer=(
            "Once you commit to a guess, a wrong one comes as a surprise, and the surprise shows which part of your picture to mend. "
            "Without a guess every result looks obvious afterwards, and little of it stays in memory."
        ),
    ),
)
