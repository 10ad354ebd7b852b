"""Which permutation and flips of its axes, which contrast and which origin a map of the asymmetric phantom has."""

import itertools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import UsageError
from cryowalk.data import Volume
from cryowalk.geometry.asymmetric_phantom import phantom_density
from cryowalk.validation.conventions import (
    Finding,
    Hypothesis,
    contrast_finding,
    cross_correlation_peak,
    judged,
    offset_finding,
    unit_spectrum,
)

LEAST_CORRELATION = 0.6  # rivals stay below 0.49 where the map is good
OFFSET_TOLERANCE = 0.15  # voxels
AXES = "xyz"


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisOrder:
    """Where each axis of a file comes from: entry i is the true axis (0 x, 1 y, 2 z) that lies along the file's axis i, with its sign."""

    axes: tuple[int, int, int]
    signs: tuple[int, int, int]

    @property
    def matrix(self) -> Float[Tensor, "3 3"]:
        """The matrix M with x_file = M x_true."""
        matrix = torch.zeros(3, 3, dtype=torch.float64)
        for row, (axis, sign) in enumerate(zip(self.axes, self.signs, strict=True)):
            matrix[row, axis] = sign
        return matrix

    @property
    def keeps_hand(self) -> bool:
        """Whether it is a turn, not a mirror image."""
        return float(torch.linalg.det(self.matrix)) > 0

    @property
    def text(self) -> str:
        """Such as "z,y,-x": what lies along the file's x, y and z."""
        return ",".join(("-" if sign < 0 else "") + AXES[axis] for axis, sign in zip(self.axes, self.signs, strict=True))

    @property
    def inverse(self) -> "AxisOrder":
        """The order that undoes this one."""
        axes, signs = [0, 0, 0], [1, 1, 1]
        for row, (axis, sign) in enumerate(zip(self.axes, self.signs, strict=True)):
            axes[axis], signs[axis] = row, sign
        return AxisOrder(axes=(axes[0], axes[1], axes[2]), signs=(signs[0], signs[1], signs[2]))

    @property
    def name(self) -> str:
        """In words."""
        flipped = [AXES[axis] for axis, sign in zip(self.axes, self.signs, strict=True) if sign < 0]
        if self.axes == (0, 1, 2):
            if not flipped:
                return "axes as ours"
            return f"flipped along {' and '.join(flipped)}" + ("" if self.keeps_hand else ": the other hand")
        order = ", ".join(("−" if sign < 0 else "") + AXES[axis] for axis, sign in zip(self.axes, self.signs, strict=True))
        return f"x, y, z hold {order}" + (": turned" if self.keeps_hand else ": the other hand")


def axis_orders() -> tuple[AxisOrder, ...]:
    """All 48 permutations and flips of three axes, the identity first, those with fewer flips before others: 24 turns and 24 mirror images."""
    found = [
        AxisOrder(axes=axes, signs=signs)  # type: ignore[arg-type]  # three of each
        for axes in itertools.permutations(range(3))
        for signs in itertools.product((1, -1), repeat=3)
    ]
    return tuple(sorted(found, key=lambda one: (one.axes != (0, 1, 2), sum(sign < 0 for sign in one.signs))))


def axis_order(text: str) -> AxisOrder:
    """The order that a text such as "z,y,-x" names.

    Raises
    ------
    UsageError
        If it does not name each of x, y, z once.
    """
    parts = text.replace(" ", "").replace("−", "-").lower().split(",")
    letters = [part.lstrip("+-") for part in parts]
    if sorted(letters) != ["x", "y", "z"] or any(part[:-1] not in ("", "+", "-") for part in parts):
        raise UsageError(
            f"no order of axes is called {text!r}", expected="x, y and z in some order, each with − or without: z,y,-x"
        )
    axes, signs = [AXES.index(letter) for letter in letters], [-1 if part.startswith("-") else 1 for part in parts]
    return AxisOrder(axes=(axes[0], axes[1], axes[2]), signs=(signs[0], signs[1], signs[2]))


