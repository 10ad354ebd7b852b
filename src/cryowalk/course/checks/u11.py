"""The checks of U11: simulating particles."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from cryowalk.course.exercise import Exercise, Explanation, as_numbers, choice_check, number_check, property_check
from cryowalk.geometry.rotations import euler_from_matrix, matrix_from_euler
from cryowalk.geometry.sampling import random_rotations

Array = np.ndarray
PARTICLES = 4000
NEAR = 30.0  # degrees from a pole

# ---------------------------------------------------------------- U11.2: angles in the wrong columns


def published_angles(seed: int) -> Array:
    """Angles of even orientations as a simulator was given them: XYZ angles in the columns of ZXZ angles, degrees."""
    rotations = random_rotations(PARTICLES, generator=torch.Generator().manual_seed(1100 + seed))
    return np.asarray(euler_from_matrix(rotations, order="XYZ").rad2deg())


def near_pole(angles: Array) -> float:
    """The fraction of ZXZ angles (degrees) whose view lies within 30° of a pole."""
    return float((np.abs(np.cos(np.radians(angles[:, 1]))) > math.cos(math.radians(NEAR))).mean())


def _matrices(angles: Array, order: str) -> Array:
    return np.asarray(matrix_from_euler(torch.from_numpy(np.ascontiguousarray(angles)).deg2rad(), order=order))


def _finds_the_convention(answer: Any, seed: int) -> str | None:
    if not isinstance(answer, Mapping) or not {"as read", "repaired"} <= set(answer):
        return 'I expected a dictionary with "as read" (a fraction) and "repaired" (an array of angles).'
    given = published_angles(seed)
    fraction = as_numbers(answer["as read"])
    if fraction is None or fraction.size != 1:
        return '"as read" should be one number, a fraction.'
    if not math.isclose(float(np.ravel(fraction)[0].real), near_pole(given), abs_tol=0.01):
        return '"as read" is not the fraction of views within 30° of a pole; there are two poles, and 90° is the equator.'
    repaired = as_numbers(answer["repaired"])
    if repaired is None or np.iscomplexobj(repaired) or repaired.shape != given.shape:
        return f'"repaired" should be an array of {len(given)} × 3 angles in degrees.'
    if np.abs(_matrices(repaired, "ZXZ") - _matrices(given, "XYZ")).max() < 1e-6:
        return None
    if abs(near_pole(repaired) - 0.134) < 0.02:
        return "The views are even now, but they are not the orientations that were drawn. Which turns do the three columns stand for?"
    return "The views still crowd. Go through the matrix: what it is in the convention it was written in, and its angles in the other."


# ---------------------------------------------------------------- U11.3: the central slice


def _transform(image: Array) -> Array:
    """The discrete Fourier transform of a small square image, by its definition."""
    index = np.arange(len(image))
    waves = np.exp(-2j * math.pi / len(image) * np.outer(index, index))
    return np.asarray(waves @ image @ waves)


def _is_central_slice(answer: Any, seed: int) -> str | None:
    if not callable(answer):
        return "I expected the function itself, without calling it."
    source = np.random.default_rng(seed)
    for side in (6, 9):
        volume = source.normal(size=(side, side, side))
        for axis in (0, 1, 2):
            found = as_numbers(answer(volume.copy(), axis))
            expected = _transform(volume.sum(axis=axis))
            if found is None or found.shape != expected.shape:
                return f"For a cube of {side} voxels I expected {side} × {side} numbers."
            if np.abs(found - expected).max() > 1e-11 * np.abs(expected).max():
                wrong_axis = any(np.abs(found - _transform(volume.sum(axis=a))).max() < 1e-9 for a in {0, 1, 2} - {axis})
                return (
                    "That is the plane across another axis: which frequency is zero for a sum along this one?"
                    if wrong_axis
                    else f"For axis {axis} the plane is not the transform of the projection."
                )
    return None


# ---------------------------------------------------------------- U11.5, U11.6: merging two grids

FIRST, SECOND = (1000, 1.0), (1000, 9.0)  # images and variance of the noise


def merged_ratios(_seed: int) -> tuple[float, float]:
    """Signal-to-noise ratio of the merged average: weighted by 1/variance, and plain; a single image's signal has the power 1."""
    weighted = sum(count / variance for count, variance in (FIRST, SECOND))
    plain = (FIRST[0] + SECOND[0]) ** 2 / (FIRST[0] * FIRST[1] + SECOND[0] * SECOND[1])
    return weighted, plain


