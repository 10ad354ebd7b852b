"""Wrong answers to U05 that its checks must refuse."""

import math

import numpy as np

from cryowalk.course.checks.u05 import width


def through_fourier(image, kernel, *, padded=True, rolled=True, flipped=False, short=0):
    size = [n + m - 1 - short for n, m in zip(image.shape, kernel.shape, strict=True)] if padded else list(image.shape)
    kernel = kernel[::-1, ::-1] if flipped else kernel
    field = np.zeros(size)
    field[: kernel.shape[0], : kernel.shape[1]] = kernel
    if rolled:
        field = np.roll(field, [-(m // 2) for m in kernel.shape], (0, 1))
    product = np.fft.rfft2(image, s=size) * np.fft.rfft2(field)
    return np.fft.irfft2(product, s=size)[: image.shape[0], : image.shape[1]]


def demonstration(*, loss=0.26998, sharpen=(1, 5, 9), **choices):
    return {"convolve": lambda image, kernel: through_fourier(image, kernel, **choices), "loss": loss, "sharpen": sharpen}


BOARD = {
    "defocus and lens": "D",
    "camera pixel": "F",
    "drift during a frame": "A",
    "template matching": "G",
    "circular mask on a particle image": "B",
    "putting a slice into the 3D transform": "E",
    "mask on half maps before the FSC": "C",
}
COMMUTES = {"t": "x - s", "dt/ds": "-1", "integrand": "g(x - s)*h(s)", "sign from the bounds": "-1", "signs together": "1"}
TRIPLE = {
    "f_b * f_c": "sqrt(pi/(b+c))*exp(-b*c*x^2/(b+c))",
    "f_a * (f_b * f_c)": "pi/sqrt(a*b+b*c+c*a)*exp(-a*b*c*x^2/(a*b+b*c+c*a))",
    "(f_a * f_b) * f_c": "pi/sqrt(a*b+b*c+c*a)*exp(-a*b*c*x^2/(a*b+b*c+c*a))",
    "f_1 * f_2 * f_3": "pi/sqrt(11)*exp(-6*x^2/11)",
}
G = "-2*i*sin(4*pi*u)*exp(-pi*u^2)"

WRONG = {
    "U05.1": {"moved by twice as much": 0.5, "no overlap lost": 1.0, "what is lost": 0.25, "left end only": 0.625},
    "U05.2": {
        "even": {"values": "imaginary", "symmetry": "even", "at zero": "zero"},
        "real": {"values": "real", "symmetry": "odd", "at zero": "zero"},
        "as a single Gaussian": {"values": "real", "symmetry": "even", "at zero": "largest"},
        "incomplete": {"values": "imaginary"},
    },
    "U05.3": {
        "other sign without saying so": {"G": "2*i*sin(4*pi*u)*exp(-pi*u^2)", "largest": 1.9078},
        "declared plus, kept minus": {"G": G, "largest": 1.9078, "exponent": "+"},
        "cosine": {"G": "2*cos(4*pi*u)*exp(-pi*u^2)", "largest": 2.0},
        "shift halved": {"G": "-2*i*sin(2*pi*u)*exp(-pi*u^2)", "largest": 1.9078},
        "without i": {"G": "-2*sin(4*pi*u)*exp(-pi*u^2)", "largest": 1.9078},
        "largest without the Gaussian": {"G": G, "largest": 2.0},
    },
    "U05.4": {
        "one sign lost": COMMUTES | {"sign from the bounds": "1", "signs together": "-1"},
        "s = t": COMMUTES | {"t": "s"},
        "arguments mixed": COMMUTES | {"integrand": "g(s)*h(x - s)"},
        "reversed": COMMUTES | {"t": "s - x", "dt/ds": "1"},
    },
    "U05.5": {
        "pixel and drift exchanged": BOARD | {"camera pixel": "A", "drift during a frame": "F"},
        "masks exchanged": BOARD | {"circular mask on a particle image": "C", "mask on half maps before the FSC": "B"},
        "matching taken for a blur": BOARD | {"template matching": "D", "defocus and lens": "G"},
        "unfinished": {"camera pixel": "F"},
    },
    "U05.6": {
        "standard deviation of the filter": lambda seed: 1 / (2 * math.pi * width(seed)["sigma"]),
        "full width": lambda seed: 2 * math.sqrt(2 * math.log(2)) / (2 * math.pi * width(seed)["sigma"]),
        "in real space": lambda seed: math.sqrt(2 * math.log(2)) * width(seed)["sigma"],
        "half power": lambda seed: math.sqrt(math.log(2)) / (2 * math.pi * width(seed)["sigma"]),
        "without 2 pi": lambda seed: math.sqrt(2 * math.log(2)) / width(seed)["sigma"],
    },
    "U05.7": {
        "widths added like exponents": TRIPLE | {"f_b * f_c": "sqrt(pi/(b+c))*exp(-(b+c)*x^2)"},
        "factor forgotten": TRIPLE | {"f_b * f_c": "exp(-b*c*x^2/(b+c))"},
        "second factor forgotten": TRIPLE | {"f_a * (f_b * f_c)": "sqrt(pi)*exp(-a*b*c*x^2/(a*b+b*c+c*a))"},
        "number for the wrong widths": TRIPLE | {"f_1 * f_2 * f_3": "pi/sqrt(11)*exp(-x^2/11)"},
        "unfinished": {key: value for key, value in TRIPLE.items() if key != "(f_a * f_b) * f_c"},
    },
    "U05.8": {
        "no padding": lambda seed: demonstration(padded=False),
        "one pixel short of padding": lambda seed: demonstration(short=4),
        "origin in the corner": lambda seed: demonstration(rolled=False),
        "correlation": lambda seed: demonstration(flipped=True),
        "one tail": lambda seed: demonstration(loss=0.135),
        "fraction instead of percent": lambda seed: demonstration(loss=0.0027),
        "sharpening taken for a high pass": lambda seed: demonstration(sharpen=(0, 4, 8)),
        "only the function": lambda seed: {"convolve": through_fourier},
    },
}
