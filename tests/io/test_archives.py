"""Archives against one on this machine that truncates, stalls, lies, redirects and changes its mind (reliability rows 117–119)."""

import gzip
import hashlib
import json
import logging
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import archive_server as faults
import numpy as np
import pytest

from cryowalk.cli.main import exit_code
from cryowalk.core.errors import EnvironmentFault, InputError, SafetyRefusal, StateConflict, Stopped, UsageError
from cryowalk.course.fake_archive import FakeArchive
from cryowalk.io import read_map
from cryowalk.io.archives import Archive, configuration, open_archive
from cryowalk.io.archives.archive import safe_name
from cryowalk.io.archives.credentials import Token, find_token
from cryowalk.io.archives.listing import names_in
from cryowalk.io.archives.parts import part_path, state_path
from cryowalk.io.archives.settings import TransferSettings
from cryowalk.io.archives.sites import SITES
from cryowalk.io.archives.sums import read_sums
from cryowalk.io.mrc import write_array

SECRET = "osf-token-8bc1ee0c"
BIG = bytes(np.random.default_rng(5).integers(0, 256, 3 * 10**6, dtype=np.uint8))
QUICK = TransferSettings(
    connect_timeout=2.0, stall_timeout=0.4, slowest_rate=1000.0, attempts=3, first_wait=0.01, longest_wait=0.05
)
MAP = "structures/EMD-1234/map/emd_1234.map.gz"
HALVES = [f"structures/EMD-1234/other/emd_1234_half_map_{half}.map.gz" for half in (1, 2)]
STACK = "10017/data/stack 1.mrcs"


