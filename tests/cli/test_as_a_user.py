"""What a new or careless user types: wrong files, wrong columns, wrong directories; each ends in one message that names the file and the fix."""

import json
from pathlib import Path

import pytest
import torch

from cryowalk.cli.main import exit_code
from cryowalk.data import Volume
from cryowalk.io import write_map

OFF = ("--quiet", "--threads", "1")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with twelve simulated particles in `sim`."""
    folder = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = ["simulate", "particles", "--n", "12", "--box", "32", "--pixel-size", "5", "--snr", "2", "--o", "sim", *OFF]
        assert exit_code(words) == 0
        write_map(Volume(voxels=torch.zeros(32, 32, 32), voxel_size=5.0), "empty.mrc")
    return folder


@pytest.fixture
def here(made, monkeypatch) -> Path:
    monkeypatch.chdir(made)
    return made


def edited(here: Path, name: str, change) -> str:
    """The name of a copy of the particle file, its particle rows and labels changed."""
    lines = (here / "sim/particles.star").read_text().splitlines()
    (here / name).write_text("\n".join(change(lines)) + "\n")
    return name


def without(label: str):
    """A change that takes a column of the particle table away."""

    def change(lines: list[str]) -> list[str]:
        start = lines.index("data_particles")
        labels = [line.split()[0] for line in lines[start:] if line.startswith("_rln")]
        place = labels.index(f"_{label}")
        kept = []
        for line in lines:
            if line.startswith(f"_{label} "):
                continue
            words = line.split()
            kept.append(" ".join(words[:place] + words[place + 1 :]) if "@" in line else line)
        return kept

    return change


def first_name(text: str):
    """A change of the first image name."""

    def change(lines: list[str]) -> list[str]:
        row = next(i for i, line in enumerate(lines) if "@" in line)
        return [" ".join([text, *line.split()[1:]]) if i == row else line for i, line in enumerate(lines)]

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("rlnAngleRot"), "has rlnAngleTilt and lacks rlnAngleRot"),
        (without("rlnDefocusU"), "has rlnDefocusV and lacks rlnDefocusU"),
        (without("rlnImageName"), "lack rlnImageName"),
        (first_name("99999999999999999999@sim/particles.mrcs"), "INDEX@STACK.mrcs"),
        (first_name("sim/particles.mrcs"), "a stack of 12 images, and does not say which"),
        (first_name("000012@sim/particles.mrcs"), "is in both half sets"),
        (lambda lines: [line.replace(" 32 2", " 32 3") for line in lines], "sub-tomograms"),
    ],
)
def test_columns_that_are_lost_or_wrong_are_named_before_a_directory_is_touched(here, capsys, change, words):
    name = edited(here, "wrong.star", change)
    if words == "is in both half sets":
        halves = [line.split()[-1] for line in (here / "sim/particles.star").read_text().splitlines() if "@" in line]
        twin = next(i for i, half in enumerate(halves) if half != halves[0]) + 1
        name = edited(here, "wrong.star", first_name(f"{twin:06d}@sim/particles.mrcs"))
    assert exit_code(["reconstruct", "--i", name, "--o", "never", *OFF]) == 3
    told = capsys.readouterr().err
    assert words in told
    assert "wrong.star" in told
    assert "What to do" in told or "Expected" in told
    assert not (here / "never").exists()


def test_a_lost_psi_is_taken_as_zero_and_told(here, capsys):
    name = edited(here, "flat.star", without("rlnAnglePsi"))
    assert exit_code(["project", "--i", "sim/truth_map.mrc", "--ang", name, "--o", "flat/p"]) == 0
    assert "no column rlnAnglePsi: taken as 0" in capsys.readouterr().err


def test_the_truth_in_place_of_the_particles_is_recognised(here, capsys):
    assert exit_code(["reconstruct", "--i", "sim/truth.star", "--o", "never", *OFF]) == 3
    assert "the truth of a simulation" in capsys.readouterr().err


def test_a_map_in_place_of_a_table_or_structure_is_recognised(here, capsys):
    assert exit_code(["reconstruct", "--i", "sim/truth_map.mrc", "--o", "never", *OFF]) == 3
    assert "this is an MRC file" in capsys.readouterr().err


def test_atoms_without_occupancy_are_refused(here, capsys):
    atom = "ATOM  {:5d}  C1  ALA A{:4d}    {:8.3f}{:8.3f}{:8.3f}  0.00 20.00           C\n"
    (here / "empty.pdb").write_text("".join(atom.format(i, i, 3.0 * i, 2.0, -i) for i in range(1, 9)))
    assert exit_code(["convert", "--i", "empty.pdb", "--o", "atoms.mrc", "--pixel-size", "2"]) == 3
    assert "every occupancy is 0" in capsys.readouterr().err
    assert exit_code(["simulate", "particles", "--structure", "empty.pdb", "--o", "ghosts", "--n", "2", *OFF]) == 3


def test_one_atom_can_be_imaged(here):
    (here / "one.pdb").write_text("ATOM      1  C1  ALA A   1       1.000   2.000   3.000  1.00 20.00           C\n")
    words = ["simulate", "particles", "--structure", "one.pdb", "--o", "one", "--n", "2", "--box", "32", *OFF]
    assert exit_code(words) == 0


def test_constant_maps_and_empty_masks_have_no_resolution(here, capsys):
    assert exit_code(["fsc", "sim/truth_map.mrc", "empty.mrc", "--json"]) == 3
    assert "empty.mrc: the map is constant" in capsys.readouterr().err
    assert exit_code(["fsc", "sim/truth_map.mrc", "sim/truth_map.mrc", "--mask", "empty.mrc"]) == 3
    assert "the mask is zero everywhere" in capsys.readouterr().err
    assert exit_code(["simulate", "particles", "--map", "empty.mrc", "--o", "void", "--n", "2", "--box", "32", *OFF]) == 3
    assert "the map is constant" in capsys.readouterr().err


def test_a_hard_mask_is_told(here, capsys):
    ball = (torch.arange(32) - 16).abs() < 9
    voxels = (ball[:, None, None] & ball[None, :, None] & ball).float()
    write_map(Volume(voxels=voxels / 5.0, voxel_size=5.0), "hard.mrc")
    assert exit_code(["fsc", "sim/truth_map.mrc", "sim/truth_map.mrc", "--mask", "hard.mrc", "--json"]) == 0
    told = capsys.readouterr()
    assert "hard edge" in told.err
    assert json.loads(told.out)["resolution_0.143_angstrom"] == pytest.approx(10.0)


def test_images_without_contrast_make_no_map(here, capsys):
    stack = here / "blank.mrcs"
    content = bytearray((here / "sim/particles.mrcs").read_bytes())
    content[1024:] = bytes(len(content) - 1024)
    stack.write_bytes(content)
    name = edited(here, "blank.star", lambda lines: [line.replace("sim/particles.mrcs", "blank.mrcs") for line in lines])
    assert exit_code(["reconstruct", "--i", name, "--o", "blank", *OFF]) == 3
    assert "no contrast" in capsys.readouterr().err
    assert not list((here / "blank").glob("*.mrc"))


@pytest.mark.parametrize(
    "option",
    [
        ("--pixel-size", "1e9"),
        ("--pixel-size", "0.001"),
        ("--snr", "1e-30"),
        ("--dose", "1e-12"),
        ("--cs", "1e9"),
        ("--shift-deviation", "1e6"),
        ("--canvas", "1000000"),
        ("--canvas", "10"),
        ("--defocus-range", "1e9", "2e9"),
    ],
)
def test_options_that_could_not_be_read_back_are_refused_at_once(here, capsys, option):
    assert exit_code(["simulate", "particles", "--o", "never", "--n", "2", "--box", "32", *option, *OFF]) == 2
    assert not (here / "never").exists()
    assert "must" in capsys.readouterr().err


def test_conversion_says_what_the_input_is(here, capsys):
    (here / "page.mrc").write_text("<!DOCTYPE html><html>404</html>")
    assert exit_code(["convert", "--i", "page.mrc", "--o", "x.mrc"]) == 3
    assert "HTML page" in capsys.readouterr().err
    content = bytearray((here / "sim/truth_map.mrc").read_bytes())
    place = 1024 + 4 * (32 * 32 * 7 + 5)
    content[place : place + 4] = b"\x00\x00\xc0\x7f"
    (here / "nan.mrc").write_bytes(content)
    assert exit_code(["convert", "--i", "nan.mrc", "--o", "x.mrc"]) == 3
    assert "nan.mrc: section 8 holds values that are not finite" in capsys.readouterr().err
    assert not (here / "x.mrc").exists()


def test_another_commands_directory_is_refused_in_few_words(here, capsys):
    assert exit_code(["reconstruct", "--i", "sim/particles.star", "--o", "sim", *OFF]) == 6
    told = capsys.readouterr().err
    assert 'now "reconstruct"' in told
    assert "is gone" not in told


def test_a_directory_that_no_star_file_can_name_is_refused_at_once(here, capsys):
    assert exit_code(["simulate", "particles", "--o", "a\x1b[31m", "--n", "2", "--box", "32", *OFF]) == 2
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "words"), [(("--sym", "Q"), "no symmetry is called"), (("--mask-radius", "1e6"), "does not fit")]
)
def test_a_walk_tells_a_wrong_option_before_it_computes(here, capsys, option, words):
    place = f"walk_{option[1]}"
    assert exit_code(["walk", "--output", place, "--n", "4", "--box", "32", *option, *OFF]) == 2
    assert words in capsys.readouterr().err
    assert not list((here / place).rglob("*.mrc*"))


def test_a_walk_refuses_particles_by_the_column_they_lack(here, capsys):
    name = edited(here, "wrong.star", without("rlnImageName"))
    assert exit_code(["walk", "--output", "walk_lacking", "--particles", name, *OFF]) == 3
    assert "lack rlnImageName" in capsys.readouterr().err
