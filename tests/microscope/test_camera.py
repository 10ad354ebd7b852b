"""The camera: its curves hang together, single electrons and curves agree, and closed forms come out."""

import inspect
import math
from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data.camera import Camera, Response
from cryowalk.fourier.transform import to_fourier
from cryowalk.microscope.camera import (
    CAMERAS,
    binned,
    corrected,
    defects,
    expected_image,
    gain_reference,
    noise_transfer,
    raw_frames,
    record,
    record_raw,
    tem_simulator_camera,
)
from cryowalk.microscope.detector_curves import (
    coincidence_efficiency,
    coincidence_loss,
    deposit_efficiency,
    dose_rate_for_loss,
    dqe_of,
    mtf_of,
    noise_transfer_of,
    require_curve,
    response_at,
    rullgard_response,
    square_pixel_response,
    square_pixel_transfer,
    transfer,
)
from cryowalk.microscope.detector_events import drawn_deposits, effective_dqe, located_events
from cryowalk.microscope.detector_measurement import measured_dqe, noise_power_spectrum

CURVED = Camera(
    mtf=Response(frequency=(0.0, 0.1, 0.3, 0.5), value=(1.0, 0.92, 0.6, 0.35)),
    dqe=Response(frequency=(0.0, 0.25, 0.5), value=(0.82, 0.6, 0.25)),
    gain=3.2,
)


def flat(value, size=(512, 480), count=1):
    return torch.full((count, *size), float(value))


def assert_same_curve(found, wanted, *, pixels, flats):
    """Every ring within what its number of independent coefficients allows, and bands of eight rings within 2 %."""
    ratio = torch.tensor(found.value) / response_at(wanted, torch.tensor(found.frequency)) - 1
    rings = torch.arange(len(ratio))
    number = math.pi / 2 * pixels * (flats - 1) * (2 * rings + 1) / (2 * len(ratio)) ** 2
    assert (ratio.abs() < 0.01 + 4.5 / number.sqrt()).all(), ratio
    for first in range(0, len(ratio), 8):
        band = slice(first, first + 8)
        assert abs((ratio * number)[band].sum() / number[band].sum()) < max(0.02, 4 / number[band].sum().sqrt())


# ---- curves


def test_each_of_the_three_curves_follows_from_the_other_two():
    k = torch.linspace(0, 0.7, 50, dtype=torch.float64)
    noise = noise_transfer_of(CURVED.mtf, CURVED.dqe)
    torch.testing.assert_close(response_at(dqe_of(CURVED.mtf, noise), k), response_at(CURVED.dqe, k), atol=2e-4, rtol=0)
    torch.testing.assert_close(response_at(mtf_of(CURVED.dqe, noise), k), response_at(CURVED.mtf, k), atol=2e-4, rtol=0)
    assert noise_transfer(CURVED) == noise
    torch.testing.assert_close(response_at(noise, k)[0], torch.tensor(1 / math.sqrt(0.82), dtype=torch.float64))


def test_a_square_pixel_at_nyquist():
    half = torch.tensor(0.5, dtype=torch.float64)
    zero = torch.zeros_like(half)
    assert square_pixel_transfer(half, zero).item() == pytest.approx(2 / math.pi, abs=1e-12)
    assert square_pixel_transfer(half, zero).item() ** 2 == pytest.approx(0.4052847, abs=1e-7)
    assert square_pixel_transfer(half / math.sqrt(2), half / math.sqrt(2)).item() == pytest.approx(0.6508, abs=5e-5)
    assert square_pixel_transfer(half, half).item() == pytest.approx(0.405, abs=5e-4)
    assert response_at(square_pixel_response(), half).item() == pytest.approx(0.6366198, abs=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (9, 9), (8, 9), (9, 8)])
def test_the_curves_on_a_spectrum_are_those_at_its_frequencies(size):
    curves = transfer(replace(CURVED, sampling=2, pixel="square"), size, dtype=torch.float64)
    ky, kx = torch.fft.fftfreq(size[0], dtype=torch.float64)[:, None] * 2, torch.fft.rfftfreq(size[1], dtype=torch.float64) * 2
    radius, pixel = torch.hypot(kx, ky), torch.sinc(kx) * torch.sinc(ky)
    torch.testing.assert_close(curves.signal, response_at(CURVED.mtf, radius) * pixel)
    torch.testing.assert_close(curves.efficiency, response_at(CURVED.dqe, radius) * pixel**2)
    torch.testing.assert_close(curves.noise, response_at(CURVED.mtf, radius) / response_at(CURVED.dqe, radius).sqrt())


