"""Wrong answers to U15 that its checks must refuse."""

import math

import torch

from cryowalk import fourier
from cryowalk.course.checks.u15 import SCENES, order


def periodogram(*, same_tile=False, summed=False, amplitude=False, coherent=False, whole=False):
    def function(image, size, count):
        tiles = image.unfold(0, size, size).unfold(1, size, size).reshape(-1, size, size)[:count]
        if same_tile:
            tiles = tiles[:1].expand(count, size, size)
        tiles = tiles - tiles.mean(dim=(-2, -1), keepdim=True)
        spectra = fourier.to_fourier(tiles)
        if coherent:
            return spectra.mean(dim=0).abs() ** 2
        values = spectra.abs() if amplitude else spectra.abs() ** 2
        found = values.sum(dim=0) if summed else values.mean(dim=0)
        return torch.cat([found, found], dim=1) if whole else found

    return function


def verdicts(seed, *, change):
    truth = {number: SCENES[place].reason for number, place in enumerate(order(seed)["order"], start=1)}
    return change(truth)


def two_wrong(truth):
    wrong = dict(truth)
    good = [number for number, reason in truth.items() if reason == "good"][:2]
    return wrong | dict.fromkeys(good, "drift")


WRONG = {
    "U15.1": {
        "a neighbouring hill": 1.26,
        "in angstrom": 14000.0,
        "where the slider starts": 1.0,
        "twice": 2.8,
    },
    "U15.2": {
        "always the same tile": lambda seed: periodogram(same_tile=True),
        "sum for mean": lambda seed: periodogram(summed=True),
        "amplitudes": lambda seed: periodogram(amplitude=True),
        "transforms averaged before squaring": lambda seed: periodogram(coherent=True),
        "both halves": lambda seed: periodogram(whole=True),
        "not a function": 1.0,
    },
    "U15.3": {
        "U and V exchanged": (13700.0, 14300.0, 120.0),
        "angle of V": (14300.0, 13700.0, 120.0),
        "angle in rad": (14300.0, 13700.0, math.pi / 6),
        "angle the other way": (14300.0, 13700.0, 150.0),
        "half the difference": (14150.0, 13850.0, 30.0),
        "no astigmatism": (14000.0, 14000.0, 0.0),
        "two numbers": (14300.0, 13700.0),
    },
    "U15.4": {"old minus new": 12.0, "none": 0.0, "as at 10 Å, twice": -97.0, "micrometres": -0.0012},
    "U15.5": {
        "all kept": dict.fromkeys(range(1, 9), "good"),
        "two wrong": lambda seed: verdicts(seed, change=two_wrong),
        "one missing": lambda seed: verdicts(seed, change=lambda truth: {n: truth[n] for n in range(1, 8)}),
        "another word": lambda seed: verdicts(seed, change=lambda truth: truth | {1: "bad"}),
    },
}
