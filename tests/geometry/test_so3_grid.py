"""HEALPix pixels and grids of orientations: published facts, equal areas, nesting, even spread."""

import math
import time

import pytest
import torch

from cryowalk.core.errors import InputError, UsageError
from cryowalk.geometry import healpix
from cryowalk.geometry import so3_grid as grid
from cryowalk.geometry.rotations import distance_matrix, geodesic_distance, rotation_angle, view_direction
from cryowalk.geometry.sampling import random_rotations

DOUBLE = torch.float64


def largest(difference):
    return float(difference.abs().max()) if difference.numel() else 0.0


def test_counts_and_spacings_are_the_golden_ones(golden):
    numbers = golden
    assert [grid.grid_size(order) for order in range(8)] == numbers["healpix_so3_counts"]
    assert [healpix.pixel_count(order) for order in range(8)] == numbers["healpix_npix"]
    assert [math.degrees(grid.grid_spacing(order)) for order in range(8)] == pytest.approx(numbers["healpix_step_deg"], abs=1e-12)
    assert math.degrees(healpix.pixel_spacing(0)) == pytest.approx(58.632, abs=1e-3)


def test_base_pixels_lie_where_the_paper_puts_them():
    """Górski et al. 2005: 4 at z = 2/3 (45°, 135° …), 4 on the equator (0°, 90° …), 4 at z = −2/3."""
    found = grid.healpix_directions(0)
    assert found[:, 2].tolist() == pytest.approx([2 / 3] * 4 + [0] * 4 + [-2 / 3] * 4)
    longitude = torch.rad2deg(torch.atan2(found[:, 1], found[:, 0])) % 360
    assert longitude.tolist() == pytest.approx([45, 135, 225, 315, 0, 90, 180, 270, 45, 135, 225, 315], abs=1e-9)


def test_order_one_has_the_published_rings():
    """Rings at |z| = 11/12, 2/3, 1/3, 0 with 4, 8, 8, 8 … pixels; in face 0 nested pixel 3 is nearest to the pole, 0 to the equator."""
    z = grid.healpix_directions(1)[:, 2]
    heights, counts = torch.unique((z * 1e9).round() / 1e9, return_counts=True)
    assert heights.tolist() == pytest.approx([-11 / 12, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 11 / 12])
    assert counts.tolist() == [4, 8, 8, 8, 8, 8, 4]
    assert z[:4].tolist() == pytest.approx([1 / 3, 2 / 3, 2 / 3, 11 / 12])
    east, north = grid.healpix_directions(1)[1], grid.healpix_directions(1)[2]
    assert math.degrees(math.atan2(east[1], east[0])) == pytest.approx(67.5)
    assert math.degrees(math.atan2(north[1], north[0])) == pytest.approx(22.5)


@pytest.mark.parametrize("order", range(6))
def test_rings_have_the_closed_form_heights(order):
    """z = 1 − i²/(3 s²) in the caps, 4/3 − 2i/(3 s) in the belt (ring i, side s); 4 i pixels, then 4 s."""
    side = 2**order
    z = grid.healpix_directions(order)[:, 2].sort(descending=True).values
    expected = [height for i in range(1, side) for height in [1 - i * i / (3 * side * side)] * (4 * i)]
    belt = [height for i in range(side, 3 * side + 1) for height in [4 / 3 - 2 * i / (3 * side)] * (4 * side)]
    assert largest(z - torch.tensor([*expected, *belt, *(-height for height in reversed(expected))], dtype=DOUBLE)) < 1e-14


@pytest.mark.parametrize("order", range(8))
def test_every_centre_lies_in_its_own_pixel(order):
    directions = grid.healpix_directions(order)
    assert largest(directions.norm(dim=-1) - 1) < 2e-14
    assert torch.equal(healpix.pixels_of_directions(order, 3.7 * directions), torch.arange(len(directions)))


