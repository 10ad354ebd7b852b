"""Checks of U02: interference with a phase, the six lines of the derivation, where the linear image ends, Thon's minima, and atoms."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cryowalk.core.constants import electron_wavelength, interaction_constant
from cryowalk.course.exercise import (
    Exercise,
    Explanation,
    as_numbers,
    derivation_check,
    draw,
    number_check,
    property_check,
    symbolic_check,
)

_STEPS = {
    "incoming wave": "exp(2*pi*i*z/lam)",
    "exit wave": "1 + i*phi",
    "free space": "exp(-i*pi*lam*D*k^2)",
    "lens phase": "pi*lam*D*k^2",
    "image wave": "1 + i*eps*c*exp(i*chi)",
    "intensity": "1 - 2*eps*c*sin(chi)",
}


def film(seed: int) -> Mapping[str, float]:
    """The learner's own noise: standard deviation of a pixel, in units of the film's own contrast."""
    return {"noise": draw(seed, "U02.5").choice((0.4, 0.5, 0.6, 0.7, 0.8))}


def _floor(answer: Any, seed: int) -> str | None:
    if not isinstance(answer, Mapping) or not {"reach zero", "floor"} <= set(answer):
        return "I expected a dictionary with the entries 'reach zero' ('yes' or 'no') and 'floor' (a number)."
    said = str(answer["reach zero"]).strip().casefold()
    if said not in {"yes", "no"}:
        return "The entry 'reach zero' is 'yes' or 'no'."
    if said == "yes":
        return "The signal's power is zero there. But is the signal all that the camera records?"
    found = as_numbers(answer["floor"])
    if found is None or found.size != 1:
        return "The entry 'floor' is one number."
    value, noise = float(np.real(found.reshape(-1)[0])), film(seed)["noise"]
    if abs(value / noise**2 - 1) <= 0.05:
        return None
    if abs(value / noise - 1) <= 0.05:
        return "That is an amplitude. The spectrum shows powers."
    return "No, they do not. The floor is the power of whatever does not go through the lens: what is it in each coefficient of an orthonormal transform?"


def _transform(image: np.ndarray, *, sign: int) -> np.ndarray:
    """The two-dimensional sum with exp(sign · 2πi …), not normalised."""
    turned = np.asarray(image, dtype=complex)
    for axis in (0, 1):
        n = turned.shape[axis]
        kernel = np.exp(sign * 2j * math.pi * (np.outer(np.arange(n), np.arange(n)) % n) / n)
        turned = np.moveaxis(np.tensordot(kernel, turned, axes=(1, axis)), 0, axis)
    return turned


def _image(phase: np.ndarray, chi: np.ndarray, *, wave: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """|the wave after the lens|²."""
    spectrum = _transform(wave(phase), sign=-1) * np.exp(1j * chi)
    return np.asarray(np.abs(_transform(spectrum, sign=1) / phase.size) ** 2)


def _exact(phase: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(1j * phase))


def _first_order(phase: np.ndarray) -> np.ndarray:
    return 1 + 1j * phase


_BLOB_ERROR = 0.118  # |exact − linear| / |linear − 1| of the unit's blob at 0.4 rad


def _image_problem(function: Callable[[np.ndarray, np.ndarray], Any], source: np.random.Generator) -> str | None:
    for size in ((12, 12), (9, 14)):
        phase = source.normal(size=size) * 0.5
        rows, columns = (np.minimum(np.arange(n), n - np.arange(n)) for n in size)
        chi = 0.08 * (rows[:, None] ** 2 + 1.3 * columns**2)
        found = as_numbers(function(phase, chi))
        if found is None or found.shape != size:
            return f"For a phase of {size[0]} × {size[1]} I expected an array of that size."
        if np.iscomplexobj(found) and np.abs(np.imag(found)).max() > 1e-9:
            return "A camera records an intensity, a real number. Did you take the modulus squared?"
        truth = _image(phase, chi, wave=_exact)
        if np.abs(found - truth).max() < 1e-9:
            continue
        if np.allclose(found, _image(phase, -chi, wave=_exact)):
            return "This is the image at overfocus: the lens multiplies the spectrum by exp(+iχ)."
        if np.allclose(found, np.sqrt(truth)):
            return "This is the modulus. A camera records its square."
        if np.allclose(found, _image(phase, chi, wave=_first_order)):
            return "This begins with the wave 1 + iφ. The exact wave behind the specimen is not linear in φ."
        if np.allclose(found, 1 - 2 * np.real(_transform(_transform(phase, sign=-1) * np.sin(chi), sign=1) / phase.size)):
            return "This is the linear image. The exact one comes from the wave, and it is a modulus squared."
        return f"For a phase of {size[0]} × {size[1]} it differs from |ψ|² by {np.abs(found - truth).max():.1e}."
    return None


def _linear_error(answer: Any, seed: int) -> str | None:
    if not isinstance(answer, Mapping) or not {"image", "slope", "error"} <= set(answer):
        return "I expected a dictionary with the entries 'image' (a function of phase and chi), 'slope' and 'error'."
    problem = _image_problem(answer["image"], np.random.default_rng(draw(seed, "U02.4").randrange(2**31)))
    if problem:
        return problem
    slope, error = as_numbers(answer["slope"]), as_numbers(answer["error"])
    if slope is None or slope.size != 1 or abs(float(slope.real.reshape(-1)[0]) - 2) > 0.1:
        if slope is not None and slope.size == 1 and abs(float(slope.real.reshape(-1)[0]) - 1) < 0.1:
            return "The image is right. That is the slope of the relative error; the question was how the error itself grows."
        return "The image is right. For the slope fit a line to log(error) against log(phase), for phases well below one radian."
    if error is None or error.size != 1 or abs(float(error.real.reshape(-1)[0]) - _BLOB_ERROR) > 0.02:
        if error is not None and error.size == 1 and abs(float(error.real.reshape(-1)[0]) / 100 - _BLOB_ERROR) < 0.02:
            return "Image and slope are right. Give the error as a fraction, not in percent."
        return "Image and slope are right. The relative error is |exact − linear| over |linear − 1|, both as root mean squares, at 0.4 rad."
    return None


_ORDER = ("C", "N", "O")


def _order(answer: Any, seed: int) -> str | None:
    text = ">".join(map(str, answer)) if isinstance(answer, list | tuple) else str(answer)
    found = tuple(part.strip().upper() for part in text.replace(",", ">").replace(" ", ">").split(">") if part.strip())
    if sorted(found) != sorted(_ORDER):
        return "I expected the three symbols C, N and O in an order, such as ('N', 'C', 'O')."
    if found == _ORDER:
        return None
    if found == _ORDER[::-1]:
        return "That is the order of the charges of the nuclei. Forward, the electron passes far from the nucleus: what does it feel there?"
    return "Look at the table once more; forward is k = 0."


EXERCISES = (
    Exercise(
        id="U02.1",
        stream="blur",
        kind="predict",
        task="The contrast (brightest minus darkest, over their sum) of a pure phase grating exactly at focus.",
        check=number_check(
            0.0,
            relative=0.0,
            absolute=1e-6,
            success="Right: a wave that is late is as bright as one that is not.",
            wrong="Not yet.",
        ),
        hints=(
            "The specimen changes the phase of the wave and nothing else. What does a camera record of a phase?",
            "The intensity is |exp(iφ)|². How does it depend on φ?",
            "A number on the unit circle has the modulus one, wherever on the circle it lies. So how do brightest and darkest differ?",
        ),
    ),
    Exercise(
        id="U02.2",
        stream="sharpen",
        kind="symbolic",
        task="Multiply out |1 + i eps exp(i chi)|² for real eps and chi.",
        check=symbolic_check("1 - 2*eps*sin(chi) + eps^2", variables=("eps", "chi"), success="Right, and the sign matters."),
        hints=(
            "|a|² is a times its complex conjugate. The conjugate of i exp(iχ) is -i exp(-iχ).",
            "Of the four products one is 1, one is ε², and the two in the middle are conjugates of each other: twice a real part.",
            "The real part of i exp(iχ) = i cos χ + i·i sin χ is minus a sine.",
        ),
    ),
    Exercise(
        id="U02.3",
        stream="sharpen",
        kind="symbolic",
        task="Complete the six lines from the plane wave to the linear image.",
        check=derivation_check(
            _STEPS,
            variables=("z", "lam", "phi", "D", "k", "eps", "c", "chi"),
            success="Right, every line. You have derived the contrast transfer function of defocus.",
        ),
        hints=(
            "Incoming: one turn of the phase for each wavelength along z. Exit: the first two terms of the series of exp(iφ).",
            "A wave at a slant has less of its wave vector along z: the root of 1/λ² - k². Expand the root for small λk and take off the straight wave's 1/λ.",
            "Underfocus shows a plane upstream, so the sign of D turns. For the intensity multiply out as in U02.2, and leave out the square of the small term.",
        ),
    ),
    Exercise(
        id="U02.4",
        stream="sharpen",
        kind="code",
        task="The exact image of a phase object; how the error of the linear image grows with the phase, and how large it is at 0.4 rad.",
        check=property_check(
            _linear_error, success="Right: the error is quadratic in the phase, and no longer small at 0.4 rad."
        ),
        hints=(
            "Exact: the wave exp(iφ), its spectrum times exp(iχ), back, modulus squared. np.fft.fft2 and ifft2 do, as χ is given in their order.",
            "Linear: 1 - 2 times φ filtered with sin χ. The error is the difference of the two; take its root mean square for several φ.",
            "np.polyfit(log φ, log error, 1) gives the slope. For the relative error divide by the root mean square of the linear image minus 1.",
        ),
    ),
    Exercise(
        id="U02.5",
        stream="blur",
        kind="predict",
        task="Do the minima of measured Thon rings reach zero, and if not, what is the power there?",
        parameters=film,
        check=property_check(_floor, success="Right: the signal vanishes at a zero, the noise does not."),
        hints=(
            "Two things arrive in each coefficient: film times CTF, and noise. Which of them knows the CTF?",
            "At a zero of the CTF only the noise is left. White noise has the same power in every coefficient.",
            "With an orthonormal transform the mean power of a coefficient of white noise is the variance of a pixel.",
        ),
    ),
    Exercise(
        id="U02.6",
        stream="sharpen",
        kind="numeric",
        task="The resolution, in Å, at which the Thon rings of a 1000 Å thick sample vanish for the first time (300 kV).",
        check=number_check(math.sqrt(1000 * electron_wavelength(300)), relative=0.01),
        hints=(
            "Every layer of the sample has its own defocus, and the powers of independent layers add. Average sin² over the thickness.",
            "The average of cos(2χ + 2πλk²z) over z from -t/2 to t/2 is cos 2χ times a sinc. Where is that sinc zero for the first time?",
            "sinc(x) = sin(πx)/(πx) vanishes at x = 1, and x is λ k² t. The resolution is 1/k.",
        ),
    ),
    Exercise(
        id="U02.7",
        stream="blur",
        kind="predict",
        task="Put carbon, nitrogen and oxygen into the order in which they scatter electrons forward, strongest first.",
        check=property_check(_order, success="Right, and it is not the order of their nuclear charges."),
        hints=(
            "Forward scattering is the integral of the whole potential of the atom. Does a compact atom or a wide one have the larger one?",
            "Along a row of the periodic table the nucleus pulls the shell tighter and tighter.",
            "The nucleus is screened better by a tight shell, so the potential reaches less far.",
        ),
    ),
    Exercise(
        id="U02.8",
        stream="sharpen",
        kind="numeric",
        task="The phase, in rad, by which 100 Å of protein with a contrast of 2.5 V against ice advances a 300 kV wave.",
        check=number_check(100 * 2.5 * interaction_constant(300), relative=0.01),
        hints=(
            "The phase is the interaction constant times the projected potential.",
            "A potential of so many volts over so many Å: multiply. The constant at 300 kV is in cryowalk.core.constants.",
            "interaction_constant(300) is in rad per volt and Å; the projected potential is 2.5 V times 100 Å.",
        ),
    ),
)

EXPLANATIONS = (
    Explanation(
        id="U02.words",
        question="A colleague from light microscopy asks why you take your pictures out of focus on purpose. What do you say?",
        rubric=("phase", "defocus", "interfere", "intensity"),
        model_answer=(
            "The specimen is transparent: it changes the phase of the wave, and a camera sees the intensity only. The scattered wave is a quarter turn away from the "
            "unscattered one, so at focus they hardly interfere. Defocus turns it by a further angle that depends on the spacing, and they interfere in the intensity."
        ),
    ),
)
