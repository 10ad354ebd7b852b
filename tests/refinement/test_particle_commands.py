"""`cryowalk expand-symmetry`, `remove-duplicates` and `subtract` as a user meets them."""

import json
from dataclasses import replace

import pytest
import torch

from cryowalk.cli.main import main
from cryowalk.data import Volume
from cryowalk.io import read_map, read_mask, read_particles, write_map
from cryowalk.io.maps import write_mask
from cryowalk.io.relion import write_particles

from .two_states import ARMS, BOX, PIXEL, blobs, state, two_states

QUIET = ("--threads", "1", "--device", "cpu")


def exit_code(words):
    with pytest.raises(SystemExit) as raised:
        main([*words, *QUIET])
    return raised.value.code


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    particles, _ = two_states(12, snr=2.0)
    coordinates = torch.stack([torch.arange(12) // 3 * 40.0, torch.arange(12) % 3 * 2.0], dim=1).double()
    write_particles(replace(particles, coordinates=coordinates), tmp_path / "particles.star")
    write_map(state(0), tmp_path / "map.mrc")
    near = blobs(((*ARMS[0][:3], 1.0),)).voxels
    write_mask(Volume(voxels=(3 * near).clamp(0, 1), voxel_size=PIXEL), tmp_path / "mask.mrc")
    return tmp_path


def test_expansion(project, capsys):
    assert exit_code(["expand-symmetry", "--i", "particles.star", "--sym", "D2", "--o", "sub/expanded.star"]) == 0
    assert "12 particles, 48 copies" in capsys.readouterr().out
    copies = read_particles("sub/expanded.star")
    assert len(copies) == 48
    assert copies.extra["cwExpandedFrom"][4:8] == ("2",) * 4
    assert torch.equal(copies.images.read([5]), read_particles("particles.star").images.read([1]))
    assert exit_code(["expand-symmetry", "--i", "sub/expanded.star", "--sym", "D2", "--o", "again.star"]) == 3
    assert "expanded.star" in capsys.readouterr().err
    assert exit_code(["expand-symmetry", "--i", "particles.star", "--sym", "Z", "--o", "no.star"]) == 2
    assert exit_code(["expand-symmetry", "--i", "particles.star", "--sym", "C2", "--o", "particles.star"]) == 2
    assert exit_code(["expand-symmetry", "--i", "particles.star", "--sym", "C2", "--o", "folder"]) == 2
    assert not (project / "no.star").exists()


def test_removal_of_duplicates(project, capsys):
    assert exit_code(["remove-duplicates", "--i", "particles.star", "--min-distance", "60", "--o", "unique.star"]) == 0
    told = capsys.readouterr().out
    kept = read_particles("unique.star")
    assert f"{len(kept)} of 12 particles, {12 - len(kept)} duplicates removed" in told
    assert exit_code(["remove-duplicates", "--i", "particles.star", "--min-distance", "0", "--o", "no.star"]) == 2
    write_particles(replace(read_particles("particles.star"), coordinates=None), "nowhere.star")
    assert exit_code(["remove-duplicates", "--i", "nowhere.star", "--min-distance", "9", "--o", "no.star"]) == 3
    assert "nowhere.star" in capsys.readouterr().err


def test_subtraction(project, capsys):
    words = ["subtract", "--i", "particles.star", "--ref", "map.mrc", "--mask", "mask.mrc", "--o", "Subtract"]
    assert exit_code([*words, "--recenter-on-mask", "--new-box", "16"]) == 0
    told = capsys.readouterr().out
    assert "class3d" in told
    particles = read_particles("Subtract/particles_subtracted.star")
    assert particles.images.image_shape == (16, 16)
    assert particles.optics[0].pixel_size == pytest.approx(PIXEL)
    assert all(name.endswith("particles.mrcs") for name in particles.extra["rlnImageOriginalName"])
    assert read_map("Subtract/reference.mrc").voxels.shape == (16, 16, 16)
    assert float(read_mask("Subtract/mask.mrc").voxels[8, 8, 8]) > 0.9
    scores = json.loads((project / "Subtract" / "scores.json").read_text())
    assert scores["particles"] == 12
    assert 0.4 < scores["scale_median"] < 2
    assert (project / "Subtract" / "report.html").is_file()
    again = [
        "class3d",
        "--i",
        "Subtract/particles_subtracted.star",
        "--ref",
        "Subtract/reference.mrc",
        "--mask",
        "Subtract/mask.mrc",
    ]
    assert exit_code([*again, "--skip-align", "--classes", "1", "--iter", "1", "--ini-high", "30", "--o", "Focus"]) == 0
    assert read_map("Focus/run_class001.mrc").voxels.shape == (16, 16, 16)


def test_subtraction_of_what_cannot_be_meant(project, capsys):
    words = ["subtract", "--i", "particles.star", "--ref", "map.mrc", "--mask", "mask.mrc"]
    write_mask(Volume(voxels=torch.zeros(BOX, BOX, BOX), voxel_size=PIXEL), "empty.mrc")
    assert exit_code([*words[:-1], "empty.mrc", "--o", "A"]) == 3
    assert "zero everywhere" in capsys.readouterr().err
    write_particles(replace(read_particles("particles.star"), pose=None), "blind.star")
    assert exit_code(["subtract", "--i", "blind.star", *words[3:], "--o", "A"]) == 3
    assert "blind.star" in capsys.readouterr().err
    assert exit_code([*words, "--new-box", "4", "--o", "A"]) == 2
    assert not (project / "A").exists()
