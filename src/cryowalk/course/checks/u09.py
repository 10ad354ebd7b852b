"""Checks of U09: tilted and thick specimens."""

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch

from cryowalk.core.constants import electron_wavelength
from cryowalk.course.exercise import Exercise, Explanation, as_numbers, draw, number_check, property_check
from cryowalk.data.optics import Defocus, Optics
from cryowalk.microscope.tilted import apply_tilted_transfer

_WAVELENGTH = electron_wavelength(300)
_TILT = math.radians(60)

# ---------------------------------------------------------------- numbers

ACROSS = 4000 * math.tan(_TILT)
TOLERANCE = 9 / (4 * _WAVELENGTH)
STRIP = TOLERANCE / math.tan(_TILT)
TWO_PLANES = math.cos(math.pi * _WAVELENGTH * 250 / 16)
DEPTH = 1.4 * 9 / _WAVELENGTH


def node(seed: int) -> Mapping[str, float]:
    """The learner's own micrograph: where its Thon rings vanish first, Å."""
    return {"spacing": draw(seed, "U09.7").choice((4.2, 4.6, 5.5, 6.0, 6.4))}


def _thicknesses(seed: int) -> tuple[float, float]:
    return 25 / _WAVELENGTH, node(seed)["spacing"] ** 2 / _WAVELENGTH


# ---------------------------------------------------------------- U09.3: a tilt from local rings

FIELD_OPTICS = Optics(pixel_size=4.0, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.07)
FIELD_DEFOCUS = 30000.0
_SIDE = 1024


def field_number(seed: int) -> Mapping[str, int]:
    """Which of the tilted micrographs is the learner's own."""
    return {"number": draw(seed, "U09.3").randrange(1, 9)}


def tilt_of_field(number: int) -> float:
    """The tilt of this micrograph, rad."""
    source = draw(number, "the tilt of a micrograph of U09")
    return source.choice((-1, 1)) * math.radians(source.uniform(30, 58))


@cache
def tilted_micrograph(number: int) -> Any:
    """A micrograph of amorphous material on a tilted support, 1024² pixels of 4 Å, the tilt axis along x; its tilt is the secret of its number."""
    random = torch.Generator().manual_seed(900 + number)
    film = torch.randn(_SIDE, _SIDE, generator=random)
    values = (FIELD_DEFOCUS, FIELD_DEFOCUS, 0.0, 0.0)
    major, minor, azimuth, phase_shift = (torch.tensor(value) for value in values)
    defocus = Defocus(major=major, minor=minor, azimuth=azimuth, phase_shift=phase_shift)
    image = apply_tilted_transfer(film, FIELD_OPTICS, defocus, tilt_angle=tilt_of_field(number))
    return (image + 0.5 * torch.randn(_SIDE, _SIDE, generator=random)).numpy()


def _slope(seed: int) -> float:
    return math.tan(tilt_of_field(field_number(seed)["number"]))


def _measured(answer: Any, seed: int) -> str | None:
    numbers = as_numbers(answer)
    if numbers is None or numbers.size != 1:
        return "I expected one number: by how many Å the defocus grows for each Å along y."
    found, expected = float(numbers.real.reshape(-1)[0]), _slope(seed)
    if abs(found - expected) <= 0.03 * abs(expected):
        return None
    if abs(found + expected) <= 0.03 * abs(expected):
        return "The steepness is right, but the underfocus changes the other way along y. Rows count from 0 upwards in y."
    if abs(math.tan(found) - expected) <= 0.03 * abs(expected) or abs(math.tan(math.radians(found)) - expected) <= 0.03 * abs(
        expected
    ):
        return "That looks like the angle. I asked for the slope, its tangent."
    for factor, reason in ((4.0, "per pixel"), (1e-4, "in μm"), (0.25, "with pixels in the wrong place")):
        if abs(found - factor * expected) <= 0.03 * abs(factor * expected):
            return f"The number looks like a slope {reason}: Å per Å, please."
    return "The slope is off by more than 3 %. Plot the local defocus against y: is it a straight line? If one point jumps, your search has locked on to the wrong ring."


# ---------------------------------------------------------------- U09.4: a fast tilted CTF

MOST_CALLS = 32


