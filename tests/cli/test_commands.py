"""The commands of the first walk on real files: what they write, that a kill changes no byte, and what they say to wrong input."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cryowalk.cli.main import exit_code

SIMULATE = (
    "simulate",
    "particles",
    "--n",
    "10",
    "--box",
    "32",
    "--pixel-size",
    "4.6",
    "--snr",
    "2",
    "--seed",
    "3",
    "--threads",
    "1",
    "--batch",
    "2",
)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with simulated particles in `sim` and their reconstruction in `rec`, made in this process."""
    folder = tmp_path_factory.mktemp("project")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert exit_code([*SIMULATE, "--o", "sim", "--quiet"]) == 0
        assert exit_code(["reconstruct", "--i", "sim/particles.star", "--o", "rec", "--quiet", "--threads", "1"]) == 0
        yield folder
    finally:
        os.chdir(before)


@pytest.fixture
def inside(project, monkeypatch) -> Path:
    monkeypatch.chdir(project)
    return project


def test_simulation_and_reconstruction_write_what_others_script_against(inside, digests):
    assert {"particles.star", "particles.mrcs", "truth.star", "truth_map.mrc"} <= digests(inside / "sim").keys()
    maps = {"run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc", "run_class001.mrc"}
    assert digests(inside / "rec").keys() == maps | {"view.cxc"}
    record = json.loads((inside / "rec" / "job.json").read_text())
    assert record["outputs"]["run_class001.mrc"]["bytes"] == 1024 + 4 * 32**3
    assert [parent["output"] for parent in record["parents"]] == ["particles.star", "particles.mrcs"]
    assert json.loads((inside / "sim" / "job.json").read_text())["outputs"]["particles.mrcs"]["rows"] == 10
    for name in ("sim", "rec"):
        assert "<html" in (inside / name / "report.html").read_text()


