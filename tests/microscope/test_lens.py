"""Aberrations beyond defocus and Cs, what the lens does to waves, and where a box is too small for the CTF."""

import math
import warnings

import numpy as np
import pytest
import torch

from cryowalk.core.errors import CryowalkWarning, UsageError
from cryowalk.data import Volume
from cryowalk.data.instrument import Gun, ObjectiveLens
from cryowalk.data.optics import Aberrations, Defocus, Optics
from cryowalk.fourier.grids import coordinates, frequency_azimuth, frequency_grid, frequency_radius
from cryowalk.fourier.slices import prepare_volume
from cryowalk.fourier.transform import complex_transform, to_fourier, to_real
from cryowalk.microscope.aberrations import (
    magnified,
    magnified_stretch,
    observed_slices,
    phase_gradient,
    zernike_sum,
    zernike_term,
)
from cryowalk.microscope.lens import (
    aberration_phase,
    alias_free_defocus,
    antisymmetric_factor,
    antisymmetric_phase,
    aperture,
    box_for_defocus,
    contrast_transfer,
    contrast_transfer_reference,
    ctf_zeros,
    scherzer_defocus,
    warn_of_aliasing,
    wave_transfer,
)

SIZES = [(8, 8), (9, 9), (8, 9), (9, 8), (33, 20)]
EVERYTHING = Aberrations(
    beam_tilt=(4e-4, -7e-4),
    odd_zernike=(0.2, -0.4, 30.0, 20.0, -25.0, 40.0),
    even_zernike=(0.1, 3.0, 2.0, -4.0, 40.0, 20.0, 30.0, -10.0, 50.0),
    magnification=(1.03, 0.02, 0.01, 0.97),
)


def defocus_of(major, minor=None, *, azimuth=0.4, phase_shift=0.0, dtype=torch.float64, **more):
    major = torch.as_tensor(major, dtype=dtype)
    minor = major if minor is None else torch.as_tensor(minor, dtype=dtype)
    rest = {
        name: torch.full_like(major, value) for name, value in ({"azimuth": azimuth, "phase_shift": phase_shift} | more).items()
    }
    return Defocus(major=major, minor=minor, **rest)


# ---------------------------------------------------------------- Zernike polynomials


def test_the_first_polynomials_are_the_known_ones():
    kx, ky = frequency_grid((12, 13), pixel_size=0.9, dtype=torch.float64)
    rho, phi = (
        frequency_radius((12, 13), pixel_size=0.9, dtype=torch.float64),
        frequency_azimuth((12, 13), pixel_size=0.9, dtype=torch.float64),
    )
    even = [
        torch.ones_like(rho),
        rho**2 * torch.sin(2 * phi), 2 * rho**2 - 1, rho**2 * torch.cos(2 * phi),
        rho**4 * torch.sin(4 * phi), (4 * rho**4 - 3 * rho**2) * torch.sin(2 * phi), 6 * rho**4 - 6 * rho**2 + 1,
        (4 * rho**4 - 3 * rho**2) * torch.cos(2 * phi), rho**4 * torch.cos(4 * phi),
    ]  # fmt: skip
    odd = [
        rho * torch.sin(phi), rho * torch.cos(phi),
        rho**3 * torch.sin(3 * phi), (3 * rho**3 - 2 * rho) * torch.sin(phi),
        (3 * rho**3 - 2 * rho) * torch.cos(phi), rho**3 * torch.cos(3 * phi),
    ]  # fmt: skip
    for parity, known in (("even", even), ("odd", odd)):
        for index, expected in enumerate(known):
            one = [0.0] * index + [1.0]
            torch.testing.assert_close(zernike_sum(one, kx, ky, parity=parity), expected, atol=1e-12, rtol=1e-12)


