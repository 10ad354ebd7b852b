"""Checks of U17: a posterior over shifts, expectation maximisation in one dimension, priors as penalties, and noise that is not independent."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryowalk.course.exercise import Exercise, Explanation, Verdict, as_numbers, choice_check, draw, is_missing, property_check
from cryowalk.course.symbols import FormulaError, evaluate

Array = NDArray[np.float64]
LENGTH = 48
SIGMA = 2.0

UNCERTAIN = {
    "pose": ("pose", "orient", "angle", "rotation", "view"),
    "shift": ("shift", "position", "translation", "offset", "centre", "center", "origin"),
    "class": ("class", "conformation", "heterogen", "state"),
    "defocus": ("defocus", "ctf", "astigmat", "aberration", "focus"),
    "scale": ("scale", "magnif", "pixel size", "contrast", "intensity", "dose"),
    "noise": ("noise", "sigma", "variance"),
    "map": ("map", "reference", "density", "structure", "volume", "average"),
    "model": ("model", "assumption", "symmetry", "linear", "physics", "weak phase"),
}
TREATMENTS = ("averaged over", "one best value", "assumed")


def signal() -> Array:
    """A signal of one dimension with no symmetry: mean 0, variance 1, one period of `LENGTH` samples."""
    x = np.arange(LENGTH, dtype=np.float64)
    bumps = ((1.0, 16, 8), (0.7, 24, 18), (-0.5, 31, 6), (0.35, 36, 3))
    values = sum(height * np.exp(-((x - place) ** 2) / width) for height, place, width in bumps)
    values = np.asarray(values - np.mean(values))
    return np.asarray(values / values.std())


def images(count: int, sigma: float, *, seed: int) -> tuple[Array, NDArray[np.int64]]:
    """So many copies of the signal, each rolled by a random shift and with white noise added, and the shifts."""
    source = np.random.default_rng(seed)
    shifts = source.integers(0, LENGTH, count)
    return np.stack([np.roll(signal(), shift) for shift in shifts]) + sigma * source.normal(size=(count, LENGTH)), shifts


def log_likelihoods(observed: Array, reference: Array, sigma: float) -> Array:
    """Log p(image | shift) for each image and each of the shifts 0 … length − 1."""
    rolled = np.stack([np.roll(reference, shift) for shift in range(len(reference))])
    squares = (observed**2).sum(axis=1)[:, None] + (rolled**2).sum(axis=1) - 2 * observed @ rolled.T
    return np.asarray(-squares / (2 * sigma**2) - observed.shape[1] * np.log(sigma * np.sqrt(2 * np.pi)))


def evidence(observed: Array, reference: Array, sigma: float) -> float:
    """Log p(all images), with every shift equally likely beforehand."""
    each = log_likelihoods(observed, reference, sigma)
    top = each.max(axis=1)
    return float((top + np.log(np.exp(each - top[:, None]).mean(axis=1))).sum())


def likeness(found: Array, truth: Array) -> float:
    """The best correlation coefficient of two signals over all shifts of one: the origin of an average is nobody's."""
    return max(float(np.corrcoef(np.roll(found, shift), truth)[0, 1]) for shift in range(len(truth)))


def data_of(seed: int) -> Mapping[str, int]:
    """The seed of the learner's own images."""
    return {"data": draw(seed, "U17.3").randrange(10_000)}


def _table(answer: Any, seed: int) -> str | None:
    if not isinstance(answer, Mapping):
        return "I expected a dictionary: what is uncertain, and how it is treated."
    rows = {str(key).strip().casefold(): str(value).strip().casefold() for key, value in answer.items()}
    odd = [key for key, value in rows.items() if value not in TREATMENTS]
    if odd:
        return f"Each row says one of {', '.join(TREATMENTS)}. Look at: {', '.join(odd[:3]) or 'an empty row'}."
    named = {name for name, words in UNCERTAIN.items() if any(word in key for key in rows for word in words)}
    if len(named) >= 6:
        return None
    return f"{len(named)} different kinds of uncertainty are named; find at least six. Walk from the specimen through the lens and the camera to the map: what is not known at each step?"


