"""The builds: student stubs without outputs, the same bytes each time; the committed notebooks are those of the units."""

import json
import re

import pytest

from cryowalk.core.errors import InputError
from cryowalk.course import build

UNIT = """# %% [markdown]
# # U90 A small unit
#
# **Question.** Does the builder build?

# %% tags=["blur"]
import math

# %% [markdown]
# ### Exercise U90.1 · A number

# %%
numbers = [1, 2]
# BEGIN SOLUTION
answer = sum(numbers)
# END SOLUTION
check("U90.1", answer)

# %% [markdown]
# ### Exercise U90.2 · A function

# %%
def double(x):
    # BEGIN SOLUTION
    return 2 * x
    # END SOLUTION

# %% [markdown] tags=["solution"]
# The answer is three.

# %% tags=["solution"]
print("three")
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "U90_small.py"
    path.write_text(UNIT)
    return path


def test_student_build_has_stubs_and_no_outputs(source):
    notebook = json.loads(build.student_notebook(source))
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    text = "".join(code)
    assert "SOLUTION" not in text
    assert "sum(numbers)" not in text
    assert 'numbers = [1, 2]\nraise NotImplementedError("your answer to U90.1")\ncheck("U90.1", answer)' in code
    assert '    raise NotImplementedError("your answer to U90.2")' in text
    assert 'print("three")' not in text
    assert all(cell["outputs"] == [] for cell in notebook["cells"] if cell["cell_type"] == "code")
    assert notebook["cells"][0]["cell_type"] == "markdown"
    assert notebook["cells"][1]["source"][1].startswith("# %pip install")
    assert any("<details>" in "".join(cell["source"]) for cell in notebook["cells"])


def test_notebook_is_valid_and_its_bytes_are_the_same_each_time(source):
    import nbformat

    first, second = build.student_notebook(source), build.student_notebook(source)
    assert first == second
    notebook = nbformat.reads(first, as_version=4)
    nbformat.validate(notebook)
    names = [cell["id"] for cell in notebook.cells]
    assert len(set(names)) == len(names)
    nbformat.validate(nbformat.reads(build.solved_notebook(source), as_version=4))


def test_instructor_build_folds_the_solution_below_its_stub(source):
    cells = build.instructor_cells(source)
    stub = next(number for number, cell in enumerate(cells) if "stub" in cell["tags"])
    assert "raise NotImplementedError" in cells[stub]["source"]
    assert "hide-cell" in cells[stub + 1]["tags"]
    assert cells[stub + 1]["source"] == 'numbers = [1, 2]\nanswer = sum(numbers)\ncheck("U90.1", answer)'


@pytest.mark.parametrize(
    "bad", ["# BEGIN SOLUTION\nx = 1", "x = 1\n# END SOLUTION", "# BEGIN SOLUTION\n# BEGIN SOLUTION\n# END SOLUTION"]
)
def test_markers_that_do_not_pair_are_refused(bad):
    with pytest.raises(InputError, match="do not pair"):
        build.strip_solution(bad, "U90.1")


def test_unit_without_a_title_is_refused(tmp_path):
    path = tmp_path / "U91_bare.py"
    path.write_text("# %%\nx = 1\n")
    with pytest.raises(InputError, match="title"):
        build.read_cells(path)


@pytest.mark.slow
def test_instructor_build_runs_in_a_kernel(tmp_path):
    path = tmp_path / "U90_small.py"
    path.write_text(UNIT.replace('check("U90.1", answer)', "answer"))
    notebook = json.loads(build.executed_notebook(path))
    outputs = [output for cell in notebook["cells"] if cell["cell_type"] == "code" for output in cell["outputs"]]
    assert ["".join(output["data"]["text/plain"]) for output in outputs if output["output_type"] == "execute_result"] == ["3"]


def test_committed_notebooks_are_those_of_the_units():
    assert build.stale_notebooks() == [], "run: python -m cryowalk.course.build"


def test_committed_notebooks_hold_no_solution_and_no_output():
    for path in (build.repository_root() / "notebooks").glob("*.ipynb"):
        text = path.read_text()
        assert "END SOLUTION" not in text
        assert not re.search(r'"outputs": \[\s*[^\]\s]', text)
