"""The scale of a map is found again, within the error that is told."""

import math
from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data import Volume
from cryowalk.geometry.rotations import matrix_from_euler
from cryowalk.validation.pixel_calibration import calibrate_voxel_size

VOXEL, BOX = 1.8, 32


def blobs(scale: float, generator: torch.Generator | None = None, *, noise: float = 0.0, turned: bool = False) -> Volume:
    """Sixty Gaussian atoms in a ball of 19 Å, as they look with a voxel that is `scale` times what it claims."""
    places = torch.randn(60, 3, generator=torch.Generator().manual_seed(4))
    places = (
        19 * places / places.norm(dim=1, keepdim=True) * torch.rand(60, 1, generator=torch.Generator().manual_seed(5)) ** (1 / 3)
    )
    if turned:
        places = places @ matrix_from_euler(torch.tensor([0.03, 0.02, -0.04])).T + torch.tensor([0.6, -0.4, 0.3])
    axis = (torch.arange(BOX) - BOX // 2) * VOXEL * scale
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], dim=-1).reshape(-1, 3)
    voxels = torch.exp(-torch.cdist(points, places).square() / (2 * 1.6**2)).sum(dim=1).reshape(BOX, BOX, BOX)
    if generator is not None:
        voxels = voxels + noise * voxels.std() * torch.randn(voxels.shape, generator=generator)
    return Volume(voxels=voxels, voxel_size=VOXEL)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.965, 1.013])
def test_a_wrong_voxel_size_is_found_within_its_error(scale: float, generator: torch.Generator) -> None:
    found = calibrate_voxel_size(blobs(scale, generator, noise=1.0, turned=True), blobs(1.0), resolution=6.0)
    assert abs(found.voxel_size - VOXEL * scale) < 3.5 * found.standard_error
    assert found.standard_error < 0.004 * VOXEL
    assert found.scale == pytest.approx(scale, abs=0.006)
    assert 0.5 < found.correlation < 0.99
    assert len(found.scan) == len(found.scales)


def test_a_right_voxel_size_stays_and_the_error_grows_with_noise(generator: torch.Generator) -> None:
    clean = calibrate_voxel_size(blobs(1.0, generator, noise=0.2), blobs(1.0), resolution=8.0)
    assert clean.voxel_size == pytest.approx(VOXEL, abs=3.5 * clean.standard_error)
    noisy = calibrate_voxel_size(blobs(1.0, generator, noise=2.0), blobs(1.0), resolution=8.0)
    assert noisy.standard_error > 3 * clean.standard_error


def test_what_cannot_be_calibrated_is_refused(generator: torch.Generator) -> None:
    volume = blobs(1.0)
    with pytest.raises(ShapeError, match="differ in size"):
        calibrate_voxel_size(volume, Volume(voxels=torch.rand(20, 20, 20), voxel_size=VOXEL), resolution=8.0)
    with pytest.raises(InputError, match="reference is constant"):
        calibrate_voxel_size(volume, replace(volume, voxels=torch.zeros_like(volume.voxels)), resolution=8.0)
    with pytest.raises(InputError, match="map is constant or holds NaN"):
        calibrate_voxel_size(replace(volume, voxels=volume.voxels * math.nan), volume, resolution=8.0)
    with pytest.raises(UsageError, match="resolution"):
        calibrate_voxel_size(volume, volume, resolution=0.0)
