"""`cryowalk motion` on real files: what it writes, that bad movies leave the good ones alone, that a kill changes no byte, EER and gain references."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.motion.conftest import displaced, error, scene, track

from cryowalk.cli.main import exit_code
from cryowalk.data import Motion
from cryowalk.io.gain import write_gain
from cryowalk.io.micrographs import read_micrographs
from cryowalk.io.motion import read_movie_motion
from cryowalk.io.movies import write_movie
from cryowalk.io.mrc import MrcStackReader
from cryowalk.io.star import read_star

PIXEL, FRAMES, SIZE = 1.5, 6, (240, 256)
OFF = ("--quiet", "--threads", "1")
OPTICS = (
    "data_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n_rlnMicrographOriginalPixelSize #3\n_rlnVoltage #4\n"
    f"_rlnSphericalAberration #5\n_rlnAmplitudeContrast #6\nopticsGroup1 1 {PIXEL} 300 2.7 0.1\n\n"
)


def truth():
    width, height = SIZE[1] * PIXEL, SIZE[0] * PIXEL
    return Motion(global_displacement=track(FRAMES), field=(width, height))


def counted(seed=0, *, gain=None, dose=2.0):
    """Frames of counted electrons; raw ones where a gain reference is given."""
    generator = torch.Generator().manual_seed(seed)
    still = scene(*SIZE, PIXEL, seed=seed) * 0.15
    expected = [dose * PIXEL**2 * (1 + displaced(still, truth(), frame, PIXEL)).clamp_min(0) for frame in range(FRAMES)]
    return [torch.poisson(each if gain is None else each / gain, generator=generator) for each in expected]


def star(names, path):
    rows = "".join(f"{name} 1\n" for name in names)
    path.write_text("\n" + OPTICS + "data_movies\n\nloop_\n_rlnMicrographMovieName #1\n_rlnOpticsGroup #2\n" + rows + "\n")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with three good movies."""
    folder = tmp_path_factory.mktemp("movies")
    for number in range(3):
        write_movie(iter(counted(number)), folder / f"m{number}.tiff", pixel_size=PIXEL, sample_format="uint8", count=FRAMES)
    star([f"m{number}.tiff" for number in range(3)], folder / "movies.star")
    return folder


@pytest.fixture
def inside(project, monkeypatch) -> Path:
    monkeypatch.chdir(project)
    return project


def motion(output, *words, movies=("movies.star",), quiet=OFF):
    return exit_code(["motion", "--i", *movies, "--o", output, *words, *quiet])


def test_micrographs_motion_and_table_have_the_names_that_others_script_against(inside, digests):
    assert motion("named", "--dose-per-frame", "2", "--patches", "1", "1") == 0
    wanted = {f"micrographs/m{n}{end}" for n in range(3) for end in (".mrc", "_motion.star", ".json")}
    assert digests(inside / "named").keys() == wanted | {"corrected_micrographs.star"}
    table = read_micrographs("named/corrected_micrographs.star")
    assert table.names == tuple(f"named/micrographs/m{n}.mrc" for n in range(3))
    assert table.metadata_names == tuple(f"named/micrographs/m{n}_motion.star" for n in range(3))
    assert table.movie_names == ("m0.tiff", "m1.tiff", "m2.tiff")
    assert table.pixel_size == PIXEL
    for name in table.metadata_names:
        told = read_movie_motion(name)
        assert error(told.motion, truth(), PIXEL) < 0.3
        assert told.dose_per_frame == 2.0
        assert told.voltage_kv == 300
    with_lengths = read_star("named/corrected_micrographs.star")["micrographs"].columns
    early, late, total = (float(with_lengths[f"rlnAccumMotion{part}"][0]) for part in ("Early", "Late", "Total"))
    assert early + late == pytest.approx(total, abs=1e-4)
    assert 0 < early < total
    assert float(with_lengths["cwMotionContrast"][0]) > float(with_lengths["cwMotionContrastBefore"][0])
    page = (inside / "named/report.html").read_text()
    assert "How the specimen moved" in page
    assert "m2" in page
    (inside / "named/report.html").unlink()
    assert exit_code(["report", "named", *OFF]) == 0
    assert "How the specimen moved" in (inside / "named/report.html").read_text()


