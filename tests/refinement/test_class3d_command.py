"""`cryowalk class3d` as a user meets it: files that others script against, stopping and going on, inputs that cannot be meant."""

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

from .two_states import CORE, adjusted_rand_index, blobs, two_states

QUIET = ("--quiet", "--threads", "1", "--device", "cpu")
OPTIONS = ("--classes", "2", "--skip-align", "--ini-high", "40", "--diameter", "95", "--iterations", "6", "--tau-fudge", "4")
WORDS = ("class3d", "--i", "particles.star", "--ref", "core.mrc", *OPTIONS, "--seed", "4", *QUIET)
COUNT = 80


def exit_code(words):
    with pytest.raises(SystemExit) as raised:
        main(list(words))
    return raised.value.code


def digests(folder):
    """Of every result that must be the same after a kill; the tables that name the folder are left out."""
    names = sorted(p.name for p in Path(folder).glob("run*") if p.suffix in (".mrc", ".star"))
    kept = [name for name in names if not name.endswith(("optimiser.star", "model.star"))]
    return {name: hashlib.sha256(Path(folder, name).read_bytes()).hexdigest() for name in [*kept, "scores.json"]}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    particles, label = two_states(COUNT, snr=0.6)
    write_particles(particles, folder / "particles.star")
    write_map(blobs(CORE), folder / "core.mrc")
    torch.save(label, folder / "label.pt")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert exit_code([*WORDS, "--o", "Class3D"]) == 0
    finally:
        os.chdir(before)
    return folder


def test_the_files_that_others_script_against(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    folder = project / "Class3D"
    particles = read_particles(folder / "run_data.star")
    label = torch.load(project / "label.pt")
    assert adjusted_rand_index(label, particles.class_number - 1) > 0.8
    assert all(0.5 <= float(text) <= 1 for text in particles.extra["cwClassProbability"])
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["particles_of_classes"] == torch.bincount(particles.class_number)[1:].tolist()
    assert [row["iteration"] for row in scores["iterations"]] == list(range(1, 7))
    state = read_iteration(folder / "run_it006_optimiser.star")
    assert torch.allclose(state.models[0].references[1].voxels, read_map(folder / "run_class002.mrc").voxels, atol=1e-6)
    assert state.models[0].distribution.tolist() == pytest.approx(scores["occupancy"], abs=1e-4)
    assert state.options.regularisation == pytest.approx(4)
    assert read_map(folder / "run_it003_class002.mrc").voxel_size == pytest.approx(5.0)
    report = (folder / "report.html").read_text()
    assert all(heading in report for heading in ("Class 1", "Class 2", "How sure the images are", "outweigh the prior"))
    assert exit_code([*WORDS, "--o", "Class3D"]) == 0
    assert "nothing to do" in "".join(capsys.readouterr())
    assert exit_code([*WORDS, "--o", "Class3D", "--tau-fudge", "2"]) == 6


@pytest.mark.slow
def test_killed_and_started_again_it_ends_with_the_same_bytes(project, monkeypatch):
    monkeypatch.chdir(project)
    process = subprocess.Popen([sys.executable, "-m", "cryowalk", *WORDS, "--o", "Killed"], cwd=project, start_new_session=True)
    deadline = time.time() + 240
    while time.time() < deadline and not (project / "Killed" / "run_it002_optimiser.star").is_file():
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (project / "Killed" / "scores.json").is_file()
    assert exit_code([*WORDS, "--o", "Killed"]) == 0
    assert digests("Killed") == digests("Class3D")


def test_inputs_that_cannot_be_meant(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert exit_code([*WORDS, "--o", "A", "--sym", "Q7"]) == 2
    assert exit_code([*WORDS, "--o", "A", "--classes", "90"]) == 3
    assert "90 classes for 80 particles" in capsys.readouterr().err
    three = ["core.mrc,core.mrc,core.mrc" if word == "core.mrc" else word for word in WORDS]
    assert exit_code([*three, "--o", "A"]) == 2
    assert "3 references were given for 2 classes" in capsys.readouterr().err
    write_map(Volume(voxels=torch.ones(24, 24, 24), voxel_size=5.0), "flat.mrc")
    assert exit_code([*("flat.mrc" if word == "core.mrc" else word for word in WORDS), "--o", "A"]) == 3
    write_particles(replace(read_particles("particles.star"), pose=None), "blind.star")
    blind = ["blind.star" if word == "particles.star" else word for word in WORDS]
    assert exit_code([*blind, "--o", "A"]) == 3
    assert "no poses" in capsys.readouterr().err
    write_particles(replace(read_particles("particles.star"), defocus=None), "noctf.star")
    assert exit_code([*("noctf.star" if word == "particles.star" else word for word in WORDS), "--o", "A"]) == 3
    assert "cryowalk ctf" in capsys.readouterr().err
    assert not (project / "A").exists()
