"""Wrong answers to U00 that its checks must refuse."""

import numpy as np


def clockwise(angle):
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def degrees(angle):
    angle = np.deg2rad(angle)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def reflection(angle):
    return np.array([[np.cos(angle), np.sin(angle)], [np.sin(angle), -np.cos(angle)]])


ANSWERED = dict.fromkeys(
    (
        "calculus",
        "trigonometry",
        "linear algebra",
        "statistics",
        "summation",
        "derivatives",
        "chain rule",
        "integrals",
        "series",
        "vectors",
        "probability",
        "combinations",
        "random variables",
        "modern physics",
        "the specimen",
    ),
    "a",
)

WRONG = {
    "U00.1": {
        "clockwise": (-0.7071, -0.7071),
        "a quarter": (0.7071, 0.7071),
        "y before x": (0.7071, -0.7071),
        "one number": 2.3562,
    },
    "U00.2": {
        "degrees": (5.0, 53.13),
        "x before y in arctan2": (5.0, 0.6435),
        "sum of the parts": (7.0, 0.9273),
        "phase first": (0.9273, 5.0),
    },
    "U00.3": {
        "one item open": ANSWERED | {"series": None},
        "not an option": ANSWERED | {"vectors": "e"},
        "not a dictionary": "a",
    },
    "U00.4": {
        "clockwise": lambda seed: clockwise,
        "degrees": lambda seed: degrees,
        "reflection": lambda seed: reflection,
        "complex number": lambda seed: lambda a: np.exp(1j * a),
    },
    "U00.5": {
        "still ==": lambda seed: lambda answer, expected: answer == expected,
        "no absolute value": lambda seed: lambda answer, expected: answer - expected < 1e-9,
        "absolute only": lambda seed: lambda answer, expected: abs(answer - expected) < 1e-5,
        "too generous": lambda seed: lambda answer, expected: abs(answer - expected) <= 0.01 * abs(expected),
        "always right": lambda seed: lambda answer, expected: True,
    },
}
