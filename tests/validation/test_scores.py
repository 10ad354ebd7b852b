"""Scores against the truth: known errors come back as the numbers that were put in."""

import math

import pytest
import torch

from cryowalk.core.errors import InputError, UsageError
from cryowalk.data import Defocus, HalfMaps, Optics, ParticleSet, Pose, Truth, Volume
from cryowalk.geometry.rotations import matrix_from_euler, matrix_from_rotation_vector
from cryowalk.geometry.sampling import random_rotations
from cryowalk.geometry.symmetry import symmetry_operators
from cryowalk.validation import score
from cryowalk.validation.pose_errors import align_poses

DEGREE = math.pi / 180
COUNT = 60


@pytest.fixture
def truth(generator: torch.Generator) -> Pose:
    rotations = random_rotations(COUNT, generator=generator).double()
    return Pose(lab_from_particle=rotations, shift=4 * torch.randn(COUNT, 2, generator=generator, dtype=torch.float64))


def turned_about_random_axes(pose: Pose, angle: float, generator: torch.Generator) -> Pose:
    axes = torch.nn.functional.normalize(torch.randn(COUNT, 3, generator=generator, dtype=torch.float64), dim=-1)
    return Pose(lab_from_particle=pose.lab_from_particle @ matrix_from_rotation_vector(angle * axes), shift=pose.shift)


def test_known_pose_errors_come_back(truth: Pose, generator: torch.Generator) -> None:
    wrong = turned_about_random_axes(truth, 3 * DEGREE, generator)
    wrong = Pose(lab_from_particle=wrong.lab_from_particle, shift=wrong.shift + torch.tensor([3.0, -4.0], dtype=torch.float64))
    scores = score(wrong, Truth(pose=truth))
    assert scores["pose_angle_error_median_degrees"] == pytest.approx(3, abs=1e-4)
    assert scores["pose_angle_error_rms_degrees"] == pytest.approx(3, abs=1e-4)
    assert scores["shift_error_median_angstrom"] == pytest.approx(5)
    assert scores["shift_error_rms_angstrom"] == pytest.approx(5)
    perfect = score(truth, Truth(pose=truth))
    assert all(value == pytest.approx(0, abs=1e-5) for value in perfect.values())


@pytest.mark.parametrize("symmetry", ["C1", "C3", "D2"])
def test_equivalent_poses_are_no_error(symmetry: str, truth: Pose, generator: torch.Generator) -> None:
    operators = torch.as_tensor(symmetry_operators(symmetry)).double()
    chosen = torch.randint(len(operators), (COUNT,), generator=generator)
    same = Pose(lab_from_particle=truth.lab_from_particle @ operators[chosen], shift=truth.shift)
    assert score(same, Truth(pose=truth, symmetry=symmetry))["pose_angle_error_rms_degrees"] == pytest.approx(0, abs=1e-4)
    if symmetry != "C1":
        assert score(same, Truth(pose=truth))["pose_angle_error_rms_degrees"] > 30


@pytest.mark.parametrize("symmetry", ["C1", "C3"])
def test_one_rigid_motion_of_all_poses_is_found_among_wrong_ones(symmetry: str, truth: Pose, generator: torch.Generator) -> None:
    motion = matrix_from_euler(torch.tensor([0.4, 1.2, 2.2], dtype=torch.float64))
    offset = torch.tensor([5.0, -2.0, 3.0], dtype=torch.float64)
    rotations = truth.lab_from_particle @ motion
    shift = truth.shift + (truth.lab_from_particle @ offset)[:, :2]
    rotations[:15] = random_rotations(15, generator=generator).double()
    moved = turned_about_random_axes(Pose(lab_from_particle=rotations, shift=shift), 1 * DEGREE, generator)
    scores = score(moved, Truth(pose=truth, symmetry=symmetry))
    assert scores["pose_angle_error_median_degrees"] > 30
    assert scores["pose_angle_error_median_degrees_aligned"] == pytest.approx(1, abs=0.15)
    assert scores["shift_error_median_angstrom_aligned"] < 0.3
    found = align_poses(moved, truth, symmetry=symmetry)
    assert symmetry != "C1" or (found.translation - offset).norm() < 0.3


