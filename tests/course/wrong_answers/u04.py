"""Wrong answers to U04 that its checks must refuse."""

import math

import numpy as np

from cryowalk.course.checks.u04 import steps


def other_sign(x):
    n = len(x)
    return np.exp(2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) @ x


def orthonormal(x):
    return np.fft.fft(x, norm="ortho")


def only_positive_frequencies(x):
    return np.fft.fft(x)[: len(x) // 2 + 1]


def single_precision(x):
    n = len(x)
    return np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n).astype(np.complex64) @ x.astype(np.complex64)


def sum_at_zero(dx, *, reach=60.0, scale=None, once=True):
    n = np.arange(1, int(reach / dx) + 1)
    total = 2 * np.exp(-n * dx).sum() + (1 if once else 2)
    return total * (dx if scale is None else scale)


def pair(outer, inner):
    return lambda x: outer(np.fft.fft(inner(x))), lambda f: outer(np.fft.ifft(inner(f)))


def same(x):
    return x


WRONG = {
    "U04.1": {
        "amplitudes decide": ("amplitudes", 0.8, 0.1),
        "the other hybrid": ("phases", 0.1, 0.8),
        "no measurement": "phases",
        "not correlations": ("phases", 812.0, 33.0),
    },
    "U04.2": {
        "other sign": lambda seed: other_sign,
        "orthonormal": lambda seed: orthonormal,
        "half spectrum": lambda seed: only_positive_frequencies,
        "single precision": lambda seed: single_precision,
    },
    "U04.3": {
        "the integral": (1.0, "aliasing"),
        "one side only": (1.0432174, "aliasing"),
        "blamed on round-off": (1.0864348, "round-off"),
        "blamed on truncation": (1.0864348, "truncation"),
        "without the cause": 1.0864348,
    },
    "U04.4": {
        "without the step": lambda seed: (lambda dx: sum_at_zero(dx, scale=1.0), 2.0),
        "zero counted twice": lambda seed: (lambda dx: sum_at_zero(dx, once=False), 2.0),
        "cut off too early": lambda seed: (lambda dx: sum_at_zero(dx, reach=8.0), 2.0),
        "first order": lambda seed: (sum_at_zero, 1.0),
        "slope in the wrong direction": lambda seed: (sum_at_zero, -2.0),
        "the integral itself": lambda seed: (lambda dx: 2.0, 2.0 * steps(seed)["steps"][0] / steps(seed)["steps"][0]),
    },
    "U04.5": {
        "empty": {},
        "no disk": {64: 1e-3, 128: 1e-2, 256: 0.1},
        "first call timed": {64: 0.05, 128: 0.06, 256: 0.12, "disk": 0.05},
        "swapping": {64: 1e-3, 128: 1e-2, 256: 5.0, "disk": 0.05},
        "not measured": {64: 0, 128: 0, 256: 0, "disk": 0},
        "largest first": {64: 0.1, 128: 1e-2, 256: 1e-3, "disk": 0.05},
        "not a number": {64: 1e-3, 128: 1e-2, 256: math.nan, "disk": 0.05},
    },
    "U04.6": {
        "the full spectrum": 256**3,
        "exactly half": 256 * 256 * 128,
        "half along every axis": 129**3,
        "real numbers": 2 * 256 * 256 * 129,
    },
    "U04.7": {
        "as it was given": lambda seed: pair(np.fft.fftshift, np.fft.fftshift),
        "the inverse shift everywhere": lambda seed: pair(np.fft.ifftshift, np.fft.ifftshift),
        "shifts exchanged": lambda seed: pair(np.fft.ifftshift, np.fft.fftshift),
        "not centred at all": lambda seed: pair(same, same),
        "forward only": lambda seed: pair(np.fft.fftshift, np.fft.ifftshift)[0],
    },
}
