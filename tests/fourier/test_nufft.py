"""The exact reference: closed forms to 1e-5, the defining sum, its adjoint, and how far the fast path is from it."""

import math

import pytest
import torch

from cryowalk.data import Volume
from cryowalk.fourier.nufft import back_project_exactly, project_exactly, slices_exactly
from cryowalk.fourier.padded import disk_points
from cryowalk.fourier.slices import extract_slices, prepare_volume

from .phantom import blobs, rotations

VOXEL = 1.3


@pytest.mark.parametrize("box", [48, 49])
def test_projections_of_blobs_agree_to_1e5(box):
    specimen, poses = blobs(0.2 * box * VOXEL, width=1.5 * VOXEL, count=6), rotations(5)
    images = project_exactly(specimen.volume(box, VOXEL, dtype=torch.float64), poses)
    expected = specimen.projections(box, VOXEL, poses)
    assert ((images - expected).norm() / expected.norm()).item() < 1e-5


@pytest.mark.parametrize("box", [6, 7])
def test_equals_the_defining_sum(box, generator):
    voxels, pose = torch.randn(box, box, box, generator=generator, dtype=torch.float64), rotations(1)
    points = disk_points(box)
    axis = torch.arange(box, dtype=torch.float64) - box // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    lab = torch.stack((points.kx, points.ky, torch.zeros_like(points.kx)), dim=-1).to(torch.float64)
    k = lab @ pose[0]
    turns = (k @ torch.stack((x, y, z)).reshape(3, -1)) / box
    expected = (torch.exp(-2j * math.pi * turns) @ voxels.reshape(-1).to(torch.complex128)) * VOXEL / box
    slices = slices_exactly(Volume(voxels=voxels, voxel_size=VOXEL), pose).reshape(-1)
    torch.testing.assert_close(slices[points.place], expected)
    assert (slices != 0).sum() <= points.place.shape[0]


@pytest.mark.parametrize("box", [8, 9])
def test_back_projection_is_the_adjoint(box, generator):
    volume = Volume(voxels=torch.randn(box, box, box, generator=generator, dtype=torch.float64), voxel_size=VOXEL)
    images, poses = torch.randn(4, box, box, generator=generator, dtype=torch.float64), rotations(4)
    back = back_project_exactly(images, poses, voxel_size=VOXEL)
    projected = (project_exactly(volume, poses) * images).sum().item()
    assert projected == pytest.approx((volume.voxels * back.voxels).sum().item(), rel=1e-8)


def test_precision_follows_the_map(generator):
    voxels = torch.randn(6, 6, 6, generator=generator)
    assert slices_exactly(Volume(voxels=voxels, voxel_size=VOXEL), rotations(1)).dtype == torch.complex64


@pytest.mark.parametrize(("support", "bound"), [(0.2, 0.0095), (0.35, 0.0105), (0.48, 0.012)])
def test_fast_slices_are_near_the_exact_ones(support, bound):
    """Relative L2 error of the fast path at padding 1.5, over the whole disk."""
    box, poses = 40, rotations(6)
    volume = blobs(support * box * VOXEL, width=1.2 * VOXEL, count=40).volume(box, VOXEL)
    exact = slices_exactly(volume, poses)
    fast = extract_slices(prepare_volume(volume), poses.float())
    assert ((fast - exact).norm() / exact.norm()).item() < bound
