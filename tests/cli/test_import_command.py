"""`import` and `optics` as users meet them: sessions of EPU and SerialEM, particles, wrong files."""

import json
from pathlib import Path

import pytest
import torch
from tests.cli.acquisitions import epu_session, serialem_session

from cryowalk.cli.main import exit_code
from cryowalk.io.gain import write_gain
from cryowalk.io.micrographs import read_micrographs
from cryowalk.io.mrc import write_array
from cryowalk.io.relion import read_particles
from cryowalk.io.star import read_star

OFF = ("--quiet", "--threads", "1")


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("session")
    return folder, epu_session(folder / "Movies"), serialem_session(folder / "Serial")


@pytest.fixture
def inside(session, monkeypatch):
    monkeypatch.chdir(session[0])
    return session[0]


def imported(output, *words, i=("Movies/*.mrc",)):
    return exit_code(["import", "--i", *i, "--o", f"Import/{output}", *words, *OFF])


def groups(path):
    """The group's name of each film by its bare name."""
    table = read_micrographs(path)
    names = table.movie_names or table.names
    return {Path(name).name: table.optics_of(row).name for row, name in enumerate(names)}


def partition(of):
    """The sets of films that share a value."""
    return {frozenset(name for name in of if of[name] == value) for value in of.values()}


def test_epu_s_beam_shifts_make_the_groups(inside, session):
    assert imported("shifts", "--dose-per-frame", "1.25") == 0
    found = groups("Import/shifts/movies.star")
    assert partition(found) == partition(session[1])
    hole = {f"opticsGroup1_shift{number + 1}": number for number in range(9)}
    assert {name: hole[group] for name, group in found.items()} == session[1]  # counted row by row
    table = read_micrographs("Import/shifts/movies.star")
    assert table.optics[0].pixel_size == pytest.approx(1.06)  # the headers'
    assert set(table.extra["rlnMicrographDoseRate"]) == {"1.25"}
    facts = json.loads(Path("Import/shifts/acquisition.json").read_text())
    assert "9 groups of beam shifts" in facts["words"]
    assert (
        "<svg" in Path("Import/shifts/report.html").read_text() or "data:image" in Path("Import/shifts/report.html").read_text()
    )
    assert not list(Path("Import/shifts").glob("links"))


@pytest.mark.parametrize("choice", ["names", "shifts", "9"])
def test_serialem_s_names_shifts_and_numbers_agree(inside, session, choice):
    assert imported(f"serial{choice}", "--groups", choice, "--optics-group-name", "day1", i=("Serial/*.mrc",)) == 0
    found = groups(f"Import/serial{choice}/movies.star")
    assert partition(found) == partition(session[2])
    assert all(name.startswith("day1_") for name in found.values())


def test_one_group_where_it_is_asked_for_or_nothing_is_told(inside, tmp_path, monkeypatch):
    assert imported("one", "--groups", "one") == 0
    assert set(groups("Import/one/movies.star").values()) == {"opticsGroup1"}
    monkeypatch.chdir(tmp_path)
    write_array(torch.zeros(1, 20, 30), "m.mrc", voxel_size=1.5, kind="images")
    assert imported("silent", i=("m.mrc",)) == 0
    assert groups("Import/silent/micrographs.star") == {"m.mrc": "opticsGroup1"}
    assert imported("asked", "--groups", "names", i=("m.mrc",)) == 3


