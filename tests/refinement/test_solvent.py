"""Masks of the halves' own shapes: when they are taken, what they hold, and that neither half sees the other's."""

import pytest
import torch

from cryowalk.data import HalfMaps, Volume
from cryowalk.fourier.filters import low_pass
from cryowalk.numerics.masks import soft_sphere
from cryowalk.refinement.solvent import inside, own_shapes

BOX, PIXEL, DIAMETER = 48, 3.0, 110.0


@pytest.fixture(scope="module")
def molecule() -> torch.Tensor:
    """An L of two bars, 45 and 30 Å long, some 20 Å thick."""
    voxels = torch.zeros(BOX, BOX, BOX)
    voxels[18:33, 20:27, 20:27] = 1
    voxels[18:25, 20:27, 27:37] = 1
    return low_pass(voxels, resolution=9.0, pixel_size=PIXEL, dimensions=3)


@pytest.fixture(scope="module")
def sphere() -> torch.Tensor:
    return soft_sphere(BOX, radius=DIAMETER / 2, edge=9.0, voxel_size=PIXEL)


def halves_of(signal: torch.Tensor, seed: int, noise: float) -> HalfMaps:
    generator = torch.Generator().manual_seed(seed)
    first, second = (
        Volume(voxels=signal + noise * torch.randn(BOX, BOX, BOX, generator=generator), voxel_size=PIXEL) for _ in range(2)
    )
    return HalfMaps(first=first, second=second)


def shapes(halves: HalfMaps, sphere: torch.Tensor, *, beyond: int = 3):
    return own_shapes(
        halves, sphere, radius=BOX // 2 - 1, diameter=DIAMETER, beyond=beyond, generator=torch.Generator().manual_seed(1)
    )


def test_each_mask_holds_the_molecule_and_little_else(molecule, sphere):
    found = shapes(halves_of(molecule, 1, 0.3), sphere)
    for mask in found.masks:
        assert float((molecule * mask).sum() / molecule.sum()) > 0.97
        assert float(mask.sum()) < 0.4 * float(sphere.sum())
        assert float((mask - sphere).max()) <= 1e-6
    assert torch.equal(found.common, torch.maximum(*found.masks))


def test_noise_outside_the_masks_no_longer_lowers_the_agreement(molecule, sphere):
    halves = halves_of(molecule, 2, 0.3)
    tight, wide = shapes(halves, sphere).agreed, inside(halves, sphere, radius=BOX // 2 - 1).agreed
    assert torch.equal(tight.whole, wide.whole)
    signal = slice(3, 12)
    assert bool((tight.masked[signal] > wide.masked[signal]).all())


def test_a_mask_depends_on_its_own_half_alone(molecule, sphere):
    halves, others = halves_of(molecule, 3, 0.3), halves_of(molecule, 4, 0.3)
    mixed = HalfMaps(first=halves.first, second=others.second)
    assert torch.equal(shapes(halves, sphere).masks[0], shapes(mixed, sphere).masks[0])
    assert torch.equal(shapes(others, sphere).masks[1], shapes(mixed, sphere).masks[1])


def test_noise_has_no_shape(sphere):
    for seed in range(5):
        found = shapes(halves_of(torch.zeros(BOX, BOX, BOX), seed, 1.0), sphere)
        assert torch.equal(found.masks[0], sphere)
        assert torch.equal(
            found.agreed.masked, inside(halves_of(torch.zeros(BOX, BOX, BOX), seed, 1.0), sphere, radius=23).agreed.masked
        )


def test_what_both_halves_began_with_shows_no_shape_yet(molecule, sphere):
    """Halves that agree no further than the starting map do may owe it to the starting map."""
    halves = halves_of(low_pass(molecule, resolution=40.0, pixel_size=PIXEL, dimensions=3), 6, 0.02)
    assert torch.equal(shapes(halves, sphere, beyond=23).masks[0], sphere)


def test_random_phases_take_back_what_a_tight_mask_adds(sphere):
    """A mask of the molecule's own size on halves that share nothing: the corrected agreement stays that of noise."""
    halves = halves_of(torch.zeros(BOX, BOX, BOX), 7, 1.0)
    mask = soft_sphere(BOX, radius=20.0, edge=9.0, voxel_size=PIXEL)
    raw = inside(halves, mask, radius=23).agreed.masked
    corrected = inside(halves, mask, radius=23, generator=torch.Generator().manual_seed(2)).agreed.masked
    assert float(corrected[8:22].abs().mean()) <= float(raw[8:22].abs().mean()) + 0.02
