"""Bad inputs beside the rows of the catalogue (test_hostile.py): each ends in one error of ours, with its exit code, naming the file, in printable words."""

import os
from pathlib import Path

import numpy as np
import pytest
from hostile import HTML, Bench, content, refusal, star, use, whole
from io_files import patched, reals

CATALOGUE = {
    "a HTML page for a table": (content("bad.star", HTML), 3, "HTML"),
    "half set 3": (star(("_rlnOriginYAngst", "_rlnRandomSubset")), 3, "rlnRandomSubset"),
    "group no number": (star(("000002@s.mrcs 1", "000002@s.mrcs one")), 3, "line 30: rlnOpticsGroup is “one”"),
    "group 1.5": (star(("000002@s.mrcs 1", "000002@s.mrcs 1.5")), 3, "whole number"),
    "truncated stack": (
        lambda f: (star()(f), (f / "s.mrcs").write_bytes((f / "s.mrcs").read_bytes()[:-9]))[0],
        3,
        "s.mrcs: the file ends after",
    ),
    "NaN in the stack": (
        lambda f: (star()(f), patched(f / "s.mrcs", f / "s.mrcs", (1024, reals(np.nan))))[0],
        3,
        "s.mrcs: image 1",
    ),
}
NAMES = {
    "absent": (lambda f: f / "bad.mrc", "no such file"),
    "folder": (lambda f: (f / "bad.mrc").mkdir() or f / "bad.mrc", "folder"),
    "name too long": (lambda f: f / ("bad" + "x" * 5000), "cannot be opened"),
    "null in the name": (lambda f: Path(f"{f}/bad\0x"), "cannot be opened"),
}
VALID = {
    "quoted image name": ("000002@s.mrcs", '"000002@s.mrcs"'),
    "whole numbers with a point": ("000002@s.mrcs 1", "000002@s.mrcs 1.000000"),
    "exponents": ("10001.5", "1.00015e4"),
}


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    return Bench(tmp_path, capsys)


@pytest.mark.parametrize("name", CATALOGUE)
def test_each_bad_input_ends_in_one_clear_error(bench, name):
    bench.refused(*CATALOGUE[name])


@pytest.mark.parametrize("name", NAMES)
def test_each_bad_name_ends_in_one_clear_error(bench, name):
    make, words = NAMES[name]
    path = make(bench.fresh())
    assert words in refusal(lambda: use(path), 3)


@pytest.mark.parametrize("name", VALID)
def test_unusual_but_valid_inputs_are_read(bench, name):
    assert len(bench.accepted(star(VALID[name]))) == 3


def test_no_permission_is_the_environment_s_fault(bench):
    path = whole(bench.fresh())
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    refusal(lambda: use(path), 4)