def voxels(seed):
    return np.random.default_rng(seed).normal(size=(12, 12, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """The bytes of a small map, and of its compressed form."""
    path = tmp_path_factory.mktemp("maps") / "map.mrc"
    write_array(voxels(1), path, voxel_size=2.5)
    return path.read_bytes(), gzip.compress(path.read_bytes(), mtime=0)


@pytest.fixture
def served(maps, tmp_path, monkeypatch):
    """An archive that everything is fetched from here; it wants a token for the projects."""
    raw, packed = maps
    files = {MAP: packed, **dict.fromkeys(HALVES, packed), STACK: raw, "10017/data/gain.tif": b"II*\0" + bytes(100)}
    files |= {"10017/data/deep/er/b.mrc": raw, "10017/10017.xml": b"<entry/>", "big.bin": BIG, "notes/read me.txt": b"hello"}
    files |= {"data/structures/divided/mmCIF/pq/3pqr.cif.gz": gzip.compress(b"data_3PQR\n", mtime=0), "empty.txt": b""}
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CRYOWALK_CACHE", str(tmp_path / "cache"))
    for name in (
        "XDG_CONFIG_HOME",
        "CRYOWALK_ARCHIVES",
        "CRYOWALK_CREDENTIALS",
        "http_proxy",
        "HTTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OSF_TOKEN", SECRET)
    with FakeArchive(files, token=SECRET, page=3) as archive:
        for name in ("PDB", "EMDB", "EMPIAR"):
            monkeypatch.setenv(f"CRYOWALK_{name}_URL", f"{archive.url}/files")
        monkeypatch.setenv("CRYOWALK_OSF_URL", archive.api)
        yield archive


class Facts:
    """Progress that remembers what it is told."""

    def __init__(self):
        self.facts = []
        self.done = 0

    def start(self, what, total):
        self.facts.append(what)

    def advance(self, items=1):
        self.done += items

    def note(self, fact):
        self.facts.append(fact)


def get(name="osf", entry="abcde", patterns=("big.bin",), *, folder, progress=None, existing="keep", settings=QUICK):
    return open_archive(name, settings=settings, progress=progress).download(entry, folder, patterns, existing=existing)


def left(folder):
    """What lies in a folder, but its record."""
    return sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != ".cryowalk-files.jsonl"
    )


def attempts_at(served, name):
    """How often a file of the project was asked for."""
    return sum(each.path.endswith("/providers/osfstorage/" + name) for each in served.requests)


# ---------------------------------------------------------------- what works


def test_the_main_map_of_an_entry_is_fetched_once_and_read(served, tmp_path):
    (first,) = get("emdb", "1234", (), folder=tmp_path / "out")
    assert first.path == tmp_path / "out" / "emd_1234.map.gz"
    assert first.transferred == first.bytes == served.transferred
    assert first.verified == "length, gzip's own check, the length in the map's header"
    assert (read_map(first.path).voxel_size, read_map(first.path).voxels.shape) == (2.5, (12, 12, 12))
    before = len(served.requests)
    (again,) = get("emdb", "emd_1234", (), folder=tmp_path / "out")
    assert (again.transferred, again.sha256) == (0, first.sha256)
    assert len(served.requests) == before, "nothing was asked"


def test_half_maps_structures_and_folders_of_images_are_found(served, tmp_path):
    names = [each.name for each in get("emdb", "EMD-1234", ("map", "half-maps"), folder=tmp_path / "e")]
    assert names == ["emd_1234.map.gz", "emd_1234_half_map_1.map.gz", "emd_1234_half_map_2.map.gz"]
    assert [each.name for each in open_archive("emdb").list("1234", ("*half*",))] == names[1:]
    assert [each.name for each in get("pdb", "3PQR", (), folder=tmp_path / "p")] == ["3pqr.cif.gz"]
    found = get("empiar", "EMPIAR-10017", ("data/*.mrc*",), folder=tmp_path / "i")
    assert [each.name for each in found] == ["data/deep/er/b.mrc", "data/stack 1.mrcs"]
    assert (tmp_path / "i" / "data" / "stack 1.mrcs").read_bytes() == served.files[STACK]
    asked = [each.path for each in served.requests]
    assert "/files/10017/" not in asked, "only the folder that the pattern names was opened"
    assert len(open_archive("empiar").list("10017")) == 4


def test_an_archive_that_is_not_ours_fits_the_protocol(served):
    assert all(isinstance(open_archive(name), Archive) for name in SITES)


def test_a_second_sync_of_a_project_transfers_nothing(served, tmp_path):
    first = get(patterns=(), folder=tmp_path / "osf")
    assert {each.name: each.path.read_bytes() for each in first} == served.files
    assert all(each.verified == "sha256" for each in first)
    before = served.transferred
    assert before == sum(map(len, served.files.values()))
    second = get(patterns=(), folder=tmp_path / "osf")
    assert served.transferred == before
    assert [each.sha256 for each in second] == [each.sha256 for each in first]
    assert not [name for name in left(tmp_path / "osf") if "part" in name]


def test_files_that_lie_there_already_are_known_by_their_sum(served, tmp_path):
    (tmp_path / "big.bin").write_bytes(BIG)
    (one,) = get(folder=tmp_path)
    assert (one.transferred, served.transferred) == (0, 0)
    (tmp_path / "big.bin").write_bytes(BIG[:-1] + b"?")
    with pytest.raises(StateConflict, match=r"other files lie where the archive's would: big\.bin"):
        get(folder=tmp_path)
    assert (tmp_path / "big.bin").read_bytes().endswith(b"?"), "the user's file is untouched"


def test_update_fetches_only_what_changed(served, tmp_path):
    get(patterns=("notes", "empty"), folder=tmp_path)
    served.files["notes/read me.txt"] = b"hello again"
    progress = Facts()
    kept = get(patterns=("notes",), folder=tmp_path, progress=progress)
    assert kept[0].path.read_bytes() == b"hello"
    assert any("--update" in fact for fact in progress.facts)
    new = get(patterns=("notes", "empty"), folder=tmp_path, existing="update")
    assert [each.transferred for each in new] == [0, 11]
    assert new[1].path.read_bytes() == b"hello again"


def test_update_of_a_map_asks_whether_it_changed(served, tmp_path):
    get("emdb", "1234", (), folder=tmp_path)
    get("emdb", "1234", (), folder=tmp_path, existing="update")
    assert served.requests[-1].status == 304
    served.files[MAP] = gzip.compress(gzip.decompress(served.files[MAP]), compresslevel=1, mtime=0)
    (new,) = get("emdb", "1234", (), folder=tmp_path, existing="update")
    assert new.path.read_bytes() == served.files[MAP]


# ---------------------------------------------------------------- 117: interrupted downloads


def test_a_broken_off_download_goes_on_where_it_broke_off(served, tmp_path):
    served.misbehaviour["big.bin"] = [faults.broken_off(0.5), faults.broken_off(0.5)]
    (one,) = get(folder=tmp_path)
    assert one.path.read_bytes() == BIG
    assert served.transferred == one.transferred == len(BIG), "no byte came twice"
    ranges = [each.headers.get("Range") for each in served.requests if "/providers/" in each.path]
    assert ranges == [None, f"bytes={len(BIG) // 2}-", f"bytes={len(BIG) * 3 // 4}-"]


def test_what_arrived_is_kept_for_the_next_call_and_never_taken_for_whole(served, tmp_path):
    served.misbehaviour["big.bin"] = [faults.broken_off(0.4), *[faults.status(503)] * 3]
    with pytest.raises(EnvironmentFault, match=r"big\.bin: 503 .*3 times in a row"):
        get(folder=tmp_path)
    assert not (tmp_path / "big.bin").exists()
    assert (tmp_path / "big.bin.part").stat().st_size == int(0.4 * len(BIG))
    before = served.transferred
    (one,) = get(folder=tmp_path)
    assert one.path.read_bytes() == BIG
    assert served.transferred - before == len(BIG) - int(0.4 * len(BIG))
    assert left(tmp_path) == ["big.bin"]


@pytest.mark.parametrize("after", [faults.ignoring_range, faults.changed], ids=["Range ignored", "ETag changed"])
def test_a_rest_that_belongs_to_another_state_is_not_joined(served, tmp_path, after):
    served.misbehaviour["big.bin"] = [faults.broken_off(0.5), after]
    (one,) = get(folder=tmp_path)
    assert one.path.read_bytes() == BIG


def test_a_file_changed_between_two_calls_is_fetched_anew(served, tmp_path):
    """Without sums in the archive's list, only the name of the state (ETag) can tell."""
    served.misbehaviour[STACK] = [faults.broken_off(0.5), *[faults.status(500)] * 3]
    with pytest.raises(EnvironmentFault):
        get("empiar", "10017", ("stack",), folder=tmp_path)
    assert (tmp_path / "data" / "stack 1.mrcs.part").stat().st_size > 1000
    other = bytearray(served.files[STACK])
    other[1024:1032] = bytes(8)
    served.files[STACK] = bytes(other)
    (one,) = get("empiar", "10017", ("stack",), folder=tmp_path)
    assert one.path.read_bytes() == bytes(other)


def test_a_rest_of_another_state_is_known_by_its_etag_alone(served, tmp_path):
    """The server heeds no If-Range and the archive states no sum: two halves of two files would make a sound map."""
    other = served.files[STACK][:1024] + bytes(value ^ 1 for value in served.files[STACK][1024:])

    def swapped(answer, content):
        served.files[STACK] = other
        faults.changed(answer, other)

    served.misbehaviour[STACK] = [faults.broken_off(0.5), swapped]
    (one,) = get("empiar", "10017", ("stack",), folder=tmp_path)
    assert one.path.read_bytes() == other


def test_a_part_of_which_nobody_can_tell_what_it_is_counts_as_nothing(served, tmp_path):
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "stack 1.mrcs"
    part_path(path).write_bytes(b"\xff" * 500)
    (one,) = get("empiar", "10017", ("stack",), folder=tmp_path)
    assert one.path.read_bytes() == served.files[STACK]
    state_path(path).write_text("{broken")
    path.unlink()
    part_path(path).write_bytes(b"\xff" * 500)
    assert get("empiar", "10017", ("stack",), folder=tmp_path)[0].path.read_bytes() == served.files[STACK]


def test_a_damaged_part_is_noticed_by_the_sum_and_fetched_again(served, tmp_path):
    served.misbehaviour["big.bin"] = [faults.broken_off(0.5), *[faults.status(500)] * 3]
    with pytest.raises(EnvironmentFault):
        get(folder=tmp_path)
    with (tmp_path / "big.bin.part").open("r+b") as stream:
        stream.write(bytes(100))
    progress = Facts()
    (one,) = get(folder=tmp_path, progress=progress)
    assert one.path.read_bytes() == BIG
    assert any("fetching it again from its start" in fact for fact in progress.facts)


@pytest.mark.parametrize("state", ["[]", "{}", '{"held": "x"}', '{"held": 1e9, "total": null, "etag": 3}', "\xff", ""])
def test_a_damaged_note_about_a_part_counts_as_none(served, tmp_path, state):
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "stack 1.mrcs"
    part_path(path).write_bytes(b"\xff" * 500)
    state_path(path).write_text(state, encoding="latin-1")
    assert get("empiar", "10017", ("stack",), folder=tmp_path)[0].path.read_bytes() == served.files[STACK]


def test_after_a_power_cut_only_what_was_flushed_counts(served, tmp_path, monkeypatch):
    """The tail of a part may be zeros then; another boot tells."""
    content = {"10017/data/long.dat": bytes(np.random.default_rng(2).integers(1, 255, 9 * 10**6, dtype=np.uint8))}
    served.files.update(content)
    served.misbehaviour["10017/data/long.dat"] = [faults.broken_off(0.5), *[faults.status(500)] * 3]
    with pytest.raises(EnvironmentFault):
        get("empiar", "10017", ("long",), folder=tmp_path)
    path = tmp_path / "data" / "long.dat"
    with part_path(path).open("ab") as stream:
        stream.write(bytes(10**6))
    state = json.loads(state_path(path).read_text())
    assert state["held"] == 4_500_000
    state_path(path).write_text(json.dumps(state | {"boot": "another"}))
    assert get("empiar", "10017", ("long",), folder=tmp_path)[0].path.read_bytes() == content["10017/data/long.dat"]
    assert served.requests[-1].headers["Range"] == "bytes=4500000-"


def test_a_wrong_sum_is_never_accepted(served, tmp_path):
    served.misbehaviour["big.bin"] = [faults.wrong] * 3
    with pytest.raises(EnvironmentFault, match=r"what arrived is not what the archive states: sha256"):
        get(folder=tmp_path)
    assert left(tmp_path) == []


def program(*words, folder):
    return [sys.executable, "-m", "cryowalk", *words, "--o", str(folder), "--first-wait", "0.05", "--attempts", "3"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_a_stopped_program_leaves_a_part_and_goes_on(served, tmp_path, number):
    served.misbehaviour["big.bin"], served.states["big.bin"] = [faults.silent(8.0)], '"same"'
    process = subprocess.Popen(
        program("osf", "download", "abcde", "--pattern", "big.bin", folder=tmp_path), stderr=subprocess.PIPE
    )
    until = time.monotonic() + 20
    while served.transferred < len(BIG) // 2 and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(number)
    asked = time.monotonic()
    _, errors = process.communicate(timeout=10)
    assert time.monotonic() - asked < 5
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert not (tmp_path / "big.bin").exists()
    assert b"Traceback" not in errors
    assert SECRET.encode() not in errors
    before = served.transferred
    (one,) = get(folder=tmp_path)
    assert one.path.read_bytes() == BIG
    assert served.transferred - before < (0.75 if number == signal.SIGKILL else 0.51) * len(BIG), "only the rest came"


@pytest.mark.slow
def test_a_second_process_is_refused_while_the_first_fetches(served, tmp_path):
    served.misbehaviour["big.bin"] = [faults.silent(1.0)]
    patient = TransferSettings(stall_timeout=5.0, first_wait=0.01)
    first = threading.Thread(target=lambda: get(folder=tmp_path, settings=patient))
    first.start()
    while not served.transferred:
        time.sleep(0.02)
    with pytest.raises(StateConflict, match="another process is fetching"):
        get(folder=tmp_path)
    first.join()
    assert (tmp_path / "big.bin").read_bytes() == BIG


# ---------------------------------------------------------------- 118: HTTP misbehaviour


@pytest.mark.parametrize(
    "fault",
    [
        faults.status(500),
        faults.status(503, Retry_After="0"),
        faults.status(429),
        faults.torn_chunks,
        faults.silent(0.8),
        faults.dripping(0.02, drops=60),
        faults.broken_off(0.0),
    ],
    ids=["500", "503", "429", "torn chunk", "stalls", "drips", "nothing"],
)
def test_a_fault_that_passes_costs_only_time(served, tmp_path, fault):
    served.misbehaviour["notes/read me.txt"] = served.misbehaviour["big.bin"] = [fault]
    (one,) = get(folder=tmp_path)
    assert one.path.read_bytes() == BIG
    assert attempts_at(served, "big.bin") == 2


@pytest.mark.parametrize(
    ("faults_of_it", "words"),
    [
        ([faults.status(500)] * 9, r"500 .*3 times in a row"),
        ([faults.status(404)], r"answers 404"),
        ([faults.status(403)], r"answers 403"),
        ([faults.status(418)], r"answers 418"),
        pytest.param([faults.silent(0.8)] * 9, r"fallen silent|broke", marks=pytest.mark.slow),
        pytest.param([faults.dripping(0.02, drops=60)] * 9, r"less than 1000 bytes a second", marks=pytest.mark.slow),
        ([faults.lying(-1000)], r"list says 3000000 bytes, its server offers 2999000"),
        ([faults.lying(+1000)], r"list says 3000000 bytes, its server offers 3001000"),
        ([faults.html], r"list says 3000000 bytes, its server offers"),
        ([faults.endless], r"sends more than the 3000000 bytes"),
        ([faults.unbounded(0.5)] * 9, r"what arrived is not|bytes arrived, the archive's list says"),
    ],
    ids=[
        "500 for ever",
        "404",
        "403",
        "418",
        "stalls",
        "drips",
        "length too small",
        "length too large",
        "HTML",
        "endless",
        "cut off without length",
    ],
)
def test_a_fault_that_stays_ends_with_one_clear_error(served, tmp_path, faults_of_it, words):
    served.misbehaviour["big.bin"] = faults_of_it
    with pytest.raises((EnvironmentFault, InputError, SafetyRefusal), match=words) as told:
        get(folder=tmp_path)
    assert told.value.exit_code in (3, 4, 5)
    assert not (tmp_path / "big.bin").exists()
    assert attempts_at(served, "big.bin") <= 3


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (faults.html, "a web page instead of the file"),
        (faults.wrong, "cut off or damaged|is no .gz file"),
        (faults.unbounded(0.7), "cut off or damaged"),
        (faults.lying(-200), "cut off or damaged"),
    ],
    ids=["HTML", "damaged", "cut off without length", "length too small"],
)
def test_a_map_without_a_stated_sum_proves_itself_by_its_form(served, tmp_path, fault, words):
    served.misbehaviour[MAP] = [fault] * 3
    with pytest.raises(EnvironmentFault, match=words):
        get("emdb", "1234", (), folder=tmp_path)
    assert left(tmp_path) == []


