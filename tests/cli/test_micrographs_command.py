"""`cryowalk micrographs`: figures, limits and verdicts, thumbnails, resume, wrong input."""

import csv
import math
import shutil
from dataclasses import replace
from pathlib import Path

import imagecodecs
import pytest
import torch

from cryowalk.cli.main import exit_code
from cryowalk.data import Defocus, MicrographSet, Optics
from cryowalk.io import read_star, write_star
from cryowalk.io.micrographs import read_micrographs, write_micrographs
from cryowalk.io.mrc import write_array
from cryowalk.io.star import StarBlock
from cryowalk.workflow.curation_stages import ice_ring

OFF = ("--quiet", "--threads", "1")
COUNT, PIXEL_SIZE = 6, 1.1


def table() -> MicrographSet:
    major = torch.tensor([8000.0, 12000, 16000, 20000, 24000, 28000], dtype=torch.float64)
    minor = major - torch.tensor([100.0, 200, 300, 400, 500, 2600])
    zeros = torch.zeros(COUNT, dtype=torch.float64)
    return MicrographSet(
        optics=(Optics(pixel_size=PIXEL_SIZE),),
        optics_index=torch.zeros(COUNT, dtype=torch.long),
        names=tuple(f"mics/m{number}.mrc" for number in range(COUNT)),
        defocus=Defocus(major=major, minor=minor, azimuth=zeros, phase_shift=zeros),
        extra={
            "rlnCtfMaxResolution": ("3.2", "3.9", "4.6", "9.5", "4.1", "3.3"),
            "rlnCtfFigureOfMerit": ("0.9", "0.8", "0.7", "0.1", "0.5", "0.6"),
            "rlnAccumMotionTotal": ("10", "20", "30", "40", "50", "60"),
            "cwThickness": ("300", "0", "400", "0", "900", "350"),
            "cwGood": ("1", "1", "1", "0", "1", "1"),
            "ownColumn": tuple(f"00{number}" for number in range(COUNT)),
        },
    )


@pytest.fixture
def inside(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("mics").mkdir()
    for number, name in enumerate(table().names):
        noise = torch.randn(160, 200, generator=torch.Generator().manual_seed(number))
        write_array(noise, name, voxel_size=PIXEL_SIZE, kind="images")
    write_micrographs(table(), "micrographs_ctf.star")
    return tmp_path


def curate(output, *words, star="micrographs_ctf.star"):
    return exit_code(["micrographs", "--i", star, "--o", output, *words, *OFF])


def names(path) -> list[str]:
    return [Path(name).stem for name in read_micrographs(path).names]


def rows(directory) -> list[dict[str, str]]:
    with Path(directory, "figures.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_limits_choose_and_every_column_survives(inside, capsys):
    assert (
        exit_code(
            [
                "micrographs",
                "--i",
                "micrographs_ctf.star",
                "--o",
                "out",
                "--max-resolution",
                "4.5",
                "--max-astigmatism",
                "600",
                "--threads",
                "1",
            ]
        )
        == 0
    )
    assert "3 of 6 micrographs kept" in capsys.readouterr().out
    assert names("out/micrographs.star") == ["m0", "m1", "m4"]
    assert names("out/rejected.star") == ["m2", "m3", "m5"]
    kept, before = read_micrographs("out/micrographs.star"), table()
    for label in before.extra:
        assert kept.extra[label] == tuple(before.extra[label][row] for row in (0, 1, 4))
    assert torch.equal(kept.defocus.major, before.defocus.major[[0, 1, 4]])
    reasons = read_star("out/rejected.star")["micrographs"].columns["cwRejectedBecause"]
    assert reasons == ("resolution 4.6 > 4.5", "CTF doubtful; resolution 9.5 > 4.5", "astigmatism 2600 > 600")
    found = rows("out")
    assert [row["kept"] for row in found] == ["1", "1", "0", "0", "1", "0"]
    assert float(found[2]["defocus"]) == pytest.approx(15850)
    assert [row["thickness"] for row in found] == ["300", "", "400", "", "900", "350"]
    assert all(float(row["ice"]) == pytest.approx(1, abs=0.35) for row in found)  # white noise
    page = (inside / "out/report.html").read_text()
    for text in ("3 of 6 micrographs kept", "astigmatism 2600 &gt; 600", "data:image/png"):
        assert text in page
    (inside / "out/report.html").unlink()
    assert exit_code(["report", "out", *OFF]) == 0
    assert (inside / "out/report.html").is_file()


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ((), "m0 m1 m2 m4 m5"),
        (("--doubtful", "keep"), "m0 m1 m2 m3 m4 m5"),
        (("--min-defocus", "11000", "--max-defocus", "23000"), "m1 m2"),
        (("--min-figure-of-merit", "0.6"), "m0 m1 m2 m5"),
        (("--max-motion", "30"), "m0 m1 m2"),
        (("--max-thickness", "380"), "m0 m1 m5"),  # 0 is not known, and does not reject
        (("--min-thickness", "350"), "m1 m2 m4 m5"),
        (("--min-picks", "2", "--max-picks", "3", "--coords", "coordinates.star"), "m1 m2"),
    ],
)
def test_each_limit(inside, words, kept):
    picked = [f"mics/m{number}.mrc" for number in range(COUNT) for _ in range(number + 1)]
    columns = {"rlnMicrographName": picked, "rlnCoordinateX": ["5"] * len(picked), "rlnCoordinateY": ["6"] * len(picked)}
    write_star(
        [StarBlock(name="particles", columns={label: tuple(column) for label, column in columns.items()})], "coordinates.star"
    )
    assert curate("out", *words, "--thumbnails", "0", "--ice", "skip") == 0
    assert names("out/micrographs.star") == kept.split()
    assert not Path("out/thumbnails").exists()
    if "--coords" in words:
        assert [row["picks"] for row in rows("out")] == ["1", "2", "3", "4", "5", "6"]


