"""The checks of U19: coordinates, rotations and quaternions."""

import cmath
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from cryowalk.course.exercise import Exercise, Explanation, as_numbers, draw, number_check, property_check
from cryowalk.geometry.rotations import matrix_from_axis_angle, matrix_from_euler
from cryowalk.geometry.sampling import random_rotations

Array = np.ndarray

EXACT = 1e-12
NEAR_LOCK = 1e-6


def _turn(*, axis: tuple[float, ...], degrees: float) -> Array:
    """The matrix of a turn about an axis of any length."""
    vector, angle = torch.tensor(axis, dtype=torch.float64), torch.tensor(math.radians(degrees), dtype=torch.float64)
    return np.asarray(matrix_from_axis_angle(vector, angle))


def _haar(count: int, *, seed: int) -> Array:
    return np.asarray(random_rotations(count, generator=torch.Generator().manual_seed(1900 + seed)))


# ---------------------------------------------------------------- U19.1, U19.2: quaternions by hand


def _vector_of(answer: Any) -> Array | None:
    """Three numbers; a pure quaternion (0, x, y, z) is welcome too."""
    numbers = as_numbers(answer)
    if numbers is None or np.iscomplexobj(numbers):
        return None
    numbers = numbers.reshape(-1)
    if numbers.size == 4 and abs(numbers[0]) < 1e-9:
        numbers = numbers[1:]
    return numbers if numbers.size == 3 else None


def _half_turn_of_x(answer: Any, _seed: int) -> str | None:
    numbers = _vector_of(answer)
    if numbers is None:
        return "I expected three numbers x, y, z."
    if np.allclose(numbers, (-1, 0, 0), atol=1e-6):
        return None
    if np.allclose(numbers, (1, 0, 0), atol=1e-6):
        return "That is where the point began. Is the last factor the inverse of the first, and is the angle halved?"
    if not math.isclose(float(np.linalg.norm(numbers)), 1, abs_tol=1e-6):
        return "A rotation keeps lengths; this point is not as far from the origin as it was."
    return "Not yet. Follow the multiplication table one factor at a time: ki first, then times −k."


def _clockwise_quarter(answer: Any, _seed: int) -> str | None:
    numbers = as_numbers(answer)
    if numbers is None or numbers.size != 4:
        return "A quaternion has four numbers: w, x, y, z."
    q = numbers.reshape(-1)
    if not math.isclose(float(np.linalg.norm(q)), 1, abs_tol=1e-3):
        return "A quaternion that rotates has length 1; this one has not."
    half = math.sqrt(0.5)
    right = np.array([half, 0, 0, -half])

    def is_same_turn(other: Array) -> bool:
        return abs(abs(float(other @ right)) - 1) < 1e-3  # q and −q are one rotation

    if is_same_turn(q):
        return None
    if is_same_turn(q * [1, -1, -1, -1]):
        return "Right size and axis, but which way round? Look from +z towards the origin, and let the hand of a clock move."
    if is_same_turn(np.roll(q, 1)):
        return "This looks like SciPy's order, w last. Here w comes first."
    return "Not yet: the scalar is a cosine, the vector is the axis times a sine, both of which angle?"


# ---------------------------------------------------------------- U19.3: the axis that was not a unit vector


def _axis_of_length_two(answer: Any, seed: int) -> str | None:
    if not isinstance(answer, Mapping) or not {"broken", "repaired"} <= set(answer):
        return 'I expected a dictionary with "broken" (three numbers) and "repaired" (the function).'
    broken = _vector_of(answer["broken"])
    if broken is None:
        return '"broken" should be the three coordinates that the function returns as it is.'
    if not np.allclose(broken, (-4, 0, 0), atol=1e-6):
        return '"broken" is not what the function returns for the axis (0, 0, 2). How long is its quaternion, and how often does it enter?'
    rotate = answer["repaired"]
    if not callable(rotate):
        return '"repaired" should be the function itself, without calling it.'
    return _rotates_about_any_axis(rotate, seed)


