"""Checks of U07: zeros of the CTF, the blind focus test, B-factors with their conventions, delocalisation, amplitude contrast."""

from collections.abc import Callable, Mapping, Sequence
from math import asin, pi, sqrt
from typing import Any

import numpy as np
import torch

from cryowalk import fourier
from cryowalk.core.constants import electron_wavelength
from cryowalk.course.exercise import Exercise, Explanation, as_numbers, draw, number_check, property_check

SPHERICAL_ABERRATION = 2.7e7  # Å
GAMES = 20  # images of the blind focus test


def reversal_radius(spokes: float, *, defocus: float) -> float:
    """The radius on a star of so many spokes at which the contrast first reverses, Å; 300 kV, Cs 2.7 mm, no amplitude contrast."""
    return spokes * first_zero(defocus, amplitude_contrast=0.0) / (2 * pi)


def first_zero(defocus: float, *, amplitude_contrast: float, turns: int = 1) -> float:
    """The spacing, Å, at which χ + arcsin Q is this many half turns at 300 kV and Cs 2.7 mm: a quadratic equation in k²."""
    wavelength = electron_wavelength(300)
    linear = wavelength * defocus
    quadratic = SPHERICAL_ABERRATION * wavelength**3 / 2
    rest = turns - asin(amplitude_contrast) / pi
    squared = (linear - sqrt(linear**2 - 4 * quadratic * rest)) / (2 * quadratic)
    return 1 / sqrt(squared)


def zeros_below_nyquist(pixel_size: float, *, aberration: float, defocus: float = 1e4) -> int:
    """How many zeros a CTF without amplitude contrast has between 0 and Nyquist; χ must rise up to there, as it does at 1 micrometre."""
    wavelength, nyquist = electron_wavelength(300), 0.5 / pixel_size
    return int(wavelength * defocus * nyquist**2 - aberration * wavelength**3 * nyquist**4 / 2)


