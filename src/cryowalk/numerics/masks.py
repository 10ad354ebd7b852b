"""Soft masks about the origin pixel."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_positive


def soft_sphere(
    box: int,
    *,
    radius: float,
    edge: float,
    voxel_size: float,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Float[Tensor, "z y x"]:
    """A ball about the origin voxel: 1 up to `radius`, then a raised cosine that reaches 0 at radius + edge (all Å)."""
    return _soft_ball((box, box, box), radius=radius, edge=edge, pixel_size=voxel_size, dtype=dtype, device=device)


def soft_circle(
    size: int | tuple[int, int],
    *,
    radius: float,
    edge: float,
    pixel_size: float,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Float[Tensor, "y x"]:
    """A disk about the origin pixel: 1 up to `radius`, then a raised cosine that reaches 0 at radius + edge (all Å)."""
    sides = (size, size) if isinstance(size, int) else size
    return _soft_ball(sides, radius=radius, edge=edge, pixel_size=pixel_size, dtype=dtype, device=device)


def _soft_ball(
    sides: tuple[int, ...],
    *,
    radius: float,
    edge: float,
    pixel_size: float,
    dtype: torch.dtype,
    device: torch.device | str | None,
) -> Tensor:
    require_positive("pixel size", pixel_size, unit="Å")
    require_positive("mask radius", radius, unit="Å")
    squared = torch.zeros((), dtype=dtype, device=device)
    for axis, side in enumerate(sides):
        position = (torch.arange(side, dtype=dtype, device=device) - side // 2) * pixel_size
        squared = squared + (position**2).reshape(-1, *[1] * (len(sides) - 1 - axis))
    distance = torch.sqrt(squared)
    if edge <= 0:
        return (distance <= radius).to(dtype)
    return 0.5 + 0.5 * torch.cos(math.pi * ((distance - radius) / edge).clamp(0, 1))
