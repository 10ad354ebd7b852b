"""Checks of U03: Fourier bins, widths, and the four laws of the transform in one dimension."""

from collections.abc import Callable, Mapping
from math import inf, log, pi
from typing import Any

import numpy as np

from cryowalk.course.exercise import (
    Exercise,
    Explanation,
    Verdict,
    as_numbers,
    derivation_check,
    draw,
    is_missing,
    number_check,
    property_check,
)

_BOX = 128  # Å and pixels: the seed's question has 1 Å pixels


def _band(answer: Any, seed: int) -> Verdict:
    """How many bins lie between 10 and 5 Å and between 5 and 2.5 Å, in any of the three ways of counting."""
    numbers = None if is_missing(answer) else as_numbers(answer)
    if numbers is None or numbers.size != 2:
        return Verdict(
            passed=False, message="I expected two numbers: the bins between 10 and 5 Å, and those between 5 and 2.5 Å."
        )
    first, second = numbers.reshape(-1)
    if np.allclose((first, second), (12.8, 25.6), atol=0.06):
        return Verdict(
            passed=True, message="Right, in widths of a bin: frequencies twice as high, twice as many. The ratio is exactly two."
        )
    if (first, second) == (13, 26):
        return Verdict(
            passed=True,
            message="Right, if you count samples of the transform (points k/128). Counted in widths of a bin it is 12.8 and 25.6.",
        )
    if (first, second) == (12, 25):
        return Verdict(
            passed=True,
            message="Right, if only bins that lie whole inside the range count. Counted in widths of a bin it is 12.8 and 25.6.",
        )
    if first == second:
        return Verdict(
            passed=False,
            message="Both ranges span a factor of two in length, but the bins are equal steps in frequency, not in length.",
        )
    if first > second:
        return Verdict(passed=False, message="Which range is the wider one in frequency: 1/10 to 1/5, or 1/5 to 1/2.5?")
    return Verdict(passed=False, message="The finer range has more bins, that much is right.")


