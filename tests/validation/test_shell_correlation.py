"""Fourier shell correlation: identity, noise, known signal-to-noise ratio, crossings, masks, refusals."""

import math

import pytest
import torch

from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data import HalfMaps, Volume
from cryowalk.validation import ShellCorrelation, compare_maps, fourier_shell_correlation, spherical_mask
from cryowalk.validation.spectrum import amplitude_spectrum


def noise(box: int, generator: torch.Generator, voxel_size: float = 1.7) -> Volume:
    return Volume(voxels=torch.randn(box, box, box, generator=generator), voxel_size=voxel_size)


@pytest.mark.parametrize("box", [24, 25])
def test_a_map_correlates_perfectly_with_itself_and_its_multiples(box: int, generator: torch.Generator) -> None:
    volume = noise(box, generator)
    twice = Volume(voxels=2.5 * volume.voxels, voxel_size=1.7)
    curve = compare_maps(volume, twice)
    torch.testing.assert_close(curve.correlation, torch.ones(box // 2 + 1), rtol=0, atol=1e-5)
    assert curve.resolution(at=0.143) == pytest.approx(1 / float(curve.frequency[-1]))
    torch.testing.assert_close(curve.frequency, torch.arange(box // 2 + 1) / (box * 1.7))
    negative = Volume(voxels=-volume.voxels, voxel_size=1.7)
    torch.testing.assert_close(compare_maps(volume, negative).correlation, -torch.ones(box // 2 + 1), rtol=0, atol=1e-5)


def test_independent_noise_does_not_correlate(generator: torch.Generator) -> None:
    box = 40
    curve = compare_maps(noise(box, generator), noise(box, generator))
    shell = torch.arange(2, box // 2)
    # Half of the 4πs² coefficients of a shell are independent: the spread of the correlation is 1/√(2πs²).
    z = curve.correlation[2 : box // 2] * torch.sqrt(2 * math.pi * shell.float() ** 2)
    assert z.abs().max() < 4
    assert 0.3 < z.square().mean() < 2.2  # 18 shells: 1 ± 0.33


def test_the_correlation_of_half_maps_is_snr_over_snr_plus_one(generator: torch.Generator) -> None:
    signal = noise(48, generator).voxels
    halves = HalfMaps(
        first=Volume(voxels=signal + 2 * noise(48, generator).voxels, voxel_size=3.0),
        second=Volume(voxels=signal + 2 * noise(48, generator).voxels, voxel_size=3.0),
    )
    curve = fourier_shell_correlation(halves)
    assert curve.correlation[8:].mean() == pytest.approx(0.2, abs=0.02)


def test_a_crossing_is_interpolated_in_frequency() -> None:
    frequency = torch.tensor([0.0, 0.1, 0.2, 0.3])
    falling = ShellCorrelation(frequency=frequency, correlation=torch.tensor([1.0, 0.9, 0.4, 0.0]))
    assert falling.resolution(at=0.5) == pytest.approx(1 / 0.18)
    assert falling.resolution() == pytest.approx(1 / (0.2 + 0.1 * (0.4 - 0.143) / 0.4))
    returning = ShellCorrelation(frequency=frequency, correlation=torch.tensor([1.0, 0.1, 0.9, 0.9]))
    assert returning.resolution(at=0.5) == pytest.approx(1 / (0.1 * 0.5 / 0.9))
    never = ShellCorrelation(frequency=frequency, correlation=torch.tensor([-1.0, 0.9, 0.9, 0.143]))
    assert never.resolution(at=0.143) == pytest.approx(1 / 0.3)
    with pytest.raises(UsageError, match="threshold"):
        never.resolution(at=1.0)


def test_a_mask_raises_the_correlation_of_masked_noise_and_is_applied_to_both(generator: torch.Generator) -> None:
    first, second = noise(32, generator), noise(32, generator)
    mask = spherical_mask(first, radius=12.0, edge=6.0)
    masked = compare_maps(first, second, mask=mask)
    by_hand = compare_maps(
        Volume(voxels=first.voxels * mask.voxels, voxel_size=1.7), Volume(voxels=second.voxels * mask.voxels, voxel_size=1.7)
    )
    assert torch.equal(masked.correlation, by_hand.correlation)
    assert not torch.allclose(masked.correlation, compare_maps(first, second).correlation, atol=1e-3)


def test_a_spherical_mask_is_one_inside_and_zero_outside(generator: torch.Generator) -> None:
    volume = noise(33, generator, voxel_size=2.0)
    mask = spherical_mask(volume, radius=16.0, edge=6.0).voxels
    assert mask[16, 16, 24] == 1  # 16 Å from the origin voxel along x
    assert 0 < mask[16, 26, 16] < 1  # 20 Å
    assert mask[5, 16, 16] == 0  # 22 Å
    assert spherical_mask(volume).voxels[0].max() < 1e-6
    with pytest.raises(UsageError):
        spherical_mask(volume, radius=-3.0)


def test_maps_that_cannot_be_compared_are_refused(generator: torch.Generator) -> None:
    volume = noise(16, generator)
    with pytest.raises(ShapeError, match="differ in size"):
        compare_maps(volume, noise(18, generator))
    with pytest.raises(InputError, match="voxel size"):
        compare_maps(volume, noise(16, generator, voxel_size=1.8))
    with pytest.raises(ShapeError, match="cube"):
        compare_maps(Volume(voxels=torch.ones(4, 4, 6), voxel_size=1.0), Volume(voxels=torch.ones(4, 4, 6), voxel_size=1.0))
    with pytest.raises(ShapeError, match="mask"):
        compare_maps(volume, volume, mask=noise(18, generator))
    hollow = volume.voxels.clone()
    hollow[3, 4, 5] = math.nan
    with pytest.raises(InputError, match="NaN"):
        compare_maps(volume, Volume(voxels=hollow, voxel_size=1.7))


def test_the_amplitude_spectrum_of_a_gaussian_falls_with_its_b_factor() -> None:
    box, voxel_size, width = 48, 1.5, 3.0
    axis = (torch.arange(box, dtype=torch.float64) - box // 2) * voxel_size
    squared = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    blob = Volume(voxels=torch.exp(-squared / (2 * width**2)), voxel_size=voxel_size)
    spectrum = amplitude_spectrum(blob)
    logarithm, squared_frequency = spectrum.amplitude.log(), spectrum.frequency.square()
    slope = (logarithm[10] - logarithm[4]) / (squared_frequency[10] - squared_frequency[4])
    assert float(slope) == pytest.approx(-2 * math.pi**2 * width**2, rel=0.02)  # −B/4 with B = 8π²σ²
