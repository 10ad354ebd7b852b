"""Local resolution against what was put in, and the filter that follows it."""

import math
from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data import HalfMaps, Volume
from cryowalk.fourier.filters import low_pass
from cryowalk.microscope.specimen import centre_of_mass, hinge, potential
from cryowalk.validation.local_filter import locally_filtered
from cryowalk.validation.local_resolution import LocalResolution, local_resolution
from cryowalk.validation.local_resolution_settings import LocalResolutionSettings

VOXEL = 1.7


def halves_of(signal: torch.Tensor, noise: float, generator: torch.Generator, *, voxel_size: float = VOXEL) -> HalfMaps:
    first, second = (
        Volume(
            voxels=signal + noise * torch.randn(signal.shape, generator=generator), voxel_size=voxel_size, origin=(3.0, 4.0, 5.0)
        )
        for _ in range(2)
    )
    return HalfMaps(first=first, second=second)


@pytest.mark.parametrize("box", [40, 45])
def test_an_even_signal_to_noise_ratio_gives_its_correlation_everywhere(box: int, generator: torch.Generator) -> None:
    signal = torch.randn(box, box, box, generator=generator)
    found = local_resolution(halves_of(signal, 0.5, generator), LocalResolutionSettings(window=30.0))
    expected = 1 / (1 + 0.5**2)  # SNR / (1 + SNR), SNR = 4
    inside = found.correlation[:, 2:-2, 2:-2, 2:-2]
    assert abs(float(inside.mean()) - expected) < 0.01
    # A band one over the window wide, in a volume of half the window's diameter cubed, both Friedel mates being one measurement.
    count = 0.5 * 30.0**3 * 4 * math.pi * found.frequency**2 / 30.0
    spread = inside.flatten(1).std(dim=1)
    predicted = (1 - expected**2) / count.sqrt()
    assert bool((spread < 1.6 * predicted).all())
    assert bool((spread > 0.4 * predicted).all())
    assert found.resolution.origin == (3.0, 4.0, 5.0)
    assert bool(
        (found.resolution.voxels < 2.1 * VOXEL).float().mean() > 0.98
    )  # Nyquist but where a band of few coefficients falls below by chance


def test_noise_alone_has_no_resolution_but_the_window(generator: torch.Generator) -> None:
    found = local_resolution(halves_of(torch.zeros(40, 40, 40), 1.0, generator), LocalResolutionSettings(window=25.0))
    assert abs(float(found.correlation[1:].mean())) < 0.01
    assert float(found.resolution.voxels.median()) > 15
    assert float(found.resolution.voxels.max()) <= 25.001