def blind(seed: int) -> Mapping[str, Sequence[float]]:
    """The defocus of the learner's twenty images, Å: half of them overfocused (negative), shuffled."""
    source = draw(seed, "U07.3")
    signs = [1, -1] * (GAMES // 2)
    source.shuffle(signs)
    return {"defocus": [sign * source.uniform(6e3, 1.4e4) for sign in signs]}


def _blind(answer: Any, seed: int) -> str | None:
    if not isinstance(answer, Sequence) or isinstance(answer, str) or len(answer) != 2:
        return "I expected a pair: your twenty letters, and a spacing in Å."
    letters, spacing = answer
    if not isinstance(letters, str) or len(letters) != GAMES or set(letters.lower()) - {"u", "o"}:
        return f"The first entry should be a text of {GAMES} letters, each u (underfocus) or o (overfocus)."
    number = as_numbers(spacing)
    if number is None or number.size != 1:
        return "The second entry should be one spacing, in Å."
    wavelength = electron_wavelength(300)
    truth = sqrt(pi * wavelength * 1e4 / asin(0.1))
    given = float(number.real.reshape(-1)[0])
    if abs(given / truth - 1) <= 0.03:
        return None
    if abs(given * truth - 1) < 0.05:
        return "That looks like a frequency. I expected its inverse, a spacing in Å."
    if abs(given / first_zero(1e4, amplitude_contrast=0.1) - 1) < 0.05:
        return "That is the first zero of the *underfocused* image. Which zero does overfocus have that underfocus has not?"
    return "Not that zero. With overfocus, χ is negative and grows; where does it first cancel arcsin Q?"


def _statement(answer: Any, seed: int) -> str | None:
    if not isinstance(answer, Mapping) or set(answer) != {"resolution", "convention"}:
        return "I expected a dictionary with the entries 'resolution' and 'convention'."
    if str(answer["convention"]).replace(" ", "") != "B/4":
        return "Under that convention B = 100 Å² gives 1/e somewhere else. Try each of the three with the slider."
    number = as_numbers(answer["resolution"])
    if number is None or number.size != 1:
        return "The resolution should be one number, in Å."
    given = float(number.real.reshape(-1)[0])
    if abs(given - 5.0) <= 0.02:
        return None
    if abs(given - 0.2) < 0.01:
        return "That is a frequency. The statement wants a resolution, its inverse."
    return "Where is exp(-B k²/4) equal to 1/e for B = 100 Å²? Give 1/k."


def _envelope(answer: Callable[[int, float, float], Any], seed: int) -> str | None:
    source = draw(seed, "U07.5")
    for size, pixel_size in ((64, 1.0), (128, 2.0), (96, source.choice((0.7, 1.3, 1.7)))):
        found = as_numbers(answer(size, pixel_size, 100.0))
        if found is None or found.shape != (size // 2 + 1,):
            return f"For {size} samples I expected {size // 2 + 1} values, for frequencies 0 to Nyquist."
        if not (np.isfinite(found).all() and (found.real > 0).all()):
            return "An envelope is a positive, finite number at each frequency."
        frequency = np.arange(size // 2 + 1) / (size * pixel_size)
        measured = -4 * float(np.polyfit(frequency**2, np.log(found.real), 1)[0])
        if abs(measured - 100) <= 1:
            continue
        if abs(measured / (100 * pixel_size**4) - 1) < 0.02:
            return f"At {pixel_size} Å per pixel the fitted B is {measured:.0f} Å²: the bug is still there, and 1 Å per pixel hides it."
        return f"At {pixel_size} Å per pixel the slope of ln(envelope) against k² gives B = {measured:.0f} Å² instead of the 100 that went in."
    return None


def _image(source: np.random.Generator, size: int) -> np.ndarray:
    """White noise: it has power at every frequency."""
    return np.asarray(source.normal(size=(size, size)))


def blurred(image: np.ndarray, *, pixel_size: float, b_factor: float) -> np.ndarray:
    """The image times exp(−B k²/4) in Fourier space."""
    return np.asarray(fourier.b_factor(torch.tensor(image), b_factor=b_factor, pixel_size=pixel_size))


def _b_factors(answer: Any, seed: int) -> str | None:
    if not isinstance(answer, Sequence) or len(answer) != 2 or not all(callable(part) for part in answer):
        return "I expected a pair of functions: (measured_b, motion_b)."
    measured_b, motion_b = answer
    source = np.random.default_rng(draw(seed, "U07.6").randrange(2**31))
    for parts, pixel_size in (((60.0,), 1.0), ((60.0,), 2.0), ((-40.0,), 1.5), ((25.0, 70.0), 1.2)):
        image = _image(source, 96)
        after = image
        for part in parts:
            after = blurred(after, pixel_size=pixel_size, b_factor=part)
        problem = _b_problem(as_numbers(measured_b(image, after, pixel_size)), sum(parts), pixel_size)
        if problem is not None:
            return problem
    for rms in (0.5, 1.125, 0.2):
        found = as_numbers(motion_b(rms))
        if found is None or found.size != 1 or abs(float(found.real.reshape(-1)[0]) / (8 * pi**2 * rms**2) - 1) > 0.01:
            return "measured_b is right. motion_b is not: average exp(2πi k u) over a normal distribution of u, and compare with exp(-B k²/4)."
    return None


def _b_problem(found: np.ndarray | None, b_factor: float, pixel_size: float) -> str | None:
    """What is wrong with a measured B-factor, or None."""
    if found is None or found.size != 1:
        return "measured_b should return one number, in Å²."
    ratio = float(found.real.reshape(-1)[0]) / b_factor
    if abs(ratio - 1) <= 0.01:
        return None
    if abs(ratio + 1) < 0.02:
        return "The size is right, the sign is not: a positive B damps."
    for factor, why in ((0.25, "the 4 of B/4"), (2.0, "that power is the square of an amplitude"), (0.5, "a factor of two")):
        if abs(ratio / factor - 1) < 0.02:
            return f"Your B is {factor:g} times what went in: think of {why}."
    return f"At {pixel_size} Å per pixel a B of {b_factor:.0f} Å² comes out as {ratio * b_factor:.1f} Å²."


def lens_of(seed: int) -> Mapping[str, float]:
    """The learner's own microscope for U07.7: voltage in kV, Cs in mm, box in Å."""
    source = draw(seed, "U07.7")
    return {
        "voltage_kv": source.choice((200.0, 300.0)),
        "spherical_aberration_mm": source.choice((1.2, 2.0, 2.7)),
        "box": source.choice((160.0, 200.0, 256.0)),
    }


def displacement(defocus: float, frequency: float, *, wavelength: float, aberration: float) -> float:
    """How far detail is displaced, Å."""
    return abs(wavelength * defocus * frequency - aberration * (wavelength * frequency) ** 3)


def alias_free(box: float, frequency: float, *, wavelength: float, aberration: float) -> float:
    """The largest underfocus that displaces detail of this frequency by no more than half the box, Å."""
    return (box / 2 + aberration * (wavelength * frequency) ** 3) / (wavelength * frequency)


def _delocalised(answer: Any, seed: int) -> str | None:
    if not isinstance(answer, Sequence) or len(answer) != 2 or not all(callable(part) for part in answer):
        return "I expected a pair of functions: (displacement, largest_defocus)."
    displaced, largest = answer
    own = lens_of(seed)
    microscopes = (
        (300.0, 2.7e7, 128.0),
        (300.0, 0.0, 128.0),
        (own["voltage_kv"], own["spherical_aberration_mm"] * 1e7, own["box"]),
    )
    for voltage, aberration, box in microscopes:
        wavelength = electron_wavelength(voltage)
        for defocus, frequency in ((2e4, 1 / 3), (1e4, 1 / 3), (2e3, 0.45), (-1e4, 0.2)):
            found = as_numbers(displaced(defocus, frequency, wavelength, aberration))
            truth = displacement(defocus, frequency, wavelength=wavelength, aberration=aberration)
            if found is None or found.size != 1:
                return "displacement should return one number, in Å."
            given = float(found.real.reshape(-1)[0])
            if abs(given - truth) > 0.01 * truth:
                if abs(given / truth - 2 * pi) < 0.1:
                    return "You gave dχ/dk itself. A ramp of phase 2π·k·x moves by x: divide by 2π."
                if given < 0 and abs(given + truth) <= 0.01 * truth:
                    return "A displacement is a distance, without a sign."
                return f"The displacement at Δf = {defocus:.0f} Å and {1 / frequency:.2f} Å is not right: differentiate χ term by term."
        found = as_numbers(largest(box, 0.5, wavelength, aberration))
        truth = alias_free(box, 0.5, wavelength=wavelength, aberration=aberration)
        if found is None or found.size != 1 or abs(float(found.real.reshape(-1)[0]) / truth - 1) > 0.01:
            whole = found is not None and found.size == 1 and 1.5 < float(found.real.reshape(-1)[0]) / truth < 2.5
            if whole:
                return "displacement is right. largest_defocus allows too much: the CTF swings once over the spacing of its samples; it needs two samples for a swing."
            return "displacement is right. largest_defocus is not: at which displacement does χ change by π from one sample 1/box to the next?"
    return None


def _contrast_shift(spacing: float) -> float:
    """The change of defocus that hides a change of amplitude contrast from 0.07 to 0.10 at this spacing, Å."""
    return (asin(0.10) - asin(0.07)) * spacing**2 / (pi * electron_wavelength(300))


def star(size: int, *, spokes: int, pixel_size: float, outer: float, inner: float) -> torch.Tensor:
    """A Siemens star between two radii (Å): +1 and −1 along the angle, as smooth as the pixels can carry, 0 elsewhere."""
    line = (torch.arange(size, dtype=torch.float64) - size // 2) * pixel_size
    y, x = torch.meshgrid(line, line, indexing="ij")
    radius = torch.hypot(x, y)
    ring = ((outer - radius) / (4 * pixel_size) + 0.5).clamp(0, 1) * ((radius - inner) / (4 * pixel_size) + 0.5).clamp(0, 1)
    picture = torch.cos(spokes * torch.atan2(y, x)) * ring
    smooth: torch.Tensor = fourier.low_pass(picture, resolution=2.5 * pixel_size, pixel_size=pixel_size, dimensions=2)
    return smooth


EXERCISES = (
    Exercise(
        id="U07.1",
        stream="blur",
        kind="predict",
        task="At which radius, in Å, does a star of 36 spokes first reverse its contrast at 1 micrometre underfocus (300 kV, Cs 2.7 mm, no amplitude contrast)?",
        check=number_check(lambda seed: reversal_radius(36, defocus=1e4), relative=0.03),
        hints=(
            "At radius r, how far is it from one spoke to the next, along the circle?",
            "The contrast reverses where that distance is the spacing at which the CTF is zero. The explorer above shows the first zero.",
            "36 spokes fit on a circumference of 2πr, so the spacing is 2πr/36. The first zero is near 14 Å.",
        ),
    ),
    Exercise(
        id="U07.2",
        stream="blur",
        kind="numeric",
        task="How many zeros has the CTF below Nyquist at 1 micrometre, 300 kV, Q = 0, for pixels of 1, 2 and 4 Å: first with Cs = 0, then with 2.7 mm? Six whole numbers.",
        check=number_check(
            tuple(zeros_below_nyquist(p, aberration=a) for a in (0.0, SPHERICAL_ABERRATION) for p in (1.0, 2.0, 4.0)),
            absolute=0.4,
            relative=0.0,
        ),
        hints=(
            "Without Q there is a zero wherever χ is a whole number of half turns. So how large is χ/π at Nyquist?",
            "With Cs = 0, χ/π at Nyquist is λ Δf / (4 p²), with p the pixel size. Round down.",
            "With Cs, subtract ½ Cs λ³ k⁴ at k = 1/(2p) from it before you round down; Cs in Å is 2.7e7.",
        ),
    ),
    Exercise(
        id="U07.3",
        stream="blur",
        kind="quiz",
        task="Your twenty guesses (u or o), and the spacing of the zero that overfocus has in addition at 1 micrometre, Q = 0.1, in Å.",
        parameters=blind,
        check=property_check(
            _blind,
            success="Right: that ring gives overfocus away, where noise lets you see it. Your guesses are stored; your score is above.",
        ),
        hints=(
            "Compare the two curves at low frequency. Both start at Q. Which one has to cross zero soon?",
            "With overfocus χ begins by going down, so χ + arcsin Q passes through zero once more.",
            "At such a low frequency Cs does not matter: π λ |Δf| k² = arcsin(0.1). Give 1/k.",
        ),
    ),
    Exercise(
        id="U07.4",
        stream="blur",
        kind="numeric",
        task="Correct the statement about B = 100 Å²: at which resolution is the amplitude 1/e, and under which convention (B/4, B/2 or B)?",
        check=property_check(
            _statement, success="Right. The number in the statement is a resolution in Å; its unit was turned upside down."
        ),
        hints=(
            "At 1/e the exponent is −1. Write that for each of the three conventions and solve for k.",
            "Only one of the three gives a five.",
            "With exp(-B k²/4), k = 2/√B. Give the inverse of k, in Å.",
        ),
    ),
    Exercise(
        id="U07.5",
        stream="sharpen",
        kind="debug",
        task="Repair the envelope so that a B of 100 Å² is one at every pixel size.",
        check=property_check(_envelope, success="Right: the fitted B is what went in, at every pixel size."),
        hints=(
            "Run it at 1 Å per pixel, then at 2 Å. By which factor is the fitted B wrong?",
            "Sixteen is two to the fourth: the frequency is wrong by the square of the pixel size.",
            "Cycles per pixel, divided by Å per pixel, are cycles per Å.",
        ),
    ),
    Exercise(
        id="U07.6",
        stream="sharpen",
        kind="code",
        task="Measure B from an image before and after, and give the B of a random displacement.",
        check=property_check(_b_factors, success="Right: the slope gives B with its sign, B's add, and motion has a B too."),
        hints=(
            "Take the logarithm of the ratio of the two spectra's amplitudes. Against what is it a straight line?",
            "Against k² the slope is −B/4. Use frequencies in 1/Å on the whole two-dimensional spectrum, without k = 0.",
            "For the motion: the mean of exp(2πi k u) over a normal law of standard deviation u is exp(-2π² k² u²). Compare with exp(-B k²/4).",
        ),
    ),
    Exercise(
        id="U07.7",
        stream="sharpen",
        kind="code",
        task="How far the lens displaces detail, from the gradient of χ; and the largest underfocus whose CTF a box can sample.",
        parameters=lens_of,
        check=property_check(_delocalised, success="Right on all three microscopes, your own among them."),
        hints=(
            "A phase 2πkx moves a picture by x. So a phase χ(k) moves what has frequency k by the slope of χ, divided by 2π.",
            "χ = π λ (Δf k² − ½ Cs λ² k⁴): differentiate by k and divide by 2π. Give the absolute value.",
            "The box samples the CTF at steps of 1/box. Two samples a swing means that χ may change by at most π a step: the displacement may be half the box.",
        ),
    ),
    Exercise(
        id="U07.8",
        stream="sharpen",
        kind="numeric",
        task="Which error of defocus, in Å, does the same to the phase as taking Q = 0.10 for 0.07: at 10 Å, and at 4 Å (300 kV)? Two numbers.",
        check=number_check((_contrast_shift(10.0), _contrast_shift(4.0)), relative=0.02),
        hints=(
            "By how much does the phase arcsin Q change?",
            "A defocus error δ changes χ by π λ δ k². Set that equal.",
            "arcsin 0.10 − arcsin 0.07 is 0.0301 rad. Divide by π λ k², with k = 1/10 and 1/4.",
        ),
    ),
)

EXPLANATIONS = (
    Explanation(
        id="U07.words",
        question="A colleague says: this micrograph has a B-factor of 80, that one of 150, so the second is worthless. What do you ask back?",
        rubric=("convention", "resolution", "noise", "add", "motion"),
        model_answer=(
            "First, under which convention: with exp(-B k²/4) on amplitudes, or on power, or another factor? Then, at what resolution we want to use it: at 10 Å the difference "
            "of 70 Å² costs 16 % of the amplitude, at 3 Å it costs 86 %. B's of independent causes add, so I would ask what is in it: motion, "
            "ice, defocus spread, the fit itself. And signal matters only against noise, which a B-factor of the signal does not tell."
        ),
    ),
)
