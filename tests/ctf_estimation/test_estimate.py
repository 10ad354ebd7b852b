import math
from dataclasses import replace

import pytest
import torch
from tests.ctf_estimation.conftest import defocus_of, white

from cryowalk import Optics, fourier
from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.ctf_estimation import estimate_ctf, estimate_thickness, power_spectrum
from cryowalk.ctf_estimation.quality import equiphase_average, flattened_picture
from cryowalk.ctf_estimation.rings import half_plane
from cryowalk.ctf_estimation.search import oscillation
from cryowalk.ctf_estimation.settings import CtfSettings
from cryowalk.ctf_estimation.spectrum import PowerSpectrum, spectrum_of_picture


def angle_between(first, second):
    """The difference of two axes, rad."""
    return abs((first - second + math.pi / 2) % math.pi - math.pi / 2)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("defocus", [6000.0, 12000.0, 19500.0, 32000.0])
def test_defocus_astigmatism_and_azimuth_are_found(film, titan, defocus, seed):
    astigmatism, azimuth = 300.0 + 150.0 * seed, 0.3 + 0.7 * seed
    image = film(768, titan, defocus_of(defocus, astigmatism=astigmatism, azimuth=azimuth), seed=seed)
    found = estimate_ctf(power_spectrum(image, pixel_size=1.4), titan)
    assert abs(found.mean_defocus - defocus) < 40
    assert abs(found.astigmatism - astigmatism) < 60
    assert angle_between(float(found.defocus.azimuth[0]), azimuth) < math.radians(5)
    assert found.is_good
    assert found.resolution < 4.5
    assert abs(found.mean_defocus - defocus) < 6 * found.deviation + 15


def test_the_standard_error_is_that_of_repeated_films(film, titan):
    errors, claimed = [], []
    for seed in range(20):
        found = estimate_ctf(power_spectrum(film(768, titan, defocus_of(15000.0), seed=seed, noise=2.5), pixel_size=1.4), titan)
        errors.append(found.mean_defocus - 15000.0)
        claimed.append(found.deviation)
    spread = float(torch.tensor(errors).pow(2).mean().sqrt())
    assert 0.5 < spread / (sum(claimed) / len(claimed)) < 2.5


def test_a_phase_plate_is_fitted_where_asked(film, titan):
    image = film(1024, titan, defocus_of(9000.0, phase_shift=math.pi / 2))
    found = estimate_ctf(power_spectrum(image, pixel_size=1.4), titan, CtfSettings(phase_shift="fit"))
    assert abs(found.mean_defocus - 9000.0) < 60
    assert abs(float(found.defocus.phase_shift[0]) - math.pi / 2) < 0.12


def test_a_wrong_amplitude_contrast_hides_in_the_defocus(film, titan):
    image = film(1024, replace(titan, amplitude_contrast=0.07), defocus_of(15000.0))
    spectrum = power_spectrum(image, pixel_size=1.4)
    right = estimate_ctf(spectrum, titan).mean_defocus
    wrong = estimate_ctf(spectrum, replace(titan, amplitude_contrast=0.10)).mean_defocus
    assert -60 < wrong - right < -3


@pytest.mark.parametrize("mean", [30.0, 90.0, 135.0])
def test_phase_shifts_are_looked_for_in_their_range(film, titan, mean):
    true = math.radians(mean)
    spectrum = power_spectrum(film(1024, titan, defocus_of(12000.0, phase_shift=true)), pixel_size=1.4)
    settings = CtfSettings(phase_shift="fit", phase_shift_range_degrees=(mean - 25, mean + 25))
    found = estimate_ctf(spectrum, titan, settings)
    assert abs(float(found.defocus.phase_shift[0]) - true) < 0.12
    assert abs(found.mean_defocus - 12000.0) < 60


