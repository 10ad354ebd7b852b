"""Wrong answers to U06 that its checks must refuse."""

import numpy as np

from cryowalk.course.checks.u06 import alias, frequency


def own(seed):
    return frequency(seed)["frequency"]


def deconvolve(constant):
    def function(blurred, transfer):
        return np.fft.ifft(np.fft.fft(blurred) * transfer / (transfer**2 + constant)).real

    return function


def plain_inverse(blurred, transfer):
    return np.fft.ifft(np.fft.fft(blurred) / transfer).real


def nothing_done(blurred, transfer):
    return blurred


def constant_in_the_wrong_place(blurred, transfer):
    return np.fft.ifft(np.fft.fft(blurred) / (transfer + 1e-2)).real


def crop(image, new, *, scale=None, start=None):
    old = len(image)
    spectrum = np.fft.fftshift(np.fft.fft2(image))
    first = old // 2 - new // 2 if start is None else start
    cut = spectrum[first : first + new, first : first + new]
    return np.fft.ifft2(np.fft.ifftshift(cut)).real * ((new / old) ** 2 if scale is None else scale)


def every_nth_pixel(image, new):
    index = (np.arange(new) * len(image)) // new
    return image[np.ix_(index, index)]


def factor(cycles, block):
    return np.sin(np.pi * block * cycles) / (block * np.sin(np.pi * cycles))


def corner_of_the_image(image, new):
    return image[:new, :new]


WRONG = {
    "U06.1": {
        "not folded": lambda seed: (0.7, own(seed)),
        "negative": lambda seed: (-0.3, -alias(own(seed))),
        "minus a half": lambda seed: (0.2, own(seed) - 0.5),
        "reflected at one": lambda seed: (0.3, 1 - alias(own(seed))),
    },
    "U06.2": {"sides": (0.5, 0.5), "field grows": (4, 0.25), "dose per pixel kept": (0.25, 1.0), "upside down": (4, 4)},
    "U06.3": {
        "Nyquist at the target": 1.5,
        "as small as possible": 0.5,
        "twice as fine as needed": 0.75,
        "pixel equal to the target": 3.0,
        "in nm": 0.11,
        "negative": -1.1,
    },
    "U06.4": {"single precision": 1.797, "factor two forgotten": 1.35, "sigma squared": 7.3, "as soon as it blurs": 1.0},
    "U06.5": {
        "plain inverse": lambda seed: plain_inverse,
        "far too careful": lambda seed: deconvolve(1e-2),
        "a constant below round-off": lambda seed: deconvolve(1e-60),
        "nothing done": lambda seed: nothing_done,
        "constant added to H itself": lambda seed: constant_in_the_wrong_place,
    },
    "U06.6": {
        "every second pixel": lambda seed: (every_nth_pixel, factor),
        "a corner of the image": lambda seed: (corner_of_the_image, factor),
        "without the scale": lambda seed: (lambda image, new: crop(image, new, scale=1.0), factor),
        "a corner of the spectrum": lambda seed: (lambda image, new: crop(image, new, start=0), factor),
        "factor of an area": lambda seed: (crop, lambda cycles, block: np.sinc(block * cycles)),
        "factor of one": lambda seed: (crop, lambda cycles, block: 1.0),
        "crop alone": lambda seed: crop,
    },
}
