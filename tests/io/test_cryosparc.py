"""cryoSPARC's tables: our conventions by closed form, another program's reading of real ones, and files that are refused."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from cryowalk.core.errors import InputError, SafetyRefusal
from cryowalk.io.cryosparc import read_cryosparc
from cryowalk.io.relion import read_particles


def table(count: int = 5, *, flat: bool = False) -> np.ndarray:
    source = np.random.default_rng(3)
    kind = "alignments2D" if flat else "alignments3D"
    fields = [
        ("blob/path", "S40"), ("blob/idx", "<u4"), ("blob/psize_A", "<f4"), ("ctf/exp_group_id", "<u4"), ("ctf/accel_kv", "<f4"), ("ctf/cs_mm", "<f4"),
        ("ctf/amp_contrast", "<f4"), ("ctf/df1_A", "<f4"), ("ctf/df2_A", "<f4"), ("ctf/df_angle_rad", "<f4"), (f"{kind}/split", "<u4"),
        (f"{kind}/class", "<u4"), (f"{kind}/shift", "<f4", (2,)), (f"{kind}/pose", "<f4") if flat else (f"{kind}/pose", "<f4", (3,)), (f"{kind}/psize_A", "<f4"),
    ]  # fmt: skip
    rows = np.zeros(count, dtype=fields)
    rows["blob/path"], rows["blob/idx"], rows["blob/psize_A"] = b">J1/stack.mrc", np.arange(count)[::-1], 1.5
    rows["ctf/exp_group_id"], rows["ctf/accel_kv"], rows["ctf/cs_mm"], rows["ctf/amp_contrast"] = (
        np.arange(count) % 2,
        200,
        1.4,
        0.1,
    )
    rows["ctf/df1_A"], rows["ctf/df2_A"], rows["ctf/df_angle_rad"] = 12000, 11800, 0.4
    rows[f"{kind}/split"], rows[f"{kind}/class"] = np.arange(count) % 2, np.arange(count) % 3
    rows[f"{kind}/shift"], rows[f"{kind}/psize_A"] = source.normal(size=(count, 2)), 3.0
    rows[f"{kind}/pose"] = source.normal(size=rows[f"{kind}/pose"].shape)
    return rows


def saved(tmp_path, rows: np.ndarray):
    with (tmp_path / "p.cs").open("wb") as stream:
        np.save(stream, rows)
    return tmp_path / "p.cs"


def test_a_table_comes_in_our_conventions(tmp_path) -> None:
    rows = table()
    particles = read_cryosparc(saved(tmp_path, rows))
    expected = torch.from_numpy(Rotation.from_rotvec(rows["alignments3D/pose"].astype(float)).as_matrix()).transpose(-1, -2)
    torch.testing.assert_close(particles.pose.lab_from_particle, expected)
    torch.testing.assert_close(particles.pose.shift, torch.from_numpy(-3.0 * rows["alignments3D/shift"].astype(float)))
    assert particles.image_names == tuple(f"{number:06d}@J1/stack.mrc" for number in (5, 4, 3, 2, 1))
    assert particles.half.tolist() == [1, 2, 1, 2, 1]
    assert particles.class_number.tolist() == [1, 2, 3, 1, 2]
    assert particles.optics_index.tolist() == [0, 1, 0, 1, 0]
    assert (particles.optics[1].pixel_size, particles.optics[1].voltage_kv) == (1.5, 200)
    assert float(particles.defocus.minor[0]) == 11800


def test_a_turn_in_the_plane_is_relions_psi(tmp_path) -> None:
    rows = table(flat=True)
    pose = read_cryosparc(saved(tmp_path, rows)).pose
    psi = rows["alignments2D/pose"].astype(float)
    expected = torch.from_numpy(Rotation.from_euler("ZYZ", np.stack([0 * psi, 0 * psi, psi], 1)).as_matrix()).transpose(-1, -2)
    torch.testing.assert_close(pose.lab_from_particle, expected)


@pytest.mark.agreement
def test_real_poses_are_those_that_another_program_reads(real_data) -> None:
    particles = read_cryosparc(real_data / "interop/cryosparc_P12_J24_001_particles.cs")
    theirs = np.load(real_data / "interop/cryodrgn_pose_from_P12_J24_cs.npz")
    assert len(particles) == len(theirs["rot"]) == 2019
    torch.testing.assert_close(particles.pose.lab_from_particle.float(), torch.from_numpy(theirs["rot"]), atol=2e-6, rtol=0)
    shift = -torch.from_numpy(theirs["trans"]) * 180 * 2.95  # theirs are fractions of the box
    torch.testing.assert_close(particles.pose.shift.float(), shift, atol=1e-3, rtol=1e-5)
    assert {*particles.half.tolist()} == {1, 2}


@pytest.mark.agreement
def test_the_same_real_particles_are_the_same_from_both_programs(real_data) -> None:
    cs, star = (
        read_cryosparc(real_data / "interop/empiar_10076_7.cs"),
        read_particles(real_data / "interop/empiar_10076_7.star", images="ignore"),
    )
    assert cs.pose is None
    torch.testing.assert_close(cs.defocus.major, star.defocus.major, atol=0.01, rtol=0)
    torch.testing.assert_close(cs.defocus.azimuth, star.defocus.azimuth, atol=math.radians(0.01), rtol=0)
    assert cs.pixel_size == pytest.approx(star.pixel_size, rel=1e-5)
    assert [int(name.partition("@")[0]) for name in cs.image_names] == [int(name.partition("@")[0]) for name in star.image_names]


def test_what_is_no_table_of_particles_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        read_cryosparc(tmp_path / "none.cs")
    for content in (b"", b"data_\n", b"\x93NUMPY\x01\x00"):
        (tmp_path / "p.cs").write_bytes(content)
        with pytest.raises((InputError, SafetyRefusal)):
            read_cryosparc(tmp_path / "p.cs")
    with pytest.raises(InputError, match="one array of records"):
        read_cryosparc(saved(tmp_path, np.zeros(4)))
    with pytest.raises(InputError, match="no table of particles"):
        read_cryosparc(saved(tmp_path, table()[["blob/path", "blob/idx"]]))
    rows = table()
    rows["alignments3D/pose"][2, 1] = np.nan
    with pytest.raises(InputError, match="pose of particle 3 is not finite"):
        read_cryosparc(saved(tmp_path, rows))


def test_pickled_objects_are_not_opened(tmp_path) -> None:
    with pytest.raises(SafetyRefusal):
        read_cryosparc(saved(tmp_path, np.array([{"a": 1}], dtype=object)))
