"""Checks of U01: beam electrons, their coherence, and what happens to them in ice."""

from collections.abc import Iterable, Mapping
from math import exp, pi, sqrt
from typing import Any

import numpy as np

from cryowalk.core.constants import ELECTRON_MASS, ELEMENTARY_CHARGE, METRE, PLANCK, electron_wavelength
from cryowalk.course.exercise import (
    Exercise,
    Explanation,
    Verdict,
    as_numbers,
    draw,
    is_missing,
    matching_check,
    number_check,
    property_check,
)
from cryowalk.microscope.absorption import mean_free_path
from cryowalk.microscope.delivery import particles_in_ice
from cryowalk.microscope.gun import electron_spacing, electrons_in_column, largest_recoil_energy, scattering_angle

SPHERICAL_ABERRATION = 2.7e7  # Å
COLUMN = ("gun", "accelerator", "condenser", "specimen", "objective lens", "objective aperture", "projector", "camera")
_CLASSICAL = PLANCK / sqrt(2 * ELECTRON_MASS * 3e5 * ELEMENTARY_CHARGE) * METRE
_TOO_LONG = 100 * (_CLASSICAL / electron_wavelength(300) - 1)
_COLUMN = 2.0 * METRE  # Å
_PASSES = exp(-500 / mean_free_path(300))


def spatial_envelope(spacing: float, underfocus: float, convergence: float) -> float:
    """The factor on amplitudes of detail of this spacing (Å) at 300 kV and Cs 2.7 mm, for an underfocus in Å and a half-angle in rad."""
    wavelength = electron_wavelength(300)
    moved = wavelength * underfocus / spacing - SPHERICAL_ABERRATION * (wavelength / spacing) ** 3
    return exp(-((pi * convergence * moved / wavelength) ** 2))


def slab(seed: int) -> Mapping[str, Any]:
    """The learner's own measurement: how many of 20000 electrons passed without loss of energy through slabs of several thicknesses (Å)."""
    source = draw(seed, "U01.5")
    path = source.uniform(1800, 4200)
    random = np.random.default_rng(source.randrange(2**31))
    thickness = np.arange(0.0, 1600.0, 100.0)
    passed = random.binomial(20_000, np.exp(-thickness / path))
    return {"thickness": thickness, "passed": passed, "electrons": 20_000}


def true_path(seed: int) -> float:
    """The mean free path behind the learner's measurement, Å."""
    return draw(seed, "U01.5").uniform(1800, 4200)


def _angle(answer: Any, seed: int) -> Verdict:
    if is_missing(answer) or not isinstance(answer, Mapping) or not {"angle", "fates"} <= set(answer):
        return Verdict(
            passed=False, message="I expected a dictionary with the entries 'angle' (mrad) and 'fates' (a set of names)."
        )
    number = number_check(1e3 * scattering_angle(3.0, voltage_kv=300), relative=0.01)(answer["angle"], seed)
    if not number.passed:
        return Verdict(passed=False, message=f"angle: {number.message} It is asked for in mrad.")
    named = answer["fates"]
    names = {named} if isinstance(named, str) else set(named) if isinstance(named, Iterable) else set()
    names = {str(name).strip().casefold() for name in names}
    if names == {"elastic", "inelastic"}:
        return Verdict(passed=True, message="Right: the angle does not tell what happened.")
    if "unscattered" in names:
        return Verdict(passed=False, message="The angle is right. But an electron that was not scattered has no angle.")
    return Verdict(
        passed=False,
        message="The angle is right. Look at the histogram again: which kinds of electrons are found there, if only a few?",
    )


