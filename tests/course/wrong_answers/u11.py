"""Answers to U11 that must fail, named by their mistake."""

import math

import numpy as np

from cryowalk.course.checks.u11 import near_pole, published_angles


def as_it_was_read(seed):
    angles = published_angles(seed)
    return {"as read": near_pole(angles), "repaired": angles}


def even_but_others(seed):
    angles = published_angles(seed)
    source = np.random.default_rng(seed)
    tilt = np.degrees(np.arccos(source.uniform(-1, 1, len(angles))))
    return {"as read": near_pole(angles), "repaired": np.stack([angles[:, 0], tilt, angles[:, 2]], axis=1)}


def one_pole_only(seed):
    angles = published_angles(seed)
    return {"as read": 0.5 * near_pole(angles), "repaired": angles}


def middle_plane_of_a_shifted_transform(volume, axis):
    return np.take(np.fft.fftshift(np.fft.fftn(volume)), volume.shape[0] // 2, axis=axis)


def always_along_z(volume, axis):
    return np.fft.fftn(volume)[0]


def the_last_plane(volume, axis):
    return np.take(np.fft.fftn(volume), -1, axis=axis)


def plain_average(first, second, var_first, var_second):
    return np.concatenate([first, second]).mean(axis=0)


def weights_of_deviations(first, second, var_first, var_second):
    a, b = len(first) / math.sqrt(var_first), len(second) / math.sqrt(var_second)
    return (a * first.mean(axis=0) + b * second.mean(axis=0)) / (a + b)


def not_normalised(first, second, var_first, var_second):
    return first.sum(axis=0) / var_first + second.sum(axis=0) / var_second


def only_the_better(first, second, var_first, var_second):
    return (first if len(first) / var_first > len(second) / var_second else second).mean(axis=0)


def of_the_rim(frequency, radius, error):
    return math.cos(2 * math.pi * frequency * error * radius)


def of_a_shell(frequency, radius, error):
    return float(np.sinc(2 * frequency * error * radius))


def forgot_two_pi(frequency, radius, error):
    a = frequency * error * radius
    return 3 * (math.sin(a) - a * math.cos(a)) / a**3


WRONG = {
    "U11.1": {"crowded at the equator": "at the equator", "even is even": "nowhere", "all of them": {"at the poles", "nowhere"}},
    "U11.2": {"left as it was": as_it_was_read, "views drawn anew": even_but_others, "one pole": one_pole_only},
    "U11.3": {
        "shifted": lambda seed: middle_plane_of_a_shifted_transform,
        "one axis for all": lambda seed: always_along_z,
        "highest frequency": lambda seed: the_last_plane,
    },
    "U11.4": {"took it as it is": 0.1, "took the root": math.sqrt(0.1)},
    "U11.5": {
        "swapped": (400.0, 1111.0),
        "signal of all, noise of the worse": (1111.0, 2000 / 9),
        "the first alone": (1000.0, 400.0),
    },
    "U11.6": {
        "plain": lambda seed: plain_average,
        "by deviation": lambda seed: weights_of_deviations,
        "not normalised": lambda seed: not_normalised,
        "threw one away": lambda seed: only_the_better,
    },
    "U11.7": {
        "B/4 in place of B/2": 1 / math.sqrt(1 / 9 + 4 * math.log(100) / 100),
        "log to base ten": 1 / math.sqrt(1 / 9 + 4 / 100),
    },
    "U11.8": {"the rim only": lambda seed: of_the_rim, "a shell": lambda seed: of_a_shell, "no 2π": lambda seed: forgot_two_pi},
}
