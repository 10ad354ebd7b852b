"""Wrong answers to U16 that its checks must refuse."""

import math

import numpy as np
import torch

from cryowalk import write
from cryowalk.course.checks.u16 import PIXEL_SIZE, RADIUS, blob_score
from cryowalk.data import ImageStack, Optics, ParticleSet
from cryowalk.picking.peaks import peaks


def blobs(image, template, *, swapped=False, sign=1, threshold=3.0):
    rows, columns, _ = peaks(sign * blob_score(image, 0.6 * RADIUS), separation=1.4 * RADIUS, margin=4, least=threshold)
    return np.stack((rows, columns) if swapped else (columns, rows), axis=1)


def stack(*, sign=-1.0, whole_box=False, keeps_edges=False, offset=0, divides=True):
    def make(image, positions, box, folder):
        half = box // 2
        height, width = image.shape
        kept, images = [], []
        for x, y in positions.round().long().tolist():
            if not keeps_edges and (min(x, y) < half or x + half > width or y + half > height):
                continue
            x0, y0 = min(max(x - half + offset, 0), width - box), min(max(y - half + offset, 0), height - box)
            images.append(sign * image[y0 : y0 + box, x0 : x0 + box])
            kept.append([float(x), float(y)])
        images = torch.stack(images)
        line = torch.arange(box) - half
        outside = torch.hypot(line.float(), line[:, None].float()) > (-1 if whole_box else 0.75 * half)
        images = images - images[:, outside].mean(dim=1)[:, None, None]
        images = images / images[:, outside].std(dim=1)[:, None, None] if divides else images * 1.5
        count = len(images)
        particles = ParticleSet(
            optics=(Optics(pixel_size=PIXEL_SIZE),),
            optics_index=torch.zeros(count, dtype=torch.long),
            images=ImageStack(pixels=images.float(), pixel_size=PIXEL_SIZE),
            micrograph_names=("a.mrc",) * count,
            coordinates=torch.tensor(kept, dtype=torch.float64),
        )
        write(particles, folder / "particles.star")
        return folder / "particles.star"

    return make


WRONG = {
    "U16.1": {
        "everything is a blob": (0.6 * RADIUS, 0.5),
        "only the dirt": (0.6 * RADIUS, 9.0),
        "width in Å": (45.0, 2.0),
        "pixels of noise": (1.0, 3.0),
    },
    "U16.2": {
        "x and y exchanged": lambda seed: lambda image, template: blobs(image, template, swapped=True),
        "bright spots": lambda seed: lambda image, template: blobs(image, template, sign=-1),
        "too many": lambda seed: lambda image, template: blobs(image, template, threshold=0.5),
    },
    "U16.3": {"noise averages out": "grey", "a blob": "disk"},
    "U16.4": {
        "never falls": lambda seed: lambda height, count: height,
        "without the root": lambda seed: lambda height, count: height / math.hypot(height, 1 / count),
        "of a single window": lambda seed: lambda height, count: height / math.hypot(height, 1),
    },
    "U16.5": {
        "dark": lambda seed: stack(sign=1.0),
        "normalised by the whole box": lambda seed: stack(whole_box=True),
        "edges kept": lambda seed: stack(keeps_edges=True),
        "one pixel off": lambda seed: stack(offset=1),
        "not scaled": lambda seed: stack(divides=False),
    },
    "U16.6": {"once R": 273.6, "no delocalisation": 150.0, "in pixels": 99.3},
}