def test_thumbnails_show_the_micrograph_y_upwards(inside):
    ramp = torch.arange(160.0)[:, None].expand(160, 200)  # bright in the last row
    write_array(ramp, "mics/m0.mrc", voxel_size=PIXEL_SIZE, kind="images")
    assert curate("out", "--thumbnails", "64") == 0
    picture = imagecodecs.png_decode(Path("out/thumbnails/m0.png").read_bytes())
    assert picture.shape == (40, 50)
    assert picture[0].min() > 250
    assert picture[-1].max() < 5


def test_ice_is_seen_where_its_line_is():
    y, x = torch.arange(512.0)[:, None], torch.arange(512.0)
    noise = torch.randn(512, 512, generator=torch.Generator().manual_seed(3))

    def with_line(spacing):
        k = 1 / spacing * torch.tensor([0.6, 0.8])
        return noise + 0.3 * torch.cos(2 * math.pi * PIXEL_SIZE * (k[0] * x + k[1] * y))

    plain = ice_ring(noise, pixel_size=PIXEL_SIZE)
    assert plain == pytest.approx(1, abs=0.1)
    assert ice_ring(with_line(3.67), pixel_size=PIXEL_SIZE) > 1.5
    assert ice_ring(with_line(5.0), pixel_size=PIXEL_SIZE) == pytest.approx(plain, abs=0.05)
    assert math.isnan(ice_ring(noise, pixel_size=1.8))


def test_a_missing_or_damaged_micrograph_is_told_and_the_others_kept(inside, capsys):
    Path("mics/m1.mrc").unlink()
    Path("mics/m4.mrc").write_bytes(b"no image")
    assert curate("out") == 3
    told = capsys.readouterr().err
    assert "2 of 6 files could not be used" in told
    assert names("out/micrographs.star") == ["m0", "m2", "m5"]
    for number in (1, 4):
        shutil.copy("mics/m0.mrc", f"mics/m{number}.mrc")
    assert curate("out") == 0
    assert names("out/micrographs.star") == ["m0", "m1", "m2", "m4", "m5"]


def test_names_lead_to_the_micrographs_from_another_place(inside, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    assert curate("out", star=str(inside / "micrographs_ctf.star")) == 0
    for name in read_micrographs("out/micrographs.star").names:
        assert Path("out", name).resolve().parent == (inside / "mics").resolve()


def test_nothing_left_is_an_error_that_says_why(inside, capsys):
    assert curate("out", "--max-resolution", "1") == 3
    told = capsys.readouterr().err
    assert "no micrograph is kept" in told
    assert not Path("out/micrographs.star").exists()
    assert len(names("out/rejected.star")) == COUNT


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--max-tilt", "5"), "no column cwTilt"),
        (("--max-precision", "1"), "no column cwMotionPrecision"),
        (("--min-picks", "5"), "give --coords"),
        (("--max-ice", "2", "--ice", "skip"), "no column cwIceRing"),
        (("--i", "plain.star", "--max-astigmatism", "100"), "it is not known"),
    ],
)
def test_a_limit_on_what_is_not_known_is_told_before_anything_is_done(inside, capsys, words, told):
    write_micrographs(replace(table(), defocus=None, extra={}), "plain.star")
    base = [] if "--i" in words else ["--i", "micrographs_ctf.star"]
    assert exit_code(["micrographs", *base, "--o", "out", *words, *OFF]) == 3
    assert told in capsys.readouterr().err
    assert not Path("out").exists()
    assert exit_code(["micrographs", "--i", "mics/m0.mrc", "--o", "out", *OFF]) == 2
