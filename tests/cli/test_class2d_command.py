"""`cryowalk class2d` and `select`: names others script against, RELION's files, kill and resume, selections, wrong input."""

import importlib.util
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

from cryowalk.cli.main import exit_code
from cryowalk.data import ImageStack, Optics
from cryowalk.io import read_array, read_particles, write_particles
from cryowalk.io.relion_refinement import read_iteration

OFF = ("--quiet", "--threads", "1")
QUICK = (
    "--classes",
    "3",
    "--iterations",
    "2",
    "--diameter",
    "190",
    "--resolution-limit",
    "25",
    "--angular-step",
    "15",
    "--offset-step",
    "5",
)
COUNT = 48


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Path:
    """A folder with images of three known views and an empty fourth part, as a STAR file and a stack."""
    path = Path(__file__).parents[1] / "classification" / "conftest.py"
    spec = importlib.util.spec_from_file_location("views_for_commands", path)
    views = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(views)
    folder = tmp_path_factory.mktemp("stack")
    made = views.known_views(COUNT, views=3, snr=0.2, seed=8, empty=0.2)
    particles = replace(made.particles, extra={"ownColumn": tuple(f"00{number}" for number in range(COUNT))})
    write_particles(particles, folder / "particles.star")
    return folder


def class2d(output, *words, i, options=QUICK):
    return exit_code(["class2d", "--i", str(i), "--o", str(output), *options, *words, *OFF])


@pytest.fixture(scope="module")
def finished(stack) -> Path:
    """A finished job."""
    assert class2d(stack / "job", i=stack / "particles.star") == 0
    return stack / "job"


def contents(directory: Path) -> dict[str, bytes]:
    told = ("job.json", "run.log", "report.html")
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file() and path.name not in told}


def test_the_files_that_others_script_against_are_there(finished):
    particles = read_particles(finished / "run_it002_data.star")
    assert len(particles) == COUNT
    assert set(particles.class_number.tolist()) <= {1, 2, 3}
    assert particles.extra["ownColumn"][7] == "007"
    assert particles.pose is not None
    classes = read_array(finished / "run_it002_classes.mrcs")
    assert classes.shape == (3, 48, 48)
    ranking = json.loads((finished / "class_ranking.json").read_text())
    assert [one["score"] for one in ranking["classes"]] == sorted((one["score"] for one in ranking["classes"]), reverse=True)
    assert sum(one["images"] for one in ranking["classes"]) == COUNT
    assert ranking["iteration"] == 2
    assert (finished / "run_it001_data.star").is_file()


def test_the_iteration_is_read_back_as_a_refinement(finished):
    state = read_iteration(finished / "run_it002_optimiser.star")
    assert state.iteration == 2
    assert state.models[0].is_flat
    assert state.options.diameter == pytest.approx(190)
    assert float(state.models[0].distribution.sum()) == pytest.approx(1, abs=1e-4)
    classes = torch.from_numpy(read_array(finished / "run_it002_classes.mrcs").copy())
    assert torch.allclose(state.models[0].references.pixels, classes)


def test_the_report_lets_one_choose_classes_offline(finished):
    page = (finished / "report.html").read_text()
    assert page.count('class="tile"') == 3
    assert "cryowalk select --i" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    ranking = json.loads((finished / "class_ranking.json").read_text())
    assert page.count('aria-pressed="true"><img') == len(ranking["proposed"])


