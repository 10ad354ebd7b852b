"""`cryowalk convert` with picks and the small files of tilt series, as a user types it."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "io"))
from text_samples import ALN, CTFFIND4, EM, TOPAZ, WARP

import cryowalk as cw
from cryowalk.cli.main import exit_code
from cryowalk.io import read_coordinate_table, read_coordinates


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def convert(*arguments) -> int:
    return exit_code(["convert", *map(str, arguments)])


def test_picks_tell_the_rule_for_y(folder, capsys):
    (folder / "a.box").write_text("10\t20\t64\t64\t0.5\n")
    assert convert("--i", "a.box", "--o", "a.star") == 0
    assert "1 positions; y as it stands, rows counted from the first" in "".join(capsys.readouterr())
    assert read_coordinates("a.star").positions.tolist() == [[42, 52]]
    assert convert("--i", "a.star", "--o", "b.cbox", "--box", 32, "--height", 100, "--scale", 2) == 0
    assert "y turned over, 100 − 1 − y" in "".join(capsys.readouterr())
    assert read_coordinates("b.cbox").positions.tolist() == [[84, 94]]
    assert read_coordinates("b.cbox").merit.tolist() == [0.5]
    assert convert("--i", "a.star", "--o", "c.box") == 2
    assert "needs the size of the boxes" in "".join(capsys.readouterr())
    assert not (folder / "c.box").exists()


def test_a_table_of_many_micrographs(folder, capsys):
    (folder / "topaz.txt").write_text(TOPAZ)
    assert convert("--i", "topaz.txt", "--o", "all.star", "--scale", 4) == 0
    assert "3 positions in 2 micrographs" in "".join(capsys.readouterr())
    assert read_coordinate_table("all.star").micrographs["mic_b"].positions.tolist() == [[120, 160]]
    assert convert("--i", "topaz.txt", "--o", "a.box", "--box", 64) == 2
    assert "several micrographs" in "".join(capsys.readouterr())


def test_alignments_angles_and_lists(folder, capsys):
    (folder / "a.aln").write_text(ALN)
    (folder / "a.xml").write_text(WARP)
    (folder / "a.em").write_bytes(EM)
    (folder / "a.txt").write_text(CTFFIND4)
    (folder / "TS_1.mrc.mdoc").write_text(
        "PixelSpacing = 1.5\nVoltage = 200\n\n[ZValue = 0]\nTiltAngle = -3\n\n[ZValue = 1]\nTiltAngle = 3\n"
    )
    for source, target in (
        ("a.aln", "a.xf"), ("a.aln", "a.tlt"), ("a.xml", "tilt_series.star"), ("a.xml", "b.rawtlt"), ("a.txt", "c_gctf.log"),
        ("TS_1.mrc.mdoc", "d.rawtlt"), ("TS_1.mrc.mdoc", "e.star"),
    ):  # fmt: skip
        assert convert("--i", source, "--o", target) == 0, target
    assert len(cw.read("a.xf")) == 2
    assert torch.rad2deg(cw.read("b.rawtlt").angles).tolist() == pytest.approx([-3, 0, 3])
    assert torch.rad2deg(cw.read("a.tlt").angles).tolist() == pytest.approx([-61.5, 0])
    (series,) = cw.read("tilt_series.star")
    assert (len(series), series.optics.pixel_size) == (3, 1.5)
    (other,) = cw.read("e.star")
    assert (other.name, other.optics.voltage_kv, len(other)) == ("TS_1", 200, 2)
    assert cw.read("c_gctf.log").defocus.major.tolist() == [37034.929688, 20000]
    assert convert("--i", "a.em", "--o", "a.tbl") == 2
    assert "there is no way from a.em" in "".join(capsys.readouterr())
