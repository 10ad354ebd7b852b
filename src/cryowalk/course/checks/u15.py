"""Checks of U15: defocus by hand, averaged periodograms, the fit of a CTF and what hides in it, and the triage of eight micrographs."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cryowalk import Defocus, Optics, fourier
from cryowalk.core.constants import interaction_constant
from cryowalk.course.exercise import Exercise, Explanation, as_numbers, draw, number_check, property_check
from cryowalk.microscope.ice import projected_ice
from cryowalk.microscope.lens import contrast_transfer

OPTICS = Optics(pixel_size=1.5, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.07)
DOSE = 40.0  # e⁻/Å²
THICKNESS = 300.0  # Å
MAJOR, MINOR, ANGLE = 14300.0, 13700.0, 30.0  # Å, Å, degrees
REASONS = ("good", "drift", "ice", "astigmatism", "empty")
ICE_SPACINGS = (3.90, 3.67, 3.44)  # Å, the strongest rings of hexagonal ice


class Scene(NamedTuple):
    """What becomes of a micrograph: defocus and astigmatism (Å), drift during the exposure (Å along x and y), crystals of ice, and whether there is anything."""

    reason: str
    defocus: float
    astigmatism: float = 150.0
    drift: tuple[float, float] = (0.0, 0.0)
    crystals: float = 0.0
    strength: float = 1.0


SCENES = (
    Scene("good", 12000.0),
    Scene("good", 18000.0, astigmatism=250.0),
    Scene("good", 23000.0),
    Scene("drift", 15000.0, drift=(7.5, 2.5)),
    Scene("drift", 20000.0, drift=(-2.5, 8.0)),
    Scene("ice", 16000.0, crystals=1.0),
    Scene("astigmatism", 17000.0, astigmatism=7000.0),
    Scene("empty", 15000.0, strength=0.0),
)


def lens_values(major: float, minor: float, azimuth: float) -> Defocus:
    """The defocus of one image, Å and rad."""
    values = (torch.tensor([value], dtype=torch.float64) for value in (major, minor, azimuth, 0.0))
    u, v, angle, phase_shift = values
    return Defocus(major=u, minor=v, azimuth=angle, phase_shift=phase_shift)


def micrograph(side: int = 1024, *, seed: int = 15, scene: Scene | None = None, dose: float = DOSE) -> Tensor:
    """Counts of a micrograph of ice, through the lens and with shot noise: that of the first exercises, or a scene of the triage."""
    generator = torch.Generator().manual_seed(seed)
    lens = lens_values(MAJOR, MINOR, math.radians(ANGLE))
    phase = interaction_constant(300) * projected_ice(
        (side, side), pixel_size=OPTICS.pixel_size, thickness=THICKNESS, generator=generator
    ).to(torch.float64)
    spectrum = fourier.to_fourier(phase)
    if scene is not None:
        half = scene.astigmatism / 2
        lens = lens_values(scene.defocus + half, scene.defocus - half, math.radians(40.0 + seed))
        spectrum = scene.strength * spectrum * _of_drift(side, scene.drift) + _of_crystals(side, scene.crystals, seed)
    contrast = fourier.to_real(spectrum * contrast_transfer(OPTICS, lens, size=(side, side))[0], width=side)
    expected = dose * OPTICS.pixel_size**2 * (1 - 2 * contrast).clamp_min(0)
    return torch.poisson(expected.float(), generator=generator)


def _plane(side: int) -> tuple[Tensor, Tensor]:
    """(ky, kx) of a half spectrum, 1/Å."""
    rows = (torch.arange(side) + side // 2) % side - side // 2
    step = 1 / (side * OPTICS.pixel_size)
    return rows[:, None].double() * step, torch.arange(side // 2 + 1)[None].double() * step


def _of_drift(side: int, drift: tuple[float, float]) -> Tensor:
    """What an even drift during the exposure leaves of each frequency."""
    ky, kx = _plane(side)
    return torch.sinc(kx * drift[0] + ky * drift[1])


def _of_crystals(side: int, strength: float, seed: int) -> Tensor:
    """Spots of a few crystals of hexagonal ice, as they lie in a half spectrum."""
    ky, kx = _plane(side)
    spots = torch.zeros(side, side // 2 + 1, dtype=torch.complex128)
    turn = 0.3 * seed
    for number, spacing in enumerate(ICE_SPACINGS * 2):
        for sixth in range(6):
            angle = turn + 0.4 * number + sixth * math.pi / 3
            distance = (kx - math.cos(angle) / spacing) ** 2 + (ky - math.sin(angle) / spacing) ** 2
            spots += 6.0 * strength * torch.exp(-distance / (2 * 0.0012**2)) * math.e ** (1j * angle * 5)
    return spots


def order(seed: int) -> Mapping[str, Any]:
    """The order in which the learner meets the eight scenes."""
    places = list(range(len(SCENES)))
    draw(seed, "U15.5").shuffle(places)
    return {"order": places}


def board(places: list[int]) -> list[Tensor]:
    """The eight micrographs in the learner's order."""
    return [micrograph(512, seed=place + 40, scene=SCENES[place]) for place in places]