def test_pixels_have_equal_areas(generator):
    views = view_direction(random_rotations(480_000, generator=generator))
    for order in range(4):
        counts = torch.bincount(healpix.pixels_of_directions(order, views), minlength=healpix.pixel_count(order)).double()
        assert len(counts) == healpix.pixel_count(order)
        chi_square = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
        freedom = len(counts) - 1
        assert abs(float(chi_square) - freedom) < 4 * math.sqrt(2 * freedom)


def test_pixels_nest(generator):
    views = view_direction(random_rotations(50_000, generator=generator))
    for order in range(1, 9):
        fine, coarse = healpix.pixels_of_directions(order, views), healpix.pixels_of_directions(order - 1, views)
        assert torch.equal(fine >> 2, coarse)


def test_borders_poles_and_quarters_belong_to_some_pixel():
    longitude = torch.arange(0, 360, 15, dtype=DOUBLE).deg2rad()
    heights = torch.tensor([-1.0, -2 / 3, -1 / 3, 0.0, 1 / 3, 2 / 3, 1.0], dtype=DOUBLE)[:, None]
    radius = torch.sqrt(1 - heights**2)
    views = torch.stack([radius * longitude.cos(), radius * longitude.sin(), heights.expand(-1, 24)], dim=-1)
    for order in range(6):
        pixels = healpix.pixels_of_directions(order, views)
        assert int(pixels.min()) >= 0
        assert int(pixels.max()) < healpix.pixel_count(order)
        apart = torch.acos((healpix.pixel_directions(order, pixels) * views).sum(-1).clamp(-1, 1))
        assert largest(apart) < 0.842 / 2**order * 1.15


@pytest.mark.parametrize("order", range(4))
def test_grid_is_made_of_rotations_that_lie_in_their_own_cells(order):
    matrices = grid.so3_grid(order)
    assert matrices.shape == (grid.grid_size(order), 3, 3)
    assert largest(matrices.mT @ matrices - torch.eye(3, dtype=DOUBLE)) < 2e-14
    assert largest(torch.linalg.det(matrices) - 1) < 2e-14
    numbers = torch.arange(len(matrices))
    assert largest(grid.so3_rotations(order, numbers) - matrices) < 2e-14
    assert torch.equal(grid.so3_cells(order, matrices), numbers)


def test_grid_is_even(generator):
    """Moments of the uniform law hold exactly for the grid, and random rotations fall into its cells evenly."""
    for order in (0, 1, 2):
        entries = grid.so3_grid(order).flatten(1)
        assert largest(entries.mean(0)) < 1e-14
        assert largest(entries.T @ entries / len(entries) - torch.eye(9, dtype=DOUBLE) / 3) < 0.05 / 4**order
    angle = rotation_angle(grid.so3_grid(3))
    assert math.degrees(float(angle.mean())) == pytest.approx(126.4756, abs=0.02)
    counts = torch.bincount(grid.so3_cells(1, random_rotations(100_000, generator=generator)), minlength=grid.grid_size(1))
    chi_square = float(((counts - counts.double().mean()) ** 2 / counts.double().mean()).sum())
    assert abs(chi_square - 575) < 4 * math.sqrt(2 * 575)


def test_all_neighbours_are_about_one_spacing_apart():
    """The nearest other orientation is one in-plane step away, or a pixel away; never much nearer."""
    matrices = grid.so3_grid(2)
    distance = distance_matrix(matrices[:1200], matrices)
    nearest = torch.where(distance == 0, torch.inf, distance).amin(dim=1)
    assert float(nearest.min()) > 0.7 * grid.grid_spacing(2)
    assert float(nearest.max()) < 1.0001 * grid.grid_spacing(2)


