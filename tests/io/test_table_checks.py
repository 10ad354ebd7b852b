"""Labels and values of STAR tables held against RELION's names and types."""

import shutil
import subprocess

import pytest

from cryowalk.core.errors import InputError
from cryowalk.io import faults, is_sound
from cryowalk.io.relion_labels import kind_of_label, nearest_label, relion_labels
from cryowalk.io.star import parse_star, read_star
from cryowalk.io.table_checks import SENSIBLE, odd_labels, odd_values

TABLE = "data_particles\nloop_\n_rlnCoordinateX\n_{label}\n1.5 {first}\n2.5 {second}\n"


@pytest.mark.parametrize(
    ("label", "first", "second", "words", "is_serious"),
    [
        (
            "rlnDefocusU",
            "10000",
            "1e6",
            "line 6, data_particles: rlnDefocusU is “1e6”: -500000 to 500000 is expected; nm or m",
            True,
        ),
        ("rlnDefocusU", "10,5", "1", "line 5, data_particles: rlnDefocusU is “10,5”: a number is expected", True),
        ("rlnClassNumber", "1.5", "2.5", "line 5, data_particles: rlnClassNumber is “1.5” (and 1 more): a whole number", True),
        ("rlnCtfMaxResolution", "4", "inf", "line 6, data_particles: rlnCtfMaxResolution is “inf”: it is not finite", False),
        ("rlnOddZernike", "[1,2]", "1,2", "line 6, data_particles: rlnOddZernike is “1,2”: numbers as [a,b,c]", True),
        ("rlnAutopickFigureOfMerit", "1", "1e30", "line 6, data_particles: rlnAutopickFigureOfMerit is “1e30”: it is far", False),
        ("rlnRandomSubset", "1", "3", "line 6, data_particles: rlnRandomSubset is “3”: 0 to 2 is expected", True),
    ],
)
def test_values_of_the_wrong_kind_are_told_with_their_line(label, first, second, words, is_serious):
    (found,) = odd_values(parse_star(TABLE.format(label=label, first=first, second=second)))
    assert words in found.what
    assert found.is_serious == is_serious


def test_whole_numbers_and_flags_may_have_a_point_as_relion_reads_them():
    assert not list(odd_values(parse_star(TABLE.format(label="rlnClassNumber", first="1.000000", second="2"))))
    assert not list(odd_values(parse_star(TABLE.format(label="rlnMicrographName", first="a", second="1"))))
    assert not list(odd_values(parse_star(TABLE.format(label="ownColumn", first="a", second="1"))))


@pytest.mark.parametrize(
    ("label", "near"),
    [
        ("rlnDefocusu", "; the nearest is rlnDefocusU"),
        ("rlnAngelRot", "; the nearest is rlnAngleRot"),
        ("DefocusV", "; the nearest is rlnDefocusV"),
        ("rlnSomethingElseEntirely", ""),
    ],
)
def test_labels_that_relion_does_not_know_are_told_with_the_nearest(label, near):
    (found,) = odd_labels(parse_star(TABLE.format(label=label, first=1, second=2)))
    assert found.what == f"data_particles: {label} is no label of RELION{near}"
    assert not found.is_serious


def test_columns_of_other_programs_are_left_alone():
    assert not odd_labels(parse_star(TABLE.format(label="cwParticleScore", first=1, second=2)))
    assert not odd_labels(parse_star("data_stopgap\nloop_\n_pixelsize\n_defocus\n1 2\n"))


def test_single_values_are_looked_at_too():
    (found,) = odd_values(parse_star("data_general\n_rlnFinalResolution abc\n_rlnMaskName 1\n"))
    assert "rlnFinalResolution is “abc”" in found.what


def test_faults_of_a_file_name_labels_and_values_once(tmp_path):
    path = tmp_path / "m.star"
    path.write_text(
        "data_micrographs\nloop_\n_rlnMicrographName\n_rlnVoltage\n_rlnDefocusu\n_rlnAmplitudeContrast\na.mrc 300000 1 0.1\n"
    )
    found = faults(path)
    assert not is_sound(found)
    assert len([fault for fault in found if "300000" in fault.what or "rlnVoltage" in fault.what]) == 1
    assert any("rlnDefocusu is no label" in fault.what for fault in found)


def test_the_table_of_labels_is_sound():
    labels = relion_labels()
    assert len(labels) > 600
    assert all(label.startswith("rln") and label.isidentifier() for label in labels)
    assert set(SENSIBLE) <= set(labels)
    assert (kind_of_label("rlnMicrographName"), kind_of_label("rlnOddZernike"), kind_of_label("rlnIsHelix")) == (
        "string",
        "vector",
        "bool",
    )
    assert nearest_label("x" * 100_000) == ""


@pytest.mark.agreement
def test_relion_prints_the_same_types():
    program = shutil.which("relion_refine")
    if program is None:
        pytest.skip("RELION is not installed (on Debian: apt-get install relion)")
    printed = subprocess.run([program, "--print_metadata_labels"], capture_output=True, text=True, check=False).stdout
    lines = [line.split() for line in printed.splitlines() if line.strip().startswith("rln")]
    told = {words[0]: words[1].strip("()").replace("vector<double>", "vector") for words in lines if words[1].startswith("(")}
    assert len(told) > 400
    assert {label: kind_of_label(label) for label in told} == told


@pytest.mark.agreement
def test_nothing_is_odd_about_real_tables_but_what_is_not_finite(real_data):
    for path in sorted(real_data.rglob("*.star")):
        try:
            star = read_star(path)
        except InputError:
            continue
        assert [odd.what for odd in (*odd_labels(star), *odd_values(star)) if "not finite" not in odd.what] == [], path
