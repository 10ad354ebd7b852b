"""Symmetry imposed on the sums of a reconstruction without interpolating them.

Every image counts for each pose R S that symmetry makes equal. Operators that map the Fourier grid onto itself (quarter and half turns about the axes,
third turns about their diagonals) form a subgroup H: for them it is exact and much cheaper to add the finished sums to their turned copies,
G(k) = Σ_h F(h k). Only one operator c of each left coset c H is inserted with every image. D2, D4, O and C4 then cost one insertion an image, I five.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.fourier.accumulator import SliceAccumulator
from cryowalk.geometry.symmetry import symmetry_operators

TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Symmetriser:
    """A point group, divided: operators inserted with each image, and steps of grid operators applied to the sums one after the other."""

    inserted: Float[Tensor, "cosets 3 3"]
    steps: tuple[Float[Tensor, "_ 3 3"], ...]

    def apply(self, accumulator: SliceAccumulator) -> None:
        """Add the sums' turned copies to them, in place."""
        if self.steps:
            _make_canonical(accumulator)
        for operators in self.steps:
            source = accumulator.sums.clone()
            for operator in operators:
                _add_turned(source, operator, accumulator)


def symmetriser(symmetry: str) -> Symmetriser:
    """How a point group is imposed.

    Raises
    ------
    UsageError
        If there is no such group.
    """
    group = torch.as_tensor(symmetry_operators(symmetry), dtype=torch.float64)
    is_on_grid = (group - group.round()).abs().amax(dim=(-2, -1)) < TOLERANCE
    subgroup = group[is_on_grid].round()
    return Symmetriser(inserted=_coset_representatives(group, subgroup), steps=_steps(subgroup))


def _make_canonical(accumulator: SliceAccumulator) -> None:
    """Fold the sums onto kx ≥ 0, in place, with the plane kx = 0 shared half and half between its Friedel mates."""
    sums = accumulator.sums
    # Columns are kx = −1, 0, 1 …; the mate of column 0 is column 2, that of column 1 (the plane kx = 0) lies in the same column.
    sums[:, :, 2] += _conjugated(sums[:, :, 0].flip(0, 1))
    sums[:, :, 0] = 0
    sums[:, :, 1] = (sums[:, :, 1] + _conjugated(sums[:, :, 1].flip(0, 1))) / 2


def _conjugated(sums: Float[Tensor, "*shape parts"]) -> Float[Tensor, "*shape parts"]:
    """Sums (real, imaginary, weight …) of the Friedel mates."""
    mates = sums.clone()
    mates[..., 1] = -mates[..., 1]
    return mates


def _add_turned(source: Float[Tensor, "kz ky kx parts"], operator: Float[Tensor, "3 3"], accumulator: SliceAccumulator) -> None:
    """Add F(h k) to the sums at k, plane by plane, where F are canonical sums and their Friedel mates."""
    margin = accumulator.grid.margin
    across = torch.arange(-margin, margin + 1, device=source.device)
    kx = torch.arange(margin + 1, device=source.device)
    turn = operator.round().to(device=source.device, dtype=torch.long)
    rows, columns = source.shape[1], source.shape[2]
    flat = source.reshape(-1, source.shape[-1])
    own_share = torch.where(kx == 0, 0.5, 1.0).to(source)[None, :, None]
    for plane, kz in enumerate(across.tolist()):
        x, y, z = (turn[axis, 0] * kx + turn[axis, 1] * across[:, None] + turn[axis, 2] * kz for axis in range(3))
        is_mate = x < 0
        sign = torch.where(is_mate, -1, 1)
        values = flat[((sign * z + margin) * rows + sign * y + margin) * columns + sign * x + 1]
        values[..., 1] = torch.where(is_mate, -values[..., 1], values[..., 1])
        whole = torch.where(x == 0, 2.0, 1.0).to(values)[..., None]
        accumulator.sums[plane, :, 1:] += values * whole * own_share


def _same(first: Float[Tensor, "n 3 3"], second: Float[Tensor, "3 3"]) -> Tensor:
    return (first - second).abs().amax(dim=(-2, -1)) < TOLERANCE


def _coset_representatives(group: Float[Tensor, "g 3 3"], subgroup: Float[Tensor, "h 3 3"]) -> Float[Tensor, "cosets 3 3"]:
    chosen: list[Tensor] = []
    covered = torch.empty(0, 3, 3, dtype=group.dtype)
    for operator in group:
        if not _same(covered, operator).any():
            chosen.append(operator)
            covered = torch.cat([covered, operator @ subgroup])
    return torch.stack(chosen)


def _steps(subgroup: Float[Tensor, "h 3 3"]) -> tuple[Float[Tensor, "_ 3 3"], ...]:
    """Right transversals of a chain of subgroups from the identity to the whole: Σ over a group of 24 takes 2 + 2 + 3 + 2 − 4 turned copies, not 23."""
    reached = torch.eye(3, dtype=subgroup.dtype)[None]
    steps: list[Tensor] = []
    while len(reached) < len(subgroup):
        grown = min((_generated(reached, h) for h in subgroup if not _same(reached, h).any()), key=len)
        steps.append(_right_transversal(reached, grown))
        reached = grown
    return tuple(steps)


def _generated(subgroup: Float[Tensor, "k 3 3"], operator: Float[Tensor, "3 3"]) -> Float[Tensor, "m 3 3"]:
    members = [*subgroup, operator]
    for first in members:  # the list grows while it is walked, until every product is a member
        for second in [*members]:
            for product in (first @ second, second @ first):
                if not _same(torch.stack(members), product).any():
                    members.append(product)
    return torch.stack(members)


def _right_transversal(subgroup: Float[Tensor, "k 3 3"], group: Float[Tensor, "m 3 3"]) -> Float[Tensor, "operators 3 3"]:
    """One operator t of each right coset K t, without the identity's."""
    chosen: list[Tensor] = []
    covered = subgroup
    for operator in group:
        if not _same(covered, operator).any():
            chosen.append(operator)
            covered = torch.cat([covered, subgroup @ operator])
    return torch.stack(chosen)