def reoriented(voxels: Float[Tensor, "z y x"], order: AxisOrder) -> Float[Tensor, "z2 y2 x2"]:
    """The map whose axes x, y, z hold those that `order` names of the given one, flipped about the origin voxel n // 2."""
    dims = [2 - order.axes[2], 2 - order.axes[1], 2 - order.axes[0]]  # of the result's z, y, x
    result = voxels.permute(dims)
    for dim, sign in zip((0, 1, 2), reversed(order.signs), strict=True):
        if sign < 0:
            result = result.flip(dim)
            result = result.roll(1, dims=dim) if result.shape[dim] % 2 == 0 else result
    return result.contiguous()


def check_map(volume: Volume, *, voxel_size: float) -> tuple[Finding, ...]:
    """What the map of the phantom in this volume needs: its axes and hand, contrast, origin, and voxel size if the header's is not the kit's (Å).

    The phantom is computed on the grid of the file under each of the 48 orders of axes and both voxel sizes, and correlated at every offset.
    """
    sizes = [volume.voxel_size]
    if not math.isclose(volume.voxel_size, voxel_size, rel_tol=0.01):
        sizes.append(voxel_size)
    spectrum = unit_spectrum(volume.voxels, dimensions=3)
    found = {size: _scores(spectrum, tuple(volume.voxels.shape), size) for size in sizes}
    size = max(sizes, key=lambda one: max(score for _, score, _, _ in found[one]))
    ranked = sorted(found[size], key=lambda one: -round(one[1], 6))
    hypotheses = [
        Hypothesis(
            name=order.name,
            score=score,
            measure=f"correlation {score:.3f}",
            fix="" if order == axis_orders()[0] else f"cryowalk map reorient --axes {order.inverse.text}",
        )
        for order, score, _, _ in found[size]
    ]
    axes = judged("axes and hand", hypotheses, least=LEAST_CORRELATION)
    if axes.verdict == "none fits":
        return (axes,)
    _, score, offset, contrast = ranked[0]
    sign = contrast_finding(contrast, score, expected="bright", fix="cryowalk map multiply --by -1")
    return (axes, sign, _origin(offset), *_size(size, volume.voxel_size, voxel_size))


def _scores(spectrum: Tensor, shape: tuple[int, ...], voxel_size: float) -> list[tuple[AxisOrder, float, tuple[float, ...], str]]:
    scores: list[tuple[AxisOrder, float, tuple[float, ...], str]] = []
    for order in axis_orders():
        expected = phantom_density((shape[0], shape[1], shape[2]), voxel_size=voxel_size, lab_from_particle=order.matrix)
        product = spectrum * unit_spectrum(expected, dimensions=3).conj()
        # With an orthonormal transform, the correlation at an offset is √N times the inverse transform of the product.
        value, offset, contrast = cross_correlation_peak(product, width=shape[-1], dimensions=3)
        scores.append((order, value * math.sqrt(math.prod(shape)), offset, contrast))
    return scores


def _origin(offset: tuple[float, ...]) -> Finding:
    return offset_finding(
        "origin", offset, tolerance=OFFSET_TOLERANCE, unit="voxels", fix=lambda back: f"cryowalk map reorient --move {back}"
    )


def _size(found: float, stated: float, expected: float) -> tuple[Finding, ...]:
    if math.isclose(found, stated):
        if math.isclose(stated, expected, rel_tol=0.01):
            return ()
        words = f"the grid has voxels of {stated:g} Å, the kit's of {expected:g} Å: resampled, and the header says so"
        return (Finding(aspect="voxel size", verdict="agrees", words=words, fix="", hypotheses=()),)
    words = f"the header says {stated:g} Å, the density fits {found:g} Å"
    fix = f"cryowalk convert --pixel-size {found:g}"
    return (Finding(aspect="voxel size", verdict="differs", words=words, fix=fix, hypotheses=()),)