def _rotates_about_any_axis(rotate: Callable[..., Any], seed: int) -> str | None:
    source = np.random.default_rng(seed)
    for length in (1.0, 2.0, 0.3, 17.0):
        axis, point, angle = source.normal(size=3), source.normal(size=3), float(source.uniform(-3, 3))
        axis *= length / np.linalg.norm(axis)
        expected = _turn(axis=tuple(axis), degrees=math.degrees(angle)) @ point
        found = _vector_of(rotate(point.copy(), axis.copy(), angle))
        if found is None:
            return "The repaired function does not return three numbers."
        if not math.isclose(float(np.linalg.norm(found)), float(np.linalg.norm(point)), rel_tol=1e-9):
            return f"With an axis of length {length:g} the repaired function still changes the length of the point."
        if not np.allclose(found, expected, atol=1e-9):
            return f"With an axis of length {length:g} the length is kept, but the point arrives in the wrong place."
    return None


# ---------------------------------------------------------------- U19.4: Euler angles from a matrix


def _rebuilt(angles: Array) -> Array:
    """R = Rz(φ) Ry(θ) Rx(ψ) of (ψ, θ, φ)."""
    return np.asarray(matrix_from_euler(torch.from_numpy(np.ascontiguousarray(angles)), order="xyz"))


def locked_matrices(seed: int) -> Array:
    """Matrices in gimbal lock (θ = ±90°), made as products, so that R₃₁ is ±1 but for the last digit."""
    source = draw(seed, "U19.4")
    matrices = []
    for sign in (1, -1):
        for _ in range(20):
            split = source.uniform(10, 80)
            middle = _turn(axis=(0, 1, 0), degrees=sign * split) @ _turn(axis=(0, 1, 0), degrees=sign * (90 - split))
            phi, psi = source.uniform(-180, 180), source.uniform(-180, 180)
            matrices.append(_turn(axis=(0, 0, 1), degrees=phi) @ middle @ _turn(axis=(1, 0, 0), degrees=psi))
    return np.stack(matrices)


def _pair_of_triples(euler_angles: Callable[[Array], Any], matrix: Array) -> Array | str:
    found = as_numbers(euler_angles(matrix.copy()))
    if found is None or np.iscomplexobj(found) or found.shape != (2, 3):
        return "The function should return two rows of three angles (ψ, θ, φ), in radians."
    if not np.isfinite(found).all():
        return "One of the angles is NaN. What does an arc sine do with 1.0000000000000002?"
    return found


def _finds_both_solutions(answer: Any, seed: int) -> str | None:
    if not callable(answer):
        return "I expected the function itself, without calling it."
    example = _pair_of_triples(answer, _rebuilt(np.full(3, math.pi / 4)))
    if isinstance(example, str):
        return example
    if np.abs(_rebuilt(example) - _rebuilt(np.full(3, math.pi / 4))).max() > EXACT:
        return "For ψ = θ = φ = 45° your angles stand for another matrix. Put them back into Rz(φ) Ry(θ) Rx(ψ) and compare."
    if _difference(example) < 1e-6:
        return "Both rows are the same solution; the arc sine has a second angle."
    problem = _survives(answer, _haar(1000, seed=seed), tolerance=EXACT, where="a random rotation", two=True)
    return problem or _survives(answer, locked_matrices(seed), tolerance=NEAR_LOCK, where="gimbal lock", two=False)


def _difference(pair: Array) -> float:
    """The largest difference of two triples of angles, modulo 360°, rad."""
    return float(np.abs(np.angle(np.exp(1j * (pair[0] - pair[1])))).max())


def _survives(euler_angles: Callable[[Array], Any], matrices: Array, *, tolerance: float, where: str, two: bool) -> str | None:
    for matrix in matrices:
        found = _pair_of_triples(euler_angles, matrix)
        if isinstance(found, str):
            return f"In {where}: {found}"
        if np.abs(_rebuilt(found) - matrix).max() > tolerance:
            return f"In {where}: at least one row of angles stands for another matrix."
        if two and _difference(found) < 1e-9:
            return f"In {where}: both rows are the same solution."
    return None


# ---------------------------------------------------------------- U19.5: the plane, and the trace


def plane_numbers(seed: int) -> dict[str, float]:
    """The learner's point, angles in degrees, and the two turns that make a rotation in space."""
    source = draw(seed, "U19.5")
    return {
        "x": source.choice((1, 2, 3)),
        "y": source.choice((-2, -1, 4)),
        "alpha": source.choice((25, 40, 65, 110)),
        "first": source.choice((110, 125, 140)),
        "second": source.choice((95, 120, 150)),
        "about_z": source.choice((40, 55, 70)),
        "about_x": source.choice((30, 65, 80)),
    }


