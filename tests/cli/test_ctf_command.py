"""`ctf` as a program on small films: what it writes, what it flags, and how it bears bad files, kills and second runs."""

import hashlib
import json
import math
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import torch

from cryowalk import Defocus, Optics, fourier
from cryowalk.cli.main import exit_code
from cryowalk.data.micrographs import MicrographSet
from cryowalk.io.micrographs import read_micrographs, write_micrographs
from cryowalk.io.mrc import write_array
from cryowalk.io.relion import read_particles
from cryowalk.io.star import StarBlock, write_star
from cryowalk.microscope.lens import contrast_transfer
from cryowalk.numerics.random import generator as generator_of

OFF = ("--quiet", "--threads", "1")
SMALL = ("--box", "256", "--resmin", "30", "--resmax", "5")
DEFOCUS = {"a": 14000.0, "b": 17000.0, "c": 20500.0}
PIXEL = 2.0
COARSE = (Optics(pixel_size=PIXEL),)


def film(defocus, *, seed, side=420, pixel_size=PIXEL, noise=0.5):
    source = generator_of(seed)
    size = (side, side + 30)
    values = [torch.tensor([value], dtype=torch.float64) for value in (defocus + 200, defocus - 200, 0.6, 0.0)]
    lens = Defocus(major=values[0], minor=values[1], azimuth=values[2], phase_shift=values[3])
    optics = Optics(pixel_size=pixel_size, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.1)
    spectrum = (
        fourier.to_fourier(torch.randn(size, generator=source, dtype=torch.float64))
        * contrast_transfer(optics, lens, size=size)[0]
    )
    return (
        fourier.to_real(spectrum, width=size[1]) + noise * torch.randn(size, generator=source, dtype=torch.float64)
    ).float() + 10


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """A folder with three films, as MRC files and in a table."""
    folder = tmp_path_factory.mktemp("films")
    for number, (name, defocus) in enumerate(DEFOCUS.items()):
        write_array(film(defocus, seed=number), folder / f"{name}.mrc", voxel_size=PIXEL, kind="images")
    return folder