def test_tem_simulators_modulation_transfer():
    k = torch.tensor([0.0, 0.25, 0.5], dtype=torch.float64)
    curve = response_at(rullgard_response(0.7, 0.2, 0.1, alpha=10, beta=40), k)
    expected = 0.7 / (1 + 10 * k**2) + 0.2 / (1 + 40 * k**2) + 0.1
    torch.testing.assert_close(curve, expected, atol=1e-5, rtol=0)
    assert set(rullgard_response(0, 0, 1, alpha=0, beta=0).value) == {1.0}  # its defaults
    steep = response_at(rullgard_response(1, 0, 0, alpha=10, beta=0, p=2), k)
    y = (1 + 10 * k**2) ** -2.0
    torch.testing.assert_close(steep, 4 * y / (2 + 2 * y), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "frequency", "value"),
    [("k2", 0.25, 0.73326), ("k2", 0.1, 0.89885), ("falcon4ec", 0.25, 0.53484), ("falcon3ec", 0.25, 0.57237)],
)
def test_presets_agree_with_relions_curves(name, frequency, value):
    k = torch.tensor(frequency, dtype=torch.float64)
    assert response_at(CAMERAS[name].mtf, k).item() == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("name", ["k2", "k3", "falcon3ec", "falcon4ec"])
def test_presets_fall_beyond_nyquist_and_their_noise_does_not(name):
    k = torch.linspace(0, 1, 400, dtype=torch.float64)
    camera = CAMERAS[name]
    for curve in (camera.mtf, camera.dqe):
        assert (response_at(curve, k).diff() <= 1e-12).all()
    noise = response_at(noise_transfer(camera), k[k >= 0.5])
    assert noise.max() / noise.min() < 1.03
    assert response_at(camera.mtf, k[-1]) < 0.1


def test_the_k2_preset_is_the_whole_curve_that_relion_distributes(real_data):
    lines = (real_data / "mtf" / "mtf_k2_300kV.star").read_text().splitlines()
    rows = torch.tensor([[float(number) for number in line.split()] for line in lines if line[:1].isdigit()], dtype=torch.float64)
    rows = rows[rows[:, 0] >= 0.0125]
    torch.testing.assert_close(response_at(CAMERAS["k2"].mtf, rows[:, 0]), rows[:, 1], atol=0.008, rtol=0)


@pytest.mark.parametrize(
    "curve",
    [
        Response(frequency=(0.0, 0.5), value=(1.0,)),
        Response(frequency=(), value=()),
        Response(frequency=(0.5, 0.0), value=(1.0, 0.5)),
        Response(frequency=(0.0, 0.5), value=(1.0, -0.1)),
        Response(frequency=(0.0, 0.5), value=(1.0, float("nan"))),
    ],
)
def test_what_is_no_curve_is_refused(curve):
    with pytest.raises(UsageError):
        require_curve("the curve", curve)
    with pytest.raises(UsageError):
        record(flat(1, (8, 8)), Camera(mtf=curve), generator=torch.Generator())


@pytest.mark.parametrize(
    "camera",
    [
        Camera(mtf=Response(frequency=(0.0, 0.5), value=(0.9, 0.5))),
        Camera(dqe=Response(frequency=(0.0, 0.5), value=(1.2, 0.5))),
        Camera(dqe=Response(frequency=(0.0, 0.5), value=(0.0, 0.5))),
        Camera(dqe=Response(frequency=(0.0, 0.3), value=(0.9, 0.0))),
        Camera(gain=0.0),
        Camera(readout_noise=-1.0),
        Camera(frame_rate=400.0, dose_rate=-3.0),
        Camera(frame_rate=400.0, dose_rate=3.0, coincidence_area=2.0),
        Camera(model="events", mode="integrating", deposit_deviation=0.5),
        Camera(model="events", mode="integrating", deposit="moyal"),
    ],
)
def test_impossible_cameras_are_refused(camera):
    with pytest.raises(UsageError):
        record(flat(1, (16, 16)), camera, generator=torch.Generator())


