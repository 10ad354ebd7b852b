"""The compiled slices against the written-out ones, and insertion against itself for other numbers of threads."""

import pytest
import torch

from cryowalk.data import Volume
from cryowalk.fourier import compiled
from cryowalk.fourier.accumulator import SliceAccumulator
from cryowalk.fourier.disk import half_disk
from cryowalk.fourier.filters import shift_phases
from cryowalk.fourier.padded import padded_grid
from cryowalk.fourier.slices import (
    FourierVolume,
    extract_by_definition,
    extract_slices,
    insert_by_definition,
    insertion_table,
    prepare_volume,
)
from cryowalk.fourier.transform import to_fourier

from .phantom import rotations

VOXEL = 1.3


@pytest.fixture
def threads():
    """Sets the number of threads and puts the old one back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def insert(total, grid, poses, *, spectra, weights, table):
    layout = compiled.Layout.of_half_spectrum(grid.box)
    compiled.insert(
        total, grid, poses, compiled.Inserted(spectra.flatten(1), weights.flatten(1), compiled.Factors(), layout, table)
    )


@pytest.mark.parametrize("reach", [1, 7, 12])
@pytest.mark.parametrize("box", [25, 26])
def test_rows_of_the_half_disk_are_the_slices_own_coefficients(box, reach, generator):
    reference = prepare_volume(Volume(voxels=torch.randn(box, box, box, generator=generator), voxel_size=VOXEL))
    poses, disk = rotations(40).float(), half_disk(box)
    count = disk.prefix(reach)
    expected = disk.gather(extract_by_definition(reference, poses), count=count)
    torch.testing.assert_close(
        disk.slices(reference, poses, count=count), expected, rtol=0, atol=2e-5 * float(expected.abs().max())
    )


@pytest.mark.parametrize("reach", [1, 7, 11])
def test_rows_are_inserted_where_the_slices_would_be(reach, generator):
    box, poses, disk = 24, rotations(40).float(), half_disk(24)
    count = disk.prefix(reach)
    numerator = torch.randn(40, count, generator=generator, dtype=torch.complex64)
    weights = torch.rand(40, count, generator=generator)
    by_rows, by_slices = (SliceAccumulator(box, voxel_size=VOXEL) for _ in range(2))
    by_rows.add_rows(numerator, weights, poses, place=disk.place[:count], reach=disk.reach(count))
    by_slices.add(disk.scatter(numerator), disk.scatter(weights), poses)
    # Of column 0 the scattered slices hold both mates; insertion takes one of them, as the rows have.
    torch.testing.assert_close(by_rows.sums, by_slices.sums, rtol=0, atol=1e-5 * float(by_slices.sums.abs().max()))
    assert by_rows.count == by_slices.count == 40


@pytest.mark.parametrize("padding", [1.5, 2.0])
@pytest.mark.parametrize("box", [2, 3, 20, 21, 64])
def test_extraction_equals_the_definition(box, padding, generator):
    reference = prepare_volume(Volume(voxels=torch.randn(box, box, box, generator=generator), voxel_size=VOXEL), padding=padding)
    poses = rotations(30).float()
    poses[0] = torch.eye(3)
    expected = extract_by_definition(reference, poses)
    layout = compiled.Layout.of_half_spectrum(box)
    result = compiled.extract(reference.coefficients, reference.grid, poses, factors=compiled.Factors(), layout=layout)
    result = result.reshape(expected.shape)
    torch.testing.assert_close(result, expected, rtol=0, atol=2e-5 * expected.abs().max().item())


def test_extraction_multiplies_by_transfer_and_shift(generator):
    box, poses = 19, rotations(7).float()
    reference = prepare_volume(Volume(voxels=torch.randn(box, box, box, generator=generator), voxel_size=VOXEL))
    transfer = torch.randn(7, box, box // 2 + 1, generator=generator)
    shift = 4 * torch.randn(7, 2, generator=generator)
    expected = extract_by_definition(reference, poses) * transfer * shift_phases((box, box), shift, pixel_size=VOXEL)
    result = extract_slices(reference, poses, factor=transfer, shift=shift)
    torch.testing.assert_close(result, expected, rtol=0, atol=2e-5 * expected.abs().max().item())


@pytest.mark.parametrize("padding", [1.5, 2.0])
@pytest.mark.parametrize("box", [3, 20, 21, 64])
def test_insertion_equals_the_definition_for_any_number_of_threads(box, padding, generator, threads):
    grid, poses = padded_grid(box, padding=padding), rotations(30).float()
    spectra = to_fourier(torch.randn(30, box, box, generator=generator))
    weights = torch.rand(30, box, box // 2 + 1, generator=generator)
    sums = []
    for count in (1, 2, 3, 7):
        threads(count)
        total = torch.zeros(*grid.shape, 4)
        insert(total, grid, poses, spectra=spectra, weights=weights, table=insertion_table(box, density="ramp"))
        sums.append(total)
    assert all(torch.equal(total, sums[0]) for total in sums[1:])
    numerator = insert_by_definition(spectra, poses, grid=grid, density="ramp")
    denominator = insert_by_definition(weights, poses, grid=grid, density="ramp")
    torch.testing.assert_close(
        torch.complex(*sums[0][..., :2].unbind(-1)), numerator, rtol=0, atol=1e-5 * numerator.abs().max().item()
    )
    torch.testing.assert_close(sums[0][..., 2], denominator, rtol=0, atol=1e-5 * denominator.max().item())


def test_all_views_from_one_side_still_share_the_planes(generator, threads):
    """Every slice in the plane kz = 0: one thread's planes hold nearly all of them."""
    grid, poses = padded_grid(16, padding=1.5), torch.eye(3).repeat(9, 1, 1)
    spectra = to_fourier(torch.randn(9, 16, 16, generator=generator))
    totals = []
    for count in (1, 4):
        threads(count)
        totals.append(torch.zeros(*grid.shape, 4))
        table = insertion_table(16, density="plain")
        insert(totals[-1], grid, poses, spectra=spectra, weights=torch.ones(9, 16, 9), table=table)
    assert torch.equal(*totals)


