"""Wrong answers to U01 that its checks must refuse."""

import math

import numpy as np

from cryowalk.core.constants import electron_wavelength
from cryowalk.course.checks.u01 import true_path


def envelope(*, aberration=2.7e7, half=1.0, forgotten=1.0):
    wavelength = electron_wavelength(300)

    def function(spacing, underfocus, convergence):
        thrown = wavelength * underfocus / spacing - aberration * (wavelength / spacing) ** 3
        return math.exp(-half * (math.pi * convergence * thrown / wavelength * forgotten) ** 2)

    return function


def fit(thickness, fraction):
    return (fraction * thickness**2).sum() / (fraction * thickness * -np.log(fraction)).sum()


def measured(seed, **other):
    return {"fit": fit, "path": true_path(seed), "passes": 0.8811} | other


WRONG = {
    "U01.1": {"without relativity": 0.022391, "at 200 kV": 0.025079, "in picometres": 1.9687, "sign of the bracket": 0.0234},
    "U01.2": {"a fraction": 0.137, "the bracket itself": 29.4, "relative to the wrong one": 12.08, "at 100 kV": 4.78},
    "U01.3": {
        "at the speed of light": (48.0, 41.6),
        "in metres": (0.0373, 53.6),
        "other order": (53.6, 37.3),
        "without relativity": (52.0, 38.4),
    },
    "U01.4": {
        "in rad": {"angle": 0.00656, "fates": {"elastic", "inelastic"}},
        "half of it, as Bragg's": {"angle": 3.28, "fates": {"elastic", "inelastic"}},
        "elastic alone": {"angle": 6.56, "fates": {"elastic"}},
        "all three": {"angle": 6.56, "fates": {"elastic", "inelastic", "unscattered"}},
        "only the number": 6.56,
    },
    "U01.5": {
        "slope": lambda seed: measured(seed, fit=lambda t, p: 1 / fit(t, p)),
        "base ten": lambda seed: measured(seed, fit=lambda t, p: fit(t, p) * math.log(10)),
        "sign": lambda seed: measured(seed, fit=lambda t, p: -fit(t, p)),
        "of ice, not of the slabs": lambda seed: measured(seed, path=true_path(seed) * 1.1),
        "what is lost": lambda seed: measured(seed, passes=0.119),
        "only the function": lambda seed: {"fit": fit},
    },
    "U01.6": {
        "no spherical aberration": lambda seed: envelope(aberration=0.0),
        "half of the exponent": lambda seed: envelope(half=0.5),
        "squared": lambda seed: envelope(half=2.0),
        "without pi": lambda seed: envelope(forgotten=1 / math.pi),
        "aberration in millimetres": lambda seed: envelope(aberration=2.7),
    },
    "U01.7": {
        "without relativity": (54.8, 653.0),
        "other order": (844.8, 70.9),
        "momentum once": (17.7, 211.2),
        "in keV": (0.0709, 0.845),
    },
    "U01.8": {"a litre for a millilitre": 6736.0, "area forgotten": 4e-7, "thickness in nm": 0.67, "half an image": 3.37},
}
