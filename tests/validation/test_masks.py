"""Masks: closed forms of growing and edges, the automatic threshold, parts, masks of atoms, and what is refused."""

import math
from dataclasses import replace

import pytest
import torch
from molecules import VOXEL, atoms_map, noisy_halves

from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data import Atoms, Volume
from cryowalk.validation.masks import (
    automatic_mask,
    density_threshold,
    independent_fraction,
    mask_from_atoms,
    require_mask,
    soft_edged,
)
from cryowalk.validation.settings import MaskSettings

AS_IT_IS = MaskSettings(low_pass=0, threshold=0.5, smallest_part=0, extend=0, soft_edge=0)


def ball(box: int, radius: float, centre: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Volume:
    x, y, z = (torch.arange(box) - box // 2 - c for c in centre)
    inside = x**2 + y[:, None] ** 2 + z[:, None, None] ** 2 <= radius**2
    return Volume(voxels=inside.float(), voxel_size=VOXEL)


@pytest.mark.parametrize("box", [32, 33])
def test_a_mask_grows_by_voxels_and_falls_as_a_raised_cosine(box: int) -> None:
    point = torch.zeros(box, box, box, dtype=torch.bool)
    point[box // 2, box // 2 + 1, box // 2 - 2] = True
    mask = soft_edged(point, extend=3.0, soft_edge=4.0)
    z, y, x = torch.meshgrid(*[torch.arange(box)] * 3, indexing="ij")
    distance = torch.sqrt((z - box // 2) ** 2 + (y - box // 2 - 1) ** 2 + (x - box // 2 + 2.0) ** 2)
    assert torch.equal(mask == 1, distance < 3)
    edge = (distance >= 3) & (distance < 5.0)
    assert bool(((mask[edge] > 0) & (mask[edge] < 1)).all())
    assert mask[distance > 7.1].max() == 0
    # Along x the nearest voxel of the grown ball lies two voxels from its middle.
    along = mask[box // 2, box // 2 + 1, box // 2 - 2 :][2:7]
    torch.testing.assert_close(along, 0.5 + 0.5 * torch.cos(math.pi * torch.arange(5) / 4.0))


def test_the_order_is_low_pass_threshold_parts_extend_edge() -> None:
    large, small = ball(40, 6.0, (-7.0, 0.0, 2.0)), ball(40, 2.0, (11.0, 3.0, 0.0))
    both = replace(large, voxels=large.voxels + small.voxels)
    assert automatic_mask(both, AS_IT_IS).mask.voxels.sum() == both.voxels.sum()
    kept = automatic_mask(both, replace(AS_IT_IS, smallest_part=0.1))
    assert (kept.parts_found, kept.parts_kept) == (2, 1)
    assert torch.equal(kept.mask.voxels, large.voxels)
    # The small ball is a tenth of the large one: a low pass of its own size takes it below the threshold.
    blurred = automatic_mask(both, replace(AS_IT_IS, low_pass=9 * VOXEL))
    assert blurred.parts_found == 1
    grown = automatic_mask(both, replace(AS_IT_IS, smallest_part=1, extend=2.5))
    assert 8.0**3 * 4.19 < float(grown.mask.voxels.sum()) < 9.0**3 * 4.19


@pytest.mark.parametrize("noise", [0.0, 0.2, 1.0, 3.0])
def test_the_automatic_threshold_keeps_the_specimen_and_leaves_the_solvent(noise: float) -> None:
    truth = atoms_map(48, b_factor=60.0)
    scaled = replace(truth, voxels=truth.voxels / truth.voxels.std())
    average = noisy_halves(scaled, noise=noise).average()
    found = automatic_mask(average)
    outside = 1 - found.mask.voxels
    assert float((scaled.voxels * outside).norm() / scaled.voxels.norm()) < 0.1
    assert 0.05 < float(found.mask.voxels.mean()) < 0.45
    assert found.parts_kept <= 2


def test_the_threshold_does_not_depend_on_scale_and_offset() -> None:
    smooth = atoms_map(32, b_factor=200.0).voxels
    once = density_threshold(smooth)
    assert density_threshold(3.0 * smooth + 1.5) == pytest.approx(3 * once + 1.5, rel=1e-3)
    assert float(smooth.median()) < once < float(smooth.max())


def test_a_mask_of_atoms_covers_them_in_the_frame_of_the_map() -> None:
    positions = torch.tensor([[10.0, 20.0, 30.0], [14.0, 22.0, 31.0], [500.0, 0.0, 0.0]])
    ones = torch.ones(3)
    atoms = Atoms(positions=positions, atomic_numbers=torch.tensor([6, 7, 8]), b_factors=ones, occupancies=ones)
    grid = Volume(voxels=torch.zeros(33, 33, 33), voxel_size=VOXEL, origin=(-3.0, 2.0, 5.0))
    mask = mask_from_atoms(atoms, grid, radius=4.0, soft_edge=3.0).voxels
    x, y, z = ((positions[0] - torch.tensor(grid.origin)) / VOXEL).round().long().tolist()
    assert mask[z, y, x] == 1
    assert mask[z, y, x + 1] == 1
    assert mask[0].max() == 0
    assert mask.mean() < 0.05
    with pytest.raises(InputError, match="none of the 3 atoms"):
        mask_from_atoms(atoms, replace(grid, origin=(9000.0, 0.0, 0.0)))


def test_the_independent_fraction_of_a_ball_is_its_volume() -> None:
    one = ball(40, 10.0)
    assert independent_fraction(one) == pytest.approx(float(one.voxels.mean()), rel=1e-6)
    assert independent_fraction(replace(one, voxels=torch.ones(8, 8, 8))) == 1


def test_what_is_no_mask_is_refused() -> None:
    volume = ball(24, 5.0)
    soft = replace(volume, voxels=0.5 * volume.voxels)
    assert torch.equal(require_mask(soft, volume).voxels, soft.voxels)
    nearly = replace(volume, voxels=volume.voxels * 1.004 - 0.002)
    assert float(require_mask(nearly, volume).voxels.min()) == 0
    with pytest.raises(InputError, match="zero everywhere"):
        require_mask(replace(volume, voxels=torch.zeros(24, 24, 24)), volume)
    with pytest.raises(InputError, match="1 everywhere"):
        require_mask(replace(volume, voxels=torch.ones(24, 24, 24)), volume)
    with pytest.raises(InputError, match="run from -0"):
        require_mask(replace(volume, voxels=volume.voxels - 0.5), volume)
    with pytest.raises(InputError, match="NaN"):
        require_mask(replace(volume, voxels=volume.voxels / 0), volume)
    with pytest.raises(ShapeError, match="mask has"):
        require_mask(ball(22, 5.0), volume)
    with pytest.raises(InputError, match="voxels of"):
        require_mask(replace(volume, voxel_size=2 * VOXEL), volume)


def test_maps_without_a_shape_are_refused() -> None:
    volume = ball(24, 5.0)
    for threshold, what in ((2.0, "nothing"), (-1.0, "whole box")):
        with pytest.raises(InputError, match=what):
            automatic_mask(volume, replace(AS_IT_IS, threshold=threshold))
    with pytest.raises(InputError, match="constant"):
        automatic_mask(replace(volume, voxels=torch.full((8, 8, 8), 2.0)))
    with pytest.raises(InputError, match="NaN"):
        automatic_mask(replace(volume, voxels=volume.voxels / 0))
    with pytest.raises(ShapeError, match="cube"):
        automatic_mask(replace(volume, voxels=torch.rand(8, 8, 9)))
    with pytest.raises(UsageError, match="zero or more"):
        soft_edged(volume.voxels > 0, extend=-1.0, soft_edge=0.0)
