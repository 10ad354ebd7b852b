"""The hand of a tilt series from gradients of defocus: closed forms, and a simulated series in both hands."""

import json
import math
from pathlib import Path

import pytest
import torch

from cryowalk.cli.main import exit_code
from cryowalk.core.errors import ShapeError
from cryowalk.ctf_estimation.local import TiltEstimate
from cryowalk.ctf_estimation.tilt_hand import expected_gradients, lab_from_tilts, tilt_hand
from cryowalk.geometry.sampling import random_rotations
from cryowalk.io.star import StarBlock, read_star, write_star

ANGLES = torch.deg2rad(torch.tensor([-40.0, -20.0, 0.0, 20.0, 40.0], dtype=torch.float64))
AXIS = math.radians(95)


def estimate(gradient: tuple[float, float], *, significance: float = 9.0, deviation: float = 0.06) -> TiltEstimate:
    return TiltEstimate(defocus=20000.0, gradient=gradient, centre=(0.0, 0.0), significance=significance, deviation=deviation)


def test_the_expected_gradient_is_the_height_of_the_turned_plane(generator: torch.Generator) -> None:
    turns = random_rotations(20, generator=generator)
    turns = turns[turns[:, 2, 2].abs() > 0.2]
    plane = torch.cat([torch.randn(50, 2, generator=generator), torch.zeros(50, 1)], dim=1).double()
    for turn, gradient in zip(turns, expected_gradients(turns), strict=True):
        lab = plane @ turn.T
        assert torch.allclose(lab[:, 2], lab[:, :2] @ gradient, atol=1e-9)


def test_a_positive_tilt_about_y_has_less_underfocus_at_larger_x() -> None:
    gradient = expected_gradients(lab_from_tilts(torch.tensor([0.5]), tilt_axis=math.pi / 2))[0]
    assert gradient.tolist() == pytest.approx([-math.tan(0.5), 0.0])


@pytest.mark.parametrize("sign", [1, -1])
def test_both_hands_are_told_with_their_slope(sign: int, generator: torch.Generator) -> None:
    turns = lab_from_tilts(ANGLES, tilt_axis=AXIS)
    noise = 0.05 * torch.randn(5, 2, generator=generator, dtype=torch.float64)
    measured = sign * expected_gradients(turns) + noise
    estimates = [estimate((x, y), significance=1.0 if place == 2 else 9.0) for place, (x, y) in enumerate(measured.tolist())]
    found = tilt_hand(estimates, turns)
    assert found.hand == ("right" if sign > 0 else "reversed")
    assert found.images == 4
    assert found.slope == pytest.approx(sign, abs=4 * found.error)


def test_what_is_no_more_than_noise_or_no_tilt_is_undecided() -> None:
    turns = lab_from_tilts(ANGLES, tilt_axis=AXIS)
    assert tilt_hand([estimate((0.5, 0.5), significance=2.0)] * 5, turns).hand == "undecided"
    across = [estimate((0.9, 0.0))] * 5  # along the axis: no tilt about it
    assert tilt_hand(across, turns).hand == "undecided"
    with pytest.raises(ShapeError, match="2 estimates"):
        tilt_hand([estimate((0.1, 0.1))] * 2, turns)


@pytest.mark.slow
def test_a_simulated_series_is_told_in_both_hands(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    off = ("--quiet", "--threads", "1")
    shape = ["--size", "640", "640", "--pixel-size", "3", "--particles", "10", "--beads", "0", "--thickness", "600"]
    tilts = ["--tilt-step-degrees", "40", "--largest-tilt-degrees", "40", "--dose", "20", "--defocus-range", "20000", "22000"]
    assert exit_code(["simulate", "tilt-series", "--o", "Tilt", *shape, *tilts, *off]) == 0
    capsys.readouterr()
    assert exit_code(["check-hand", "--i", "Tilt/tilt_series.star", "--json", *off]) == 0
    (facts,) = json.loads(capsys.readouterr().out)
    assert (facts["hand"], facts["rlnTomoHand"], facts["rlnTomoHand_in_file"]) == ("right", "1", "1")
    assert facts["slope"] == pytest.approx(1.0, abs=0.3)
    (table,) = Path("Tilt/tilt_series").glob("*.star")
    (block,) = read_star(table).blocks
    columns = dict(block.columns)
    columns["rlnTomoNominalStageTiltAngle"] = tuple(str(-float(value)) for value in columns["rlnTomoNominalStageTiltAngle"])
    write_star([StarBlock(name=block.name, columns=columns)], table)
    capsys.readouterr()
    assert exit_code(["check-hand", "--i", "Tilt/tilt_series.star", *off]) == 0
    assert "rlnTomoHand -1 (the file has 1" in capsys.readouterr().out
