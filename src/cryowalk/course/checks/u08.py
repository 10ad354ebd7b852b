"""Checks of U08: what a pixel, a deposit and a coincidence do, the slanted edge, and four stacks of noise."""

from collections.abc import Mapping
from math import pi, radians, sqrt
from typing import Any

import numpy as np
import torch

from cryowalk.course.exercise import (
    Exercise,
    Explanation,
    Verdict,
    as_numbers,
    draw,
    matching_check,
    number_check,
    property_check,
)
from cryowalk.fourier.grids import frequency_radius
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.microscope.detector_curves import coincidence_loss, square_pixel_transfer
from cryowalk.microscope.detector_measurement import slanted_edge
from cryowalk.numerics.poisson import poisson

STACKS = ("white Gaussian", "Poisson", "coloured Gaussian", "fixed pattern")
FRAMES, SIDE = 24, 64  # of a mystery stack
_HALF = torch.tensor(0.5, dtype=torch.float64)
_ZERO = torch.zeros_like(_HALF)
_ON_AXIS = float(square_pixel_transfer(_HALF, _ZERO))
_ON_DIAGONAL = float(square_pixel_transfer(_HALF / sqrt(2), _HALF / sqrt(2)))


def mystery(seed: int) -> Mapping[str, Any]:
    """The learner's four stacks of noisy frames, A to D: images of one smooth scene, with noise of one kind each."""
    source = draw(seed, "U08.5")
    order = list(STACKS)
    source.shuffle(order)
    generator = torch.Generator().manual_seed(source.randrange(2**31))
    line = torch.linspace(-1, 1, SIDE, dtype=torch.float64)
    scene = 12 + 8 * torch.exp(-3 * (line**2 + line[:, None] ** 2)) - 5 * line
    level = sqrt(float(scene.mean()))
    white = torch.randn(FRAMES, SIDE, SIDE, generator=generator, dtype=torch.float64)
    weights = 1 / (1 + 30 * frequency_radius((SIDE, SIDE), pixel_size=1.0, dtype=torch.float64) ** 2)
    coloured = to_real(to_fourier(white.roll(1, 0)) * weights, width=SIDE)
    pattern = torch.randn(SIDE, SIDE, generator=generator, dtype=torch.float64)
    frames = {
        "white Gaussian": scene + level * white,
        "Poisson": poisson(scene.expand(FRAMES, SIDE, SIDE).contiguous(), generator=generator),
        "coloured Gaussian": scene + level * coloured / coloured.std(),
        "fixed pattern": scene + level * (0.6 * pattern + 0.8 * torch.randn(FRAMES, SIDE, SIDE, generator=generator)),
    }
    stacks = {letter: frames[kind].numpy().astype(float) for letter, kind in zip("ABCD", order, strict=True)}
    return {"stacks": stacks, "scene": scene.numpy()}


def mystery_key(seed: int) -> Mapping[str, str]:
    """Which kind of noise each of the learner's stacks has."""
    order = list(STACKS)
    draw(seed, "U08.5").shuffle(order)
    return dict(zip("ABCD", order, strict=True))


def _identified(answer: Any, seed: int) -> Verdict:
    return matching_check(mystery_key(seed), success="Right, 4 of 4, and by numbers, not by eye.")(answer, seed)


def edge_cases(seed: int) -> list[tuple[np.ndarray, float]]:
    """Images of slanted edges, without noise, with their angles to the y axis (rad)."""
    source = draw(seed, "U08.2")
    angles = [radians(source.uniform(3.0, 6.0)) * sign for sign in (1, -1)]
    return [
        (slanted_edge((200, 160), angle=angles[0]).double().numpy() * 40 + 3, angles[0]),
        (60 - slanted_edge((240, 128), angle=angles[1]).double().numpy() * 50, angles[1]),
    ]