def _posterior(answer: Callable[..., Any], seed: int) -> str | None:
    reference = (
        0.3 * signal()
    )  # as in an early round: no shift fits well, so that all likelihoods underflow at a high signal-to-noise ratio
    source = np.random.default_rng(draw(seed, "U17.2").randrange(10_000))
    for snr in (0.05, 1.0, 100.0):
        sigma = snr**-0.5
        observed, _ = images(12, sigma, seed=int(source.integers(10_000)))
        log_prior = source.normal(size=LENGTH)
        log_prior -= np.log(np.exp(log_prior).sum())
        found = as_numbers(answer(observed.copy(), reference, sigma, log_prior.copy()))
        if found is None or found.shape != (12, LENGTH):
            return f"The posterior should be an array of 12 images by {LENGTH} shifts."
        if not np.isfinite(found).all():
            return f"At a signal-to-noise ratio of {snr:g} it is not finite: e to the power of a very negative number is 0, and 0/0 is nothing."
        if not np.allclose(found.sum(axis=1), 1, atol=1e-9):
            return "The probabilities of the shifts of one image should add up to 1."
        expected = _softmax(log_likelihoods(observed, reference, sigma) + log_prior)
        if np.allclose(found, expected, atol=1e-9):
            continue
        if np.allclose(found, _softmax(log_likelihoods(observed, reference, sigma)), atol=1e-9):
            return "This is right for a flat prior: the prior is missing."
        if np.allclose(found[:, (-np.arange(LENGTH)) % LENGTH], _softmax(log_likelihoods(observed, reference, sigma)), atol=0.2):
            return "The shifts run backwards: shift s means that the image is the reference rolled by +s."
        return f"At a signal-to-noise ratio of {snr:g} the probabilities are not the posterior's: is the squared distance divided by 2σ²?"
    return None


def _softmax(values: Array) -> Array:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _maximisation(answer: Callable[..., Any], seed: int) -> str | None:
    observed, _ = images(800, SIGMA, seed=draw(seed, "U17.3.check").randrange(10_000))
    start, first_sigma, rounds = observed[0] / 2, 3.0, 50
    reference, sigma, told = answer(observed.copy(), start.copy(), first_sigma, rounds)
    reference, told = np.asarray(reference, dtype=np.float64), np.asarray(told, dtype=np.float64).reshape(-1)
    if reference.shape != (LENGTH,) or told.shape != (rounds,):
        return f"It should return a reference of {LENGTH} samples, a number, and {rounds} log-likelihoods."
    if abs(told[0] - evidence(observed, start, first_sigma)) > 1e-6 * abs(told[0]):
        return "The first log-likelihood should be that of the data under the start: Σ over images of log Σ over shifts of p(shift) p(image | shift), with p(shift) = 1/48."
    if np.diff(told).min() < -1e-6 * abs(told[0]):
        return "The log-likelihood falls in some round. With the averages of the E-step in the M-step, it cannot."
    if abs(float(sigma) - SIGMA) > 0.05:
        return f"The noise comes out as {float(sigma):.2f}, too far from what was added. It is the mean squared residual over all images, samples and, by their weights, shifts."
    correlation = likeness(reference, signal())
    return None if correlation >= 0.95 else f"The reference correlates with the truth by {correlation:.2f}; it should reach 0.95."


_LINES: Mapping[str, str] = {
    "Gaussian term": "a^2/(2*tau^2)",
    "Gaussian minimum": "h*y*tau^2/(h^2*tau^2 + sigma^2)",
    "Laplace term": "abs(a)/b",
    "Laplace minimum": "positive(y - sigma^2/b) - positive(-y - sigma^2/b)",
}


def _positive(x: complex) -> complex:
    """The number where it is positive, and 0 elsewhere."""
    return complex(max(x.real, 0.0))


def _sign(x: complex) -> complex:
    return complex(np.sign(x.real))


