import math
from dataclasses import replace

import pytest
import torch
from tests.motion.conftest import displaced, error, scene, track

from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data import ImageStack, Motion
from cryowalk.fourier.transform import to_fourier
from cryowalk.motion import AlignmentSettings, CorrectedFrames, correct_motion, estimate_motion, find_flaws
from cryowalk.motion.alignment import bands_of, moments, moments_reference, smooth_track
from cryowalk.motion.correction import interpolation_transfer, pixel_coefficients
from cryowalk.motion.dose import add_weighted, add_weighted_reference, dose_factors
from cryowalk.motion.frames import HeldFrames, check_gain, filled, halved, halved_reference
from cryowalk.numerics.sizes import fast_length_to
from cryowalk.numerics.warping import warp, warp_reference

WHOLE = AlignmentSettings(patches=(1, 1))
PLAIN = AlignmentSettings(patches=(1, 1), dose_weighting="no")


def test_a_drift_without_noise_is_found_to_a_tenth_of_a_pixel(movie):
    frames, truth = movie(counts=False, contrast=0.3)
    found = estimate_motion(frames, WHOLE, pixel_size=1.1)
    assert error(found.motion, truth, 1.1) < 0.1
    assert not found.doubts


@pytest.mark.parametrize("seed", range(3))
def test_a_drift_at_one_electron_is_found_and_its_precision_told(movie, seed):
    frames, truth = movie(contrast=0.08, seed=seed)
    found = estimate_motion(frames, WHOLE, pixel_size=1.1)
    miss = error(found.motion, truth, 1.1)
    assert miss < 0.3
    assert miss < 0.3 * error(replace(found.motion, global_displacement=torch.zeros(16, 2)), truth, 1.1)
    claimed = float(found.precision.median()) / 1.1
    assert 0.3 < miss / claimed < 3


def test_large_drifts_are_within_reach(movie):
    frames, truth = movie(contrast=0.1, scale=5.0)
    assert error(estimate_motion(frames, WHOLE, pixel_size=1.1).motion, truth, 1.1) < 0.3


@pytest.mark.parametrize("seed", range(2))
def test_local_motion_is_found(movie, seed):
    frames, truth = movie(size=(900, 960), local=4.0, seed=seed)
    whole = estimate_motion(frames, WHOLE, pixel_size=1.1).motion
    found = estimate_motion(frames, AlignmentSettings(patches=(4, 4)), pixel_size=1.1).motion
    assert error(found, truth, 1.1) < 0.3
    assert error(found, truth, 1.1) < 0.6 * error(whole, truth, 1.1)


def test_pure_noise_does_not_move():
    frames = torch.poisson(torch.full((12, 512, 512), 1.0), generator=torch.Generator().manual_seed(3))
    found = estimate_motion(ImageStack(pixels=frames, pixel_size=1.0), WHOLE, pixel_size=1.0)
    assert found.doubts
    assert float(found.motion.global_displacement.abs().max()) == 0


@pytest.mark.parametrize("interpolation", ["cubic", "linear"])
def test_the_sum_is_the_still_scene(movie, interpolation):
    frames, motion = movie(counts=False, contrast=0.3, local=3.0, frames=10)
    sums = correct_motion(frames, motion, replace(PLAIN, interpolation=interpolation), pixel_size=1.1)
    still = scene(640, 704, 1.1) * 0.3
    inner = (slice(40, -40), slice(40, -40))
    seen, true = sums.plain[inner] / (10 * 1.1**2) - 1, still[inner]
    assert float((seen - true).std() / true.std()) < (0.04 if interpolation == "cubic" else 0.12)
    assert torch.allclose(sums.odd + sums.even, sums.plain, atol=1e-3)


def test_interpolation_gives_back_what_it_takes():
    for interpolation, kernel in (("linear", lambda a: (1 - a).clamp_min(0)), ("cubic", keys)):
        place = torch.linspace(-2, 2, 40001, dtype=torch.float64)
        values = kernel(place.abs())
        transfer = interpolation_transfer((2, 64), interpolation)
        for column in (0, 7, 19, 32):
            exact = float((values * torch.cos(2 * math.pi * column / 64 * place)).sum() * (place[1] - place[0]))
            assert float(transfer[0, column]) == pytest.approx(max(0.3, exact), abs=1e-6)