def test_a_stack_that_is_shorter_than_its_header_says_is_refused(served, tmp_path):
    served.files[STACK] = served.files[STACK][:-400]
    with pytest.raises(EnvironmentFault, match="what arrived is not whole"):
        get("empiar", "10017", ("stack",), folder=tmp_path)
    served.misbehaviour["10017/data/gain.tif"] = [faults.html]
    with pytest.raises(EnvironmentFault, match="a web page instead of the file"):
        get("empiar", "10017", ("gain",), folder=tmp_path)
    assert left(tmp_path) == []


def test_an_answer_of_unknown_length_needs_a_proof(served, tmp_path):
    served.misbehaviour["10017/10017.xml"] = [faults.unbounded(1.0)]
    with pytest.raises(EnvironmentFault, match="nothing tells whether the file is whole"):
        get("empiar", "10017", ("10017.xml",), folder=tmp_path)
    served.misbehaviour[MAP] = [faults.unbounded(1.0)]
    assert get("emdb", "1234", (), folder=tmp_path)[0].verified.startswith("gzip's own check")


def test_a_length_that_is_told_too_large_is_an_answer_that_broke_off(served, tmp_path):
    served.misbehaviour[STACK] = [faults.lying(+100)]
    (one,) = get("empiar", "10017", ("stack",), folder=tmp_path)
    assert one.path.read_bytes() == served.files[STACK]


