"""Checks of U06: aliasing, the choice of a pixel size, and a first deconvolution."""

from collections.abc import Callable, Mapping
from math import log, pi, sqrt
from typing import Any

import numpy as np
import torch

from cryowalk import fourier
from cryowalk.course.exercise import Exercise, Explanation, as_numbers, draw, number_check, property_check


def frequency(seed: int) -> Mapping[str, float]:
    """The learner's own wave, cycles per pixel."""
    return {"frequency": draw(seed, "U06.1").choice((0.85, 1.15, 1.35, 1.64, 2.38))}


def alias(cycles: float) -> float:
    """The frequency at which a sampled wave appears, cycles per pixel."""
    return abs(cycles - round(cycles))


def camera(seed: int) -> Mapping[str, float]:
    """The learner's own camera: DQE(x) = at_zero · (1 − fall · x²), x the frequency in units of Nyquist; and the target in Å."""
    source = draw(seed, "U06.3")
    return {"at_zero": source.choice((0.84, 0.88, 0.92)), "fall": source.choice((0.75, 0.8, 0.85, 0.9)), "target": 3.0}


def worth(pixel_size: float, *, fall: float, target: float) -> float:
    """Area of the field times DQE at the target, up to a factor; 0 where the target lies beyond Nyquist."""
    x = 2 * pixel_size / target
    return 0.0 if x > 1 else pixel_size**2 * (1 - fall * x * x)


def _designed(answer: Any, seed: int) -> str | None:
    numbers = as_numbers(answer)
    if numbers is None or numbers.size != 1:
        return "I expected one number: a pixel size in Å."
    pixel_size = float(numbers.real.reshape(-1)[0])
    own = camera(seed)
    if pixel_size <= 0:
        return "A pixel size is larger than zero."
    if 2 * pixel_size > own["target"]:
        return "With this pixel the target lies beyond Nyquist: it cannot be recorded at all."
    best = max(worth(size, fall=own["fall"], target=own["target"]) for size in np.linspace(0.01, own["target"] / 2, 3000))
    reached = worth(pixel_size, fall=own["fall"], target=own["target"]) / best
    if reached >= 0.95:
        return None
    side = "smaller" if worth(0.99 * pixel_size, fall=own["fall"], target=own["target"]) > reached * best else "larger"
    return f"This design is worth {100 * reached:.0f} % of what your camera can do. A {side} pixel would be better: which of area and DQE is holding you back?"


_ROUND_OFF = sqrt(4 * log(2**52) / (2 * pi**2))  # the blur at which the amplification at Nyquist is 1/eps, pixels


