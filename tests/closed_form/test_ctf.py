"""The contrast transfer function against numbers worked out elsewhere and against the formula written in another way."""

import math

import numpy as np
import pytest
import torch

from cryowalk.core.errors import UsageError
from cryowalk.data.optics import Defocus, Optics
from cryowalk.fourier.grids import frequency_azimuth, frequency_radius
from cryowalk.microscope.lens import aberration_phase, canvas_size, contrast_transfer, contrast_transfer_reference, delocalisation

SIZES = [(8, 8), (9, 9), (8, 9), (9, 8), (33, 20)]


def defocus_of(major, minor=None, *, azimuth=0.0, phase_shift=0.0, dtype=torch.float64, **more):
    def tensor(value):
        return torch.as_tensor(value, dtype=dtype)

    major = tensor(major)
    minor = major if minor is None else tensor(minor)
    extra = {name: tensor(value).expand(major.shape) for name, value in more.items()}
    return Defocus(
        major=major,
        minor=minor,
        azimuth=tensor(azimuth).expand(major.shape),
        phase_shift=tensor(phase_shift).expand(major.shape),
        **extra,
    )


def ctf_at(k, optics, defocus, azimuth=0.0):
    """The CTF without envelope at single frequencies."""
    k = torch.as_tensor(k, dtype=torch.float64)
    phase = aberration_phase(k * math.cos(azimuth), k * math.sin(azimuth), optics=optics, defocus=defocus)
    return torch.sin(phase + defocus.phase_shift + math.asin(optics.amplitude_contrast))


def with_wavelength_of_relion(voltage_kv, **rest):
    """Optics at the voltage that has, with CODATA's constants, the wavelength RELION computes."""
    from scipy.optimize import brentq

    from cryowalk.core.constants import electron_wavelength

    volts = 1e3 * voltage_kv
    wavelength = 12.2643247 / math.sqrt(volts * (1 + 0.978466e-6 * volts))
    same = brentq(lambda v: electron_wavelength(v) - wavelength, 0.99 * voltage_kv, 1.01 * voltage_kv, xtol=1e-13, rtol=1e-15)
    return Optics(voltage_kv=same, **rest)


@pytest.mark.parametrize(
    ("voltage_kv", "defocus", "cs", "amplitude", "zeros"),
    [
        (300, 10000, 2.7, 0.1, [0.0702149, 0.1002478, 0.1232761, 0.1427330, 0.1599287]),
        (300, 15000, 2.7, 0.07, [0.0575723, 0.0819310, 0.1005929, 0.1163330, 0.1302152]),
        (200, 20000, 2.0, 0.1, [0.0439463, 0.0626788, 0.0769968, 0.0890556, 0.0996787]),
        (100, 5000, 1.6, 0.1, [0.0727491, 0.1043768, 0.1290154, 0.1501874, 0.1692414]),
        (300, 10000, 0.0, 0.0, [0.0712697, 0.1007906, 0.1234427]),
    ],
)
def test_zeros_lie_at_the_verified_frequencies(voltage_kv, defocus, cs, amplitude, zeros):
    optics = Optics(pixel_size=1.3, voltage_kv=voltage_kv, spherical_aberration_mm=cs, amplitude_contrast=amplitude)
    zeros = torch.tensor(zeros, dtype=torch.float64)
    around = [ctf_at(zeros * (1 + step), optics, defocus_of(defocus)) for step in (-1e-5, 1e-5)]
    assert (around[0] * around[1] < 0).all()


def test_values_equal_the_verified_ones():
    optics = Optics(pixel_size=1.3, voltage_kv=300, spherical_aberration_mm=2.7, amplitude_contrast=0.1)
    values = ctf_at([0.05, 0.1, 0.2, 0.3], optics, defocus_of(15000.0))
    np.testing.assert_allclose(values, [0.66243927, 0.07937975, -0.84508114, -0.64809805], atol=2e-6)


def test_a_phase_of_ten_million_radians_keeps_its_digits():
    # RELION's own assertion: getCTF(10, 10) for U = 10000, V = 12000, azimuth 90°, at 10√2 per Å.
    optics = with_wavelength_of_relion(300, pixel_size=1.0, spherical_aberration_mm=2.7, amplitude_contrast=0.1)
    defocus = defocus_of(10000.0, 12000.0, azimuth=math.pi / 2)
    ten = torch.tensor(10.0, dtype=torch.float64)
    phase = aberration_phase(ten, ten, optics=optics, defocus=defocus)
    assert phase.item() == pytest.approx(-1.28e7, rel=0.01)
    assert torch.sin(phase + math.asin(0.1)).item() == pytest.approx(0.59154, abs=1e-4)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_equal_the_formula_in_polar_form(size, dtype):
    optics = Optics(pixel_size=0.83, voltage_kv=200, spherical_aberration_mm=1.4, amplitude_contrast=0.07)
    major, minor, azimuth, phase_shift, b, scale = 21300.0, 19800.0, 0.7, 1.1, 80.0, 0.9
    defocus = defocus_of([major], [minor], azimuth=azimuth, phase_shift=phase_shift, b_factor=b, scale=scale, dtype=dtype)
    values = {name: float(getattr(defocus, name)[0]) for name in ("azimuth", "phase_shift", "scale")}
    k = frequency_radius(size, pixel_size=0.83, dtype=torch.float64).numpy()
    angle = frequency_azimuth(size, pixel_size=0.83, dtype=torch.float64).numpy()
    wavelength, cs = optics.wavelength, 1.4e7
    local = (major + minor) / 2 + (major - minor) / 2 * np.cos(2 * (angle - values["azimuth"]))
    chi = 2 * np.pi * (local * wavelength * k**2 / 2 - cs * wavelength**3 * k**4 / 4)
    expected = values["scale"] * np.exp(-b * k**2 / 4) * np.sin(chi + values["phase_shift"] + np.arcsin(0.07))
    got = contrast_transfer(optics, defocus, size=size)
    assert got.dtype == dtype
    assert got.shape == (1, size[0], size[1] // 2 + 1)
    np.testing.assert_allclose(got[0], expected, atol=1e-6 if dtype == torch.float32 else 1e-11)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,)])