def test_redirects_end_and_never_leave_https(served, tmp_path):
    target = f"{served.url}/v1/resources/abcde/providers/osfstorage/big.bin"
    served.misbehaviour["big.bin"] = [faults.redirected(target)] * 50
    with pytest.raises(EnvironmentFault, match="redirected more than 5 times"):
        get(folder=tmp_path)
    assert sum("/providers/" in each.path for each in served.requests) == 6
    for place, words in (("file:///etc/hostname", "no web address"), ("ftp://127.0.0.1/x", "no web address")):
        served.misbehaviour["big.bin"] = [faults.redirected(place)]
        with pytest.raises(SafetyRefusal, match=words):
            get(folder=tmp_path)
    with pytest.raises(SafetyRefusal, match="from https to plain http"):
        open_archive("osf").client._next("https://a.org/x", "http://a.org/x", "GET")


def test_a_file_beyond_the_limit_is_refused_before_it_is_fetched(served, tmp_path):
    with pytest.raises(EnvironmentFault, match="more than the limit"):
        get(folder=tmp_path, settings=TransferSettings(largest_file=10**6))
    served.misbehaviour["10017/10017.xml"] = [faults.endless]
    with pytest.raises(SafetyRefusal, match="sends more than the 1000000 bytes"):
        get("empiar", "10017", ("10017.xml",), folder=tmp_path, settings=TransferSettings(largest_file=10**6))
    assert sum(each.sent for each in served.requests if "10017.xml" in each.path) < 2**26