def _lattice_count(dimensions: int, coarse: float, fine: float) -> int:
    """Fourier pixels of a 128 Å box with 1 Å pixels whose length lies between fine and coarse, all signs counted."""
    index = np.arange(-_BOX // 2, _BOX // 2) ** 2
    squared = sum(np.meshgrid(*[index] * dimensions, indexing="ij", sparse=True), start=np.zeros(1, dtype=int))
    return int(((squared >= (_BOX / coarse) ** 2) & (squared < (_BOX / fine) ** 2)).sum())


def _counts(answer: Callable[[int, float, float], Any], seed: int) -> str | None:
    for dimensions in (1, 2, 3):
        found = [float(answer(dimensions, *band)) for band in ((10.0, 5.0), (5.0, 2.5))]
        truth = [_lattice_count(dimensions, *band) for band in ((10.0, 5.0), (5.0, 2.5))]
        if any(value <= 0 for value in found):
            return f"In {dimensions} D your function finds no Fourier pixels at all."
        ratio, expected = found[1] / found[0], truth[1] / truth[0]
        if abs(ratio / expected - 1) > 0.01:
            return f"The ratio of the two counts is not yet right in {dimensions} D. Does the length depend on all the components of the frequency?"
        if abs(found[0] / truth[0] - 2) < 0.02:
            return f"In {dimensions} D you have counted every pixel twice."
        if abs(found[0] / truth[0] - 0.5) < 0.02:
            return f"In {dimensions} D you have counted one half of Fourier space: the transform has negative frequencies too."
        if abs(found[0] / truth[0] - 1) > 0.02:
            return (
                f"The ratio is right in {dimensions} D, but not the number of pixels. Is the region a shell, or a square frame?"
            )
    return None


def width_numbers(seed: int) -> Mapping[str, float]:
    """The learner's own Gaussian: its full width at half maximum, Å."""
    return {"width": draw(seed, "U03.5").choice((1.6, 2.2, 2.8, 3.4, 4.0))}


def _magnified(answer: Any, seed: int) -> str | None:
    if isinstance(answer, str) or not hasattr(answer, "__len__") or len(answer) != 2:
        return "I expected a pair: the letter of your prediction, and the product of the two widths."
    letter, product = str(answer[0]).strip().casefold(), as_numbers(answer[1])
    reasons = {
        "a": "In pixels the molecule has become larger. A broader function has a narrower spectrum.",
        "c": "The picture has changed: the molecule covers twice as many pixels. Its spectrum in cycles per pixel must change too.",
        "d": "The molecule did not change, and 1/Å is a property of the molecule. Only what one pixel means has changed.",
    }
    if letter != "b":
        return reasons.get(letter, "The letter is one of a, b, c, d.")
    if product is None or product.size != 1:
        return "The letter is right. The second entry should be one number, the product of the two widths."
    if not np.isclose(float(product.real.reshape(-1)[0]), 4 * log(2) / pi, rtol=0.01):
        return "The letter is right. The product is not: are both widths full widths at half maximum, one in Å and one in 1/Å?"
    return None


def _general(u: complex) -> complex:
    """A stand-in for a spectrum F, with no symmetry that could hide a mistake."""
    return (1 + 0.3j * u + 0.2 * u**3) / (1 + u * u)


def _dft(samples: np.ndarray) -> np.ndarray:
    index = np.arange(len(samples))
    return np.asarray(np.exp(-2j * pi * np.outer(index, index) / len(samples)) @ samples)


def _law_tests(answer: Callable[..., Any], seed: int) -> str | None:
    """Whether the learner's tests pass for the transform, and notice transforms that break one law each."""
    source = np.random.default_rng(draw(seed, "U03.7").randrange(2**31))
    broken = {
        "linearity": (0, lambda f: _dft(f) + np.abs(f).sum()),
        "shift": (1, lambda f: np.conj(_dft(np.conj(f)))),
        "convolution": (2, lambda f: _dft(f) / np.sqrt(len(f))),
    }
    for size in (12, 15):
        f, g = (source.normal(size=size) + 1j * source.normal(size=size) for _ in range(2))
        errors = as_numbers(answer(_dft, f, g))
        if errors is None or errors.size != 3:
            return "I expected three numbers: the largest errors of linearity, shift and convolution."
        for law, error in zip(broken, errors.reshape(-1), strict=True):
            if not abs(error) < 1e-12 * size**2:
                return f"Your test of the {law} law fails for the right transform, with {size} samples. Which way does the shift go? Does the convolution wrap around?"
        for law, (place, transform) in broken.items():
            noticed = as_numbers(answer(transform, f, g))
            if noticed is None or not abs(noticed.reshape(-1)[place]) > 1e-6:
                return f"I gave your tests a transform that breaks the {law} law (with {size} samples), and they did not notice."
    return None


EXERCISES = (
    Exercise(
        id="U03.1",
        stream="blur",
        kind="numeric",
        task="The spacing of the frequency bins of a box of 128 Å with pixels of 1 Å, in 1/Å.",
        check=number_check(1 / _BOX, relative=1e-3),
        hints=(
            "The slowest wave that fits whole into the box has one period in it. What is its frequency?",
            "The next one has two periods in the same box. The spacing is the difference of the two frequencies.",
            "One over the length of the box. The pixel size does not matter.",
        ),
    ),
    Exercise(
        id="U03.2",
        stream="blur",
        kind="numeric",
        task="The range of lengths that bins 0, 1 and 63 stand for, in Å, each as (longest, shortest).",
        check=number_check((inf, 128.0, 128.0, 64.0, _BOX / 63, _BOX / 64), absolute=1e-3, relative=0.0),
        hints=(
            "Bin k holds the frequencies from k to k + 1 spacings. Turn both ends into lengths.",
            "The length of a wave is one over its frequency. The first bin begins at frequency zero, which is a wave of infinite length (np.inf).",
            "Bin k reaches from (box / k) down to (box / (k + 1)). The last bin ends at twice the pixel size.",
        ),
    ),
    Exercise(
        id="U03.3",
        stream="blur",
        kind="predict",
        task="How many frequency bins lie between 10 and 5 Å, and how many between 5 and 2.5 Å?",
        check=_band,
        hints=(
            "Write down the two ends of each range as frequencies.",
            "Each range in 1/Å, divided by the spacing of the bins, is the number of bins, and need not be whole.",
            "(1/5 − 1/10) times the box for the first, (1/2.5 − 1/5) times the box for the second.",
        ),
    ),
    Exercise(
        id="U03.4",
        stream="sharpen",
        kind="code",
        task="Count the Fourier pixels between two lengths in one, two and three dimensions.",
        check=property_check(
            _counts, success="Right: twice, four times, eight times as many. Most of a map's numbers describe its finest detail."
        ),
        hints=(
            "Make the frequencies of one axis, all of them, negative ones included, and combine them to |k| on a grid.",
            "|k|² is the sum of the squares of the components; the pixel belongs to the band where 1/coarse ≤ |k| < 1/fine.",
            "np.meshgrid(*[k] * dimensions) gives as many components as there are dimensions.",
        ),
    ),
    Exercise(
        id="U03.5",
        stream="blur",
        kind="predict",
        task="Twice the magnification: what happens to the spectrum, and what to the product of the two widths?",
        parameters=width_numbers,
        check=property_check(_magnified, success="Right: the product of the widths belongs to the shape, not to the size."),
        hints=(
            "Separate what is measured in Å (the molecule) from what is measured in pixels (the picture).",
            "In pixels the molecule is now twice as wide. In Å it is what it was.",
            "For the product: find where each curve falls to half of its maximum, on both sides; multiply the two full widths.",
        ),
    ),
    Exercise(
        id="U03.6",
        stream="sharpen",
        kind="symbolic",
        task="Prove the shift and the scale law, line by line.",
        check=derivation_check(
            {
                "shift: the exponential": "exp(-2*pi*i*u*(t + a))",
                "shift: the result": "exp(-2*pi*i*u*a)*F(u)",
                "scale: the exponential": "exp(-2*pi*i*u*t/a)",
                "scale: the factor": "1/abs(a)",
                "scale: the result": "F(u/a)/abs(a)",
            },
            variables=("u", "t", "a"),
            functions={"F": _general},
            success="Right, every line. Both proofs are one substitution.",
        ),
        hints=(
            "In both proofs give the argument of f the new name t, and write everything else in terms of t.",
            "Shift: x = t + a and dx = dt. Scale: x = t/a. What happens to dx, and to the bounds if a is negative?",
            "What remains is the definition of F again, at another frequency for the scale law, times what does not depend on t.",
        ),
    ),
    Exercise(
        id="U03.7",
        stream="sharpen",
        kind="code",
        task="Write tests of linearity, shift and convolution that the right transform passes and a wrong one fails.",
        check=property_check(_law_tests, success="Right: your tests pass for the transform, and each of them can fail."),
        hints=(
            "Each law says that two arrays are equal. Return the largest absolute difference of the two, for each of the three laws.",
            "np.roll(f, s) moves f by +s samples, around the end. Choose a shift for which a wrong sign would be seen.",
            "The convolution that goes with the DFT is circular: h[j] = Σ_m f[m] g[(j − m) mod n].",
        ),
    ),
)

EXPLANATIONS = (
    Explanation(
        id="U03.words",
        question="A colleague asks why fine detail is found far out in Fourier space, and why a small molecule has a smooth spectrum. What do you say?",
        rubric=("wave", "frequency", "narrow", "broad", "period"),
        model_answer=(
            "A picture is a sum of waves. Fine detail needs waves of short period, and a short period is a high frequency, far from the centre. "
            "What is narrow in one space is broad in the other: a small molecule is narrow in real space, so the features of its spectrum are broad "
            "and change slowly from one frequency to the next."
        ),
    ),
)
