"""RELION's own lists of symmetry operators, and its symmetry expansion, beside ours."""

import re
import subprocess

import pytest
import torch

from cryowalk.geometry.rotations import matrix_from_euler
from cryowalk.geometry.symmetry import equivalent_rotations, symmetry_operators

GROUPS = ["C1", "C2", "C3", "C6", "C7", "D1", "D2", "D3", "D7", "T", "O", "I", "I1", "I2", "I3", "I4"]
PRINTED_DIGITS = 1e-5

STAR = """data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnImagePixelSize #6
_rlnImageSize #7
_rlnImageDimensionality #8
1 group1 300 2.7 0.1 1.3 64 2

data_particles

loop_
_rlnImageName #1
_rlnOpticsGroup #2
_rlnAngleRot #3
_rlnAngleTilt #4
_rlnAnglePsi #5
_rlnOriginXAngst #6
_rlnOriginYAngst #7
000001@stack.mrcs 1 23.5 67.25 -141.75 0 0
"""


def every_row_is_in(rows, others):
    return float((rows[:, None] - others[None]).abs().amax(dim=(-1, -2)).amin(dim=1).max())


@pytest.mark.agreement
@pytest.mark.parametrize("name", GROUPS)
def test_operators_are_those_that_relion_prints(name, relion):
    command = [str(relion / "relion_refine"), "--print_symmetry_ops", "--sym", name]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    starts = [i for i, line in enumerate(lines) if re.match(r"\s*R\(\d+\)=", line)]
    printed = torch.tensor(
        [[[float(x) for x in lines[i + row].split()] for row in (1, 2, 3)] for i in starts], dtype=torch.float64
    )
    ours = symmetry_operators(name)
    assert len(printed) == len(ours)
    assert every_row_is_in(printed, ours) < PRINTED_DIGITS
    assert every_row_is_in(ours, printed) < PRINTED_DIGITS


@pytest.mark.agreement
@pytest.mark.parametrize("name", ["C3", "D2", "D5", "T", "O", "I", "I1", "I3", "I4"])
def test_expanded_orientations_are_those_of_relion(name, relion, tmp_path):
    """A particle's equivalent orientations, on the side of the matrix where RELION puts the operators."""
    (tmp_path / "one.star").write_text(STAR)
    command = [str(relion / "relion_particle_symmetry_expand"), "--i", "one.star", "--o", "all.star", "--sym", name]
    subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    lines = (tmp_path / "all.star").read_text().split("data_particles")[1].splitlines()
    columns = {m[1]: int(m[2]) - 1 for line in lines if (m := re.match(r"_rln(\w+) #(\d+)", line.strip()))}
    rows = [line.split() for line in lines if "@" in line]
    angles = torch.tensor(
        [[float(row[columns[a]]) for a in ("AngleRot", "AngleTilt", "AnglePsi")] for row in rows], dtype=torch.float64
    )
    expanded = matrix_from_euler(angles.deg2rad()).mT
    start = matrix_from_euler(torch.tensor([23.5, 67.25, -141.75], dtype=torch.float64).deg2rad()).mT
    ours = equivalent_rotations(start, name)
    assert len(expanded) == len(ours)
    assert every_row_is_in(expanded, ours) < PRINTED_DIGITS
    assert every_row_is_in(ours, expanded) < PRINTED_DIGITS
