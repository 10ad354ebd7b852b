"""Alignment of maps: a known rotation, shift and hand are found again."""

import math

import pytest
import torch

from cryowalk.core.errors import InputError, ShapeError
from cryowalk.data import Volume
from cryowalk.geometry.rotations import geodesic_distance, matrix_from_euler
from cryowalk.validation import align, compare_maps
from cryowalk.validation.rigid_motion import mirrored, moved

DEGREE = math.pi / 180


@pytest.mark.parametrize("box", [36, 45])
def test_a_moved_map_is_the_map_moved(box: int, phantom) -> None:
    rotation = matrix_from_euler(torch.tensor([0.7, 1.1, -2.0], dtype=torch.float64))
    shift = torch.tensor([3.1, -4.2, 1.3], dtype=torch.float64)
    ours = moved(phantom(box), rotation, shift)
    exact = phantom(box, rotation=rotation, shift=shift)
    error = (ours.voxels - exact.voxels).norm() / exact.voxels.norm()
    assert error < 1.2e-2  # the replicas that linear interpolation on the doubled grid leaves
    wrong = moved(phantom(box), rotation.T, shift)
    assert (wrong.voxels - exact.voxels).norm() / exact.voxels.norm() > 0.3


@pytest.mark.parametrize("box", [24, 25])
def test_mirroring_twice_changes_nothing_and_once_inverts_about_the_origin(box: int, phantom) -> None:
    volume = phantom(box)
    mirror = mirrored(volume)
    assert torch.equal(mirrored(mirror).voxels, volume.voxels)
    assert mirror.voxels[box // 2 + 2, box // 2 - 3, box // 2 + 4] == volume.voxels[box // 2 - 2, box // 2 + 3, box // 2 - 4]


@pytest.mark.parametrize("angles", [(0.3, 0.2, -0.1), (2.0, 2.6, 1.0)])
def test_a_known_rotation_and_shift_are_recovered(angles, phantom) -> None:
    box, voxel_size = 48, 1.7
    rotation = matrix_from_euler(torch.tensor(angles, dtype=torch.float64))
    shift = torch.tensor([6.3, -3.4, 5.1], dtype=torch.float64)
    reference = phantom(box, rotation=rotation, shift=shift)
    found = align(phantom(box), reference)
    assert float(geodesic_distance(found.rotation, rotation)) < 0.1 * DEGREE
    assert (found.shift - shift).norm() < 0.05 * voxel_size
    assert found.correlation > 0.995
    assert compare_maps(found.volume, reference).resolution(at=0.99) < 5 * voxel_size


@pytest.mark.slow
def test_noisy_maps_align_and_the_hand_is_found(phantom, generator: torch.Generator) -> None:
    box = 40
    rotation = matrix_from_euler(torch.tensor([-1.0, 1.9, 0.4], dtype=torch.float64))
    shift = torch.tensor([2.0, 1.0, -3.0], dtype=torch.float64)
    reference = phantom(box, rotation=rotation, shift=shift)
    noisy = Volume(voxels=phantom(box).voxels + 0.06 * torch.randn(box, box, box, generator=generator), voxel_size=1.7)
    found = align(noisy, reference, resolution=9.0)
    assert float(geodesic_distance(found.rotation, rotation)) < 0.5 * DEGREE
    assert (found.shift - shift).norm() < 0.2 * 1.7
    other_hand = align(mirrored(noisy), reference, resolution=9.0)
    either = align(mirrored(noisy), reference, hand="either", resolution=9.0)
    assert either.is_mirrored
    assert not found.is_mirrored
    assert either.correlation > other_hand.correlation + 0.005
    assert float(geodesic_distance(either.rotation, rotation)) < 0.5 * DEGREE


def test_maps_that_cannot_be_aligned_are_refused(phantom) -> None:
    with pytest.raises(ShapeError):
        align(phantom(24), phantom(26))
    with pytest.raises(InputError, match="constant"):
        align(phantom(24), Volume(voxels=torch.ones(24, 24, 24), voxel_size=1.7))