def _scene(seed: int, side: int) -> tuple[np.ndarray, np.ndarray, Callable[[float], np.ndarray]]:
    """An image, the heights of its pixels (Å), and the transfer at a height: the whole spectrum, unshifted."""
    source = np.random.default_rng(draw(seed, "U09.4").randrange(2**31))
    image = source.normal(size=(side, side))
    along = np.arange(side) - side // 2
    turn = source.uniform(0, 2 * np.pi)
    heights = 1500.0 / (0.7 * side) * (along[:, None] * np.cos(turn) + along[None, :] * np.sin(turn))
    index = np.where(np.arange(side) < (side + 1) // 2, np.arange(side), np.arange(side) - side) / (side * 3.0)
    squared = index[:, None] ** 2 + index[None, :] ** 2

    def transfer(height: float) -> np.ndarray:
        phase = np.pi * _WAVELENGTH * ((12000.0 + height) * squared - 0.5 * 2.7e7 * _WAVELENGTH**2 * squared**2)
        return np.asarray(np.sin(phase + np.arcsin(0.1)))

    return image, heights, transfer


def _dft(side: int) -> np.ndarray:
    index = np.arange(side)
    return np.asarray(np.exp(-2j * np.pi * np.outer(index, index) / side))


def brute_force(image: np.ndarray, heights: np.ndarray, transfer: Callable[[float], np.ndarray]) -> np.ndarray:
    """Every pixel's own point spread, one after the other."""
    side = len(image)
    matrix = _dft(side)
    spectrum = np.zeros((side, side), dtype=complex)
    for row in range(side):
        for column in range(side):
            wave = matrix[:, row][:, None] * matrix[:, column][None, :]
            spectrum += image[row, column] * transfer(float(heights[row, column])) * wave
    return np.asarray((matrix.conj() @ spectrum @ matrix.conj()).real / side**2)


@cache
def _reference(seed: int, side: int) -> np.ndarray:
    return brute_force(*_scene(seed, side))


def _fast(answer: Any, seed: int) -> str | None:
    if not callable(answer):
        return "I expected the function itself, without calling it."
    for side in (27, 32):
        image, heights, transfer = _scene(seed, side)
        calls = [0]

        def counted(height: float, transfer: Callable[[float], np.ndarray] = transfer, calls: list[int] = calls) -> np.ndarray:
            calls[0] += 1
            return transfer(float(height))

        found = as_numbers(answer(image.copy(), heights.copy(), counted))
        if found is None or found.shape != image.shape or (np.iscomplexobj(found) and np.abs(found.imag).max() > 1e-6):
            return "I expected a real image of the size of the one given."
        if calls[0] > MOST_CALLS:
            return f"You asked for {calls[0]} transfer functions. That is too slow: {MOST_CALLS} at most."
        error = float(np.linalg.norm(found.real - _reference(seed, side)) / np.linalg.norm(_reference(seed, side)))
        if error < 1e-3:
            continue
        adjoint = _filtered_by_own(image, heights, transfer)
        if np.linalg.norm(found.real - adjoint) < 3e-3 * np.linalg.norm(adjoint):
            return "You filter first and choose the layer afterwards. It is the scatterer's height that counts: weigh first, then filter."
        reversed_heights = brute_force(image, -heights, transfer) if side < 30 else None
        if reversed_heights is not None and np.linalg.norm(found.real - reversed_heights) < 3e-3 * np.linalg.norm(
            reversed_heights
        ):
            return "The tilt goes the other way."
        return f"The relative difference to brute force is {error:.1e}, with {calls[0]} transfer functions."
    return None


def _filtered_by_own(image: np.ndarray, heights: np.ndarray, transfer: Callable[[float], np.ndarray]) -> np.ndarray:
    """The transpose of `brute_force`: every pixel of the result filtered with its own height's transfer."""
    side = len(image)
    matrix = _dft(side)
    spectrum = matrix @ image @ matrix
    result = np.zeros_like(image)
    for row in range(side):
        for column in range(side):
            wave = matrix[:, row].conj()[:, None] * matrix[:, column].conj()[None, :]
            result[row, column] = (spectrum * transfer(float(heights[row, column])) * wave).sum().real / side**2
    return result


EXERCISES = (
    Exercise(
        id="U09.1",
        stream="blur",
        kind="numeric",
        task="By how many Å does the defocus change across 4000 Å of a support that is tilted by 60°, perpendicular to the axis?",
        check=number_check(ACROSS, relative=0.01),
        hints=(
            "Draw the support from the side. The 4000 Å are measured in the image, so across the beam.",
            "A right triangle: one leg lies in the image, the other along the beam. Which function of the angle joins two legs?",
            "The tangent of 60° is a little below 1.75.",
        ),
    ),
    Exercise(
        id="U09.2",
        stream="blur",
        kind="numeric",
        task="Which error of defocus (Å) turns the phase at 3 Å by π/4, and over how many Å of a field tilted by 60° does the defocus change by that much?",
        check=number_check((TOLERANCE, STRIP), relative=0.02),
        hints=(
            "In χ the defocus stands in one term only: π λ Δf k².",
            "Set π λ δ / d² equal to π/4 and solve for δ; the wavelength at 300 kV is 0.0197 Å.",
            "For the width divide by the slope of the support, the tangent of the tilt.",
        ),
    ),
    Exercise(
        id="U09.3",
        stream="sharpen",
        kind="code",
        task="Measure the local defocus along y in your own tilted micrograph, and give its slope (Å per Å).",
        parameters=field_number,
        check=property_check(_measured, success="Right, within 3 %: the rings have told you the tilt."),
        hints=(
            "Cut the micrograph into rows of tiles. All tiles of one row have the same height, so average their power spectra.",
            "Average over rings, then compare with sin²(χ + arcsin Q) for many defoci, by correlation, in a band where rings are clear (about 1/50 to 1/12 Å).",
            "A straight line through (y of the tile's centre in Å, best defocus): np.polyfit. The axis is along x, pixels are 4 Å.",
        ),
    ),
    Exercise(
        id="U09.4",
        stream="sharpen",
        kind="code",
        task="Image a tilted field with at most 32 transfer functions, within 1e-3 of brute force.",
        check=property_check(_fast, success="Right: as good as brute force, at a fraction of its price."),
        hints=(
            "Between two heights the CTF is a smooth function of z. Interpolate it: CTF(z) = Σ w(z) CTF(z of the layer), with the same weights at all k.",
            "So: multiply the image by each layer's weight, filter with that layer's CTF, add up. Straight lines between layers are too coarse; which polynomials are better?",
            "Lagrange's polynomials through Chebyshev points, cos(π(2l+1)/2L) times the largest height, converge very fast; some twenty layers do.",
        ),
    ),
    Exercise(
        id="U09.5",
        stream="sharpen",
        kind="numeric",
        task="Two equal weak planes lie 500 Å apart along the beam (300 kV), focused at their middle. By which factor is the signal at 4 Å weaker than that of both in one plane?",
        check=number_check(TWO_PLANES, relative=0.01),
        hints=(
            "Each plane has its own defocus, 250 Å more and 250 Å less than the middle.",
            "Add sin(χ + x) and sin(χ - x). What is x?",
            "The sum is 2 sin χ cos x, with x = π λ k² times the distance of one plane from the middle.",
        ),
    ),
    Exercise(
        id="U09.6",
        stream="sharpen",
        kind="numeric",
        task="Which thickness (Å) has its depth-of-field limit at 3 Å at 300 kV, with the criterion d² = λt / (2 · 0.7)?",
        check=number_check(DEPTH, relative=0.01),
        hints=("Solve the criterion for t.", "t = 2 · 0.7 · d² / λ.", "d is 3 Å, and the wavelength 0.0197 Å."),
    ),
    Exercise(
        id="U09.7",
        stream="blur",
        kind="numeric",
        task="The Thon rings of a micrograph vanish for the first time at 5.0 Å, those of your own one at your own spacing (300 kV). How thick are the two samples, in Å?",
        parameters=node,
        check=number_check(_thicknesses, relative=0.02),
        hints=(
            "Rings vanish where top and bottom of the sample have opposite phases, so that the average over the depth is nothing.",
            "sinc(λ k² t) is zero for the first time when its argument, with sinc x = sin πx / πx, is one.",
            "λ k² t = 1 with k = 1/d.",
        ),
    ),
)

EXPLANATIONS = (
    Explanation(
        id="U09.words",
        question="A colleague says: the ice is 1000 Å thick, so multiple scattering ruins my 3 Å map. Another says: no, it is the tilt. What would you ask them, and what would you tell them?",
        rubric=("defocus", "thickness", "depth", "projection", "weak"),
        model_answer=(
            "Ask how large the particles are: a particle of 150 Å is a projection at 3 Å however thick the ice is, because depth of field counts within the particle, "
            "and each particle has a defocus of its own. The thickness of the ice costs electrons, by inelastic scattering. Whether the object is weak is "
            "another question than whether it is thin. And a tilt is harmless once the defocus of each particle is known."
        ),
    ),
)