def keys(a):
    return torch.where(a < 1, 1.5 * a**3 - 2.5 * a**2 + 1, torch.where(a < 2, -0.5 * a**3 + 2.5 * a**2 - 4 * a + 2, 0 * a))


def test_weights_by_dose_are_those_of_the_formula(movie):
    frames, _ = movie(size=(256, 256), frames=6)
    still = Motion(global_displacement=torch.zeros(6, 2, dtype=torch.float64), field=(256 * 1.1, 256 * 1.1))
    settings = AlignmentSettings(patches=(1, 1), dose_per_frame=2.0, dose_before=3.0)
    sums = correct_motion(frames, still, settings, pixel_size=1.1)
    ky, kx = torch.fft.fftfreq(256).double()[:, None] / 1.1, torch.fft.rfftfreq(256).double() / 1.1
    k = torch.hypot(kx, ky).clamp_min(1e-6)
    critical = 0.24499 * k**-1.6649 + 2.8141
    amplitudes = torch.stack([torch.exp(-(3.0 + 2.0 * (f + 1)) / (2 * critical)) for f in range(6)])
    weights = amplitudes / amplitudes.square().sum(0).sqrt()
    spectra = torch.fft.rfft2(frames.pixels.double())
    expected = torch.fft.irfft2((weights * spectra).sum(0) / interpolation_transfer((256, 256), "cubic"), s=(256, 256))
    assert float((sums.weighted - expected).abs().max() / expected.std()) < 3e-5
    exact = correct_motion(ImageStack(pixels=frames.pixels.double(), pixel_size=1.1), still, settings, pixel_size=1.1)
    assert float((exact.weighted - expected).abs().max() / expected.std()) < 3e-5


def test_sides_with_large_primes_are_mirrored_to_fast_ones(movie):
    """134 × 158 px (67 and 79 are primes) are filtered as 140 × 160 px: away from the rim, where a circular filter sees the far side, nothing changes."""
    frames, _ = movie(size=(134, 158), frames=6)
    still = Motion(global_displacement=torch.zeros(6, 2, dtype=torch.float64), field=(158 * 1.1, 134 * 1.1))
    settings = AlignmentSettings(patches=(1, 1), dose_per_frame=2.0)
    sums = correct_motion(frames, still, settings, pixel_size=1.1)
    assert sums.weighted.shape == sums.plain.shape == (134, 158)
    assert sums.transfer.shape == (140, 81)
    k = torch.hypot(torch.fft.fftfreq(134).double()[:, None] / 1.1, torch.fft.rfftfreq(158).double() / 1.1).clamp_min(1e-6)
    weights = torch.stack([torch.exp(-(2.0 * (f + 1)) / (2 * (0.24499 * k**-1.6649 + 2.8141))) for f in range(6)])
    spectra = torch.fft.rfft2(frames.pixels.double())
    spectrum = (weights / weights.square().sum(0).sqrt() * spectra).sum(0) / interpolation_transfer((134, 158), "cubic")
    error = (sums.weighted - torch.fft.irfft2(spectrum, s=(134, 158))).abs() / sums.weighted.std()
    assert float(error[20:-20, 20:-20].max()) < 0.05
    assert float(error.square().mean().sqrt()) < 0.1  # the rim has its own neighbours now, not those of the far side


def test_the_compiled_sums_are_those_of_the_formula(movie):
    frames, _ = movie(size=(160, 192), frames=5)
    bands = bands_of(to_fourier(frames.pixels), width=192, pixel_size=1.1, b_factor=200.0, coarsest=200.0)
    shift = track(5) / 3
    for one, other in zip(moments(bands, shift), moments_reference(bands, shift), strict=True):
        assert torch.allclose(one, other, rtol=2e-3, atol=2e-3 * float(other.abs().max()))


