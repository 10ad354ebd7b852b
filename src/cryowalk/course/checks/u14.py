"""Checks of U14: the early frames, shifts below a pixel, a whole movie, a frame that meets itself, the critical exposure, dose weights."""

from math import sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryowalk import fourier
from cryowalk.course.exercise import Exercise, Explanation, as_numbers, choice_check, draw, number_check, property_check
from cryowalk.microscope import damage

SIDE = 256  # pixels of the images that are handed to the learner's functions
FRAMES = 24


def still(source: torch.Generator, *, side: int = SIDE) -> Tensor:
    """A scene with mean 0 and standard deviation 1 that fades towards high frequencies as protein in ice does."""
    k = fourier.frequency_radius((side, side), pixel_size=1.0, dtype=torch.float64)
    spectrum = fourier.to_fourier(torch.randn(side, side, generator=source, dtype=torch.float64))
    image = fourier.to_real(spectrum * torch.exp(-((k / 0.22) ** 2)) / (1 + (k / 0.04) ** 2), width=side)
    centred: Tensor = image - image.mean()
    return centred / centred.std()


def track(source: torch.Generator, *, frames: int = FRAMES) -> Tensor:
    """A path (x, y) in pixels with a fast beginning, frame 0 at the origin."""
    time = torch.arange(frames, dtype=torch.float64)[:, None]
    angle = 6.2832 * torch.rand(2, generator=source, dtype=torch.float64)
    early, drift = (torch.stack([angle[i].cos(), angle[i].sin()]) for i in (0, 1))
    wander = 0.15 * torch.randn(frames, 2, generator=source, dtype=torch.float64).cumsum(0)
    path = 5 * (1 - torch.exp(-time / 4)) * early + 0.1 * time * drift + wander
    return path - path[0]


def moving(source: torch.Generator, *, contrast: float = 0.2, electrons: float = 1.0) -> tuple[NDArray[Any], NDArray[Any]]:
    """A movie of counted electrons `[frames, h, w]`, and its path `[frames, 2]` in pixels."""
    path = track(source)
    scene = still(source).expand(FRAMES, SIDE, SIDE).contiguous()
    moved = fourier.shift_images(scene, path, pixel_size=1.0)
    return torch.poisson(electrons * (1 + contrast * moved).clamp_min(0), generator=source).numpy(), path.numpy()