def test_mirrors_are_tried_in_turn(served, tmp_path, monkeypatch):
    monkeypatch.setenv("CRYOWALK_EMDB_URL", f"http://127.0.0.1:9/none {served.url}/elsewhere {served.url}/files")
    progress = Facts()
    (one,) = get("emdb", "1234", (), folder=tmp_path, progress=progress)
    assert one.path.read_bytes() == served.files[MAP]
    assert sum("trying the mirror" in fact for fact in progress.facts) == 2


@pytest.mark.parametrize("name", ["../up.txt", "/etc/x", "a/../../b", "a\\b", "a\nb", ".cryowalk-files.jsonl", ""])
def test_names_that_lead_out_of_the_folder_are_refused(name):
    with pytest.raises(SafetyRefusal):
        safe_name(name)


def test_an_index_page_names_no_other_place():
    page = '<a href="http://b.org/x">x</a><a href="/root">r</a><a href="//c/d">d</a><a href="..">u</a><a href="a/b">c</a><a href="ok">k</a>'
    assert names_in(page) == ["ok"]
    assert names_in('<a href="%2e%2e/">up</a><a href="..%2fx">x</a>') == []


def test_a_link_that_leads_out_of_the_folder_is_not_followed(served, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "away").mkdir()
    (tmp_path / "out" / "notes").symlink_to(tmp_path / "away")
    with pytest.raises(SafetyRefusal, match="a link in the folder leads out of it"):
        get(patterns=("notes",), folder=tmp_path / "out")
    assert left(tmp_path / "away") == []


def test_a_registration_is_listed_like_a_project(served, monkeypatch):
    lists = f"{served.url}/files/strange/registrations/abcde/files"
    store = {
        "attributes": {"kind": "folder", "name": "osfstorage", "provider": "osfstorage"},
        "relationships": {"files": {"links": {"related": {"href": f"{lists}/osfstorage/"}}}},
    }
    one = {"attributes": {"kind": "file", "name": "a.txt", "size": 5}, "links": {"download": f"{served.url}/files/notes/x"}}
    served.files["strange/registrations/abcde/files/"] = json.dumps({"data": [store], "links": {}}).encode()
    served.files["strange/registrations/abcde/files/osfstorage/"] = json.dumps({"data": [one], "links": {}}).encode()
    monkeypatch.setenv("CRYOWALK_OSF_URL", f"{served.url}/files/strange")
    assert [(each.name, each.bytes) for each in open_archive("osf", settings=QUICK).list("abcde")] == [("a.txt", 5)]


def test_pages_in_a_circle_and_trees_without_end_are_noticed(served, monkeypatch):
    here = f"{served.url}/files/strange/nodes/abcde/files/"
    served.files["strange/nodes/abcde/files/"] = json.dumps({"data": [], "links": {"next": here}}).encode()
    monkeypatch.setenv("CRYOWALK_OSF_URL", f"{served.url}/files/strange")
    with pytest.raises(EnvironmentFault, match="lead in a circle"):
        open_archive("osf", settings=QUICK).list("abcde")
    served.files["strange/nodes/abcde/files/"] = json.dumps({"data": [], "links": {"next": "https://b.org/x"}}).encode()
    with pytest.raises(EnvironmentFault, match="lies on another host"):
        open_archive("osf", settings=QUICK).list("abcde")
    served.files["10018/" + "a/" * 20 + "x.mrc"] = b"x"
    with pytest.raises(EnvironmentFault, match="more files or folders than an entry has"):
        open_archive("empiar", settings=QUICK).list("10018")
    assert len(served.requests) < 30


@pytest.mark.parametrize("body", [b"<html>sign in</html>", b"[1, 2]", b"{", b'{"data": 5}', b"[" * 100_000])
def test_a_list_that_is_none_is_told(served, body, monkeypatch):
    monkeypatch.setenv("CRYOWALK_OSF_URL", f"{served.url}/files/strange")
    served.files["strange/nodes/abcde/files/"] = body
    with pytest.raises(EnvironmentFault, match=r"answered with|no list of files"):
        open_archive("osf", settings=QUICK).list("abcde")


