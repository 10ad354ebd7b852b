"""Wrong answers to U03 that its checks must refuse."""

import numpy as np

BOX = 128


def frequencies(dimensions):
    return np.meshgrid(*[np.arange(-BOX // 2, BOX // 2) / BOX] * dimensions, indexing="ij", sparse=True)


def square_frame(dimensions, coarse, fine):
    largest = 0
    for k in frequencies(dimensions):
        largest = np.maximum(largest, np.abs(k))
    return ((largest >= 1 / coarse) & (largest < 1 / fine)).sum()


def always_one_dimension(dimensions, coarse, fine):
    k = np.abs(frequencies(1)[0])
    return ((k >= 1 / coarse) & (k < 1 / fine)).sum()


def half_space(dimensions, coarse, fine):
    radius = np.sqrt(sum(k**2 for k in frequencies(dimensions)))
    return ((radius >= 1 / coarse) & (radius < 1 / fine)).sum() / 2


def lengths_upside_down(dimensions, coarse, fine):
    radius = np.sqrt(sum(k**2 for k in frequencies(dimensions)))
    return ((radius >= 1 / fine) & (radius < 1 / coarse)).sum()


def laws(transform, f, g, *, shift=1, direction=1, wrap=True):
    n = len(f)
    k = np.arange(n)
    linearity = np.abs(transform(2 * f + 3j * g) - 2 * transform(f) - 3j * transform(g)).max()
    moved = np.abs(transform(np.roll(f, direction * shift)) - np.exp(-2j * np.pi * k * shift / n) * transform(f)).max()
    circular = np.array([sum(f[m] * g[(j - m) % n] for m in range(n)) for j in range(n)])
    h = circular if wrap else np.convolve(f, g)[:n]
    return linearity, moved, np.abs(transform(h) - transform(f) * transform(g)).max()


def additivity_of_the_same(transform, f, g):
    return (np.abs(transform(f) - transform(f)).max(), *laws(transform, f, g)[1:])


RIGHT = {
    "shift: the exponential": "exp(-2*pi*i*u*(t + a))",
    "shift: the result": "exp(-2*pi*i*u*a)*F(u)",
    "scale: the exponential": "exp(-2*pi*i*u*t/a)",
    "scale: the factor": "1/abs(a)",
    "scale: the result": "F(u/a)/abs(a)",
}

WRONG = {
    "U03.1": {
        "Nyquist": 0.5,
        "two pixels": 1 / 64,
        "the box itself": 128.0,
        "angular frequency": 2 * np.pi / 128,
        "sign": -1 / 128,
    },
    "U03.2": {
        "shortest first": [(128, np.inf), (64, 128), (2.0, 2.032)],
        "centres of bins": [(np.inf, 256), (256, 85.33), (2.048, 2.016)],
        "frequencies": [(0, 1 / 128), (1 / 128, 2 / 128), (63 / 128, 0.5)],
        "off by one": [(128, 64), (64, 42.667), (2.0, 1.969)],
    },
    "U03.3": {"equal": (26, 26), "swapped": (25.6, 12.8), "linear in length": (5, 2.5), "two dimensions": (12.8, 51.2)},
    "U03.4": {
        "square frame": lambda seed: square_frame,
        "one dimension": lambda seed: always_one_dimension,
        "half space": lambda seed: half_space,
        "upside down": lambda seed: lengths_upside_down,
    },
    "U03.5": {
        "broadens": ("a", 0.8825),
        "in 1/Å too": ("d", 0.8825),
        "product of standard deviations": ("b", 1 / (2 * np.pi)),
        "half widths": ("b", 0.8825 / 4),
        "letter alone": "b",
    },
    "U03.6": {
        "wrong sign of the shift": RIGHT
        | {"shift: the exponential": "exp(-2*pi*i*u*(t - a))", "shift: the result": "exp(2*pi*i*u*a)*F(u)"},
        "scale the wrong way": RIGHT | {"scale: the result": "F(u*a)/abs(a)"},
        "forgot that a may be negative": RIGHT | {"scale: the factor": "1/a", "scale: the result": "F(u/a)/a"},
        "a line is missing": {key: value for key, value in RIGHT.items() if key != "scale: the factor"},
    },
    "U03.7": {
        "tests that cannot fail": lambda seed: lambda transform, f, g: (0.0, 0.0, 0.0),
        "shift the other way": lambda seed: lambda transform, f, g: laws(transform, f, g, direction=-1),
        "shift by nothing": lambda seed: lambda transform, f, g: laws(transform, f, g, shift=0),
        "convolution without wrapping": lambda seed: lambda transform, f, g: laws(transform, f, g, wrap=False),
        "linearity compared with itself": lambda seed: additivity_of_the_same,
    },
}