def test_the_compiled_form_equals_the_readable_one(batch, generator):
    def draw(low, high):
        return low + (high - low) * torch.rand(batch, generator=generator, dtype=torch.float64)

    optics = Optics(pixel_size=1.1)
    defocus = Defocus(
        major=draw(9e3, 2e4), minor=draw(8e3, 2e4), azimuth=draw(-4, 4), phase_shift=draw(0, 2), b_factor=draw(0, 90)
    )
    fast = contrast_transfer(optics, defocus, size=(31, 32))
    assert fast.shape == (*batch, 31, 17)
    torch.testing.assert_close(fast, contrast_transfer_reference(optics, defocus, size=(31, 32)), atol=1e-11, rtol=0)


def test_a_batch_equals_single_images(generator):
    defocus = defocus_of(8e3 + 1e4 * torch.rand(5, generator=generator, dtype=torch.float64), 9e3 * torch.ones(5), azimuth=0.3)
    optics = Optics(pixel_size=1.4)
    together = contrast_transfer(optics, defocus, size=(16, 18))
    for i in range(5):
        assert torch.equal(together[i], contrast_transfer(optics, defocus[torch.tensor([i])], size=(16, 18))[0])


def test_several_threads_give_the_same(generator):
    threads = torch.get_num_threads()
    defocus = defocus_of(8e3 + 1e4 * torch.rand(7, generator=generator, dtype=torch.float64))
    try:
        torch.set_num_threads(1)
        one = contrast_transfer(Optics(pixel_size=1.4), defocus, size=(16, 18))
        torch.set_num_threads(3)
        three = contrast_transfer(Optics(pixel_size=1.4), defocus, size=(16, 18))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one, three)


def test_the_origin_holds_plus_amplitude_contrast():
    for size in SIZES:
        assert contrast_transfer(Optics(pixel_size=1.4, amplitude_contrast=0.12), defocus_of(2e4), size=size)[
            0, 0
        ].item() == pytest.approx(0.12)


def test_the_larger_defocus_lies_along_the_azimuth():
    optics = Optics(pixel_size=1.4, amplitude_contrast=0.0, spherical_aberration_mm=0.0)
    defocus = defocus_of(20000.0, 10000.0, azimuth=math.pi / 3)
    first_zero = 1 / math.sqrt(optics.wavelength * 20000)
    assert ctf_at(first_zero, optics, defocus, azimuth=math.pi / 3).item() == pytest.approx(0, abs=1e-12)
    assert ctf_at(first_zero, optics, defocus, azimuth=-math.pi / 6).item() == pytest.approx(1, abs=1e-12)
    assert abs(ctf_at(first_zero, optics, defocus, azimuth=-math.pi / 3).item()) > 0.1


def test_a_quarter_wave_plate_turns_sine_into_cosine():
    optics = Optics(pixel_size=1.4, amplitude_contrast=0.0)
    plain = contrast_transfer(optics, defocus_of(1.5e4), size=(32, 32))
    shifted = contrast_transfer(optics, defocus_of(1.5e4, phase_shift=math.pi / 2), size=(32, 32))
    torch.testing.assert_close(plain**2 + shifted**2, torch.ones_like(plain))


def test_gradients_reach_defocus_and_phase():
    major = torch.tensor([12000.0], dtype=torch.float64, requires_grad=True)
    phase = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    azimuth = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)

    def transfer(major, phase, azimuth):
        defocus = Defocus(major=major, minor=major - 500, azimuth=azimuth, phase_shift=phase)
        return contrast_transfer(Optics(pixel_size=2.5), defocus, size=(6, 7))

    assert torch.autograd.gradcheck(transfer, (major, phase, azimuth))


def test_optics_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match="amplitude contrast"):
        contrast_transfer(Optics(pixel_size=1.0, amplitude_contrast=1.2), defocus_of(1e4), size=(8, 8))
    with pytest.raises(UsageError, match="pixel size"):
        contrast_transfer(Optics(pixel_size=0.0), defocus_of(1e4), size=(8, 8))


def test_delocalisation_is_the_slope_of_the_phase():
    optics, defocus, k = Optics(pixel_size=1.0), defocus_of(13000.0), 0.21
    step = 1e-6
    phases = [
        aberration_phase(
            torch.tensor(k + s, dtype=torch.float64), torch.zeros((), dtype=torch.float64), optics=optics, defocus=defocus
        )
        for s in (-step, step)
    ]
    assert delocalisation(optics, defocus, frequency=k).item() == pytest.approx(
        ((phases[1] - phases[0]) / (2 * step) / (2 * math.pi)).item(), rel=1e-6
    )


@pytest.mark.parametrize("box", [96, 97])
def test_the_canvas_leaves_room_for_the_spread_of_the_finest_detail(box):
    optics, defocus = Optics(pixel_size=1.5), defocus_of([8000.0, 20000.0], [8100.0, 19000.0])
    canvas = canvas_size(optics, defocus, box=box)
    needed = box + 2 * optics.wavelength * 20000 / (2 * 1.5) / 1.5
    assert needed <= canvas < 1.1 * needed + 2
    assert canvas % 2 == 0