# ---------------------------------------------------------------- 119: TLS, proxies, offline


def test_a_certificate_that_nobody_signed_is_refused(maps, tmp_path, monkeypatch):
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CRYOWALK_CACHE", str(tmp_path / "cache"))
    archive = FakeArchive({MAP: maps[1]})
    monkeypatch.setenv("CRYOWALK_EMDB_URL", faults.secure(archive, tmp_path) + "/files")
    with archive:
        with pytest.raises(EnvironmentFault, match="the certificate of localhost is not trusted"):
            get("emdb", "1234", (), folder=tmp_path / "out")
        assert archive.requests == []
        certificate = faults.CERTIFICATE[faults.CERTIFICATE.index("-----BEGIN CERT") :]
        (tmp_path / "ca.pem").write_text(certificate)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        assert get("emdb", "1234", (), folder=tmp_path / "out")[0].transferred == len(maps[1])


def test_without_network_verified_copies_are_used(served, tmp_path, monkeypatch, capsys):
    assert exit_code(["fetch", "emdb", "1234"]) == 0
    assert exit_code(["fetch", "osf", "abcde", "--pattern", "notes"]) == 0
    capsys.readouterr()
    for name in ("EMDB", "OSF"):
        monkeypatch.setenv(f"CRYOWALK_{name}_URL", "http://127.0.0.1:9")
    quick = ["--first-wait", "0.01", "--attempts", "2"]
    assert exit_code(["fetch", "emdb", "1234", *quick]) == 0
    assert exit_code(["fetch", "emdb", "1234", "--o", str(tmp_path / "new"), *quick]) == 0
    assert (tmp_path / "new" / "emd_1234.map.gz").read_bytes() == served.files[MAP]
    assert exit_code(["fetch", "osf", "abcde", "--pattern", "notes", *quick]) == 0
    assert exit_code(["osf", "download", "abcde", "--pattern", "notes", "--o", str(tmp_path / "osf"), *quick]) == 0
    assert (tmp_path / "osf" / "notes" / "read me.txt").read_bytes() == b"hello"
    assert "verified files are here from before" in capsys.readouterr().err
    assert exit_code(["fetch", "emdb", "4321", *quick]) == 4
    assert "2 times in a row" in capsys.readouterr().err
    # a copy that was changed since is no verified copy
    copy = tmp_path / "cache" / "emdb" / "EMD-1234" / "emd_1234.map.gz"
    copy.write_bytes(copy.read_bytes()[:-10] + bytes(10))
    assert exit_code(["fetch", "emdb", "1234", "--o", str(tmp_path / "newer"), *quick]) == 4
    assert not (tmp_path / "newer" / "emd_1234.map.gz").exists()


def test_a_proxy_of_the_environment_or_the_table_is_used(maps, tmp_path, monkeypatch):
    monkeypatch.setenv("CRYOWALK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CRYOWALK_EMDB_URL", "http://archive.invalid/files")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with FakeArchive({}) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        with pytest.raises(InputError, match="answers 404"):
            get("emdb", "1234", (), folder=tmp_path / "out")
        assert [each.path for each in proxy.requests] == [f"http://archive.invalid/files/{MAP}"]
        monkeypatch.delenv("http_proxy")
        table = tmp_path / "archives.toml"
        table.write_text(f'[network]\nproxy = "{proxy.url}"\n[emdb]\nurls = ["http://other.invalid/a/"]\n')
        monkeypatch.setenv("CRYOWALK_ARCHIVES", str(table))
        monkeypatch.delenv("CRYOWALK_EMDB_URL")
        with pytest.raises(InputError, match="answers 404"):
            get("emdb", "1234", (), folder=tmp_path / "out")
        assert proxy.requests[-1].path == f"http://other.invalid/a/{MAP}"


@pytest.mark.parametrize(
    ("text", "words"),
    [("[emdb\n", "this is not TOML"), ("[embd]\nurls = []\n", "no archive 'embd'"), ("[emdb]\nurls = 3\n", "no list of texts")],
)
def test_a_wrong_table_of_archives_is_told(tmp_path, text, words):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(InputError, match=words):
        configuration({"CRYOWALK_ARCHIVES": str(tmp_path / "a.toml")})
    with pytest.raises(UsageError, match="holds a user's name or password"):
        configuration({"CRYOWALK_OSF_URL": "https://me:secret@osf.io"})
    assert configuration({}).site("osf").urls == SITES["osf"].urls


# ---------------------------------------------------------------- tokens