def test_the_rings_of_ice_can_be_left_out(titan):
    side, length = 512, 512 * 1.4
    ky, kx = half_plane(side)
    frequency = torch.hypot(kx, ky) / length
    rings = (1 + oscillation(frequency, torch.tensor(14000.0, dtype=torch.float64), optics=titan)) / 2 + 0.5
    ice = 6.0 * torch.exp(-(((frequency - 1 / 3.68) / 0.006) ** 2) / 2)
    spectrum = PowerSpectrum(rings + ice, 1.4)
    kept, left = (estimate_ctf(spectrum, titan, CtfSettings(exclude_ice=choice)) for choice in ("no", "yes"))
    assert abs(left.mean_defocus - 14000.0) < 2
    assert abs(left.mean_defocus - 14000.0) < abs(kept.mean_defocus - 14000.0)


@pytest.mark.parametrize("strength", [0.6, -0.6])
def test_noise_that_depends_on_direction_turns_no_axis(film, titan, strength):
    defocus = defocus_of(16000.0, astigmatism=400.0, azimuth=0.2)
    angles = []
    for seed in range(4):
        image = film(768, titan, defocus, noise=0.0, seed=seed)
        spectrum = fourier.to_fourier(white(768, seed + 500))
        ky, kx = (part / (768 * 1.4) for part in half_plane(768))
        shape = torch.exp(strength * torch.cos(2 * (torch.atan2(ky, kx) - 0.9)) * torch.hypot(kx, ky) / 0.3)
        noisy = image + 2.0 * fourier.to_real(spectrum * shape, width=768).float()
        found = estimate_ctf(power_spectrum(noisy, pixel_size=1.4), titan)
        angles.append(float(found.defocus.azimuth[0]))
        assert abs(found.astigmatism - 400.0) < 100
    assert abs(sum(angles) / len(angles) - 0.2) < math.radians(3)


@pytest.mark.parametrize("seed", range(5))
def test_pure_noise_is_doubted(titan, seed):
    found = estimate_ctf(power_spectrum(white(1024, seed).float(), pixel_size=1.4), titan)
    assert not found.is_good
    assert "noise" in found.doubts[0]


def test_a_defocus_beyond_the_range_is_doubted(film, titan):
    image = film(768, titan, defocus_of(30000.0))
    found = estimate_ctf(power_spectrum(image, pixel_size=1.4), titan, CtfSettings(defocus_range=(5000.0, 20000.0)))
    assert not found.is_good


def test_white_noise_has_a_flat_spectrum_of_its_variance():
    for tapers in ("hann", "sine"):
        spectrum = power_spectrum(3.0 * white(900, 1).float() + 100.0, pixel_size=1.9, box=128, tapers=tapers)
        assert abs(float(spectrum.power[3:-3, 3:].mean()) / 9.0 - 1) < 0.03
        assert spectrum.pixel_size == pytest.approx(1.9)


def test_fine_pixels_are_cropped_to_the_band_that_holds_rings(film):
    optics = Optics(pixel_size=0.7, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.07)
    spectrum = power_spectrum(film(1536, optics, defocus_of(14000.0)), pixel_size=0.7, box=384)
    assert spectrum.power.shape == (384, 193)
    assert spectrum.pixel_size == pytest.approx(1.4)
    assert abs(estimate_ctf(spectrum, optics).mean_defocus - 14000.0) < 40