def _averages(answer: Callable[[Tensor, int, int], Any], seed: int) -> str | None:
    if not callable(answer):
        return "I expected your function averaged_periodogram(image, size, count)."
    generator = torch.Generator().manual_seed(draw(seed, "U15.2").randrange(2**31))
    image = 3.0 * torch.randn(512, 512, generator=generator, dtype=torch.float64) + 50.0
    counts = (1, 4, 16, 64)
    variances = []
    for count in counts:
        found = as_numbers(answer(image, 64, count))
        if found is None or found.shape != (64, 33):
            return "For tiles of 64 pixels I expected a half spectrum of 64 × 33 values."
        if np.iscomplexobj(found) and np.abs(found.imag).max() > 0:
            return "A power spectrum is real: squared amplitudes, not the amplitudes' values themselves."
        inner = found.real[2:-2, 2:-2]  # without the axis
        if not 0.7 < inner.mean() / 9.0 < 1.4:
            return f"White noise of variance 9 should have a flat spectrum of 9; yours is {inner.mean():.3g} on average. Sum or mean? Amplitude or power?"
        variances.append(float(inner.var()))
    slope = float(np.polyfit(np.log(counts), np.log(variances), 1)[0])
    if abs(slope + 1) <= 0.15:
        return None
    if abs(slope) < 0.3:
        return "More tiles do not make it smoother: are they all the same tile?"
    return f"The variance falls as the number of tiles to the power {slope:.2f}. Which power is that of independent tiles?"


def _fit(answer: Any, seed: int) -> str | None:
    numbers = as_numbers(answer)
    if numbers is None or numbers.size != 3:
        return "I expected three numbers: U and V in Å, and the angle of U in degrees."
    major, minor, angle = (float(value) for value in numbers.real.reshape(-1))
    if abs(major - MINOR) <= 50 and abs(minor - MAJOR) <= 50:
        return "U is the larger of the two. Exchange them; the angle then turns by 90°."
    if max(abs(major - MAJOR), abs(minor - MINOR)) > 50:
        return f"Not within 50 Å: the mean of your U and V is off by {(major + minor - MAJOR - MINOR) / 2:+.0f} Å, the difference by {major - minor - MAJOR + MINOR:+.0f} Å."
    away = (angle - ANGLE + 90) % 180 - 90
    if abs(away) <= 3:
        return None
    if abs(abs(away) - 90) <= 3:
        return "The angle is that of V. Both axes stand at right angles."
    if abs(angle - math.radians(ANGLE)) < 0.05:
        return "The angle should be in degrees."
    if abs((angle + ANGLE + 90) % 180 - 90) <= 3:
        return "The angle turns the wrong way: from +x towards +y, and rows of the spectrum count y."
    return "U and V are right, the angle is not."


def _bias(answer: Any, seed: int) -> str | None:
    numbers = as_numbers(answer)
    if numbers is None or numbers.size != 1:
        return "I expected one number: the change of the mean defocus, Å."
    value = float(numbers.real.reshape(-1)[0])
    if -60 <= value <= -5:
        return None
    if 5 <= value <= 60:
        return (
            "The size is possible, the sign is not: new minus old. If arcsin Q grows, what must χ do to keep the rings in place?"
        )
    if abs(value) < 5:
        return "That is no change. Did the second fit really use 0.10?"
    return "That is too much. The rings must still fit: from the answer to U07.8, what can it be at most?"


