"""Wrong answers to U23 that its checks must refuse."""

import torch

from cryowalk import fourier
from cryowalk.course.checks.u23 import SIDE

GOOD = (25000.0, 19000.0, 14500.0, 11000.0, 8200.0)


def combine(*, ratio=1.0, by_sign=False, each=False):
    def work(images, transfer, noise_to_signal):
        spectra = fourier.to_fourier(images)
        lens = transfer.sign() if by_sign else transfer
        if each:
            total = (spectra / (transfer.abs() + noise_to_signal)).sum(dim=0)
        else:
            total = (spectra * lens).sum(dim=0) / ((lens**2).sum(dim=0) + ratio * noise_to_signal)
        return fourier.to_real(total, width=SIDE)

    return work


def reference(fsc):
    positive = fsc.clamp_min(0)
    return (2 * positive / (1 + positive)).sqrt()


def volume(power=2):
    def denoise(first, second):
        weight = reference(fourier.shell_correlation(first, second)) ** power
        return fourier.apply_shell_weights((first + second) / 2, weight, dimensions=3)

    return denoise


def components(*, factor=1.05, shrinks=True, fixed=None):
    def work(images, deviation):
        count, pixels = images.shape
        values, vectors = torch.linalg.eigh(images.T @ images / count)
        edge = factor * deviation**2 * (1 + (pixels / count) ** 0.5) ** 2
        kept = values > edge if fixed is None else torch.arange(pixels) >= pixels - fixed
        values, vectors = values[kept], vectors[:, kept]
        weight = (values - deviation**2) / values if shrinks else torch.ones_like(values)
        return images @ (vectors * weight) @ vectors.T, int(kept.sum())

    return work


WRONG = {
    "U23.1": {"inverse filter": "y/h", "no lens in front": "s*y/(h^2*s + n)", "noise in front": "h*n*y/(h^2*s + n)"},
    "U23.2": {"the ratio itself": 0.1, "its root": 3.162, "decibels": -10.0},
    "U23.3": {
        "five times the same": lambda seed: ((15000.0,) * 5, combine()),
        "in micrometres": lambda seed: ((2.5, 1.9, 1.45, 1.1, 0.82), combine()),
        "signs only": lambda seed: (GOOD, combine(by_sign=True)),
        "each by itself, signs lost": lambda seed: (GOOD, combine(each=True)),
        "another ratio": lambda seed: (GOOD, combine(ratio=3.0)),
    },
    "U23.4": {"sharper": "yes", "special": "only Wiener"},
    "U23.5": {
        "the weight itself": lambda seed: (lambda fsc: 2 * fsc.clamp_min(0) / (1 + fsc.clamp_min(0)), volume()),
        "NaN below zero": lambda seed: (lambda fsc: (2 * fsc / (1 + fsc)).sqrt(), volume()),
        "nothing filtered": lambda seed: (reference, lambda first, second: (first + second) / 2),
        "one half": lambda seed: (
            reference,
            lambda first, second: fourier.low_pass(first, resolution=12.0, pixel_size=4.0, dimensions=3),
        ),
    },
    "U23.6": {
        "everything": lambda seed: components(factor=0.0),
        "a fixed number": lambda seed: components(fixed=10),
        "the noise's own variance as the edge": lambda seed: components(factor=0.4),
        "means": lambda seed: lambda images, deviation: (images * 0.5, 4),
    },
}
