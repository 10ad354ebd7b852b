"""Warps: what moves a plane wave moves it by the displacement, to the stated accuracy; whole pixels exactly."""

import math

import pytest
import torch

from cryowalk.fourier.filters import shift_images
from cryowalk.fourier.grids import frequency_radius
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.numerics.sinc_warp import warp


def noise(size, *, limit):
    image = torch.randn(size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    radius = frequency_radius(size, pixel_size=1.0, dtype=torch.float64)
    return to_real(to_fourier(image) * (radius < limit * 0.5), width=size[1])


@pytest.mark.parametrize("size", [(64, 80), (65, 81)])
@pytest.mark.parametrize("move", [(0.5, 0.0), (0.0, -0.37), (3.25, -1.8)])
def test_an_even_displacement_is_a_shift(size, move):
    image = noise(size, limit=0.8)
    displacement = torch.tensor(move)[:, None, None].expand(2, *size)
    expected = shift_images(image, torch.tensor(move, dtype=torch.float64), pixel_size=1.0)
    assert float((warp(image, displacement) - expected).norm() / expected.norm()) < 0.015


def test_whole_pixels_are_exact_and_the_dtype_stays():
    image = torch.randn(40, 50, generator=torch.Generator().manual_seed(1))
    moved = warp(image, torch.tensor([3.0, -2.0])[:, None, None].expand(2, 40, 50))
    assert moved.dtype == torch.float32
    assert torch.allclose(moved, torch.roll(image, (-2, 3), dims=(0, 1)), atol=1e-6)


def test_a_smooth_field_of_displacements_moves_each_place_by_its_own():
    """A plane wave cos 2πk·x becomes cos 2πk·(x − d(x))."""
    size = (200, 220)
    y, x = torch.meshgrid(torch.arange(200.0), torch.arange(220.0), indexing="ij")
    field = torch.stack([1.5 * (x / 220 - 0.5) * (y / 200), -2.0 * (y / 200 - 0.5) ** 2])
    kx, ky = 24 / 220, 31 / 200
    moved = warp(torch.cos(2 * math.pi * (kx * x + ky * y)), field)
    expected = torch.cos(2 * math.pi * (kx * (x - field[0]) + ky * (y - field[1])))
    inner = (slice(10, -10), slice(10, -10))
    assert float((moved - expected)[inner].abs().max()) < 0.02
    assert float((moved - torch.cos(2 * math.pi * (kx * x + ky * y)))[inner].abs().max()) > 0.5
    assert moved.shape == size


def test_displacements_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="finite"):
        warp(torch.zeros(8, 8), torch.full((2, 8, 8), float("nan")))
