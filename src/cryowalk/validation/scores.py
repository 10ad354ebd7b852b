"""Scores of a result against the truth: flat numbers whose names carry their units."""

import math
from collections.abc import Mapping
from typing import Literal, TypeAlias, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError, UsageError
from cryowalk.data import Defocus, HalfMaps, ParticleSet, Pose, Truth, Volume
from cryowalk.validation.alignment import align
from cryowalk.validation.pose_errors import align_poses, angle_errors, folded_axis, in_frame_of_truth, shift_errors
from cryowalk.validation.shell_correlation import compare_maps, fourier_shell_correlation

Result: TypeAlias = HalfMaps | Volume | ParticleSet | Pose | Defocus
Part = TypeVar("Part")
DEGREE = math.pi / 180


def score(
    result: Result,
    truth: Truth | ParticleSet,
    *,
    mask: Volume | None = None,
    alignment: Literal["none", "rigid"] = "none",
) -> Mapping[str, float]:
    """Errors of a result against the truth, by name with unit.

    Maps: resolution in Å at which the FSC to the true map falls below 0.5 and 0.143, its mean over all shells, and the real-space correlation; half maps
    also their own FSC, and their average is what is compared. With `alignment="rigid"` the map is first turned and moved onto the truth.
    Poses: median and rms angle (degrees, to the nearest symmetry-equivalent of the truth) and shift error (Å); the names ending in `_aligned` are
    those after the one rigid motion that relates the two frames. Defocus: median and rms error of the mean defocus (Å), of the astigmatism (Å) and of its
    axis (degrees). Particles: all of these that both sides carry. Two particle sets are matched by image name where both have names.

    Raises
    ------
    InputError
        If the truth lacks what the result is scored against, or counts differ.
    """
    if isinstance(result, HalfMaps | Volume):
        return _score_map(result, truth, mask, alignment)
    if isinstance(result, ParticleSet):
        return _score_particles(result, truth)
    if isinstance(result, Pose):
        return _score_pose(result, _needed(truth.pose, "poses"), _symmetry(truth))
    return _score_defocus(result, _needed(truth.defocus, "defocus values"))


def _needed(part: Part | None, what: str) -> Part:
    if part is None:
        raise InputError(f"the truth holds no {what}", fix="score against the truth that was written beside the simulated data")
    return part


def _symmetry(truth: Truth | ParticleSet) -> str:
    return truth.symmetry if isinstance(truth, Truth) else "C1"


def _score_map(
    result: HalfMaps | Volume, truth: Truth | ParticleSet, mask: Volume | None, alignment: Literal["none", "rigid"]
) -> dict[str, float]:
    if isinstance(truth, ParticleSet):
        raise UsageError("a map is scored against a true map, not against particles")
    reference = _needed(truth.volume, "map")
    volume = result.average() if isinstance(result, HalfMaps) else result
    for what, voxels in (("result", volume.voxels), ("truth", reference.voxels)):
        if bool(voxels.min() == voxels.max()):
            raise InputError(f"the {what} is constant: there is nothing to compare")
    scores: dict[str, float] = {}
    if alignment == "rigid":
        found = align(volume, reference)
        volume = found.volume
        scores["alignment_angle_degrees"] = found.angle / DEGREE
        scores["alignment_shift_angstrom"] = found.shift.norm().item()
    curve = compare_maps(volume, reference, mask=mask)
    scores["fsc_to_truth_0.5_angstrom"] = curve.resolution(at=0.5)
    scores["fsc_to_truth_0.143_angstrom"] = curve.resolution(at=0.143)
    scores["fsc_to_truth_mean"] = curve.correlation[1:].mean().item()
    scores["correlation_to_truth"] = _correlation(volume.voxels, reference.voxels, mask)
    if isinstance(result, HalfMaps):
        halves = fourier_shell_correlation(result, mask=mask)
        scores["half_fsc_0.5_angstrom"] = halves.resolution(at=0.5)
        scores["half_fsc_0.143_angstrom"] = halves.resolution(at=0.143)
    return scores


