"""Algebra, statistics, segments and grids of maps against closed forms."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data import Volume
from cryowalk.geometry.asymmetric_phantom import phantom_density
from cryowalk.validation.convention_maps import axis_order
from cryowalk.validation.map_algebra import combined, map_statistics, segmented, selected
from cryowalk.validation.map_grids import Reorientation, binned, binned_images, mean_projections, put_right, resampled, resized

VOXEL = 2.5


def volume(size=(9, 8, 11), *, seed: int = 1, origin=(1.0, -2.0, 3.0)) -> Volume:
    source = torch.Generator().manual_seed(seed)
    return Volume(voxels=torch.randn(size, generator=source), voxel_size=VOXEL, origin=origin)


def place_of(one: Volume, index: tuple[int, int, int]) -> tuple[float, ...]:
    """Where voxel (z, y, x) lies, Å."""
    return tuple(origin + i * one.voxel_size for origin, i in zip(one.origin, reversed(index), strict=True))


@pytest.mark.parametrize(
    ("operation", "law"),
    [
        ("add", lambda a, b, c: a + b + c),
        ("subtract", lambda a, b, c: a - b - c),
        ("multiply", lambda a, b, c: a * b * c),
        ("divide", lambda a, b, c: a / b / c),
    ],
)
def test_maps_and_a_number_are_combined_from_left_to_right(operation, law) -> None:
    first, second = volume(seed=1), volume(seed=2)
    result = combined([first, second], operation, by=3.0)
    expected = law(first.voxels.double(), second.voxels.double(), 3.0)
    assert torch.allclose(result.voxels.double(), expected, rtol=1e-6)
    assert result.voxels.dtype == torch.float32
    assert result.origin == first.origin
    assert torch.equal(first.voxels, volume(seed=1).voxels)


def test_where_a_divisor_is_zero_there_is_nothing() -> None:
    mask = replace(volume(), voxels=(volume().voxels > 0).float())
    result = combined([volume(), mask], "divide")
    assert torch.equal(result.voxels, torch.where(mask.voxels > 0, volume().voxels, torch.zeros(())))


def test_maps_that_do_not_lie_on_one_grid_are_refused() -> None:
    with pytest.raises(ShapeError, match="differ in size"):
        combined([volume(), volume((8, 8, 8))], "add")
    with pytest.raises(InputError, match="voxel size"):
        combined([volume(), replace(volume(), voxel_size=2.6)], "add")
    with pytest.raises(UsageError, match="one map"):
        combined([volume()], "add")
    with pytest.raises(UsageError, match="zero"):
        combined([volume()], "divide", by=0.0)


def test_statistics_are_numpy_s_and_the_centre_is_where_the_density_is() -> None:
    one = volume()
    found = map_statistics(one.voxels)
    values = one.voxels.double().numpy()
    assert found.count == values.size
    assert found.mean == pytest.approx(values.mean())
    assert found.deviation == pytest.approx(values.std())
    assert found.root_mean_square == pytest.approx(math.sqrt((values**2).mean()))
    assert (found.percentile_1, found.median, found.percentile_99) == pytest.approx(tuple(np.percentile(values, [1, 50, 99])))
    assert found.total == pytest.approx(values.sum())
    point = torch.zeros(9, 8, 11)
    point[7, 1, 9] = 1.0
    assert map_statistics(point).centre == pytest.approx((9 - 5, 1 - 4, 7 - 4))
    inside = torch.zeros_like(point)
    inside[0] = 1
    assert map_statistics(one.voxels, inside=inside).mean == pytest.approx(values[0].mean())
    with pytest.raises(InputError, match=r"above 0\.5"):
        map_statistics(point, inside=torch.zeros_like(point))


def test_selection_keeps_its_limits() -> None:
    one = replace(volume(), voxels=torch.arange(8.0).reshape(2, 2, 2))
    kept = selected(one, above=2.0, below=5.0, outside=-1.0).voxels.flatten().tolist()
    assert kept == [-1, -1, 2, 3, 4, 5, -1, -1]
    with pytest.raises(UsageError, match="no limit"):
        selected(one)
    with pytest.raises(UsageError, match="exchange"):
        selected(one, above=3.0, below=2.0)


def balls(*, bridge: bool) -> Volume:
    """Balls of radius 7, 5 and 3 voxels on a row, the first two joined by a thin bar if asked for."""
    z, y, x = torch.meshgrid(*[torch.arange(32.0)] * 3, indexing="ij")
    voxels = torch.zeros(32, 32, 32)
    for (cx, cy), radius in (((8, 10), 7), ((22, 10), 5), ((10, 26), 3)):
        voxels[(x - cx) ** 2 + (y - cy) ** 2 + (z - 16) ** 2 <= radius**2] = 1
    if bridge:
        voxels[15:18, 9:12, 8:22] = 1
    return Volume(voxels=voxels, voxel_size=VOXEL)


def test_connected_parts_come_in_the_order_of_their_volume() -> None:
    found = segmented(balls(bridge=False), level=0.5)
    assert list(found.voxels) == sorted(found.voxels, reverse=True)
    assert found.voxels[0] == pytest.approx(4 / 3 * math.pi * 7**3, rel=0.05)
    assert found.labels[16, 10, 8] == 1
    assert found.labels[16, 10, 22] == 2
    assert found.labels[16, 26, 10] == 3
    assert [int((found.labels == number).sum()) for number in (1, 2, 3)] == list(found.voxels)
    assert len(segmented(balls(bridge=False), level=0.5, smallest=200).voxels) == 2


def test_a_watershed_parts_what_hangs_together() -> None:
    assert len(segmented(balls(bridge=True), level=0.5).voxels) == 2
    found = segmented(balls(bridge=True), level=0.5, separation=5)
    assert len(found.voxels) == 3
    assert found.labels[16, 10, 8] != found.labels[16, 10, 22]
    assert bool(((found.labels > 0) == (balls(bridge=True).voxels > 0)).all())


def test_a_level_that_cuts_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="nothing"):
        segmented(balls(bridge=False), level=2.0)
    with pytest.raises(InputError, match="whole box"):
        segmented(balls(bridge=False), level=-1.0)


@pytest.mark.parametrize("size", [(5, 6, 7), (12, 11, 10), (8, 12, 9), (11, 8, 9)])
@pytest.mark.parametrize("centre", [(0, 0, 0), (2, -1, 1)])
def test_cropped_and_padded_voxels_stay_where_they_are_in_space(size, centre) -> None:
    before = volume()
    after = resized(before, size, centre=centre, value=-7.0)
    assert tuple(reversed(after.voxels.shape)) == size
    marks = {place_of(before, tuple(index)): float(before.voxels[tuple(index)]) for index in np.ndindex(*before.voxels.shape)}
    rounded = {tuple(round(x, 6) for x in place): value for place, value in marks.items()}
    seen = 0
    for index in np.ndindex(*after.voxels.shape):
        place = tuple(round(x, 6) for x in place_of(after, tuple(index)))
        if place in rounded:
            seen += 1
            assert float(after.voxels[tuple(index)]) == pytest.approx(rounded[place], abs=1e-5)
        else:
            assert float(after.voxels[tuple(index)]) == pytest.approx(-7.0, abs=1e-5)
    assert seen > 100


def test_a_crop_beside_the_map_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing of the map"):
        resized(volume(), (4, 4, 4), centre=(40, 0, 0))


@pytest.mark.parametrize(("old", "new"), [(32, 24), (32, 33), (33, 24), (24, 48)])
def test_a_resampled_phantom_is_the_phantom_on_the_new_grid_where_it_was(old: int, new: int) -> None:
    voxel = 160.0 / old
    before = Volume(voxels=phantom_density((old, old, old), voxel_size=voxel), voxel_size=voxel, origin=(5.0, 0.0, -5.0))
    after = resampled(before, (new, new, new))
    assert after.voxel_size == pytest.approx(160.0 / new)
    expected = phantom_density((new, new, new), voxel_size=160.0 / new)
    assert float((after.voxels - expected).norm() / expected.norm()) < 5e-3  # what the box cuts off, and what is beyond Nyquist
    middles = [place_of(one, tuple(side // 2 for side in one.voxels.shape)) for one in (before, after)]
    assert middles[0] == pytest.approx(middles[1])
    with pytest.raises(UsageError, match="no cubes"):
        resampled(before, (new, new, new + 4))


@pytest.mark.parametrize("side", [32, 33])
def test_binning_aliases_nothing_and_keeps_the_origin(side: int) -> None:
    voxel = 5.0
    before = Volume(voxels=phantom_density((side, side, side), voxel_size=voxel), voxel_size=voxel)
    after = binned(before, 2)
    assert after.voxels.shape == (16, 16, 16)
    assert after.voxel_size == 10.0
    origin = place_of(before, (side // 2,) * 3)
    assert place_of(after, (8, 8, 8)) == pytest.approx(origin)
    # A wave beyond the new Nyquist frequency is gone; block means would fold 64 % of it back.
    x = torch.arange(32, dtype=torch.float64)
    fast = torch.cos(2 * math.pi * 11 / 32 * x)[None, None].expand(1, 32, 32)
    assert float(binned_images(fast, 2).abs().max()) < 1e-12
    slow = torch.cos(2 * math.pi * 3 / 32 * x)[None, None].expand(1, 32, 32)
    assert torch.allclose(binned_images(slow, 2), slow[..., ::2, ::2])


def test_a_map_is_moved_first_and_then_reoriented() -> None:
    one = Volume(voxels=torch.zeros(8, 8, 8), voxel_size=VOXEL)
    one.voxels[4 + 2, 4 + 1, 4] = 1.0  # at (0, 1, 2)
    result = put_right(one, Reorientation(order=axis_order("z,y,-x"), move=(1.0, 0.0, 0.0)))  # then at (1, 1, 2)
    assert torch.nonzero(result.voxels).tolist() == [[4 - 1, 4 + 1, 4 + 2]]
    smooth = Volume(voxels=phantom_density((32, 32, 32), voxel_size=5.0), voxel_size=5.0)
    there = put_right(smooth, Reorientation(order=axis_order("x,y,z"), move=(0.5, 0.0, -0.25)))
    back = put_right(there, Reorientation(order=axis_order("x,y,z"), move=(-0.5, 0.0, 0.25)))
    assert torch.allclose(back.voxels, smooth.voxels, atol=1e-4)  # the Nyquist frequency does not come back
    assert not torch.allclose(there.voxels, smooth.voxels, atol=1e-2)


def test_means_along_the_axes_are_of_the_right_ones() -> None:
    found = mean_projections(volume())
    assert {axis: tuple(mean.shape) for axis, mean in found.items()} == {"z": (8, 11), "y": (9, 11), "x": (9, 8)}
    assert torch.allclose(found["x"], volume().voxels.mean(dim=2))