def test_links_are_made_where_they_are_wanted_and_a_list_is_taken(inside, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    films = sorted((inside / "Serial").glob("*.mrc"))[:3]
    Path("films.txt").write_text("# mine\n" + "".join(f"{path}\n" for path in films))
    assert imported("linked", "--link", "--groups", "one", i=("films.txt",)) == 0
    names = read_micrographs("Import/linked/movies.star").movie_names
    assert names == tuple(f"Import/linked/links/{path.name}" for path in films)
    assert all(
        Path(name).is_symlink() and Path(name).resolve() == path.resolve() for name, path in zip(names, films, strict=True)
    )
    assert not any("links" in name for name in json.loads(Path("Import/linked/job.json").read_text())["outputs"])
    assert imported("linked", "--link", "--groups", "one", i=("films.txt",)) == 0  # done


def test_films_of_another_size_or_damaged_are_left_out_and_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        write_array(torch.zeros(2, 20, 30), f"m{number}.mrc", voxel_size=1.5, kind="images")
    write_array(torch.zeros(2, 30, 20), "turned.mrc", voxel_size=1.5, kind="images")
    Path("broken.mrc").write_bytes(b"nothing")
    assert imported("some", i=("*.mrc",)) == 3
    told = capsys.readouterr().err
    assert "2 of 5 files could not be used" in told
    assert "turned.mrc: 20 × 30 px (x × y), most others 30 × 20" in told
    assert "broken.mrc" in told
    assert len(read_micrographs("Import/some/movies.star")) == 3


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--pixel-size", "2.1"), 3, "the header says 1.06 Å a pixel"),
        (("--groups", "many"), 2, "--groups cannot be 'many'"),
        (("--groups", "0"), 2, "--groups cannot be '0'"),
        (("--metadata", "absent"), 3, "there is no such file"),
        (("--metadata", "Serial"), 3, "no file tells the shift of 36 of 36 exposures"),
        (("--groups", "500"), 3, "cannot be parted into 500 groups"),
        (("--gain", "small.mrc"), 3, "small.mrc"),
    ],
)
def test_what_cannot_be_meant_is_told(inside, capsys, words, code, message):
    write_gain(torch.ones(5, 5), "small.mrc")
    assert imported("wrong", *words) == code
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told


def test_headers_that_disagree_or_tell_nothing_are_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_array(torch.zeros(1, 20, 30), "a.mrc", voxel_size=1.5, kind="images")
    write_array(torch.zeros(1, 20, 30), "b.mrc", voxel_size=3.0, kind="images")
    assert imported("two", i=("a.mrc", "b.mrc")) == 3
    assert "the header says 3 Å a pixel" in capsys.readouterr().err
    write_array(torch.zeros(1, 20, 30), "c.mrc", voxel_size=1.0, kind="images")
    assert imported("none", i=("c.mrc",)) == 2
    assert "state --pixel-size" in capsys.readouterr().err
    assert imported("told", "--pixel-size", "1.1", i=("c.mrc",)) == 0
    assert read_micrographs("Import/told/micrographs.star").pixel_size == pytest.approx(1.1)
    assert imported("twice", "--pixel-size", "1.5", i=("a.mrc", "a.mrc")) == 3
    assert "named twice" in capsys.readouterr().err


def test_motion_takes_gain_and_dose_from_the_table(inside, tmp_path, capsys):
    write_gain(torch.ones(24, 32), "gain.mrc")
    films = sorted(Path("Serial").glob("*.mrc"))[:1]
    assert (
        imported("gained", "--gain", "gain.mrc", "--dose-per-frame", "1.5", "--groups", "one", i=[str(path) for path in films])
        == 0
    )
    from cryowalk.workflow.motion_stages import _with_dose, movie_inputs

    inputs = movie_inputs((Path("Import/gained/movies.star"),), None)
    assert inputs.gain == Path("gain.mrc")
    from cryowalk.motion.settings import AlignmentSettings

    assert _with_dose(inputs.movies, AlignmentSettings()).dose_per_frame == 1.5
    assert _with_dose(inputs.movies, AlignmentSettings(dose_per_frame=2.0)).dose_per_frame == 2.0


def particles(folder, names):
    rows = "".join(f"{number + 1:06d}@{folder}/p.mrcs {name} 1 10 20\n" for number, name in enumerate(names))
    write_array(torch.randn(len(names), 16, 16), f"{folder}/p.mrcs", voxel_size=2.12, kind="images")
    head = "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnOpticsGroupName #2\n_rlnImagePixelSize #3\n_rlnImageSize #4\n_rlnVoltage #5\n"
    head += "_rlnSphericalAberration #6\n_rlnAmplitudeContrast #7\n1 mine 2.12 16 300 2.7 0.1\n\n"
    columns = ["rlnImageName", "rlnMicrographName", "rlnOpticsGroup", "rlnCoordinateX", "rlnSomethingNew"]
    labels = "".join(f"_{label} #{number}\n" for number, label in enumerate(columns, start=1))
    Path(f"{folder}/p.star").write_text(f"{head}data_particles\n\nloop_\n{labels}{rows}\n".replace(" 10 20\n", " 10 007\n"))