def test_two_resolutions_side_by_side_are_both_found(generator: torch.Generator) -> None:
    box = 56
    signal = torch.randn(box, box, box, generator=generator)
    coarse = low_pass(signal, resolution=9.0, pixel_size=VOXEL, dimensions=3)
    fine = low_pass(signal, resolution=5.0, pixel_size=VOXEL, dimensions=3)
    signal = torch.cat([coarse[..., : box // 2], fine[..., box // 2 :]], dim=-1)
    found = local_resolution(halves_of(signal, 0.4, generator), LocalResolutionSettings(window=28.0)).resolution.voxels
    left, right = found[8:-8, 8:-8, 8:16], found[8:-8, 8:-8, -16:-8]
    assert abs(float(left.median()) - 9.0) < 0.9
    assert abs(float(right.median()) - 5.0) < 0.4


def specimen() -> tuple[Volume, torch.Tensor, torch.Tensor]:
    """A molecule whose B-factor rises from 20 to 300 Å² along x, as a map, with its centred atoms and their B-factors."""
    atoms = hinge()
    centred = atoms.positions.double() - torch.tensor(centre_of_mass(atoms), dtype=torch.float64)
    b_factors = (20 + 140 * (1 + centred[:, 0] / centred[:, 0].abs().max())).float()
    return potential(replace(atoms, b_factors=b_factors), box=64, voxel_size=2.2), centred, b_factors


@pytest.mark.parametrize("noise", [0.5, 1.5])
def test_local_resolution_ranks_as_the_true_local_b_factor(noise: float, generator: torch.Generator) -> None:
    from scipy.spatial import cKDTree
    from scipy.stats import spearmanr

    volume, centred, b_factors = specimen()
    halves = halves_of(volume.voxels, noise * float(volume.voxels.std()), generator, voxel_size=2.2)
    found = local_resolution(halves).resolution.voxels
    axis = (torch.arange(64) - 32) * 2.2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    distance, nearest = cKDTree(centred.numpy()).query(torch.stack([x, y, z], dim=-1).reshape(-1, 3).numpy())
    inside = distance < 3
    rank = spearmanr(found.reshape(-1).numpy()[inside], b_factors.numpy()[nearest[inside]]).statistic
    assert rank >= 0.8  # measured: 0.92 and 0.90


def test_the_window_follows_the_resolution_of_the_whole_and_is_held_to_the_box(generator: torch.Generator) -> None:
    signal = low_pass(torch.randn(48, 48, 48, generator=generator), resolution=5.0, pixel_size=VOXEL, dimensions=3)
    halves = halves_of(signal, 0.01, generator)
    assert abs(local_resolution(halves).window - 7 * 4.7) < 2
    assert local_resolution(halves, LocalResolutionSettings(window=1.0)).window == pytest.approx(17.0)
    with pytest.raises(InputError, match="larger than the box"):
        local_resolution(halves, LocalResolutionSettings(window=100.0))


def test_bad_maps_are_refused(generator: torch.Generator) -> None:
    good = halves_of(torch.zeros(24, 24, 24), 1.0, generator)
    constant = Volume(voxels=torch.ones(24, 24, 24), voxel_size=VOXEL)
    with pytest.raises(InputError, match="half map 2 is constant"):
        local_resolution(HalfMaps(first=good.first, second=constant))
    broken = replace(good.first, voxels=good.first.voxels.clone().index_fill_(0, torch.tensor([3]), math.nan))
    with pytest.raises(InputError, match="half map 1 holds NaN"):
        local_resolution(HalfMaps(first=broken, second=good.second))
    with pytest.raises(ShapeError, match="differ in size"):
        local_resolution(HalfMaps(first=good.first, second=Volume(voxels=torch.rand(20, 20, 20), voxel_size=VOXEL)))
    with pytest.raises(UsageError, match="threshold"):
        local_resolution(good, LocalResolutionSettings(threshold=1.5))


def test_the_inputs_are_not_changed(generator: torch.Generator) -> None:
    halves = halves_of(torch.randn(24, 24, 24, generator=generator), 1.0, generator)
    before = halves.first.voxels.clone()
    assert isinstance(local_resolution(halves, LocalResolutionSettings(window=20.0)), LocalResolution)
    assert torch.equal(halves.first.voxels, before)


@pytest.mark.parametrize("box", [24, 25])
def test_one_resolution_everywhere_is_a_low_pass(box: int, generator: torch.Generator) -> None:
    volume = Volume(voxels=torch.randn(box, box, box, generator=generator), voxel_size=VOXEL, origin=(1.0, 2.0, 3.0))
    even = Volume(voxels=torch.full((box, box, box), 8.0), voxel_size=VOXEL)
    ours = locally_filtered(volume, even)
    assert torch.allclose(ours.voxels, low_pass(volume.voxels, resolution=8.0, pixel_size=VOXEL, dimensions=3), atol=1e-5)
    assert ours.origin == volume.origin


def test_each_place_has_the_detail_of_its_own_resolution(generator: torch.Generator) -> None:
    box = 48
    volume = Volume(voxels=torch.randn(box, box, box, generator=generator), voxel_size=VOXEL)
    resolution = torch.full((box, box, box), 12.0)
    resolution[..., box // 2 :] = 5.0
    resolution[0] = 0.0  # not known: the coarsest
    ours = locally_filtered(volume, Volume(voxels=resolution, voxel_size=VOXEL)).voxels
    for columns, cutoff in ((slice(0, box // 2), 12.0), (slice(box // 2, box), 5.0)):
        exact = low_pass(volume.voxels, resolution=cutoff, pixel_size=VOXEL, dimensions=3)
        assert torch.allclose(ours[1:, :, columns], exact[1:, :, columns], atol=1e-4)
    assert torch.allclose(ours[0], low_pass(volume.voxels, resolution=12.0, pixel_size=VOXEL, dimensions=3)[0], atol=1e-4)


def test_a_negative_b_factor_sharpens() -> None:
    from cryowalk.fourier.filters import b_factor

    volume = Volume(voxels=torch.randn(24, 24, 24, generator=torch.Generator().manual_seed(3)), voxel_size=VOXEL)
    even = Volume(voxels=torch.full((24, 24, 24), 8.0), voxel_size=VOXEL)
    sharpened = locally_filtered(volume, even, b_factor=-60.0).voxels
    blurred_again = b_factor(sharpened, b_factor=60.0, pixel_size=VOXEL, dimensions=3)
    assert torch.allclose(blurred_again, locally_filtered(volume, even).voxels, atol=1e-4)


def test_a_filter_without_any_resolution_is_refused() -> None:
    volume = Volume(voxels=torch.zeros(16, 16, 16), voxel_size=VOXEL)
    with pytest.raises(InputError, match="nowhere above zero"):
        locally_filtered(volume, volume)
    with pytest.raises(ShapeError):
        locally_filtered(volume, Volume(voxels=torch.ones(18, 18, 18), voxel_size=VOXEL))