def test_the_token_goes_to_its_own_hosts_alone_and_into_no_log(served, tmp_path, capsys, caplog):
    caplog.set_level(logging.DEBUG)
    with FakeArchive({"far.bin": BIG}) as other:
        served.misbehaviour["big.bin"] = [faults.redirected(f"{other.url}/files/far.bin?signature=abc123")]
        assert exit_code(["osf", "download", "abcde", "--pattern", "big.bin", "--o", str(tmp_path)]) == 0
        assert [each.headers.get("Authorization") for each in other.requests] == [None]
        assert all(each.headers.get("Authorization") == f"Bearer {SECRET}" for each in served.requests)
        other.files.clear()
        served.files["big.bin"] = BIG[:-1]
        served.misbehaviour["big.bin"] = [faults.redirected(f"{other.url}/files/far.bin?signature=abc123")]
        words = [
            "osf",
            "download",
            "abcde",
            "--pattern",
            "big.bin",
            "--update",
            "--o",
            str(tmp_path),
            "--debug",
            "--attempts",
            "1",
        ]
        assert exit_code(words) == 3
    told = capsys.readouterr()
    written = (
        told.out + told.err + caplog.text + "".join(p.read_text(errors="replace") for p in tmp_path.rglob(".*") if p.is_file())
    )
    assert "404" in told.err
    assert SECRET not in written
    assert "abc123" not in told.out + told.err
    assert SECRET not in repr(Token(SECRET)) + str(vars(open_archive("osf").client))


def test_hosts_of_the_token(monkeypatch):
    monkeypatch.setenv("OSF_TOKEN", SECRET)
    monkeypatch.delenv("CRYOWALK_OSF_URL", raising=False)
    client = open_archive("osf").client
    for url, sees in (
        ("https://api.osf.io/v2/nodes/", True),
        ("https://files.us.osf.io/v1/x", True),
        ("https://osf.io/download/x", True),
        ("http://files.osf.io/v1/x", False),
        ("https://evil-osf.io/x", False),
        ("https://osf.io.evil.org/x", False),
        ("https://storage.googleapis.com/x", False),
    ):
        assert client.sees_token(url) is sees, url
    monkeypatch.setenv("CRYOWALK_OSF_URL", "https://mirror.example.org/v2")
    assert not open_archive("osf").client.sees_token("https://files.osf.io/v1/x")


def test_a_credentials_file_that_others_can_read_is_refused(served, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("OSF_TOKEN")
    with pytest.raises(EnvironmentFault, match="answers 401") as told:
        get(folder=tmp_path / "out")
    assert "OSF_TOKEN" in str(told.value)
    secrets = tmp_path / "home" / ".config" / "cryowalk" / "credentials"
    secrets.parent.mkdir(parents=True)
    secrets.write_text(f"machine 127.0.0.1 login me password {SECRET}\n")
    secrets.chmod(0o640)
    assert exit_code(["fetch", "osf", "abcde", "--pattern", "notes"]) == 5
    error = capsys.readouterr().err
    assert "its mode is 640" in error
    assert "chmod 600" in error
    secrets.chmod(0o600)
    assert exit_code(["fetch", "osf", "abcde", "--pattern", "notes"]) == 0
    assert SECRET not in str(capsys.readouterr())
    secrets.write_text(f"machine\nnonsense {SECRET}\n")
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    with pytest.raises(InputError, match="no netrc file") as told:
        find_token(configuration().site("osf"))
    assert SECRET not in str(told.value)


# ---------------------------------------------------------------- sums of the depositor


def test_a_list_of_sums_is_checked_where_the_archive_states_none(served, tmp_path, capsys):
    raw = served.files[STACK]
    sums = tmp_path / "sums.txt"
    sums.write_text(
        f"# of the depositor\n{hashlib.sha256(raw).hexdigest()}  ./data/stack 1.mrcs\n{hashlib.md5(raw).hexdigest()} *b.mrc\n"
    )
    words = ["fetch", "empiar", "10017", "--pattern", "*.mrc*,*.tif", "--sums", str(sums), "--attempts", "1"]
    assert exit_code([*words, "--o", str(tmp_path / "out"), "--json"]) == 0
    told = capsys.readouterr()
    verified = {each["name"]: each["verified"] for each in json.loads(told.out)}
    assert verified == {"data/deep/er/b.mrc": "md5", "data/stack 1.mrcs": "sha256", "data/gain.tif": "length"}
    assert "1 files do not stand in the list of sums, such as data/gain.tif" in told.err
    assert exit_code([*words, "--o", str(tmp_path / "out")]) == 0
    sums.write_text(f"{'0' * 64}  stack 1.mrcs\n")
    assert exit_code([*words, "--o", str(tmp_path / "out")]) == 6
    assert "data/stack 1.mrcs" in capsys.readouterr().err
    assert exit_code([*words, "--o", str(tmp_path / "other")]) == 4
    assert "what arrived is not what the archive states" in capsys.readouterr().err
    assert not (tmp_path / "other" / "data" / "stack 1.mrcs").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hello\n", "line 1: this line holds no sum"),
        (f"{'a' * 32}  x\n{'b' * 32}  x\n", "line 2: two lines state different sums for x"),
    ],
)
def test_a_list_that_holds_no_sums_is_told(tmp_path, text, words):
    (tmp_path / "sums.txt").write_text(text)
    with pytest.raises(InputError, match=words):
        read_sums(tmp_path / "sums.txt")


# ---------------------------------------------------------------- sending


@pytest.fixture
def mine(tmp_path):
    folder = tmp_path / "mine"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.star").write_text("data_\n")
    (folder / "sub" / "b.bin").write_bytes(BIG)
    (folder / "empty").write_bytes(b"")
    (folder / ".hidden").write_text("x")
    return folder


def send(paths, *, existing="keep", folder=""):
    return open_archive("osf", settings=QUICK).upload("abcde", paths, folder=folder, existing=existing)