def test_polynomials_of_any_order_equal_the_sum_of_the_definition():
    random = np.random.default_rng(4)
    x, y = random.uniform(-0.6, 0.6, (2, 50))
    rho, phi = np.hypot(x, y), np.arctan2(y, x)
    for parity in ("even", "odd"):
        for index in range(30):
            order, fold = zernike_term(index, parity=parity)
            assert (order - abs(fold)) % 2 == 0
            assert order % 2 == (parity == "odd")
            radial = sum(
                (-1) ** s
                * math.comb(order - s, s)
                * math.comb(order - 2 * s, (order - abs(fold)) // 2 - s)
                * rho ** (order - 2 * s)
                for s in range((order - abs(fold)) // 2 + 1)
            )
            expected = radial * (np.cos(fold * phi) if fold >= 0 else np.sin(-fold * phi))
            got = zernike_sum([0.0] * index + [1.0], torch.from_numpy(x), torch.from_numpy(y), parity=parity)
            np.testing.assert_allclose(got, expected, atol=1e-11)


def test_the_gradient_is_that_of_the_complete_phase():
    optics = Optics(pixel_size=1.1, aberrations=EVERYTHING)
    defocus = defocus_of(14000.0, 11000.0)
    kx = torch.linspace(-0.4, 0.3, 9, dtype=torch.float64, requires_grad=True)
    ky = torch.linspace(0.35, -0.2, 9, dtype=torch.float64, requires_grad=True)
    from cryowalk.microscope.aberrations import antisymmetric_phase_at

    phase = aberration_phase(kx, ky, optics=optics, defocus=defocus) + antisymmetric_phase_at(kx, ky, optics=optics)
    slopes = torch.autograd.grad(phase.sum(), (kx, ky))
    got = phase_gradient(kx.detach(), ky.detach(), optics=optics, defocus=defocus)
    torch.testing.assert_close(got[0], slopes[0])
    torch.testing.assert_close(got[1], slopes[1])


# ---------------------------------------------------------------- the CTF with everything


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("batch", [(), (3,), (2, 2)])
@pytest.mark.parametrize("b_factor", [None, 60.0])
def test_the_compiled_form_equals_the_readable_one_with_all_aberrations(size, batch, b_factor):
    optics = Optics(pixel_size=1.1, aberrations=EVERYTHING)
    major = 9e3 + 1e4 * torch.rand(batch, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    more = {} if b_factor is None else {"b_factor": b_factor}
    defocus = defocus_of(major, major - 900, phase_shift=0.3, scale=0.8, **more)
    fast = contrast_transfer(optics, defocus, size=size)
    torch.testing.assert_close(fast, contrast_transfer_reference(optics, defocus, size=size), atol=1e-10, rtol=0)


def test_even_terms_that_are_a_defocus_act_as_one():
    # 2ρ² − 1 and the constant: c (2k² − 1) + c = 2c k² = −πλ Δf k² adds a defocus.
    optics = Optics(pixel_size=1.3, aberrations=Aberrations(even_zernike=(25.0, 0.0, 25.0)))
    extra = -2 * 25.0 / (math.pi * optics.wavelength)
    plain = Optics(pixel_size=1.3)
    torch.testing.assert_close(
        contrast_transfer(optics, defocus_of(15000.0), size=(30, 31)),
        contrast_transfer(plain, defocus_of(15000.0 + extra), size=(30, 31)),
        atol=1e-9, rtol=0,
    )  # fmt: skip


def test_an_even_magnification_is_another_pixel_size():
    optics = Optics(pixel_size=1.3, aberrations=Aberrations(magnification=(1.02, 0.0, 0.0, 1.02), beam_tilt=(1e-3, 2e-3)))
    same = Optics(pixel_size=1.3 / 1.02, aberrations=Aberrations(beam_tilt=(1e-3, 2e-3)))
    defocus = defocus_of(12000.0, 11000.0)
    torch.testing.assert_close(
        contrast_transfer(optics, defocus, size=(30, 31)), contrast_transfer(same, defocus, size=(30, 31)), atol=1e-9, rtol=0
    )
    torch.testing.assert_close(antisymmetric_phase(optics, size=(30, 31)), antisymmetric_phase(same, size=(30, 31)))


def test_a_point_is_seen_where_the_magnification_moves_it():
    optics = Optics(pixel_size=1.0, aberrations=EVERYTHING)
    m = torch.tensor(EVERYTHING.magnification, dtype=torch.float64).reshape(2, 2)
    rotation = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.5, 0.2], [0.5, 0, -0.3], [-0.2, 0.3, 0]], dtype=torch.float64))
    point = torch.tensor([3.0, -5.0, 7.0], dtype=torch.float64)
    seen = (magnified(rotation, optics=optics) @ point)[:2]
    torch.testing.assert_close(seen, m.T @ (rotation @ point)[:2])
    assert magnified(rotation, optics=Optics(pixel_size=1.0)) is rotation