def _triage(answer: Any, seed: int) -> str | None:
    if not isinstance(answer, Mapping) or set(answer) != set(range(1, len(SCENES) + 1)):
        return "I expected a dictionary with the keys 1 to 8."
    unknown = sorted({str(value) for value in answer.values()} - set(REASONS))
    if unknown:
        return f"“{unknown[0]}” is not among the verdicts: {', '.join(REASONS)}."
    truth = [SCENES[place].reason for place in order(seed)["order"]]
    wrong = [number for number, reason in enumerate(truth, start=1) if answer[number] != reason]
    if len(wrong) <= 1:
        return None
    kept = sum(answer[number] == "good" for number in wrong)
    more = f" {kept} of them you kept, though they should go." if kept else ""
    return f"{len(SCENES) - len(wrong)} of 8 are right; I ask for 7.{more} Look at the shape of the rings, where they end, and what else is there."


EXERCISES = (
    Exercise(
        id="U15.1",
        stream="blur",
        kind="numeric",
        task="The mean defocus of the micrograph, in micrometres, by laying rings on its power spectrum.",
        check=number_check((MAJOR + MINOR) / 2 / 1e4, relative=0.05),
        hints=(
            "Begin with the first dark ring alone. Several defocus values place some ring on it; only one places all of them.",
            "Too small a defocus: the drawn rings lie too far out, more and more. Too large: too far in.",
            "In the profile, the dotted lines have to stand in the valleys, the tenth as well as the first. It lies between 1.2 and 1.6 micrometres.",
        ),
    ),
    Exercise(
        id="U15.2",
        stream="sharpen",
        kind="code",
        task="A function that averages the periodograms of the first tiles of an image.",
        check=property_check(
            _averages, success="Right: its mean is the variance of the noise, and its own variance falls as 1/M."
        ),
        hints=(
            "Cut the image into squares that do not overlap. What is the mean value of a tile good for?",
            "Take the mean off each tile, transform it (fourier.to_fourier, which is orthonormal), and square the amplitudes.",
            "Average the squares over the tiles, not the transforms: their phases have nothing to do with each other.",
        ),
    ),
    Exercise(
        id="U15.3",
        stream="sharpen",
        kind="code",
        task="U and V in Å, and the angle of U in degrees, fitted to the power spectrum.",
        check=property_check(_fit, success="Right: within 50 Å and 3°."),
        hints=(
            "The local defocus is mean + half · cos(2(θ − α)). Fit mean, half · cos 2α and half · sin 2α, which have no jumps.",
            "Maximise the correlation of the flattened spectrum with −cos 2(χ + arcsin Q). Start at your defocus of U15.1.",
            "From the fit: U = mean + half, V = mean − half, and the angle is half of atan2(sine part, cosine part).",
        ),
    ),
    Exercise(
        id="U15.4",
        stream="sharpen",
        kind="code",
        task="The change of the fitted mean defocus, in Å, if Q is taken to be 0.10 instead of 0.07 (new minus old).",
        check=property_check(
            _bias, success="Right: a wrong amplitude contrast hides in the defocus, and the rings fit as well as before."
        ),
        hints=(
            "Call the same fit twice, with two values of Q.",
            "A larger arcsin Q moves all rings inwards; a smaller defocus moves them back.",
            "The mean of the two axes counts. Start the second fit where the first ended.",
        ),
    ),
    Exercise(
        id="U15.5",
        stream="blur",
        kind="quiz",
        task="Eight micrographs: good, drift, ice, astigmatism or empty?",
        parameters=order,
        check=property_check(_triage, success="Right: at least seven of eight, and each for a reason."),
        hints=(
            "First: are there rings at all? Then: are they round? Then: do they end at the same radius in all directions?",
            "Drift wipes out rings along one direction only. Astigmatism makes them ellipses, or crosses.",
            "Crystalline ice has sharp spots outside, near 3.7 Å, whatever the rings do.",
        ),
    ),
)

EXPLANATIONS = (
    Explanation(
        id="U15.words",
        question="A program reports a defocus of 1.6 micrometres and a fit to 3.4 Å for one micrograph, and of 1.6 micrometres and a fit to 9 Å for another. What can be wrong with the second, and would you keep it?",
        rubric=("drift", "thick", "rings", "particles", "noise"),
        model_answer=(
            "Its rings fade early: drift or charging, thick ice, or few electrons. The fit resolution tells how far rings rise above the noise, not how far the particles' signal goes, "
            "so it is a reason to look, not a verdict. If the rings end in one direction only, it is drift, and motion correction should be looked at first. I would keep it out of the "
            "first reconstruction and see later whether its particles add anything."
        ),
    ),
)
