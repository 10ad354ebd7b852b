"""Checks of U24: what a correlation of half maps means, masks and random phases, B-factors, noise aligned to a reference; and the half maps of the unit."""

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch

from cryowalk import fourier
from cryowalk.course.exercise import Exercise, Explanation, as_numbers, choice_check, draw, number_check, property_check
from cryowalk.data import HalfMaps, Volume
from cryowalk.fourier import shells
from cryowalk.validation.guinier import particles_for_resolution
from cryowalk.validation.masks import spherical_mask
from cryowalk.validation.phase_randomisation import masked_correlation

BOX, VOXEL_SIZE = 48, 2.0  # Å
RADIUS = 22.0  # Å, of the larger of the specimen's two lobes
_ATOMS = 600


@cache
def _spectrum() -> tuple[torch.Tensor, torch.Tensor]:
    """The transform of point atoms in two overlapping balls, and |k|² (1/Å²)."""
    source = torch.Generator().manual_seed(2411)
    points = torch.randn(_ATOMS, 3, generator=source, dtype=torch.float64)
    points *= (torch.rand(_ATOMS, 1, generator=source, dtype=torch.float64) ** (1 / 3)) / points.norm(dim=1, keepdim=True)
    points *= RADIUS
    points[: _ATOMS // 3] = 0.6 * points[: _ATOMS // 3] + torch.tensor([16.0, 7.0, -9.0], dtype=torch.float64)
    points -= points.mean(dim=0)
    kx, ky, kz = fourier.frequency_grid((BOX, BOX, BOX), pixel_size=VOXEL_SIZE, dtype=torch.float64)
    x, y, z = (torch.exp(-2j * math.pi * k.reshape(-1)[:, None] * points[:, axis]) for axis, k in ((0, kx), (1, ky), (2, kz)))
    spectrum = torch.einsum("zn,yn,xn->zyx", z, y, x)
    # So few atoms have a Guinier plot with chance slopes: beyond 10 Å it is made flat, so that the B-factor that is put in is the one there is.
    size = (BOX, BOX, BOX)
    level = shells.shell_average(spectrum.abs(), size=size)
    factor = torch.where(torch.arange(len(level)) >= 9, level[9:].mean() / level, torch.ones_like(level))
    return spectrum * fourier.filters.weights_on_spectrum(factor, size=size), kx**2 + ky**2 + kz**2


def molecule(b_factor: float = 100.0) -> Volume:
    """The specimen: point atoms whose spectrum is multiplied by exp(−B k²/4), scaled so that its standard deviation is 1 at B = 100 Å²."""
    spectrum, k2 = _spectrum()
    scale = fourier.to_real(spectrum * torch.exp(-25.0 * k2), width=BOX, dimensions=3).std()
    voxels = fourier.to_real(spectrum * torch.exp(-b_factor / 4 * k2), width=BOX, dimensions=3) / scale
    return Volume(voxels=voxels, voxel_size=VOXEL_SIZE)


def half_maps(*, noise: float, seed: int, b_factor: float = 100.0) -> HalfMaps:
    """Two maps of the specimen with independent white noise of this standard deviation: the ratio of signal to noise is known in every shell."""
    source = torch.Generator().manual_seed(seed)
    signal = molecule(b_factor).voxels
    first, second = (
        Volume(voxels=signal + noise * torch.randn(signal.shape, generator=source, dtype=torch.float64), voxel_size=VOXEL_SIZE)
        for _ in range(2)
    )
    return HalfMaps(first=first, second=second)


def tight_mask(edge: float = 0.0, radius: float = 24.0) -> Volume:
    """A sphere that cuts into the specimen, with a sharp edge unless one is given (Å)."""
    return spherical_mask(molecule(), radius=radius, edge=edge)


def correlation_of(first: Any, second: Any) -> torch.Tensor:
    """Our own curve of two arrays."""
    return shells.shell_correlation(torch.as_tensor(first), torch.as_tensor(second))


def _curve(answer: Any, box: int) -> np.ndarray | str:
    """The learner's curve as real numbers, or what is wrong with it."""
    found = as_numbers(answer)
    if found is None or found.ndim != 1:
        return "I expected one number a shell."
    if len(found) != box // 2 + 1:
        return f"For a box of {box} I expected {box // 2 + 1} shells, 0 to {box // 2}: got {len(found)}."
    if np.iscomplexobj(found) and np.abs(found.imag).max() > 1e-6:
        return "The values are complex: the correlation is the *real* part of the sum."
    if not np.isfinite(found.real[1:]).all():
        return "Some values are not finite."
    return np.asarray(found.real)


def _fsc(answer: Callable[..., Any], seed: int) -> str | None:
    source = torch.Generator().manual_seed(draw(seed, "U24.2").randrange(2**31))
    for box in (24, 25):
        noise = [torch.randn(box, box, box, generator=source, dtype=torch.float64) for _ in range(9)]
        for what, second, expected in (
            ("itself", noise[0], 1.0),
            ("3.7 times itself", 3.7 * noise[0], 1.0),
            ("its negative", -noise[0], -1.0),
        ):
            found = _curve(answer(noise[0].clone(), second.clone()), box)
            if isinstance(found, str):
                return found
            if np.abs(found[1:] - expected).max() > 1e-3:
                return f"The correlation of a map with {what} should be {expected:g} in every shell: got {found[1 + int(np.abs(found[1:] - expected).argmax())]:.3f}."
        spread = []
        counts = shells.shell_sum(torch.ones(box, box, box // 2 + 1, dtype=torch.float64), size=(box, box, box)).numpy()
        for one, other in zip(noise[1::2], noise[2::2], strict=True):
            found = _curve(answer(one.clone(), other.clone()), box)
            if isinstance(found, str):
                return found
            spread.append(found[3:-1] * np.sqrt(counts[3:-1]))
            reference = correlation_of(one, other).numpy()
            if np.abs(found[3:-1] - reference[3:-1]).max() > 0.06:
                worst = float(np.mean(np.abs(found[3:-1])))
                return f"Independent noise should correlate by about 1/√(2n), n independent coefficients a shell, of both signs; your values are {worst:.3f} on the average."
        if not 0.6 < float(np.std(spread)) < 1.5:
            return f"The spread of noise is {float(np.std(spread)):.2f} times the expected one."
    return None


def _limited(seed: int) -> HalfMaps:
    """Halves whose signal ends at about 9 Å: the specimen is so blurred that beyond there is only noise."""
    return half_maps(noise=0.5, seed=seed, b_factor=900.0)


def _beyond(answer: Callable[..., Any], halves: HalfMaps, mask: Volume, number: int) -> "tuple[np.ndarray, ...] | str":
    """The learner's curve, the masked one, that with random phases and the corrected one, where phases are random; or what is wrong."""
    shell = 10
    curves = masked_correlation(halves, mask, generator=torch.Generator().manual_seed(number), first_shell=shell, draws=4)
    arrays = (halves.first.voxels.clone(), halves.second.voxels.clone(), mask.voxels.clone())
    found = _curve(answer(*arrays, shell), BOX)
    if isinstance(found, str):
        return found
    others = (curve.correlation.numpy() for curve in (curves.masked, curves.randomised, curves.corrected))
    return tuple(values[shell + 3 :] for values in (found, *others))


def _correction(answer: Callable[..., Any], seed: int) -> str | None:
    number = draw(seed, "U24.3").randrange(2**31)
    means = []
    for place in range(3):
        curves = _beyond(answer, _limited(number + place), tight_mask(), number)
        if isinstance(curves, str):
            return curves
        means.append([float(values.mean()) for values in curves])
    mean, masked, _, expected = np.mean(means, axis=0)
    if mean > 0.05 + max(0.0, expected):
        if abs(mean - masked) < 0.03:
            return "Beyond the signal your curve is that of the masked maps: nothing has been taken off."
        return f"Beyond the signal, where there is nothing but noise and a mask, your curve still has {mean:.2f} on the average."
    curves = _beyond(answer, half_maps(noise=2.0, seed=number), tight_mask(radius=20.0), number)
    if isinstance(curves, str):
        return curves
    found, masked_curve, noise, corrected = curves
    off = float(np.mean(found - corrected))
    if abs(off) > 0.035:
        if abs(float(np.mean(found - (masked_curve - noise)))) < 0.025:
            return "You took off what the mask adds. A perfect map should still have a correlation of 1 afterwards: what would it have now?"
        return f"On halves that do share signal your curve is off by {off:+.2f}. Are the phases of the two halves drawn independently, and is the mask applied after?"
    return None


def _guinier(answer: Callable[..., Any], seed: int) -> str | None:
    number = draw(seed, "U24.4").randrange(2**31)
    for b_factor, noise in ((100.0, 0.6), (100.0, 1.2), (160.0, 0.5), (60.0, 0.8)):
        halves = half_maps(noise=noise, seed=number, b_factor=b_factor)
        found = as_numbers(answer(halves.first.voxels.clone(), halves.second.voxels.clone(), VOXEL_SIZE))
        if found is None or found.size != 1:
            return "The function should return one number, B in Å²."
        given = float(found.real.reshape(-1)[0])
        if abs(given - b_factor) <= 10:
            continue
        what = f"Maps with B = {b_factor:.0f} Å² and noise of {noise:g} standard deviations give {given:.0f} Å². "
        if abs(-given - b_factor) <= 12:
            return what + "Look at the sign: amplitudes that fall have a positive B."
        if abs(2 * given - b_factor) <= 12 or abs(given / 2 - b_factor) <= 12 or abs(4 * given - b_factor) <= 12:
            return what + "Amplitude or power, B/4 or B/2? The amplitude falls as exp(−B k²/4)."
        if given < b_factor:
            return (
                what
                + "Noise is white: where it rules, the plot is flat. Has it been taken off, and does the line end at the resolution?"
            )
        return what + "From where to where is the line fitted, and over k or over k²?"
    return None


def numbers(seed: int) -> Mapping[str, float]:
    """The resolution that the learner's data set has, the one hoped for, and its B-factor."""
    return {"now": 3.0, "wanted": 2.5, "b_factor": 100.0}


EXERCISES = (
    Exercise(
        id="U24.1",
        stream="blur",
        kind="numeric",
        task="At a half-map FSC of 1/7: the correlation of the full map with the truth, and the full map's ratio of signal to noise.",
        check=number_check((0.5, 1 / 3), relative=0.01),
        hints=(
            "The FSC of the halves is S/(S + N), with N the noise in one half. What is S/N there?",
            "Averaging two halves keeps the signal and halves the noise's power.",
            "The correlation with the truth squared is S/(S + N'), N' the noise of the full map.",
        ),
    ),
    Exercise(
        id="U24.2",
        stream="sharpen",
        kind="code",
        task="The Fourier shell correlation of two cubes, from scratch.",
        check=property_check(_fsc),
        hints=(
            "Transform both; then three sums over each shell: of F₁F₂*, of |F₁|² and of |F₂|².",
            "The shell of a coefficient is its radius in units of 1/(box · voxel), rounded. np.bincount adds up by shell.",
            "Both members of each Friedel pair must count alike: np.fft.fftn holds both, rfftn only one.",
        ),
    ),
    Exercise(
        id="U24.3",
        stream="sharpen",
        kind="code",
        task="The correlation of masked halves, corrected for the mask by random phases.",
        check=property_check(_correction),
        hints=(
            "Phases are those of the *unmasked* halves; the mask comes after. Each half gets phases of its own.",
            "A simple way to random phases of a real map: those of the transform of white noise.",
            "What the mask adds must be taken off, and a perfect correlation must stay perfect: (a − b)/(1 − b).",
        ),
    ),
    Exercise(
        id="U24.4",
        stream="sharpen",
        kind="code",
        task="The B-factor of two half maps, from a Guinier plot without noise.",
        check=property_check(_guinier),
        hints=(
            "Average the halves, take the mean amplitude of each shell, multiply by the correlation with the truth, √(2F/(1 + F)).",
            "Fit ln of that against k² by a straight line, from 10 Å up to where the FSC falls to 0.143.",
            "The slope of that line is minus a quarter of B.",
        ),
    ),
    Exercise(
        id="U24.5",
        stream="blur",
        kind="predict",
        task="How the average of 1,000 images of pure noise, each shifted to fit a reference best, correlates with it.",
        check=choice_check(
            "0.8",
            feedback={
                "0.0": "That is what the average of noise would do that was *not* moved.",
                "0.1": "That is about what a single one of the moved images does. And the average of a thousand?",
            },
        ),
        hints=(
            "Each image was moved to where it fits best. By how much does it fit there, by chance?",
            "What do the thousand images have in common, and what averages out?",
            "U16 had a law for this.",
        ),
    ),
    Exercise(
        id="U24.6",
        stream="sharpen",
        kind="numeric",
        task="How many times more particles it takes to go from 3.0 to 2.5 Å at B = 100 Å².",
        parameters=numbers,
        check=number_check(
            lambda seed: particles_for_resolution(
                1, at=numbers(seed)["now"], wanted=numbers(seed)["wanted"], b_factor=numbers(seed)["b_factor"]
            ),
            relative=0.03,
        ),
        hints=(
            "The signal's power at 1/d falls as exp(−B/(2d²)); the noise of the average falls as 1/N.",
            "At both resolutions the ratio of signal to noise must be the same: N is proportional to exp(B/(2d²)).",
            "exp(50 · (1/6.25 − 1/9)).",
        ),
    ),
)
EXPLANATIONS = (
    Explanation(
        id="U24.words",
        question="A paper reports “2.9 Å by FSC 0.143”. What four things would you ask for before you believe it?",
        rubric=("half", "mask", "random", "model"),
        model_answer="Were the halves independent from the beginning, with no shared reference beyond a low resolution? What is the curve without a mask, "
        "and what do random phases under the mask give? Is the detail there that belongs to the number: strands apart at 4.5 Å, side chains at 3.5 Å; and does a model "
        "built into one half fit the other? And is it the same in all directions, and everywhere in the map?",
    ),
)
