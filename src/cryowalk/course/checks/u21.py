"""The checks of U21: Fourier slices and direct inversion."""

import itertools
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch

from cryowalk.course.exercise import Exercise, Explanation, as_numbers, draw, number_check, property_check
from cryowalk.data import Volume
from cryowalk.fourier.nufft import slices_exactly
from cryowalk.fourier.shells import shell_correlation
from cryowalk.geometry.sampling import random_rotations

Array = np.ndarray

# ---------------------------------------------------------------- U21.1, U21.6: numbers

CROWTHER = math.pi * 100 / 10
FALL_OFF = (float(np.sinc(0.5) ** 2), float(np.sinc(0.25) ** 2))


# ---------------------------------------------------------------- U21.2: the slice theorem


def centred_transform(array: Array) -> Array:
    """The whole orthonormal transform with its origin in the middle, written as sums."""
    result = np.asarray(array, dtype=complex)
    for axis, size in enumerate(array.shape):
        index = np.arange(size) - size // 2
        matrix = np.exp(-2j * np.pi * np.outer(index, index) / size) / np.sqrt(size)
        result = np.moveaxis(np.tensordot(matrix, result, axes=(1, axis)), 0, axis)
    return result


def _states_the_theorem(answer: Any, seed: int) -> str | None:
    if not callable(answer):
        return "I expected the function itself, without calling it."
    source = np.random.default_rng(seed)
    for shape in ((8, 8, 8), (7, 7, 7), (6, 7, 8)):
        volume = source.normal(size=shape)
        for axis in range(3):
            found = answer(volume.copy(), axis)
            if not isinstance(found, tuple | list) or len(found) != 2:
                return "The function should return two arrays: the slice, and the transform of the projection."
            plane, transform = (as_numbers(part) for part in found)
            expected = centred_transform(volume.sum(axis=axis))
            if plane is None or transform is None or plane.shape != expected.shape or transform.shape != expected.shape:
                return f"For a volume of shape {shape} and axis {axis} the arrays should have the shape {expected.shape}."
            if np.abs(transform - expected).max() > 1e-10:
                return "The second array is not the centred, orthonormal transform of the sum along that axis."
            if np.abs(plane - expected).max() <= 1e-12 * max(1.0, float(np.abs(expected).max())):
                continue
            ratio = np.vdot(plane, expected) / max(float(np.vdot(plane, plane).real), 1e-300)
            if np.allclose(plane * ratio, expected):
                return f"For the shape {shape} and axis {axis} the slice is the right one up to a constant factor. What does an orthonormal transform divide by?"
            return f"For the shape {shape} and axis {axis} the slice is another plane. At which index is the origin of a centred spectrum?"
    return None


# ---------------------------------------------------------------- U21.3: insert, normalise, invert

SMALL_BOX = 24
SMALL_COUNT = 150


@cache
def small_problem(seed: int) -> tuple[Array, Array, Array]:
    """A phantom of 24³ voxels (voxel size 1), rotations, and the whole centred spectra of its projections, exact."""
    source = np.random.default_rng(2100 + seed)
    axis = np.arange(SMALL_BOX) - SMALL_BOX // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = np.zeros((SMALL_BOX,) * 3)
    for _ in range(12):
        place = source.normal(size=3)
        place *= source.uniform(1, 7) / np.linalg.norm(place)
        squared = (x - place[0]) ** 2 + (y - place[1]) ** 2 + (z - place[2]) ** 2
        volume += source.uniform(0.5, 1.5) * np.exp(-squared / (2 * source.uniform(0.9, 1.4) ** 2))
    rotations = random_rotations(SMALL_COUNT, generator=torch.Generator().manual_seed(seed))
    half = slices_exactly(Volume(voxels=torch.from_numpy(volume), voxel_size=1.0), rotations).numpy()
    return volume, np.asarray(rotations), whole_spectra(half)