# ---- recording


@pytest.mark.parametrize(
    "camera",
    [
        CURVED,
        CAMERAS["falcon4ec"],
        CAMERAS["k2"],
        replace(CURVED, sampling=2),
        Camera(dqe=Response(frequency=(0.0, 0.5), value=(0.5, 0.5))),
        Camera(mtf=CURVED.mtf),
    ],
    ids=["curved", "falcon4", "k2", "super-resolution", "flat dqe", "mtf alone"],
)
def test_the_dqe_that_was_set_comes_out(camera, generator):
    dose = 12.0
    flats = record(flat(dose, (768, 768), 4), camera, generator=generator)
    power = noise_power_spectrum(flats, bins=32)
    # Frequencies of the image are those of the camera's pixels times its sampling.
    power = Response(frequency=tuple(camera.sampling * k for k in power.frequency), value=power.value)
    found = measured_dqe(camera.mtf, power, gain=camera.gain, dose=dose)
    assert_same_curve(found, camera.dqe, pixels=768**2, flats=4)
    assert flats.mean().item() == pytest.approx(dose * camera.gain, rel=0.005)


@pytest.mark.parametrize(
    "camera", [CURVED, replace(CURVED, pixel="square"), CAMERAS["square_pixel"]], ids=["curve", "both", "square"]
)
def test_the_mean_of_many_records_is_the_expected_image(camera, generator):
    wave = 2 + torch.cos(2 * math.pi * (3 * torch.arange(24.0) / 24 + 5 * torch.arange(24.0)[:, None] / 24))
    mean = record(wave.expand(20000, 24, 24), camera, generator=generator).mean(0)
    wanted = expected_image(wave, camera)
    torch.testing.assert_close(mean, wanted, atol=6 * camera.gain * math.sqrt(2 / 0.8 / 20000), rtol=0)
    k = torch.tensor([3 / 24, 5 / 24])
    factor = response_at(camera.mtf, k.norm()) * (torch.sinc(k).prod() if camera.pixel == "square" else 1)
    contrast = to_fourier(wanted)[5, 3].abs() / to_fourier(wave)[5, 3].abs()
    assert contrast.item() == pytest.approx(camera.gain * factor.item(), rel=1e-4)


def test_frames_of_a_fractionated_dose_sum_to_poisson_counts(generator):
    total = sum(record(flat(0.2, (400, 400))[0], Camera(), generator=generator) for _ in range(30))
    assert total.mean().item() == pytest.approx(6, rel=0.005)
    assert (total.var() / total.mean()).item() == pytest.approx(1, abs=0.02)


def test_a_square_pixel_blurs_the_signal_and_leaves_the_noise_white(generator):
    flats = record(flat(5, (512, 512), 4), CAMERAS["square_pixel"], generator=generator)
    white = Response(frequency=(0.0, 0.5), value=(5.0, 5.0))
    assert_same_curve(noise_power_spectrum(flats, bins=16), white, pixels=512**2, flats=4)
    assert torch.equal(flats, flats.round())


def test_a_seed_is_a_record_and_the_input_is_left_alone():
    image = flat(2, (33, 40))[0]
    kept = image.clone()
    first = record(image, CURVED, generator=torch.Generator().manual_seed(4))
    assert torch.equal(first, record(image, CURVED, generator=torch.Generator().manual_seed(4)))
    assert not torch.equal(first, record(image, CURVED, generator=torch.Generator().manual_seed(5)))
    assert torch.equal(image, kept)
    assert first.dtype == torch.float32
    assert record(image.double()[None, None], CURVED, generator=torch.Generator()).shape == (1, 1, 33, 40)


def test_a_camera_without_noise_records_the_expected_image(generator):
    image = torch.rand(17, 18, generator=generator) + 1
    camera = replace(CURVED, noise="none", readout_noise=3.0)
    assert torch.equal(record(image, camera, generator=generator), expected_image(image, camera))