def two_grids(
    seed: int, *, counts: tuple[int, int], variances: tuple[float, float], side: int = 40
) -> tuple[Array, Array, Array]:
    """A signal, and the noisy images of it from two grids."""
    source = np.random.default_rng(seed)
    signal = source.normal(size=(side, side))
    first, second = (
        signal + math.sqrt(variance) * source.normal(size=(count, side, side))
        for count, variance in zip(counts, variances, strict=True)
    )
    return signal, first, second


def _reaches_the_bound(answer: Any, seed: int) -> str | None:
    if not callable(answer):
        return "I expected the function itself, without calling it."
    for round_, (counts, variances) in enumerate((((40, 40), (1.0, 9.0)), ((60, 15), (4.0, 0.5)), ((25, 50), (2.0, 2.0)))):
        signal, first, second = two_grids(100 * seed + round_, counts=counts, variances=variances, side=120)
        found = as_numbers(answer(first, second, *variances))
        if found is None or found.shape != signal.shape:
            return "merge(first, second, var_first, var_second) should return one image."
        slope = float((found * signal).sum() / (signal**2).sum())
        if abs(slope - 1) > 0.02:
            return "The merged image is not on the scale of the signal: do your weights add up to one?"
        bound = 1 / sum(count / variance for count, variance in zip(counts, variances, strict=True))
        error = float(((found - signal) ** 2).mean())
        # 14,400 pixels: the measured variance is known to 1.2 %.
        if error > 1.05 * bound:
            return f"With {counts[0]} images of variance {variances[0]:g} and {counts[1]} of {variances[1]:g} your noise is {error / bound:.2f} times the least possible."
    return None


# ---------------------------------------------------------------- U11.7, U11.8: why not ten million


def resolution_with_more(_seed: int) -> float:
    """The resolution that a hundred times the particles reach from 3 Å with B = 100 Å², Å."""
    return 1 / math.sqrt(1 / 3.0**2 + 2 * math.log(100) / 100)


def sphere_envelope(frequency: float, *, radius: float, error: float) -> float:
    """The mean of cos(2πkεz) over a ball: 3 (sin a − a cos a)/a³, a = 2πkεR."""
    a = 2 * math.pi * frequency * error * radius
    return 1.0 if a == 0 else 3 * (math.sin(a) - a * math.cos(a)) / a**3


def _is_the_envelope(answer: Any, _seed: int) -> str | None:
    if not callable(answer):
        return "I expected the function itself, without calling it."
    for frequency, radius, error in ((1 / 3, 100.0, 0.01), (1 / 3, 100.0, 0.02), (1 / 4, 60.0, 0.015), (1 / 10, 80.0, 0.001)):
        found = as_numbers(answer(frequency, radius, error))
        if found is None or found.size != 1:
            return "envelope(frequency, radius, error) should return one number."
        value = float(np.ravel(found)[0].real)
        expected = sphere_envelope(frequency, radius=radius, error=error)
        if abs(value - expected) > 0.02 * abs(expected):
            is_of_a_shell = abs(value - float(np.sinc(2 * frequency * error * radius))) < 1e-3
            hint = " That is the mean over a line or a shell; a ball has more matter near its middle." if is_of_a_shell else ""
            return f"For a ball of radius {radius:g} Å, an error of {100 * error:g} % and detail of {1 / frequency:.3g} Å the factor is another.{hint}"
    return None