def test_fsc_prints_what_others_script_against(inside, capsys):
    assert exit_code(["fsc", "rec/run_class001.mrc", "sim/truth_map.mrc", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {"resolution_0.143_angstrom", "resolution_0.5_angstrom", "frequency", "fsc"} <= facts.keys()
    assert len(facts["frequency"]) == len(facts["fsc"]) == 17
    assert facts["fsc"][2] > 0.8
    assert exit_code(["fsc", "sim/truth_map.mrc", "sim/truth_map.mrc", "--mask", "sim/truth_map.mrc", "--json"]) == 0
    assert min(json.loads(capsys.readouterr().out)["fsc"]) > 0.999
    assert exit_code(["fsc", "sim/truth_map.mrc", "sim/truth_map.mrc"]) == 0
    assert "resolution_0.5_angstrom" in capsys.readouterr().out


def test_scores_are_flat_numbers_with_units(inside, capsys):
    assert exit_code(["score", "poses", "--i", "sim/particles.star", "--truth", "sim/truth.star", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["pose_angle_error_median_degrees"] < 1e-4
    assert exit_code(["score", "reconstruct", "--i", "rec", "--truth", "sim/truth.star", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert {"fsc_to_truth_0.5_angstrom", "half_fsc_0.143_angstrom"} <= scores.keys()
    assert exit_code(["score", "ctf", "--i", "sim/particles.star", "--truth", "sim/truth.star"]) == 0
    assert "defocus" in capsys.readouterr().out


def test_projections_are_the_simulated_images_without_their_noise(inside, tmp_path):
    import torch

    from cryowalk.io import read_particles

    root = tmp_path / "p" / "proj"
    words = ["project", "--i", "sim/truth_map.mrc", "--ang", "sim/particles.star", "--o", str(root), "--quiet"]
    assert exit_code([*words, "--ctf"]) == 0
    ours, theirs = read_particles(root.with_suffix(".star")), read_particles(inside / "sim" / "particles.star")
    images, noisy = (each.images.read(range(10)).flatten(1) for each in (ours, theirs))
    centred = [each - each.mean(1, keepdim=True) for each in (images, noisy)]
    correlation = torch.nn.functional.cosine_similarity(*centred)
    # Of noise-free and noisy images the correlation is √(SNR / (1 + SNR)), 0.82 for an SNR of 2.
    assert (correlation > 0.65).all()
    assert 0.72 < correlation.mean() < 0.92
    assert exit_code(["project", "--i", "rec/run_class001.mrc", "--ang", "sim/truth_map.mrc", "--o", str(root)]) == 3


def test_conversions(inside, tmp_path, capsys):
    out = str(tmp_path)
    for words in (
        ["--i", "sim/specimen.cif", "--o", f"{out}/a.pdb"],
        ["--i", f"{out}/a.pdb", "--o", f"{out}/a.mrc", "--pixel-size", "5"],
        ["--i", "sim/particles.mrcs", "--o", f"{out}/a.mrcs", "--mode", "float16"],
        ["--i", "sim/truth_map.mrc", "--o", f"{out}/b.mrc", "--angpix", "4"],
        ["--i", "sim/particles.star", "--o", f"{out}/a.star"],
    ):
        assert exit_code(["convert", *words, "--quiet"]) == 0
    capsys.readouterr()
    assert exit_code(["inspect", f"{out}/a.mrcs", f"{out}/b.mrc", f"{out}/a.star", "--json"]) == 0
    stack, volume, table = json.loads(capsys.readouterr().out)
    assert stack["mode"] == 12
    assert volume["voxel_size_angstrom"] == [4.0, 4.0, 4.0]
    assert table["particles"] == 10
    assert exit_code(["validate", f"{out}/a.mrc", f"{out}/b.mrc", f"{out}/a.star"]) == 0
    assert exit_code(["convert", "--i", "sim/particles.star", "--o", f"{out}/a.tif"]) == 2
    assert exit_code(["convert", "--i", "sim/particles.star", "--o", "sim/particles.star"]) == 2


def test_movies_are_converted_between_formats(inside, tmp_path, capsys):
    import torch

    from cryowalk.io import open_movie, write_movie

    frames = torch.poisson(torch.full((3, 12, 20), 2.0), generator=torch.Generator().manual_seed(4))
    first, *others = (str(tmp_path / name) for name in ("a.tiff", "b.mrc", "c.eer", "d.tif"))
    write_movie(iter(frames), first, pixel_size=1.5, sample_format="uint8")
    source = first
    for name in (*others, str(tmp_path / "e.mrcs")):
        more = ["--pixel-size", "0.75"] if name.endswith("d.tif") else []
        assert exit_code(["convert", "--i", source, "--o", name, *more, "--quiet"]) == 0
        movie = open_movie(name)
        assert torch.equal(movie.read(range(3)), frames)
        assert movie.pixel_size == pytest.approx(0.75 if more or name.endswith("e.mrcs") else 1.5)
        source = name
    assert exit_code(["convert", "--i", first, "--o", str(tmp_path / "x.star")]) == 2
    assert "no way from a.tiff (movie)" in capsys.readouterr().err
    (tmp_path / "t.mdoc").write_text("[ZValue = 0]\nTiltAngle = 3\n")
    assert exit_code(["convert", "--i", str(tmp_path / "t.mdoc"), "--o", str(tmp_path / "x.mrc")]) == 2


def test_converting_a_map_keeps_its_values(inside, tmp_path):
    import numpy as np

    from cryowalk.io import read_array

    assert exit_code(["convert", "--i", "sim/truth_map.mrc", "--o", str(tmp_path / "b.mrc"), "--quiet"]) == 0
    assert np.array_equal(read_array(tmp_path / "b.mrc"), read_array("sim/truth_map.mrc"))


def test_unsound_files_are_named_and_the_code_says_so(inside, tmp_path, capsys):
    content = (inside / "sim" / "truth_map.mrc").read_bytes()
    (tmp_path / "cut.mrc").write_bytes(content[:-100])
    assert exit_code(["validate", "sim/truth_map.mrc", str(tmp_path / "cut.mrc"), "--json"]) == 3
    facts = json.loads(capsys.readouterr().out)
    assert [each["sound"] for each in facts["files"]] == [True, False]
    assert exit_code(["inspect", str(tmp_path / "cut.mrc")]) == 3
    assert exit_code(["inspect", "nothing.mrc"]) == 3
    (tmp_path / "odd.txt").write_text("a shopping list\n")
    capsys.readouterr()
    assert exit_code(["inspect", str(tmp_path / "odd.txt"), "sim/truth_map.mrc"]) == 3  # the others are told all the same
    told = capsys.readouterr()
    assert "truth_map.mrc" in told.out
    assert "1 of 2 files could not be told\n  - " in told.err


def test_an_input_that_lost_lines_since_its_job_ended_is_refused(project, tmp_path, monkeypatch, capsys):
    import shutil

    shutil.copytree(project / "sim", tmp_path / "sim")
    monkeypatch.chdir(tmp_path)
    star = tmp_path / "sim" / "particles.star"
    star.write_text("\n".join(star.read_text().rstrip().split("\n")[:-2]) + "\n\n")
    assert exit_code(["reconstruct", "--i", "sim/particles.star", "--o", "rec", "--quiet"]) == 3
    told = capsys.readouterr().err
    assert "8 rows" in told
    assert "10 rows" in told


def test_the_report_is_drawn_again(inside):
    before = (inside / "rec" / "report.html").read_text()
    (inside / "rec" / "report.html").unlink()
    assert exit_code(["report", "rec", "--quiet"]) == 0
    assert len((inside / "rec" / "report.html").read_text()) > 0.9 * len(before)
    assert exit_code(["reconstruct", "--i", "sim/particles.star", "--o", "rec", "--quiet", "--threads", "1"]) == 0
    assert exit_code(["report", "nowhere"]) == 3


def test_doctor_reports(inside, capsys):
    assert exit_code(["doctor", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["faults"] == []
    assert facts["directory"]["writable"]
    assert exit_code(["doctor"]) == 0
    assert "all that is needed is here" in capsys.readouterr().out


def test_the_course_is_there(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert exit_code(["course", "list", "--json"]) == 0
    assert any(unit["unit"] == "U00" for unit in json.loads(capsys.readouterr().out))
    assert exit_code(["course", "progress", "--json"]) == 0
    assert "U00" in json.loads(capsys.readouterr().out)
    assert exit_code(["course", "check", "U00.1"]) == 2
    assert exit_code(["course", "open", "U99"]) == 2


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["simulate", "particles", "--o", "x", "--structure", "sim/specimen.cif", "--map", "sim/truth_map.mrc"], 2),
        (["simulate", "particles", "--o", "x", "--structure", "sim/truth_map.mrc"], 3),
        (["simulate", "particles", "--o", "x", "--box", "16", "--pixel-size", "1"], 3),
        (["reconstruct", "--i", "sim/particles.star", "--o", "x", "--sym", "Q7"], 2),
        (["reconstruct", "--i", "sim/truth_map.mrc", "--o", "x"], 3),
        (["reconstruct", "--i", "sim/particles.star", "--o", "sim"], 6),
        (["reconstruct", "--i", "sim/particles.star", "--o", "x", "--pad", "0"], 2),
        (["fsc", "sim/truth_map.mrc", "sim/particles.mrcs"], 3),
        (["score", "taste", "--i", "rec", "--truth", "sim/truth.star"], 2),
    ],
)
def test_wrong_input_is_one_clear_error(inside, capsys, words, code):
    assert exit_code(words) == code
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert "defect" not in told
    assert not (inside / "x" / "particles.star").exists()
    import shutil

    shutil.rmtree(inside / "x", ignore_errors=True)


def killed_and_resumed(project: Path, words: list[str], *, kills: int, seed: int) -> int:
    """How many kills hit while the command ran; at the end it has run through."""
    moments = random.Random(seed)
    hits = 0
    program = [sys.executable, "-m", "cryowalk", *words]
    directory = project / words[words.index("--o") + 1]
    for _ in range(kills):
        process = subprocess.Popen(program, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while not (directory / "job.json").exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        try:
            process.wait(timeout=moments.uniform(0.0, 0.8))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            hits += 1
        process.wait()
    done = subprocess.run(program, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return hits


@pytest.mark.slow
def test_a_killed_simulation_and_a_killed_reconstruction_end_with_the_same_bytes(project, digests):
    hits = killed_and_resumed(project, [*SIMULATE, "--o", "sim_killed", "--quiet"], kills=1, seed=1)
    # The STAR file names its stack by its path, so the directory's name is the one thing that may differ.
    assert digests(project / "sim_killed", (b"sim_killed/", b"sim/")) == digests(project / "sim")
    words = ["reconstruct", "--i", "sim/particles.star", "--o", "rec_killed", "--quiet", "--threads", "1"]
    hits += killed_and_resumed(project, words, kills=1, seed=2)
    assert digests(project / "rec_killed") == digests(project / "rec")
    assert hits >= 1