def _correlation(first: Float[Tensor, "z y x"], second: Float[Tensor, "z y x"], mask: Volume | None) -> float:
    weight = torch.ones_like(first) if mask is None else mask.voxels.to(first)
    total = weight.sum()
    a = first - (weight * first).sum() / total
    b = second.to(first) - (weight * second.to(first)).sum() / total
    norm = ((weight * a * a).sum() * (weight * b * b).sum()).sqrt()
    return ((weight * a * b).sum() / norm).item() if norm > 0 else math.nan


def _score_pose(result: Pose, truth: Pose, symmetry: str) -> dict[str, float]:
    _same_count(len(result), len(truth))
    scores: dict[str, float] = {}
    motion = align_poses(result, truth, symmetry=symmetry)
    for suffix, pose in (("", result), ("_aligned", in_frame_of_truth(result, motion))):
        angle = angle_errors(pose.lab_from_particle.double(), truth.lab_from_particle.double(), symmetry=symmetry)[0] / DEGREE
        shift = shift_errors(pose.shift.double(), truth.shift.double())
        scores |= _spread("pose_angle_error", angle, f"degrees{suffix}")
        scores |= _spread("shift_error", shift, f"angstrom{suffix}")
    return scores


def _score_defocus(result: Defocus, truth: Defocus) -> dict[str, float]:
    _same_count(len(result.major), len(truth.major))
    mean = (result.major + result.minor - truth.major - truth.minor).double() / 2
    ours, theirs = (result.major - result.minor).double(), (truth.major - truth.minor).double()
    axis = folded_axis((result.azimuth - truth.azimuth).double()) / DEGREE
    return {
        **_spread("defocus_error", mean.abs(), "angstrom"),
        "defocus_bias_angstrom": mean.mean().item(),
        **_spread("astigmatism_error", (ours - theirs).abs(), "angstrom"),
        **_spread("astigmatism_axis_error", axis.abs(), "degrees"),
    }


def _score_particles(result: ParticleSet, truth: Truth | ParticleSet) -> dict[str, float]:
    result, truth = _matched(result, truth)
    scores: dict[str, float] = {"particles": float(len(result))}
    if result.pose is not None and truth.pose is not None:
        scores |= _score_pose(result.pose, truth.pose, _symmetry(truth))
    if result.defocus is not None and truth.defocus is not None:
        scores |= _score_defocus(result.defocus, truth.defocus)
    if len(scores) == 1:
        raise InputError(
            "the particles and the truth have nothing in common to score", expected="poses or defocus values on both sides"
        )
    return scores


def _matched(result: ParticleSet, truth: Truth | ParticleSet) -> tuple[ParticleSet, Truth | ParticleSet]:
    if not isinstance(truth, ParticleSet) or not (result.image_names and truth.image_names):
        return result, truth
    if result.image_names == truth.image_names:
        return result, truth
    place = {name: i for i, name in enumerate(truth.image_names)}
    missing = next((name for name in result.image_names if name not in place), None)
    if missing is not None:
        raise InputError(
            f"the truth has no particle with the image {missing}",
            expected="every scored particle in the truth, under the same image name",
            fix="score the particles that the simulation wrote, or a selection of them",
        )
    return result, truth[torch.tensor([place[name] for name in result.image_names])]


def _same_count(ours: int, theirs: int) -> None:
    if ours != theirs or ours == 0:
        raise InputError(
            f"{ours} results cannot be scored against {theirs} true values",
            expected="as many as the truth holds, in the same order, and at least one",
            fix="score the whole set, or select the same particles of the truth",
        )


def _spread(name: str, errors: Float[Tensor, " n"], unit: str) -> dict[str, float]:
    return {f"{name}_median_{unit}": errors.quantile(0.5).item(), f"{name}_rms_{unit}": errors.square().mean().sqrt().item()}