@pytest.mark.parametrize("magnification", [(1.07, 0.03, 0.01, 0.95), (1.0, 0.0, 0.0, 1.0), (0.97, 0.02, 0.02, 0.93)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_slices_are_seen_through_the_magnification(magnification, dtype):
    # A Gaussian away from the origin: its projection and what the matrix makes of it in closed form.
    box, pixel_size, width = 40, 1.5, 4.0
    optics = Optics(pixel_size=pixel_size, aberrations=Aberrations(magnification=magnification))
    centre = torch.tensor([6.0, -4.0, 3.0], dtype=torch.float64)
    x, y, z = coordinates((box, box, box), pixel_size=pixel_size, dtype=torch.float64)
    voxels = torch.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2) / (2 * width**2))
    rotation = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.5, 0.2], [0.5, 0, -0.3], [-0.2, 0.3, 0]], dtype=torch.float64))
    reference = prepare_volume(
        Volume(voxels=voxels.to(dtype), voxel_size=pixel_size), padding=2.0, stretch=magnified_stretch(optics)
    )
    image = to_real(observed_slices(reference, rotation[None].to(dtype), optics=optics), width=box)[0]
    m = torch.tensor(magnification, dtype=torch.float64).reshape(2, 2)
    u, v = coordinates((box, box), pixel_size=pixel_size, dtype=torch.float64)
    seen = torch.stack(torch.broadcast_tensors(u, v), dim=-1) @ torch.linalg.inv(m)  # rows times M⁻¹: M⁻ᵀ x
    apart = seen - (rotation @ centre)[:2]
    # Values are kept: a projection looks the same, only larger or smaller.
    expected = math.sqrt(2 * math.pi) * width * torch.exp(-(apart**2).sum(-1) / (2 * width**2))
    assert ((image.double() - expected).norm() / expected.norm()).item() < 0.01


def test_a_map_prepared_without_stretch_is_refused():
    optics = Optics(pixel_size=1.5, aberrations=Aberrations(magnification=(1.05, 0.0, 0.0, 1.0)))
    reference = prepare_volume(Volume(voxels=torch.zeros(8, 8, 8), voxel_size=1.5))
    with pytest.raises(UsageError, match="prepared for a stretch of 1, the magnification matrix"):
        observed_slices(reference, torch.eye(3)[None], optics=optics)
    with pytest.raises(UsageError, match="stretch"):
        prepare_volume(Volume(voxels=torch.zeros(8, 8, 8), voxel_size=1.5), stretch=3.0)


def test_gradients_reach_the_defocus_through_every_term():
    optics = Optics(pixel_size=2.5, aberrations=EVERYTHING)
    major = torch.tensor([12000.0], dtype=torch.float64, requires_grad=True)
    phase = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)

    def real(major, phase):
        defocus = Defocus(major=major, minor=major - 500, azimuth=phase + 0.1, phase_shift=phase)
        return contrast_transfer(optics, defocus, size=(6, 7), gun=Gun(convergence=1e-4), lens=ObjectiveLens())

    def wave(major, phase):
        defocus = Defocus(major=major, minor=major - 500, azimuth=phase + 0.1, phase_shift=phase)
        return torch.view_as_real(wave_transfer(optics, defocus, size=(6, 7), gun=Gun(convergence=1e-4)))

    assert torch.autograd.gradcheck(real, (major, phase))
    assert torch.autograd.gradcheck(wave, (major, phase))