def _transfer(size: int, sigma: float) -> np.ndarray:
    index = np.arange(size)
    signed = np.where(index < (size + 1) // 2, index, index - size) / size
    return np.exp(-2 * pi**2 * sigma**2 * signed**2)


def _blurred(signal: np.ndarray, sigma: float) -> np.ndarray:
    half = torch.tensor(_transfer(len(signal), sigma)[: len(signal) // 2 + 1])
    return np.asarray(
        fourier.to_real(fourier.to_fourier(torch.tensor(signal), dimensions=1) * half, width=len(signal), dimensions=1).numpy()
    )


def _cured(answer: Callable[[np.ndarray, np.ndarray], Any], seed: int) -> str | None:
    source = draw(seed, "U06.5")
    for size in (128, 129):
        signal = np.zeros(size)
        signal[source.randrange(20, 60)] = 1.0
        signal[source.randrange(70, 110)] = -0.6
        for sigma, limit, which in ((1.0, 1e-3, "light"), (3.0, 0.5, "strong"), (3.5, 0.6, "very strong")):
            found = as_numbers(answer(_blurred(signal, sigma), _transfer(size, sigma)))
            if found is None or found.shape != (size,) or (np.iscomplexobj(found) and np.abs(found.imag).max() > 1e-6):
                return "I expected a real array as long as the blurred one."
            error = float(np.abs(found.real - signal).max())
            if not error < limit:
                if error > 1:
                    return f"With a {which} blur the result blows up: the largest error is {error:.1e}."
                return f"With a {which} blur too much is lost: the largest error is {error:.2f}. Your constant is too large, or the formula is not the one of the text."
    return None


def _cropped(answer: Any, seed: int) -> str | None:
    if not hasattr(answer, "__len__") or len(answer) != 2 or not all(callable(part) for part in answer):
        return "I expected a pair of functions: the crop, and the factor of block averaging."
    crop, factor = answer
    return _crop_problem(crop, seed) or _factor_problem(factor)


def _crop_problem(crop: Callable[[np.ndarray, int], Any], seed: int) -> str | None:
    source = np.random.default_rng(draw(seed, "U06.6").randrange(2**31))
    for old, new in ((48, 24), (40, 30)):
        image = source.normal(size=(old, old)) + 2.0
        found = as_numbers(crop(image, new))
        if found is None or found.shape != (new, new):
            return f"From {old} × {old} pixels to {new} × {new}: I expected an image of that size."
        before = fourier.to_fourier(torch.tensor(image)).numpy()
        after = fourier.to_fourier(torch.tensor(np.ascontiguousarray(found.real))).numpy()
        limit = (new - 1) // 2  # strictly below the new Nyquist frequency
        rows = np.r_[0 : limit + 1, -limit:0]
        kept, wanted = after[rows][:, : limit + 1], before[rows][:, : limit + 1] * new / old
        if np.abs(kept - wanted).max() < 1e-12 * np.abs(wanted).max():
            continue
        ratio = np.abs(kept).sum() / np.abs(wanted).sum()
        if np.allclose(kept, wanted * ratio, rtol=1e-6, atol=1e-9):
            return "The right frequencies, but the values of the image have changed by a factor: a constant image should stay the same constant."
        if np.allclose(np.abs(kept), np.abs(wanted), rtol=1e-6, atol=1e-9):
            return "The amplitudes are right, but the phases are not: has the image moved?"
        return "Frequencies below the new Nyquist have changed. A crop leaves them alone, and leaves out the others."
    return None


def _factor_problem(factor: Callable[[float, int], Any]) -> str | None:
    for block in (2, 3, 4):
        for cycles in (0.01, 0.07, 0.5 / block):
            truth = abs(np.sin(pi * block * cycles) / (block * np.sin(pi * cycles)))
            if abs(abs(complex(factor(cycles, block))) - truth) > 1e-6:
                if abs(abs(complex(factor(cycles, block))) - abs(np.sinc(block * cycles))) < 1e-9:
                    return "The crop is right. Your factor is that of an area, a continuous average; this average is a sum over a few pixels."
                return "The crop is right. The factor of the average is not: which wave goes in, and what is the mean over one block?"
    return None


EXERCISES = (
    Exercise(
        id="U06.1",
        stream="blur",
        kind="numeric",
        task="At which frequencies, in cycles per pixel from 0 to 1/2, do a wave of 0.7 cycles per pixel and your own wave appear?",
        parameters=frequency,
        check=number_check(lambda seed: (0.3, alias(frequency(seed)["frequency"])), absolute=1e-6, relative=0.0),
        hints=(
            "Adding a whole turn between two samples changes nothing that the samples could see.",
            "Subtract whole numbers until the frequency lies between -1/2 and 1/2.",
            "A negative frequency is a wave that runs backwards; as a frequency between 0 and 1/2 give its absolute value.",
        ),
    ),
    Exercise(
        id="U06.2",
        stream="blur",
        kind="numeric",
        task="Half the pixel size at the same dose per Å²: by which factors do the area of the field and the electrons per pixel change?",
        check=number_check((0.25, 0.25), absolute=1e-6, relative=0.0),
        hints=(
            "The number of pixels of the camera stays. What is the side of the field?",
            "Area goes with the square of the side. And how large is one pixel, in Å²?",
            "Both are areas: of the whole camera and of one pixel, in units of the specimen.",
        ),
    ),
    Exercise(
        id="U06.3",
        stream="sharpen",
        kind="design",
        task="Choose the pixel size for a 3 Å target with your camera, so that the worth of an image is within 5 % of the best.",
        parameters=camera,
        check=property_check(_designed, success="A good design: within 5 % of the best that your camera allows."),
        hints=(
            "Write down the worth as a function of the pixel size: area of the field times the DQE at the target.",
            "With x = 2 · pixel / target, the target's frequency in units of Nyquist, the worth is x² (1 - fall · x²) up to a factor.",
            "Set the derivative to zero, or evaluate it on a grid of pixel sizes and take the largest.",
        ),
    ),
    Exercise(
        id="U06.4",
        stream="blur",
        kind="predict",
        task="At which Gaussian blur, in pixels, does deconvolution in double precision explode?",
        check=number_check(_ROUND_OFF, absolute=0.15, relative=0.0),
        hints=(
            "Turn the slider and watch the recovered signal. Where do errors become as large as the signal?",
            "The weakest frequency is at Nyquist, u = 1/2. By how much does the blur weaken it, and by how much must one multiply to undo that?",
            "It explodes when the factor at Nyquist reaches one over the precision of a double, 2 to the power -52.",
        ),
    ),
    Exercise(
        id="U06.5",
        stream="sharpen",
        kind="code",
        task="Deconvolve with Tikhonov's cure, so that light blurs are undone and strong ones do not blow up.",
        check=property_check(_cured, success="Right: what the blur has kept comes back, and the rest stays quiet."),
        hints=(
            "Replace 1/H by H/(H² + c). What does it do where H is large, and where it is small?",
            "The constant decides at which H one gives up. Round-off has a relative size of 1e-16, so what does H² look like where the signal drowns?",
            "With c between 1e-20 and 1e-12 one gives up at an H between 1e-10 and 1e-6. Much larger constants throw away what could be saved.",
        ),
    ),
    Exercise(
        id="U06.6",
        stream="sharpen",
        kind="code",
        task="Shrink an image by cropping its spectrum, and find the factor by which averaging blocks of pixels weakens each wave.",
        check=property_check(_cropped, success="Right: cropping leaves the low frequencies untouched, averaging weakens them."),
        hints=(
            "Take the full spectrum with zero in the middle, cut out the middle square, transform back. Mind the constant image.",
            "np.fft.fftshift(np.fft.fft2(image)), then rows and columns from old//2 - new//2 to old//2 - new//2 + new; multiply by (new/old)².",
            "For the factor take the mean of exp(2πi u j) over j = 0 ... block - 1: a geometric series. Only its modulus is asked for.",
        ),
    ),
)

EXPLANATIONS = (
    Explanation(
        id="U06.words",
        question="Your colleague wants to collect at the smallest pixel size that the microscope offers, because more is better. What do you say?",
        rubric=("field", "Nyquist", "DQE", "particles", "resolution"),
        model_answer=(
            "Half the pixel size shows a quarter of the field, so a quarter of the particles per image. It moves Nyquist out, which helps only up to the "
            "resolution that the specimen will give, and it raises the DQE at that resolution a little. A good compromise puts the expected resolution at "
            "two thirds to three quarters of Nyquist."
        ),
    ),
)
