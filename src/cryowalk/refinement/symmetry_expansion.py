"""Symmetry expansion: each particle once for every operator of a group, so that one asymmetric unit can be looked at by itself."""

from dataclasses import replace

import torch

from cryowalk.core.errors import InputError
from cryowalk.data import ParticleSet, Pose
from cryowalk.geometry.symmetry import equivalent_rotations, symmetry_name, symmetry_order

ORIGINAL, OPERATOR = (
    "cwExpandedFrom",
    "cwSymmetryOperator",
)  # rows of the set that was expanded, and operators, both counted from 1


def expanded(particles: ParticleSet, symmetry: str) -> ParticleSet:
    """Each particle with orientations R S for all operators S of a point group, the identity first, copies of one particle in sequence.

    Copies show the same image: they stay in its half set, and two columns tell the original's row and the operator.

    Raises
    ------
    InputError
        If there are no poses, or the particles were expanded before.
    UsageError
        If there is no such group.
    """
    order = symmetry_order(symmetry_name(symmetry))
    if particles.pose is None:
        raise InputError(
            "the particles have no poses to expand",
            expected="rlnAngleRot, rlnAngleTilt and rlnAnglePsi",
            fix="refine them first: cryowalk refine --sym " + symmetry,
        )
    if ORIGINAL in particles.extra:
        raise InputError(
            f"the particles were expanded before: they have the column {ORIGINAL}",
            fix="give the STAR file of the refinement, or remove that column if copies of copies are meant",
        )
    rows = torch.arange(len(particles)).repeat_interleave(order)
    rotations = equivalent_rotations(particles.pose.lab_from_particle, symmetry).flatten(0, 1)
    copies = particles[rows].with_pose(Pose(lab_from_particle=rotations, shift=particles.pose.shift[rows]))
    links = {
        ORIGINAL: tuple(str(row + 1) for row in rows.tolist()),
        OPERATOR: tuple(str(number % order + 1) for number in range(len(rows))),
    }
    return replace(copies, extra={**copies.extra, **links})
