"""Post-processing of simulated half maps: the resolution against the truth, the B-factor given back, filters as written, hostile inputs."""

import math
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from molecules import VOXEL, atoms_map, noisy_halves

from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data import HalfMaps, Volume
from cryowalk.data.camera import Response
from cryowalk.fourier import filters
from cryowalk.fourier.shells import shell_average
from cryowalk.fourier.transform import to_fourier
from cryowalk.numerics.random import generator as generator_of
from cryowalk.validation import compare_maps
from cryowalk.validation.guinier import fit_b_factor, log_amplitude, shell_frequencies
from cryowalk.validation.masks import automatic_mask, spherical_mask
from cryowalk.validation.post_processing import post_process
from cryowalk.validation.settings import PostProcessingSettings

BOX = 56


@pytest.fixture(scope="module")
def truth() -> Volume:
    return atoms_map(BOX, b_factor=250.0)


@pytest.fixture(scope="module")
def halves(truth: Volume) -> HalfMaps:
    return noisy_halves(truth, noise=0.6 * float(truth.voxels.std()))


def processed(halves: HalfMaps, mask: Volume | None, **chosen):
    return post_process(halves, PostProcessingSettings(**chosen), mask=mask, generator=generator_of(4))


@pytest.mark.parametrize("noise", [0.4, 0.8, 1.6])
def test_the_reported_resolution_is_that_of_the_truth(truth: Volume, noise: float) -> None:
    found = []
    for seed in (1, 2, 3):
        halves = noisy_halves(truth, noise=noise * float(truth.voxels.std()), seed=seed)
        mask = automatic_mask(halves.average()).mask
        result = processed(halves, mask)
        to_truth = compare_maps(halves.average(), truth, mask=mask).resolution(at=0.5)
        found.append(to_truth / result.resolution)
        # The ratio of signal to noise under the mask is known: FSC = S/(S + N) crosses 0.143 at S/N = 1/6.
        masked = to_fourier(truth.voxels * mask.voxels, dimensions=3).abs().square()
        signal = shell_average(masked, size=(BOX, BOX, BOX))
        level = (noise * float(truth.voxels.std())) ** 2 * float(mask.voxels.square().mean())
        below = int((signal / level < 0.143 / 0.857).nonzero()[0])
        assert abs(below - 1 / result.resolution * BOX * VOXEL) < 2.5
        assert result.resolution < processed(halves, None).resolution  # noise of the solvent is not counted
    assert sum(found) / 3 == pytest.approx(1.0, abs=0.05)


def test_the_b_factor_comes_back_and_is_undone(truth: Volume, halves: HalfMaps) -> None:
    result = processed(halves, automatic_mask(halves.average()).mask)
    assert result.fit is not None
    assert result.b_factor == -result.fit.b_factor
    assert result.b_factor == pytest.approx(-250, abs=25)
    # Amplitudes of the whole box with the correlation under a mask, as RELION takes them, hold noise that is not accounted for.
    whole = processed(halves, automatic_mask(halves.average()).mask, amplitudes="whole")
    assert -220 < whole.b_factor < -100
    assert result.doubts == ()
    frequency = shell_frequencies(result.volume)
    left = fit_b_factor(frequency, result.guinier.sharpened, finest=result.resolution * 1.1)
    assert abs(left.b_factor) < 15
    torch.testing.assert_close(result.guinier.sharpened, log_amplitude(result.masked))
    torch.testing.assert_close(whole.guinier.sharpened, log_amplitude(whole.volume))


def test_each_shell_is_multiplied_as_written(halves: HalfMaps) -> None:
    result = processed(halves, None, b_factor=-80.0, low_pass=4.5)
    frequency = shell_frequencies(result.volume)
    r = result.curves.corrected.correlation.double().clamp_min(0)
    weight = torch.sqrt(2 * r / (1 + r)) * torch.exp(20.0 * frequency**2)
    ratio = (result.guinier.sharpened - log_amplitude(halves.average())).exp()
    inner = (frequency < 1 / 4.5 - 3 * frequency[1]) & (weight > 0.05)
    torch.testing.assert_close(ratio[inner], weight[inner], rtol=0.02, atol=1e-6)
    outer = frequency > 1 / 4.5 + 2 * frequency[1]
    assert float(ratio[outer].max()) < 1e-4
    assert result.low_pass == 4.5
    plain = processed(halves, None, b_factor=0.0, weighting="none", low_pass=2 * VOXEL, filter_edge=0.0).volume
    inside = filters.low_pass(halves.average().voxels, resolution=2 * VOXEL, pixel_size=VOXEL, dimensions=3, edge=0.0)
    torch.testing.assert_close(plain.voxels, inside, rtol=0, atol=1e-5 * float(inside.abs().max()))