def whole_spectra(half: Array) -> Array:
    """Centred whole spectra (n, box, box) of unshifted half spectra, by Friedel's law."""
    box = half.shape[-2]
    index = (np.arange(box) - box // 2) % box
    stored = index <= box // 2
    rows, columns = index[:, None], index[None, :]
    direct = half[:, rows, np.where(stored, columns, 0)]
    mates = half[:, (-rows) % box, (-columns) % box * ~stored[None, :]].conj()
    return np.where(stored[None, None, :], direct, mates)


def _inverts(answer: Any, seed: int) -> str | None:
    if not callable(answer):
        return "I expected the function itself, without calling it."
    truth, rotations, spectra = small_problem(seed)
    found = as_numbers(answer(spectra.copy(), rotations.copy()))
    if found is None or found.shape != truth.shape:
        return f"From slices of {SMALL_BOX} × {SMALL_BOX} I expected a map of {SMALL_BOX}³ voxels."
    if not np.isfinite(found).all():
        return "Some voxels are not finite. A coefficient that no slice came near has the weight zero: do not divide by it."
    correlation = np.asarray(shell_correlation(torch.from_numpy(np.ascontiguousarray(found.real)), torch.from_numpy(truth)))
    bad = [shell for shell in range(1, 8) if correlation[shell] < 0.99]
    if bad:
        return f"The Fourier shell correlation with the truth should be 0.99 or more up to shell 7; it first falls short in shell {bad[0]}. Rotation or its transpose? Origin? Weights?"
    return _amplitudes(found.real, truth)


def _amplitudes(found: Array, truth: Array) -> str | None:
    """A sentence if some shell of the map is too strong or too weak, which a correlation does not see."""
    first, second = centred_transform(found), centred_transform(truth)
    axis = np.arange(SMALL_BOX) - SMALL_BOX // 2
    radius = np.rint(np.sqrt(sum(part**2 for part in np.meshgrid(axis, axis, axis, indexing="ij")))).astype(int)
    for shell in range(1, 8):
        inside = radius == shell
        scale = float(np.vdot(second[inside], first[inside]).real / np.vdot(second[inside], second[inside]).real)
        if not 0.85 < scale < 1.15:
            size = "weak" if scale < 1 else "strong"
            return f"Shell {shell} correlates with the truth, but its amplitude is too {size}. Did you divide by the summed weights, and minded √n and the padding?"
    return None


# ---------------------------------------------------------------- U21.4: the gridding correction


def _corrects(answer: Any, seed: int) -> str | None:
    if not callable(answer):
        return "I expected the function itself, without calling it."
    source = np.random.default_rng(seed)
    for box, padded in ((8, 16), (9, 18), (8, 8), (10, 15)):
        volume = source.normal(size=(box,) * 3)
        fall = np.sinc((np.arange(box) - box // 2) / padded) ** 2
        expected = volume / (fall[:, None, None] * fall[:, None] * fall)
        found = as_numbers(answer(volume.copy(), padded))
        if found is None or found.shape != volume.shape:
            return "The corrected map should have the shape of the map."
        if np.allclose(found, expected):
            continue
        factor = np.real(found / volume)
        if np.allclose(factor * (expected / volume), 1):
            return "The other way round: the insertion has already multiplied the map by the fall-off."
        middle = box // 2
        if not math.isclose(float(factor[middle, middle, middle]), 1, abs_tol=1e-9):
            return "At the origin voxel nothing should change. Where is the origin of a box of n voxels?"
        corner = float(factor[0, 0, 0] * fall[0] ** 3)
        return f"At the corner of a box of {box}, padded to {padded}, your factor is {'too small' if corner < 1 else 'too large'}. One fall-off an axis, sinc to the second power, of the place in the padded box."
    return None


# ---------------------------------------------------------------- U21.5: the diagnosis board

ARTEFACTS = ("few views", "angle error", "preferred view", "wrong hand", "no correction", "low SNR")
LETTERS = "ABCDEF"


def order_of(deck: int) -> tuple[str, ...]:
    """The artefacts in the order of the panels A to F, for the number of a shuffled deck."""
    return next(itertools.islice(itertools.permutations(ARTEFACTS), deck, None))


def deck(seed: int) -> dict[str, int]:
    """The learner's own order of panels."""
    return {"deck": draw(seed, "U21.5").randrange(math.factorial(len(ARTEFACTS)))}


def _diagnoses(answer: Any, seed: int) -> str | None:
    if not isinstance(answer, Mapping) or {str(key) for key in answer} != set(LETTERS):
        return 'I expected a dictionary with a diagnosis for each of "A" to "F".'
    given = [str(answer[letter]).strip().casefold() for letter in LETTERS]
    odd = [name for name in given if name not in {artefact.casefold() for artefact in ARTEFACTS}]
    if odd:
        return f"Not on the list: {', '.join(odd)}."
    right = sum(name == artefact.casefold() for name, artefact in zip(given, order_of(deck(seed)["deck"]), strict=True))
    return None if right >= 5 else f"{right} of 6 are right; five are needed."


EXERCISES = (
    Exercise(
        id="U21.1",
        stream="blur",
        kind="predict",
        task="How many evenly spaced views about one axis are needed for 10 Å, if the particle measures 100 Å?",
        check=number_check(CROWTHER, relative=0.0, absolute=0.65),
        hints=(
            "Every view is a line (a plane, seen along its edge) through the origin of Fourier space. Where are the gaps widest?",
            "At the frequency 1/d, half a turn of the circle has the length π/d. How densely must the transform of something of the size D be sampled?",
            "Steps of 1/D along an arc of π/d.",
        ),
    ),
    Exercise(
        id="U21.2",
        stream="sharpen",
        kind="code",
        task="The central plane of a volume's spectrum and the spectrum of its projection, equal to round-off.",
        check=property_check(_states_the_theorem),
        hints=(
            "spectrum_of(volume) has its origin at index n // 2 of each axis; projecting is a sum along one.",
            "np.take(spectrum, index, axis) cuts a plane out.",
            "The orthonormal transform divides by the root of the number of voxels, so the axis that was summed over leaves a factor: the root of its length.",
        ),
    ),
    Exercise(
        id="U21.3",
        stream="sharpen",
        kind="code",
        task="A function that inserts slices with trilinear weights, normalises and inverts.",
        check=property_check(_inverts),
        hints=(
            "Place of a coefficient: (kx, ky, 0) times R as a row, times the padding. The eight corners around it share it.",
            "The share of a corner is the product over x, y, z of d or 1 − d. Sum shares × values and shares, each with np.bincount.",
            "Divide where the weight is not zero, transform back, cut the box out of the middle, and divide by √n · padding^(3/2): a slice is √n times the orthonormal 3-D transform.",
        ),
    ),
    Exercise(
        id="U21.4",
        stream="sharpen",
        kind="code",
        task="A function that divides out what trilinear insertion has multiplied a map by.",
        check=property_check(_corrects),
        hints=(
            "The transform of the triangle is sinc². In which space does it act, and at which places?",
            "np.sinc(position / padded) ** 2 along each axis, with the position counted from voxel n // 2.",
            "Three factors, one an axis, by broadcasting [:, None, None], [:, None] and plain; the map is divided by all of them.",
        ),
    ),
    Exercise(
        id="U21.5",
        stream="blur",
        kind="quiz",
        task="What is wrong with each of six maps?",
        check=property_check(_diagnoses),
        parameters=deck,
        hints=(
            "Begin with the two that are easiest in the power spectrum: gaps between planes, and a whole region that is missing.",
            "Then the correlations: where do the halves agree with each other, but not with the truth? Where do they not even agree with each other?",
            "Blurred outside and sharp near the centre: turned by a bit. Speckled everywhere: noise. Damped towards the rim of the box only: something was not divided out.",
        ),
    ),
    Exercise(
        id="U21.6",
        stream="sharpen",
        kind="numeric",
        task="By what factor trilinear gridding damps density at the middle of a face of the box, without padding and with twofold padding.",
        check=number_check(FALL_OFF, relative=0.005),
        hints=(
            "Along one axis the damping is sinc²(x/N) with N the side of the padded box; sinc t = sin πt / πt.",
            "The face of the box lies half a box from the origin. What is x/N there, without padding and with it?",
            "Put t = 1/2, and t = 1/4, into sinc², and give both numbers in this order.",
        ),
    ),
)

EXPLANATIONS = (
    Explanation(
        id="U21.words",
        question="A colleague's map has a half-map FSC of 3 Å, but looks smeared along one direction. How can both be true?",
        rubric=("preferred", "half", "same", "direction"),
        model_answer=(
            "With preferred orientations some directions of Fourier space were hardly measured. Both half maps lack the same region, so they agree where "
            "there are data, and the shell average hides the rest. Look at the distribution of views, or at a correlation by direction instead of by shell."
        ),
    ),
)