def _edge(answer: Any, seed: int) -> str | None:
    for image, angle in edge_cases(seed):
        found = answer(image, angle)
        if not isinstance(found, tuple | list) or len(found) != 2:
            return "I expected your function to return two arrays: frequencies in cycles per pixel, and the MTF at them."
        frequency, mtf = (as_numbers(part) for part in found)
        if frequency is None or mtf is None or frequency.shape != mtf.shape or frequency.ndim != 1:
            return "I expected two arrays of the same length: frequencies in cycles per pixel, and the MTF at them."
        if frequency.max() < 0.5:
            return f"The frequencies end at {frequency.max():.3f} cycles per pixel; Nyquist is at 0.5."
        wanted = np.linspace(0.02, 0.5, 25)
        order = np.argsort(frequency.real)
        measured = np.interp(wanted, frequency.real[order], mtf.real[order])
        ratio = measured / np.sinc(wanted)
        if np.abs(ratio - 1).max() <= 0.02:
            continue
        if abs(ratio[0] - 1) > 0.02:
            return f"At low frequency your MTF is {measured[0]:.3f}. Divide by its value at zero."
        if np.allclose(ratio[::-1], ratio[::-1][0] * np.ones(25), atol=0.02):
            return "The curve has the right shape and the wrong scale."
        worst = int(np.abs(ratio - 1).argmax())
        return (
            f"For an edge at {np.degrees(angle):.1f}° your MTF at {wanted[worst]:.2f} cycles per pixel is {ratio[worst]:.3f} times the pixel's own. "
            "Bins and differences have transfer functions too, and distances are taken across the edge, not along the row."
        )
    return None


def _correlation(image: np.ndarray) -> float:
    centred = image - image.mean()
    return float((centred[:, 1:] * centred[:, :-1]).mean() / (centred**2).mean())


def camera_numbers(seed: int) -> Mapping[str, float]:
    """The learner's own camera: what its noise transfer leaves of the amplitude at Nyquist."""
    return {"at_nyquist": draw(seed, "U08.6").choice((0.3, 0.4, 0.5))}


def expected_correlation(at_nyquist: float) -> float:
    """The correlation of horizontal neighbours in white noise filtered by 1 − (1 − a) · 2 |k| (constant beyond Nyquist)."""
    k = _frequencies(512)
    radius = np.minimum(np.hypot(k, k[:, None]), 0.5)
    power = (1 - (1 - at_nyquist) * 2 * radius) ** 2
    return float((power * np.cos(2 * pi * k)).sum() / power.sum())


def _neighbours(answer: Any, seed: int) -> str | None:
    names = ("correlation", "white", "camera", "shifted variance", "shifted")
    if not isinstance(answer, Mapping) or not set(names) <= set(answer):
        return f"I expected a dictionary with the entries {', '.join(map(repr, names))}; the first one is your function."
    source = np.random.default_rng(draw(seed, "U08.6").randrange(2**31))
    for shape in ((40, 50), (31, 30)):
        rows = source.normal(size=(shape[0], shape[1] + 1))
        image = 100 + rows[:, 1:] + 0.7 * rows[:, :-1]
        found = as_numbers(answer["correlation"](image))
        if found is None or found.size != 1 or abs(float(found.real.reshape(-1)[0]) - _correlation(image)) > 0.02:
            return "The function does not give the correlation of a pixel with its right neighbour: subtract the mean, and divide by the variance."
    numbers = {name: as_numbers(answer[name]) for name in names[1:]}
    if any(number is None or number.size != 1 for number in numbers.values()):
        return "The function is right. The other four entries are one number each."
    value = {name: float(number.real.reshape(-1)[0]) for name, number in numbers.items() if number is not None}
    if abs(value["white"]) > 3 / 512:
        return "White noise of 512 × 512 pixels: the correlation should be below three standard errors, 3/512."
    wanted = expected_correlation(camera_numbers(seed)["at_nyquist"])
    if abs(value["camera"] - wanted) > 0.02:
        return "The function and the white noise are right. After your camera's noise transfer the neighbours are not as correlated as I expect."
    if abs(value["shifted variance"] - 0.25) > 0.01:
        return (
            "For a shift by half a pixel in x and in y each new pixel is the mean of four. What is the variance of such a mean?"
        )
    if abs(value["shifted"] - 0.5) > 0.02:
        return "The variance after the shift is right. Two neighbours now share half of their pixels: the correlation is another number."
    return None


