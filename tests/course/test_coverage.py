"""Every heading and question of the two seeds is mapped to a unit, and the units that exist carry an anchor where they answer it."""

import re
from pathlib import Path

import pytest
import yaml

from cryowalk.course import build
from cryowalk.course import coverage as coverage_text
from cryowalk.course.exercise import exercises

ROOT = build.repository_root()
SEEDS = ROOT.parent / "shared" / "seeds"
UNITS = build.unit_sources()
KINDS = ("headings", "questions", "implied")


@pytest.fixture(scope="module")
def coverage() -> dict:
    return yaml.safe_load((ROOT / "course" / "coverage.yaml").read_text())


@pytest.fixture(scope="module")
def seeds() -> tuple[str, str]:
    if not SEEDS.is_dir():
        pytest.skip("no seeds: ../shared/seeds is not beside the repository")
    return (SEEDS / "cryoEM-notebooks-readme.txt").read_text(), (SEEDS / "study-group-syllabus.txt").read_text()


def anchors_in(source: Path) -> list[str]:
    """The anchors in the markdown cells of a unit."""
    text = "\n".join(cell["source"] for cell in build.read_cells(source) if cell["type"] == "markdown")
    return re.findall(r'<a id="([^"]+)"></a>', text)


def test_anchors_are_kept_by_the_build_and_nothing_else_is_changed():
    text = "headings:\n- id: H01\n  title: x\n  anchor:\n  - U09#H01\n  units:\n  - U01\n  - U02\nunits:\n- id: U01\n- id: U02\n  headings:\n  - H01\n"
    once = coverage_text.refreshed(text, {"U02": '# <a id="H01"></a>'})
    assert yaml.safe_load(once) == {
        "headings": [{"id": "H01", "title": "x", "anchor": ["U02#H01"], "units": ["U01", "U02"]}],
        "units": [{"id": "U01"}, {"id": "U02", "headings": ["H01"]}],
        "planned": ["U01"],
    }
    assert coverage_text.refreshed(once, {"U02": '# <a id="H01"></a>'}) == once
    assert "anchor" not in coverage_text.refreshed(once, {})


def test_every_heading_of_the_first_seed_is_there_and_none_is_invented(coverage, seeds):
    found = [
        (n, len(m[1]), m[2].strip()) for n, line in enumerate(seeds[0].splitlines(), 1) if (m := re.match(r"(#+) (.*)", line))
    ]
    assert found == [(item["line"], item["level"], item["title"]) for item in coverage["headings"]]


def test_every_question_of_the_second_seed_is_there(coverage, seeds):
    flat = re.sub(r"\s+", " ", seeds[1])
    assert [item["id"] for item in coverage["questions"] if re.sub(r"\s+", " ", item["quote"]) not in flat] == []
    asked = 0
    for block in re.split(r"\n–Questions\n", seeds[1])[1:]:
        block = re.split(r"\n(?:\d+(?:\.\d+)+ |\d+ [A-Z]|–Pre-reading)", block)[0]
        asked += len(re.findall(r"^(?:\d+\.|-) ", block, re.MULTILINE))
    assert asked == len(coverage["questions"])


@pytest.mark.parametrize("kind", KINDS)
def test_items_and_units_name_each_other(coverage, kind):
    assert len({item["id"] for item in coverage[kind]}) == len(coverage[kind])
    for item in coverage[kind]:
        assert item["units"], item["id"]
        assert sorted(item["units"]) == sorted(unit["id"] for unit in coverage["units"] if item["id"] in unit[kind]), item["id"]
    known = {item["id"] for item in coverage[kind]}
    assert [name for unit in coverage["units"] for name in unit[kind] if name not in known] == []


def test_every_question_has_an_exercise_and_every_unit_its_streams(coverage):
    tasks = {exercise["id"]: exercise for unit in coverage["units"] for exercise in unit["exercises"]}
    for item in coverage["questions"]:
        assert item["exercises"], item["id"]
        assert set(item["exercises"]) <= set(tasks), item["id"]
    for unit in coverage["units"]:
        assert 3 <= len(unit["exercises"]) <= 8
        assert {exercise["stream"] for exercise in unit["exercises"]} == {"blur", "sharpen"}
        assert unit["run_s"] <= 60
        assert all(exercise["check"].strip() for exercise in unit["exercises"])


def test_other_duties_land_in_units(coverage):
    names = {unit["id"] for unit in coverage["units"]} | {"all"}
    for kind in ("other", "prose", "traps", "meetings"):
        for item in coverage[kind]:
            assert item["units"], item["id"]
            assert set(item["units"]) <= names, item["id"]


def test_planned_units_are_those_that_do_not_exist(coverage):
    assert coverage["planned"] == [unit["id"] for unit in coverage["units"] if unit["id"] not in UNITS]
    assert set(UNITS) <= {unit["id"] for unit in coverage["units"]}


@pytest.mark.parametrize("kind", KINDS)
def test_every_item_of_an_existing_unit_has_an_anchor_there(coverage, kind):
    for item in coverage[kind]:
        expected = [f"{unit}#{item['id']}" for unit in item["units"] if unit in UNITS]
        assert item.get("anchor", []) == expected, item["id"]
        for anchor in expected:
            unit, _, name = anchor.partition("#")
            assert anchors_in(UNITS[unit]).count(name) == 1, f'{UNITS[unit].name} needs <a id="{name}"></a> once'


@pytest.mark.parametrize("unit", sorted(UNITS))
def test_anchors_of_a_unit_are_items_that_it_answers(coverage, unit):
    names = {item["id"] for kind in KINDS for item in coverage[kind] if unit in item["units"]}
    assert set(anchors_in(UNITS[unit])) <= names


@pytest.mark.parametrize("unit", sorted(UNITS))
def test_exercises_of_a_unit_are_those_of_the_syllabus(coverage, unit):
    planned = next(item for item in coverage["units"] if item["id"] == unit)["exercises"]
    assert [(asked.id, asked.stream, asked.kind) for asked in exercises(unit)] == [
        (e["id"], e["stream"], e["kind"]) for e in planned
    ]