def plane_answer(seed: int) -> tuple[float, float, float, float]:
    """New x, new y, the one turn in (−180°, 180°], the angle in space in degrees."""
    n = plane_numbers(seed)
    moved = complex(n["x"], n["y"]) * cmath.exp(1j * math.radians(n["alpha"]))
    together = n["first"] + n["second"] - 360
    turn = _turn(axis=(0, 0, 1), degrees=n["about_z"]) @ _turn(axis=(1, 0, 0), degrees=n["about_x"])
    return moved.real, moved.imag, together, math.degrees(math.acos((float(np.trace(turn)) - 1) / 2))


# ---------------------------------------------------------------- U19.6: axis, angle, exponential


def _is_rodrigues(rodrigues: Callable[..., Any], seed: int) -> str | None:
    third = as_numbers(rodrigues(np.ones(3) / math.sqrt(3), 2 * math.pi / 3))
    if third is None or third.shape != (3, 3):
        return "rodrigues(axis, angle) should return a 3 × 3 matrix."
    if np.abs(third - [[0, 1, 0], [0, 0, 1], [1, 0, 0]]).max() < 1e-9:
        return "A third of a turn about (1, 1, 1) should send x to y; yours sends x to z. Look at the sign of the sine, or for a transpose."
    if np.abs(third - [[0, 0, 1], [1, 0, 0], [0, 1, 0]]).max() > EXACT:
        return "A third of a turn about (1, 1, 1) should send x to y, y to z and z to x."
    source = np.random.default_rng(seed)
    for angle in (1e-9, 0.3, 2.0, math.pi, 5.0):
        axis = source.normal(size=3)
        axis /= np.linalg.norm(axis)
        x, y, z = axis * angle
        exponential = torch.linalg.matrix_exp(torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64))
        if np.abs(np.asarray(rodrigues(axis, angle)) - np.asarray(exponential)).max() > 1e-12:
            return f"For an angle of {angle:.2g} rad the matrix is not the exponential of θK."
    return None


def _finds_axis(axis_and_angle: Callable[..., Any], seed: int) -> str | None:
    for matrix in _haar(200, seed=seed):
        axis, angle = axis_and_angle(matrix.copy())
        numbers = _vector_of(axis)
        if numbers is None or not math.isclose(float(np.linalg.norm(numbers)), 1, abs_tol=1e-6):
            return "axis_and_angle(R) should return a unit axis and an angle."
        if not 0 <= float(angle) <= math.pi + 1e-9:
            return "Choose the axis so that the angle lies between 0 and π."
        if np.abs(_turn(axis=tuple(numbers), degrees=math.degrees(float(angle))) - matrix).max() > 1e-6:
            return "The axis and angle that axis_and_angle(R) returns do not rebuild R. Is the sign of the axis right?"
    return None


def _axis_and_exponential(answer: Any, seed: int) -> str | None:
    if not isinstance(answer, tuple | list) or len(answer) != 2 or not all(callable(function) for function in answer):
        return "I expected the two functions: (rodrigues, axis_and_angle)."
    rodrigues, axis_and_angle = answer
    return _is_rodrigues(rodrigues, seed) or _finds_axis(axis_and_angle, seed)


# ---------------------------------------------------------------- U19.7, U19.8: how many, how far apart

MEAN_ANGLE = math.degrees(math.pi / 2 + 2 / math.pi)
GRID_COUNTS = (36864.0, 8 * math.pi**2 / math.radians(7.5) ** 3)


def _count_of_orientations(answer: Any, _seed: int) -> str | None:
    numbers = as_numbers(answer)
    if numbers is None or numbers.size != 1:
        return "I expected one number."
    count = float(numbers.reshape(-1)[0].real)
    if any(abs(count / expected - 1) < 0.01 for expected in GRID_COUNTS):
        return None
    if abs(count - 768) < 1:
        return "That many directions to look from; and then the picture can still be turned in its plane."
    if count > 5e4:
        return "Too many. Steps of 7.5° in all three Euler angles crowd the poles: how large is the whole of SO(3)?"
    return "Too few. Count the views on the whole sphere, and the in-plane angles of a full turn."


