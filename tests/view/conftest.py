"""An asymmetric map, odd and non-cubic where that is allowed, with a voxel size that is not 1."""

import math

import pytest
import torch

from cryowalk.data import Volume

VOXEL_SIZE = 1.7


@pytest.fixture
def blob() -> Volume:
    """Two Gaussian blobs of different height off the centre, in a box of 20 × 24 × 31 voxels (z, y, x)."""
    z, y, x = torch.meshgrid(*[(torch.arange(n) - n // 2) * VOXEL_SIZE for n in (20, 24, 31)], indexing="ij")
    voxels = torch.zeros(20, 24, 31)
    for height, (u, v, w) in ((1.0, (9.0, 4.0, -3.0)), (0.6, (-8.0, -5.0, 6.0))):
        voxels += height * torch.exp(-((x - u) ** 2 + (y - v) ** 2 + (z - w) ** 2) / (2 * 3.0**2))
    return Volume(voxels=voxels, voxel_size=VOXEL_SIZE)


@pytest.fixture
def cube(generator: torch.Generator) -> Volume:
    """A noisy cube of 25 voxels whose amplitudes fall with B = 80 Å²."""
    from cryowalk.fourier import grids, transform

    noise = torch.randn(25, 25, 25, generator=generator, dtype=torch.float64)
    radius = grids.frequency_radius((25, 25, 25), pixel_size=VOXEL_SIZE)
    spectrum = transform.to_fourier(noise, dimensions=3) * torch.exp(-80.0 / 4 * radius**2)
    return Volume(voxels=transform.to_real(spectrum, width=25, dimensions=3), voxel_size=VOXEL_SIZE)


class Curve:
    """A falling FSC: exactly 1/(1 + e^{(k − middle)/width})."""

    def __init__(self, middle: float, *, shells: int = 40, finest: float = 0.3) -> None:
        self.middle, self.width = middle, 0.015
        self.frequency = torch.linspace(0, finest, shells)
        self.correlation = 1 / (1 + torch.exp((self.frequency - middle) / self.width))

    def resolution(self, *, at: float = 0.143) -> float:
        crossing = self.middle + self.width * math.log(1 / at - 1)
        return 1 / min(crossing, float(self.frequency[-1]))


@pytest.fixture
def curve():
    return Curve
