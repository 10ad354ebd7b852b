"""A camera's curves, measured from images of it, are those that it was given."""

import math
from dataclasses import replace

import pytest
import torch

from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data.camera import Camera, Response
from cryowalk.fourier.transform import to_fourier
from cryowalk.microscope.camera import CAMERAS, gain_reference, record, record_raw
from cryowalk.microscope.detector_curves import response_at, square_pixel_response, transfer
from cryowalk.microscope.detector_measurement import (
    edge_profile,
    gain_of_flats,
    gain_over_efficiency,
    gain_reference_of_flats,
    line_spread,
    measured_dqe,
    modulation_transfer,
    noise_power_spectrum,
    point_spread,
    slanted_edge,
)

CURVED = Camera(
    mtf=Response(frequency=(0.0, 0.1, 0.3, 0.5), value=(1.0, 0.92, 0.6, 0.35)),
    dqe=Response(frequency=(0.0, 0.25, 0.5), value=(0.82, 0.6, 0.25)),
    gain=3.2,
)


def curve_of(image, **choices):
    profile = edge_profile(image, **choices)
    mtf = modulation_transfer(profile)
    return profile, torch.tensor(mtf.frequency, dtype=torch.float64), torch.tensor(mtf.value, dtype=torch.float64)


@pytest.mark.parametrize("degrees", [2.0, 5.0, -7.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_slanted_edge_gives_the_pixels_transfer(degrees, sign):
    angle = math.radians(degrees)
    profile, k, found = curve_of(10 + sign * slanted_edge((301, 240), angle=angle))
    assert profile.angle == pytest.approx(angle, abs=1e-4)
    to_nyquist = k <= 0.5
    wanted = torch.sinc(k * math.cos(angle)) * torch.sinc(k * math.sin(angle))
    torch.testing.assert_close(found[to_nyquist], wanted[to_nyquist], rtol=0.01, atol=0)
    torch.testing.assert_close(found[to_nyquist], torch.sinc(k)[to_nyquist], rtol=0.02, atol=0)


def test_a_slanted_edge_with_the_noise_of_counted_electrons(generator):
    edge = record(slanted_edge((1500, 128), angle=math.radians(4)) * 4000 + 20, Camera(), generator=generator)
    _, k, found = curve_of(edge, reach=16)
    low = k <= 0.5
    torch.testing.assert_close(found[low], torch.sinc(k)[low], rtol=0.02, atol=0)


def test_the_edge_is_the_lit_part_of_each_pixel():
    fine, angle = 40, math.radians(6)
    sharp = slanted_edge((20, 24), angle=angle)
    offsets = (torch.arange(fine, dtype=torch.float64) + 0.5) / fine - 0.5
    y = torch.arange(20, dtype=torch.float64)[:, None, None, None] - 9.5 + offsets[None, None, :, None]
    x = torch.arange(24, dtype=torch.float64)[None, :, None, None] - 11.5 + offsets
    lit = (x * math.cos(angle) + y * math.sin(angle) > 0).double().mean((-1, -2))
    torch.testing.assert_close(sharp.double(), lit, atol=0.02, rtol=0)
    soft = slanted_edge((20, 24), angle=angle, blur=1.3)
    blurred = 0.5 * torch.erfc(-(x * math.cos(angle) + y * math.sin(angle)) / (1.3 * math.sqrt(2)))
    torch.testing.assert_close(soft.double(), blurred.mean((-1, -2)), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        slanted_edge((9, 9), angle=0.0), (torch.arange(9) >= 4).float().sub(0.5 * (torch.arange(9) == 4)).expand(9, 9)
    )


def test_gain_dose_edge_and_flat_fields_give_the_dqe_that_was_set(generator):
    """The whole measurement, as a facility does it: an edge for the MTF, flat fields for the noise, a known dose for the gain."""
    dose = 200.0
    flats = record(torch.full((6, 768, 768), dose), CURVED, generator=generator)
    edge = record(slanted_edge((1200, 180), angle=math.radians(4)) * 2e5, CURVED, generator=generator)
    _, k, measured = curve_of(edge, reach=40)
    mtf = measured / torch.sinc(k)
    # The filter acts on pixels: what a sharp edge has beyond Nyquist was folded back before it, and meets the curve at a wrong frequency.
    low = k < 0.5
    torch.testing.assert_close(mtf[low], response_at(CURVED.mtf, k)[low], rtol=0.02, atol=0)
    gain = gain_of_flats(flats, dose=dose)
    assert gain == pytest.approx(3.2, rel=1e-3)
    noise = noise_power_spectrum(flats, bins=16)
    dqe = measured_dqe(Response(frequency=tuple(k.tolist()), value=tuple(mtf.tolist())), noise, gain=gain, dose=dose)
    ratio = torch.tensor(dqe.value) / response_at(CURVED.dqe, torch.tensor(dqe.frequency))
    assert (ratio - 1).abs().mean() < 0.02
    assert (ratio - 1)[1:].abs().max() < 0.03  # the first ring has only some thousand coefficients


@pytest.mark.parametrize("name", ["k2", "falcon3ec", "falcon4ec"])
def test_the_edge_is_found_where_a_filter_wrapped_the_image_round(name, generator):
    angle = math.radians(4)
    edge = record(slanted_edge((600, 140), angle=angle) * 1e5, CAMERAS[name], generator=generator)
    profile, k, measured = curve_of(edge)
    assert profile.angle == pytest.approx(angle, abs=2e-3)
    low = k < 0.45
    torch.testing.assert_close((measured / torch.sinc(k))[low], response_at(CAMERAS[name].mtf, k)[low], atol=0.03, rtol=0)


def test_what_is_no_edge_is_refused():
    with pytest.raises(InputError, match="no edge"):
        edge_profile(torch.ones(64, 64))
    with pytest.raises(InputError, match="less than two pixels"):
        edge_profile(slanted_edge((200, 100), angle=0.0))
    with pytest.raises(InputError, match="leaves the image"):
        edge_profile(slanted_edge((400, 40), angle=math.radians(5)))


def test_the_line_spreads_transform_is_a_slice_of_the_modulation_transfer():
    for size in ((64, 64), (65, 63), (48, 49)):
        for camera in (CAMERAS["k2"], CAMERAS["square_pixel"], replace(CURVED, pixel="square")):
            line = line_spread(camera, size)
            slice_of_mtf = transfer(camera, size, dtype=torch.float64).signal[0]
            spectrum = to_fourier(line, dimensions=1) * math.sqrt(size[1])
            torch.testing.assert_close(spectrum.real, slice_of_mtf, atol=1e-12, rtol=0)
            assert spectrum.imag.abs().max() < 1e-12
            assert point_spread(camera, size).sum().item() == pytest.approx(1, abs=1e-12)


def test_a_line_spread_is_no_point_spread():
    """Blurring an image along one axis with the line spread is another thing than blurring it in two dimensions."""
    point = point_spread(CAMERAS["k2"], (64, 64))
    line = line_spread(CAMERAS["k2"], (64, 64))
    outer = line[:, None] * line
    assert (point - outer).abs().max() > 0.01
    square = line_spread(CAMERAS["square_pixel"], (64, 64))
    torch.testing.assert_close(
        point_spread(CAMERAS["square_pixel"], (64, 64)), square[:, None] * square
    )  # separable: the exception


@pytest.mark.parametrize("shape", [(4, 128, 100), (3, 99, 101)])
def test_white_noise_has_a_flat_spectrum(shape, generator):
    flats = 50 + 1.7 * torch.randn(*shape, generator=generator) + torch.linspace(0, 9, shape[2])  # the ramp is a fixed pattern
    power = torch.tensor(noise_power_spectrum(flats, bins=6).value)
    torch.testing.assert_close(power, torch.full((6,), 1.7**2), rtol=0.12, atol=0)
    assert power.mean().item() == pytest.approx(1.7**2, rel=0.04)
    with pytest.raises(ShapeError, match="two flat fields"):
        noise_power_spectrum(flats[:1])


def test_the_gain_from_noise_needs_the_efficiency(generator):
    camera = Camera(
        gain=4.0, mtf=Response(frequency=(0.0, 0.1, 0.5), value=(1.0, 1.0, 0.3)), dqe=Response(frequency=(0.0,), value=(0.8,))
    )
    flats = record(torch.full((6, 512, 512), 30.0), camera, generator=generator)
    assert gain_over_efficiency(flats) == pytest.approx(4 / 0.8, rel=0.03)
    assert gain_of_flats(flats, dose=30) == pytest.approx(4, rel=1e-3)
    with pytest.raises(ShapeError):
        gain_over_efficiency(flats[:1])


def test_a_gain_reference_is_found_from_flat_fields(generator):
    reference = gain_reference((60, 70), deviation=0.1, generator=generator)
    flats = record_raw(torch.full((50, 60, 70), 100.0), Camera(), gain_reference=reference, generator=generator)
    flats[:, 4, 5] = 0
    found = gain_reference_of_flats(flats)
    assert found[4, 5] == 0
    found[4, 5] = reference[4, 5]
    flats[:, 4, 5] = 100 / reference[4, 5]
    assert (found / reference).std().item() == pytest.approx(1 / math.sqrt(50 * 100), rel=0.1)
    corrected_flats = flats.mean(0) * found
    assert corrected_flats.std() < 0.003 * corrected_flats.mean()


def test_impossible_measurements_are_refused():
    noise = Response(frequency=(0.1, 0.4), value=(1.0, 0.0))
    with pytest.raises(UsageError, match="zero"):
        measured_dqe(square_pixel_response(), noise, gain=1.0, dose=1.0)
    with pytest.raises(UsageError, match="dose"):
        measured_dqe(square_pixel_response(), noise, gain=1.0, dose=0.0)
