"""Defocus and astigmatism of micrographs as `cryowalk simulate micrographs` makes them, through the commands, against their truth."""

import math
import statistics

import pytest

from cryowalk.cli.main import exit_code
from cryowalk.io.micrographs import read_micrographs

OFF = ("--quiet", "--threads", "1")


@pytest.mark.slow
def test_simulated_micrographs_give_their_defocus_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scene = ("--n", "3", "--size", "2048", "2048", "--defocus-range", "15000", "25000", "--astigmatism", "600", "--dose", "40")
    assert exit_code(["simulate", "micrographs", "--o", "mics", "--seed", "11", *scene, *OFF]) == 0
    assert exit_code(["ctf", "--i", "mics/micrographs.star", "--o", "ctf", "--tilt", "fit", *OFF]) == 0
    found, truth = read_micrographs("ctf/micrographs_ctf.star"), read_micrographs("mics/truth/micrographs_ctf.star")
    assert found.names == truth.names
    assert found.extra["cwGood"] == ("1",) * 3
    assert {float(tilt) for tilt in found.extra["cwTilt"]} == {0.0}
    measured, true = found.defocus, truth.defocus
    errors = ((measured.major + measured.minor - true.major - true.minor) / 2).abs().tolist()
    assert statistics.median(errors) < 40
    assert max(errors) < 80
    strong = (true.major - true.minor) >= 300
    assert int(strong.sum()) >= 2
    away = (measured.azimuth - true.azimuth + math.pi / 2).remainder(math.pi) - math.pi / 2
    angles = away[strong].abs().tolist()
    assert statistics.median(angles) < math.radians(5)
    assert max(angles) < math.radians(8)  # 300 Å against a standard error of some 30 Å
