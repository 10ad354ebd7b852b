"""Wrong answers to U02 that its checks must refuse."""

import math

import numpy as np

from cryowalk.core.constants import electron_wavelength, interaction_constant
from cryowalk.course.checks.u02 import film

LINES = {
    "incoming wave": "exp(2*pi*i*z/lam)",
    "exit wave": "1 + i*phi",
    "free space": "exp(-i*pi*lam*D*k^2)",
    "lens phase": "pi*lam*D*k^2",
    "image wave": "1 + i*eps*c*exp(i*chi)",
    "intensity": "1 - 2*eps*c*sin(chi)",
}


def image(phase, chi, *, wave=lambda phase: np.exp(1j * phase), sign=1, power=2):
    return np.abs(np.fft.ifft2(np.fft.fft2(wave(phase)) * np.exp(sign * 1j * chi))) ** power


def linear(phase, chi):
    return 1 - 2 * np.fft.ifft2(np.fft.fft2(phase) * np.sin(chi)).real


def answer(function=image, *, slope=2.0, error=0.118):
    return {"image": function, "slope": slope, "error": error}


WRONG = {
    "U02.1": {"that of the phase": 0.15, "full": 1.0, "twice the phase": 0.3, "of the second order": 0.01},
    "U02.2": {
        "sign": "1 + 2*eps*sin(chi) + eps^2",
        "cosine": "1 - 2*eps*cos(chi) + eps^2",
        "no square": "1 - 2*eps*sin(chi)",
        "factor 2 lost": "1 - eps*sin(chi) + eps^2",
        "not a formula": "1 - 2 eps sin chi",
    },
    "U02.3": {
        "absorbing": LINES | {"exit wave": "1 - phi"},
        "exact instead of first order": LINES | {"exit wave": "exp(i*phi)"},
        "no half in the root": LINES | {"free space": "exp(-2*pi*i*lam*D*k^2)"},
        "downstream": LINES | {"lens phase": "-pi*lam*D*k^2"},
        "lens on the straight wave too": LINES | {"image wave": "(1 + i*eps*c)*exp(i*chi)"},
        "square kept": LINES | {"intensity": "1 - 2*eps*c*sin(chi) + eps^2*c^2"},
        "unfinished": {"incoming wave": "exp(2*pi*i*z/lam)"},
    },
    "U02.4": {
        "linear image": answer(linear),
        "overfocus": answer(lambda phase, chi: image(phase, chi, sign=-1)),
        "modulus": answer(lambda phase, chi: image(phase, chi, power=1)),
        "wave of first order": answer(lambda phase, chi: image(phase, chi, wave=lambda p: 1 + 1j * p)),
        "complex": answer(lambda phase, chi: np.fft.ifft2(np.fft.fft2(np.exp(1j * phase)) * np.exp(1j * chi))),
        "slope of the relative error": answer(slope=1.0),
        "percent": answer(error=11.8),
        "error of another definition": answer(error=0.2),
        "no function": answer(0.5),
    },
    "U02.5": {
        "they do": {"reach zero": "yes", "floor": 0.0},
        "amplitude": lambda seed: {"reach zero": "no", "floor": film(seed)["noise"]},
        "with the signal": lambda seed: {"reach zero": "no", "floor": film(seed)["noise"] ** 2 + 0.5},
        "only a word": {"reach zero": "no"},
        "undecided": {"reach zero": "perhaps", "floor": 1.0},
    },
    "U02.6": {
        "half the thickness": math.sqrt(500 * electron_wavelength(300)),
        "depth of field with 2": math.sqrt(2000 * electron_wavelength(300)),
        "as a frequency": 1 / math.sqrt(1000 * electron_wavelength(300)),
        "200 kV": math.sqrt(1000 * electron_wavelength(200)),
        "no root": 1000 * electron_wavelength(300),
    },
    "U02.7": {"by charge": ("O", "N", "C"), "mixed": "N > C > O", "with hydrogen": ("C", "N", "O", "H"), "text": "all alike"},
    "U02.8": {
        "100 kV": 250 * interaction_constant(100),
        "in milliradians": 250e3 * interaction_constant(300),
        "in nanometres": 25 * interaction_constant(300),
        "mean inner potential": 700 * interaction_constant(300),
    },
}
