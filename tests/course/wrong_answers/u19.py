"""Answers to U19 that must fail, named by their mistake."""

import math

import numpy as np

from cryowalk.course.checks.u19 import plane_answer, plane_numbers


def rotate_without_normalising(point, axis, angle):
    w, vector = math.cos(angle / 2), math.sin(angle / 2) * np.asarray(axis)
    cross = np.cross(vector, point)
    return (w**2 - vector @ vector) * point + 2 * (vector @ point) * vector + 2 * w * cross


def rotate_the_other_way(point, axis, angle):
    return rotate_without_normalising(point, axis / np.linalg.norm(axis), -angle)


def rotate_and_rescale(point, axis, angle):
    moved = rotate_without_normalising(point, axis, angle)
    return moved / np.linalg.norm(moved) * np.linalg.norm(point)


def one_solution_twice(r):
    theta = -math.asin(max(-1.0, min(1.0, r[2, 0])))
    row = math.atan2(r[2, 1], r[2, 2]), theta, math.atan2(r[1, 0], r[0, 0])
    return np.array([row, row])


def exact_test_of_lock(r):
    if abs(r[2, 0]) == 1:
        theta = -r[2, 0] * math.pi / 2
        row = math.atan2(-r[2, 0] * r[0, 1], -r[2, 0] * r[0, 2]), theta, 0.0
        return np.array([row, row])
    return both_without_lock(r)


def both_without_lock(r):
    theta = -math.asin(r[2, 0])
    rows = []
    for angle in (theta, math.pi - theta):
        c = math.cos(angle)
        rows.append((math.atan2(r[2, 1] / c, r[2, 2] / c), angle, math.atan2(r[1, 0] / c, r[0, 0] / c)))
    return np.array(rows)


def forgot_the_sign_of_the_cosine(r):
    theta = -math.asin(max(-1.0, min(1.0, r[2, 0])))
    return np.array([(math.atan2(r[2, 1], r[2, 2]), angle, math.atan2(r[1, 0], r[0, 0])) for angle in (theta, math.pi - theta)])


def in_degrees(r):
    return np.degrees(both_without_lock(r))


def rodrigues(axis, angle):
    x, y, z = axis
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * k + (1 - math.cos(angle)) * k @ k


def axis_and_angle(r):
    vector = np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    sine = np.linalg.norm(vector)
    return vector / sine, math.atan2(sine, np.trace(r) - 1)


def without_wrapping(seed):
    x, y, turn, angle = plane_answer(seed)
    return x, y, turn + 360, angle


def clockwise_in_the_plane(seed):
    _, _, turn, angle = plane_answer(seed)
    n = plane_numbers(seed)
    moved = complex(n["x"], n["y"]) * np.exp(-1j * math.radians(n["alpha"]))
    return moved.real, moved.imag, turn, angle


def sum_of_the_angles_in_space(seed):
    x, y, turn, _ = plane_answer(seed)
    n = plane_numbers(seed)
    return x, y, turn, n["about_z"] + n["about_x"]


WRONG = {
    "U19.1": {"multiplied by q twice": (1, 0, 0), "a quarter turn": (0, 1, 0), "length changed": (-4, 0, 0), "a scalar": -1},
    "U19.2": {
        "counter-clockwise": (math.sqrt(0.5), 0, 0, math.sqrt(0.5)),
        "angle not halved": (0, 0, 0, -1),
        "scalar last": (0, 0, -math.sqrt(0.5), math.sqrt(0.5)),
        "not of unit length": (1, 0, 0, -1),
        "about x": (math.sqrt(0.5), -math.sqrt(0.5), 0, 0),
    },
    "U19.3": {
        "still broken": {"broken": (-4, 0, 0), "repaired": rotate_without_normalising},
        "result rescaled instead": {"broken": (-4, 0, 0), "repaired": rotate_and_rescale},
        "other direction": {"broken": (-4, 0, 0), "repaired": rotate_the_other_way},
        "length grows only once": {"broken": (-2, 0, 0), "repaired": rotate_the_other_way},
    },
    "U19.4": {
        "one solution twice": one_solution_twice,
        "lock tested with ==": exact_test_of_lock,
        "lock forgotten": both_without_lock,
        "sign of the cosine forgotten": forgot_the_sign_of_the_cosine,
        "degrees": in_degrees,
    },
    "U19.5": {
        "turned clockwise": lambda seed: clockwise_in_the_plane(seed),
        "not wrapped": lambda seed: without_wrapping(seed),
        "angles added in space": lambda seed: sum_of_the_angles_in_space(seed),
    },
    "U19.6": {
        "transposed": (lambda axis, angle: rodrigues(axis, -angle), axis_and_angle),
        "sine twice": (lambda axis, angle: rodrigues(axis, angle) + 1e-3 * math.sin(angle), axis_and_angle),
        "axis with the wrong sign": (rodrigues, lambda r: (-axis_and_angle(r)[0], axis_and_angle(r)[1])),
        "axis not normalised": (rodrigues, lambda r: (2 * axis_and_angle(r)[0], axis_and_angle(r)[1])),
        "only one function": (rodrigues,),
    },
    "U19.7": {"uniform angle": 90.0, "radians": 2.2074, "mean of the tilt": 57.3, "most likely angle": 180.0},
    "U19.8": {"views only": 768, "Euler steps": 48 * 24 * 48, "half of the sphere": 18432, "one order coarser": 4608},
}
