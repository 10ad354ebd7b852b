"""Random phases: amplitudes kept, real maps, uniform phases; and the correction of the correlation that a mask makes."""

import math
from dataclasses import replace

import pytest
import torch
from molecules import VOXEL, atoms_map, noisy_halves

from cryowalk.core.errors import UsageError
from cryowalk.data import HalfMaps, Volume
from cryowalk.fourier import to_fourier
from cryowalk.fourier.grids import frequency_radius
from cryowalk.validation.masks import automatic_mask, independent_fraction, spherical_mask
from cryowalk.validation.phase_randomisation import (
    corrected_correlation,
    first_shell_below,
    masked_correlation,
    randomise_phases,
    randomised_excess,
)
from cryowalk.validation.shell_correlation import compare_maps
from cryowalk.validation.thresholds import noise_deviation, shell_sizes


@pytest.mark.parametrize("box", [24, 25])
def test_amplitudes_stay_and_phases_are_random_beyond_the_shell(box: int, generator: torch.Generator) -> None:
    volume = Volume(voxels=torch.randn(box, box, box, generator=generator, dtype=torch.float64), voxel_size=VOXEL)
    kept = volume.voxels.clone()
    turned = randomise_phases(volume, first_shell=6, generator=generator)
    assert torch.equal(volume.voxels, kept)
    before, after = to_fourier(volume.voxels, dimensions=3), to_fourier(turned.voxels, dimensions=3)
    radius = frequency_radius((box, box, box), pixel_size=1.0, dtype=torch.float64) * box
    torch.testing.assert_close(after[radius < 6 - 1e-6], before[radius < 6 - 1e-6])
    # A real map's Nyquist coefficients have one of two phases, which the half spectrum stores once or twice: leave them out.
    inner = (radius >= 6) & (radius < box // 2)
    torch.testing.assert_close(after.abs()[inner], before.abs()[inner], rtol=1e-5, atol=1e-5)
    phase = (after / before)[inner]
    assert abs(complex(phase.mean())) < 4 / math.sqrt(int(inner.sum()))
    with pytest.raises(UsageError, match="shell 1"):
        randomise_phases(volume, first_shell=0, generator=generator)


def test_the_same_seed_gives_the_same_phases() -> None:
    volume = atoms_map(24, count=20)
    first, second = (randomise_phases(volume, first_shell=4, generator=torch.Generator().manual_seed(8)) for _ in range(2))
    assert torch.equal(first.voxels, second.voxels)


def test_the_correction_takes_off_what_a_tight_mask_adds() -> None:
    # Halves without any signal beyond 1/12 of the sampling, filtered noise there: a tight mask feigns signal.
    box = 48
    halves = noisy_halves(atoms_map(box, b_factor=700.0), noise=0.02)
    tight = spherical_mask(halves.first, radius=15.0, edge=1.0)
    curves = masked_correlation(halves, tight, generator=torch.Generator().manual_seed(1), draws=4)
    shell = first_shell_below(curves.unmasked, 0.143) + 4
    assert curves.masked.correlation[shell:].mean() > 0.05
    assert abs(float(curves.corrected.correlation[shell:].mean() - curves.unmasked.correlation[shell:].mean())) < 0.05
    truth = compare_maps(halves.first, halves.second)
    assert torch.equal(curves.unmasked.correlation, truth.correlation)
    assert curves.randomised_resolution == pytest.approx(1 / float(truth.frequency[curves.randomised_from]))


def test_noise_alone_is_corrected_to_nothing(generator: torch.Generator) -> None:
    box = 48
    halves = noisy_halves(Volume(voxels=torch.zeros(box, box, box), voxel_size=VOXEL), noise=1.0)
    mask = spherical_mask(halves.first, radius=24.0, edge=6.0)
    curves = masked_correlation(halves, mask, generator=generator, draws=8)
    # White noise stays white under any mask: only its spread grows.
    deviation = noise_deviation(shell_sizes(box), independent_fraction=independent_fraction(mask))
    z = curves.masked.correlation.double() / deviation
    assert 0.3 < float(z[3:].square().mean()) < 2.5
    assert float(curves.corrected.correlation[8:].mean()) < 0.06


def test_curves_that_never_fall_are_not_corrected() -> None:
    signal = atoms_map(24, count=20)
    halves = noisy_halves(signal, noise=1e-3 * float(signal.voxels.std()))
    curves = masked_correlation(halves, spherical_mask(signal), generator=torch.Generator().manual_seed(1))
    assert curves.randomised_from is None
    assert curves.randomised_resolution is None
    assert torch.equal(curves.corrected.correlation, curves.masked.correlation)
    assert math.isnan(randomised_excess(curves, resolution=5.0))


def test_the_formula_and_its_limits() -> None:
    masked = torch.tensor([1.0, 0.9, 0.6, 0.3, 0.1, 0.5])
    noise = torch.tensor([1.0, 0.5, 0.2, 0.3, 0.4, 1.0])
    found = corrected_correlation(masked, noise, first_shell=2)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.9, 0.5, 0.0, 0.0, 0.0]))
    assert bool((corrected_correlation(masked, 0 * noise, first_shell=0) == masked).all())


def test_hostile_choices_are_refused() -> None:
    halves = noisy_halves(atoms_map(16, count=5), noise=1.0)
    mask = automatic_mask(halves.average()).mask
    for keywords in ({"randomise_at": 0.0}, {"randomise_at": 1.5}, {"draws": 0}):
        with pytest.raises(UsageError):
            masked_correlation(halves, mask, generator=torch.Generator().manual_seed(1), **keywords)
    nothing = HalfMaps(first=halves.first, second=replace(halves.second, voxels=-halves.first.voxels))
    assert first_shell_below(masked_correlation(nothing, mask, generator=torch.Generator().manual_seed(1)).unmasked, 0.0) == 1
