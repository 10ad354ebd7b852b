"""The hand of a real map by its fitted model: EMD-2566, one protein of 3J6B, and its mirror image."""

import json
from pathlib import Path

import pytest

from cryowalk.cli.main import exit_code
from cryowalk.io import read_map, write_map
from cryowalk.validation.rigid_motion import mirrored

pytestmark = [pytest.mark.agreement, pytest.mark.slow]


def test_the_ribosome_s_protein_has_the_hand_of_its_model_and_its_mirror_image_has_not(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = real_data / "map_model_emd2566_3j6b"
    source, other = folder / "2566_3J6B_9.mrc", tmp_path / "other.mrc"
    write_map(mirrored(read_map(source)), other)
    told = {}
    for path in (source, other):
        capsys.readouterr()
        words = ["check-hand", "--i", str(path), "--model", str(folder / "3J6B_9.pdb"), "--resolution", "3.6", "--json"]
        assert exit_code([*words, "--quiet", "--threads", "1"]) == 0
        told[path] = json.loads(capsys.readouterr().out)
    assert told[source]["hand"] == "right"
    assert told[source]["correlation"] > told[source]["mirrored_correlation"] + 0.3
    assert told[other]["hand"] == "mirrored"


def test_a_real_map_is_none_of_the_kit_s(real_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["conventions", "check", str(real_data / "emdb_maps" / "emd_1832.map"), "--quiet", "--threads", "1"]) == 3
    assert "none fits" in capsys.readouterr().out
