"""Every unit: it runs, its student build is stubs, every check passes its solution and fails what it must fail."""

import functools
import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from cryowalk.course import build
from cryowalk.course.exercise import exercises, explanations
from cryowalk.course.verdict import as_numbers

HERE = Path(__file__).parent
UNITS = build.unit_sources()
SEEDS = ("0", "1", "2", "3")
SECONDS_LIMIT = 60.0

every_unit = pytest.mark.parametrize("unit", sorted(UNITS))


@functools.cache
def run_of(unit: str) -> dict:
    """The report of one run of the unit; every test of it looks at the same one."""
    with tempfile.TemporaryDirectory() as scratch:
        environment = os.environ | {"CRYOWALK_COURSE_DIRECTORY": scratch, "OMP_NUM_THREADS": "1", "HOME": scratch}
        flags = ["-W", "error::UserWarning", "-W", "error::RuntimeWarning"]
        command = [sys.executable, *flags, str(HERE / "unit_runner.py"), str(UNITS[unit]), *SEEDS]
        done = subprocess.run(command, capture_output=True, text=True, timeout=400, env=environment, cwd=scratch)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.rstrip().rpartition("\n")[2])


@functools.cache
def wrong_answers(unit: str) -> dict:
    path = HERE / "wrong_answers" / f"{unit.lower()}.py"
    specification = importlib.util.spec_from_file_location(f"wrong_answers_{unit}", path)
    assert specification is not None, f"{path} is missing"
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.WRONG


def value_of(wrong, seed: int):
    return wrong(seed) if inspect.isfunction(wrong) and list(inspect.signature(wrong).parameters) == ["seed"] else wrong


def refused(asked, answer, seed: int):
    """The message with which the check refuses an answer; an untouched stub raises instead."""
    try:
        verdict = asked.check(answer, seed)
    except NotImplementedError as stub:
        return str(stub)
    assert not verdict.passed, f"{asked.id} accepts a wrong answer"
    return verdict.message


@pytest.mark.slow
@every_unit
def test_unit_runs_within_its_time_and_without_network(unit):
    report = run_of(unit)
    assert report["errors"] == []
    assert report["seconds"] < SECONDS_LIMIT


@pytest.mark.slow
@every_unit
def test_every_exercise_is_solved_in_its_unit_for_every_learner(unit):
    for seed, verdicts in run_of(unit)["verdicts"].items():
        failed = [(name, message) for name, passed, message in verdicts if not passed]
        assert failed == [], f"seed {seed}"
        assert {name for name, _, _ in verdicts} == {asked.id for asked in exercises(unit)}, f"seed {seed}"


@pytest.mark.slow
@every_unit
def test_the_blur_path_runs_alone(unit):
    assert run_of(unit)["blur"] == []


@pytest.mark.slow
@every_unit
def test_every_student_exercise_cell_is_a_stub(unit):
    stubs = run_of(unit)["stubs"]
    odd = {name: results for name, results in stubs.items() if set(results) != {"stub"}}
    assert odd == {}
    assert {asked.id for asked in exercises(unit)} <= set(stubs)


@pytest.mark.slow
@every_unit
def test_widgets_draw_at_their_extremes(unit):
    assert [problem for problem in run_of(unit)["explorations"] if problem] == []


@every_unit
def test_every_wrong_answer_and_the_empty_stub_fail(unit):
    def stub(*args):
        raise NotImplementedError("your answer")

    wrong = wrong_answers(unit)
    assert set(wrong) == {asked.id for asked in exercises(unit)}
    for asked in exercises(unit):
        assert len(wrong[asked.id]) >= 2, f"{asked.id} needs two wrong answers"
        for seed in map(int, SEEDS):
            for empty in (None, ..., "", stub):
                refused(asked, empty, seed)
            for name, answer in wrong[asked.id].items():
                message = refused(asked, value_of(answer, seed), seed)
                for shown in printed_forms(asked, seed):
                    assert not holds(message, shown), f"{asked.id}, {name}: the message holds the answer"


def printed_forms(asked, seed: int) -> set[str]:
    """How the expected value could appear in a text; values too short to be telling are left out."""
    expected = getattr(asked.check, "expected", None)
    if expected is None:
        return set()
    if isinstance(expected, str):
        return {expected}
    if isinstance(expected, tuple) and all(isinstance(part, str) for part in expected):
        return {part for part in expected if len(part) > 5}
    numbers = as_numbers(expected(seed) if callable(expected) else expected)
    forms = set()
    for number in np.ravel(numbers):
        if np.iscomplexobj(number) or not np.isfinite(number):
            continue
        forms |= {f"{number:.4g}", f"{number:.6g}", f"{number:.3f}", repr(float(number))}
    return {form for form in forms if len(form.strip("-0.")) >= 3}


def holds(text: str, form: str) -> bool:
    """Whether a text shows a value as a word of its own."""
    return re.search(rf"(?<![\d.]){re.escape(form)}(?![\d])", text) is not None


@every_unit
def test_hints_are_three_and_hold_no_answer(unit):
    for asked in exercises(unit):
        assert len(asked.hints) >= 2, asked.id
        assert asked.task.endswith((".", "?")), asked.id
        for hint in asked.hints:
            for form in printed_forms(asked, 0):
                assert not holds(hint, form), f"{asked.id}: a hint holds the answer"


@every_unit
def test_model_answers_hold_their_rubric(unit):
    for item in explanations(unit):
        assert 3 <= len(item.rubric) <= 6, item.id
        assert [word for word in item.rubric if word.casefold() not in item.model_answer.casefold()] == [], item.id


@every_unit
def test_a_unit_has_the_form_of_a_unit(unit):
    cells = build.read_cells(UNITS[unit])
    assert cells[0]["source"].startswith(f"# {unit} ")
    tags = {tag for cell in cells for tag in cell["tags"]}
    assert {"blur", "sharpen", "predict"} <= tags
    assert tags <= {"blur", "sharpen", "predict", "solution"}
    text = "\n".join(cell["source"] for cell in cells)
    for word in ("%pip", "!pip", "wget", "urllib", "/home/", "/work/"):
        assert word not in text, f"{unit} must not hold {word!r}"
    headings = set(re.findall(rf"### Exercise ({unit}\.\w+) · ", text))
    assert headings == {asked.id for asked in exercises(unit)}
    assert {asked.stream for asked in exercises(unit)} == {"blur", "sharpen"}
    assert 3 <= len(exercises(unit)) <= 8