def test_defocus_errors_come_back(generator: torch.Generator) -> None:
    major = 12000 + 1000 * torch.rand(COUNT, generator=generator)
    azimuth = math.pi * torch.rand(COUNT, generator=generator)
    zero = torch.zeros(COUNT)
    true = Defocus(major=major, minor=major - 300, azimuth=azimuth, phase_shift=zero)
    estimate = Defocus(major=major + 90, minor=major - 300 + 10, azimuth=azimuth + math.pi + 0.1, phase_shift=zero)
    scores = score(estimate, Truth(defocus=true))
    assert scores["defocus_error_median_angstrom"] == pytest.approx(50, abs=0.01)
    assert scores["defocus_bias_angstrom"] == pytest.approx(50, abs=0.01)
    assert scores["astigmatism_error_rms_angstrom"] == pytest.approx(80, abs=0.01)
    assert scores["astigmatism_axis_error_median_degrees"] == pytest.approx(0.1 / DEGREE, abs=1e-3)


def test_maps_are_scored_as_halves_and_as_one_map(phantom, generator: torch.Generator) -> None:
    true = phantom(40)
    noise = torch.randn(2, 40, 40, 40, generator=generator)
    halves = HalfMaps(
        first=Volume(voxels=true.voxels + 0.2 * noise[0], voxel_size=1.7),
        second=Volume(voxels=true.voxels + 0.2 * noise[1], voxel_size=1.7),
    )
    scores = score(halves, Truth(volume=true))
    # The average of two halves has FSC √(2r/(1+r)) to the truth when the halves correlate by r: their 0.143 is its 0.5.
    assert scores["fsc_to_truth_0.5_angstrom"] == pytest.approx(scores["half_fsc_0.143_angstrom"], rel=0.08)
    assert scores["half_fsc_0.5_angstrom"] > scores["half_fsc_0.143_angstrom"] > 2 * 1.7
    single = score(halves.average(), Truth(volume=true))
    assert single["fsc_to_truth_0.5_angstrom"] == scores["fsc_to_truth_0.5_angstrom"]
    assert "half_fsc_0.143_angstrom" not in single
    assert 0.3 < single["correlation_to_truth"] < 1
    assert score(true, Truth(volume=true))["correlation_to_truth"] == pytest.approx(1, abs=1e-5)


def test_a_turned_map_scores_after_rigid_alignment(phantom) -> None:
    rotation = matrix_from_euler(torch.tensor([0.5, 0.9, 0.1], dtype=torch.float64))
    turned = phantom(32, rotation=rotation)
    plain = score(turned, Truth(volume=phantom(32)))
    aligned = score(turned, Truth(volume=phantom(32)), alignment="rigid")
    assert aligned["correlation_to_truth"] > 0.99 > plain["correlation_to_truth"]
    angle = math.acos((float(rotation.diagonal().sum()) - 1) / 2) / DEGREE
    assert aligned["alignment_angle_degrees"] == pytest.approx(angle, abs=0.3)


def particles(pose: Pose, names: tuple[str, ...] = ()) -> ParticleSet:
    return ParticleSet(
        optics=(Optics(pixel_size=1.7),), optics_index=torch.zeros(len(pose), dtype=torch.long), pose=pose, image_names=names
    )


def test_particle_sets_are_matched_by_image_name(truth: Pose) -> None:
    names = tuple(f"{i:06d}@a.mrcs" for i in range(COUNT))
    order = torch.arange(COUNT - 1, 9, -1)
    subset = particles(truth, names)[order]
    scores = score(subset, particles(truth, names))
    assert scores["particles"] == len(order)
    assert scores["pose_angle_error_rms_degrees"] == pytest.approx(0, abs=1e-4)
    with pytest.raises(InputError, match="no particle"):
        score(particles(truth[:2], ("000001@b.mrcs", "000002@b.mrcs")), particles(truth, names))


def test_what_cannot_be_scored_is_refused(truth: Pose, phantom) -> None:
    with pytest.raises(InputError, match="no map"):
        score(phantom(16), Truth(pose=truth))
    with pytest.raises(InputError, match="59 results"):
        score(truth[:59], Truth(pose=truth))
    with pytest.raises(InputError, match="nothing in common"):
        score(particles(truth), Truth(volume=phantom(16)))
    with pytest.raises(UsageError, match="true map"):
        score(phantom(16), particles(truth))


@pytest.mark.parametrize("which", ["result", "truth"])
def test_a_constant_map_is_nothing_to_score(which, generator):
    flat = Volume(voxels=torch.full((8, 8, 8), 2.0), voxel_size=1.5)
    noise = Volume(voxels=torch.randn(8, 8, 8, generator=generator), voxel_size=1.5)
    result, truth = (flat, noise) if which == "result" else (noise, flat)
    with pytest.raises(InputError, match=f"{which} is constant"):
        score(result, Truth(volume=truth))