def test_a_finished_job_is_not_run_again(finished, stack):
    before = contents(finished)
    assert class2d(finished, i=stack / "particles.star") == 0
    assert contents(finished) == before
    assert class2d(finished, "--tau-fudge", "3", i=stack / "particles.star") == 6


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bytes(stack):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def words(output: str) -> list[str]:
        return [sys.executable, "-m", "cryowalk", "class2d", "--i", "particles.star", "--o", output, *QUICK, *OFF]

    silent = {"cwd": stack, "env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(words("killed"), **silent)
    for _ in range(1200):
        if (stack / "killed" / "run_it001_optimiser.star").is_file() or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for output in ("killed", "unhurt"):
        assert subprocess.run(words(output), check=False, **silent).returncode == 0
    killed, whole = contents(stack / "killed"), contents(stack / "unhurt")
    assert killed.keys() == whole.keys()
    # Tables name their own folder.
    assert [name for name in whole if killed[name].replace(b"killed", b"unhurt") != whole[name]] == []


def test_select_by_number_keeps_columns_and_images(finished, stack):
    output = stack / "chosen" / "particles.star"
    assert exit_code(["select", "--i", str(finished), "--classes", "1-2", "--o", str(output)]) == 0
    chosen = read_particles(output)
    every = read_particles(finished / "run_it002_data.star")
    rows = torch.nonzero(every.class_number <= 2)[:, 0]
    assert len(chosen) == len(rows)
    assert chosen.extra["ownColumn"] == every[rows].extra["ownColumn"]
    assert torch.equal(chosen.images.read([0]), every.images.read([int(rows[0])]))


def test_select_by_score_keeps_what_the_ranking_proposes(finished, stack):
    output = stack / "auto.star"
    ranking = json.loads((finished / "class_ranking.json").read_text())
    assert exit_code(["select", "--i", str(finished), "--o", str(output)]) == 0
    assert set(read_particles(output).class_number.tolist()) <= set(ranking["proposed"])
    assert exit_code(["select", "--i", str(finished), "--min-particle-score", "0.5", "--o", str(stack / "few.star")]) == 0
    assert len(read_particles(stack / "few.star")) <= len(read_particles(output))


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--classes", "4"), 2),
        (("--classes", "one"), 2),
        (("--classes", "2-1"), 2),
        (("--min-score", "1"), 3),
        (("--min-score", "2"), 2),
    ],
)
def test_wrong_selections_are_refused(finished, stack, words, code):
    output = stack / "refused.star"
    assert exit_code(["select", "--i", str(finished), *words, "--o", str(output)]) == code
    assert not output.exists()


def test_select_refuses_what_is_no_classification(stack):
    assert exit_code(["select", "--i", str(stack / "particles.star"), "--o", str(stack / "none.star")]) == 3
    assert exit_code(["select", "--i", str(stack), "--o", str(stack / "none.star")]) == 3


def spoiled(particles, number):
    """Particles that cannot be classified."""
    if number == "no CTF":
        return replace(particles, defocus=None)
    if number == "one":
        return particles[:1]
    if number == "mixed pixel sizes":
        other = Optics(pixel_size=4.0, name="opticsGroup2")
        return replace(particles, optics=(*particles.optics, other), optics_index=torch.arange(COUNT) % 2, images=None)
    if number == "zero":
        return particles.with_images(ImageStack(pixels=torch.zeros(COUNT, 48, 48), pixel_size=5.0))
    raise KeyError(number)


@pytest.mark.parametrize("what", ["no CTF", "one", "zero"])
def test_bad_input_ends_with_code_three(stack, tmp_path, what):
    particles = read_particles(stack / "particles.star")
    write_particles(spoiled(particles, what), tmp_path / "bad.star")
    assert class2d(tmp_path / "job", i=tmp_path / "bad.star") == 3
    assert not list(tmp_path.glob("job/run_it*"))


def test_more_classes_than_particles_are_refused(stack, tmp_path, capsys):
    options = ("--classes", "60", "--iterations", "1")
    assert class2d(tmp_path / "job", i=stack / "particles.star", options=options) == 3
    said = capsys.readouterr().err
    assert "more than there are particles" in said
    assert "particles.star" in said


def test_images_without_ctf_are_classified_on_request(stack, tmp_path):
    particles = replace(read_particles(stack / "particles.star"), defocus=None)
    write_particles(particles, tmp_path / "plain.star")
    options = (*QUICK[:3], "1", *QUICK[4:], "--ctf", "none")
    assert class2d(tmp_path / "job", i=tmp_path / "plain.star", options=options) == 0
    assert (tmp_path / "job" / "run_it001_classes.mrcs").is_file()