def _priors(answer: Any, seed: int) -> Verdict:
    """The terms that priors add to a loss, and the minima, at positive widths."""
    if is_missing(answer) or not isinstance(answer, Mapping):
        return Verdict(passed=False, message=f"I expected a dictionary with the lines {', '.join(_LINES)}.")
    source = random.Random(20210218)
    points = [
        {name: complex(source.uniform(0.4, 1.8)) for name in ("h", "sigma", "tau", "b")}
        | {name: complex(source.uniform(-3, 3)) for name in ("a", "y")}
        for _ in range(40)
    ]
    functions = {"positive": _positive, "sign": _sign}
    for name, expected in _LINES.items():
        if is_missing(answer.get(name)):
            return Verdict(passed=False, message=f"The line {name!r} is still empty.")
        for point in points:
            try:
                found = evaluate(str(answer[name]), values=point, functions=functions)
            except FormulaError as error:
                return Verdict(passed=False, message=f"Look at the line {name!r}: {error}.")
            truth = evaluate(expected, values=point, functions=functions)
            if abs(found - truth) > 1e-10 * max(1.0, abs(truth)):
                where = ", ".join(f"{key} = {number.real:.3f}" for key, number in point.items())
                return Verdict(passed=False, message=f"Look at the line {name!r}: it is not right at {where}.")
    return Verdict(
        passed=True,
        message="Right: a Gaussian prior shrinks in proportion (Wiener's filter), a Laplace prior by a constant, down to 0.",
    )


def variance_map() -> Array:
    """A variance that differs from sample to sample."""
    return np.asarray(1 + 0.8 * np.cos(2 * np.pi * np.arange(LENGTH) / LENGTH))


def _covariance(answer: Callable[..., Any], seed: int) -> str | None:
    source = np.random.default_rng(draw(seed, "U17.6").randrange(10_000))
    wave = 1 + source.uniform(0.4, 0.9) * np.sin(2 * np.pi * 6 * np.arange(40) / 40)
    cases = [(variance_map(), 5, 6), (variance_map(), 5, 8), (wave, 3, 9), (0.2 + source.random(33), 7, 7)]
    for variance, k, m in cases:
        found = as_numbers(answer(variance.copy(), k, m))
        if found is None or found.size != 1:
            return "The function should return one number, which may be complex."
        given = complex(found.reshape(-1)[0])
        phase = -2j * np.pi * (k - m) * np.arange(len(variance)) / len(variance)
        expected = complex((variance * np.exp(phase)).mean())
        if abs(given - expected) <= 0.02:
            continue
        if abs(given - expected.conjugate()) <= 0.02:
            return "The size is right and the phase turned: the second coefficient is the conjugated one, so it is the frequency k − m of the variance."
        if abs(given - len(variance) * expected) <= 0.02 * len(variance):
            return "It is too large by the number of samples: the transforms here are orthonormal."
        return f"For a map of {len(variance)} samples, k = {k}, m = {m}: not the covariance that many draws would show. Write both coefficients as sums over x; noise at different x has covariance 0."
    return None


def power_spectrum(length: int = LENGTH, width: float = 4.0) -> Array:
    """A power spectrum of low-pass noise in the order of `numpy.fft`, scaled to variance 1."""
    frequency = np.minimum(np.arange(length), length - np.arange(length))
    power = 1 / (1 + (frequency / width) ** 2)
    return np.asarray(power / power.mean())


def _autocovariance(answer: Callable[..., Any], seed: int) -> str | None:
    source = draw(seed, "U17.7")
    for length, width in ((LENGTH, 4.0), (63, source.uniform(2, 9)), (40, 1e6)):
        power = power_spectrum(length, width) * (1.0 if width < 100 else 2.5)
        found = as_numbers(answer(power.copy()))
        if found is None or found.shape != (length,):
            return f"For {length} powers there should be {length} lags, from 0."
        lag = np.arange(length)
        expected = np.cos(2 * np.pi * np.outer(lag, lag) / length) @ power / length
        if np.abs(found - expected).max() <= 0.02 * expected[0]:
            continue
        if np.abs(found - length * expected).max() <= 0.02 * expected[0] * length:
            return "The shape is right, the variance at lag 0 is too large by the number of samples: it should be the mean of the power spectrum."
        if width > 100:
            return "White noise has a covariance at lag 0, its variance, and none elsewhere."
        return "At lag 0 the autocovariance is the variance: the mean of the power spectrum, with orthonormal transforms. And further away?"
    return None


