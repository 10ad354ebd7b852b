"""Wrong answers to U09 that its checks must refuse."""

import math

import numpy as np

from cryowalk.course.checks.u09 import _slope, brute_force, node

L = 0.019687


def layers(image, heights, ctf, *, count=30, kind="linear", order="weigh first", sign=1):
    """Layers with straight lines or the nearest one between them."""
    reach = np.abs(heights).max()
    places = np.linspace(-reach, reach, count)
    step = places[1] - places[0]
    total = np.zeros_like(image)
    for place in places:
        apart = np.abs(sign * heights - place) / step
        weight = np.clip(1 - apart, 0, None) if kind == "linear" else (apart <= 0.5).astype(float)
        if order == "weigh first":
            total += np.fft.ifft2(np.fft.fft2(image * weight) * ctf(place)).real
        else:
            total += weight * np.fft.ifft2(np.fft.fft2(image) * ctf(place)).real
    return total


def chebyshev(image, heights, ctf, *, order="weigh first", sign=1):
    reach = np.abs(heights).max()
    places = np.cos(np.pi * (2 * np.arange(24) + 1) / 48) * reach
    total = np.zeros_like(image)
    for number, place in enumerate(places):
        others = np.delete(places, number)
        weight = np.prod([(sign * heights - other) / (place - other) for other in others], axis=0)
        if order == "weigh first":
            total += np.fft.ifft2(np.fft.fft2(image * weight) * ctf(place)).real
        else:
            total += weight * np.fft.ifft2(np.fft.fft2(image) * ctf(place)).real
    return total


def level(image, heights, ctf):
    return np.fft.ifft2(np.fft.fft2(image) * ctf(0.0)).real


WRONG = {
    "U09.1": {
        "along the support": 4000 * math.sin(math.radians(60)),
        "cosine": 2000.0,
        "in µm": 0.6928,
        "length of the support": 8000.0,
    },
    "U09.2": {
        "swapped": (66, 114),
        "half of pi": (228.6, 132.0),
        "sine in place of tangent": (114.3, 132.0),
        "twice the strip": (114.3, 132.0),
        "not squared": (38.1, 22.0),
        "one number": 114.3,
    },
    "U09.3": {
        "the other way": lambda seed: -_slope(seed),
        "the angle": lambda seed: math.atan(_slope(seed)),
        "in degrees": lambda seed: math.degrees(math.atan(_slope(seed))),
        "per pixel": lambda seed: 4 * _slope(seed),
        "no tilt": 0.0,
        "ten per cent off": lambda seed: 1.1 * _slope(seed),
    },
    "U09.4": {
        "one defocus for all": lambda seed: level,
        "brute force": lambda seed: brute_force,
        "nearest layer": lambda seed: lambda image, heights, ctf: layers(image, heights, ctf, kind="nearest"),
        "straight lines": lambda seed: layers,
        "filter first": lambda seed: lambda image, heights, ctf: chebyshev(image, heights, ctf, order="filter first"),
        "tilted the other way": lambda seed: lambda image, heights, ctf: chebyshev(image, heights, ctf, sign=-1),
        "an image": lambda seed: np.zeros((32, 32)),
    },
    "U09.5": {
        "the whole distance": math.cos(math.pi * L * 500 / 16),
        "sine": math.sin(math.pi * L * 250 / 16),
        "both added": 2 * math.cos(math.pi * L * 250 / 16),
        "sinc, as for a slab": math.sin(math.pi * L * 250 / 16) / (math.pi * L * 250 / 16),
        "no loss": 1.0,
    },
    "U09.6": {
        "without the criterion": 9 / L,
        "criterion upside down": 2 * 9 / (L * 0.7),
        "half": 0.7 * 9 / L,
        "resolution not squared": 1.4 * 3 / L,
    },
    "U09.7": {
        "factor of two": lambda seed: (2 * 25 / L, 2 * node(seed)["spacing"] ** 2 / L),
        "not squared": lambda seed: (5 / L, node(seed)["spacing"] / L),
        "in nm": lambda seed: (127.0, node(seed)["spacing"] ** 2 / L / 10),
        "one only": 1270.0,
        "the same for both": (1270.0, 1270.0),
    },
}