def _fit(answer: Any, seed: int) -> str | None:
    if not isinstance(answer, Mapping) or not {"fit", "path", "passes"} <= set(answer):
        return "I expected a dictionary with the entries 'fit' (a function), 'path' (Å) and 'passes' (a fraction)."
    source = np.random.default_rng(draw(seed, "U01.5 fit").randrange(2**31))
    for path in (2165.0, 3950.0):
        thickness = np.arange(50.0, 1500.0, 75.0)
        for passed in (np.exp(-thickness / path), source.binomial(20_000, np.exp(-thickness / path)) / 20_000):
            found = as_numbers(answer["fit"](thickness, passed))
            if found is None or found.size != 1:
                return "I expected your function to return one number, in Å."
            value = float(found.real.reshape(-1)[0])
            if abs(value / path - 1) > 0.03:
                if abs(value * path - 1) < 0.03 or abs(value + path) < 0.03 * path:
                    return "Your function returns the slope of the logarithm, or a negative length. Which length is the mean free path?"
                return f"For slabs with a mean free path of {path:.0f} Å your function finds {value:.0f} Å."
    own = as_numbers(answer["path"])
    if own is None or own.size != 1 or abs(float(own.real.reshape(-1)[0]) / true_path(seed) - 1) > 0.03:
        return "The function is right. Its value for your own slabs is not the one I expect: divide the electrons that passed by all of them."
    passes = as_numbers(answer["passes"])
    if passes is None or passes.size != 1 or abs(float(passes.real.reshape(-1)[0]) - _PASSES) > 0.004:
        return "The fit is right. What passes 500 Å of ice at 300 kV follows from Beer and Lambert's law with 3950 Å."
    return None


def _envelope(answer: Any, seed: int) -> str | None:
    source = draw(seed, "U01.6")
    cases = [(3.0, 2e4, 5e-5)] + [
        (source.uniform(2.5, 6), source.uniform(5e3, 3e4), source.uniform(2e-5, 8e-5)) for _ in range(4)
    ]
    for spacing, underfocus, convergence in cases:
        found = as_numbers(answer(spacing, underfocus, convergence))
        if found is None or found.size != 1:
            return "I expected your function to return one number."
        value, wanted = float(found.real.reshape(-1)[0]), spatial_envelope(spacing, underfocus, convergence)
        if abs(value / wanted - 1) <= 0.01:
            continue
        where = f"at {spacing:.2f} Å, {underfocus * 1e-4:.2f} micrometres and {convergence * 1e3:.3f} mrad"
        without = exp(-((pi * convergence * underfocus / spacing) ** 2))
        if abs(value / without - 1) < 0.01:
            return f"{where} it is right for a lens without spherical aberration. R has a second term."
        if value > 0 and abs(value**2 / wanted - 1) < 0.01:
            return (
                f"{where} the exponent is half of what this course's convention has: the source is exp(−θ²/α²), not exp(−θ²/2α²)."
            )
        return f"{where} your function gives {value:.4g}."
    return None


def column_board(answer: Any) -> Verdict:
    """How many parts of the column stand beside the parameter that they own; not graded."""
    return matching_check(dict(zip(COLUMN, "BACDEFGH", strict=True)), success="Right, 8 of 8.")(answer, 0)