def test_particles_are_grouped_by_their_micrographs_and_joined_again(inside, session, tmp_path):
    folder = Path("Particles")
    folder.mkdir(exist_ok=True)
    films = [f"MotionCorr/{name.replace('_fractions', '')}" for name in session[1]] * 2
    particles(folder, films)
    assert (
        exit_code(
            [
                "optics",
                "--i",
                "Particles/p.star",
                "--split",
                "shifts",
                "--metadata",
                "Movies",
                "--o",
                "Particles/split.star",
                *OFF,
            ]
        )
        == 0
    )
    found = read_particles("Particles/split.star")
    assert len(found.optics) == 9
    of = {name: found.optics[int(found.optics_index[row])].name for row, name in enumerate(found.micrograph_names)}
    expected = {f"MotionCorr/{name.replace('_fractions', '')}": hole for name, hole in session[1].items()}
    assert partition(of) == partition(expected)
    assert set(found.extra["rlnSomethingNew"]) == {"007"}
    assert exit_code(["optics", "--i", "Particles/split.star", "--merge", "all", "--o", "Particles/one.star", *OFF]) == 0
    assert read_star("Particles/one.star")["particles"].columns == read_star("Particles/p.star")["particles"].columns
    assert [group.name for group in read_particles("Particles/one.star").optics] == ["mine"]
    both = "mine_shift1,mine_shift3"
    assert exit_code(["optics", "--i", "Particles/split.star", "--merge", both, "--o", "Particles/eight.star", *OFF]) == 0
    assert [group.name for group in read_particles("Particles/eight.star").optics] == [
        f"mine_shift{n}" for n in (1, 2, 4, 5, 6, 7, 8, 9)
    ]
    assert exit_code(["import", "--i", "Particles/p.star", "--metadata", "Movies", "--o", "Import/particles", *OFF]) == 0
    assert len(read_particles("Import/particles/particles.star").optics) == 9


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "either --split or --merge"),
        (("--split", "names", "--merge", "all"), 2, "either --split or --merge"),
        (("--split", "halves"), 2, "--split cannot be 'halves'"),
        (("--merge", "absent"), 3, "there is no optics group “absent”"),
        (("--split", "shifts", "--metadata", "Serial"), 3, "no file tells the shift"),
    ],
)
def test_groups_that_cannot_be_made_are_told(inside, capsys, words, code, message):
    assert imported("table", "--groups", "one") == 0
    assert exit_code(["optics", "--i", "Import/table/movies.star", "--o", "never.star", *words, *OFF]) == code
    assert message in capsys.readouterr().err
    assert not Path("never.star").exists()


def test_groups_that_differ_are_not_joined(inside, tmp_path, capsys):
    assert imported("parted", "--groups", "names", i=("Serial/*.mrc",)) == 0
    text = Path("Import/parted/movies.star").read_text().replace(" 2 300.000000", " 2 200.000000")
    Path("other.star").write_text(text)
    assert exit_code(["optics", "--i", "other.star", "--merge", "all", "--o", "never.star", *OFF]) == 3
    assert "differ in voltage_kv" in capsys.readouterr().err


def test_stacks_become_particles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, count in enumerate((3, 2)):
        write_array(torch.randn(count, 16, 16), f"s{number}.mrcs", voxel_size=2.5, kind="images")
    assert imported("stacks", i=("s0.mrcs", "s1.mrcs")) == 0
    found = read_particles("Import/stacks/particles.star")
    assert found.image_names == ("000001@s0.mrcs", "000002@s0.mrcs", "000003@s0.mrcs", "000001@s1.mrcs", "000002@s1.mrcs")
    assert found.images.read([4]).shape == (1, 16, 16)
    assert found.pixel_size == 2.5
