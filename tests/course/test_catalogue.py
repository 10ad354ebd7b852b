"""What the command line calls: list, open, check, progress."""

import json
import os

import pytest

import cryowalk as cw
from cryowalk.core.errors import EnvironmentFault, InputError, UsageError
from cryowalk.course import build, run

needs_a_unit = pytest.mark.skipif("U03" not in build.unit_sources(), reason="unit U03 is not there")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYOWALK_COURSE_DIRECTORY", str(tmp_path / "data"))
    monkeypatch.setenv("CRYOWALK_COURSE_SEED", "0")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_every_unit_is_listed_with_title_and_question():
    listed = cw.course.units()
    assert [unit.id for unit in listed] == sorted(build.unit_sources())
    for unit in listed:
        assert len(unit.title) > 5
        assert not unit.title.startswith("U")
        assert unit.question.endswith("?"), f"{unit.id}: the first paragraph of a unit is its question"
        assert unit.exercises
        assert unit.passed == 0


@needs_a_unit
def test_open_never_overwrites(tmp_path):
    first = cw.course.open_unit("u03", directory=tmp_path)
    assert first.is_new
    assert first.path.is_file()
    first.path.write_text("my work")
    again = cw.course.open_unit("U03", directory=tmp_path)
    assert not again.is_new
    assert again.path.read_text() == "my work"
    solved = cw.course.open_unit("U03", directory=tmp_path, solved=True)
    assert solved.path.name.endswith("_solved.ipynb")
    assert "NotImplementedError" not in solved.path.read_text()


def test_unknown_unit_is_told(tmp_path):
    for call in (lambda: cw.course.open_unit("U77", directory=tmp_path), lambda: cw.course.check_unit("U77")):
        with pytest.raises(UsageError, match="no unit 'U77'"):
            call()


@needs_a_unit
def test_typed_answers_are_checked_and_counted():
    assert not cw.course.check_answer("U03.1", "17").passed
    assert cw.course.check_answer("U03.1", "1/128") is not None
    assert cw.course.check_answer("U03.1", "0.0078125").passed
    status = {item.id: item for item in cw.course.progress()["U03"]}
    assert status["U03.1"].passed
    assert status["U03.1"].attempts == 3
    assert cw.course.units()[list(build.unit_sources()).index("U03")].passed == 1
    with pytest.raises(UsageError, match="is code"):
        cw.course.check_answer("U03.7", "0")


@needs_a_unit
def test_status_without_a_notebook():
    report = cw.course.check_unit("U03")
    assert report.notebook is None
    assert not report.passed
    assert len(report.exercises) == 7


@needs_a_unit
@pytest.mark.slow
def test_a_learners_notebook_is_run_apart_and_its_stubs_are_listed(tmp_path):
    opened = cw.course.open_unit("U03", directory=tmp_path)
    content = json.loads(opened.path.read_text())
    for cell in content["cells"]:
        text = "".join(cell["source"])
        if 'check("U03.1"' in text:
            cell["source"] = ["from cryowalk.course import check\n", "%matplotlib inline\n", 'check("U03.1", 1 / 128)']
    opened.path.write_text(json.dumps(content))
    before = dict(os.environ)
    report = cw.course.check_unit("U03")
    assert dict(os.environ) == before
    assert [(name, verdict.passed) for name, verdict in report.verdicts] == [("U03.1", True)]
    assert [problem.partition(":")[0] for problem in report.problems] == ["still open"]
    assert "U03.2, U03.3" in report.problems[0]
    assert not report.passed


@needs_a_unit
def test_the_first_unit_needs_no_repository(monkeypatch):
    # As in Colab, where the package is installed without its repository.
    def missing():
        raise EnvironmentFault("no repository")

    monkeypatch.setattr(build, "repository_root", missing)
    board = cw.course.unit_map()
    assert "U03_fourier_1d.ipynb" in board._repr_html_()
    assert "U29 Capstone: gun to map (planned)" in repr(board)
    assert "U03  ○ ○ ○ ○ ○ ○ ○  0 of 7" in repr(cw.course.progress_board())
    with pytest.raises(EnvironmentFault):
        cw.course.open_unit("U03")


def test_a_file_that_is_no_notebook_is_told(tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_text("{}")
    with pytest.raises(InputError, match="not a readable notebook"):
        run.code_cells(path)


def test_a_cell_shows_its_last_value_and_skips_magics():
    shown = []

    class Shown:
        def _repr_html_(self):
            shown.append(1)
            return ""

    record, names = run.run_cells(["%matplotlib inline\nx = 2", "!ls\ny = x + 1"], keep_going=True)
    assert names["y"] == 3
    run.run_cell("value", {"value": Shown()}, name="cell")
    assert shown == [1]
    record, _ = run.run_cells(
        ["raise NotImplementedError('your answer to U00.1')", "1 / 0", "raise ValueError('v')"], keep_going=True
    )
    assert record.stubs == ["your answer to U00.1"]
    assert [error.partition(":")[2].split(":")[0].strip() for error in record.errors] == ["ZeroDivisionError", "ValueError"]