EXERCISES = (
    Exercise(
        id="U19.1",
        stream="blur",
        kind="numeric",
        task="The point to which a half turn about z carries (1, 0, 0), by the quaternion product k i k⁻¹.",
        check=property_check(_half_turn_of_x),
        hints=(
            "For a unit quaternion without scalar part, the inverse is the negative.",
            "So you need (k i)(−k). The table says what ki is; order matters.",
            "ki = j. What is j times −k?",
        ),
    ),
    Exercise(
        id="U19.2",
        stream="blur",
        kind="numeric",
        task="The quaternion (w, x, y, z) of a turn by 90° clockwise about z, seen from +z towards the origin.",
        check=property_check(_clockwise_quarter),
        hints=(
            "Counter-clockwise turns are positive when you look against the axis, from its tip to the origin.",
            "The angle enters halved: w is its cosine, the vector part is the axis times its sine.",
            "Clockwise by 90° is −90°, so the half angle is −45°.",
        ),
    ),
    Exercise(
        id="U19.3",
        stream="sharpen",
        kind="debug",
        task="What a rotation function without normalised axis does to (1, 0, 0) for the axis (0, 0, 2) and 180°, and its repair.",
        check=property_check(_axis_of_length_two),
        hints=(
            "Run it, then compute the length of its quaternion.",
            "The quaternion enters twice, once as itself and once as its conjugate, so lengths grow with its square.",
            "Divide by something before the quaternion is made; what must be true of an axis?",
        ),
    ),
    Exercise(
        id="U19.4",
        stream="sharpen",
        kind="code",
        task="Both triples of Euler angles (ψ, θ, φ) of R = Rz(φ) Ry(θ) Rx(ψ), also in gimbal lock.",
        check=property_check(_finds_both_solutions),
        hints=(
            "Write R out: its element in row 3, column 1 is −sin θ. Two angles in a full turn have the same sine.",
            "With cos θ known, ψ and φ each come from an arctan2 of two elements divided by cos θ; the sign of cos θ matters.",
            "Treat |R₃₁| within 1e-9 of 1 as lock: choose φ = 0 and read ψ from the first row; R₃₁ may even exceed 1 by round-off.",
        ),
    ),
    Exercise(
        id="U19.5",
        stream="blur",
        kind="numeric",
        task="A point turned in the plane, two turns joined into one, and the angle of a rotation in space from its trace.",
        check=number_check(plane_answer, relative=0.0, absolute=0.02),
        hints=(
            "Write the point as x + iy; turning it is multiplying by exp(iα). Degrees become radians first.",
            "Exponents add; bring the sum into (−180°, 180°] by a full turn.",
            "The trace of a rotation by θ about any axis is 1 + 2 cos θ.",
        ),
        parameters=plane_numbers,
    ),
    Exercise(
        id="U19.6",
        stream="sharpen",
        kind="code",
        task="Two functions: the matrix of an axis and an angle, and the axis and angle of a matrix.",
        check=property_check(_axis_and_exponential),
        hints=(
            "K³ = −K sorts the powers in the series of exp(θK) into a sine series and a cosine series.",
            "R − Rᵀ is 2 sin θ K: its three different elements are the axis times 2 sin θ.",
            "Take the angle as arctan2 of the length of that vector and trace − 1; the axis is that vector normalised.",
        ),
    ),
    Exercise(
        id="U19.7",
        stream="sharpen",
        kind="numeric",
        task="The mean angle of a uniformly random rotation, in degrees.",
        check=number_check(MEAN_ANGLE, relative=0.0, absolute=0.5),
        hints=(
            "Simulate it: draw rotations, take each one's angle from its trace, average.",
            "Do not draw Euler angles evenly; draw four Gaussian numbers and normalise them to a quaternion.",
            "Or integrate θ (1 − cos θ)/π from 0 to π; then go from radians to degrees.",
        ),
    ),
    Exercise(
        id="U19.8",
        stream="blur",
        kind="numeric",
        task="How many orientations a search with steps of 7.5° must compare with each image?",
        check=property_check(_count_of_orientations),
        hints=(
            "Views on the sphere times turns in the plane.",
            "A full turn has 48 steps of 7.5°. A patch of 7.5° × 7.5° is what part of the sphere?",
            "HEALPix has 12·4^o views and 6·2^o in-plane angles; find the order o whose in-plane step is 7.5°.",
        ),
    ),
)

EXPLANATIONS = (
    Explanation(
        id="U19.words",
        question="Why are there two quaternions for every rotation, and what goes wrong if you average quaternions without thinking of it?",
        rubric=("half", "sign", "cancel", "eigenvector"),
        model_answer=(
            "The quaternion holds half the angle, so a full turn brings the rotation back but takes q to −q: the sign of a quaternion means nothing. "
            "Two copies of the same rotation with opposite signs cancel in a plain mean. The moment Σ q qᵀ does not see signs; its largest "
            "eigenvector is the mean."
        ),
    ),
)
