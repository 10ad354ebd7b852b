"""A sum of Gaussian blobs without any symmetry, whose projections are known in closed form."""

import math
from dataclasses import dataclass

import torch

from cryowalk.data import Volume
from cryowalk.fourier.grids import coordinates


@dataclass(frozen=True)
class Blobs:
    centres: torch.Tensor  # [count, 3], Å
    weights: torch.Tensor
    width: float  # Å

    def volume(self, box, voxel_size, *, dtype=torch.float32):
        axes = coordinates((box, box, box), pixel_size=voxel_size, dtype=torch.float64)
        total = torch.zeros(box, box, box, dtype=torch.float64)
        for centre, weight in zip(self.centres, self.weights, strict=True):
            x, y, z = (torch.exp(-((axis - c) ** 2) / (2 * self.width**2)) for axis, c in zip(axes, centre, strict=True))
            total += weight * x * y * z
        return Volume(voxels=total.to(dtype), voxel_size=voxel_size)

    def projections(self, box, pixel_size, rotations):
        """∫ V(Rᵀ x) dz: every blob stands at R · centre, and the integral over its depth is √(2π) · width."""
        x, y = coordinates((box, box), pixel_size=pixel_size, dtype=torch.float64)
        places = self.centres @ rotations.to(torch.float64).transpose(-1, -2)
        images = torch.zeros(rotations.shape[0], box, box, dtype=torch.float64)
        for place, weight in zip(places.unbind(1), self.weights, strict=True):
            squared = (x - place[:, 0, None, None]) ** 2 + (y - place[:, 1, None, None]) ** 2
            images += weight * math.sqrt(2 * math.pi) * self.width * torch.exp(-squared / (2 * self.width**2))
        return images


def blobs(support, *, width, count=12, seed=5):
    """Blobs whose density up to 2.5 widths lies within `support` Å of the origin."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(40 * count, 3, generator=generator, dtype=torch.float64) * 2 - 1
    places = places[places.norm(dim=1) < 1][:count]
    weights = torch.rand(count, generator=generator, dtype=torch.float64) + 0.5
    return Blobs(centres=places * (support - 2.5 * width), weights=weights, width=width)


def rotations(count, *, seed=7):
    """Uniformly random rotation matrices from quaternions, float64."""
    w, x, y, z = torch.nn.functional.normalize(
        torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=1
    ).unbind(1)
    return torch.stack(
        (
            1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
            2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
            2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
        ),
        dim=1,
    ).reshape(count, 3, 3)  # fmt: skip