def test_further_sums_are_written_where_they_are_asked_for(inside):
    assert motion("sums", "--dose-per-frame", "2", "--patches", "1", "1", "--unweighted", "yes", "--halves", "yes") == 0
    columns = read_star("sums/corrected_micrographs.star")["micrographs"].columns
    images = {}
    for label, ending in (("NoDW", "_noDW"), ("Odd", "_ODD"), ("Even", "_EVN")):
        assert columns[f"rlnMicrographName{label}"][1] == f"sums/micrographs/m1{ending}.mrc"
        images[label] = MrcStackReader(f"sums/micrographs/m1{ending}.mrc").read([0])[0]
    assert torch.allclose(images["Odd"] + images["Even"], images["NoDW"], atol=1e-3)
    weighted = MrcStackReader("sums/micrographs/m1.mrc").read([0])[0]
    assert not torch.allclose(weighted, images["NoDW"], atol=0.1)
    assert motion("plain", "--patches", "1", "1", "--unweighted", "yes") == 0  # no dose: the micrograph is the plain sum
    assert "rlnMicrographNameNoDW" not in read_star("plain/corrected_micrographs.star")["micrographs"].columns
    plain = MrcStackReader("plain/micrographs/m1.mrc").read([0])[0]
    assert torch.allclose(plain, images["NoDW"], atol=1e-3)
    assert float(plain.mean()) == pytest.approx(FRAMES * 2.0 * PIXEL**2, rel=0.02)