@pytest.fixture
def inside(films, tmp_path, monkeypatch) -> Path:
    """A copy of that folder, with films.star, as the working directory."""
    shutil.copytree(films, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    table("films.star", *(f"{name}.mrc" for name in DEFOCUS))
    return tmp_path


def table(path, *names, optics=COARSE, groups=None):
    index = torch.tensor(groups or [0] * len(names))
    write_micrographs(MicrographSet(optics=optics, optics_index=index, names=names), path)


def ctf(*words, output="out", quiet=OFF):
    return exit_code(["ctf", "--o", output, *SMALL, *words, *quiet])


def found(output="out") -> MicrographSet:
    return read_micrographs(f"{output}/micrographs_ctf.star")


def means(micrographs):
    return ((micrographs.defocus.major + micrographs.defocus.minor) / 2).tolist()


def test_a_table_of_micrographs_gets_its_defocus(inside):
    assert ctf("--i", "films.star") == 0
    micrographs = found()
    assert micrographs.names == ("a.mrc", "b.mrc", "c.mrc")
    assert means(micrographs) == pytest.approx(list(DEFOCUS.values()), abs=80)
    assert (micrographs.defocus.major - micrographs.defocus.minor).tolist() == pytest.approx([400.0] * 3, abs=180)
    assert micrographs.extra["cwGood"] == ("1", "1", "1")
    text = (inside / "out/micrographs_ctf.star").read_text()
    for label in (
        "rlnDefocusU",
        "rlnDefocusV",
        "rlnDefocusAngle",
        "rlnCtfMaxResolution",
        "rlnCtfFigureOfMerit",
        "rlnCtfImage",
        "cwGood",
    ):
        assert f"_{label} " in text
    assert [float(value) for value in micrographs.extra["rlnCtfMaxResolution"]] == pytest.approx([5.0] * 3, abs=0.7)
    assert {path.name for path in (inside / "out/pictures").iterdir()} == {"a.ctf", "b.ctf", "c.ctf"}
    page = (inside / "out/report.html").read_text()
    assert "c" in page
    assert "figure of merit" in page


def test_relion_names_are_kept_and_extra_columns_survive(inside):
    text = (inside / "films.star").read_text()
    rows = [line + (" 007" if line.startswith(("a.mrc", "b.mrc", "c.mrc")) else "") for line in text.splitlines()]
    place = next(i for i, row in enumerate(rows) if row.endswith(" 007"))
    columns = sum(row.startswith("_") for row in rows[rows.index("data_micrographs") :])
    rows.insert(place, f"_rlnMyOwnColumn #{columns + 1}")
    (inside / "films.star").write_text("\n".join(rows) + "\n")
    assert ctf("--i", "films.star") == 0
    assert found().extra["rlnMyOwnColumn"] == ("007",) * 3


@pytest.mark.parametrize("kind", ["png", "jpg", "tif"])
def test_pictures_are_micrographs_too(inside, kind):
    values = film(17000.0, seed=1).numpy()
    grey = np.clip((values - values.mean()) / values.std() * 32 + 128, 0, 255).astype(np.uint8)
    encode = {
        "png": imagecodecs.png_encode,
        "jpg": lambda image: imagecodecs.jpeg_encode(image, level=98),
        "tif": imagecodecs.tiff_encode,
    }
    Path(f"picture.{kind}").write_bytes(encode[kind](grey))
    assert ctf("--i", f"picture.{kind}", "--pixel-size", "2", "--voltage", "300", "--cs", "2.7") == 0
    assert means(found()) == pytest.approx([17000.0], abs=100)


def test_ready_power_spectra_are_taken(inside):
    wide = film(17000.0, seed=1, side=512)[:512, :512]
    tiles = wide.unfold(0, 256, 128).unfold(1, 256, 128).reshape(-1, 256, 256).double()
    window = torch.hann_window(256, periodic=False, dtype=torch.float64)
    tiles = (tiles - tiles.mean(dim=(-2, -1), keepdim=True)) * window * window[:, None]
    half = (fourier.to_fourier(tiles).abs() ** 2).mean(0)
    mates = half[(-torch.arange(256)) % 256].flip(-1)[:, 1:-1]
    picture = torch.cat([half, mates], dim=1).roll((128, 128), dims=(0, 1))
    write_array(picture.float(), Path("spectrum.mrc"), voxel_size=1.0, kind="images")
    assert ctf("--power-spectra", "spectrum.mrc", "--pixel-size", "2") == 0
    assert means(found()) == pytest.approx([17000.0], abs=80)


def test_a_damaged_micrograph_is_set_aside_and_only_it_is_done_again(inside, capsys):
    good = Path("b.mrc").read_bytes()
    Path("b.mrc").write_bytes(good[: len(good) // 2])
    assert ctf("--i", "films.star") == 3
    said = capsys.readouterr().err
    assert "1 of 3 files could not be used" in said
    assert "b.mrc" in said
    assert found().names == ("a.mrc", "c.mrc")
    assert [one["name"] for one in json.loads(Path("out/failed.json").read_text())] == ["b.mrc"]
    times = {name: Path(f"out/results/{name}.json").stat().st_mtime_ns for name in "ac"}
    Path("b.mrc").write_bytes(good)
    assert ctf("--i", "films.star") == 0
    assert found().names == ("a.mrc", "b.mrc", "c.mrc")
    assert not Path("out/failed.json").exists()
    assert {name: Path(f"out/results/{name}.json").stat().st_mtime_ns for name in "ac"} == times


def test_missing_micrographs_among_many_are_named_and_the_others_kept(inside, capsys):
    for number in range(6):
        shutil.copy("a.mrc", f"more{number}.mrc")
    Path("more2.mrc").unlink()
    Path("more5.mrc").unlink()
    table("many.star", *(f"more{number}.mrc" for number in range(6)))
    assert ctf("--i", "many.star") == 3
    said = capsys.readouterr().err
    assert "2 of 6" in said
    assert "more2.mrc" in said
    assert "more5.mrc" in said
    assert len(found()) == 4


def test_noise_is_flagged_and_not_left_out(inside):
    noise = torch.randn(420, 440, generator=generator_of(9))
    write_array(noise, Path("noise.mrc"), voxel_size=PIXEL, kind="images")
    assert ctf("--i", "a.mrc", "noise.mrc", "--pixel-size", "2") == 0
    assert found().extra["cwGood"] == ("1", "0")
    assert "noise" in json.loads(Path("out/results/noise.json").read_text())["doubts"][0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (torch.full((420, 420), 7.0), "no contrast"),
        (torch.full((420, 420), torch.nan), "not finite"),
        (torch.zeros(3, 420, 420), "3 images"),
        (torch.randn(200, 420, generator=generator_of(2)), "use a box of at most 200"),
    ],
)
def test_what_is_no_micrograph_is_told_in_one_message(inside, capsys, content, words):
    path = Path("bad.mrc")
    write_array(torch.zeros_like(content), path, voxel_size=PIXEL, kind="images")
    path.write_bytes(path.read_bytes()[:1024] + content.numpy().tobytes())  # our own writer refuses NaN
    assert ctf("--i", "bad.mrc", "a.mrc", "--pixel-size", "2") == 3
    said = capsys.readouterr().err
    assert words in said
    assert "bad.mrc" in said
    assert "Traceback" not in said
    assert found().names == ("a.mrc",)


def test_mixed_pixel_sizes_have_their_own_optics(inside):
    write_array(film(15000.0, seed=5, pixel_size=1.5), Path("fine.mrc"), voxel_size=1.5, kind="images")
    table(
        "mixed.star",
        "a.mrc",
        "fine.mrc",
        optics=(Optics(pixel_size=2.0, name="coarse"), Optics(pixel_size=1.5, name="fine")),
        groups=[0, 1],
    )
    assert ctf("--i", "mixed.star") == 0
    assert means(found()) == pytest.approx([14000.0, 15000.0], abs=80)
    assert found().optics_of(1).pixel_size == pytest.approx(1.5)


def test_particles_get_the_defocus_of_their_places(inside):
    places = {
        "rlnMicrographName": ("c.mrc", "elsewhere.mrc", "a.mrc", "c.mrc"),
        "rlnCoordinateX": ("30", "100", "220", "400"),
        "rlnCoordinateY": ("40", "100", "200", "380"),
        "rlnAutopickFigureOfMerit": ("0.7", "0.2", "0.5", "0.9"),
        "rlnOpticsGroup": ("1",) * 4,
    }
    optics = {
        "rlnOpticsGroup": ("1",),
        "rlnVoltage": ("300",),
        "rlnSphericalAberration": ("2.7",),
        "rlnAmplitudeContrast": ("0.1",),
        "rlnImagePixelSize": ("2",),
    }
    write_star([StarBlock(name="optics", columns=optics), StarBlock(name="particles", columns=places)], "picks.star")
    assert ctf("--i", "films.star", "--coords", "picks.star", "--tilt", "fit") == 0
    particles = read_particles("out/particles.star", images="ignore")
    assert particles.micrograph_names == ("c.mrc", "a.mrc", "c.mrc")
    assert means(particles) == pytest.approx([20500.0, 14000.0, 20500.0], abs=150)
    assert particles.extra["rlnAutopickFigureOfMerit"] == ("0.7", "0.5", "0.9")
    table_found = found()
    assert "cwTiltSignificance" in table_found.extra
    write_star(
        [
            StarBlock(name="optics", columns=optics),
            StarBlock(name="particles", columns=places | {"rlnMicrographName": ("x.mrc",) * 4}),
        ],
        "other.star",
    )
    assert ctf("--i", "films.star", "--coords", "other.star", output="never") == 3


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "either --i"),
        (("--i", "a.mrc", "--power-spectra", "a.mrc"), 2, "either --i"),
        (("--i", "a.mrc"), 3, "--pixel-size"),
        (("--i", "a.mrc", "films.star"), 3, "taken alone"),
        (("--i", "absent.star"), 3, "absent.star"),
        (("--i", "films.star", "--defocus-range", "30000", "5000"), 2, "defocus_range"),
        (("--power-spectra", "a.mrc", "--coords", "films.star", "--pixel-size", "2"), 2, "--coords"),
        (("--i", "films.star", "--coords", "films.star"), 3, "films.star"),
    ],
)
def test_wrong_use_is_told(inside, capsys, words, code, message):
    assert ctf(*words) == code
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_a_finished_job_is_not_done_again_other_settings_are_refused_and_the_report_is_drawn_again(inside, capsys):
    assert ctf("--i", "films.star") == 0
    Path("out/report.html").unlink()
    assert exit_code(["report", "out", *OFF]) == 0
    assert Path("out/report.html").is_file()
    capsys.readouterr()
    assert ctf("--i", "films.star", quiet=("--threads", "1")) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert exit_code(["ctf", "--o", "out", "--i", "films.star", "--box", "128", *OFF]) == 6


def test_killed_at_random_moments_it_ends_with_the_same_bytes(inside):
    command = [sys.executable, "-m", "cryowalk", "ctf", "--i", "films.star", "--o", "killed", *SMALL, *OFF]
    undisturbed = [word.replace("killed", "whole") for word in command]
    assert subprocess.run(undisturbed, check=False).returncode == 0
    moments, kills = random.Random(4), 0
    for kill in range(2):
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        end = time.monotonic() + 60
        while len(list(Path("killed/results").glob("*.json"))) <= kill and process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(moments.uniform(0.0, 0.05))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
    assert kills
    assert subprocess.run(command, check=False).returncode == 0
    for name in ("results/a.json", "results/c.json", "pictures/b.ctf", "micrographs_ctf.star"):
        expected = Path("whole", name).read_bytes().replace(b"whole/", b"killed/")
        assert hashlib.sha256(Path("killed", name).read_bytes()).digest() == hashlib.sha256(expected).digest(), name
    assert not math.isnan(means(found("killed"))[0])
