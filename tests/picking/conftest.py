"""Micrographs whose particles are known: blobs and lopsided molecules in noise."""

import math

import pytest
import torch

from cryowalk.data import Micrograph
from cryowalk.picking.templates import rotated

PIXEL_SIZE, DIAMETER = 3.0, 150.0


def molecule(side=61):
    """A lopsided particle of 150 Å on pixels of 3 Å, bright."""
    line = (torch.arange(side, dtype=torch.float64) - side // 2) * PIXEL_SIZE
    parts = ((-10, -45, 1.0), (-5, -15, 1.2), (0, 12, 1.3), (24, 32, 1.0), (44, 48, 0.8), (-26, 34, 0.9))
    return sum(w * torch.exp(-((line - a) ** 2 + (line[:, None] - b) ** 2) / (2 * 15.0**2)) for a, b, w in parts)


def scattered(count, size, *, generator, apart, border):
    """Places (x, y) in pixels, apart from each other and from the border."""
    places = []
    while len(places) < count:
        x, y = (border + (length - 2 * border) * float(torch.rand(1, generator=generator)) for length in (size[1], size[0]))
        if all(math.hypot(x - a, y - b) > apart for a, b in places):
            places.append((round(x), round(y)))
    return torch.tensor(places, dtype=torch.float64).reshape(-1, 2)


@pytest.fixture
def scene():
    """A function that makes a micrograph and its true places."""

    def make(*, count=50, size=(640, 720), strength=1.0, noise=1.0, seed=0, carbon=False, dirt=0):
        source = torch.Generator().manual_seed(seed)
        places = scattered(count, size, generator=source, apart=1.15 * DIAMETER / PIXEL_SIZE, border=40)
        field = torch.zeros(size, dtype=torch.float64)
        for x, y in places.long().tolist():
            view = rotated(molecule(), 2 * math.pi * float(torch.rand(1, generator=source)))
            field[y - 30 : y + 31, x - 30 : x + 31] += strength * view
        y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in size), indexing="ij")
        for _ in range(dirt):
            a, b = (float(torch.rand(1, generator=source)) * n for n in (size[1], size[0]))
            field += 15 * torch.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * 9.0**2))
        pixels = 500 - field + noise * torch.randn(size, generator=source, dtype=torch.float64)
        if carbon:
            inside = x < 0.3 * size[1]
            pixels = pixels - torch.where(inside, 8.0 + 3 * torch.randn(size, generator=source, dtype=torch.float64), 0.0)
            places = places[places[:, 0] > 0.3 * size[1] + 30]
        return Micrograph(pixels=pixels.float(), pixel_size=PIXEL_SIZE), places

    return make