def test_bad_movies_are_told_at_the_end_and_only_they_are_done_again(inside, capsys):
    good = (inside / "m0.tiff").read_bytes()
    (inside / "cut.tiff").write_bytes(good[: len(good) // 2])
    frames = counted(5)
    for index in (1, 3):
        frames[index] = torch.zeros_like(frames[index])
    write_movie(iter(frames), inside / "dead.mrc", pixel_size=PIXEL)
    write_movie(iter([0 * frame for frame in frames]), inside / "dark.mrc", pixel_size=PIXEL)
    star(["m0.tiff", "gone1.tiff", "cut.tiff", "m1.tiff", "dead.mrc", "dark.mrc", "gone2.tiff"], inside / "mixed.star")
    assert motion("mixed", "--patches", "1", "1", movies=["mixed.star"]) == 3
    told = capsys.readouterr().err
    assert "5 of 7 files could not be used" in told
    for words in ("gone1.tiff: there is no such movie", "cut.tiff", "frames 2, 4 of 6 are blank", "holds no electrons"):
        assert words in told
    assert "Traceback" not in told
    assert read_micrographs("mixed/corrected_micrographs.star").movie_names == ("m0.tiff", "m1.tiff")
    assert len(json.loads((inside / "mixed/failed.json").read_text())) == 5
    before = (inside / "mixed/micrographs/m0.mrc").stat().st_mtime_ns

    for name in ("gone1", "gone2", "cut"):
        (inside / f"{name}.tiff").write_bytes(good)
    for name in ("dead", "dark"):
        write_movie(iter(counted(6)), inside / f"{name}.mrc", pixel_size=PIXEL)
    assert motion("mixed", "--patches", "1", "1", movies=["mixed.star"]) == 0
    assert (inside / "mixed/micrographs/m0.mrc").stat().st_mtime_ns == before
    assert len(read_micrographs("mixed/corrected_micrographs.star")) == 7
    assert not (inside / "mixed/failed.json").exists()
    capsys.readouterr()
    assert motion("mixed", "--patches", "1", "1", movies=["mixed.star"], quiet=("--threads", "1")) == 0
    assert "nothing to do" in capsys.readouterr().err


@pytest.mark.slow
def test_three_of_a_thousand_movies_are_missing(tmp_path, monkeypatch, capsys):
    """All the others are done, the three are told with their rows at the end, and the next run does those three alone, in memory that does not grow."""
    monkeypatch.chdir(tmp_path)
    write_movie(iter([frame[:64, :64] for frame in counted()[:3]]), Path("first.mrc"), pixel_size=PIXEL)
    names, missing = [f"m{number:04d}.mrc" for number in range(1000)], ("m0007.mrc", "m0500.mrc", "m0999.mrc")
    for name in names:
        if name not in missing:
            os.link("first.mrc", name)
    star(names, Path("thousand.star"))
    words = ("--patches", "1", "1")
    assert motion("out", *words, movies=["thousand.star"]) == 3
    told = capsys.readouterr().err
    assert "3 of 1000 files could not be used" in told
    assert all(f"{name}: there is no such movie" in told for name in missing)
    assert read_micrographs("out/corrected_micrographs.star").movie_names == tuple(n for n in names if n not in missing)
    untouched = Path("out/micrographs/m0000.mrc").stat().st_mtime_ns
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in missing:
        os.link("first.mrc", name)
    assert motion("out", *words, movies=["thousand.star"]) == 0
    assert len(read_micrographs("out/corrected_micrographs.star")) == 1000
    assert Path("out/micrographs/m0000.mrc").stat().st_mtime_ns == untouched
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_a_blank_frame_is_left_out_with_a_notice(inside, capsys):
    frames = counted(5)
    frames[3] = torch.zeros_like(frames[3])
    write_movie(iter(frames), inside / "one_dead.mrc", pixel_size=PIXEL)
    star(["m0.tiff", "one_dead.mrc"], inside / "one_dead.star")
    words = ("--patches", "1", "1", "--dose-per-frame", "2")
    assert motion("one_dead", *words, movies=["one_dead.star"], quiet=("--threads", "1")) == 0
    assert "one_dead.mrc: frame 4 of 6 is blank" in capsys.readouterr().err
    table = read_star("one_dead/corrected_micrographs.star")["micrographs"].columns
    assert table["cwFramesLeftOut"] == ("0", "1")
    told = read_movie_motion("one_dead/micrographs/one_dead_motion.star")
    assert told.extra["cwFramesLeftOut"] == "4"
    assert error(told.motion, truth(), PIXEL) < 0.3
    assert "frame 4 of 6 is blank" in (inside / "one_dead/report.html").read_text()


def test_movies_named_one_by_one_can_be_mended_too(inside, capsys):
    good = (inside / "m0.tiff").read_bytes()
    (inside / "half.tiff").write_bytes(good[:-500])
    words = ["--patches", "1", "1", "--pixel-size", str(PIXEL)]
    assert motion("byname", *words, movies=["m1.tiff", "half.tiff"]) == 3
    assert "half.tiff" in capsys.readouterr().err
    (inside / "half.tiff").write_bytes(good)
    assert motion("byname", *words, movies=["m1.tiff", "half.tiff"]) == 0
    assert read_micrographs("byname/corrected_micrographs.star").optics[0].voltage_kv == 300


WRONG = [
    (("--dose-per-frame", "0"), 2, "above 0"),
    (("--dose-per-frame", "-1"), 2, "above 0"),
    (("--dose-weighting", "yes"), 2, "--dose-per-frame"),
    (("--patches", "0", "3"), 2, "patch"),
    (("--gain", "none.mrc"), 3, "none.mrc"),
    (("--gain", "turned.mrc"), 3, "turned by 90°"),
    (("--gain", "other.mrc"), 3, "another camera"),
    (("--gain", "m0.tiff"), 3, "one image"),
    (("--eer-grouping", "4"), 2, "only EER movies"),
]


@pytest.mark.parametrize(("words", "code", "message"), WRONG, ids=[" ".join(words) for words, _, _ in WRONG])
def test_wrong_input_ends_in_one_message(inside, tmp_path, capsys, words, code, message):
    write_gain(torch.ones(SIZE[1], SIZE[0]), "turned.mrc")
    write_gain(torch.ones(100, 90), "other.mrc")
    output = tmp_path / "wrong"
    status = motion(output.as_posix(), *words)
    told = capsys.readouterr().err
    assert status == code, told
    assert message in told
    assert "Traceback" not in told
    assert not list(output.rglob("*.mrc"))


@pytest.mark.parametrize(("movies", "code", "message"), [
    (["m0.tiff"], 3, "--pixel-size"),
    (["movies.star", "m0.tiff"], 3, "alone"),
    (["twice.star"], 3, "named twice"),
    (["none.star"], 3, "no such file"),
    (["table.star"], 3, "table.star"),
])  # fmt: skip
def test_wrong_lists_of_movies_are_refused(inside, tmp_path, capsys, movies, code, message):
    star(["m0.tiff", "m0.tiff"], inside / "twice.star")
    (inside / "table.star").write_text("data_\n\nloop_\n_rlnMicrographName #1\nm0.mrc\n\n")
    assert motion((tmp_path / "o").as_posix(), movies=movies) == code
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told


def test_gain_and_dead_pixels_are_corrected(inside):
    gain = 0.7 + 0.6 * torch.rand(SIZE, generator=torch.Generator().manual_seed(8))
    raw = counted(1, gain=gain)
    gain[40:42, 100] = 0  # dead
    write_gain(gain, "gain.mrc")
    write_movie(iter(frame * (gain > 0) for frame in raw), inside / "raw.mrc", pixel_size=PIXEL)
    words = ["--pixel-size", str(PIXEL), "--patches", "1", "1"]
    assert motion("gained", *words, "--gain", "gain.mrc", movies=["raw.mrc"]) == 0
    told = read_movie_motion("gained/micrographs/raw_motion.star")
    assert error(told.motion, truth(), PIXEL) < 0.3
    image = MrcStackReader("gained/micrographs/raw.mrc").read([0])[0]
    assert float(image[36:46, 97:104].mean()) > 0.8 * float(image.mean())


def test_eer_movies_are_grouped(inside, capsys):
    write_movie(iter(counted(2)), inside / "m.eer", pixel_size=PIXEL, count=FRAMES, raw_frames_per_frame=24)
    words = ["--pixel-size", str(PIXEL), "--patches", "1", "1"]
    assert motion("grouped", *words, "--eer-grouping", "24", movies=["m.eer"]) == 0
    told = read_movie_motion("grouped/micrographs/m_motion.star")
    assert len(told.motion.global_displacement) == FRAMES
    assert error(told.motion, truth(), PIXEL) < 0.3
    assert motion("fewer", *words, "--eer-grouping", "1000", movies=["m.eer"]) == 3
    assert "m.eer" in capsys.readouterr().err


@pytest.mark.parametrize("moments", [3])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(inside, moments, digests):
    words = ["--dose-per-frame", "2", "--halves", "yes", "--i", "movies.star"]
    assert exit_code(["motion", "--o", "whole", *words, *OFF]) == 0
    command = [sys.executable, "-m", "cryowalk", "motion", "--o", "killed", *words, *OFF]
    chance, kills = random.Random(3), 0
    for round_ in range(moments):
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        end = time.monotonic() + 90
        while (
            len(list(inside.glob("killed/micrographs/*.json"))) < min(round_, 2)
            and process.poll() is None
            and time.monotonic() < end
        ):
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 0.1))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
    assert kills
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert digests(inside / "whole", (b"whole/", b"killed/")) == digests(inside / "killed")
