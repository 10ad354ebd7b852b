"""Grids against their plain definitions."""

import math

import numpy as np
import pytest
import torch

from cryowalk.core.errors import ShapeError
from cryowalk.fourier.grids import (
    coordinates,
    frequency_azimuth,
    frequency_grid,
    frequency_radius,
    friedel_weights,
    full_frequency_grid,
    require_size,
    shell_index,
)

SIZES = [(8, 8), (9, 9), (8, 9), (9, 8), (5, 6, 7)]


@pytest.mark.parametrize("size", SIZES)
def test_frequencies_are_numpys(size):
    grid = frequency_grid(size, pixel_size=1.4, dtype=torch.float64)
    np.testing.assert_allclose(grid[0].numpy(), np.fft.rfftfreq(size[-1], 1.4))
    for axis, k in enumerate(grid[1:], start=1):
        np.testing.assert_allclose(k.numpy().reshape(-1), np.fft.fftfreq(size[-1 - axis], 1.4))
        assert k.ndim == axis + 1
    radius = frequency_radius(size, pixel_size=1.4, dtype=torch.float64)
    assert radius.shape == (*size[:-1], size[-1] // 2 + 1)
    torch.testing.assert_close(radius**2, sum(k**2 for k in grid) + torch.zeros_like(radius))


@pytest.mark.parametrize("size", [(8, 9), (9, 8), (1, 2)])
def test_frequencies_of_the_full_spectrum_are_numpys(size):
    kx, ky = full_frequency_grid(size, pixel_size=1.4, dtype=torch.float64)
    np.testing.assert_allclose(kx.numpy(), np.fft.fftfreq(size[1], 1.4))
    np.testing.assert_allclose(ky.numpy(), np.fft.fftfreq(size[0], 1.4)[:, None])


def test_azimuth_runs_from_x_to_y():
    azimuth = frequency_azimuth((9, 8), pixel_size=2.0)
    assert azimuth[0, 1] == 0
    assert azimuth[1, 0].item() == pytest.approx(math.pi / 2)
    assert azimuth[-1, 0].item() == pytest.approx(-math.pi / 2)
    assert azimuth[0, 0] == 0


@pytest.mark.parametrize("size", [(8, 8), (9, 9), (6, 6, 6), (7, 7, 7)])
def test_shells_are_nearest_whole_radii(size):
    k = frequency_grid(size, pixel_size=1.0, dtype=torch.float64)
    squared = sum((component * size[0]).round() ** 2 for component in k)
    expected = torch.floor(squared.sqrt() + 0.5).to(torch.int64)
    assert torch.equal(shell_index(size), expected)


@pytest.mark.parametrize("size", SIZES)
def test_coordinates_vanish_at_the_origin_pixel(size):
    for axis, position in enumerate(coordinates(size, pixel_size=1.4)):
        length = size[-1 - axis]
        assert position.reshape(-1)[length // 2] == 0
        assert position.reshape(-1)[-1].item() == pytest.approx((length - 1 - length // 2) * 1.4)


@pytest.mark.parametrize("size", SIZES)
def test_friedel_weights_count_the_full_spectrum(size):
    assert friedel_weights(size).sum().item() * math.prod(size[:-1]) == math.prod(size)


def test_placement_follows_the_given_tensor():
    assert frequency_grid((4, 4), pixel_size=1.1, like=torch.zeros(1, dtype=torch.complex128))[0].dtype == torch.float64


def test_too_few_axes():
    with pytest.raises(ShapeError, match="3 axes"):
        require_size(torch.zeros(4, 4), 3)
