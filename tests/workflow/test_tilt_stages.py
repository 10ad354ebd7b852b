"""`simulate tilt-series` from the command line: its files agree with each other, it resumes, and wrong requests end in one line."""

import json

import pytest
import torch

from cryowalk.cli.main import main
from cryowalk.io.mdoc import read_mdoc, tilt_series_of_mdoc
from cryowalk.io.mrc import MrcStackReader
from cryowalk.io.tilt_series_files import read_angles, read_tilt_series
from cryowalk.io.tilt_series_truth import read_tilt_series_truth
from cryowalk.microscope.simulate import tilt_series as room

WORDS = ["simulate", "tilt-series", "--n", "2", "--size", "96", "96", "--pixel-size", "6", "--thickness", "400", "--particles", "2",
         "--beads", "2", "--tilt-step-degrees", "30", "--seed", "3", "--quiet", "--threads", "1", "--device", "cpu"]  # fmt: skip


def exit_code(words):
    try:
        main(words)
    except SystemExit as ending:
        return ending.code or 0
    return 0


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("tilts")
        patch.chdir(folder)
        assert exit_code([*WORDS, "--o", "out"]) == 0
    return folder


@pytest.mark.slow
def test_the_files_agree(simulated, monkeypatch):
    monkeypatch.chdir(simulated)
    measured = read_tilt_series("out/tilt_series.star")
    aligned = read_tilt_series("out/truth/tilt_series.star")
    assert [one.name for one in measured] == ["TS_001", "TS_002"]
    for one, true in zip(measured, aligned, strict=True):
        truth = read_tilt_series_truth(f"out/truth/{one.name}.star")
        stack = MrcStackReader(f"out/tilt_series/{one.name}.mrcs")
        assert (stack.count, stack.image_shape) == (5, (96, 96))
        assert stack.pixel_size == pytest.approx(6.0)
        assert one.image_names[2] == f"000003@out/tilt_series/{one.name}.mrcs"
        assert (one.pose, one.defocus) == (None, None)  # what an experiment does not know
        torch.testing.assert_close(one.tilt_angle, truth.tilt_angle, atol=1e-8, rtol=0)
        torch.testing.assert_close(read_angles(f"out/tilt_series/{one.name}.rawtlt"), truth.tilt_angle, atol=1e-8, rtol=0)
        told = tilt_series_of_mdoc(read_mdoc(f"out/tilt_series/{one.name}.mdoc"), optics=one.optics)
        for series in (one, told):
            assert series.order.tolist() == truth.order.tolist() == [4, 2, 0, 1, 3]
            torch.testing.assert_close(series.dose_before, truth.dose_before, atol=1e-6, rtol=0)
            assert series.tilt_axis == pytest.approx(truth.tilt_axis, abs=1e-6)
        torch.testing.assert_close(true.pose.lab_from_particle, truth.lab_from_specimen, atol=1e-7, rtol=0)
        torch.testing.assert_close(true.pose.shift, truth.shift, atol=1e-5, rtol=0)
    facts = json.loads((simulated / "out/truth/truth.json").read_text())
    assert [one["name"] for one in facts["tilt_series"]] == ["TS_001", "TS_002"]
    assert (simulated / "out/truth" / facts["states"][0]["map"]).is_file()
    page = (simulated / "out/report.html").read_text()
    assert "Simulated tilt series" in page
    assert len(page) > 10_000
    (simulated / "out/report.html").unlink()
    assert exit_code(["report", str(simulated / "out"), "--quiet"]) == 0
    again = (simulated / "out/report.html").read_text()
    assert "Simulated tilt series" in again
    assert "Tilts" in again


@pytest.mark.slow
def test_a_stopped_run_ends_with_the_same_bytes(simulated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = room.tilt_image
    taken = []

    def stopping(series, tilt):
        taken.append(tilt)
        if len(taken) == 8:
            raise KeyboardInterrupt
        return whole(series, tilt)

    with monkeypatch.context() as patch:
        patch.setattr(room, "tilt_image", stopping)
        assert exit_code([*WORDS, "--o", "out"]) == 130
    assert not (tmp_path / "out/tilt_series.star").exists()
    taken.clear()
    with monkeypatch.context() as patch:
        patch.setattr(room, "tilt_image", lambda series, tilt: taken.append(tilt) or whole(series, tilt))
        assert exit_code([*WORDS, "--o", "out"]) == 0
    assert taken == [2, 3, 4]  # of the second series: what was on disk was kept
    told = {"job.json", "run.log", "report.html"}
    names = [path.relative_to(simulated) for path in simulated.rglob("*") if path.is_file() and path.name not in told]
    assert len(names) > 12
    for name in names:
        assert (simulated / name).read_bytes() == (tmp_path / name).read_bytes(), name


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--thickness", "-100"], 2),
        (["--dose", "0"], 2),
        (["--largest-tilt-degrees", "85"], 2),
        (["--scheme", "spiral"], 2),
        (["--camera", "polaroid"], 2),
        (["--weights", "1,2"], 2),
        (["--thickness", "30"], 2),
        (["--structure", "absent.pdb"], 3),
    ],
)
def test_wrong_requests_end_in_one_message(tmp_path, monkeypatch, capfd, words, code):
    monkeypatch.chdir(tmp_path)
    assert exit_code([*WORDS, "--o", "out", *words]) == code
    assert "Traceback" not in capfd.readouterr().err
