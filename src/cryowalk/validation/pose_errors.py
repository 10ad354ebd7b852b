"""Errors of poses against the truth, as they stand and after the one rigid motion that relates two maps of the same particle.

A reconstruction may sit anywhere in its box: if its map is the true one turned by Q and moved by t (x_true = Q x + t), every right pose is R Q with
shift s + (R t)ₓᵧ. Such a motion is no error, so both numbers are given.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.data import Pose
from cryowalk.geometry.rotations import geodesic_distance, mean_rotation
from cryowalk.geometry.symmetry import symmetry_operators

CANDIDATES = 48
SCORED = 512
ROUNDS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class RigidMotion:
    """The motion between two frames of the same particle, x_true = rotation · x_estimated + translation (Å)."""

    rotation: Float[Tensor, "3 3"]
    translation: Float[Tensor, "3"]


def angle_errors(
    estimate: Float[Tensor, "n 3 3"], truth: Float[Tensor, "n 3 3"], *, symmetry: str = "C1"
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3 3"]]:
    """Angle of each rotation to the nearest equivalent of its truth, rad, and that equivalent."""
    operators = torch.as_tensor(symmetry_operators(symmetry)).to(truth)
    equivalents = truth[:, None] @ operators
    distance = geodesic_distance(estimate[:, None].expand_as(equivalents), equivalents)
    smallest, index = distance.min(dim=1)
    return smallest, equivalents[torch.arange(len(index)), index]


def shift_errors(estimate: Float[Tensor, "n 2"], truth: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
    """Distance of each shift to its truth, Å."""
    return (estimate - truth).norm(dim=-1)


def in_frame_of_truth(estimate: Pose, motion: RigidMotion) -> Pose:
    """The estimated poses as they read in the frame of the truth: R Qᵀ and s − (R Qᵀ t)ₓᵧ."""
    rotations = estimate.lab_from_particle @ motion.rotation.T
    return Pose(lab_from_particle=rotations, shift=estimate.shift - (rotations @ motion.translation)[:, :2])


def align_poses(estimate: Pose, truth: Pose, *, symmetry: str = "C1") -> RigidMotion:
    """The rigid motion that brings the estimated poses closest to the true ones.

    The rotation is the candidate Rᵀ_true R_estimated of one particle with the least median angle, then averaged over the particles that agree with it;
    wrong poses in a minority do not move it. The translation is the least-squares solution of s_estimated − s_true = (R t)ₓᵧ over the same particles.
    """
    theirs, ours = truth.lab_from_particle.double(), estimate.lab_from_particle.double()
    rotation = _best_candidate(ours, theirs, symmetry)
    for _ in range(ROUNDS):
        errors, nearest = angle_errors(ours @ rotation.T, theirs, symmetry=symmetry)
        agree = errors <= torch.clamp(2 * errors.median(), min=1e-6)
        rotation = mean_rotation(nearest[agree].transpose(-1, -2) @ ours[agree])
    errors, nearest = angle_errors(ours @ rotation.T, theirs, symmetry=symmetry)
    agree = errors <= torch.clamp(2 * errors.median(), min=1e-6)
    rows = nearest[agree][:, :2].reshape(-1, 3)
    offsets = (estimate.shift - truth.shift).double()[agree].reshape(-1)
    # The minimum-norm solution: along an axis that no particle shows, the translation stays zero.
    translation = torch.linalg.pinv(rows, rtol=1e-6) @ offsets
    return RigidMotion(rotation=rotation, translation=translation)


def _best_candidate(ours: Float[Tensor, "n 3 3"], theirs: Float[Tensor, "n 3 3"], symmetry: str) -> Float[Tensor, "3 3"]:
    chosen, scored = (_spread_over(len(ours), number) for number in (CANDIDATES, SCORED))
    candidates = [torch.eye(3, dtype=ours.dtype), *(theirs[chosen].transpose(-1, -2) @ ours[chosen])]
    medians = [angle_errors(ours[scored] @ c.T, theirs[scored], symmetry=symmetry)[0].median().item() for c in candidates]
    return candidates[min(range(len(candidates)), key=medians.__getitem__)]


def _spread_over(count: int, number: int) -> Int[Tensor, " chosen"]:
    """At most `number` indices, evenly spread over 0 … count − 1."""
    return torch.linspace(0, count - 1, min(number, count), dtype=torch.float64).round().long()


def folded_axis(angle: Float[Tensor, " n"], *, period: float = math.pi) -> Float[Tensor, " n"]:
    """The angle folded into ±period/2, rad: the difference of two axes that have no direction."""
    return torch.remainder(angle + period / 2, period) - period / 2