def _frequencies(count: int) -> np.ndarray:
    """The frequencies 0, 1, … −1 over `count`."""
    return ((np.arange(count) + count // 2) % count - count // 2) / count


def _line(answer: Any, seed: int) -> str | None:
    source = np.random.default_rng(draw(seed, "U08.8").randrange(2**31))
    for size in ((32, 32), (24, 31)):
        ky, kx = _frequencies(size[0])[:, None], _frequencies(size[1])
        a, b, c = source.uniform(2, 9, size=3)
        mtf = np.exp(-(a * kx**2 + b * ky**2 + 0.5 * c * kx * ky * (np.abs(kx) < 0.45) * (np.abs(ky) < 0.45)))
        found = answer(mtf)
        if not isinstance(found, tuple | list) or len(found) != 2:
            return "I expected your function to return two arrays: the line spread, and its transform."
        line, transform = (as_numbers(part) for part in found)
        if line is None or transform is None or line.shape != (size[1],) or transform.shape != (size[1],):
            return f"For an MTF of {size[0]} × {size[1]} values the line spread along x has {size[1]} values, and so has its transform."
        half = torch.from_numpy(mtf[:, : size[1] // 2 + 1].copy()).to(torch.complex128)
        spread = (to_real(half, width=size[1]) / sqrt(size[0] * size[1])).sum(0).numpy()
        if not np.allclose(np.sort(line.real), np.sort(spread), atol=1e-9):
            return "The line spread is not the point spread summed along y. Which axis is y in an array [y, x]?"
        if np.abs(np.abs(transform) - mtf[0]).max() > 1e-10:
            return "The line spread is right. Its transform (no 1/√n, please) should be the MTF's values at ky = 0, up to the phase of your origin."
    return None


EXERCISES = (
    Exercise(
        id="U08.1",
        stream="blur",
        kind="numeric",
        task="An ideal square pixel at Nyquist, along a pixel row: its MTF and its DQE. Two numbers.",
        check=number_check(
            (_ON_AXIS, _ON_AXIS**2), relative=0.002, success="Right: two thirds of the contrast, two fifths of the information."
        ),
        hints=(
            "A pixel averages over its width. What is the average of a cosine whose period is two pixels, over one pixel around its crest?",
            "The transform of a box of width 1 is sin(πk)/(πk). Nyquist is k = 1/2 cycles per pixel.",
            "The noise of counted electrons stays white, so the DQE is the MTF squared.",
        ),
    ),
    Exercise(
        id="U08.2",
        stream="sharpen",
        kind="code",
        task="A function of an image and the angle of its edge that returns frequencies (cycles per pixel) and the MTF across the edge, within 2 % of the square pixel's up to Nyquist.",
        check=property_check(_edge, success="Right: the pixel's own transfer, from one picture of an edge, up to Nyquist."),
        hints=(
            "Each pixel has a distance from the edge: x cos α + y sin α, counted from the middle. Sort all pixels by it into bins of, say, 1/8 pixel.",
            "Mean brightness per bin, then differences of neighbouring bins: the line spread. Use only distances that all rows reach, and transform.",
            "Divide by the value at zero, and by what bins and differences do themselves: sinc²(k · bin width). Frequencies: rfftfreq(number of bins, bin width).",
        ),
    ),
    Exercise(
        id="U08.3",
        stream="sharpen",
        kind="numeric",
        task="DQE(0) of a camera that sums deposits which are exponentially distributed.",
        check=number_check(0.5, relative=0.0, absolute=0.01, success="Right: half of the electrons might as well not have come."),
        hints=(
            "How much does the sum of N deposits vary, if N is a Poisson number? Its variance is N times the mean square of one deposit.",
            "DQE(0) is the squared signal-to-noise ratio of the sum over that of the electrons, N: ⟨ε⟩²/⟨ε²⟩.",
            "For an exponential law with mean 1 the mean square is ∫ ε² exp(-ε) dε. Or draw a million of them.",
        ),
    ),
    Exercise(
        id="U08.4",
        stream="blur",
        kind="numeric",
        task="A counting camera gets 0.1 electrons per pixel and raw frame. How many percent of them are lost to coincidence?",
        check=number_check(
            100 * coincidence_loss(0.1), relative=0.0, absolute=0.1, success="Right. At twice the dose rate it is twice as many."
        ),
        hints=(
            "The pixel is counted once, whether one electron came or three. How probable is it that at least one came?",
            "None comes with probability exp(-n). So the pixel counts 1 - exp(-n) per frame, where n came on average.",
            "The loss is what is missing, as a part of n: 1 - (1 - exp(-n))/n, in percent.",
        ),
    ),
    Exercise(
        id="U08.5",
        stream="blur",
        kind="quiz",
        task="Four stacks of frames: which one has white Gaussian noise, which Poisson noise, which coloured noise, which a fixed pattern?",
        parameters=mystery,
        check=_identified,
        hints=(
            "One of the four does not get smoother as fast as the others when you average frames. One has whole numbers only.",
            "Compare each pixel's variance over the frames with its mean; and the noise of a pixel with that of its right neighbour in the same frame.",
            "Fixed pattern: the mean over the frames is still rough. Poisson: variance rises with brightness. Coloured: neighbours agree. White Gaussian: what is left.",
        ),
    ),
    Exercise(
        id="U08.6",
        stream="sharpen",
        kind="code",
        task="A function for the correlation of horizontal neighbours; its value for white noise, after your camera's noise transfer, and the variance and correlation after a half-pixel shift in x and y.",
        parameters=camera_numbers,
        check=property_check(
            _neighbours, success="Right: independent before, correlated after, and no noise was added on the way."
        ),
        hints=(
            "Subtract the mean; multiply each pixel with the one to its right; average; divide by the variance.",
            "The half-pixel shift replaces each pixel by the mean of four: average the image with its neighbours in x, then in y.",
            "For the camera: to_real(to_fourier(noise) * curve, width=512) with the curve on frequency_radius((512, 512), pixel_size=1.0), cut at 0.5.",
        ),
    ),
    Exercise(
        id="U08.7",
        stream="sharpen",
        kind="numeric",
        task="The MTF of a square pixel at |k| = Nyquist: along a pixel row, and along the diagonal. Two numbers.",
        check=number_check(
            (_ON_AXIS, _ON_DIAGONAL),
            relative=5e-4,
            success="Right: the same |k|, two values. A square pixel has no radial curve.",
        ),
        hints=(
            "In two dimensions the pixel is a product of two boxes, and its transform is a product too.",
            "On the diagonal at |k| = 1/2 the two components are equal, and their squares add up to 1/4.",
            "sinc(kx) sinc(ky) with kx = ky = 1/(2√2); numpy's sinc has the π inside.",
        ),
    ),
    Exercise(
        id="U08.8",
        stream="sharpen",
        kind="code",
        task="A function of a two-dimensional MTF (unshifted, origin first) that returns the line spread along x and its transform.",
        check=property_check(
            _line, success="Right, to rounding: a projection in real space is a slice in Fourier space, here too."
        ),
        hints=(
            "The point spread is the inverse transform of the MTF. A line along y is a row of points: add up their images.",
            "Summing over y, the first axis of the array, leaves a function of x. Transform it with np.fft.fft.",
            "psf = np.fft.ifft2(mtf).real; line = psf.sum(axis=0); np.fft.fft(line) is then the MTF's first row.",
        ),
    ),
)

EXPLANATIONS = (
    Explanation(
        id="U08.words",
        question="A colleague says: our new camera has a worse MTF than the old one, so it must be the worse camera. What do you answer?",
        rubric=("noise", "DQE", "same way", "signal-to-noise"),
        model_answer=(
            "The MTF alone says little: a blur that acts on signal and noise in the same way can be undone by a filter. What counts is the signal-to-noise ratio at each "
            "spatial frequency, and how much of it the camera leaves is the DQE: MTF² divided by the noise transfer squared. Compare the two DQE curves."
        ),
    ),
)
