"""Checks of U04: the discrete transform, its three errors, its cost, and its traps."""

from collections.abc import Callable, Mapping
from math import fsum, isfinite, log, pi
from typing import Any

import numpy as np

from cryowalk.course.exercise import Exercise, Explanation, Verdict, as_numbers, draw, is_missing, number_check, property_check


def _swapped(answer: Any, seed: int) -> str | None:
    if isinstance(answer, str) or not hasattr(answer, "__len__") or len(answer) != 3:
        return "I expected three things: your word, and the correlations with the donor of the phases and with the donor of the amplitudes."
    word, numbers = str(answer[0]).strip().casefold(), as_numbers([answer[1], answer[2]])
    if numbers is None or np.any(np.abs(numbers) > 1):
        return "The second and third entries should be correlation coefficients, numbers between -1 and 1."
    with_phases, with_amplitudes = numbers
    if word not in {"phases", "amplitudes"}:
        return "The word is one of phases, amplitudes."
    if with_phases < 2 * abs(with_amplitudes):
        return "Compare the two correlations: which hybrid did you measure? Each has one donor of phases and one donor of amplitudes."
    if word == "amplitudes":
        return "Your measurement contradicts your word. Look at the two hybrids again and trust the numbers."
    return None


def _direct_sum(samples: np.ndarray, *, centred: bool = False) -> np.ndarray:
    """The transform as a sum; the products of indices are reduced modulo n as whole numbers, so that no angle is large."""
    n = len(samples)
    index = np.arange(n) - (n // 2 if centred else 0)
    turns = np.outer(index, index) % n
    return np.asarray(np.exp(-2j * pi * turns / n) @ samples)


def _own_dft(answer: Callable[[np.ndarray], Any], seed: int) -> str | None:
    source = np.random.default_rng(draw(seed, "U04.2").randrange(2**31))
    for n in (12, 37, 1024):
        samples = source.normal(size=n) + 1j * source.normal(size=n)
        found, truth = as_numbers(answer(samples)), _direct_sum(samples)
        if found is None or found.shape != (n,):
            return f"For {n} samples I expected {n} complex numbers."
        error = np.abs(found - truth).max()
        if error < 1e-10:
            continue
        if np.allclose(found, np.conj(_direct_sum(np.conj(samples))), atol=1e-8):
            return "This is the transform with the other sign in the exponent."
        if np.allclose(found * np.sqrt(n), truth, atol=1e-8) or np.allclose(found * n, truth, atol=1e-8):
            return "Right up to a factor. Here the forward sum has no normalisation."
        return f"With {n} samples the largest error is {error:.1e}."
    return None


def _sum_and_cause(answer: Any, seed: int) -> str | None:
    if isinstance(answer, str) or not hasattr(answer, "__len__") or len(answer) != 2:
        return "I expected a pair: the sum, and the name of the error."
    value, cause = as_numbers(answer[0]), str(answer[1]).strip().casefold()
    truth = fsum(np.exp(-pi * n * n) for n in range(-8, 9))
    if value is None or value.size != 1:
        return "The first entry should be one number."
    found = float(value.real.reshape(-1)[0])
    if abs(found - truth) > 1e-7:
        if abs(found - 1) < 1e-7:
            return "That is the integral. I asked for the sum over the whole numbers."
        if abs(2 * found - 1 - truth) < 1e-6:
            return "Does n run over the negative whole numbers too?"
        return "The sum is not right yet."
    reasons = {
        "round-off": "The sum is right. Round-off would be some 16 digits down; the excess is not.",
        "truncation": "The sum is right. But terms beyond |n| = 6 are smaller than the last digit: nothing was cut off.",
    }
    return None if cause == "aliasing" else reasons.get(cause, "The cause is one of round-off, aliasing, truncation.")


def steps(seed: int) -> Mapping[str, tuple[float, ...]]:
    """The learner's own steps, Å, each half of the one before."""
    first = draw(seed, "U04.4").choice((0.4, 0.44, 0.5, 0.56, 0.6))
    return {"steps": tuple(first / 2**k for k in range(5))}


def _convergence(answer: Any, seed: int) -> str | None:
    if not hasattr(answer, "__len__") or len(answer) != 2 or not callable(answer[0]):
        return "I expected a pair: your function of the step, and the slope."
    own = steps(seed)["steps"]
    for dx in own:
        found, truth = float(answer[0](dx)), dx / np.tanh(dx / 2)
        if abs(found - truth) > 1e-8:
            if abs(found * dx - truth) < 1e-6:
                return "A sum becomes an integral when each term is multiplied by the step."
            if abs(found + dx - truth) < 1e-6 or abs(2 * found - dx - truth) < 1e-6:
                return "Count the sample at zero once, and both sides of it."
            return f"At the step {dx:g} the sum is not yet right to eight digits. How far does it have to run until the rest is negligible?"
    slope = as_numbers(answer[1])
    if slope is None or slope.size != 1 or not abs(float(slope.real.reshape(-1)[0]) - 2) <= 0.1:
        return (
            "The sums are right. The slope is that of log(error) against log(step), and the error is taken against the integral."
        )
    return None


def _timings(answer: Any, seed: int) -> Verdict:
    """Whether the table is complete and its scaling is that of an FFT; no absolute time is judged."""
    wanted = (64, 128, 256, "disk")
    if is_missing(answer) or not isinstance(answer, Mapping):
        return Verdict(passed=False, message="I expected a dictionary with the seconds for 64, 128, 256 and 'disk'.")
    absent = [str(name) for name in wanted if name not in answer]
    if absent:
        return Verdict(passed=False, message=f"Missing in your table: {', '.join(absent)}.")
    numbers = as_numbers([answer[name] for name in wanted])
    if numbers is None or not all(isfinite(value) and value > 0 for value in numbers):
        return Verdict(passed=False, message="Every entry should be a time in seconds, larger than zero.")
    small, middle, large, _ = numbers
    if not small < middle < large:
        return Verdict(
            passed=False, message="A larger box should take longer. Was the machine busy? Take the best of several runs."
        )
    ratio = large / middle
    if ratio < 4:
        return Verdict(
            passed=False,
            message=f"256 against 128 is a factor {ratio:.1f}, less than the number of voxels grows. Is the first call, which prepares the plan, in the time?",
        )
    if ratio > 60:
        return Verdict(
            passed=False,
            message=f"256 against 128 is a factor {ratio:.0f}. No FFT does that: was the machine swapping or busy, or is the best of several runs missing?",
        )
    message = f"The large box takes {ratio:.1f} times as long as the middle one; counting operations says {8 * log(256**3) / log(128**3):.1f}."
    if ratio > 14:
        message += " The excess is memory: the middle box fits into the processor's cache and the large one does not."
    return Verdict(passed=True, message=message)


def _centred_pair(answer: Any, seed: int) -> str | None:
    if not hasattr(answer, "__len__") or len(answer) != 2 or not all(callable(part) for part in answer):
        return "I expected a pair of functions, forward and inverse."
    forward, inverse = answer
    source = np.random.default_rng(draw(seed, "U04.7").randrange(2**31))
    for n in (64, 63):
        samples = source.normal(size=n) + 1j * source.normal(size=n)
        spectrum = as_numbers(forward(samples))
        if spectrum is None or spectrum.shape != (n,):
            return f"For {n} samples I expected {n} numbers."
        if not np.abs(as_numbers(inverse(spectrum)) - samples).max() < 1e-12:  # type: ignore[operator]
            return f"The round trip does not come back for n = {n}."
        delta = np.zeros(n)
        delta[n // 2] = 1
        if not np.allclose(forward(delta), 1, atol=1e-12):
            return f"n = {n}: a single 1 at the origin pixel n // 2 should have a transform of ones, without a phase ramp."
        if int(np.argmax(np.abs(forward(np.ones(n))))) != n // 2:
            return f"n = {n}: the transform of a constant should have its peak at the pixel n // 2."
        if not np.allclose(spectrum, _direct_sum(samples, centred=True), atol=1e-10):
            return f"n = {n}: it comes back, but it is not the centred transform."
    return None


EXERCISES = (
    Exercise(
        id="U04.1",
        stream="blur",
        kind="predict",
        task="The amplitudes of one image with the phases of another: which of the two do you recognise?",
        check=property_check(_swapped, success="Right: where things are is written in the phases."),
        hints=(
            "Look at the hybrids before you measure: what do you see in each?",
            "Correlate the details of one hybrid with those of both originals. np.corrcoef does it for flattened arrays.",
            "Your three entries: the word for what decides, the correlation with the image that gave the phases, and that with the image that gave the amplitudes.",
        ),
    ),
    Exercise(
        id="U04.2",
        stream="sharpen",
        kind="code",
        task="Write the discrete Fourier transform as a sum.",
        check=property_check(_own_dft, success="Right, for even, odd and large numbers of samples."),
        hints=(
            "Each frequency k has one sum over all samples j; the arrow turns by -jk/n turns.",
            "All sums at once are a matrix times a vector: np.outer(index, index) holds the products jk.",
            "np.exp(-2j * np.pi * products / n) @ samples. With the products taken modulo n before the division it is even more accurate.",
        ),
    ),
    Exercise(
        id="U04.3",
        stream="sharpen",
        kind="numeric",
        task="The sum of exp(-pi n²) over all whole numbers n, and the name of the error by which it differs from the integral.",
        check=property_check(_sum_and_cause, success="Right: the copies of the spectrum at ±1, ±2, … overlap at zero."),
        hints=(
            "The terms fall so fast that a dozen of them are enough for all digits. The integral is exactly 1.",
            "Go through the three suspects: is something rounded, is something cut off, or does a copy of the spectrum leak in?",
            "The sum of the samples is the sum of the transform at all multiples of 1/dx. Here dx is 1, and the transform of this Gaussian is itself.",
        ),
    ),
    Exercise(
        id="U04.4",
        stream="sharpen",
        kind="code",
        task="How fast does the sum over samples of exp(-|x|) approach the integral when the step shrinks?",
        parameters=steps,
        check=property_check(
            _convergence, success="Right: half the step, a quarter of the error. The corner at zero costs all the rest."
        ),
        hints=(
            "Sum exp(-|n dx|) over positive and negative n, far enough that the terms are negligible, and multiply by dx.",
            "The integral is 2. Take the difference for each of your steps, and fit a straight line to the logarithms.",
            "np.polyfit(np.log(steps), np.log(errors), 1)[0] is the slope.",
        ),
    ),
    Exercise(
        id="U04.5",
        stream="sharpen",
        kind="code",
        task="Time the transform of boxes of 64, 128 and 256 voxels and the reading of a file, and submit the table.",
        check=_timings,
        hints=(
            "A dictionary: {64: seconds, 128: seconds, 256: seconds, 'disk': seconds}.",
            "Call the function once before you time it, then take the best of several runs: other programs can only make it slower.",
            "time.perf_counter() before and after. For the disk, read back the bytes of a file that holds the largest box.",
        ),
    ),
    Exercise(
        id="U04.6",
        stream="blur",
        kind="numeric",
        task="How many complex numbers does the half spectrum of a real box of 256 voxels a side have?",
        check=number_check(256 * 256 * 129, relative=0.0),
        hints=(
            "Two axes keep all their frequencies. The third keeps zero and the positive ones.",
            "How many of the 256 frequencies of one axis are zero or positive, Nyquist included?",
            "The last axis of n samples keeps n // 2 + 1 frequencies.",
        ),
    ),
    Exercise(
        id="U04.7",
        stream="sharpen",
        kind="debug",
        task="Repair a centred transform and its inverse, so that they are right for odd sizes too.",
        check=property_check(_centred_pair, success="Right for even and odd sizes: round trip, origin and order of frequencies."),
        hints=(
            "fftshift moves the first sample to pixel n // 2. Which function moves pixel n // 2 to the first place?",
            "For even n the two are the same, which is why the bug sleeps. Before a transform the origin has to go to the front.",
            "Inside: from centred to front. Outside: from front to centred. The same on the way back.",
        ),
    ),
)

EXPLANATIONS = (
    Explanation(
        id="U04.words",
        question="A colleague's transform of a mask agrees with the formula near the centre of Fourier space but not near its edge. What do you tell them?",
        rubric=("alias", "edge", "smooth", "round-off"),
        model_answer=(
            "That is aliasing: the sampled mask has copies of its spectrum at every multiple of 1/pixel size, and near the edge of Fourier space the "
            "neighbouring copy is as strong as the original. A hard edge has a spectrum that falls off slowly, so the copies overlap much; "
            "a smooth edge or a smaller pixel cures it. It is far too large to be round-off."
        ),
    ),
)
