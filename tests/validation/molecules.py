"""Point-like atoms as maps, and half maps of known signal-to-noise ratio."""

import math

import torch

from cryowalk import fourier
from cryowalk.data import HalfMaps, Volume

VOXEL = 1.9


def atoms_map(box: int, *, seed: int = 3, count: int = 150, radius: float = 0.22, b_factor: float = 0.0) -> Volume:
    """Atoms scattered in an asymmetric body: two overlapping balls of different sizes, `radius` times the box the larger one; spectrum exact, times exp(−B k²/4)."""
    source = torch.Generator().manual_seed(seed)
    points = torch.randn(count, 3, generator=source, dtype=torch.float64)
    points = points / points.norm(dim=1, keepdim=True) * torch.rand(count, 1, generator=source, dtype=torch.float64) ** (1 / 3)
    points = points * radius * box * VOXEL
    points[: count // 3] = points[: count // 3] * 0.6 + torch.tensor([0.8, 0.3, -0.5]) * radius * box * VOXEL
    kx, ky, kz = fourier.frequency_grid((box, box, box), pixel_size=VOXEL, dtype=torch.float64)
    spectrum = torch.zeros(box, box, box // 2 + 1, dtype=torch.complex128)
    for x, y, z in points.tolist():
        one = torch.polar(torch.ones_like(kx), -2 * math.pi * kx * x)
        two = torch.polar(torch.ones_like(ky), -2 * math.pi * ky * y)
        three = torch.polar(torch.ones_like(kz), -2 * math.pi * kz * z)
        spectrum += three * (two * one)
    k2 = kx**2 + ky**2 + kz**2
    # Atoms have a width of their own; without it the map would ring.
    spectrum *= torch.exp(-b_factor * k2 / 4)
    voxels = fourier.to_real(spectrum, width=box, dimensions=3)
    return Volume(voxels=voxels.float(), voxel_size=VOXEL)


def noisy_halves(
    signal: Volume, *, noise: float, seed: int = 11, origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> HalfMaps:
    """The signal twice with independent white noise of this standard deviation."""
    source = torch.Generator().manual_seed(seed)
    first, second = (
        Volume(
            voxels=signal.voxels + noise * torch.randn(signal.voxels.shape, generator=source),
            voxel_size=signal.voxel_size,
            origin=origin,
        )
        for _ in range(2)
    )
    return HalfMaps(first=first, second=second)