EXERCISES = (
    Exercise(
        id="U01.1",
        stream="blur",
        kind="numeric",
        task="The wavelength of an electron at 300 kV, in Å.",
        check=number_check(
            electron_wavelength(300), relative=0.0, absolute=1e-5, success="Right: a hundredth of the distance between atoms."
        ),
        hints=(
            "The column explorer shows the formula where the accelerator is chosen.",
            "λ = h / √(2 m e V (1 + eV/2mc²)). In SI units it comes out in metres; 1 m is 1e10 Å.",
            "mc² of an electron is 511 keV, so the bracket is 1 + 300/1022.",
        ),
    ),
    Exercise(
        id="U01.2",
        stream="blur",
        kind="predict",
        task="By how many percent is the wavelength at 300 kV too long, if one forgets relativity?",
        check=number_check(_TOO_LONG, relative=0.0, absolute=0.3, success="Right: far too much to be forgotten."),
        hints=(
            "Without relativity the bracket of the formula is 1.",
            "So the ratio of the two wavelengths is the root of the bracket.",
            "√(1 + 300/1022), minus one, in percent.",
        ),
    ),
    Exercise(
        id="U01.3",
        stream="blur",
        kind="numeric",
        task="The mean distance between beam electrons at 300 kV and 1 nA, in mm, and how many of them are in a column of 2 m. Two numbers.",
        check=number_check(
            (electron_spacing(300, current=1e-9) / METRE * 1e3, electrons_in_column(300, current=1e-9, length=_COLUMN)),
            relative=0.02,
            success="Right. They do not even know of each other.",
        ),
        hints=(
            "How many electrons come by in a second, if the current is 1 nA? And how far does one of them fly in a second?",
            "1 nA is 6.24e9 electrons per second; the speed at 300 kV is 0.7765 of that of light.",
            "distance = v e / I. The column holds 2000 mm over that distance.",
        ),
    ),
    Exercise(
        id="U01.4",
        stream="blur",
        kind="numeric",
        task="The angle to which 300 kV electrons are scattered by detail of 3 Å, in mrad, and which electrons can be found at that angle.",
        check=_angle,
        hints=(
            "For small angles a grating of spacing d scatters a wave of length λ by λ/d.",
            "0.0197 Å over 3 Å is the angle in rad. For the second part, put the histogram on a logarithmic scale.",
            "Inelastic collisions mostly turn an electron by less than a milliradian, but their law has a long tail, and many of these electrons were scattered elastically too.",
        ),
    ),
    Exercise(
        id="U01.5",
        stream="sharpen",
        kind="code",
        task="A function that finds the mean free path (Å) from thicknesses and the fractions that pass; its value for your own slabs; and what passes 500 Å of ice at 300 kV.",
        parameters=slab,
        check=property_check(_fit, success="Right: Beer and Lambert, from electrons that know nothing of them."),
        hints=(
            "Plot the logarithm of the fraction against the thickness. What is the slope?",
            "A straight line through the origin: −ln p = t/Λ. Least squares: Λ = Σ t² / Σ t (−ln p).",
            "Thicker slabs pass fewer electrons and are noisier: weigh each point with its fraction p. And exp(−500/3950).",
        ),
    ),
    Exercise(
        id="U01.6",
        stream="sharpen",
        kind="code",
        task="A function of spacing (Å), underfocus (Å) and half-angle (rad) that returns the spatial-coherence envelope at 300 kV and Cs 2.7 mm.",
        check=property_check(
            _envelope,
            success="Right: a source of finite size blurs by its angle times the distance that the lens throws the detail.",
        ),
        hints=(
            "R = λ Δf k − Cs λ³ k³ is how far the lens moves detail of frequency k = 1/spacing. The envelope is exp(−(π α R/λ)²).",
            "Everything in Å: Cs is 2.7e7 Å, λ is 0.019687 Å.",
            "At 3 Å, 20000 Å underfocus and 5e-5 rad R is 123.6 Å.",
        ),
    ),
    Exercise(
        id="U01.7",
        stream="sharpen",
        kind="numeric",
        task="The largest energy that a 300 keV electron can pass to a carbon nucleus and to a hydrogen nucleus, in eV. Two numbers.",
        check=number_check(
            (largest_recoil_energy(12.011, voltage_kv=300), largest_recoil_energy(1.008, voltage_kv=300)),
            relative=0.01,
            success="Right: bonds hold with some 4 eV.",
        ),
        hints=(
            "A head-on collision turns the electron's momentum round: the nucleus gets twice it.",
            "(2p)²/2M, with the relativistic p: p²c² = E (E + 2mc²).",
            "2 E (E + 2mc²)/(M c²), with E = 300 keV, mc² = 511 keV, and 931.494 MeV for each atomic mass unit of M.",
        ),
    ),
    Exercise(
        id="U01.8",
        stream="blur",
        kind="numeric",
        task="How many particles of 450 kDa lie in an image of 4096 × 4096 pixels of 1 Å, in 300 Å of ice, at 1 mg/mL?",
        check=number_check(
            particles_in_ice(1.0, mass=450e3, thickness=300.0, area=4096.0**2),
            relative=0.03,
            success="Right. Fewer than most people think.",
        ),
        hints=(
            "How large is the volume of the image's ice, and how much protein is in it?",
            "1 mg/mL is 1e-27 g per Å³. One particle weighs 450000/6.022e23 g.",
            "c N_A A t / M, with A = 4096² Å² and t = 300 Å.",
        ),
    ),
)

EXPLANATIONS = (
    Explanation(
        id="U01.words",
        question="Somebody says: at high dose rate the beam electrons disturb each other, and that is why pictures are noisy. What do you answer?",
        rubric=("far apart", "one at a time", "shot noise", "counting"),
        model_answer=(
            "Beam electrons are far apart, centimetres at the currents of a microscope, so they pass the specimen one at a time. The noise is shot noise: the counting of "
            "independent electrons, the root of their number, whatever the rate. A high dose rate hurts a counting camera, which is another matter."
        ),
    ),
)