@pytest.mark.parametrize("order", range(1, 8))
def test_cells_nest_and_no_orientation_is_far_from_its_cell(order, generator):
    r = random_rotations(20_000, generator=generator)
    cells, above = grid.so3_cells(order, r), grid.so3_cells(order - 1, r)
    assert torch.equal(grid.so3_parents(order, cells), above)
    assert (grid.so3_children(order - 1, above) == cells[:, None]).any(dim=1).all()
    distance = geodesic_distance(r, grid.so3_rotations(order, cells))
    assert float(distance.max()) < grid.cell_radius(order)
    assert float(distance.mean()) == pytest.approx(0.506 / 2**order, rel=0.02)


def test_children_of_all_cells_are_all_cells():
    children = grid.so3_children(1, torch.arange(grid.grid_size(1)))
    assert torch.equal(children.flatten().sort().values, torch.arange(grid.grid_size(2)))


def test_cell_radius_bounds_the_corners():
    for order in range(5):
        corners, middles = [], []
        for east, north, turn in [(e, n, t) for e in (0.0, 1.0) for n in (0.0, 1.0) for t in (-0.5, 0.5)]:
            pixels = torch.arange(healpix.pixel_count(order))
            side = 2.0**order
            column, row = healpix._every_second_bit(pixels, order=order), healpix._every_second_bit(pixels >> 1, order=order)
            face = healpix.faces_of(order, pixels)
            frames = grid._frames_towards(face, healpix.direction_in_face(face, (column + east) / side, (row + north) / side))
            corners.append(
                grid.matrix_about_axis(torch.tensor(turn * grid.grid_spacing(order), dtype=DOUBLE), axis="z") @ frames.mT
            )
            middles.append(grid._view_frames(order, pixels).mT)
        farthest = float(geodesic_distance(torch.cat(corners), torch.cat(middles)).max())
        assert 0.7 * grid.cell_radius(order) < farthest < grid.cell_radius(order)


def test_search_within_a_radius_finds_exactly_the_cells_there(generator):
    for centre in random_rotations(5, generator=generator):
        distance = geodesic_distance(grid.so3_grid(3), centre)
        for radius in (0.05, 0.3):
            indices, matrices = grid.so3_within(3, centre, radius=radius)
            assert torch.equal(indices, torch.nonzero(distance <= radius).squeeze(1))
            assert largest(matrices - grid.so3_grid(3)[indices]) < 2e-14


def test_order_seven_is_reached_without_holding_it(generator):
    """The number within a radius is that of the volume of a ball, (ρ − sin ρ)/π of all."""
    centre = random_rotations(1, generator=generator)[0]
    indices, _ = grid.so3_within(7, centre, radius=0.05)
    assert len(indices) == pytest.approx((0.05 - math.sin(0.05)) / math.pi * 150_994_944, rel=0.05)
    first, matrices = next(grid.so3_batches(7, batch=10_000))
    assert len(first) == len(matrices) <= 10_000
    assert largest(matrices - grid.so3_rotations(7, first)) < 2e-14


def test_batches_make_the_whole_grid():
    pieces = list(grid.so3_batches(2, batch=100, dtype=torch.float32))
    assert max(len(numbers) for numbers, _ in pieces) <= 100
    assert torch.equal(torch.cat([numbers for numbers, _ in pieces]), torch.arange(grid.grid_size(2)))
    assert torch.equal(torch.cat([matrices for _, matrices in pieces]), grid.so3_grid(2, dtype=torch.float32))


def test_a_grid_of_36864_takes_less_than_a_fifth_of_a_second():
    grid.so3_grid(0)
    start = time.perf_counter()
    grid.so3_grid(3)
    assert time.perf_counter() - start < 0.2


def test_places_outside_the_grid_are_refused():
    with pytest.raises(InputError, match="cells 0 to 71"):
        grid.so3_rotations(0, torch.tensor([72]))
    with pytest.raises(InputError, match="pixels 0 to 11"):
        healpix.pixel_directions(0, torch.tensor([-1]))
    with pytest.raises(UsageError, match="order"):
        grid.grid_size(-1)
    with pytest.raises(InputError, match="no larger cell"):
        grid.so3_parents(0, torch.tensor([3]))
