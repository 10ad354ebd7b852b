"""Slices against the projections of Gaussian blobs in closed form, against sums along an axis, and insertion as the adjoint."""

import pytest
import torch

from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data import Volume
from cryowalk.fourier.accumulator import SliceAccumulator
from cryowalk.fourier.grids import shell_index
from cryowalk.fourier.padded import disk_points, padded_grid
from cryowalk.fourier.shells import shell_correlation
from cryowalk.fourier.slices import back_project, extract_by_definition, extract_slices, prepare_volume
from cryowalk.fourier.transform import to_fourier, to_real

from .phantom import blobs, rotations

VOXEL = 1.3


def relative_error(slices, images, upto):
    box = images.shape[-1]
    inside = shell_index((box, box)) <= upto * (box / 2)
    expected = to_fourier(images)
    return (((slices - expected) * inside).norm() / (expected * inside).norm()).item()


@pytest.mark.parametrize("box", [64, 65])
@pytest.mark.parametrize(
    ("support", "padding", "bound"), [(0.2, 1.5, 0.0085), (0.2, 2.0, 0.0095), (0.45, 2.0, 0.012), (0.45, 1.5, 0.016)]
)
def test_projections_of_blobs_agree_with_the_closed_form(box, support, padding, bound):
    """RELION 3.1.3 has 1.05 % at a support of 0.2 of the box (trilinear, padding 2)."""
    specimen, poses = blobs(support * box * VOXEL, width=2.2 * VOXEL), rotations(12)
    reference = prepare_volume(specimen.volume(box, VOXEL), padding=padding)
    slices = extract_slices(reference, poses.float())
    assert relative_error(slices, specimen.projections(box, VOXEL, poses), 0.7) < bound


