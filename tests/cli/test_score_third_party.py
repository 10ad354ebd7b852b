"""`cryowalk score` of other programs' particles: sorted, selected, and in cryoSPARC's tables, against the truth.star of a simulation."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from tests.cli.test_pick_command import exit_code

from cryowalk.data import Defocus, Optics, ParticleSet, Pose, Truth
from cryowalk.geometry.rotations import matrix_about_axis
from cryowalk.geometry.sampling import random_rotations
from cryowalk.io.relion import write_particles
from cryowalk.io.truth import write_truth

COUNT = 12


@pytest.fixture
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def true_poses() -> Pose:
    g = torch.Generator().manual_seed(2)
    return Pose(
        lab_from_particle=random_rotations(COUNT, generator=g), shift=torch.randn(COUNT, 2, generator=g, dtype=torch.float64)
    )


def defocus() -> Defocus:
    major = 9000 + 500 * torch.arange(COUNT, dtype=torch.float64)
    return Defocus(major=major, minor=major - 100, azimuth=torch.zeros(COUNT).double(), phase_shift=torch.zeros(COUNT).double())


def found(degrees: float) -> Pose:
    """The true poses, turned by so much about the beam and moved by 1 Å along x."""
    turn = matrix_about_axis(torch.tensor(math.radians(degrees), dtype=torch.float64), axis="z")
    truth = true_poses()
    return Pose(lab_from_particle=turn @ truth.lab_from_particle, shift=truth.shift + torch.tensor([1.0, 0.0]))


def scores(capsys, stage: str, file: str) -> dict[str, float]:
    capsys.readouterr()
    assert exit_code(["score", stage, "--i", file, "--truth", "truth.star", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def star(pose: Pose, order: list[int]) -> None:
    particles = ParticleSet(
        optics=(Optics(pixel_size=2.0),),
        optics_index=torch.zeros(COUNT, dtype=torch.long),
        pose=pose,
        defocus=defocus(),
        image_names=tuple(f"{number + 1:06d}@sim/particles.mrcs" for number in range(COUNT)),
    )
    write_particles(particles[order], "run_data.star")


@pytest.mark.parametrize("order", [[*range(COUNT)][::-1], [7, 2, 11]])
def test_rows_are_matched_by_the_images_they_name(inside, capsys, order) -> None:
    write_truth(Truth(pose=true_poses(), defocus=defocus()), "truth.star")
    star(found(3.0), order)
    told = scores(capsys, "poses", "run_data.star")
    assert told["pose_angle_error_median_degrees"] == pytest.approx(3, abs=1e-3)
    assert told["shift_error_median_angstrom"] == pytest.approx(1, abs=1e-3)
    assert scores(capsys, "ctf", "run_data.star")["defocus_error_rms_angstrom"] < 1e-3
    assert scores(capsys, "particles", "run_data.star")["particles"] == len(order)


def test_cryosparcs_particles_are_scored(inside, capsys) -> None:
    write_truth(Truth(pose=true_poses()), "truth.star")
    pose = found(2.0)
    rows = np.zeros(COUNT, dtype=[("blob/path", "S20"), ("blob/idx", "<u4"), ("blob/psize_A", "<f4"), ("alignments3D/pose", "<f4", (3,)), ("alignments3D/shift", "<f4", (2,)), ("alignments3D/psize_A", "<f4")])  # fmt: skip
    rows["blob/path"], rows["blob/idx"], rows["blob/psize_A"], rows["alignments3D/psize_A"] = (
        b"J2/p.mrc",
        np.arange(COUNT),
        2.0,
        4.0,
    )
    rows["alignments3D/pose"] = Rotation.from_matrix(pose.lab_from_particle.transpose(-1, -2).numpy()).as_rotvec()
    rows["alignments3D/shift"] = -pose.shift.numpy() / 4
    with (inside / "J2.cs").open("wb") as stream:
        np.save(stream, np.random.default_rng(1).permutation(rows))
    told = scores(capsys, "poses", "J2.cs")
    assert told["pose_angle_error_median_degrees"] == pytest.approx(2, abs=1e-3)
    assert told["shift_error_median_angstrom"] == pytest.approx(1, abs=1e-3)


def test_images_that_the_truth_does_not_know_are_refused(inside, capsys) -> None:
    truth = true_poses()
    write_truth(Truth(pose=truth[:10]), "truth.star")
    star(found(1.0), [3, 11])
    assert exit_code(["score", "poses", "--i", "run_data.star", "--truth", "truth.star"]) == 3
    assert "image 12 is named, the truth holds 10 rows" in capsys.readouterr().err
    star(found(1.0), [3, 3])
    assert exit_code(["score", "poses", "--i", "run_data.star", "--truth", "truth.star"]) == 3
    assert "named twice" in capsys.readouterr().err
