"""Wrong answers to U17 that its checks must refuse."""

import math

import numpy as np

from cryowalk.course.checks.u17 import LENGTH, log_likelihoods


def softmax(values):
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def naive(observed, reference, sigma, log_prior):
    with np.errstate(all="ignore"):
        powers = np.exp(log_likelihoods(observed, reference, sigma) + log_prior)
        return powers / powers.sum(axis=1, keepdims=True)


def with_variance(factor):
    return lambda observed, reference, sigma, log_prior: softmax(
        log_likelihoods(observed, reference, math.sqrt(factor) * sigma) + log_prior
    )


def backwards(observed, reference, sigma, log_prior):
    return softmax(log_likelihoods(observed, reference, sigma) + log_prior)[:, (-np.arange(LENGTH)) % LENGTH]


def not_normalised(observed, reference, sigma, log_prior):
    values = log_likelihoods(observed, reference, sigma) + log_prior
    return np.exp(values - values.max(axis=1, keepdims=True))


def steps(*, chooses=False, learns=True, lags=False, forward=False):
    def maximise(observed, start, sigma, rounds):
        reference, told = start, []
        for _ in range(rounds):
            each = log_likelihoods(observed, reference, sigma)
            top = each.max(axis=1, keepdims=True)
            weights = softmax(each)
            told.append(float((top[:, 0] + np.log(np.exp(each - top).mean(axis=1))).sum()) if not lags else float(top.sum()))
            if chooses:
                weights = (each == top) * 1.0
            sign = 1 if forward else -1
            reference = sum(weights[:, s] @ np.roll(observed, sign * s, axis=1) for s in range(LENGTH)) / len(observed)
            if learns:
                rolled = np.stack([np.roll(reference, s) for s in range(LENGTH)])
                squares = (observed**2).sum(axis=1)[:, None] + (rolled**2).sum(axis=1) - 2 * observed @ rolled.T
                sigma = math.sqrt((weights * squares).sum() / observed.size)
        return reference, sigma, told

    return maximise


LINES = {
    "Gaussian term": "a^2/(2*tau^2)",
    "Gaussian minimum": "h*y*tau^2/(h^2*tau^2 + sigma^2)",
    "Laplace term": "abs(a)/b",
    "Laplace minimum": "sign(y)*positive(abs(y) - sigma^2/b)",
}

WRONG = {
    "U17.1": {
        "three rows": {"orientation": "averaged over", "shift": "averaged over", "defocus": "one best value"},
        "one thing eight times": {f"orientation {number}": "averaged over" for number in range(8)},
        "other treatments": dict.fromkeys(("pose", "shift", "class", "defocus", "scale", "noise", "map", "model"), "unknown"),
    },
    "U17.2": {
        "overflows": lambda seed: naive,
        "twice the variance": lambda seed: with_variance(2.0),
        "half the variance": lambda seed: with_variance(0.5),
        "no prior": lambda seed: lambda o, r, s, p: softmax(log_likelihoods(o, r, s)),
        "backwards": lambda seed: backwards,
        "not normalised": lambda seed: not_normalised,
    },
    "U17.3": {
        "best shift": lambda seed: steps(chooses=True),
        "noise not learnt": lambda seed: steps(learns=False),
        "likelihood of the best shift": lambda seed: steps(lags=True),
        "rolled forward": lambda seed: steps(forward=True),
    },
    "U17.4": {"best": "best shift", "same": "the same"},
    "U17.5": {
        "no half": LINES | {"Gaussian term": "a^2/tau^2"},
        "Wiener without the noise": LINES | {"Gaussian minimum": "y/h"},
        "ratio upside down": LINES | {"Gaussian minimum": "h*y*sigma^2/(h^2*sigma^2 + tau^2)"},
        "no threshold": LINES | {"Laplace minimum": "y - sigma^2/b"},
        "hard threshold": LINES | {"Laplace minimum": "y*positive(sign(abs(y) - sigma^2/b))"},
        "one line": {"Gaussian term": "a^2/(2*tau^2)"},
    },
    "U17.6": {
        "independent": lambda seed: lambda variance, k, m: float(k == m),
        "not normalised": lambda seed: lambda variance, k, m: np.fft.fft(variance)[(k - m) % len(variance)],
        "conjugate": lambda seed: lambda variance, k, m: np.fft.fft(variance)[(m - k) % len(variance)] / len(variance),
        "sum of the two": lambda seed: lambda variance, k, m: np.fft.fft(variance)[(k + m) % len(variance)] / len(variance),
    },
    "U17.7": {
        "not normalised": lambda seed: lambda power: (len(power) * np.fft.ifft(power)).real,
        "of amplitudes": lambda seed: lambda power: np.fft.ifft(np.sqrt(power)).real,
        "white": lambda seed: lambda power: np.eye(1, len(power))[0],
        "from the middle": lambda seed: lambda power: np.fft.fftshift(np.fft.ifft(power).real),
    },
}