def pair(source: torch.Generator, *, noise: float = 1.0) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Two noisy images of one scene, and the displacement (x, y) in pixels of the second against the first."""
    scene = still(source)
    shift = 8 * torch.rand(2, generator=source, dtype=torch.float64) - 4
    second = fourier.shift_images(scene[None], shift[None], pixel_size=1.0)[0]
    first, second = (image + noise * torch.randn(SIDE, SIDE, generator=source, dtype=torch.float64) for image in (scene, second))
    return first.numpy(), second.numpy(), shift.numpy()


def _source(seed: int, exercise: str) -> torch.Generator:
    return torch.Generator().manual_seed(draw(seed, exercise).randrange(2**31))


def _shift(answer: Any, seed: int) -> str | None:
    source = _source(seed, "U14.2")
    misses = []
    for _ in range(4):
        first, second, truth = pair(source)
        found = as_numbers(answer(first.copy(), second.copy()))
        if found is None or found.size != 2:
            return "I expected two numbers: the displacement (x, y) of the second image against the first, in pixels."
        found = found.real.reshape(2)
        if np.abs(truth).min() > 0.5 and np.abs(found + truth).max() < 0.5:
            return "Your answer has the wrong sign: ask where the second image lies as seen from the first."
        if np.abs(truth[0] - truth[1]) > 1 and np.abs(found[::-1] - truth).max() < 0.5:
            return "x and y are exchanged: the first axis of an array is y."
        misses.append(found - truth)
    worst = float(np.abs(misses).max())
    if np.abs(misses).max() > SIDE / 2:
        return "A displacement to the left or upwards should be negative: a place beyond half of the image is one below zero."
    if worst > 0.6:
        return f"One of the displacements is wrong by {worst:.1f} px: not even the right peak was found."
    if worst > 0.1:
        return f"The pixel is right, but a displacement is wrong by {worst:.2f} px. The peak lies between the pixels: look at its neighbours too."
    return None


def _rms(found: NDArray[Any], truth: NDArray[Any]) -> float:
    difference = (found - found.mean(0)) - (truth - truth.mean(0))
    return sqrt(float((difference**2).sum(-1).mean()))


def _alignment(answer: Any, seed: int) -> str | None:
    frames, path = moving(_source(seed, "U14.3"))
    found = as_numbers(answer(frames.copy()))
    if found is None or found.shape != (FRAMES, 2):
        return f"I expected an array of {FRAMES} rows (x, y): the displacement of each frame in pixels."
    error, still_error = _rms(found.real, path), _rms(np.zeros_like(path), path)
    if _rms(-found.real, path) < 0.5 * still_error:
        return "Your path is the mirror image of the true one: these are the shifts that would undo the motion."
    if _rms(found.real[:, ::-1], path) < 0.2:
        return "x and y are exchanged."
    if error > 0.5 * still_error:
        return f"The path is wrong by {error:.2f} px (rms); without any alignment it would be {still_error:.2f} px."
    if error > 0.2:
        return f"The path is wrong by {error:.2f} px (rms); 0.2 px is asked for. Have you used the better sum for another round?"
    return None


def with_others(frames: NDArray[Any], index: int) -> NDArray[Any]:
    """The correlation of a frame with the sum of all others, displacement (0, 0) at [0, 0]."""
    spectra = np.fft.rfft2(frames - frames.mean((1, 2), keepdims=True))  # noqa: TID251  the form that the unit writes it in
    others = spectra.sum(0) - spectra[index]
    found: NDArray[Any] = np.fft.irfft2(spectra[index] * others.conj(), s=frames.shape[1:])  # noqa: TID251
    return found


def _self_reference(answer: Any, seed: int) -> str | None:
    generator = np.random.default_rng(draw(seed, "U14.4").randrange(2**31))
    noise = generator.poisson(1.0, (8, 64, 72)).astype(float)
    for index in (0, 5):
        given = noise.copy()
        found = as_numbers(answer(given, index))
        if not np.array_equal(given, noise):
            return "Your function changes the frames that it is given. Make a new sum instead."
        if found is None or found.shape != noise.shape[1:]:
            return "I expected the correlation as an array of the size of a frame."
        height = float(found.real[0, 0] / found.real.std())
        if height > 6:
            return f"These frames are nothing but noise, and at displacement 0 there still is a peak of {height:.0f} standard deviations."
        expected = with_others(noise, index)
        agreement = float(np.corrcoef(found.real.ravel(), expected.ravel())[0, 1])
        if agreement < 0.999:
            return (
                "The peak is gone, but this is not the correlation of the frame with the sum of all the others: "
                f"the two agree to {agreement:.2f}. Did you silence the pixel, take the wrong frame out, or lose the others?"
            )
    return None


def _weights(answer: Any, seed: int) -> str | None:
    source = draw(seed, "U14.6")
    frequency = np.array([0.02, 0.05, 0.1, 0.2, 1 / 3, 0.4])
    for frames, dose in ((FRAMES, 2.0), (source.choice((10, 30, 50)), source.choice((0.8, 1.5)))):
        found = as_numbers(answer(frequency.copy(), frames, dose))
        if found is None or found.shape != (frames, len(frequency)):
            return "I expected an array with a row for each frame and a column for each frequency."
        weights = found.real
        if np.abs(weights.sum(0) - 1).max() > 1e-6:
            return "At each frequency the weights of all frames should add up to 1."
        if not (weights[-1, 3:] < weights[0, 3:]).all():
            return "At high frequency the last frame should weigh less than the first."
        critical = damage.critical_exposure(torch.from_numpy(frequency), voltage_kv=300.0).numpy()
        ratio = -np.log(weights[1] / weights[0]) / dose * critical  # ½ for amplitudes
        if np.abs(ratio - 1).max() < 1e-3:
            return (
                "Your weights fall as the intensity does. What is summed are amplitudes: they fall half as fast in the exponent."
            )
        if np.abs(ratio - 0.5).max() > 1e-3:
            return "From one frame to the next the weights do not fall as the amplitudes exp(−N / 2Nc) do."
    return None


_SPACINGS = torch.tensor([3.0, 10.0], dtype=torch.float64)
_CRITICAL = tuple(damage.critical_exposure(1 / _SPACINGS, voltage_kv=300.0).tolist())

EXERCISES = (
    Exercise(
        id="U14.1",
        stream="blur",
        kind="predict",
        task="Which frames of a movie hold most of its path: the first quarter, the last, or all alike?",
        check=choice_check(
            "first",
            feedback={
                "last": "The dose heats nothing up over time; the stress that the first electrons release is gone by then.",
                "alike": "That would be a drifting stage. What else moves when the beam comes on?",
            },
        ),
        hints=(
            "What happens to a frozen film at the moment when the beam hits it?",
            "Freezing left stress in the film. It needs few electrons to be released.",
            "Look at the steps from frame to frame in the figure above: where are they longest?",
        ),
    ),
    Exercise(
        id="U14.2",
        stream="sharpen",
        kind="code",
        task="The displacement between two noisy images, to a tenth of a pixel.",
        check=property_check(_shift),
        hints=(
            "The correlation of the two images has a peak at the displacement: multiply one spectrum with the conjugate of the other.",
            "Damp high frequencies first: they hold noise, and a smooth peak is easier to measure.",
            "Fit a parabola through the highest pixel and its two neighbours, along each axis: (a − c) / (2(a − 2b + c)).",
        ),
    ),
    Exercise(
        id="U14.3",
        stream="sharpen",
        kind="code",
        task="The path of a whole movie of 24 frames with one electron per pixel.",
        check=property_check(_alignment),
        hints=(
            "Two single frames hold too little. Compare each frame with the sum of the others.",
            "That sum is blurred by the motion at first. With the path you found, move the frames back, sum again, and repeat.",
            "Four or five rounds are enough. Weights like exp(−(k/0.1)²), k in cycles per pixel, keep the noise out of the correlation.",
        ),
    ),
    Exercise(
        id="U14.4",
        stream="sharpen",
        kind="debug",
        task="Mend a correlation with the sum of frames that has a peak at zero even for pure noise.",
        check=property_check(_self_reference),
        hints=(
            "What do the frame and the sum have in common, even if both are nothing but noise?",
            "The sum contains the frame. Its noise agrees perfectly with itself, at displacement zero.",
            "Take the frame's spectrum off the sum before you multiply.",
        ),
    ),
    Exercise(
        id="U14.5",
        stream="blur",
        kind="numeric",
        task="The critical exposures at 3 Å and at 10 Å, 300 kV, in e⁻/Å². Two numbers.",
        check=number_check(_CRITICAL, relative=0.01),
        hints=(
            "k is the frequency: one over the spacing.",
            "k to the power −1.665 is the spacing to the power +1.665.",
            "At 3 Å the power is 6.23; times 0.245, plus 2.81. Now the same at 10 Å.",
        ),
    ),
    Exercise(
        id="U14.6",
        stream="sharpen",
        kind="code",
        task="Dose weights of all frames that add up to one at each frequency.",
        check=property_check(_weights),
        hints=(
            "The dose at the end of frame f, counted from 1, is f times the dose of a frame.",
            "What is left of the amplitude then is exp(−N / 2Nc). That is the weight, but for the scale.",
            "Divide by the sum over the frames, at each frequency on its own.",
        ),
    ),
)
EXPLANATIONS = (
    Explanation(
        id="U14.words",
        question="A colleague leaves out the first three frames of every movie, because they move most. What is lost, and what would you do?",
        rubric=("damage", "frames", "weight"),
        model_answer="The first frames are those with the least damage: only they hold the finest detail. Take shorter frames and align them well, and let a "
        "weight by dose decide which frequencies of which frames count, rather than throw frames away.",
    ),
)