@pytest.mark.parametrize("box", [12, 13])
def test_identity_projects_along_z(box, generator):
    voxels = torch.randn(box, box, box, generator=generator)
    image = to_real(
        extract_slices(prepare_volume(Volume(voxels=voxels, voxel_size=VOXEL), padding=2.0), torch.eye(3)[None])[0], width=box
    )
    expected = to_fourier(voxels.sum(dim=0) * VOXEL)
    inside = torch.zeros(box * (box // 2 + 1))
    inside[disk_points(box).place] = 1
    expected = to_real(expected * inside.reshape(box, -1), width=box)
    assert (image - expected).norm() / expected.norm() < 0.03  # noise fills the box's corners, where the kernel is at its worst


@pytest.mark.parametrize("box", [10, 11])
def test_slices_vanish_a_step_outside_the_nyquist_circle(box, generator):
    reference = prepare_volume(Volume(voxels=torch.randn(box, box, box, generator=generator), voxel_size=VOXEL))
    slices = extract_slices(reference, rotations(3).float())
    row = torch.arange(box)
    ky = torch.where(row < (box + 1) // 2, row, row - box)[:, None]
    kx = torch.arange(box // 2 + 1)
    outside = ky**2 + kx**2 > (box // 2 + 1) ** 2
    outside |= ((2 * ky.abs() == box) & (kx > 0)) | ((2 * kx == box) & (ky != 0))  # these stand for two frequencies at once
    assert torch.all(slices[:, outside] == 0)
    assert torch.all(slices[:, ~outside].abs() > 0)


@pytest.mark.parametrize("padding", [1.5, 2.0])
@pytest.mark.parametrize("box", [8, 9])
def test_insertion_is_the_adjoint_of_projection(box, padding, generator):
    """⟨project V, y⟩ = ⟨V, back-project y⟩ in real space, to rounding."""
    volume = Volume(voxels=torch.randn(box, box, box, generator=generator, dtype=torch.float64), voxel_size=VOXEL)
    images = torch.randn(5, box, box, generator=generator, dtype=torch.float64)
    poses = rotations(5)
    projections = to_real(extract_by_definition(prepare_volume(volume, padding=padding), poses), width=box)
    back = back_project(to_fourier(images), poses, voxel_size=VOXEL, padding=padding).voxels
    assert (projections * images).sum().item() == pytest.approx((volume.voxels * back).sum().item(), rel=1e-10)


@pytest.mark.parametrize("box", [32, 33])
def test_reconstruction_from_noiseless_slices(box):
    specimen, poses = blobs(0.35 * box * VOXEL, width=0.9 * VOXEL), rotations(1500)
    volume = specimen.volume(box, VOXEL)
    accumulator = SliceAccumulator(box, VOXEL)
    for start in range(0, 1500, 500):
        some = poses[start : start + 500]
        spectra = to_fourier(specimen.projections(box, VOXEL, some).float())
        accumulator.add(spectra, torch.ones_like(spectra.real), some.float())
    assert accumulator.count == 1500
    result = accumulator.to_volume()
    assert result.voxel_size == VOXEL
    assert shell_correlation(result.voxels, volume.voxels)[: int(0.8 * box / 2) + 1].min() > 0.995
    assert (result.voxels - volume.voxels).norm() / volume.voxels.norm() < 0.1


def test_weights_make_a_weighted_average(generator):
    """Slices times c and weights c² give the same map as unit weights when the data are noiseless."""
    box, poses = 16, rotations(400).float()
    volume = blobs(0.4 * box * VOXEL, width=1.2 * VOXEL).volume(box, VOXEL)
    slices = extract_slices(prepare_volume(volume), poses)
    contrast = 0.2 + torch.rand(400, box, box // 2 + 1, generator=generator)
    plain, weighted = SliceAccumulator(box, VOXEL), SliceAccumulator(box, VOXEL)
    plain.add(slices, torch.ones_like(contrast), poses)
    weighted.add(slices * contrast**2, contrast**2, poses)
    torch.testing.assert_close(weighted.to_volume().voxels, plain.to_volume().voxels, rtol=0, atol=0.05)
    halved = plain.to_volume(prior=plain_weight(plain)).voxels
    assert (halved - plain.to_volume().voxels / 2).abs().max() < 0.2


def plain_weight(accumulator):
    """The mean summed weight of each shell of an accumulator, its ramp taken out."""
    unit = SliceAccumulator.from_state(accumulator.state())
    denominator = unit.grid.folded(unit.sums[..., 2])
    side = unit.grid.size
    shell = (shell_index((side, side, side)) / unit.grid.ratio + 0.5).floor().to(torch.int64).clamp_(max=unit.grid.box // 2 + 1)
    total = torch.zeros(unit.grid.box // 2 + 2).index_add(0, shell.reshape(-1), denominator.reshape(-1))
    return (total / torch.bincount(shell.reshape(-1)))[:-1] / torch.arange(unit.grid.box // 2 + 1).clamp_min(1 / 3)


def test_state_goes_on_where_it_was(generator):
    box, poses = 8, rotations(6).float()
    spectra = to_fourier(torch.randn(6, box, box, generator=generator))
    weights = torch.rand(6, box, box // 2 + 1, generator=generator)
    whole, first = SliceAccumulator(box, VOXEL), SliceAccumulator(box, VOXEL)
    whole.add(spectra[:3], weights[:3], poses[:3])
    whole.add(spectra[3:], weights[3:], poses[3:])
    first.add(spectra[:3], weights[:3], poses[:3])
    resumed = SliceAccumulator.from_state(first.state())
    resumed.add(spectra[3:], weights[3:], poses[3:])
    assert torch.equal(resumed.sums, whole.sums)
    assert resumed.count == 6
    other = SliceAccumulator(box, VOXEL)
    other.add(spectra[3:], weights[3:], poses[3:])
    first.merge(other)
    torch.testing.assert_close(first.sums, whole.sums)


def test_damaged_state_is_refused():
    state = SliceAccumulator(8, VOXEL).state()
    with pytest.raises(InputError, match="saved sums"):
        SliceAccumulator.from_state({**state, "sums": state["sums"][1:]})


def test_slices_of_another_box_are_refused():
    with pytest.raises(ShapeError, match="box of 8"):
        SliceAccumulator(8, VOXEL).add(torch.zeros(1, 9, 5, dtype=torch.complex64), torch.zeros(1, 9, 5), torch.eye(3)[None])


def test_nothing_inserted_gives_an_empty_map():
    assert torch.all(SliceAccumulator(6, VOXEL).to_volume().voxels == 0)


def test_padding_out_of_range():
    with pytest.raises(UsageError, match="padding"):
        padded_grid(8, padding=0.5)


def test_only_cubes_are_projected():
    with pytest.raises(ShapeError, match="cube"):
        prepare_volume(Volume(voxels=torch.zeros(4, 4, 5), voxel_size=1.0))
