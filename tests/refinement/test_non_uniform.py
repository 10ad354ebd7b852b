"""Local low-passes chosen by cross-validation: finer where the specimen is sharp, better than any one filter, and fair to both halves."""

import pytest
import torch

from cryowalk.data import HalfMaps, Volume
from cryowalk.fourier.filters import low_pass
from cryowalk.fourier.shells import shell_correlation
from cryowalk.refinement.non_uniform import locally_filtered

BOX, SIZE = 40, 3.0


@pytest.fixture
def two_sided(generator):
    """A specimen that is sharp on the left and smooth on the right, and two noisy halves of it."""
    sharp = torch.randn(BOX, BOX, BOX, generator=generator)
    smooth = 6 * low_pass(torch.randn(BOX, BOX, BOX, generator=generator), resolution=30.0, pixel_size=SIZE, dimensions=3)
    sharp = 2.5 * low_pass(sharp, resolution=9.0, pixel_size=SIZE, dimensions=3)
    axis = torch.arange(BOX) - BOX // 2
    left = torch.sigmoid(-axis.float() / 1.5)
    truth = left * sharp + (1 - left) * smooth
    noisy = [truth + torch.randn(truth.shape, generator=generator) for _ in range(2)]
    return truth, HalfMaps(first=Volume(voxels=noisy[0], voxel_size=SIZE), second=Volume(voxels=noisy[1], voxel_size=SIZE))


def error(volume, truth, side):
    part = slice(2, BOX // 2 - 3) if side == "left" else slice(BOX // 2 + 3, BOX - 2)
    return float((volume - truth)[..., part].square().mean())


def test_better_than_every_single_filter(two_sided):
    truth, halves = two_sided
    found = locally_filtered(halves, coarsest=3, finest=16).first.voxels
    single = [
        low_pass(halves.first.voxels, resolution=BOX * SIZE / shell, pixel_size=SIZE, dimensions=3) for shell in range(3, 17)
    ]
    best = min(single, key=lambda each: float((each - truth).square().mean()))
    assert float((found - truth).square().mean()) < 0.95 * float((best - truth).square().mean())
    assert error(found, truth, "left") < 1.1 * error(best, truth, "left")
    assert error(found, truth, "right") < 0.8 * error(best, truth, "right")


def test_swapped_halves_give_swapped_maps(two_sided):
    _, halves = two_sided
    one = locally_filtered(halves, coarsest=3, finest=12)
    other = locally_filtered(HalfMaps(first=halves.second, second=halves.first), coarsest=3, finest=12)
    assert torch.allclose(one.first.voxels, other.second.voxels, atol=1e-5)
    assert torch.allclose(one.second.voxels, other.first.voxels, atol=1e-5)


def test_noise_gains_no_correlation(generator):
    noise = HalfMaps(
        first=Volume(voxels=torch.randn(BOX, BOX, BOX, generator=generator), voxel_size=SIZE),
        second=Volume(voxels=torch.randn(BOX, BOX, BOX, generator=generator), voxel_size=SIZE),
    )
    found = locally_filtered(noise, coarsest=4, finest=14)
    curve = shell_correlation(found.first.voxels, found.second.voxels)
    assert float(curve[6:14].abs().mean()) < 0.1


def test_one_filter_is_a_low_pass(two_sided):
    _, halves = two_sided
    found = locally_filtered(halves, coarsest=8, finest=8)
    plain = low_pass(halves.first.voxels, resolution=BOX * SIZE / 8, pixel_size=SIZE, dimensions=3)
    assert float((found.first.voxels - plain).norm() / plain.norm()) < 0.2
