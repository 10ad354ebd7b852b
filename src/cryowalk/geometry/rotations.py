"""Rotations as matrices, unit quaternions, rotation vectors and Euler angles: conversions that are exact at their singular places.

A matrix acts on column vectors (x, y, z) and turns counter-clockwise seen against its axis. Quaternions are (w, x, y, z).
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError, UsageError

AXES = "xyz"
HALF_TURN = math.pi


def _axes_of(order: str) -> tuple[tuple[int, int, int], bool]:
    """The three axis numbers of an Euler order, and whether it is intrinsic (capital letters)."""
    letters = order.lower()
    is_one_case = order in (letters, letters.upper())
    is_known = len(order) == 3 and is_one_case and all(letter in AXES for letter in letters)
    if not is_known or letters[0] == letters[1] or letters[1] == letters[2]:
        raise UsageError(
            f"no Euler order is called {order!r}",
            expected="three axes, neighbours different: capitals turn about moving axes (ZYZ), lower case about fixed ones (zyx)",
        )
    first, second, third = (AXES.index(letter) for letter in letters)
    return (first, second, third), order != letters


def _square(entries: Sequence[Float[Tensor, "*batch"]]) -> Float[Tensor, "*batch side side"]:
    """Square matrices of their entries, row by row."""
    side = math.isqrt(len(entries))
    return torch.stack(tuple(entries), dim=-1).reshape(*entries[0].shape, side, side)


def matrix_about_axis(angle: Float[Tensor, "*batch"], *, axis: Literal["x", "y", "z"]) -> Float[Tensor, "*batch 3 3"]:
    """Matrices of rotations by `angle` (rad) about one coordinate axis."""
    cosine, sine = torch.cos(angle), torch.sin(angle)
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    rows = {
        "x": (one, zero, zero, zero, cosine, -sine, zero, sine, cosine),
        "y": (cosine, zero, sine, zero, one, zero, -sine, zero, cosine),
        "z": (cosine, -sine, zero, sine, cosine, zero, zero, zero, one),
    }[axis]
    return _square(rows)


def matrix_from_euler(angles: Float[Tensor, "*batch 3"], *, order: str = "ZYZ") -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of Euler angles (rad): R = R₁(α) R₂(β) R₃(γ) for capital letters, R₃(γ) R₂(β) R₁(α) for lower case.

    All 12 orders in both cases; they mean what the same letters mean to `scipy.spatial.transform.Rotation.from_euler`.

    Raises
    ------
    UsageError
        If the order is not one of the 24.
    """
    axes, is_intrinsic = _axes_of(order)
    turns = [matrix_about_axis(angles[..., i], axis=AXES[axis]) for i, axis in enumerate(axes)]  # type: ignore[arg-type]
    first, second, third = turns if is_intrinsic else turns[::-1]
    return first @ second @ third


def euler_from_matrix(matrices: Float[Tensor, "*batch 3 3"], *, order: str = "ZYZ") -> Float[Tensor, "*batch 3"]:
    """Euler angles of rotation matrices, rad; the outer two in (−π, π], the middle one in [0, π] or, for three different axes, [−π/2, π/2].

    In gimbal lock only the sum or the difference of the outer angles is defined: the last angle is then zero. The other solution is
    (α ± π, −β, γ ± π), or (α ± π, π − β, γ ± π) for three different axes. No angle is taken from an arc cosine, so nothing is lost near the poles.

    Raises
    ------
    UsageError
        If the order is not one of the 24.

    Source: Bernardes & Viollet, PLoS ONE 17, e0276302 (2022), sections 3 and 4.
    """
    axes, is_intrinsic = _axes_of(order)
    i, j, last = axes[::-1] if is_intrinsic else axes  # R₁R₂R₃ about moving axes is R₃R₂R₁ about fixed ones
    is_proper = i == last
    k = 3 - i - j
    sign = (i - j) * (j - k) * (k - i) // 2

    quaternion = quaternion_from_matrix(matrices)
    w, b, c, d = quaternion[..., 0], quaternion[..., 1 + i], quaternion[..., 1 + j], sign * quaternion[..., 1 + k]
    if not is_proper:  # a fixed quarter turn about the middle axis makes three different axes a proper sequence
        w, b, c, d = w - c, b + d, c + w, d - b
    scale = 1.0 if is_proper else math.sqrt(0.5)
    upright, flipped = scale * torch.hypot(w, b), scale * torch.hypot(c, d)  # cos and sin of half the proper middle angle
    half_sum, half_difference = torch.atan2(b, w), torch.atan2(d, c)
    middle = 2 * torch.atan2(flipped, upright)

    first, third = half_sum - half_difference, half_sum + half_difference
    tolerance = 16 * torch.finfo(matrices.dtype).eps
    nothing = torch.zeros_like(middle)
    for lost, known, difference_sign in ((flipped, half_sum, 1.0), (upright, half_difference, -1.0)):
        is_locked = lost < tolerance
        kept_first, kept_third = (nothing, 2 * known) if is_intrinsic else (2 * difference_sign * known, nothing)
        first, third = torch.where(is_locked, kept_first, first), torch.where(is_locked, kept_third, third)
    if not is_proper:
        third, middle = sign * third, middle - HALF_TURN / 2

    ordered = (third, middle, first) if is_intrinsic else (first, middle, third)
    return _wrapped(torch.stack(ordered, dim=-1))


