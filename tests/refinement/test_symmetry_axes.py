"""A turned and moved symmetric map is found in its frame."""

import math

import pytest
import torch

from cryowalk.data import Volume
from cryowalk.geometry.rotations import matrix_from_rotation_vector
from cryowalk.geometry.symmetry import symmetry_operators
from cryowalk.numerics.interpolation import rotate_volume
from cryowalk.refinement.symmetry_axes import symmetry_frame, turned_map

BOX = 32


def symmetric_map(symmetry):
    """Gaussian balls at the places of one asymmetric triple, under every operator."""
    axis = torch.arange(BOX, dtype=torch.float32) - BOX // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.tensor([[6.0, 2.0, 4.0], [3.0, 7.0, -1.0], [2.0, 1.5, 8.0]])
    voxels = torch.zeros(BOX, BOX, BOX)
    for operator in symmetry_operators(symmetry).float():
        for weight, point in zip((1.0, 0.7, 0.5), points @ operator.T, strict=True):
            voxels += weight * torch.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2 + (z - point[2]) ** 2) / 8)
    return Volume(voxels=voxels, voxel_size=3.0)


def self_agreement(volume, symmetry):
    values = []
    for operator in symmetry_operators(symmetry)[1:].float():
        turned = rotate_volume(volume.voxels, operator)
        values.append(torch.corrcoef(torch.stack((volume.voxels.flatten(), turned.flatten())))[0, 1].item())
    return min(values)


@pytest.mark.parametrize("symmetry", ["C3", "D2", pytest.param("O", marks=pytest.mark.slow)])
def test_a_turned_and_moved_map_is_brought_into_its_groups_frame(symmetry):
    turn = matrix_from_rotation_vector(torch.tensor([0.7, -0.4, 1.1], dtype=torch.float64)).float()
    original = symmetric_map(symmetry)
    moved = Volume(voxels=rotate_volume(original.voxels, turn, torch.tensor([1.0, -0.5, 0.7])), voxel_size=3.0)
    assert self_agreement(moved, symmetry) < 0.87
    frame = symmetry_frame(moved, symmetry)
    assert frame.correlation > 0.9
    back = turned_map(moved, frame.rotation, frame.centre)
    assert self_agreement(back, symmetry) > 0.9


def test_a_map_without_the_symmetry_is_told_by_its_correlation():
    moved = symmetric_map("C1")
    assert symmetry_frame(moved, "D2").correlation < 0.75


def test_the_frame_of_a_cyclic_group_puts_its_axis_along_z():
    tilt = matrix_from_rotation_vector(torch.tensor([math.radians(50), 0.0, 0.0], dtype=torch.float64)).float()
    moved = Volume(voxels=rotate_volume(symmetric_map("C3").voxels, tilt), voxel_size=3.0)
    axis = symmetry_frame(moved, "C3").rotation @ (tilt @ torch.tensor([0.0, 0.0, 1.0]))
    assert axis[2].abs() > math.cos(math.radians(4))