EXERCISES = (
    Exercise(
        id="U11.1",
        stream="blur",
        kind="predict",
        task="Where do the views cluster when the tilt is drawn evenly between 0° and 180°?",
        check=choice_check(
            "at the poles",
            feedback={
                "at the equator": "Think of the area of the globe between two latitudes: where is a degree of latitude large, and where is it small?",
                "nowhere": "Equal numbers fall into equal steps of tilt. Do equal steps of tilt hold equal areas of the globe?",
            },
        ),
        hints=(
            "Ten degrees of latitude at the pole are a small cap, at the equator a long belt.",
            "Each of them gets the same number of views.",
            "Where is the same number on the smallest area?",
        ),
    ),
    Exercise(
        id="U11.2",
        stream="sharpen",
        kind="debug",
        task="The fraction of views near a pole as the file is read, and the angles that should have been written.",
        parameters=lambda seed: {"angles": published_angles(seed)},
        check=property_check(_finds_the_convention),
        hints=(
            "The middle angle of ZXZ is the tilt, from 0° to 180°. Look at the range of the middle column.",
            "A middle angle between −90° and 90° belongs to a convention with three different axes.",
            "Make matrices from the columns as XYZ, and take their ZXZ angles.",
        ),
    ),
    Exercise(
        id="U11.3",
        stream="sharpen",
        kind="code",
        task="The transform of a volume's projection along an axis, from the volume's transform.",
        check=property_check(_is_central_slice),
        hints=(
            "A projection along z is a sum over z. Write the three-dimensional transform and look for that sum.",
            "The sum over z is the transform at one frequency along z.",
            "numpy.take(array, index, axis) picks a plane.",
        ),
    ),
    Exercise(
        id="U11.4",
        stream="blur",
        kind="numeric",
        task="The ratio of variances that a ratio of standard deviations of 0.1 is.",
        check=number_check(0.1**2, relative=0.01),
        hints=(
            "The variance is the square of the standard deviation.",
            "So the ratio of variances is the square of the other ratio.",
            "Square one tenth.",
        ),
    ),
    Exercise(
        id="U11.5",
        stream="blur",
        kind="numeric",
        task="The signal-to-noise ratio of the average of two grids, weighted by inverse variance, and plain.",
        check=number_check(merged_ratios, relative=0.02),
        hints=(
            "The noise of an average of N images of variance v has the variance v/N.",
            "With weights 1/v the ratios of the two parts add up.",
            "Plain: the signal adds up N times, the variances of all images add up as well; divide the square of the first by the second.",
        ),
    ),
    Exercise(
        id="U11.6",
        stream="sharpen",
        kind="code",
        task="A function that merges the images of two grids with the least noise.",
        check=property_check(_reaches_the_bound),
        hints=(
            "Let an image count the less, the noisier it is.",
            "Weights of one over the variance are the best ones; show it by setting a derivative to zero.",
            "Divide the weighted sum by the sum of the weights.",
        ),
    ),
    Exercise(
        id="U11.7",
        stream="blur",
        kind="numeric",
        task="The resolution that a hundred times the particles reach from 3.0 Å with B = 100 Å².",
        check=number_check(resolution_with_more, relative=0.01),
        hints=(
            "The number of particles goes as exp(B / 2d²).",
            "So 1/d² grows by 2 ln(ratio)/B.",
            "Add that to one ninth, and take one over the root.",
        ),
    ),
    Exercise(
        id="U11.8",
        stream="sharpen",
        kind="code",
        task="The factor by which a magnification error damps the detail of a ball.",
        check=property_check(_is_the_envelope),
        hints=(
            "A point at z is displaced by ε z. What does a displacement do to a Fourier coefficient of frequency k along z?",
            "Average cos(2πkεz) over the ball: slices at z have the area π(R² − z²).",
            "The integral is 3 (sin a − a cos a)/a³ with a = 2πkεR.",
        ),
    ),
)
EXPLANATIONS = (
    Explanation(
        id="U11.words",
        question="A colleague has three data sets of the same protein, on carbon, on graphene and over holes. May she pool them, and what must she do first?",
        rubric=("weight", "noise", "magnification", "group"),
        model_answer=(
            "Yes, if each data set is its own group: its own spectrum and scale of the noise, so that every image gets the weight that it deserves; pooled as if alike, noisy "
            "images can make the map worse than the best set alone. First she must put them on one magnification, since one per cent already damps 3 Å detail of a large particle, "
            "and ask whether the molecules are the same: another conformation is no noise that averages away."
        ),
    ),
)
