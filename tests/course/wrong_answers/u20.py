"""Answers to U20 that must fail, named by their mistake."""

import numpy as np
from scipy.spatial import cKDTree

from cryowalk.course.checks.u20 import interpolated_both_ways, regular_points

FAIR = {
    "triangulate": 1.0,
    "transforms": 0.3,
    "locate": 0.5,
    "evaluate": 0.1,
    "total": 1.92,
    "locate_sorted": 0.1,
    "simplices_per_point": 6.7,
}


def unwrapped_phase(values, places):
    at = np.arange(len(values))
    polar = np.interp(places, at, np.abs(values)) * np.exp(1j * np.interp(places, at, np.unwrap(np.angle(values))))
    return interpolated_both_ways(values, places)[0], polar


def probe_on_the_grid(interpolate):
    delta = np.eye(32)
    return sum(abs(interpolate(row, np.array([15.0]))[0]) > 1e-9 for row in delta)


def probe_positive_weights_only(interpolate):
    return sum(interpolate(row, np.array([15.37]))[0] > 1e-9 for row in np.eye(32))


def width_of_the_response(interpolate):
    fine = np.linspace(8, 24, 1601)
    return np.ptp(fine[np.abs(interpolate(np.eye(32)[16], fine)) > 0.5])


def sum_of_weights(interpolate):
    return round(sum(float(interpolate(row, np.array([15.37]))[0]) for row in np.eye(32)))


def nearest_value(points, values, xi):
    return values[cKDTree(points).query(xi)[1]]


def weights_not_normalised(points, values, xi):
    distance, index = cKDTree(points).query(xi, k=8)
    return (values[index] / (distance**2 + 1e-12)).sum(axis=1)


def division_by_zero(points, values, xi):
    distance, index = cKDTree(points).query(xi, k=8)
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = 1 / distance**2
        return (values[index] * weight).sum(axis=1) / weight.sum(axis=1)


def mean_of_everything(points, values, xi):
    return np.full(len(xi), values.mean())


def last_one_wins(index, weight, size):
    grid = np.zeros(size, dtype=np.asarray(weight).dtype)
    grid[index] += weight
    return grid


def each_place_once(index, weight, size):
    grid = np.zeros(size)
    grid[np.unique(index)] = np.asarray(weight)[: len(np.unique(index))]
    return grid


def rescaled_afterwards(index, weight, size):
    grid = last_one_wins(index, weight, size)
    return grid * (np.sum(weight) / grid.sum())


def real_part_only(index, weight, size):
    return np.bincount(index, weights=np.real(weight), minlength=size)


def grid_cut_short(index, weight, size):
    return np.bincount(index, weights=np.real(weight))


DISK = np.random.default_rng(0).normal(size=(300, 2))
DISK /= np.maximum(np.linalg.norm(DISK, axis=1, keepdims=True), 1e-9) / np.random.default_rng(1).uniform(0, 1, size=(300, 1))
ROWS = np.stack(np.meshgrid(np.linspace(0, 1, 60), (0.0, 0.5, 1.0), indexing="ij"), axis=-1).reshape(-1, 2)
CLIFF = regular_points(121) + 1e-3 * np.random.default_rng(2).normal(size=(121, 2))
PLACES = np.random.default_rng(3).uniform(0.1, 0.9, size=(500, 2))
CORNERS = np.array([[0.69, 0.69], [-0.69, 0.69]])

GOOD = {"hull": (DISK, CORNERS), "sliver": ROWS, "overshoot": (CLIFF, (CLIFF[:, 0] > 0.5) * 1.0, PLACES)}

WRONG = {
    "U20.1": {
        "one image": (128**2, 128**2, 128**3),
        "points counted by coordinates": (3 * 10_000 * 128**2, 10_000 * 128**2, 128**3),
        "a flat grid": (10_000 * 128**2, 10_000 * 128**2, 128**2),
        "data and grid exchanged": (128**3, 128**3, 10_000 * 128**2),
    },
    "U20.2": {
        "no loss": 1.0,
        "all of it": 0.0,
        "power instead of modulus": 0.5,
        "averaged over all places": 0.8106,
        "whole angle": float(np.cos(np.pi / 2)),
    },
    "U20.3": {
        "exchanged": lambda seed: lambda values, places: interpolated_both_ways(values, places)[::-1],
        "phase unwrapped": lambda seed: unwrapped_phase,
        "twice the same": lambda seed: lambda values, places: (interpolated_both_ways(values, places)[0],) * 2,
        "imaginary part forgotten": lambda seed: (
            lambda values, places: tuple(part.real for part in interpolated_both_ways(values, places))
        ),
    },
    "U20.4": {
        "probed on the grid": lambda seed: probe_on_the_grid,
        "negative weights not counted": lambda seed: probe_positive_weights_only,
        "width at half maximum": lambda seed: width_of_the_response,
        "sum of the weights": lambda seed: sum_of_weights,
    },
    "U20.5": {
        "transforms hidden in locate, and counted twice": FAIR | {"locate": 0.9},
        "one stage forgotten": FAIR | {"total": 2.6},
        "sorted by nothing": FAIR | {"locate_sorted": 0.45},
        "triangles instead of tetrahedra": FAIR | {"simplices_per_point": 2.0},
        "no table": 1.92,
    },
    "U20.6": {
        "nearest value": lambda seed: nearest_value,
        "weights not normalised": lambda seed: weights_not_normalised,
        "divides by a distance of zero": lambda seed: division_by_zero,
        "mean of all values": lambda seed: mean_of_everything,
    },
    "U20.7": {
        "last one wins": lambda seed: last_one_wins,
        "each place once": lambda seed: each_place_once,
        "rescaled afterwards": lambda seed: rescaled_afterwards,
        "real part only": lambda seed: real_part_only,
        "grid cut short": lambda seed: grid_cut_short,
    },
    "U20.8": {
        "places outside the bounding box": GOOD | {"hull": (DISK, np.array([[5.0, 5.0]]))},
        "a hull without holes": GOOD | {"hull": (regular_points(100), PLACES)},
        "a square grid is no sliver": GOOD | {"sliver": regular_points(180)},
        "smooth data do not overshoot": GOOD | {"overshoot": (CLIFF, CLIFF.sum(axis=1), PLACES)},
        "one of three": {"hull": GOOD["hull"]},
    },
}