def test_a_picture_of_a_power_spectrum_is_the_spectrum(film, titan):
    spectrum = power_spectrum(film(768, titan, defocus_of(11000.0, astigmatism=400.0, azimuth=1.0)), pixel_size=1.4)
    side, half = spectrum.side, spectrum.power
    mates = half[(-torch.arange(side)) % side].flip(-1)[:, 1:-1]
    picture = torch.cat([half, mates], dim=1).roll((side // 2, side // 2), dims=(0, 1))
    again = spectrum_of_picture(picture, pixel_size=1.4)
    assert torch.equal(again.power, half)
    by_amplitude = spectrum_of_picture(picture.sqrt(), pixel_size=1.4)
    first, second = estimate_ctf(again, titan), estimate_ctf(by_amplitude, titan)
    assert abs(first.mean_defocus - second.mean_defocus) < 15
    assert angle_between(float(first.defocus.azimuth[0]), 1.0) < 0.1


@pytest.mark.parametrize("thickness", [800.0, 1500.0])
def test_the_thickness_of_a_slab_is_found(thick_film, titan, thickness):
    image = thick_film(896, titan, 15000.0, thickness)
    found = estimate_ctf(power_spectrum(image, pixel_size=1.4), titan)
    measured = estimate_thickness(found, titan)
    assert abs(measured.thickness / thickness - 1) < 0.05
    assert measured.node == pytest.approx(math.sqrt(titan.wavelength * measured.thickness))


def test_a_node_beyond_the_band_is_not_claimed(thick_film, titan):
    found = estimate_ctf(power_spectrum(thick_film(896, titan, 15000.0, 400.0), pixel_size=1.4), titan)
    assert math.sqrt(titan.wavelength * 400.0) < 3.0
    assert math.isnan(estimate_thickness(found, titan).thickness)


def test_a_thin_film_shows_no_node(film, titan):
    found = estimate_ctf(power_spectrum(film(896, titan, defocus_of(15000.0)), pixel_size=1.4), titan)
    assert math.isnan(estimate_thickness(found, titan).thickness)


def test_the_equiphase_average_undoes_astigmatism(film, titan):
    defocus = defocus_of(15000.0, astigmatism=2500.0, azimuth=0.6)
    spectrum = power_spectrum(film(1024, titan, defocus, noise=0.5), pixel_size=1.4)
    along = equiphase_average(spectrum, titan, defocus)
    round_one = equiphase_average(spectrum, titan, defocus_of(15000.0))
    band = (along.frequency > 0.12) & (along.frequency < 0.2)
    assert float(along.agreement[band].mean()) > 0.9
    assert float(round_one.agreement[band].mean()) < 0.6


def test_the_picture_shows_model_and_data_on_one_grid(film, titan):
    defocus = defocus_of(12000.0, astigmatism=1500.0, azimuth=0.8)
    spectrum = power_spectrum(film(768, titan, defocus, noise=0.2), pixel_size=1.4, box=256)
    picture = flattened_picture(spectrum, titan, defocus, finest=4.0)
    assert picture.shape == (256, 256)
    # A power spectrum is the same at k and −k: the model's half, turned by half a turn, lies on the data's.
    turned = picture.flip((0, 1)).roll((1, 1), dims=(0, 1))
    row = slice(128 - 60, 128 + 60)
    first, second = picture[row, 140:200].flatten(), turned[row, 140:200].flatten()
    correlation = torch.corrcoef(torch.stack([first, second]))[0, 1]
    assert float(correlation) > 0.7


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (torch.zeros(600, 600), InputError),
        (torch.full((600, 600), torch.nan), InputError),
        (torch.randn(300, 900, generator=torch.Generator().manual_seed(1)), ShapeError),
    ],
)
def test_images_without_use_are_refused(image, error):
    with pytest.raises(error):
        power_spectrum(image, pixel_size=1.5)


@pytest.mark.parametrize(
    "settings",
    [
        CtfSettings(defocus_range=(20000.0, 5000.0)),
        CtfSettings(defocus_range=(-100.0, 5000.0)),
        CtfSettings(coarsest_resolution=3.0, finest_resolution=5.0),
        CtfSettings(coarsest_resolution=3.6, finest_resolution=3.5),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, titan):
    with pytest.raises(UsageError):
        estimate_ctf(PowerSpectrum(torch.rand(256, 129, generator=torch.Generator().manual_seed(1)), 1.4), titan, settings)


def test_a_picture_with_negative_numbers_is_refused():
    with pytest.raises(InputError, match="logarithm"):
        spectrum_of_picture(torch.full((64, 64), -1.0), pixel_size=1.0)