EXERCISES = (
    Exercise(
        id="U17.1",
        stream="blur",
        kind="quiz",
        task="Eight things that are uncertain between the specimen and the map, and how each is treated in practice.",
        check=property_check(_table, success="Stored, with at least six of eight kinds named. Compare with the table below."),
        hints=(
            "For one image: what would you have to know to predict it from the map, but were not told?",
            "For each image: orientation, place, which molecule it is, how far the lens was defocused, how strong it is.",
            "For all together: how strong the noise is at each frequency, the map itself, and whether the equation that joins them is right.",
        ),
    ),
    Exercise(
        id="U17.2",
        stream="sharpen",
        kind="code",
        task="The posterior over shifts, computed in logarithms.",
        check=property_check(_posterior),
        hints=(
            "log posterior = log likelihood + log prior − a constant that makes the sum 1. The constant may differ from image to image.",
            "|x − roll(A, s)|² = |x|² + |A|² − 2 x · roll(A, s), over 2σ², with a minus.",
            "Take the largest log posterior of each image away from all of that image before exp: the largest becomes 1, and nothing overflows.",
        ),
    ),
    Exercise(
        id="U17.3",
        stream="sharpen",
        kind="code",
        task="Expectation maximisation: reference and noise from images with unknown shifts.",
        parameters=data_of,
        check=property_check(_maximisation),
        hints=(
            "E: the posterior of U17.2 with a flat prior. M: average all images, rolled back by every shift, each with its weight.",
            "The new σ² is the mean over images and samples of the weighted squared residual, with the new reference.",
            "log p(image) = log of the mean over shifts of exp(log-likelihood): take the largest out first, add it after the logarithm. Record it before the update.",
        ),
    ),
    Exercise(
        id="U17.4",
        stream="blur",
        kind="predict",
        task="Which estimate is nearer to the truth at a signal-to-noise ratio of 0.05: from best shifts, or from all shifts by their probability?",
        check=choice_check(
            "all shifts",
            feedback={
                "best shift": "The best shift of one image is where its noise looks most like the reference. What does the average of such choices show?",
                "the same": "They would agree if each posterior had one sharp peak. At this noise, has it?",
            },
        ),
        hints=(
            "At this noise a single image's best shift is rarely its true one.",
            "Think of Einstein from noise (U16): what does choosing by likeness do to an average?",
            "The weights admit what is not known; a choice does not.",
        ),
    ),
    Exercise(
        id="U17.5",
        stream="sharpen",
        kind="symbolic",
        task="What a Gaussian and a Laplace prior add to the loss, and where the minimum goes.",
        check=_priors,
        hints=(
            "−log of exp(−a²/(2τ²)) and of exp(−|a|/b), without constants.",
            "Gaussian: set the derivative of (y − h a)²/(2σ²) + a²/(2τ²) to zero and solve for a.",
            "Laplace (h = 1): for a > 0 the derivative is (a − y)/σ² + 1/b. Where that would make a negative, the minimum stays at 0; then the same for a < 0.",
        ),
    ),
    Exercise(
        id="U17.6",
        stream="sharpen",
        kind="code",
        task="The covariance of two Fourier coefficients of noise whose variance differs from sample to sample.",
        check=property_check(_covariance),
        hints=(
            "F_k = N^(−1/2) Σ n(x) exp(−2πi k x / N). Multiply by the conjugate of F_m and average.",
            "E[n(x) n(w)] is v(x) where w = x and 0 elsewhere: one sum remains.",
            "What remains is (1/N) Σ v(x) exp(−2πi (k − m) x / N).",
        ),
    ),
    Exercise(
        id="U17.7",
        stream="sharpen",
        kind="code",
        task="The autocovariance in real space of noise with a given power spectrum.",
        check=property_check(_autocovariance),
        hints=(
            "n(x) = N^(−1/2) Σ F_k exp(2πi k x / N), with E[F_k conj(F_m)] = S(k) where k = m and 0 elsewhere.",
            "E[n(x + d) n(x)] = (1/N) Σ S(k) exp(2πi k d / N): the same for all x.",
            "That is numpy's inverse transform of S, whose imaginary part is 0.",
        ),
    ),
)
EXPLANATIONS = (
    Explanation(
        id="U17.words",
        question="In practice, do people take into account that these things are uncertain, or do they take one value? Why?",
        rubric=("orientation", "average", "defocus", "cost", "sharp"),
        model_answer="Both. Programs average over each particle's orientation, shift and class by their probability, at least in early rounds, because a wrong choice "
        "there copies the reference into the noise. Defocus, pixel size, noise and the map itself get one value: averaging over them would multiply the cost, "
        "and their posteriors are sharp, because thousands of images share one noise spectrum or one map.",
    ),
)
