"""The checks of U20: interpolation."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cryowalk.course.exercise import Exercise, Explanation, as_numbers, draw, number_check, property_check
from cryowalk.numerics.interpolation import THREE_TAPS

Array = np.ndarray
Interpolator = Callable[[Array, Array], Any]


# ---------------------------------------------------------------- U20.1, U20.2: sizes, and the lost half

SIZES = (10_000 * 128**2, 10_000 * 128**2, 128**3)
MIDWAY_GAIN = float(np.cos(np.pi / 4))


# ---------------------------------------------------------------- U20.3: two ways to interpolate complex numbers


def spectrum_of_blobs(seed: int) -> tuple[Array, Array, Callable[[Array], Array]]:
    """Frequencies, the spectrum of a line of blobs there (a box of 64, blobs up to 12 from the middle), and the exact spectrum anywhere."""
    source = np.random.default_rng(2000 + seed)
    centres, heights = source.uniform(-12, 12, size=6), source.uniform(0.5, 1.5, size=6)

    def exact(frequency: Array) -> Array:
        return np.asarray(np.exp(-((frequency / 16) ** 2)) * (np.exp(-2j * np.pi * np.outer(frequency, centres) / 64) @ heights))

    frequency = np.arange(-24, 25)
    return frequency, exact(frequency), exact


def interpolated_both_ways(values: Array, places: Array) -> tuple[Array, Array]:
    """Linear interpolation of a complex series between its samples 0, 1, 2 …: by its parts, and by amplitude and phase."""
    at = np.arange(len(values))
    parts = np.interp(places, at, values.real) + 1j * np.interp(places, at, values.imag)
    polar = np.interp(places, at, np.abs(values)) * np.exp(1j * np.interp(places, at, np.angle(values)))
    return parts, polar


def _two_ways(answer: Any, seed: int) -> str | None:
    if not callable(answer):
        return "I expected the function itself, without calling it."
    source = np.random.default_rng(seed)
    values = source.normal(size=20) + 1j * source.normal(size=20)
    places = source.uniform(0, 19, size=50)
    found = answer(values.copy(), places.copy())
    if not isinstance(found, tuple | list) or len(found) != 2:
        return "The function should return two arrays: by the parts, and by amplitude and phase."
    by_parts, by_polar = (as_numbers(part) for part in found)
    if by_parts is None or by_polar is None or by_parts.shape != places.shape or by_polar.shape != places.shape:
        return "Both results should have one number for each place."
    expected_parts, expected_polar = interpolated_both_ways(values, places)
    if np.allclose(by_parts, expected_polar) and np.allclose(by_polar, expected_parts):
        return "Both are there, but in the opposite order."
    if not np.allclose(by_parts, expected_parts, atol=1e-12):
        return "The first is not linear in the values. Interpolate real and imaginary part, each by itself."
    if not np.allclose(by_polar, expected_polar, atol=1e-9):
        return "The second is not what amplitude and phase (between −π and π, as the computer gives it) lead to, each interpolated linearly."
    return None


# ---------------------------------------------------------------- U20.4: probing a black box


def _by_kernel(kernel: Callable[[Array], Array]) -> Interpolator:
    def interpolate(values: Array, places: Array) -> Array:
        distance = np.asarray(places, dtype=float)[:, None] - np.arange(len(values))[None, :]
        return np.asarray(kernel(distance) @ np.asarray(values))

    return interpolate


def _keys(t: Array) -> Array:
    a = np.abs(t)
    inner, outer = 1.5 * a**3 - 2.5 * a**2 + 1, -0.5 * a**3 + 2.5 * a**2 - 4 * a + 2
    return np.where(a <= 1, inner, np.where(a < 2, outer, 0.0))


def _three_taps(t: Array) -> Array:
    return np.where(np.abs(t) < 1.5, np.polynomial.polynomial.polyval(t * t, THREE_TAPS.coefficients), 0.0)


def _lanczos(t: Array) -> Array:
    return np.where(np.abs(t) < 3, np.sinc(t) * np.sinc(t / 3), 0.0)


BLACK_BOXES: tuple[tuple[Interpolator, int], ...] = (
    (_by_kernel(lambda t: ((t > -0.5) & (t <= 0.5)).astype(float)), 1),
    (_by_kernel(lambda t: np.clip(1 - np.abs(t), 0, None)), 2),
    (_by_kernel(_keys), 4),
    (_by_kernel(_three_taps), 3),
    (_by_kernel(_lanczos), 6),
)


def _counts_samples(answer: Any, seed: int) -> str | None:
    if not callable(answer):
        return "I expected the function itself, without calling it."
    order = draw(seed, "U20.4").sample(range(len(BLACK_BOXES)), k=len(BLACK_BOXES))
    for place, index in enumerate(order, start=1):
        box, support = BLACK_BOXES[index]
        found = as_numbers(answer(box))
        if found is None or found.size != 1:
            return "The probe should return one number: how many samples have a say."
        count = float(found.reshape(-1)[0].real)
        if count != support:
            kind = "few" if count < support else "many"
            return f"Your probe counts too {kind} samples in the black box number {place} of {len(order)}."
    return None


# ---------------------------------------------------------------- U20.5: the table of a stopwatch

STAGES = ("triangulate", "transforms", "locate", "evaluate")


def _table_of_times(answer: Any, _seed: int) -> str | None:
    wanted = (*STAGES, "total", "locate_sorted", "simplices_per_point")
    if not isinstance(answer, Mapping) or any(name not in answer for name in wanted):
        return f"I expected a dictionary with the entries {', '.join(wanted)}."
    row = {name: float(answer[name]) for name in wanted}
    if any(not np.isfinite(value) or value <= 0 for value in row.values()):
        return "All entries are positive numbers; times in seconds."
    share = sum(row[name] for name in STAGES) / row["total"]
    if abs(share - 1) > 0.1:
        return f"Your four stages add up to {100 * share:.0f} % of the total. Something is not measured, or is measured twice (which stage is computed only on first use?)."
    if not 5.5 < row["simplices_per_point"] < 7.5:
        return "That is not the number of tetrahedra per point of a Delaunay triangulation of many points in space (in the plane it would be 2)."
    if row["locate"] < 3 * row["locate_sorted"]:
        return "Locating the same queries in a good order should be at least three times as fast. Are neighbours in your list neighbours in space? Are there enough queries (20,000 or more)?"
    return None


# ---------------------------------------------------------------- U20.6: an own scattered interpolator


def gaussian_bump(places: Array) -> Array:
    """exp(−8 |x − ½|²) at places (n, d)."""
    return np.asarray(np.exp(-8 * ((np.asarray(places) - 0.5) ** 2).sum(axis=-1)))


def _interpolates_scattered(answer: Any, seed: int) -> str | None:
    if not callable(answer):
        return "I expected the function itself, without calling it."
    from scipy.spatial import cKDTree

    source = np.random.default_rng(seed)
    for dimensions in (2, 3):
        points, xi = source.random((800, dimensions)), 0.1 + 0.8 * source.random((300, dimensions))
        flat = as_numbers(answer(points.copy(), np.full(800, 3.7), xi.copy()))
        if flat is None or flat.shape != (300,):
            return (
                f"In {dimensions}-D: from (800, {dimensions}) points and 800 values I expected one number for each of 300 places."
            )
        if not np.allclose(flat, 3.7, rtol=1e-9):
            return f"In {dimensions}-D: a constant does not stay the same constant. Do the weights of a place add up to one?"
        values, truth = gaussian_bump(points), gaussian_bump(xi)
        found = as_numbers(answer(points.copy(), values.copy(), xi.copy()))
        if found is None or not np.isfinite(found).all():
            return f"In {dimensions}-D: some results are not finite."
        nearest = values[cKDTree(points).query(xi)[1]]
        if np.sqrt(np.mean((found - truth) ** 2)) > 0.8 * np.sqrt(np.mean((nearest - truth) ** 2)):
            return f"In {dimensions}-D: for a smooth bump it is hardly better than taking the nearest value. Let more neighbours speak, and the near ones louder."
        at_samples = as_numbers(answer(points.copy(), values.copy(), points[:5].copy()))
        if at_samples is None or not np.isfinite(at_samples).all():
            return f"In {dimensions}-D: a place that coincides with a data point makes it fail (a division by zero distance?)."
    return None


# ---------------------------------------------------------------- U20.7: repeated indices


def repeated_indices(seed: int) -> tuple[Array, Array, int]:
    """Indices with many repetitions, a weight for each, and the length of the grid."""
    source = np.random.default_rng(700 + seed)
    return source.integers(0, 60, size=400), source.random(400), 64


def _conserves_weight(answer: Any, seed: int) -> str | None:
    if not callable(answer):
        return "I expected the function itself, without calling it."
    index, weight, size = repeated_indices(seed)
    grid = as_numbers(answer(index.copy(), weight.copy(), size))
    if grid is None or grid.shape != (size,):
        return "The function should return the grid: an array of the given size, also where nothing was added."
    if not np.isclose(grid.sum(), weight.sum()):
        lost = 100 * (1 - grid.sum().real / weight.sum())
        return f"{lost:.0f} % of the weight got lost on the way. What happens to two contributions that go to the same place?"
    expected = np.zeros(size)
    np.add.at(expected, index, weight)
    if not np.allclose(grid, expected):
        return "The total is right, but it lies in the wrong places."
    complex_weight = weight * np.exp(1j * np.arange(len(weight)))
    as_complex = as_numbers(answer(index.copy(), complex_weight, size))
    if as_complex is None or not np.isclose(as_complex.sum(), complex_weight.sum()):
        return "With complex numbers, which is what a spectrum holds, something is lost."
    return None


# ---------------------------------------------------------------- U20.8: the pathology hunt


def wavy(places: Array) -> Array:
    """The function sin 3x · cos 2y at places (n, 2)."""
    places = np.asarray(places, dtype=float)
    return np.asarray(np.sin(3 * places[..., 0]) * np.cos(2 * places[..., 1]))


def places_to_test() -> Array:
    """A grid of places in the middle of the unit square, off any regular grid."""
    axis = np.linspace(0.253, 0.747, 23)
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)


def error_of_linear(points: Array) -> float:
    """The root-mean-square error of linear griddata for `wavy` on the test places; NaN outside the hull."""
    from scipy.interpolate import griddata

    found = griddata(points, wavy(points), places_to_test())
    return float(np.sqrt(np.mean((found - wavy(places_to_test())) ** 2)))


def regular_points(count: int) -> Array:
    """About `count` points of a square grid on the unit square."""
    axis = np.linspace(0, 1, round(np.sqrt(count)))
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)


def _hull_problem(case: Any) -> str | None:
    from scipy.interpolate import griddata

    points, xi = (np.asarray(part, dtype=float) for part in case)
    if ((xi < points.min(axis=0)) | (xi > points.max(axis=0))).any():
        return '"hull": too easy. All places should lie between the smallest and largest coordinate of the points.'
    if not np.isnan(griddata(points, wavy(points), xi)).any():
        return '"hull": griddata answers everywhere. Its convex hull can be smaller than the bounding box.'
    return None


def _sliver_problem(case: Any) -> str | None:
    points = np.asarray(case, dtype=float)
    if points.ndim != 2 or points.shape[1] != 2 or not 25 <= len(points) <= 500 or points.min() < 0 or points.max() > 1:
        return '"sliver": give 25 to 500 points in the unit square, as an array (n, 2).'
    found = error_of_linear(points)
    if not np.isfinite(found):
        return '"sliver": some test places (0.25 to 0.75) lie outside the hull. Cover the square, but badly.'
    if found < 10 * error_of_linear(regular_points(len(points))):
        return '"sliver": not yet ten times worse than a square grid of as many points. Make the triangles long.'
    return None


def _overshoot_problem(case: Any) -> str | None:
    from scipy.interpolate import griddata

    points, values, xi = (np.asarray(part, dtype=float) for part in case)
    if len(points) > 2000 or points.ndim != 2 or points.shape[1] != 2:
        return '"overshoot": up to 2000 points in the plane are enough.'
    margin = 0.05 * (values.max() - values.min())
    cubic = griddata(points, values, xi, method="cubic")
    if not (np.nanmax(cubic) > values.max() + margin or np.nanmin(cubic) < values.min() - margin):
        return '"overshoot": the cubic result stays within 5 % of the range of the data. Where does a smooth curve swing past its points?'
    return None


def _pathologies(answer: Any, _seed: int) -> str | None:
    if not isinstance(answer, Mapping) or not {"hull", "sliver", "overshoot"} <= set(answer):
        return 'I expected a dictionary with the entries "hull", "sliver" and "overshoot".'
    return _hull_problem(answer["hull"]) or _sliver_problem(answer["sliver"]) or _overshoot_problem(answer["overshoot"])


EXERCISES = (
    Exercise(
        id="U20.1",
        stream="blur",
        kind="numeric",
        task="How many points, values and xi there are when 10,000 transforms of 128 × 128 pixels are interpolated onto 128³ voxels.",
        check=number_check(SIZES, relative=0.01),
        hints=(
            "Which of the three is where the data lie, and which is where you want to know them?",
            "Every coefficient of every image is one point in space with one value; count rows, not coordinates.",
            "Images times coefficients in each, the same again, and the number of voxels of the grid.",
        ),
    ),
    Exercise(
        id="U20.2",
        stream="blur",
        kind="predict",
        task="By what factor the modulus comes out too small half-way between two Fourier samples for a point N/4 from the origin.",
        check=number_check(MIDWAY_GAIN, relative=0.01),
        hints=(
            "How far does the arrow turn from one sample to the next, for a point at t in a box of N?",
            "By 2πt/N. The middle of the chord lies nearer to the centre than the arc.",
            "The distance of a chord's middle from the centre is the cosine of half the angle between its ends.",
        ),
    ),
    Exercise(
        id="U20.3",
        stream="sharpen",
        kind="code",
        task="A function that interpolates a complex series linearly in two ways: by its parts, and by amplitude and phase.",
        check=property_check(_two_ways),
        hints=(
            "np.interp takes places, sample positions and real values.",
            "Four calls: real, imaginary, modulus, phase; the samples lie at 0, 1, 2, …",
            "Do not unwrap the phase: np.angle as it is. Then put the pairs together and return the one by parts first.",
        ),
    ),
    Exercise(
        id="U20.4",
        stream="sharpen",
        kind="code",
        task="A probe that counts how many samples have a say in one interpolated value of an unknown linear interpolator in one dimension.",
        check=property_check(_counts_samples),
        hints=(
            "A delta among zeros shows what one sample contributes.",
            "Keep the place fixed, and move the delta: which positions give an answer that is not zero? Weights may be negative.",
            "Choose a place that is not on the grid nor half-way, far from the ends; try two or three such places and take the largest count.",
        ),
    ),
    Exercise(
        id="U20.5",
        stream="sharpen",
        kind="code",
        task="A table of where linear griddata in three dimensions spends its time.",
        check=property_check(_table_of_times),
        hints=(
            "scipy.spatial.Delaunay has what you need: the constructor, .transform, .find_simplex(xi), .simplices.",
            "Ask for .transform once by itself before you locate, since it is computed on first use, and take the total with the same clock.",
            "For the sorted order cut the cube into 16³ cells and walk through them like a snake; np.argsort of the cell number is enough.",
        ),
    ),
    Exercise(
        id="U20.6",
        stream="sharpen",
        kind="code",
        task="Your own (points, values, xi) → values in two and three dimensions.",
        check=property_check(_interpolates_scattered),
        hints=(
            "scipy.spatial.cKDTree(points).query(xi, k=8) gives distances and indices of the neighbours of all places at once.",
            "A weighted mean of the neighbours' values, with weights that fall with the distance and add up to one.",
            "Weights 1/(distance² + something tiny), divided by their sum along the neighbours.",
        ),
    ),
    Exercise(
        id="U20.7",
        stream="sharpen",
        kind="debug",
        task="A scatter-add that loses nothing when indices repeat.",
        check=property_check(_conserves_weight),
        hints=(
            "Try it with index [3, 3] and weights [1, 1]. What does numpy read before it writes?",
            "numpy has an unbuffered addition at indices, and a counting function with weights.",
            "np.add.at(grid, index, weight), on a grid of the weights' type; np.bincount knows real weights only.",
        ),
    ),
    Exercise(
        id="U20.8",
        stream="sharpen",
        kind="code",
        task="Three data sets that make griddata fail: a hole in the hull, slivers, and overshoot.",
        check=property_check(_pathologies),
        hints=(
            "Hull: points within a disk do not reach the corners of their bounding box.",
            "Sliver: many points in one direction and only a few in the other make long triangles; keep the corners of the square.",
            "Overshoot: give the cubic method a cliff, values that are zero on one side and one on the other.",
        ),
    ),
)

EXPLANATIONS = (
    Explanation(
        id="U20.words",
        question="Why does it help the interpolation of a spectrum to put the image into a larger box first?",
        rubric=("finer", "turn", "empty", "edge"),
        model_answer=(
            "A larger box with empty space around the particle samples the same transform on a finer grid. From one sample to the next the arrows then "
            "turn less, and chord and arc are nearly the same. Seen in real space: the kernel damps what lies near the edge of the box, and "
            "the particle no longer reaches there."
        ),
    ),
)