def test_readout_noise_is_added_in_output_units(generator):
    noisy = record(flat(0, (300, 300))[0], Camera(gain=7, readout_noise=2.5), generator=generator)
    assert noisy.std().item() == pytest.approx(2.5, rel=0.02)
    assert abs(noisy.mean().item()) < 0.05


def test_negative_expectations_count_as_zero_and_what_is_not_finite_is_refused(generator):
    assert (record(flat(-2, (9, 9)), Camera(), generator=generator) == 0).all()
    with pytest.raises(InputError, match="finite"):
        record(flat(float("nan"), (9, 9)), Camera(), generator=generator)
    with pytest.raises(InputError, match="finite"):
        record(flat(float("inf"), (9, 9)), CURVED, generator=generator)


def test_the_expected_image_has_a_gradient():
    image = torch.rand(6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    torch.autograd.gradcheck(lambda x: expected_image(x, replace(CURVED, pixel="square")), (image,))


# ---- counting


def test_coincidence_loss_has_its_closed_form():
    assert coincidence_loss(0.1) == pytest.approx(0.0484, abs=5e-5)
    assert coincidence_loss(0) == 0
    assert coincidence_loss(1e-9) == pytest.approx(5e-10, rel=1e-4)
    assert coincidence_efficiency(0.1) == pytest.approx(0.95083, abs=1e-5)
    rate = dose_rate_for_loss(0.0484, frame_rate=400, coincidence_area=4)
    assert rate == pytest.approx(0.1 * 400 / 4, rel=1e-3)


@pytest.mark.parametrize("model", ["effective", "events", "electron by electron"])
@pytest.mark.parametrize(("sampling", "area"), [(1, 1.0), (2, 1.0), (1, 4.0)])
def test_coincidence_in_both_models(model, sampling, area, generator):
    """0.1 electrons per pixel and raw frame: the fast law, and the electrons themselves."""
    camera = Camera(frame_rate=400, dose_rate=40, sampling=sampling, coincidence_area=area)
    assert raw_frames(4.0, camera) == 40
    expected = flat(4 / sampling**2, (512, 512), 8)
    if model == "electron by electron":
        frames = located_events(expected, camera, raw_frames=40, generator=generator)
    else:
        frames = record(expected, replace(camera, model=model), generator=generator)
    loss = 1 - frames.double().mean().item() * sampling**2 / 4
    assert loss == pytest.approx(coincidence_loss(0.1 * area), abs=0.001)
    # Cells of the coincidence area count binomial numbers: less noise than Poisson, and no correlation beyond the cell.
    side = round(sampling * area**0.5)
    cells = torch.nn.functional.avg_pool2d(frames, side) * side**2
    assert (cells.var() / cells.mean()).item() == pytest.approx(math.exp(-0.1 * area), rel=0.01)
    slope = math.exp(-0.1 * area)  # of the mean count with the dose
    dqe = 4 * area * slope**2 / cells.double().var().item()
    assert dqe == pytest.approx(coincidence_efficiency(0.1 * area), rel=0.01)


def test_coincidence_spares_the_dim_and_counts_by_the_pixel(generator):
    image = torch.full((400, 400), 2.0)
    image[:, 200:] = 6.0  # mean 4 electrons in 40 raw frames: 0.05 and 0.15 a frame
    camera = Camera(frame_rate=400, dose_rate=40)
    for frames in (record(image, camera, generator=generator), located_events(image, camera, raw_frames=40, generator=generator)):
        assert 1 - frames[:, :200].mean().item() / 2 == pytest.approx(coincidence_loss(0.05), abs=0.01)
        assert 1 - frames[:, 200:].mean().item() / 6 == pytest.approx(coincidence_loss(0.15), abs=0.01)


def test_without_a_dose_rate_there_is_no_coincidence(generator):
    frames = record(flat(4, (400, 400)), Camera(frame_rate=400), generator=generator)
    assert frames.mean().item() == pytest.approx(4, rel=0.01)
    with pytest.raises(UsageError, match="dose rate"):
        raw_frames(1.0, Camera(frame_rate=400))


def test_a_counting_camera_event_by_event_has_the_dqe_that_is_stated(generator):
    camera = replace(CURVED, model="events")
    flats = record(flat(9, (512, 512), 4), camera, generator=generator)
    found = measured_dqe(camera.mtf, noise_power_spectrum(flats, bins=16), gain=camera.gain, dose=9)
    assert_same_curve(found, effective_dqe(camera), pixels=512**2, flats=4)


def test_super_resolution_is_cropped_to_camera_pixels_by_fourier(generator):
    frames = record(flat(1.5, (256, 260), 20), Camera(sampling=2), generator=generator)
    small = binned(frames, 2)
    assert small.shape == (20, 128, 130)
    torch.testing.assert_close(small.sum((-2, -1)), frames.sum((-2, -1)), rtol=1e-5, atol=0)
    white = Response(frequency=(0.0, 0.5), value=(6.0, 6.0))
    assert_same_curve(noise_power_spectrum(small, bins=8), white, pixels=128 * 130, flats=20)
    with pytest.raises(ShapeError, match="multiples"):
        binned(frames, 3)


# ---- integrating


@pytest.mark.parametrize(
    ("deposit", "deviation", "efficiency"),
    [("exponential", 1.0, 0.5), ("moyal", 0.5, 0.8), ("wald", 0.7, 1 / 1.49), ("wald", 0.0, 1.0)],
)
def test_deposits_set_the_efficiency_at_zero_frequency(deposit, deviation, efficiency, generator):
    camera = Camera(mode="integrating", model="events", deposit=deposit, deposit_deviation=deviation, gain=2.0, mtf=CURVED.mtf)
    assert deposit_efficiency(deviation) == pytest.approx(efficiency)
    deposits = drawn_deposits(400_000, camera, generator=generator).double()
    assert deposits.mean().item() == pytest.approx(1, abs=0.01)
    assert deposits.std().item() == pytest.approx(deviation, abs=0.01)
    flats = record(flat(3, (512, 512), 4), camera, generator=generator)
    found = measured_dqe(camera.mtf, noise_power_spectrum(flats, bins=32), gain=2.0, dose=3)
    assert_same_curve(found, effective_dqe(camera), pixels=512**2, flats=4)
    assert effective_dqe(camera).value[0] == pytest.approx(efficiency)


def test_deposits_are_skewed_as_landaus_law_is(generator):
    camera = Camera(mode="integrating", model="events", deposit="moyal", deposit_deviation=0.5)
    deposits = drawn_deposits(400_000, camera, generator=generator).double()
    skewness = ((deposits - 1) ** 3).mean().item() / 0.5**3
    assert skewness == pytest.approx(1.5351, abs=0.05)  # 28 √2 ζ(3)/π³ of Moyal's law
    assert (deposits < 0).double().mean().item() < 1e-3


def test_tem_simulators_detector(generator):
    camera = tem_simulator_camera(
        gain=32, dqe=0.5, use_quantization="yes", mtf=rullgard_response(0.7, 0.2, 0.1, alpha=10, beta=40)
    )
    flats = record(flat(4, (512, 512), 4), camera, generator=generator)
    assert flats.mean().item() == pytest.approx(128, rel=0.005)
    found = measured_dqe(camera.mtf, noise_power_spectrum(flats, bins=32), gain=32, dose=4)
    assert_same_curve(found, camera.dqe, pixels=512**2, flats=4)
    still = tem_simulator_camera(gain=32, dqe=0.5, use_quantization="no")
    assert (record(flat(4, (8, 8)), still, generator=generator) == 128).all()
    with pytest.raises(UsageError):
        tem_simulator_camera(gain=32, dqe=1.5, use_quantization="yes")


# ---- flaws


@pytest.mark.parametrize("size", [(64, 80), (65, 81), (7, 9)])
def test_a_gain_reference_has_the_mean_and_deviation_asked_for(size, generator):
    reference = gain_reference(size, deviation=0.05, generator=generator)
    assert reference.shape == size
    assert reference.mean().item() == pytest.approx(1, abs=1e-5)
    assert reference.std().item() == pytest.approx(0.05, rel=0.1)
    assert (reference > 0).all()


def test_a_gain_reference_has_sectors_a_smooth_part_and_single_pixels(generator):
    reference = gain_reference((256, 256), deviation=0.05, generator=generator)
    by_sector = torch.nn.functional.avg_pool2d(reference[None, None], (128, 32)).std().item()
    assert by_sector > 10 * 0.05 / math.sqrt(128 * 32)  # far more than pixels alone would leave
    assert (reference - reference.roll(1, 1)).std().item() > 0.04


@pytest.mark.parametrize(
    "camera", [Camera(), Camera(mode="integrating", gain=5), CURVED], ids=["counting", "integrating", "curved"]
)
def test_correcting_a_raw_frame_gives_the_record_without_flaws(camera, generator):
    image = flat(40, (200, 240))[0]
    reference = gain_reference((200, 240), deviation=0.2, generator=generator)
    broken = defects((200, 240), generator=generator, columns=2)
    raw = sum(record_raw(image, camera, gain_reference=reference, defects=broken, generator=generator) for _ in range(30)) / 30
    assert (raw[broken.is_defective] == broken.value[broken.is_defective]).all()
    repaired = corrected(raw, reference, defects=broken)
    assert repaired.mean().item() == pytest.approx(40 * camera.gain, rel=0.01)
    fine = ~broken.is_defective
    ideal = torch.stack([record(image, camera, generator=generator) for _ in range(30)]).mean(0)
    assert repaired[fine].std().item() == pytest.approx(ideal.std().item(), rel=0.1)
    assert repaired[fine].std().item() < 0.5 * raw[fine].std().item()
    assert repaired[broken.is_defective].mean().item() == pytest.approx(40 * camera.gain, rel=0.03)
    if camera.gain == camera.dqe.value[0]:
        single = record_raw(image, camera, gain_reference=reference, generator=generator)
        assert torch.equal(single, single.round())


def test_defects_are_as_many_as_asked_for(generator):
    broken = defects((50, 60), generator=generator, dead=7, hot=5, columns=2, hot_value=99.0)
    assert broken.is_defective.sum().item() >= 2 * 50 + 5
    assert broken.is_defective.sum().item() <= 2 * 50 + 12
    assert 3 <= (broken.value == 99).sum().item() <= 5
    assert not defects((9, 8), generator=generator, dead=0, hot=0, columns=0).is_defective.any()


def test_pixels_that_a_gain_reference_marks_are_filled_from_their_neighbours():
    reference = torch.ones(20, 21)
    reference[5, 6], reference[:, 11], reference[10:17, 2:9] = 0.0, float("nan"), float("inf")
    raw = torch.arange(21.0).expand(2, 20, 21)
    filled = corrected(raw, reference)
    torch.testing.assert_close(filled[0, 5, 6].item(), 6.0, atol=0.5, rtol=0)
    torch.testing.assert_close(filled[1, :, 11], torch.full((20,), 11.0), atol=0.6, rtol=0)
    assert torch.isfinite(filled).all()
    assert torch.equal(filled[:, :, 13:], raw[:, :, 13:])


def test_a_reference_of_another_size_is_refused(generator):
    # The tests' checker of shapes would be first: what a user meets is behind it.
    with pytest.raises(ShapeError, match="another"):
        inspect.unwrap(corrected)(torch.ones(8, 9), torch.ones(9, 8))
    with pytest.raises(ShapeError):
        inspect.unwrap(record_raw)(torch.ones(8, 9), Camera(), gain_reference=torch.ones(9, 8), generator=generator)
    with pytest.raises(ShapeError, match="two axes"):
        inspect.unwrap(record)(torch.ones(5), Camera(), generator=generator)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("model", ["effective", "events"])
@pytest.mark.parametrize("mode", ["counting", "integrating"])
def test_on_a_gpu_the_camera_is_the_same(model, mode):
    camera = replace(CURVED, model=model, mode=mode, frame_rate=400.0, dose_rate=40.0)
    flats = record(flat(4, (256, 256), 4).cuda(), camera, generator=torch.Generator().manual_seed(1)).cpu()
    others = record(flat(4, (256, 256), 4), camera, generator=torch.Generator().manual_seed(1))
    assert flats.mean().item() == pytest.approx(others.mean().item(), rel=0.01)
    assert flats.var().item() == pytest.approx(others.var().item(), rel=0.03)
