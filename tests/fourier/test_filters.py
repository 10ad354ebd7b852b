"""Filters on waves of known frequency, and shifts of whole pixels and of Gaussians."""

import math

import pytest
import torch

from cryowalk.core.errors import ShapeError, UsageError
from cryowalk.fourier.filters import (
    apply_shell_weights,
    b_factor,
    high_pass,
    low_pass,
    low_pass_weights,
    shift_images,
    shift_phases,
)
from cryowalk.fourier.grids import coordinates
from cryowalk.fourier.transform import to_fourier, to_real


def wave(size, cycles, *, phase=0.3):
    """A wave of so many cycles over the field along x and y."""
    x, y = coordinates(size, pixel_size=1.0, dtype=torch.float64)
    return torch.cos(2 * math.pi * (cycles[0] * x / size[1] + cycles[1] * y / size[0]) + phase)


@pytest.mark.parametrize("box", [32, 33])
def test_low_and_high_pass_keep_and_remove_waves(box):
    pixel_size = 1.7
    coarse, fine = wave((box, box), (3, -2)), wave((box, box), (8, 9))
    cutoff = box * pixel_size / 8  # the resolution of shell 8
    torch.testing.assert_close(low_pass(coarse + fine, resolution=cutoff, pixel_size=pixel_size), coarse)
    torch.testing.assert_close(high_pass(coarse + fine, resolution=cutoff, pixel_size=pixel_size), fine)


def test_low_pass_is_half_way_down_at_its_resolution():
    image = wave((32, 32), (8, 0))
    torch.testing.assert_close(low_pass(image, resolution=32 * 1.7 / 8, pixel_size=1.7), image / 2)
    weights = low_pass_weights((32, 32), resolution=32 * 1.7 / 8, pixel_size=1.7, edge=0)
    assert set(weights.unique().tolist()) == {0.0, 1.0}


def test_low_pass_of_a_volume(generator):
    volume = torch.randn(12, 12, 12, generator=generator)
    filtered = low_pass(volume, resolution=8.0, pixel_size=1.3, dimensions=3)
    assert filtered.shape == volume.shape
    assert filtered.var() < 0.3 * volume.var()
    torch.testing.assert_close(filtered.mean(), volume.mean())


def test_low_pass_refuses_a_resolution_of_zero():
    with pytest.raises(UsageError, match="resolution"):
        low_pass(torch.zeros(4, 4), resolution=0.0, pixel_size=1.0)


def test_b_factor_blurs_a_wave_by_the_formula():
    image = wave((31, 31), (5, 0))
    frequency = 5 / (31 * 1.2)
    torch.testing.assert_close(b_factor(image, b_factor=80.0, pixel_size=1.2), image * math.exp(-80 * frequency**2 / 4))
    torch.testing.assert_close(b_factor(b_factor(image, b_factor=80.0, pixel_size=1.2), b_factor=-80.0, pixel_size=1.2), image)


@pytest.mark.parametrize("size", [(8, 8), (9, 9), (6, 6, 6)])
def test_shell_weights(size, generator):
    array = torch.randn(size, generator=generator)
    shells = size[0] // 2 + 1
    torch.testing.assert_close(apply_shell_weights(array, torch.ones(shells), dimensions=len(size)), array)
    only_mean = torch.zeros(shells)
    only_mean[0] = 2.0
    torch.testing.assert_close(
        apply_shell_weights(array, only_mean, dimensions=len(size)), torch.full_like(array, 2 * array.mean())
    )
    with pytest.raises(ShapeError, match="weights"):
        apply_shell_weights(array, torch.ones(shells + 1), dimensions=len(size))


@pytest.mark.parametrize("size", [(8, 8), (9, 9), (8, 9), (9, 8)])
def test_whole_pixel_shift_is_a_roll(size, generator):
    images = torch.randn(3, *size, generator=generator)
    shift = torch.tensor([[2.0, 0.0], [0.0, -1.0], [-3.0, 1.0]]) * 1.6
    moved = shift_images(images, shift, pixel_size=1.6)
    for image, result, (x, y) in zip(images, moved, [(2, 0), (0, -1), (-3, 1)], strict=True):
        torch.testing.assert_close(result, torch.roll(image, (y, x), dims=(0, 1)))


def test_fractional_shift_moves_a_gaussian():
    x, y = coordinates((33, 32), pixel_size=1.1, dtype=torch.float64)
    image = torch.exp(-(x**2 + y**2) / 18)
    sx, sy = 2.37, -1.91
    expected = torch.exp(-((x - sx) ** 2 + (y - sy) ** 2) / 18)
    moved = shift_images(image, torch.tensor([sx, sy], dtype=torch.float64), pixel_size=1.1)
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-5)


def test_shift_phases_have_length_one_and_add_up():
    one, other = torch.tensor([[0.4, -1.2], [2.0, 0.7]], dtype=torch.float64)
    phases = [shift_phases((9, 8), s, pixel_size=1.3) for s in (one, other, one + other)]
    torch.testing.assert_close(phases[0] * phases[1], phases[2])
    torch.testing.assert_close(phases[0].abs(), torch.ones(9, 5, dtype=torch.float64))
    image = torch.randn(9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(to_real(to_fourier(image) * phases[0], width=8), shift_images(image, one, pixel_size=1.3))
