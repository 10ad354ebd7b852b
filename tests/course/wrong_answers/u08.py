"""Wrong answers to U08 that its checks must refuse."""

import math

import numpy as np

from cryowalk.course.checks.u08 import STACKS, camera_numbers, expected_correlation, mystery_key


def edge(image, angle, *, corrected=True, along_row=False, normalised=True, nyquist=True, steps=1):
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    x, y = x - (image.shape[1] - 1) / 2, y - (image.shape[0] - 1) / 2
    distance = x if along_row else x * math.cos(angle) + y * math.sin(angle)
    fine = 8 // steps
    reach = int(image.shape[1] / 2 - abs(math.tan(angle)) * image.shape[0] / 2 - 2)
    bins = np.floor((distance + reach) * fine).astype(int)
    inside = (bins >= 0) & (bins < 2 * reach * fine)
    spread = np.bincount(bins[inside], weights=image[inside]) / np.maximum(np.bincount(bins[inside]), 1)
    line = np.diff(spread)
    frequency, amplitude = np.fft.rfftfreq(len(line), 1 / fine), np.abs(np.fft.rfft(line))
    amplitude = amplitude / amplitude[0] if normalised else amplitude
    if corrected:
        amplitude = amplitude / np.sinc(frequency / fine) ** 2
    return frequency if nyquist else frequency * 0.5, amplitude


def correlation(image):
    centred = image - image.mean()
    return (centred[:, 1:] * centred[:, :-1]).mean() / (centred**2).mean()


def neighbours(seed, **other):
    wanted = expected_correlation(camera_numbers(seed)["at_nyquist"])
    right = {"correlation": correlation, "white": 0.001, "camera": wanted, "shifted variance": 0.25, "shifted": 0.5}
    return right | other


def line(mtf, *, axis=0, scale=1.0, squared=False):
    spread = np.fft.ifft2(mtf).real.sum(axis=axis) * scale
    transform = np.fft.fft(spread)
    return spread, transform**2 if squared else transform


def exchanged(seed, first, second):
    key = dict(mystery_key(seed))
    return {letter: {first: second, second: first}.get(kind, kind) for letter, kind in key.items()}


WRONG = {
    "U08.1": {
        "wave of one pixel": (0.0, 0.0),
        "amplitude twice": (2 / math.pi, 2 / math.pi),
        "numpy's sinc with a further pi": (float(np.sinc(0.5 * math.pi)), float(np.sinc(0.5 * math.pi) ** 2)),
        "point pixels": (1.0, 1.0),
        "only one": 2 / math.pi,
    },
    "U08.2": {
        "distance along the row": lambda seed: lambda image, angle: edge(image, angle, along_row=True),
        "wrong side": lambda seed: lambda image, angle: edge(image, -angle),
        "not normalised": lambda seed: lambda image, angle: edge(image, angle, normalised=False),
        "frequencies of half the size": lambda seed: lambda image, angle: edge(image, angle, nyquist=False),
        "coarse bins without correction": lambda seed: lambda image, angle: edge(image, angle, corrected=False, steps=2),
        "only the curve": lambda seed: lambda image, angle: edge(image, angle)[1],
    },
    "U08.3": {
        "perfect": 1.0,
        "mean over mean square root": 1 / math.sqrt(2),
        "variance of the sum without its mean": 2.0,
        "a third": 1 / 3,
    },
    "U08.4": {"a fraction": 0.0484, "what is counted": 95.16, "probability of two": 9.52, "n squared": 1.0},
    "U08.5": {
        "coloured taken for Poisson": lambda seed: exchanged(seed, "coloured Gaussian", "Poisson"),
        "white and fixed pattern exchanged": lambda seed: exchanged(seed, "white Gaussian", "fixed pattern"),
        "all one": dict.fromkeys("ABCD", STACKS[0]),
        "unfinished": {"A": STACKS[0]},
    },
    "U08.6": {
        "covariance": lambda seed: neighbours(seed, correlation=lambda image: correlation(image) * image.var()),
        "mean not subtracted": lambda seed: neighbours(
            seed, correlation=lambda image: (image[:, 1:] * image[:, :-1]).mean() / (image**2).mean()
        ),
        "no blur": lambda seed: neighbours(seed, camera=0.0),
        "shift in one direction": lambda seed: neighbours(seed, **{"shifted variance": 0.5}),
        "correlation of one half twice": lambda seed: neighbours(seed, shifted=0.25),
        "white that is not": lambda seed: neighbours(seed, white=0.05),
    },
    "U08.7": {
        "radial": (2 / math.pi, 2 / math.pi),
        "corner": (2 / math.pi, 4 / math.pi**2),
        "only one factor": (2 / math.pi, float(np.sinc(0.5 / math.sqrt(2)))),
        "exchanged": (0.6508, 0.6366),
    },
    "U08.8": {
        "summed along x": lambda seed: lambda mtf: line(mtf, axis=1),
        "mean instead of sum": lambda seed: lambda mtf: line(mtf, scale=1 / mtf.shape[0]),
        "power": lambda seed: lambda mtf: line(mtf, squared=True),
        "row of the MTF without the way": lambda seed: lambda mtf: (mtf[0], mtf[0]),
    },
}
