"""Checks of U12: counts, drift within a frame, noise before and after the lens, frames of a movie, the path through a tilted slab, tilt order."""

from collections.abc import Callable, Mapping, Sequence
from math import pi, sin
from typing import Any

import torch
from torch import Tensor

from cryowalk import fourier
from cryowalk.core.constants import interaction_constant
from cryowalk.course.exercise import Exercise, Explanation, as_numbers, draw, number_check, property_check
from cryowalk.data.optics import Defocus, Optics
from cryowalk.microscope import lens

SIDE = 256  # pixels of the fields in U12.3
BEAM = Optics(pixel_size=2.0, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.07)
STRENGTH = 2 * interaction_constant(BEAM.voltage_kv)  # relative loss of intensity for 1 V Å


def transfer_at(underfocus: float, *, side: int = SIDE) -> Tensor:
    """The contrast transfer function (protein bright) at an underfocus in Å, on the half spectrum of a field of `side` pixels."""
    value, zero = torch.tensor([underfocus], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    defocus = Defocus(major=value, minor=value, azimuth=zero, phase_shift=zero)
    return lens.contrast_transfer(BEAM, defocus, size=(side, side))[0]


def grain(source: torch.Generator, *, deviation: float = 40.0) -> Tensor:
    """A structureless field of projected potential, V Å, with as much power at every frequency: the plainest ice."""
    return deviation * torch.randn(SIDE, SIDE, generator=source, dtype=torch.float64)


def power(image: Tensor, transfer: Tensor) -> tuple[float, float]:
    """Mean power of an image where the squared transfer is below 0.02 and where it is above 0.9, without the lowest frequencies."""
    spectrum = fourier.to_fourier(image - image.mean()).abs() ** 2
    far = fourier.frequency_radius((SIDE, SIDE), pixel_size=1.0) > 4 / SIDE
    squared = transfer**2
    return float(spectrum[far & (squared < 0.02)].mean()), float(spectrum[far & (squared > 0.9)].mean())


def settings_of(seed: int) -> Mapping[str, float]:
    """The learner's own exposure for U12.3: underfocus in Å and electrons per pixel."""
    source = draw(seed, "U12.3")
    return {"underfocus": source.choice((9e3, 1.2e4, 1.5e4)), "electrons": source.choice((80.0, 120.0, 160.0))}


def _two_noises(answer: Any, seed: int) -> str | None:
    if not isinstance(answer, Sequence) or len(answer) != 2 or not all(callable(part) for part in answer):
        return "I expected a pair of functions: (expose, origin)."
    expose, origin = answer
    own, source = settings_of(seed), torch.Generator().manual_seed(draw(seed, "U12.3 ice").randrange(2**31))
    for underfocus, electrons in ((1e4, 100.0), (own["underfocus"], own["electrons"])):
        field, transfer = grain(source), transfer_at(underfocus)
        made = expose(field.clone(), transfer, electrons, source)
        if not isinstance(made, Sequence) or len(made) != 2:
            return "expose should return a pair: (expected, counts)."
        pair = [torch.as_tensor(part, dtype=torch.float64) for part in made]
        if any(tuple(part.shape) != (SIDE, SIDE) for part in pair):
            return f"Both parts of the pair should be images of {SIDE} × {SIDE} pixels."
        problem = _expected_problem(pair[0], field, transfer, electrons) or _counts_problem(pair[0], pair[1], transfer, electrons)
        if problem is not None:
            return problem
    return _origin_problem(origin, source, seed)


def _expected_problem(expected: Tensor, field: Tensor, transfer: Tensor, electrons: float) -> str | None:
    """What is wrong with the expected electrons, or None."""
    if abs(float(expected.mean()) / electrons - 1) > 0.01:
        return f"Your expected image has a mean of {float(expected.mean()):.4g} electrons per pixel instead of the {electrons:g} of the beam."
    signal = expected - electrons
    at_zeros, between = power(signal, transfer)
    if between == 0:
        return "Your expected image is flat: the ice should show in it."
    if at_zeros * 5 > between:
        return (
            f"In your expected image the ice's power between the zeros of the CTF is {between / at_zeros:.1f} times that at the zeros. "
            "It should be far more than 5 times: the lens lets nothing through at a zero."
        )
    truth = -electrons * STRENGTH * fourier.to_real(fourier.to_fourier(field) * transfer, width=SIDE)
    slope = float((signal * truth).mean() / (truth * truth).mean())
    if slope < 0:
        return "The dips are there, but the sign is not right: more potential takes more electrons away (the CTF given is protein bright)."
    if abs(slope - 1) > 0.01:
        return f"The dips are there, but the contrast is {slope:.3g} times what 1 − 2σₑ · image gives."
    if float((signal - truth).square().mean() / truth.square().mean()) > 1e-3:
        return "The expected image holds something besides the ice as the lens shows it. Is a noise added before the electrons are counted?"
    return None


def _counts_problem(expected: Tensor, counts: Tensor, transfer: Tensor, electrons: float) -> str | None:
    """What is wrong with the counted electrons, or None."""
    if not torch.equal(counts, counts.round()) or bool((counts < 0).any()):
        return "A pixel counts whole electrons, none below zero."
    shot = counts - expected
    level = float(shot.square().mean()) / electrons
    if abs(level - 1) > 0.05:
        return f"The variance of counts about expected is {level:.3g} times the mean count; that of Poisson counts is as large as the mean."
    at_zeros, between = power(shot, transfer)
    if abs(at_zeros / between - 1) > 0.05:
        return "Shot noise should be as strong at the zeros of the CTF as between them: it has never seen the lens."
    return None


def _origin_problem(origin: Callable[[Tensor, Tensor], Any], source: torch.Generator, seed: int) -> str | None:
    """What the learner's detective gets wrong, or None."""
    dice = draw(seed, "U12.3 origin")
    for _ in range(12):
        transfer = transfer_at(dice.uniform(8e3, 2e4))
        strength = 10 ** dice.uniform(-1, 2)
        kind = dice.choice(("specimen", "counting"))
        noise = grain(source, deviation=1.0)
        if kind == "specimen":
            noise = fourier.to_real(fourier.to_fourier(noise) * transfer, width=SIDE)
        else:
            noise = torch.poisson(torch.full_like(noise, 50.0), generator=source) - 50.0
        found = origin(strength * noise, transfer)
        if found not in ("specimen", "counting"):
            return "expose is right. origin should return the text 'specimen' or 'counting'."
        if found != kind:
            return "expose is right. origin takes one for the other: compare an image's power at the zeros of the CTF with that between, whatever its scale."
    return None


def _frames(answer: Callable[[Tensor, int, torch.Generator], Any], seed: int) -> str | None:
    source = torch.Generator().manual_seed(draw(seed, "U12.4").randrange(2**31))
    ramp = torch.linspace(0.5, 1.5, 384, dtype=torch.float64)
    for electrons, frames in ((57.6, 24), (draw(seed, "U12.4 dose").uniform(8.0, 30.0), 12)):
        expected = electrons * ramp[:, None] * torch.ones(384, dtype=torch.float64)
        made = torch.as_tensor(answer(expected.clone(), frames, source), dtype=torch.float64)
        if tuple(made.shape) != (frames, 384, 384):
            return f"I expected {frames} frames of 384 × 384 pixels and found an array of shape {tuple(made.shape)}."
        problem = _frames_problem(made, expected, frames)
        if problem is not None:
            return problem
    return None


def _frames_problem(made: Tensor, expected: Tensor, frames: int) -> str | None:
    if not torch.equal(made, made.round()) or bool((made < 0).any()):
        return "A frame counts whole electrons, none below zero. Half an electron cannot be shared among frames."
    total = made.sum(dim=0)
    ratio = float((total / expected).mean())
    if abs(ratio - 1) > 0.01:
        return f"The sum of your frames has {ratio:.3g} times the electrons that the exposure brings."
    shares = made.mean(dim=(1, 2)) / expected.mean() * frames
    if float((shares - 1).abs().max()) > 0.02:
        return "The frames should share the dose evenly, on average."
    spread = float(((total - expected) ** 2 / expected).mean())
    if abs(spread - 1) > 0.02:
        return f"The sum of your frames has a variance of {spread:.3g} times its mean. One exposure of the same dose has exactly its mean."
    mean = expected / frames
    for number in (0, frames // 2, frames - 1):
        spread = float(((made[number] - mean) ** 2 / mean).mean())
        if abs(spread - 1) > 0.03:
            return f"The sum is right, but in frame {number} the variance is {spread:.3g} times the mean: each frame is a Poisson count, too."
    left, right = (made[number] - mean for number in (0, 1))
    if abs(float((left * right).mean() / mean.mean())) > 0.03:
        return "Neighbouring frames know of each other. What arrives in one frame says nothing about the next."
    return None


def _order(answer: Callable[[int, int, float], Any], seed: int) -> str | None:
    source = draw(seed, "U12.6")
    own = (source.choice((45, 54, 66)), 3, source.choice((2.5, 3.5, 4.0)))
    for largest, step, dose in ((60, 3, 3.0), own, (50, 4, 2.0), (0, 3, 3.0)):
        made = answer(largest, step, dose)
        if not isinstance(made, Sequence | tuple) or len(made) != 2:
            return "I expected a pair: (angles, doses)."
        angles, doses = (as_numbers(part) for part in made)
        if angles is None or doses is None:
            return "Both parts of the pair should be lists of numbers."
        problem = _order_problem(angles.reshape(-1).tolist(), doses.reshape(-1).tolist(), largest=largest, step=step, dose=dose)
        if problem is not None:
            return problem
    return None


def dose_symmetric(largest: int, step: int) -> list[int]:
    """The multiples of the step up to ± the largest tilt as they are taken: 0, the step, minus the step, twice the step, and so on."""
    return [0, *(sign * step * number for number in range(1, largest // step + 1) for sign in (1, -1))]


def _order_problem(angles: list[float], doses: list[float], *, largest: int, step: int, dose: float) -> str | None:
    right = dose_symmetric(largest, step)
    case = f"For tilts up to ±{largest}° in steps of {step}°"
    if len(angles) != len(right):
        return f"{case} you have {len(angles)} tilts. Every multiple of the step between both ends occurs once."
    if sorted(angles) != sorted(right):
        return f"{case} the set of angles is not right: the multiples of the step, on both sides, no end beyond the largest."
    if angles != right:
        if angles == [-angle for angle in right]:
            return f"{case} the order is right but for the sides: the positive tilt comes first."
        first = next(number for number, (mine, other) in enumerate(zip(angles, right, strict=True)) if mine != other)
        return f"{case} the order goes wrong at the tilt taken as number {first + 1}. The tilts move outwards, from side to side."
    if len(doses) != len(angles):
        return "There should be one dose for each tilt."
    if abs(doses[-1] - len(right) * dose) > 1e-6 * dose:
        if abs(doses[-1] - (len(right) - 1) * dose) < 1e-6 * dose:
            return "The last tilt lacks one dose: its own. I asked for the dose at the *end* of each tilt."
        return f"{case} the last tilt does not have the full dose of the series."
    if any(abs(given - (number + 1) * dose) > 1e-6 * dose for number, given in enumerate(doses)):
        return "The last dose is right. The dose should grow by that of one tilt each time, in the order of acquisition."
    return None


EXERCISES = (
    Exercise(
        id="U12.1",
        stream="blur",
        kind="numeric",
        task="How many electrons does a pixel of 1.2 Å count on average at a dose of 40 e⁻/Å²?",
        check=number_check(40 * 1.2**2, absolute=0.1, relative=0.0),
        hints=(
            "The dose counts electrons per square Å. What is the area of the pixel?",
            "It is not a length but an area that collects electrons.",
            "Multiply the dose by the square of the pixel size.",
        ),
    ),
    Exercise(
        id="U12.2",
        stream="blur",
        kind="numeric",
        task="The specimen drifts evenly by 1 Å during a frame. Which part of the amplitude is left at 3 Å, along the drift?",
        check=number_check(sin(pi / 3) / (pi / 3), relative=0.01),
        hints=(
            "Average a wave cos(2π(x − s)/3) over all displacements s between −½ and +½ Å.",
            "The average of a cosine over a stretch is a sine over its argument.",
            "sin(πkd)/(πkd), with k = 1/3 and d = 1. In numpy, np.sinc has the π inside.",
        ),
    ),
    Exercise(
        id="U12.3",
        stream="sharpen",
        kind="code",
        task="Ice before the lens, counting after it; and a function that tells from the spectrum where a noise comes from.",
        parameters=settings_of,
        check=property_check(
            _two_noises, success="Right: ice has the zeros of the CTF, counting has none, and your detective sees it."
        ),
        hints=(
            "The order is that of the electrons' way: potential, lens, intensity, camera. Which of the steps multiplies a spectrum, and which draws random numbers?",
            "expected = electrons · (1 − STRENGTH · image), where image is the ice with its spectrum times the transfer; counts = torch.poisson(expected, generator=generator).",
            "For origin: the mean of |spectrum|² where transfer² is small, over that where it is large. Near one for counting, near nothing for the specimen.",
        ),
    ),
    Exercise(
        id="U12.4",
        stream="sharpen",
        kind="code",
        task="Share an exposure among the frames of a movie, so that frames and sum count as they should.",
        check=property_check(_frames, success="Right: frames are independent Poisson counts, and so is their sum."),
        hints=(
            "What does a single frame expect in each pixel, and what does it do about it?",
            "The sum of independent Poisson numbers is a Poisson number, of the sum of their means.",
            "Draw every frame for itself: torch.poisson of expected / frames, frames times with fresh random numbers; torch.stack.",
        ),
    ),
    Exercise(
        id="U12.5",
        stream="blur",
        kind="numeric",
        task="How many times as thick is a slab of ice along the beam at a tilt of 60°?",
        check=number_check(2.0, relative=0.01),
        hints=(
            "Draw a slab, and a beam that crosses it at an angle: a triangle with a right angle.",
            "The thickness is the side next to the tilt angle, the path of the beam is the longest side.",
            "The thickness over the path is the cosine of the tilt angle.",
        ),
    ),
    Exercise(
        id="U12.6",
        stream="sharpen",
        kind="code",
        task="The order of a dose-symmetric tilt series, and the dose that the specimen has met at the end of each tilt.",
        check=property_check(
            _order, success="Right for four series: 0 first, then outwards from side to side, the full dose at the end."
        ),
        hints=(
            "Begin with [0]. For each multiple of the step append it, and then its negative.",
            "range(1, largest // step + 1) gives the multiples, also where the step does not end at the largest.",
            "After tilt number i (from 0) the specimen has met (i + 1) doses.",
        ),
    ),
)

EXPLANATIONS = (
    Explanation(
        id="U12.words",
        question="A picker finds 99 % of the particles in your simulated micrographs and 60 % in real ones. What would you change in the simulation, and why?",
        rubric=("ice", "carbon", "contamination", "thickness", "motion"),
        model_answer=(
            "It learned from images that are too easy. White noise after the lens is not what hides particles: the grain of the ice goes through the same CTF and has the same rings. So I would "
            "give the ice its spectrum and a gradient of thickness, put in carbon edges, contamination and broken particles that look like particles, let heights "
            "and defocus vary, crowd and clump some, and add motion and damage. Then one after the other out again, to see which of them the picker fell for."
        ),
    ),
)
