"""The progress file: round trip, damage, a second process, a folder that cannot be written."""

import json
import os
import subprocess
import sys

import pytest

from cryowalk.core.errors import CryowalkWarning
from cryowalk.course import store


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(store.DIRECTORY_VARIABLE, str(tmp_path / "data"))
    monkeypatch.delenv(store.SEED_VARIABLE, raising=False)
    monkeypatch.setattr(store, "_unwritable", None)
    return tmp_path / "data"


def mark(name):
    return lambda record: record["exercises"].update({name: {"attempts": 1, "passed": True}})


def test_round_trip_and_the_seed_stays(folder):
    seed = store.learner_seed()
    store.update(mark("U01.1"))
    assert store.read()["exercises"] == {"U01.1": {"attempts": 1, "passed": True}}
    assert store.learner_seed() == seed
    assert sorted(path.name for path in folder.iterdir()) == [".progress.lock", "progress.json"]


def test_xdg_folder_is_used(tmp_path, monkeypatch):
    monkeypatch.delenv(store.DIRECTORY_VARIABLE)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert store.file() == tmp_path / "cryowalk" / "progress.json"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"seed": "x"}', '{"seed": 1, "exercises": []}', "\x00\xff", "null"])
def test_a_damaged_file_is_kept_aside(folder, content):
    folder.mkdir()
    store.file().write_bytes(content.encode("latin-1"))
    with pytest.warns(CryowalkWarning, match="kept as"):
        store.update(mark("U01.1"))
    assert (folder / "progress.json.damaged-1").read_bytes() == content.encode("latin-1")
    assert json.loads(store.file().read_text())["exercises"]["U01.1"]["passed"]


def test_a_second_damaged_file_does_not_replace_the_first(folder):
    folder.mkdir()
    for number in (1, 2):
        store.file().write_text(f"broken {number}")
        with pytest.warns(CryowalkWarning):
            store.read()
    assert (folder / "progress.json.damaged-2").read_text() == "broken 2"


def test_two_processes_lose_nothing(folder):
    script = (
        "import sys; from cryowalk.course import store\n"
        "for i in range(20): store.update(lambda r: r['exercises'].update({f'{sys.argv[1]}.{i}': {'attempts': 1}}))"
    )
    running = [subprocess.Popen([sys.executable, "-c", script, name], env=os.environ) for name in ("U01", "U02")]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    assert len(store.read()["exercises"]) == 40


def test_a_folder_that_cannot_be_made_is_told_once_and_the_session_goes_on(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(store.DIRECTORY_VARIABLE, str(tmp_path / "file" / "data"))
    with pytest.warns(CryowalkWarning, match="cannot be stored"):
        store.update(mark("U01.1"))
    assert set(store.update(mark("U01.2"))["exercises"]) == {"U01.1", "U01.2"}


def test_reset_forgets_one_one_unit_or_all():
    for name in ("U01.1", "U01.2", "U02.1"):
        store.update(mark(name))
    seed = store.learner_seed()
    store.reset("U01.1")
    assert set(store.read()["exercises"]) == {"U01.2", "U02.1"}
    store.reset("U01")
    assert set(store.read()["exercises"]) == {"U02.1"}
    store.reset()
    assert store.read()["exercises"] == {}
    assert store.learner_seed() == seed