# ---------------------------------------------------------------- waves


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("beam", ["coherent and tilted", "partially coherent"])
def test_the_intensity_of_a_weak_wave_is_the_ctf_with_its_odd_phase(size, beam):
    is_coherent = beam == "coherent and tilted"
    aberrations = EVERYTHING if is_coherent else Aberrations(even_zernike=EVERYTHING.even_zernike)
    optics = Optics(pixel_size=1.1, amplitude_contrast=0.12, aberrations=aberrations)
    defocus = defocus_of(12000.0, 10500.0, phase_shift=0.7)
    gun, lens = None if is_coherent else Gun(), ObjectiveLens(aperture=9e-3, aperture_edge=1e-3)
    random = torch.Generator().manual_seed(8)
    half = to_fourier(torch.randn(size, generator=random, dtype=torch.float64))
    if size[0] % 2 == 0:
        half[size[0] // 2] = 0  # a Nyquist coefficient stands for two that the odd phase turns apart
    if size[1] % 2 == 0:
        half[:, -1] = 0
    phase = 1e-6 * to_real(half, width=size[1])
    phase = phase - phase.mean()  # the mean belongs to the unscattered beam, which no phase plate shifts
    q = optics.amplitude_contrast
    wave = torch.exp(1j * phase * (math.sqrt(1 - q * q) + 1j * q))
    transfer = wave_transfer(optics, defocus, size=size, gun=gun, lens=lens)
    image = complex_transform(
        complex_transform(wave, dimensions=2, direction="forward") * transfer, dimensions=2, direction="inverse"
    )
    expected = to_real(
        to_fourier(phase)
        * contrast_transfer(optics, defocus, size=size, gun=gun, lens=lens)
        * antisymmetric_factor(optics, size=size, like=phase),
        width=size[1],
    )
    np.testing.assert_allclose((1 - image.abs() ** 2) / 2, expected, atol=1e-10)
    assert expected.abs().max() > 1e-7


def test_a_plain_lens_changes_no_intensity_of_the_spectrum():
    transfer = wave_transfer(Optics(pixel_size=1.1, aberrations=EVERYTHING), defocus_of([9e3, 2e4]), size=(9, 10))
    assert transfer.shape == (2, 9, 10)
    torch.testing.assert_close(transfer.abs(), torch.ones_like(transfer.abs()))
    assert transfer[0, 0, 0] == 1


def test_the_unscattered_beam_gets_no_phase_from_the_plate():
    plate = wave_transfer(Optics(pixel_size=1.1), defocus_of(9e3, phase_shift=1.1), size=(9, 10))
    plain = wave_transfer(Optics(pixel_size=1.1), defocus_of(9e3), size=(9, 10))
    turned = torch.angle(plate * plain.conj())
    assert turned[0, 0] == 0
    torch.testing.assert_close(turned.reshape(-1)[1:], torch.full((89,), 1.1, dtype=torch.float64))


def test_precision_follows_the_defocus():
    for dtype, expected in ((torch.float32, torch.complex64), (torch.float64, torch.complex128)):
        assert wave_transfer(Optics(pixel_size=1.1), defocus_of(9e3, dtype=dtype), size=(8, 9)).dtype == expected
        assert contrast_transfer(Optics(pixel_size=1.1), defocus_of(9e3, dtype=dtype), size=(8, 9), gun=Gun()).dtype == dtype


def test_the_aperture_lets_through_what_is_inside_its_angle():
    optics = Optics(pixel_size=1.0)
    k = torch.linspace(0, 1, 101, dtype=torch.float64)
    hard = aperture(k, optics=optics, lens=ObjectiveLens(aperture=1e-2))
    assert torch.equal(hard, (k * optics.wavelength <= 1e-2).double())
    soft = aperture(k, optics=optics, lens=ObjectiveLens(aperture=1e-2, aperture_edge=4e-3))
    angle = k * optics.wavelength
    assert (soft[angle <= 8e-3 - 1e-9] == 1).all()
    assert (soft[angle >= 12e-3 + 1e-9] < 1e-12).all()
    assert (soft.diff() <= 0).all()
    at_half = aperture(
        torch.tensor(1e-2 / optics.wavelength, dtype=torch.float64),
        optics=optics,
        lens=ObjectiveLens(aperture=1e-2, aperture_edge=4e-3),
    )
    assert at_half.item() == pytest.approx(0.5)
    assert torch.equal(aperture(k, optics=optics, lens=ObjectiveLens()), torch.ones_like(k))
    with pytest.raises(UsageError, match="aperture"):
        aperture(k, optics=optics, lens=ObjectiveLens(aperture=0.0))


# ---------------------------------------------------------------- odd aberrations


def test_beam_tilt_displaces_detail_and_keeps_its_amplitude():
    # With a phase that is a plane, the factor is a shift: odd Zernike 0 and 1 move the image by −c / 2π along y and x.
    shift = torch.tensor([1.4, -2.2], dtype=torch.float64)
    optics = Optics(
        pixel_size=1.3, aberrations=Aberrations(odd_zernike=(float(-2 * math.pi * shift[1]), float(-2 * math.pi * shift[0])))
    )
    from cryowalk.fourier.filters import shift_images

    image = torch.randn(13, 15, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    moved = to_real(to_fourier(image) * antisymmetric_factor(optics, size=(13, 15), like=image), width=15)
    torch.testing.assert_close(moved, shift_images(image, shift, pixel_size=1.3))


def test_coma_is_the_odd_term_of_a_tilted_phase():
    # χ of Cs about the direction of the beam: the term of −½πCsλ³|k + t/λ|⁴ that is odd in k and of third order.
    tilt, optics = (1.3e-3, -0.8e-3), Optics(pixel_size=1.0)
    tilted = Optics(pixel_size=1.0, aberrations=Aberrations(beam_tilt=tilt))
    flat = Defocus(**{name: torch.zeros((), dtype=torch.float64) for name in ("major", "minor", "azimuth", "phase_shift")})
    kx, ky = torch.tensor(0.31, dtype=torch.float64), torch.tensor(0.17, dtype=torch.float64)

    def chi(x, y):
        return aberration_phase(x, y, optics=optics, defocus=flat)

    tx, ty = tilt[0] / optics.wavelength, tilt[1] / optics.wavelength
    odd = [(chi(s * kx + tx, s * ky + ty) - chi(-s * kx + tx, -s * ky + ty)) / 2 for s in (1.0, 2.0)]
    third_order = (odd[1] - 2 * odd[0]) / 6  # 8 − 2 of the third order is left of twice the frequency
    from cryowalk.microscope.aberrations import antisymmetric_phase_at

    assert antisymmetric_phase_at(kx, ky, optics=tilted).item() == pytest.approx(third_order.item(), rel=1e-6)


# ---------------------------------------------------------------- zeros and aliasing


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
def test_zeros_are_the_verified_ones(voltage_kv, defocus, cs, amplitude, zeros):
    optics = Optics(pixel_size=1.3, voltage_kv=voltage_kv, spherical_aberration_mm=cs, amplitude_contrast=amplitude)
    found = ctf_zeros(optics, defocus=defocus, up_to=0.2)
    np.testing.assert_allclose(found[: len(zeros)], zeros, rtol=1e-5)


@pytest.mark.parametrize(
    ("defocus", "cs", "phase_shift"),
    [(8000.0, 2.7, 0.0), (900.0, 2.7, 0.4), (-6000.0, 2.7, 0.2), (-4000.0, 0.0, 0.0), (0.0, 2.7, 0.0), (2e4, 0.001, 1.5)],
)
def test_zeros_are_all_the_changes_of_sign(defocus, cs, phase_shift):
    optics = Optics(pixel_size=1.0, spherical_aberration_mm=cs)
    k = torch.linspace(1e-5, 0.9, 400001, dtype=torch.float64)
    values = torch.sin(
        aberration_phase(k, torch.zeros_like(k), optics=optics, defocus=defocus_of(defocus)) + phase_shift + math.asin(0.1)
    )
    place = (values[1:] * values[:-1] < 0).nonzero().flatten()
    found = ctf_zeros(optics, defocus=defocus, up_to=0.9, phase_shift=phase_shift)
    assert len(found) == len(place)
    np.testing.assert_allclose(found, (k[place] + k[place + 1]) / 2, atol=3e-6)


@pytest.mark.parametrize(("voltage_kv", "cs", "expected"), [(300, 2.7, 874.900), (200, 1.0, 600.951), (100, 1.6, 923.478)])
def test_scherzers_defocus_has_its_golden_value(voltage_kv, cs, expected):
    assert scherzer_defocus(Optics(pixel_size=1.0, voltage_kv=voltage_kv, spherical_aberration_mm=cs)) == pytest.approx(
        expected, rel=1e-4
    )


def test_the_alias_free_defocus_is_the_published_one():
    assert alias_free_defocus(Optics(pixel_size=1.0, spherical_aberration_mm=0.0), box=128) * 1e-4 == pytest.approx(
        0.65, abs=5e-3
    )
    assert alias_free_defocus(Optics(pixel_size=1.0, spherical_aberration_mm=2.7), box=128) * 1e-4 == pytest.approx(
        0.91, abs=5e-3
    )


@pytest.mark.parametrize(
    "optics", [Optics(pixel_size=1.0), Optics(pixel_size=0.5), Optics(pixel_size=1.2, spherical_aberration_mm=0.01)]
)
@pytest.mark.parametrize("box", [64, 129, 300])
def test_at_the_alias_free_defocus_the_steepest_turn_has_two_samples(optics, box):
    limit = alias_free_defocus(optics, box=box)
    k = torch.linspace(0, 0.5 / optics.pixel_size, 20001, dtype=torch.float64)
    slope, _ = phase_gradient(k, torch.zeros_like(k), optics=optics, defocus=defocus_of(limit, azimuth=0.0))
    turn_per_sample = slope.max() / (2 * math.pi) / (box * optics.pixel_size)
    assert turn_per_sample.item() == pytest.approx(0.5, rel=1e-6)


def test_a_box_too_small_is_warned_of_with_the_box_needed():
    optics, defocus = Optics(pixel_size=1.0), defocus_of([8000.0, 21000.0])
    needed = box_for_defocus(optics, defocus)
    assert alias_free_defocus(optics, box=needed) >= 21000 > alias_free_defocus(optics, box=needed - 24)  # to the next fast side
    with pytest.warns(CryowalkWarning, match=rf"2\.10 μm defocus aliases in a box of 128 pixels.*box of {needed} pixels"):
        warn_of_aliasing(optics, defocus, box=128)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_aliasing(optics, defocus, box=needed)
        warn_of_aliasing(optics, defocus[slice(0, 0)], box=8)
