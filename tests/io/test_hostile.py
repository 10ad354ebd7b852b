"""The catalogue of hostile inputs (reliability §6 A–D): one test for each of its 98 rows, each with its one clear error or its stated acceptance."""

import re
from pathlib import Path

import hostile_content
import hostile_images
import hostile_structures
import hostile_tables
import pytest
from hostile import ROWS, Bench

COUNT = 98
FAMILIES = (hostile_images, hostile_tables, hostile_content, hostile_structures)


SLOW = {13, 28, 60, 76, 78, 97}  # those that run whole commands several times, or swell


@pytest.mark.parametrize(
    "number",
    [pytest.param(n, id=f"row-{n:02d}", marks=[pytest.mark.slow] if n in SLOW else []) for n in sorted(ROWS)],
)
def test_hostile_input(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ROWS[number].check(Bench(tmp_path, capsys))


def test_every_row_of_the_catalogue_is_here():
    assert sorted(ROWS) == list(range(1, COUNT + 1))
    assert all(one.what for one in ROWS.values())
    assert len(FAMILIES) == 4


@pytest.mark.agreement
def test_the_rows_are_those_of_the_catalogue():
    path = Path(__file__).resolve().parents[3] / "shared" / "reference" / "reliability.md"
    if not path.is_file():
        pytest.skip("no catalogue: ../shared/reference/reliability.md is not beside the repository")
    text = path.read_text()
    part = text[text.index("### A. MRC") : text.index("### E. ")]
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", part, re.MULTILINE)] == sorted(ROWS)
