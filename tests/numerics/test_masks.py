"""Masks: inside, outside, edge and centre."""

import math

import pytest
import torch

from cryowalk.core.errors import UsageError
from cryowalk.numerics.masks import soft_circle, soft_sphere


@pytest.mark.parametrize("box", [32, 33])
def test_sphere_inside_edge_outside(box):
    mask = soft_sphere(box, radius=12.0, edge=6.0, voxel_size=1.5)
    line = mask[box // 2, box // 2, box // 2 :]
    distance = torch.arange(line.shape[0]) * 1.5
    assert torch.equal(line[distance <= 12], torch.ones(9))
    torch.testing.assert_close(line[10], torch.tensor(0.5))  # 15 Å: the middle of the edge
    assert torch.all(line[distance >= 18] == 0)
    assert torch.equal(mask, mask.transpose(0, 2))
    assert mask.sum().item() * 1.5**3 == pytest.approx(4 / 3 * math.pi * 15**3, rel=0.06)


@pytest.mark.parametrize("size", [(20, 20), (21, 20), (20, 23)])
def test_circle_is_centred_on_the_origin_pixel(size):
    mask = soft_circle(size, radius=4.0, edge=0.0, pixel_size=1.3)
    rows, columns = torch.nonzero(mask, as_tuple=True)
    assert rows.float().mean() == size[0] // 2
    assert columns.float().mean() == size[1] // 2
    assert set(mask.unique().tolist()) == {0.0, 1.0}


def test_square_by_one_number():
    assert soft_circle(9, radius=3.0, edge=1.0, pixel_size=1.0).shape == (9, 9)


def test_radius_must_be_positive():
    with pytest.raises(UsageError, match="radius"):
        soft_sphere(8, radius=0.0, edge=1.0, voxel_size=1.0)