def test_batches_of_images_do_not_change_a_slice(generator, monkeypatch):
    reference = prepare_volume(Volume(voxels=torch.randn(12, 12, 12, generator=generator), voxel_size=VOXEL))
    poses = rotations(11).float()
    whole = extract_slices(reference, poses)
    monkeypatch.setattr(compiled, "BATCH", 3)
    assert torch.equal(extract_slices(reference, poses), whole)


def test_no_images_are_no_slices():
    reference = prepare_volume(Volume(voxels=torch.ones(6, 6, 6), voxel_size=VOXEL))
    assert extract_slices(reference, torch.zeros(0, 3, 3)).shape == (0, 6, 4)


def test_gradients_take_the_written_out_form(generator):
    volume = Volume(voxels=torch.randn(6, 6, 6, generator=generator).requires_grad_(), voxel_size=VOXEL)
    reference = prepare_volume(volume)
    assert isinstance(reference, FourierVolume)
    extract_slices(reference, rotations(2).float()).abs().sum().backward()
    assert volume.voxels.grad is not None
    assert volume.voxels.grad.abs().sum() > 0


def test_hundred_thousand_additions_keep_their_digits(threads):
    """A denominator summed in float32 over 100,000 slices through one place is right to 1e-4."""
    threads(1)
    box, grid = 4, padded_grid(4, padding=1.5)
    total = torch.zeros(*grid.shape, 4)
    table, ones = insertion_table(box, density="plain"), torch.ones(5000, box, 3)
    single = insert_by_definition(torch.ones(1, box, 3, dtype=torch.float64), torch.eye(3)[None], grid=grid)
    for _ in range(20):
        poses = torch.eye(3).repeat(5000, 1, 1)
        spectra = ones.to(torch.complex64)
        insert(total, grid, poses, spectra=spectra, weights=ones, table=table)
    expected = 100_000 * single
    assert ((total[..., 2] - expected).abs().max() / expected.max()).item() < 2e-3
