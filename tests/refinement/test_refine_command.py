"""`cryowalk refine` as a user meets it: files that others script against, stopping and going on, options that changed, inputs that cannot be meant."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cryowalk.cli.main import main
from cryowalk.data import Volume
from cryowalk.io import read_map, read_particles, write_map
from cryowalk.io.relion import write_particles
from cryowalk.io.relion_refinement import read_iteration

QUIET = ("--quiet", "--threads", "1", "--device", "cpu")
OPTIONS = ("--ini-high", "25", "--low-resol-join-halves", "30", "--diameter", "110", "--shift-range", "10", "--iter", "2")
WORDS = ("refine", "--i", "blind.star", "--ref", "reference.mrc", *OPTIONS, "--seed", "4", *QUIET)


def exit_code(words):
    with pytest.raises(SystemExit) as raised:
        main(list(words))
    return raised.value.code


def digests(folder):
    """Of every result that must be the same after a kill."""
    names = sorted(p.name for p in Path(folder).glob("run*") if p.suffix in (".mrc", ".star"))
    return {name: hashlib.sha256(Path(folder, name).read_bytes()).hexdigest() for name in [*names, "scores.json", "fsc.json"]}


@pytest.fixture(scope="module")
def project(tmp_path_factory, specimen):
    """A folder with particles that have no poses, and a reference."""
    folder = tmp_path_factory.mktemp("project")
    blobs = specimen(24, pixel_size=5.6)
    write_particles(replace(blobs.particles(48, snr=2.0), pose=None), folder / "blind.star")
    write_map(blobs.volume(), folder / "reference.mrc")
    return folder


@pytest.fixture(scope="module")
def whole(project):
    """The digests of a refinement that was not interrupted."""
    before = Path.cwd()
    os.chdir(project)
    try:
        assert exit_code([*WORDS, "--o", "Refine"]) == 0
    finally:
        os.chdir(before)
    return digests(project / "Refine")


@pytest.mark.slow
def test_the_files_that_others_script_against(project, whole, monkeypatch, capsys):
    monkeypatch.chdir(project)
    folder = project / "Refine"
    assert {"run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc", "run_class001.mrc", "run_data.star"} <= set(whole)
    assert {f"run_it002_{what}.star" for what in ("data", "half1_model", "half2_model", "sampling", "optimiser")} <= set(whole)
    particles = read_particles(folder / "run_data.star")
    assert len(particles) == 48
    assert sorted(particles.half.tolist()) == [1] * 24 + [2] * 24
    assert all(float(width) >= 0 for width in particles.extra["cwAngularWidth"])
    scores = json.loads((folder / "scores.json").read_text())
    assert [row["iteration"] for row in scores["iterations"]] == [1, 2]
    assert scores["resolution_0.143_masked_angstrom"] < 20
    assert scores["joined_resolution_angstrom"] == 30
    state = read_iteration(folder / "run_it002_optimiser.star")
    assert len(state.models) == 2
    reference = read_map(folder / "run_it002_half1_class001.mrc")
    assert torch.allclose(state.models[0].references[0].voxels, reference.voxels)
    report = (folder / "report.html").read_text()
    assert all(heading in report for heading in ("Resolution", "Poses", "accuracy"))
    assert exit_code([*WORDS, "--o", "Refine"]) == 0  # done before: nothing to do
    assert "nothing to do" in "".join(capsys.readouterr())


@pytest.mark.slow
def test_killed_and_started_again_it_ends_with_the_same_bytes(project, whole, monkeypatch):
    monkeypatch.chdir(project)
    command = [sys.executable, "-m", "cryowalk", *WORDS, "--o", "Killed"]
    process = subprocess.Popen(command, cwd=project, start_new_session=True)
    deadline = time.time() + 240
    while time.time() < deadline and not (project / "Killed" / "run_it001_optimiser.star").is_file():
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (project / "Killed" / "scores.json").is_file()
    assert exit_code([*WORDS, "--o", "Killed"]) == 0
    again = digests(project / "Killed")
    assert {name: value for name, value in again.items() if not name.endswith(("optimiser.star", "model.star"))} == {
        name: value for name, value in whole.items() if not name.endswith(("optimiser.star", "model.star"))
    }  # these two name the folder
    assert set(again) == set(whole)


@pytest.mark.slow
def test_changed_options_are_refused(project, whole, monkeypatch):
    monkeypatch.chdir(project)
    assert whole
    assert exit_code([*WORDS, "--o", "Refine", "--sym", "C2"]) == 6


def test_inputs_that_cannot_be_meant(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert exit_code([*WORDS, "--o", "A", "--sym", "Q7"]) == 2
    write_map(Volume(voxels=torch.ones(24, 24, 24), voxel_size=5.6), "flat.mrc")
    flat = ["flat.mrc" if word == "reference.mrc" else word for word in WORDS]
    assert exit_code([*flat, "--o", "B"]) == 3
    assert "constant" in capsys.readouterr().err
    write_particles(read_particles("blind.star")[:1], "one.star")
    one = ["one.star" if word == "blind.star" else word for word in WORDS]
    assert exit_code([*one, "--o", "C"]) == 3
    assert "at least 2 different images" in capsys.readouterr().err
    assert exit_code([*WORDS, "--o", "D", "--search", "local"]) == 3
    assert "rlnAngleRot" in capsys.readouterr().err
    assert exit_code(["refine", "--i", "missing.star", "--ref", "reference.mrc", "--o", "E", *QUIET]) == 3
    assert not any((project / name).is_dir() for name in ("A", "B", "D", "E"))