def test_the_gradient_is_that_of_the_likelihood(movie):
    frames, _ = movie(size=(128, 160), frames=4, counts=False)
    spectra = to_fourier(frames.pixels.double())
    bands = bands_of(spectra, width=160, pixel_size=1.1, b_factor=100.0, coarsest=200.0)
    shift = torch.tensor([[0.3, -0.2], [0.1, 0.5], [-0.4, 0.0], [0.0, 0.2]], dtype=torch.float64)

    def likelihood(frame, step):
        turns = shift[:, 0, None, None] * bands.kx + shift[:, 1, None, None] * bands.ky[:, None]
        aligned = spectra * torch.polar(torch.ones_like(turns), 2 * math.pi * turns)
        others = (aligned.sum(0) - aligned[frame]) / 3
        more = step[0] * bands.kx + step[1] * bands.ky[:, None]
        moved = aligned[frame] * torch.polar(torch.ones_like(more), 2 * math.pi * more)
        return float((bands.weight * (moved * others.conj()).real).sum())

    gradient, information = moments_reference(bands, shift)
    for axis in (0, 1):
        step = torch.zeros(2, dtype=torch.float64)
        step[axis] = 1e-3
        up, middle, down = likelihood(1, step), likelihood(1, 0 * step), likelihood(1, -step)
        assert (up - down) / 2e-3 == pytest.approx(float(gradient[1, axis]), rel=1e-3, abs=1e-3)
        assert -(up - 2 * middle + down) / 1e-6 == pytest.approx(float(information[1, axis, axis]), rel=1e-2)


