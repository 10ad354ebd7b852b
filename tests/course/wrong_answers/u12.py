"""Wrong answers to U12 that its checks must refuse."""

import math

import torch

from cryowalk import fourier
from cryowalk.course.checks.u12 import STRENGTH


def through(field, transfer):
    return fourier.to_real(fourier.to_fourier(field) * transfer, width=field.shape[-1])


def expose(*, sign=-1, strength=STRENGTH, is_seen=True, noise="poisson", floor=0.0):
    def function(ice, transfer, electrons, generator):
        image = through(ice, transfer) if is_seen else ice
        expected = electrons * (1 + sign * strength * image)
        expected = expected + floor * torch.randn(expected.shape, generator=generator, dtype=expected.dtype)
        if noise == "poisson":
            return expected, torch.poisson(expected.clamp_min(0), generator=generator)
        random = torch.randn(expected.shape, generator=generator, dtype=expected.dtype) * electrons**0.5
        if noise == "rounded":
            return expected, expected.round()
        if noise == "before the lens":
            return expected, (expected + through(random, transfer)).round().clamp_min(0)
        return expected, expected + random

    return function


def origin(noise, transfer, *, limit=0.3):
    spectrum = fourier.to_fourier(noise).abs() ** 2
    return "specimen" if spectrum[transfer**2 < 0.02].mean() < limit * spectrum[transfer**2 > 0.9].mean() else "counting"


def by_strength(noise, transfer):
    return "specimen" if noise.std() < 5 else "counting"


def frames_of(expected, count, generator):
    return torch.stack([torch.poisson(expected / count, generator=generator) for _ in range(count)])


def one_frame_copied(expected, count, generator):
    return torch.poisson(expected / count, generator=generator).expand(count, *expected.shape)


def full_dose_in_each(expected, count, generator):
    return torch.stack([torch.poisson(expected, generator=generator) for _ in range(count)])


def shares_of_one_count(expected, count, generator):
    return torch.stack([torch.poisson(expected, generator=generator) / count for _ in range(count)])


def whole_shares_of_one_count(expected, count, generator):
    total = torch.poisson(expected, generator=generator)
    rest = total % count
    return torch.stack([(total - rest) / count + (number < rest) for number in range(count)])


def all_in_one(expected, count, generator):
    made = torch.zeros(count, *expected.shape, dtype=expected.dtype)
    made[0] = torch.poisson(expected, generator=generator)
    return made


def expected_rounded(expected, count, generator):
    return torch.stack([(expected / count).round() for _ in range(count)])


def angles_of(largest, step):
    return [0, *(sign * number for number in range(step, largest + 1, step) for sign in (1, -1))]


def series(order, doses):
    def function(largest, step, dose):
        angles = order(largest, step)
        return angles, doses(len(angles), dose)

    return function


def at_end(count, dose):
    return [dose * (number + 1) for number in range(count)]


WRONG = {
    "U12.1": {"pixel size not squared": 48.0, "pixel size left out": 40.0, "divided": 40 / 1.44, "rounded down": 57.0},
    "U12.2": {
        "π left out": math.sin(1 / 3) * 3,
        "power": 0.827**2,
        "two Å": 0.4135,
        "cosine of the end": 0.5,
    },
    "U12.3": {
        "ice after the lens": lambda seed: (expose(is_seen=False), origin),
        "the other sign": lambda seed: (expose(sign=1), origin),
        "half the strength": lambda seed: (expose(strength=STRENGTH / 2), origin),
        "normal noise": lambda seed: (expose(noise="normal"), origin),
        "shot noise before the lens": lambda seed: (expose(noise="before the lens"), origin),
        "no noise": lambda seed: (expose(noise="rounded"), origin),
        "noise before counting": lambda seed: (expose(floor=3.0), origin),
        "always the specimen": lambda seed: (expose(), lambda noise, transfer: "specimen"),
        "by its strength": lambda seed: (expose(), by_strength),
        "the other way round": lambda seed: (expose(), lambda *v: "counting" if origin(*v) == "specimen" else "specimen"),
        "one function": lambda seed: expose(),
    },
    "U12.4": {
        "one frame copied": lambda seed: one_frame_copied,
        "full dose in each": lambda seed: full_dose_in_each,
        "fractions of electrons": lambda seed: shares_of_one_count,
        "dealt out evenly": lambda seed: whole_shares_of_one_count,
        "all in the first": lambda seed: all_in_one,
        "no noise": lambda seed: expected_rounded,
        "one too few": lambda seed: lambda expected, count, generator: frames_of(expected, count, generator)[1:],
    },
    "U12.5": {
        "sine": 1 / math.sin(math.pi / 3),
        "cosine": 0.5,
        "tangent": math.tan(math.pi / 3),
        "angle in degrees": 1 / math.cos(60),
    },
    "U12.6": {
        "negative first": lambda seed: series(lambda *v: [-angle for angle in angles_of(*v)], at_end),
        "from end to end": lambda seed: series(lambda *v: sorted(angles_of(*v)), at_end),
        "first one side": lambda seed: series(
            lambda largest, step: [*range(0, largest + 1, step), *range(-step, -largest - 1, -step)], at_end
        ),
        "zero twice": lambda seed: series(lambda *v: [0, *angles_of(*v)], at_end),
        "beyond the largest": lambda seed: series(lambda largest, step: angles_of(-(-largest // step) * step, step), at_end),
        "dose before each": lambda seed: series(angles_of, lambda count, dose: [dose * number for number in range(count)]),
        "dose of each": lambda seed: series(angles_of, lambda count, dose: [dose] * count),
        "angles only": lambda seed: angles_of,
    },
}
