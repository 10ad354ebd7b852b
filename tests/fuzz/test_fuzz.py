"""Every parser against mutated files: no exception but our own, at most 2 s an input, no growth of memory; escapes that were found once stay mended."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import OPERATIONS, mutated
from parsers import PARSERS, read_quietly, seed_of

import cryowalk as cw
from cryowalk.core.errors import CryowalkError

EXECUTIONS = int(os.environ.get("CRYOWALK_FUZZ_EXECUTIONS", "1000"))
TOGETHER = 5  # files an example of hypothesis, whose own work costs more than a small file
SLOWEST = 2.0  # s
MEMORY = 512  # MiB
FEWEST = 10  # formats that the issue names


def peak() -> float:
    """The largest memory that this process has held, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.fixture
def folder(tmp_path):
    """A folder in memory where there is one: thousands of files are written."""
    shared = Path("/dev/shm")
    if not (shared.is_dir() and os.access(shared, os.W_OK)):
        yield tmp_path
        return
    import tempfile

    with tempfile.TemporaryDirectory(dir=shared) as made:
        yield Path(made)


def test_the_table_holds_the_parsers_of_the_issue():
    named = ("mrc", "star", "cs", "csg", "pdb", "cif", "hdf5", "mdoc", "tiff", "eer", "settings json", "settings yaml", "numpy pickle", "box", "coord",
             "cbox", "topaz", "ctffind", "gctf", "imod xf", "aretomo", "warp", "dynamo", "tem parameters", "fsc xml", "zarr metadata")  # fmt: skip
    assert all(any(name.startswith(each) for name in PARSERS) for each in named)


@pytest.mark.parametrize("name", PARSERS)
def test_each_seed_is_read(name, folder):
    one = PARSERS[name]
    one.prepare(folder)
    path = folder / f"x{one.ending}"
    path.write_bytes(mutated(seed_of(name), b""))
    one.read(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
def test_no_mutated_file_lets_an_error_escape(name, folder):
    one, seed = PARSERS[name], seed_of(name)
    one.prepare(folder)
    path = folder / f"x{one.ending}"
    path.write_bytes(seed)
    one.read(path)  # what is compiled or imported once is no input's time
    before, slowest, count = peak(), [0.0], [0]

    @settings(
        max_examples=-(-EXECUTIONS // TOGETHER),
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.binary(min_size=5, max_size=25), min_size=TOGETHER, max_size=TOGETHER))
    def mutate(programs):
        for program in programs:
            path.write_bytes(mutated(seed, program))
            start = time.process_time()  # of this process: the machine may be busy with others
            escaped = read_quietly(one, path)
            slowest[0], count[0] = max(slowest[0], time.process_time() - start), count[0] + 1
            assert escaped is None, f"{name}: {type(escaped).__name__}: {escaped} (program {program.hex()})"

    mutate()
    assert count[0] >= EXECUTIONS
    assert slowest[0] <= SLOWEST, f"{slowest[0]:.1f} s for one input"
    assert peak() - before <= MEMORY, f"memory grew by {peak() - before:.0f} MiB"


@pytest.mark.slow
@pytest.mark.agreement
@pytest.mark.timeout(900)
def test_atheris_finds_no_escape():
    pytest.importorskip("atheris", reason="atheris is not installed: pip install atheris")
    words = [sys.executable, str(Path(__file__).with_name("atheris_run.py")), str(EXECUTIONS)]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=850, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert {one["parser"] for one in found} == set(PARSERS)
    for one in found:
        assert one["exit_code"] == 0, one
        assert one["escapes"] == {}, one
        assert one["executions"] >= EXECUTIONS, one
        assert one["slowest_s"] <= SLOWEST, one
        assert one["grown_mib"] <= MEMORY, one


def test_mutations_are_told_by_their_program():
    seed = seed_of("star")
    programs = [bytes([operation, 40, 0, 0, 7]) for operation in range(OPERATIONS)]
    made = [mutated(seed, program) for program in programs]
    assert made == [mutated(seed, program) for program in programs]
    assert sum(one != seed for one in made) >= OPERATIONS - 1
    assert mutated(seed, b"") == seed
    assert mutated(b"", b"\x05\0\0\0\0") == b""


def test_an_escape_would_be_seen(folder):
    from dataclasses import replace

    broken = replace(PARSERS["star"], read=lambda path: {}[path])
    assert isinstance(read_quietly(broken, folder / "x"), KeyError)
    refusing = replace(PARSERS["star"], read=lambda path: (_ for _ in ()).throw(CryowalkError("no")))
    assert read_quietly(refusing, folder / "x") is None


# what fuzzing found, each mended where it came from: the parser, and a file or the program that makes it from the seed
HUGE = b'{"padding": 1' + b"0" * 400 + b"}"
CHAIN = (
    b"data_x\n_entry.id x\nloop_\n"
    + b"".join(
        b"_atom_site.%s\n" % name.encode()
        for name in [
            "id",
            "type_symbol",
            "label_alt_id",
            "label_asym_id",
            "Cartn_x",
            "Cartn_y",
            "Cartn_z",
            "occupancy",
            "B_iso_or_equiv",
            "auth_seq_id",
        ]
    )
    + b"1 C . A2147483648 1 2 3 1 20 1\n"
)
FOUND = {
    "a number too large for a real": ("settings json", HUGE),
    "a chain of eleven letters": ("cif", CHAIN),
    "a gain of pages that no file can hold": ("gain", bytes.fromhex("6e05f0d37c")),
    "a gain whose width is a list": ("gain", bytes.fromhex("6e9608255616a62b7958419c0d80734253ca6d19")),
    "an index of 5 000 digits": (
        "star particles",
        b"data_\nloop_\n_rlnImageName\n_rlnPixelSize\n" + b"9" * 5000 + b"@s.mrcs 1.7\n",
    ),
}


@pytest.mark.parametrize("what", FOUND)
def test_what_escaped_once_is_refused(what, folder):
    name, content = FOUND[what]
    one = PARSERS[name]
    one.prepare(folder)
    path = folder / f"x{one.ending}"
    path.write_bytes(content if len(content) > 30 else mutated(seed_of(name), content))
    assert read_quietly(one, path) is None
    before = peak()
    read_quietly(one, path)
    assert peak() - before < MEMORY


def test_a_type_named_in_hdf5_is_no_column(folder):
    with h5py.File(folder / "x.h5", "w") as file:
        file["images"] = np.ones((4, 8, 8), np.float32)
        file["type"] = np.dtype("f4")
    images = cw.read(folder / "x.h5", pixel_size=1.0)
    assert torch.equal(images.pixels, torch.ones(4, 8, 8))
