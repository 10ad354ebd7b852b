"""`cryowalk score` for picks, the defocus of micrographs and motion: files in, flat numbers out."""

import json
import math

import pytest
import torch
from tests.cli.test_pick_command import exit_code

from cryowalk.data.motion import Motion
from cryowalk.io.motion import MovieMotion, write_motion


@pytest.fixture
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scores(capsys, *words):
    capsys.readouterr()
    assert exit_code(["score", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_picks_of_one_micrograph(inside, capsys):
    (inside / "picks.csv").write_text("x,y,score\n10,10,3\n52,50,2\n70,70,1\n9,10,1\n")
    (inside / "truth.csv").write_text("x,y\n11,10\n50,50\n90,10\n")
    words = ("picks", "--i", "picks.csv", "--truth", "truth.csv", "--diameter", "20")
    found = scores(capsys, *words, "--pixel-size", "2")
    assert (found["picks"], found["particles"], found["micrographs"]) == (4, 3, 1)
    assert found["precision"] == 0.5
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(4 / 7)
    assert found["centre_error_rms_angstrom"] == pytest.approx(2 * math.sqrt((1 + 4) / 2))
    assert exit_code(["score", *words]) == 2  # no pixel size
    assert exit_code(["score", "picks", "--i", "picks.csv", "--truth", "truth.csv", "--pixel-size", "2"]) == 2  # no diameter


def table(rows):
    lines = "".join(f"{name} {x} {y}\n" for name, x, y in rows)
    return "data_\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n" + lines + "\n"


def test_picks_of_many_micrographs_are_matched_by_name(inside, capsys):
    (inside / "picks.star").write_text(table([("m/a.mrc", 10, 10), ("m/a.mrc", 80, 80), ("m/c.mrc", 10, 10)]))
    (inside / "truth.star").write_text(table([("other/a.mrc", 12, 10), ("other/b.mrc", 10, 10)]))
    found = scores(capsys, "picks", "--i", "picks.star", "--truth", "truth.star", "--diameter", "20", "--pixel-size", "1")
    assert (found["picks"], found["particles"]) == (3, 2)
    assert found["precision"] == pytest.approx(1 / 3)
    assert found["recall"] == 0.5
    (inside / "far.star").write_text(table([("x.mrc", 12, 10)]))
    words = ("--truth", "far.star", "--diameter", "20", "--pixel-size", "1")
    assert exit_code(["score", "picks", "--i", "picks.star", *words]) == 3


def test_the_simulation_scores_itself_without_error(inside, capsys):
    words = (
        "--n",
        "2",
        "--size",
        "256",
        "256",
        "--pixel-size",
        "4",
        "--particles",
        "5",
        "--seed",
        "2",
        "--quiet",
        "--threads",
        "1",
    )
    assert exit_code(["simulate", "micrographs", "--o", "sim", *words]) == 0
    found = scores(capsys, "picks", "--i", "sim/particles.star", "--truth", "sim/particles.star", "--diameter", "140")
    assert (found["particles"], found["f1"], found["centre_error_rms_angstrom"]) == (10, 1, 0)
    truth = "sim/truth/micrographs_ctf.star"
    found = scores(capsys, "defocus", "--i", truth, "--truth", truth)
    assert found["micrographs"] == 2
    assert found["defocus_error_median_angstrom"] < 1e-9
    assert exit_code(["score", "defocus", "--i", "sim/micrographs.star", "--truth", truth]) == 3  # it holds no defocus


def test_motion_is_compared_track_by_track_without_its_mean(inside, capsys):
    """A constant offset is no error; a linear drift of δ in the last of f frames has the spread that a line has; a local part shows at places."""
    steps = torch.linspace(0, 6, 7, dtype=torch.float64)
    plain = torch.stack([steps, 0 * steps], dim=1)
    field = (800.0, 600.0)
    local = torch.zeros(7, 2, 5, dtype=torch.float64)
    local[:, 1, 0] = steps
    for folder, motion in (
        ("truth", Motion(global_displacement=plain, field=field)),
        ("moved", Motion(global_displacement=1.5 * plain, field=field)),
        ("bent", Motion(global_displacement=plain, field=field, local=local)),
        ("short", Motion(global_displacement=plain[:5], field=field)),
    ):
        (inside / folder).mkdir()
        told = MovieMotion(motion=motion, movie_name="a.tif", pixel_size=2.0, image_size=(400, 300))
        write_motion(told, inside / folder / "a_motion.star")
    assert scores(capsys, "motion", "--i", "truth", "--truth", "truth")["motion_error_rms_angstrom"] == 0
    drift = float((0.5 * (steps - steps.mean())).square().mean().sqrt())
    found = scores(capsys, "motion", "--i", "moved", "--truth", "truth")
    assert found["global_motion_error_rms_angstrom"] == pytest.approx(drift)
    assert found["motion_error_rms_angstrom"] == pytest.approx(drift)
    found = scores(capsys, "motion", "--i", "bent", "--truth", "truth")
    assert found["global_motion_error_rms_angstrom"] == 0
    places = torch.linspace(-0.4, 0.4, 5)
    assert found["motion_error_rms_angstrom"] == pytest.approx(2 * drift * float(places.square().mean().sqrt()), rel=1e-4)
    assert exit_code(["score", "motion", "--i", "short", "--truth", "truth"]) == 3
    assert exit_code(["score", "motion", "--i", "nowhere", "--truth", "truth"]) in (2, 3)