def test_a_folder_is_sent_once(served, mine):
    sent = send([mine], folder="results/run 1")
    inside = "results/run 1/mine/"
    assert sorted(each.name for each in sent) == [inside + "a.star", inside + "empty", inside + "sub/b.bin"]
    assert served.files[inside + "sub/b.bin"] == BIG
    before = len([each for each in served.requests if each.method == "PUT"])
    assert send([mine], folder="results/run 1") == ()
    assert len([each for each in served.requests if each.method == "PUT"]) == before


def test_other_files_of_the_project_are_not_replaced_unless_asked(served, mine):
    send([mine])
    (mine / "a.star").write_text("data_new\n")
    with pytest.raises(StateConflict, match=r"other files of these names: mine/a\.star"):
        send([mine])
    assert served.files["mine/a.star"] == b"data_\n"
    assert [each.name for each in send([mine], existing="update")] == ["mine/a.star"]
    assert served.files["mine/a.star"] == b"data_new\n"


def refuse(answer, content):
    answer.say(503, b"{}")


def keep_but_fail(answer, content):
    answer.archive.files["a.star"] = content
    answer.say(502, b"{}")


def keep_half(answer, content):
    answer.archive.files["a.star"] = content[:3]
    answer.say(502, b"{}")


@pytest.mark.parametrize("fault", [refuse, keep_but_fail, keep_half], ids=["refused", "kept but failed", "kept half"])
def test_an_upload_of_which_nobody_knows_how_it_ended_is_looked_up(served, mine, fault):
    served.misbehaviour["PUT a.star"] = [fault]
    send([mine / "a.star"])
    assert served.files["a.star"] == b"data_\n"


def test_an_upload_that_arrives_damaged_is_told(served, mine):
    def damage(answer, content):
        answer.archive.files["a.star"] = b"other "
        answer.say(201, json.dumps({"data": answer._file_document("a.star")}).encode())

    served.misbehaviour["PUT a.star"] = [damage]
    with pytest.raises(EnvironmentFault, match="received another file than was sent"):
        send([mine / "a.star"])


def test_nothing_is_sent_without_a_token(served, mine, monkeypatch, capsys):
    monkeypatch.delenv("OSF_TOKEN")
    assert exit_code(["osf", "upload", "--i", str(mine), "--project", "abcde"]) == 4
    assert "needs a token" in capsys.readouterr().err
    assert served.requests == []
    with pytest.raises(UsageError, match="takes depositions"):
        open_archive("emdb").upload("1234", [mine])


# ---------------------------------------------------------------- the commands


def test_commands_tell_what_they_did(served, tmp_path, capsys, mine):
    assert exit_code(["fetch", "emdb", "1234", "--half-maps", "--o", str(tmp_path / "e"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in facts] == ["emd_1234.map.gz", "emd_1234_half_map_1.map.gz", "emd_1234_half_map_2.map.gz"]
    assert exit_code(["osf", "list", "abcde", "--pattern", "notes"]) == 0
    assert capsys.readouterr().out == "       5 bytes  notes/read me.txt\n1 files\n"
    assert exit_code(["fetch", "empiar", "10017", "--list"]) == 0
    assert "4 files" in capsys.readouterr().out
    assert exit_code(["osf", "upload", "--i", str(mine), "--project", "abcde"]) == 0
    assert "3 files sent" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["fetch", "emdb", "abc"], 2, "is no entry of EMDB"),
        (["fetch", "pdb", "12345"], 2, "is no entry of PDB"),
        (["fetch", "empiar", "10017"], 2, "may hold terabytes"),
        (["fetch", "pdb", "3pqr", "--half-maps"], 2, "only the EMDB has half maps"),
        (["fetch", "zenodo", "1"], 2, "zenodo"),
        (["fetch", "emdb", "9999"], 3, "answers 404"),
        (["fetch", "osf", "abcde", "--pattern", "nothing like it"], 3, "no file of this entry fits"),
        (["fetch", "osf", "abxyz"], 3, "answers 404"),
        (["fetch", "pdb", "3pqr", "--attempts", "0"], 2, "at least 1"),
    ],
)
def test_what_cannot_be_meant_is_told(served, words, code, told, capsys):
    assert exit_code(words) == code
    assert told in capsys.readouterr().err


def test_without_the_extra_a_sentence_says_what_to_install(tmp_path):
    code = "import sys; sys.modules['requests'] = None; from cryowalk.cli.main import main; main(['fetch', 'pdb', '3pqr'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"HOME": str(tmp_path)})
    assert done.returncode == 4
    assert "pip install 'cryowalk[data]'" in done.stderr


def test_a_stop_request_is_heard_while_waiting(served, tmp_path):
    class Stopping(Facts):
        def advance(self, items=1):
            if served.transferred and not items:
                raise Stopped("stopped")

    served.misbehaviour["big.bin"] = [faults.silent(5.0)]
    began = time.monotonic()
    with pytest.raises(Stopped):
        get(folder=tmp_path, progress=Stopping(), settings=TransferSettings(stall_timeout=10))
    assert time.monotonic() - began < 2
    assert 0 < Path(tmp_path / "big.bin.part").stat().st_size <= len(BIG) // 2