def test_a_track_is_smoothed_as_far_as_the_data_leave_it_free():
    found = track(20) + 0.3 * torch.randn(20, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sure = torch.eye(2, dtype=torch.float64).expand(20, 2, 2)
    assert torch.allclose(smooth_track(found, 1e8 * sure, acceleration=0.3), found - found.mean(0), atol=1e-4)
    straight = smooth_track(found, 1e-6 * sure, acceleration=0.01)
    assert float((straight[2:] - 2 * straight[1:-1] + straight[:-2]).abs().max()) < 1e-3


@pytest.mark.parametrize("interpolation", ["cubic", "linear"])
def test_the_compiled_warp_is_that_of_the_formula(interpolation):
    image = torch.randn(37, 52, generator=torch.Generator().manual_seed(1))
    field = 3 * torch.randn(2, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    one, other = (f(image, field, interpolation=interpolation) for f in (warp, warp_reference))
    assert float((one - other).abs().max()) < 1e-5
    whole = torch.zeros(2, 6, dtype=torch.float64)
    whole[:, 0] = torch.tensor([2.0, -3.0])
    assert torch.allclose(warp(image, whole)[5:-5, 5:-5], image.roll((3, -2), dims=(0, 1))[5:-5, 5:-5], atol=1e-6)


def test_warping_undoes_a_motion(movie):
    _, motion = movie(counts=False, contrast=0.3, local=3.0, frames=6)
    image = scene(640, 704, 1.1)
    moved = displaced(image, motion, 5, 1.1)
    back = warp(moved, pixel_coefficients(motion, 5, 1.1))
    inner = (slice(40, -40), slice(40, -40))
    assert float((back - image)[inner].std()) < 0.06
    assert float((moved - image)[inner].std()) > 0.5


def test_flaws_of_the_camera_are_found_and_filled(movie):
    frames, _ = movie(size=(256, 288), frames=8)
    broken = frames.pixels.clone()
    broken[:, 100, 50] = 400.0
    broken[:, 30, 200] = 0.0
    broken[:, :, 77] *= 3.0
    flaws = find_flaws(broken.sum(0))
    assert bool(flaws[100, 50])
    assert bool(flaws[:, 77].all())
    assert float(flaws.float().mean()) < 0.01
    filled = CorrectedFrames(source=ImageStack(pixels=broken, pixel_size=1.1), flaws=flaws).read([3])[0]
    assert float(filled[100, 50]) < 4
    assert float(filled[:, 77].mean()) == pytest.approx(float(frames.pixels[3].mean()), rel=0.1)


def test_the_gain_reference_multiplies(movie):
    frames, _ = movie(size=(256, 256), frames=3)
    gain = 1 + 0.2 * torch.rand(256, 256, generator=torch.Generator().manual_seed(1))
    raw = ImageStack(pixels=frames.pixels / gain, pixel_size=1.1)
    corrected = CorrectedFrames(source=raw, gain=gain)
    assert torch.allclose(corrected.read([0, 2]), frames.pixels[[0, 2]], atol=1e-5)
    with pytest.raises(ShapeError, match="transposed"):
        check_gain(gain[:200], (256, 200))


def test_bad_movies_are_refused(movie):
    frames, motion = movie(size=(256, 256), frames=5)
    blank = frames.pixels.clone()
    blank[2:4] = 0
    with pytest.raises(InputError, match="frames 3, 4 of 5 are blank"):
        estimate_motion(ImageStack(pixels=blank, pixel_size=1.1), WHOLE, pixel_size=1.1)
    broken = frames.pixels.clone()
    broken[1, 5, 5] = torch.nan
    with pytest.raises(InputError, match="frame 2"):
        estimate_motion(ImageStack(pixels=broken, pixel_size=1.1), WHOLE, pixel_size=1.1)
    with pytest.raises(InputError, match="no electrons"):
        estimate_motion(ImageStack(pixels=0 * frames.pixels, pixel_size=1.1), WHOLE, pixel_size=1.1)
    with pytest.raises(ShapeError, match="two frames"):
        estimate_motion(ImageStack(pixels=frames.pixels[:1], pixel_size=1.1), WHOLE, pixel_size=1.1)
    with pytest.raises(UsageError, match="at least one patch"):
        estimate_motion(frames, AlignmentSettings(patches=(0, 5)), pixel_size=1.1)
    with pytest.raises(UsageError, match="dose of a frame"):
        correct_motion(frames, motion, replace(WHOLE, dose_weighting="yes"), pixel_size=1.1)
    with pytest.raises(UsageError, match="frames"):
        correct_motion(ImageStack(pixels=frames.pixels[:3], pixel_size=1.1), motion, PLAIN, pixel_size=1.1)


@pytest.mark.parametrize("value", [0.0, 1.2])
@pytest.mark.parametrize("dead", [0, 7, 15])
def test_a_blank_or_constant_frame_is_left_out_and_its_dose_is_counted(movie, dead, value):
    frames, truth = movie(contrast=0.1, local=2.0)
    broken = frames.pixels.clone()
    broken[dead] = value
    movie_ = ImageStack(pixels=broken, pixel_size=1.1)
    found = estimate_motion(movie_, AlignmentSettings(patches=(3, 3)), pixel_size=1.1)
    assert found.left_out == (dead,)
    assert f"frame {dead + 1} of 16 is blank" in found.doubts[-1]
    assert error(found.motion, truth, 1.1) < 0.45
    assert len(found.motion.global_displacement) == len(found.motion.local) == len(found.precision) == 16
    settings = AlignmentSettings(dose_per_frame=2.0)
    sums = correct_motion(movie_, truth, settings, pixel_size=1.1, left_out=found.left_out)
    # The same sum from frames without it, each with the weight of its own place in the exposure.
    still = Motion(global_displacement=torch.zeros(16, 2, dtype=torch.float64), field=truth.field)
    flat = correct_motion(movie_, still, settings, pixel_size=1.1, left_out=found.left_out)
    k = torch.hypot(torch.fft.fftfreq(640).double()[:, None] / 1.1, torch.fft.rfftfreq(704).double() / 1.1).clamp_min(1e-6)
    critical = 0.24499 * k**-1.6649 + 2.8141
    kept = [index for index in range(16) if index != dead]
    weights = torch.stack([torch.exp(-2.0 * (index + 1) / (2 * critical)) for index in kept])
    spectrum = (weights / weights.square().sum(0).sqrt() * torch.fft.rfft2(broken[kept].double())).sum(0)
    expected = torch.fft.irfft2(spectrum / interpolation_transfer((640, 704), "cubic"), s=(640, 704))
    assert float((flat.weighted - expected).abs().max() / expected.std()) < 3e-5
    assert float(sums.plain.mean()) == pytest.approx(float(broken[kept].sum(0).mean()), rel=1e-3)


def test_few_products_tell_all_weights_by_dose():
    for dose, count, pixel_size in ((1.277, 24, 0.885), (0.5, 80, 0.6), (2.0, 3, 3.0)):
        doses = dose * torch.arange(1, count + 1)
        factors = dose_factors(doses, pixel_size=pixel_size, voltage_kv=300.0)
        k = factors.step * torch.arange(factors.table.shape[1], dtype=torch.float64).clamp_min(1e-9)
        weights = torch.exp(-doses.double()[:, None] / (2 * (0.24499 * k**-1.6649 + 2.8141)))
        weights = weights / weights.square().sum(0).sqrt()
        assert float((factors.frames.T @ factors.table - weights).abs().max()) < 1e-6
        assert len(factors.frames) <= min(count, 10)


def test_the_compiled_weights_are_those_of_the_formula():
    generator = torch.Generator().manual_seed(1)
    spectrum = torch.randn(30, 20, dtype=torch.complex64, generator=generator)
    line = torch.rand(50, dtype=torch.float64, generator=generator)
    totals = torch.zeros(2, 30, 20, dtype=torch.complex64)
    for function, total in zip((add_weighted, add_weighted_reference), totals, strict=True):
        function(spectrum, line, total, width=39, spacing=0.016)
    assert torch.allclose(*totals, atol=1e-5)


def test_patches_that_would_be_small_are_fewer_and_told(movie):
    frames, _ = movie(size=(256, 512), frames=5)
    found = estimate_motion(frames, AlignmentSettings(patches=(5, 5)), pixel_size=1.1)
    assert any("3 × 1 patches" in doubt for doubt in found.doubts)
    assert found.motion.local is not None


def test_frames_are_read_once_and_kept_as_they_are(movie):
    counts = movie(size=(64, 80), frames=4)[0].pixels
    read = []

    class Counted:
        count, image_shape = 4, (64, 80)

        def read(self, indices):
            read.extend(indices)
            return values[list(indices)].clone()

    for values, limit in ((counts, 2**30), (counts + 0.25, 2**30), (counts * 300, 2**30), (counts, 3 * 64 * 80)):
        read.clear()
        held = HeldFrames(Counted(), limit=limit)
        for _ in range(3):
            for index in (2, 0, 1, 3):
                frame = held.read([index])
                assert torch.equal(frame[0], values[index])
                frame.zero_()  # the caller's to change
        assert torch.equal(held.read([3, 1]), values[[3, 1]])
        assert len(read) == (4 if limit == 2**30 else 4 + 2 + 1)


@pytest.mark.parametrize("mean", [0.2, 0.5, 3.0, 40.0])
def test_electrons_are_no_flaws(mean):
    total = torch.poisson(torch.full((600, 500), mean), generator=torch.Generator().manual_seed(4))
    assert float(find_flaws(total).float().mean()) < 2e-4
    gradient = torch.linspace(0.6, 1.4, 500)
    total = torch.poisson(mean * gradient.expand(600, 500), generator=torch.Generator().manual_seed(5))
    assert float(find_flaws(total).float().mean()) < 2e-4


def test_a_flaw_without_sound_neighbours_becomes_the_mean():
    frames = torch.rand(2, 40, 44, generator=torch.Generator().manual_seed(1))
    flaws = torch.zeros(40, 44, dtype=torch.bool)
    flaws[10:20, 10:20] = True
    flaws[0, 0] = True
    mended = filled(frames, flaws)
    assert torch.equal(mended[:, ~flaws], frames[:, ~flaws])
    assert float(mended[1, 15, 15]) == pytest.approx(float(frames[1][~flaws].mean()), rel=1e-5)
    assert float(mended[0, 0, 0]) == pytest.approx(float((frames[0, :3, :3].sum() - frames[0, 0, 0]) / 8), rel=0.5)


def test_sizes_transform_fast():
    for length in (3838, 3710, 1023):
        rest = fast_length_to(length, largest_factor=13)
        assert length - 30 < rest <= length
        for factor in (2, 3, 5, 7, 11, 13):
            while rest % factor == 0:
                rest //= factor
        assert rest == 1


def test_the_compiled_halving_is_that_of_the_formula():
    frame = torch.rand(38, 54, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(halved(frame), halved_reference(frame), atol=1e-6)
    wave = torch.cos(2 * math.pi * 0.1 * torch.arange(200))[None].expand(20, 200).contiguous()
    middle = torch.cos(2 * math.pi * 0.1 * (2 * torch.arange(100) + 0.5)) * math.cos(math.pi * 0.1) ** 3
    assert torch.allclose(halved(wave)[5, 2:-2], middle[2:-2], atol=1e-5)


@pytest.mark.parametrize("pixel_size", [0.55, 0.9])
def test_fine_frames_are_halved_without_harm(movie, pixel_size):
    frames, truth = movie(size=(760, 820), pixel_size=pixel_size, contrast=0.12, scale=0.6)
    found = estimate_motion(frames, WHOLE, pixel_size=pixel_size)
    assert error(found.motion, truth, pixel_size) < 0.3
