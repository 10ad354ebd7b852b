"""`cryowalk extract` on real files: names others script against, every kind of picks, resume, wrong input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cryowalk.cli.main import exit_code
from cryowalk.data import Defocus, MicrographSet, Optics, ParticleSet, Pose
from cryowalk.geometry.sampling import random_rotations
from cryowalk.io import read_particles, read_star, write_star
from cryowalk.io.micrographs import write_micrographs
from cryowalk.io.mrc import MrcStackReader, write_array
from cryowalk.io.relion import write_particles
from cryowalk.io.star import StarBlock

OFF = ("--quiet", "--threads", "1")
PIXEL_SIZE, HEIGHT, WIDTH, COUNT = 1.5, 90, 110, 3


def pixels(number):
    return torch.randn(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(number)) + 8


def optics(**more):
    return Optics(pixel_size=PIXEL_SIZE, voltage_kv=200.0, name="g", **more)


def places(number):
    return [[40.0 + number, 30.0], [60.4, 45.6], [5.0, 40.0], [70.0, 50.5]]


@pytest.fixture
def inside(tmp_path, monkeypatch) -> Path:
    """A folder with three micrographs, their CTF, and picks."""
    monkeypatch.chdir(tmp_path)
    names = tuple(f"mics/m{number}.mrc" for number in range(COUNT))
    Path("mics").mkdir()
    for number, name in enumerate(names):
        write_array(pixels(number), name, voxel_size=PIXEL_SIZE, kind="images")
    major = torch.tensor([15000.0, 12000.0, 9000.0], dtype=torch.float64)
    micrographs = MicrographSet(
        optics=(optics(),),
        optics_index=torch.zeros(COUNT, dtype=torch.long),
        names=names,
        defocus=Defocus(
            major=major, minor=major - 300, azimuth=torch.full((3,), 0.5).double(), phase_shift=torch.zeros(3).double()
        ),
        extra={"rlnCtfMaxResolution": ("3.5", "4.5", "5.5")},
    )
    write_micrographs(micrographs, "micrographs_ctf.star")
    write_table("coordinates.star")
    return tmp_path


def write_table(path, *, picks=places, names=lambda number: f"mics/m{number}.mrc", count=COUNT):
    rows = [(names(number), x, y) for number in range(count) for x, y in picks(number)]
    columns = {
        "rlnMicrographName": tuple(row[0] for row in rows),
        "rlnCoordinateX": tuple(str(row[1]) for row in rows),
        "rlnCoordinateY": tuple(str(row[2]) for row in rows),
        "rlnAutopickFigureOfMerit": tuple(f"{0.5 + i / 100:.2f}" for i in range(len(rows))),
        "ownColumn": tuple(f"007{i}" for i in range(len(rows))),
    }
    write_star([StarBlock(name="particles", columns=columns)], path)


def extract(output, *words, i=("micrographs_ctf.star",), coords=("coordinates.star",), box="24"):
    return exit_code(["extract", "--i", *i, "--coords", *coords, "--o", output, "--box", box, *words, *OFF])


RAW = ("--normalise", "none", "--contrast", "bright")


def test_particles_have_the_names_and_columns_that_others_script_against(inside, digests):
    assert extract("out", *RAW) == 0
    assert {"particles.star", "Extract/m0.mrcs", "Extract/m1.mrcs", "Extract/m2.mrcs"} <= digests(inside / "out").keys()
    particles = read_particles("out/particles.star")
    assert len(particles) == 9  # one of each micrograph's four sticks out
    assert particles.image_names[3] == "000001@out/Extract/m1.mrcs"
    assert particles.micrograph_names[3] == "mics/m1.mrc"
    assert particles.defocus.major.tolist() == [15000] * 3 + [12000] * 3 + [9000] * 3
    assert particles.defocus.azimuth[0] == pytest.approx(0.5)
    assert particles.optics[0].voltage_kv == 200
    assert particles.optics[0].pixel_size == pytest.approx(PIXEL_SIZE)
    assert particles.extra["ownColumn"][:4] == ("0070", "0071", "0073", "0074")
    assert particles.extra["rlnAutopickFigureOfMerit"][0] == "0.50"
    assert particles.extra["rlnCtfMaxResolution"] == ("3.5",) * 3 + ("4.5",) * 3 + ("5.5",) * 3
    assert particles.coordinates[1].tolist() == [60, 46]
    assert float(particles.extra["rlnOriginYAngst"][1]) == pytest.approx(0.4 * PIXEL_SIZE)
    # index@file reads the very pixels of the micrograph again
    for row, image in enumerate(particles.images.read(range(9))):
        x, y = (int(v) for v in particles.coordinates[row])
        assert torch.equal(image, pixels(row // 3)[y - 12 : y + 12, x - 12 : x + 12])
    stack = MrcStackReader("out/Extract/m1.mrcs")
    assert stack.pixel_size == pytest.approx(PIXEL_SIZE)
    optics_table = read_star("out/particles.star")["optics"].columns
    assert optics_table["rlnImageSize"] == ("24",)
    assert optics_table["rlnImageDimensionality"] == ("2",)
    page = (inside / "out/report.html").read_text()
    assert "9 particles of 12 picks in 3 micrographs" in page


def test_scaled_boxes_and_a_report_that_can_be_drawn_again(inside, capsys):
    assert extract("out", "--scale", "16") == 0
    particles = read_particles("out/particles.star")
    assert particles.images.image_shape == (16, 16)
    assert particles.pixel_size == pytest.approx(2.25)
    assert particles.optics[0].micrograph_pixel_size == pytest.approx(PIXEL_SIZE)
    (inside / "out/report.html").unlink()
    assert exit_code(["report", "out", *OFF]) == 0
    assert (inside / "out/report.html").is_file()
    capsys.readouterr()
    assert (
        exit_code(
            [
                "extract",
                "--i",
                "micrographs_ctf.star",
                "--coords",
                "coordinates.star",
                "--o",
                "out",
                "--box",
                "24",
                "--scale",
                "16",
            ]
        )
        == 0
    )
    assert "nothing to do" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["star", "box", "csv", "list"])
def test_picks_may_be_one_file_a_micrograph(inside, kind):
    (inside / "picks").mkdir()
    for number in range(COUNT):
        rows = places(number)
        if kind == "box":
            text = "".join(f"{round(x) - 12}\t{round(y) - 12}\t24\t24\n" for x, y in rows)
        elif kind == "csv":
            text = "x,y,score\n" + "".join(f"{x},{y},0.5\n" for x, y in rows)
        else:
            text = "data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n" + "".join(f"{x} {y}\n" for x, y in rows) + "\n"
        ending = "star" if kind == "list" else kind
        (inside / f"picks/m{number}_pick.{ending}").write_text(text)
    coords = [path.as_posix() for path in sorted(Path("picks").iterdir())]
    if kind == "list":
        columns = {"rlnMicrographName": tuple(f"mics/m{n}.mrc" for n in range(COUNT)), "rlnMicrographCoordinates": tuple(coords)}
        write_star([StarBlock(name="coordinate_files", columns=columns)], "autopick.star")
        coords = ["autopick.star"]
    assert extract("table", *RAW) == 0
    assert extract("files", *RAW, coords=coords) == 0
    ours, theirs = read_particles("files/particles.star"), read_particles("table/particles.star")
    if kind != "box":  # those are whole pixels
        assert torch.equal(ours.coordinates, theirs.coordinates)
        assert torch.equal(ours.images.read(range(9)), theirs.images.read(range(9)))
    assert len(ours) == 9
    assert torch.equal(ours.defocus.major, theirs.defocus.major)


def test_images_without_a_table_and_without_a_ctf(inside):
    assert extract("out", "--pixel-size", "1.5", "--kv", "120", i=("mics/m0.mrc", "mics/m1.mrc")) == 0
    particles = read_particles("out/particles.star")
    assert len(particles) == 6
    assert particles.defocus is None
    assert particles.optics[0].voltage_kv == 120


def test_refined_particles_are_cut_out_again_about_where_they_are(inside):
    assert extract("first", "--scale", "12") == 0
    first = read_particles("first/particles.star")
    g = torch.Generator().manual_seed(4)
    shift = 6 * torch.randn(9, 2, generator=g, dtype=torch.float64)
    pose = Pose(lab_from_particle=random_rotations(9, generator=g), shift=shift)
    refined = replace(
        first,
        pose=pose,
        half=torch.arange(9) % 2 + 1,
        defocus=replace(first.defocus, major=first.defocus.major + 77),
        extra={label: column for label, column in first.extra.items() if not label.startswith("rlnOrigin")},
    )
    write_particles(refined, "run_data.star")
    assert extract("again", *RAW, coords=("run_data.star",)) == 0
    assert extract("centred", *RAW, "--recentre", "--ctf-of", "micrographs", coords=("run_data.star",), box="20") == 0
    again, centred = read_particles("again/particles.star"), read_particles("centred/particles.star")
    where = refined.coordinates + shift / PIXEL_SIZE
    for found in (again, centred):
        own = found.coordinates + found.pose.shift / PIXEL_SIZE
        assert torch.cdist(own, where).min(dim=1).values.max() < 1e-5
        assert found.half is not None
        assert found.extra["ownColumn"]
    assert len(again) == 9
    assert float(again.pose.shift.abs().max()) > 3
    assert float(centred.pose.shift.abs().max()) <= 0.5 * PIXEL_SIZE + 1e-6
    assert torch.allclose(again.defocus.major, refined.defocus.major)
    assert float(centred.defocus.major[0]) == 15000
    assert extract("moved", *RAW, "--centre", "3", "0", "0", coords=("run_data.star",), box="12") == 0
    moved = read_particles("moved/particles.star")
    assert not torch.equal(moved.coordinates[: len(centred)], centred.coordinates[: len(moved)])


def test_a_bad_micrograph_is_left_out_told_and_taken_up_when_mended(inside, capsys, digests):
    whole = Path("mics/m1.mrc").read_bytes()
    Path("mics/m1.mrc").write_bytes(whole[:5000])
    assert extract("out") == 3
    told = capsys.readouterr().err
    assert "1 of 3 files could not be used" in told
    assert "m1.mrc" in told
    assert len(read_particles("out/particles.star")) == 6
    kept = (inside / "out/Extract/m0.mrcs").stat().st_mtime_ns
    Path("mics/m1.mrc").write_bytes(whole)
    assert extract("out") == 0
    assert (inside / "out/Extract/m0.mrcs").stat().st_mtime_ns == kept
    assert extract("straight") == 0
    assert digests(inside / "out") == digests(inside / "straight", (b"straight/", b"out/"))


def test_missing_micrographs_are_told_and_the_others_kept(inside, capsys):
    Path("mics/m2.mrc").unlink()
    assert extract("out") == 3
    assert "no such micrograph" in capsys.readouterr().err
    assert len(read_particles("out/particles.star")) == 6


def test_killed_it_goes_on_and_ends_with_the_same_bytes(inside, digests):
    words = ("--box", "24", "--white-dust", "2.5", "--seed", "4", *OFF)
    base = ["extract", "--i", "micrographs_ctf.star", "--coords", "coordinates.star"]
    assert exit_code([*base, "--o", "whole", *words]) == 0
    process = subprocess.Popen([sys.executable, "-m", "cryowalk", *base, "--o", "killed", *words], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not list((inside / "killed").glob("Extract/*.json")) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    os.sync()
    assert exit_code([*base, "--o", "killed", *words]) == 0
    assert digests(inside / "killed", (b"killed/", b"whole/")) == digests(inside / "whole")


def test_picks_of_other_micrographs_are_left_out_and_told(inside):
    write_table("more.star", names=lambda number: f"elsewhere/m{number}.mrc" if number else "none.mrc")
    assert extract("out", coords=("more.star",)) == 0  # known by their bare names
    assert len(read_particles("out/particles.star")) == 6
    assert "4 picks lie in micrographs that are not in the table" in (inside / "out/run.log").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--box", "200"), "box of 200 px does not fit into a micrograph of 110 × 90 px"),
        (("--box", "90"), "no particle could be cut out"),
        (("--box", "24", "--coords", "outside.star"), "lie outside the micrograph"),
        (("--box", "24", "--coords", "other.star"), "none of the 12 picks lies in one of the 3 micrographs"),
        (("--box", "24", "--coords", "empty.star"), "no picks"),
        (("--box", "24", "--coords", "coordinates.star", "--recentre", "--centre", "1", "1", "1"), "have no poses"),
        (("--box", "24", "--i", "mixed.star"), "different pixel sizes"),
        (("--box", "24", "--i", "wrong_header.star"), "the header says 1.5 Å a pixel, the table 3 Å"),
        (("--box", "24", "--coords", "binned.star"), "count pixels of 3 Å, the micrographs have pixels of 1.5 Å"),
        (("--box", "24", "--coords", "text.star"), "rlnCoordinateX is “abc”"),
    ],
)
def test_wrong_input_is_told_in_one_message(inside, capsys, words, told):
    write_table("outside.star", picks=lambda _: [[400.0, 300.0], [500.0, 30.0], [40.0, 30.0]])
    write_table("other.star", names=lambda number: f"x{number}.mrc")
    Path("empty.star").write_text("data_\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n\n")
    Path("text.star").write_text(
        "data_\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\nmics/m0.mrc abc 5\n\n"
    )
    names = tuple(f"mics/m{number}.mrc" for number in range(COUNT))
    two = (optics(), replace(optics(), pixel_size=2.0, name="other"))
    write_micrographs(MicrographSet(optics=two, optics_index=torch.tensor([0, 1, 0]), names=names), "mixed.star")
    three = (replace(optics(), pixel_size=3.0),)
    write_micrographs(
        MicrographSet(optics=three, optics_index=torch.zeros(3, dtype=torch.long), names=names), "wrong_header.star"
    )
    binned = ParticleSet(
        optics=(optics(extra={"rlnMicrographPixelSize": "3.0"}),),
        optics_index=torch.zeros(1, dtype=torch.long),
        coordinates=torch.tensor([[20.0, 20.0]]).double(),
        micrograph_names=names[:1],
    )
    write_particles(binned, "binned.star")
    given = [word for word in words if word.startswith("--")]
    base = [] if "--i" in given else ["--i", "micrographs_ctf.star"]
    base += [] if "--coords" in given else ["--coords", "coordinates.star"]
    assert exit_code(["extract", *base, "--o", "out", *words, *OFF]) == 3
    message = capsys.readouterr().err
    assert told in message
    assert "Traceback" not in message
    assert not Path("out/particles.star").exists()


def test_dust_does_not_depend_on_the_order_of_micrographs(inside):
    words = ("--white-dust", "2.0", "--seed", "9")
    assert extract("all", *words) == 0
    assert extract("one", *words, "--pixel-size", "1.5", i=("mics/m2.mrc",)) == 0
    assert (inside / "one/Extract/m2.mrcs").read_bytes() == (inside / "all/Extract/m2.mrcs").read_bytes()
    assert json.loads((inside / "all/Extract/m2.json").read_text())["kept"] == [0, 1, 3]
    shutil.rmtree(inside / "one")
