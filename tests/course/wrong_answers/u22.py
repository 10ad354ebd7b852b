"""Wrong answers to U22 that its checks must refuse."""

import math
from dataclasses import replace

import torch

from cryowalk.course.checks.u22 import best_orientations, low_passed, reconstruct
from cryowalk.fourier import shell_correlation
from cryowalk.geometry.rotations import matrix_from_rotation_vector


def products(images, projections, *, power=0.0, sign=1):
    rows = projections.flatten(1)
    rows = rows / rows.norm(dim=1, keepdim=True) ** power
    return (sign * images.flatten(1) @ rows.T).argmax(dim=1)


def nearest_as_they_are(images, projections):
    return torch.cdist(images.flatten(1), projections.flatten(1) * 10).argmin(dim=1)


def steps(*degrees, transposed=False):
    def refine(images, start, project):
        around = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)] * 3)
        current = start
        for step in degrees:
            tried = matrix_from_rotation_vector(around * math.radians(step)) @ current[:, None]
            rows = project(tried.reshape(-1, 3, 3)).reshape(len(images), len(around), -1)
            rows = rows / rows.norm(dim=-1, keepdim=True)
            best = torch.einsum("ik,ijk->ij", images.flatten(1), rows).argmax(dim=1)
            current = tried[torch.arange(len(images)), best]
        return current.transpose(1, 2) if transposed else current

    return refine


def halves(*, shares=False, overlaps=False, resplits=False, correlates=True):
    def gold_standard(images, start, refine_once, rounds):
        g = torch.Generator().manual_seed(1)
        order = torch.randperm(len(images), generator=g)
        maps = [start, start]
        for _ in range(rounds):
            if resplits:
                order = torch.randperm(len(images), generator=g)
            parts = (order[::2], order[1::2]) if not overlaps else (order[:16], order[8:])
            maps = [refine_once(images[part], current) for part, current in zip(parts, maps, strict=True)]
            last = maps
            if shares:
                maps = [replace(start, voxels=(maps[0].voxels + maps[1].voxels) / 2)] * 2
        told = shell_correlation(last[0].voxels, last[1].voxels)
        return *last, told if correlates else torch.ones_like(told)

    return gold_standard


def of_noise(*, filters, parts):
    def refined(images, model, rounds):
        maps = []
        for part in parts(images):
            current = low_passed(model, 3) if filters else model
            for _ in range(rounds):
                current = reconstruct(part, best_orientations(part, current))
            maps.append(current)
        return maps

    return refined


WRONG = {
    "U22.1": {"in degrees": 75.0, "of the diameter": 2.62, "in pixels": 0.436},
    "U22.2": {
        "worst": lambda seed: lambda images, projections: products(images, projections, sign=-1),
        "divided too much": lambda seed: lambda images, projections: products(images, projections, power=30.0),
        "scale kept": lambda seed: nearest_as_they_are,
        "the first": lambda seed: lambda images, projections: torch.zeros(len(images), dtype=torch.long),
    },
    "U22.3": {
        "not refined": lambda seed: lambda images, start, project: start,
        "one step": lambda seed: steps(8.0),
        "transposed": lambda seed: steps(8.0, 5.0, 3.0, 2.0, 1.0, 1.0, transposed=True),
        "sums": lambda seed: lambda images, start, project: start + 0.01,
    },
    "U22.4": {"worse": "worse", "better": "better"},
    "U22.5": {
        "one map for both": lambda seed: halves(shares=True),
        "overlap": lambda seed: halves(overlaps=True),
        "split anew": lambda seed: halves(resplits=True),
        "correlation made up": lambda seed: halves(correlates=False),
    },
    "U22.6": {
        "both faults": lambda seed: of_noise(filters=False, parts=lambda images: (images[:200], images[100:])),
        "start with detail": lambda seed: of_noise(filters=False, parts=lambda images: (images[::2], images[1::2])),
        "shared images": lambda seed: of_noise(filters=True, parts=lambda images: (images[:200], images[100:])),
        "one map twice": lambda seed: of_noise(filters=True, parts=lambda images: (images[::2], images[::2])),
    },
}