def _wrapped(angles: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The same angles in (−π, π], for input within one turn of it."""
    angles = torch.where(angles > HALF_TURN, angles - 2 * HALF_TURN, angles)
    return torch.where(angles <= -HALF_TURN, angles + 2 * HALF_TURN, angles)


def quaternion_from_matrix(matrices: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternions (w, x, y, z) of rotation matrices, with w ≥ 0.

    The matrix gives every product 4 qᵢ qⱼ; the row of the largest component, normalised, is the quaternion, so no small number is divided by.

    Source: Markley, J. Guid. Control Dyn. 31, 440 (2008).
    """
    r = matrices
    trace = r[..., 0, 0] + r[..., 1, 1] + r[..., 2, 2]
    squares = torch.stack([1 + trace, *(1 - trace + 2 * r[..., i, i] for i in range(3))], dim=-1)
    wx, wy, wz = r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]
    xy, xz, yz = r[..., 0, 1] + r[..., 1, 0], r[..., 0, 2] + r[..., 2, 0], r[..., 1, 2] + r[..., 2, 1]
    ww, xx, yy, zz = squares.unbind(dim=-1)
    products = _square((ww, wx, wy, wz, wx, xx, xy, xz, wy, xy, yy, yz, wz, xz, yz, zz))
    largest = squares.argmax(dim=-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    row = products.gather(-2, largest).squeeze(-2)
    quaternion = row / torch.linalg.vector_norm(row, dim=-1, keepdim=True)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def matrix_from_quaternion(quaternions: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of quaternions (w, x, y, z) of any non-zero length; q and −q give the same matrix."""
    q = quaternions / torch.linalg.vector_norm(quaternions, dim=-1, keepdim=True)
    w, x, y, z = q.unbind(dim=-1)
    rows = (
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return _square(rows)


def quaternion_product(first: Float[Tensor, "*#batch 4"], second: Float[Tensor, "*#batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Hamilton products (w, x, y, z): the quaternion of the matrix product first @ second."""
    a, b, c, d = first.unbind(dim=-1)
    w, x, y, z = second.unbind(dim=-1)
    return torch.stack(
        [
            a * w - b * x - c * y - d * z,
            a * x + b * w + c * z - d * y,
            a * y - b * z + c * w + d * x,
            a * z + b * y - c * x + d * w,
        ],
        dim=-1,
    )


def quaternion_conjugate(quaternions: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Conjugates (w, −x, −y, −z), which are the inverses of unit quaternions."""
    return torch.cat([quaternions[..., :1], -quaternions[..., 1:]], dim=-1)


def cross_product_matrix(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Antisymmetric matrices K with K u = v × u, the generators of rotations."""
    x, y, z = vectors.unbind(dim=-1)
    zero = torch.zeros_like(x)
    return _square((zero, -z, y, z, zero, -x, -y, x, zero))


def matrix_from_rotation_vector(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices exp(K) of rotation vectors (axis times angle in rad): I + sin θ/θ K + (1 − cos θ)/θ² K².

    Source: Rodrigues, J. Math. Pures Appl. 5, 380 (1840).
    """
    angle = torch.linalg.vector_norm(vectors, dim=-1)[..., None, None]
    generator = cross_product_matrix(vectors)
    half_chord = torch.sinc(angle / (2 * HALF_TURN))
    identity = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    return identity + torch.sinc(angle / HALF_TURN) * generator + half_chord**2 / 2 * (generator @ generator)


def rotation_vector_from_matrix(matrices: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Rotation vectors (axis times angle, the angle in [0, π]) of rotation matrices, rad."""
    quaternion = quaternion_from_matrix(matrices)
    cosine, vector = quaternion[..., :1], quaternion[..., 1:]
    sine = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    is_tiny = sine < torch.finfo(matrices.dtype).eps
    scale = torch.where(is_tiny, 2.0, 2 * torch.atan2(sine, cosine) / torch.where(is_tiny, 1.0, sine))
    return scale * vector


def matrix_from_axis_angle(axes: Float[Tensor, "*#batch 3"], angles: Float[Tensor, "*#batch"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of turns by `angles` (rad) about `axes` of any non-zero length."""
    unit = axes / torch.linalg.vector_norm(axes, dim=-1, keepdim=True)
    return matrix_from_rotation_vector(unit * angles[..., None])


def axis_angle_from_matrix(matrices: Float[Tensor, "*batch 3 3"]) -> tuple[Float[Tensor, "*batch 3"], Float[Tensor, "*batch"]]:
    """Unit axes, and angles in [0, π] rad, of rotation matrices; the identity is given the axis +z."""
    vector = rotation_vector_from_matrix(matrices)
    angle = torch.linalg.vector_norm(vector, dim=-1)
    is_identity = (angle == 0)[..., None]
    upright = torch.tensor([0.0, 0.0, 1.0], dtype=matrices.dtype, device=matrices.device)
    return torch.where(is_identity, upright, vector / torch.where(is_identity, 1.0, angle[..., None])), angle


def rotation_angle(matrices: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch"]:
    """Angles in [0, π] rad by which rotation matrices turn: atan2 of |antisymmetric part| and (trace − 1)/2, exact at both ends."""
    r = matrices
    sine = torch.stack([r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]], dim=-1) / 2
    cosine = (r[..., 0, 0] + r[..., 1, 1] + r[..., 2, 2] - 1) / 2
    return torch.atan2(torch.linalg.vector_norm(sine, dim=-1), cosine)


def geodesic_distance(a: Float[Tensor, "*#batch 3 3"], b: Float[Tensor, "*#batch 3 3"]) -> Float[Tensor, "*batch"]:
    """Angles of the rotations aᵀ b that lead from a to b, rad in [0, π]; the same from either side."""
    return rotation_angle(a.mT @ b)


def distance_matrix(a: Float[Tensor, "n 3 3"], b: Float[Tensor, "m 3 3"]) -> Float[Tensor, "n m"]:
    """Geodesic distances of all pairs, rad: one matrix product for the cosines, and the exact form for the pairs where an arc cosine loses digits."""
    limit = 1 - torch.finfo(a.dtype).eps ** 0.4
    cosine = torch.addmm(a.new_tensor([-0.5]), a.flatten(1), b.flatten(1).T, alpha=0.5)
    distance = torch.acos(cosine.clamp(-limit, limit))
    rows, columns = torch.nonzero(cosine.abs() > limit, as_tuple=True)
    distance[rows, columns] = geodesic_distance(a[rows], b[columns])
    return distance


def nearest_rotation(matrices: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation matrices nearest (in the sum of squares) to any 3×3 matrices: U diag(1, 1, det UVᵀ) Vᵀ.

    Source: Kabsch, Acta Cryst. A34, 827 (1978).
    """
    left, _, right = torch.linalg.svd(matrices)
    sign = torch.linalg.det(left @ right)
    ones = torch.ones_like(sign)
    return left * torch.stack([ones, ones, sign], dim=-1)[..., None, :] @ right


def mean_rotation(
    matrices: Float[Tensor, "*batch n 3 3"],
    weights: Float[Tensor, "*#batch n"] | None = None,
    *,
    metric: Literal["geodesic", "chordal"] = "geodesic",
) -> Float[Tensor, "*batch 3 3"]:
    """Weighted mean rotations: the minimum of Σ w d² of geodesic distances (Karcher's mean), or of chords.

    The chordal mean is the eigenvector of Σ w q qᵀ with the largest eigenvalue, which does not care about the signs of quaternions. The geodesic mean
    starts there and repeats: the mean of the rotation vectors seen from the present estimate, until that is zero. It is unique when all rotations lie
    within 90° of it.

    Raises
    ------
    InputError
        If there is no rotation, or weights are negative or all zero.

    Source: Markley et al., J. Guid. Control Dyn. 30, 1193 (2007), eq. 12; Karcher, Comm. Pure Appl. Math. 30, 509 (1977).
    """
    if matrices.shape[-3] == 0:
        raise InputError("no rotations to average")
    if weights is None:
        weights = torch.ones(matrices.shape[:-2], dtype=matrices.dtype, device=matrices.device)
    total = weights.sum(dim=-1, keepdim=True)
    if bool((weights < 0).any()) or not bool((total > 0).all()):
        raise InputError("weights of a mean must not be negative and must not all be zero")
    share = (weights / total)[..., None]

    quaternion = quaternion_from_matrix(matrices)
    moment = (share * quaternion).mT @ quaternion
    mean = matrix_from_quaternion(torch.linalg.eigh(moment).eigenvectors[..., -1])
    if metric == "chordal":
        return mean
    for _ in range(100):
        step = (share * rotation_vector_from_matrix(mean.mT[..., None, :, :] @ matrices)).sum(dim=-2)
        mean = mean @ matrix_from_rotation_vector(step)
        if float(step.abs().max()) < 4 * torch.finfo(matrices.dtype).eps:
            break
    return nearest_rotation(mean)


def interpolate_rotations(
    start: Float[Tensor, "*#batch 3 3"], end: Float[Tensor, "*#batch 3 3"], *, fraction: Float[Tensor, "*#batch"]
) -> Float[Tensor, "*batch 3 3"]:
    """Rotations on the shortest way from `start` (fraction 0) to `end` (fraction 1), at constant speed.

    Source: Shoemake, SIGGRAPH Computer Graphics 19, 245 (1985).
    """
    return start @ matrix_from_rotation_vector(fraction[..., None] * rotation_vector_from_matrix(start.mT @ end))


def view_direction(lab_from_particle: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """The beam's direction in the particle's frame, Rᵀ ẑ: where on its own globe the particle is looked at from."""
    return lab_from_particle[..., 2, :]
