"""RELION beside us on tables that came from cryoSPARC: it carries the columns that it does not know, and they come back with the same bits."""

import subprocess

import pytest

from cryowalk.io.cryosparc import read_cryosparc
from cryowalk.io.cryosparc_records import read_records
from cryowalk.io.cryosparc_writer import records_from_particles
from cryowalk.io.relion import read_particles, write_particles

pytestmark = pytest.mark.agreement


def test_cryosparc_s_fields_pass_through_relion(relion, real_data, tmp_path) -> None:
    rows = read_records(real_data / "interop/cryosparc_P12_J24_001_particles.cs")
    write_particles(read_cryosparc(real_data / "interop/cryosparc_P12_J24_001_particles.cs"), tmp_path / "p.star")
    words = [
        "--i",
        tmp_path / "p.star",
        "--o",
        tmp_path / "half.star",
        "--select",
        "rlnRandomSubset",
        "--minval",
        "1",
        "--maxval",
        "1",
    ]
    subprocess.run([relion / "relion_star_handler", *words], check=True, capture_output=True, timeout=60)
    out = records_from_particles(read_particles(tmp_path / "half.star", images="ignore"))
    kept = rows[rows["alignments3D/split"] == 0]
    assert len(out) == len(kept) == 1010
    for name in (
        "uid",
        "blob/path",
        "blob/idx",
        "blob/sign",
        "ctf/type",
        "alignments3D/alpha",
        "alignments3D/error",
        "alignments3D/class_ess",
    ):
        assert (out[name] == kept[name]).all(), name
