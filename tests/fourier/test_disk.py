"""The half disk: what it holds, its order, and its way to and from spectra."""

import math

import pytest
import torch

from cryowalk.core.errors import ShapeError
from cryowalk.data import Volume
from cryowalk.fourier.disk import half_disk
from cryowalk.fourier.filters import low_pass, shift_phases
from cryowalk.fourier.slices import extract_slices, prepare_volume
from cryowalk.fourier.transform import to_fourier, to_real

from .phantom import rotations

BOXES = [2, 3, 8, 9, 20]


@pytest.mark.parametrize("box", BOXES)
def test_holds_one_of_each_friedel_pair_inside_nyquist_by_radius(box):
    disk = half_disk(box)
    pairs = set(zip(disk.kx.tolist(), disk.ky.tolist(), strict=True))
    limit = range(-(box // 2), box // 2 + 1)
    inside = {(x, y) for x in limit for y in limit if 4 * (x * x + y * y) < box * box}
    assert pairs | {(-x, -y) for x, y in pairs} == inside
    assert 2 * disk.count - 1 == len(inside)
    assert disk.multiplicity.sum().item() == len(inside)
    assert (disk.kx[0], disk.ky[0]) == (0, 0)
    assert torch.all(disk.radius.diff() >= 0)
    assert torch.all((disk.shell - disk.radius).abs() <= 0.5)


@pytest.mark.parametrize("box", BOXES)
def test_scatter_undoes_gather_for_a_band_limited_image(box, generator):
    disk = half_disk(box)
    image = to_real(disk.scatter(torch.view_as_complex(torch.randn(3, disk.count, 2, generator=generator))), width=box)
    spectrum = to_fourier(image)
    torch.testing.assert_close(disk.scatter(disk.gather(spectrum)), spectrum)
    full = (disk.gather(spectrum).abs() ** 2 * disk.multiplicity).sum()
    torch.testing.assert_close(full, (image**2).sum())


@pytest.mark.parametrize("box", [16, 17])
def test_prefix_limits_the_resolution(box, generator):
    disk, pixel_size = half_disk(box), 1.3
    assert disk.prefix(0) == 1
    assert disk.prefix(1) == 3
    assert disk.prefix(box) == disk.count
    image = torch.randn(box, box, generator=generator)
    resolution = box * pixel_size / 4.5
    kept = disk.prefix(box * pixel_size / resolution)
    limited = to_real(disk.scatter(disk.gather(to_fourier(image), count=kept)), width=box)
    torch.testing.assert_close(limited, low_pass(image, resolution=resolution, pixel_size=pixel_size, edge=0.0))


def test_phases_and_slices_are_those_of_the_spectrum(generator):
    box, disk, shift = 11, half_disk(11), 3 * torch.randn(4, 2, generator=generator)
    expected = disk.gather(shift_phases((box, box), shift, pixel_size=1.3))
    torch.testing.assert_close(disk.shift_phases(shift, pixel_size=1.3), expected)
    torch.testing.assert_close(disk.shift_phases(shift, pixel_size=1.3, count=5), expected[:, :5])
    reference = prepare_volume(Volume(voxels=torch.randn(box, box, box, generator=generator), voxel_size=1.3))
    poses = rotations(4).float()
    torch.testing.assert_close(disk.slices(reference, poses, count=20), disk.gather(extract_slices(reference, poses))[:, :20])


def test_distances_are_sums_over_the_disk(generator):
    """Parseval: a distance between band-limited images is a weighted sum over the half disk."""
    box, disk = 12, half_disk(12)
    one, other = (disk.scatter(torch.view_as_complex(torch.randn(disk.count, 2, generator=generator))) for _ in range(2))
    images = ((to_real(one, width=box) - to_real(other, width=box)) ** 2).sum().item()
    a, b = (disk.gather(to_fourier(to_real(s, width=box))) for s in (one, other))
    assert ((a - b).abs() ** 2 * disk.multiplicity).sum().item() == pytest.approx(images, rel=1e-5)
    assert math.isfinite(images)


def test_other_boxes_are_refused():
    with pytest.raises(ShapeError, match="box of 8"):
        half_disk(8).gather(torch.zeros(9, 5))
