"""The gridding kernel's transform and bounds, and the rotation of an asymmetric volume."""

import math

import numpy as np
import pytest
import torch

from cryowalk.core.errors import ShapeError
from cryowalk.numerics.interpolation import THREE_TAPS, rotate_volume


def test_kernel_has_unit_integral_and_small_aliases():
    assert THREE_TAPS.transform(np.zeros(1))[0] == pytest.approx(1, abs=1e-12)
    position = np.linspace(-0.25, 0.25, 41)
    signal = THREE_TAPS.transform(position) ** 2
    aliases = sum(THREE_TAPS.transform(position + m) ** 2 for m in range(-8, 9)) - signal
    assert np.sqrt(aliases / signal).max() < 0.008
    np.testing.assert_allclose(THREE_TAPS.interpolation_correction(position) * (signal + aliases), np.sqrt(signal), rtol=1e-4)


def test_taps_are_the_kernel_at_their_distances():
    before, at, after = THREE_TAPS.weights(torch.tensor([0.0, 0.25, -0.5], dtype=torch.float64))
    assert before[0] == after[0]
    assert at[2] == before[2]
    assert after[2].item() == pytest.approx(0, abs=1e-12)  # continuous where the nearest grid point changes
    torch.testing.assert_close(before + at + after, torch.ones(3, dtype=torch.float64), rtol=0, atol=0.02)


def about(axis, angle):
    c, s = math.cos(angle), math.sin(angle)
    if axis == "z":
        return torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return torch.tensor([[1, 0, 0], [0, c, -s], [0, s, c]])


@pytest.mark.parametrize("box", [7, 8])
def test_quarter_turns_permute_voxels(box):
    volume = torch.zeros(box, box, box)
    o = box // 2
    volume[o + 1, o, o + 2] = 3.0  # at (x, y, z) = (2, 0, 1)
    turned = rotate_volume(volume, about("z", math.pi / 2))  # (2, 0, 1) → (0, 2, 1)
    assert turned[o + 1, o + 2, o].item() == pytest.approx(3, abs=1e-4)
    turned = rotate_volume(volume, about("x", math.pi / 2))  # (2, 0, 1) → (2, −1, 0)
    assert turned[o, o - 1, o + 2].item() == pytest.approx(3, abs=1e-4)
    moved = rotate_volume(volume, torch.eye(3), torch.tensor([-1.0, 1.0, 0.0]))
    assert moved[o + 1, o + 1, o + 1].item() == pytest.approx(3, abs=1e-4)


@pytest.mark.parametrize("box", [32, 33])
def test_rotated_blob_stands_where_the_rotation_puts_it(box):
    axis = torch.arange(box, dtype=torch.float64) - box // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")

    def blob(centre):
        return torch.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2) / 18)

    rotation = (about("z", 0.7) @ about("x", 0.4)).to(torch.float64)
    centre, shift = torch.tensor([4.0, -3.0, 2.0], dtype=torch.float64), torch.tensor([0.6, 1.2, -0.4], dtype=torch.float64)
    expected = blob(rotation @ centre + shift)
    result = rotate_volume(blob(centre), rotation, shift)
    assert (result - expected).abs().max() < 0.05
    assert ((result - expected).norm() / expected.norm()) < 0.04


def test_only_cubes_are_turned():
    with pytest.raises(ShapeError, match="cube"):
        rotate_volume(torch.zeros(3, 3, 4), torch.eye(3))