def test_the_detectors_transfer_is_divided_by(halves: HalfMaps) -> None:
    curve = Response(frequency=(0.0, 0.5), value=(1.0, 0.4))
    settings = PostProcessingSettings(b_factor=0.0, weighting="none", low_pass=2 * VOXEL)
    plain = post_process(halves, settings, mask=None, generator=generator_of(1))
    divided = post_process(halves, settings, mask=None, mtf=curve, generator=generator_of(1))
    transfer = 1 - 0.6 * shell_frequencies(plain.volume) * VOXEL / 0.5
    torch.testing.assert_close(divided.guinier.mtf_corrected - plain.guinier.original, -transfer.log())
    torch.testing.assert_close(
        (divided.guinier.sharpened - plain.guinier.sharpened)[:-2], -transfer.log()[:-2], rtol=0, atol=1e-4
    )
    half = replace(settings, detector_pixel=VOXEL / 2)
    finer = post_process(halves, half, mask=None, mtf=curve, generator=generator_of(1))
    assert finer.guinier.mtf_corrected[-1] < divided.guinier.mtf_corrected[-1]
    with pytest.raises(UsageError, match="MTF falls"):
        post_process(halves, settings, mask=None, mtf=replace(curve, value=(1.0, 0.0)), generator=generator_of(1))


def test_results_are_frozen_and_the_same_for_the_same_seed(halves: HalfMaps) -> None:
    mask = spherical_mask(halves.first, radius=30.0)
    kept = halves.first.voxels.clone()
    first, second = processed(halves, mask), processed(halves, mask)
    assert torch.equal(first.volume.voxels, second.volume.voxels)
    assert torch.equal(first.curves.corrected.correlation, second.curves.corrected.correlation)
    assert torch.equal(halves.first.voxels, kept)
    torch.testing.assert_close(first.masked.voxels, first.volume.voxels * mask.voxels)
    with pytest.raises(FrozenInstanceError):
        first.resolution = 1.0


def test_pure_noise_has_no_resolution_and_no_b_factor() -> None:
    halves = noisy_halves(Volume(voxels=torch.zeros(40, 40, 40), voxel_size=VOXEL), noise=1.0)
    result = processed(halves, spherical_mask(halves.first, radius=20.0, edge=8.0))
    assert result.resolution > 15
    assert result.b_factor == 0.0
    assert any("no B-factor" in doubt for doubt in result.doubts)


def test_halves_that_share_their_noise_are_doubted(halves: HalfMaps, truth: Volume) -> None:
    shared = replace(
        halves.second,
        voxels=halves.first.voxels + 0.01 * truth.voxels.std() * torch.randn(BOX, BOX, BOX, generator=generator_of(9)),
    )
    doubts = processed(HalfMaps(first=halves.first, second=shared), None).doubts
    assert any("Nyquist" in doubt for doubt in doubts)
    assert any("never falls" in doubt for doubt in doubts)


def test_a_mask_that_misses_the_specimen_is_doubted(halves: HalfMaps) -> None:
    wrong = torch.roll(spherical_mask(halves.first, radius=16.0, edge=6.0).voxels, (24, 24, 24), (0, 1, 2))
    doubts = processed(halves, replace(halves.first, voxels=wrong)).doubts
    assert any("worse than without" in doubt for doubt in doubts)


def test_halves_that_are_none_are_refused(halves: HalfMaps) -> None:
    first = halves.first
    for second in (first, replace(first, voxels=2.5 * first.voxels + 0.5)):
        with pytest.raises(InputError, match="same map"):
            processed(HalfMaps(first=first, second=second), None)
    with pytest.raises(ShapeError, match="differ in size"):
        processed(HalfMaps(first=first, second=Volume(voxels=first.voxels[1:, 1:, 1:], voxel_size=VOXEL)), None)
    with pytest.raises(InputError, match="voxel size"):
        processed(HalfMaps(first=first, second=replace(halves.second, voxel_size=2.0)), None)
    with pytest.raises(InputError, match="constant"):
        processed(HalfMaps(first=first, second=replace(first, voxels=torch.ones(BOX, BOX, BOX))), None)
    hollow = halves.second.voxels.clone()
    hollow[1, 2, 3] = math.nan
    with pytest.raises(InputError, match="second half map holds NaN"):
        processed(HalfMaps(first=first, second=replace(first, voxels=hollow)), None)
    with pytest.raises(ShapeError, match="mask has"):
        processed(halves, Volume(voxels=torch.rand(30, 30, 30), voxel_size=VOXEL))
    with pytest.raises(InputError, match="zero everywhere"):
        processed(halves, replace(first, voxels=torch.zeros(BOX, BOX, BOX)))
    with pytest.raises(InputError, match="values of the mask"):
        processed(halves, replace(first, voxels=torch.full((BOX, BOX, BOX), -0.2)))
