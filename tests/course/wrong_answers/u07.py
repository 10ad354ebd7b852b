"""Wrong answers to U07 that its checks must refuse."""

import math

import numpy as np


def measure(factor=1.0, *, use_power=False, plain_frequency=False):
    def function(before, after, pixel_size):
        step = 1.0 if plain_frequency else pixel_size
        size = len(before)
        y, x = np.fft.fftfreq(size, step), np.fft.rfftfreq(size, step)
        squared = (y[:, None] ** 2 + x**2).ravel()[1:]
        ratio = np.abs(np.fft.rfft2(after)).ravel()[1:] / np.abs(np.fft.rfft2(before)).ravel()[1:]
        return factor * -4 * np.polyfit(squared, np.log(ratio) * (2 if use_power else 1), 1)[0]

    return function


def motion(rms):
    return 8 * math.pi**2 * rms**2


def envelope(power, divisor=4):
    def function(size, pixel_size, b_factor):
        k = np.arange(size // 2 + 1) / size * pixel_size**power
        return np.exp(-b_factor / divisor * k**2)

    return function


def displacement(defocus, k, wavelength, cs):
    return abs(wavelength * defocus * k - cs * (wavelength * k) ** 3)


def largest(box, k, wavelength, cs, *, share=0.5, sign=1):
    return (box * share + sign * cs * (wavelength * k) ** 3) / (wavelength * k)


LETTERS = "uo" * 10
WRONG = {
    "U07.1": {
        "radius of the circumference": 36 * 14.013,
        "half the spacing": 40.1,
        "diameter": 160.6,
        "with amplitude contrast": 36 * 14.242 / math.pi,
        "spacing itself": 14.013,
    },
    "U07.2": {
        "one too many": (50, 13, 4, 43, 12, 4),
        "Cs forgotten": (49, 12, 3, 49, 12, 3),
        "Nyquist at one pixel": (196, 49, 12, 93, 42, 12),
        "three only": (49, 12, 3),
    },
    "U07.3": {
        "first zero of underfocus": (LETTERS, 14.24),
        "second zero of overfocus": (LETTERS, 13.83),
        "a frequency": (LETTERS, 1 / 78.6),
        "nineteen letters": (LETTERS[:-1], 78.6),
        "numbers for letters": ([1] * 20, 78.6),
        "letters only": LETTERS,
    },
    "U07.4": {
        "as printed": {"resolution": 0.2, "convention": "B/4"},
        "B/2": {"resolution": 7.07, "convention": "B/2"},
        "right number, wrong law": {"resolution": 5.0, "convention": "B"},
        "ten": {"resolution": 10.0, "convention": "B/4"},
        "number alone": 5.0,
    },
    "U07.5": {
        "the bug": lambda seed: envelope(1),
        "pixel size left out": lambda seed: envelope(0),
        "squared": lambda seed: envelope(-2),
        "another convention": lambda seed: envelope(-1, 2),
        "of the power": lambda seed: envelope(-1, 1),
    },
    "U07.6": {
        "sign": lambda seed: (measure(-1.0), motion),
        "factor of four": lambda seed: (measure(0.25), motion),
        "of the power": lambda seed: (measure(use_power=True), motion),
        "pixel size left out": lambda seed: (measure(plain_frequency=True), motion),
        "motion in all three directions": lambda seed: (measure(), lambda rms: 8 * math.pi**2 * rms**2 / 3),
        "motion without the 8": lambda seed: (measure(), lambda rms: math.pi**2 * rms**2),
        "one function": lambda seed: measure(),
    },
    "U07.7": {
        "slope without 2π": lambda seed: (lambda *v: 2 * math.pi * displacement(*v), largest),
        "Cs adds": lambda seed: (lambda z, k, w, cs: abs(w * z * k + cs * (w * k) ** 3), largest),
        "factor of Cs": lambda seed: (lambda z, k, w, cs: abs(w * z * k - 0.5 * cs * (w * k) ** 3), largest),
        "signed": lambda seed: (lambda z, k, w, cs: w * z * k - cs * (w * k) ** 3, largest),
        "whole box": lambda seed: (displacement, lambda *v: largest(*v, share=1.0)),
        "Cs the other way": lambda seed: (displacement, lambda *v: largest(*v, sign=-1)),
        "in micrometres": lambda seed: (displacement, lambda *v: 1e-4 * largest(*v)),
    },
    "U07.8": {
        "only one": 48.7,
        "difference of Q": (0.03 * 100 / (math.pi * 0.0196875) / 2, 3.9),
        "the same at both": (48.7, 48.7),
        "in degrees": (48.7 * 57.3, 7.8 * 57.3),
        "swapped": (7.79, 48.7),
    },
}
