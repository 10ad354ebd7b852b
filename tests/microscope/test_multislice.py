"""Scattering models: closed forms of free space and of two planes, their limits, and the power that multislice keeps account of."""

import math
import weakref
from dataclasses import replace

import pytest
import torch

from cryowalk.core.constants import interaction_constant
from cryowalk.core.errors import ShapeError, UsageError
from cryowalk.data.instrument import ObjectiveLens
from cryowalk.data.optics import Defocus, Optics
from cryowalk.fourier.grids import coordinates, full_frequency_grid
from cryowalk.fourier.transform import filtering_transform
from cryowalk.microscope.form_factors import VOLT_PER_SCATTERING_FACTOR, scattering_factor
from cryowalk.microscope.image_formation import image_of_wave
from cryowalk.microscope.multislice import band_limit, free_space, multislice_by_definition, propagate
from cryowalk.microscope.scattering import exit_wave

METHODS = ("weak_phase", "phase_grating", "ewald", "multislice")
OPTICS = Optics(pixel_size=0.8, amplitude_contrast=0.0)
SIZES = ((32, 32), (33, 33), (32, 45), (27, 40))


def flat(value, *, like=None):
    """A defocus without astigmatism."""
    major = torch.tensor(value, dtype=torch.float64)
    return Defocus(major=major, minor=major, azimuth=torch.zeros_like(major), phase_shift=torch.zeros_like(major))


def smooth_slices(generator, *, count=4, size=(32, 32), strength=0.3, optics=OPTICS, batch=(), part=1 / 6):
    """Random slices whose sum turns the wave by `strength` rad (standard deviation), without detail beyond `part` of the band limit."""
    slices = torch.randn(*batch, count, *size, generator=generator, dtype=torch.float64)
    kx, ky = full_frequency_grid(size, pixel_size=optics.pixel_size, dtype=torch.float64)
    envelope = (kx**2 + ky**2 <= (part * band_limit(optics)) ** 2).double()
    slices = torch.fft.ifft2(torch.fft.fft2(slices) * envelope).real
    return slices * (strength / (interaction_constant(optics.voltage_kv) * slices.sum(dim=-3).std()))


def atoms_in_slices(numbers, positions, *, size, pixel_size, count, thickness, b_factor=0.0, table="peng"):
    """Slices of projected potential of atoms at positions (x, y, z) from the corner, by a direct sum over frequencies."""
    kx, ky = full_frequency_grid(size, pixel_size=pixel_size, dtype=torch.float64)
    k = torch.sqrt(kx**2 + ky**2)
    slices = torch.zeros(count, *size, dtype=torch.complex128)
    for number in set(numbers.tolist()):
        form = scattering_factor(number, k, form_factors=table) * torch.exp(-b_factor / 4 * k**2)
        for index in range(count):
            x, y = positions[(numbers == number) & ((positions[:, 2] / thickness).long() == index), :2].T
            along_y, along_x = (torch.exp(-2j * math.pi * f.reshape(-1)[:, None] * p) for f, p in ((ky, y), (kx, x)))
            slices[index] += form * (along_y @ along_x.T)
    return torch.fft.ifft2(slices).real * (VOLT_PER_SCATTERING_FACTOR / pixel_size**2)


def protein_like(generator, *, size, pixel_size, count, thickness):
    """Light atoms as densely packed as in protein, B = 20 Å²."""
    volume = size[0] * size[1] * pixel_size**2 * count * thickness
    number = int(0.05 * volume)  # heavy atoms per Å³
    place = torch.rand(number, 3, generator=generator, dtype=torch.float64)
    positions = place * torch.tensor([size[1] * pixel_size, size[0] * pixel_size, count * thickness], dtype=torch.float64)
    numbers = torch.tensor([6, 6, 6, 7, 8])[torch.randint(0, 5, (number,), generator=generator)]
    return atoms_in_slices(numbers, positions, size=size, pixel_size=pixel_size, count=count, thickness=thickness, b_factor=20.0)


@pytest.mark.parametrize("method", METHODS)
def test_no_specimen_leaves_the_plane_wave(method):
    wave = exit_wave(torch.zeros(3, 12, 13, dtype=torch.float64), optics=OPTICS, slice_thickness=5.0, method=method)
    torch.testing.assert_close(wave, torch.ones(12, 13, dtype=torch.complex128), atol=1e-14, rtol=0)


# ------------------------------------------------------------------------------------------------------------ free space


@pytest.mark.parametrize("distance", [300.0, -900.0])
def test_a_gaussian_spreads_in_free_space_as_its_closed_form(distance):
    size, width = (96, 120), 4.0
    x, y = coordinates(size, pixel_size=OPTICS.pixel_size, dtype=torch.float64)
    start = torch.exp(-(x**2 + y**2) / (2 * width**2)).to(torch.complex128)
    complex_width = width**2 + 1j * OPTICS.wavelength * distance / (2 * math.pi)
    expected = width**2 / complex_width * torch.exp(-(x**2 + y**2) / (2 * complex_width))
    torch.testing.assert_close(propagate(start, optics=OPTICS, distance=distance), expected, atol=1e-9, rtol=0)


def test_free_space_keeps_power_and_can_be_undone(generator):
    wave = torch.complex(*torch.randn(2, 3, 31, 28, generator=generator, dtype=torch.float64))
    there = propagate(wave, optics=OPTICS, distance=730.0)
    assert (there.abs() ** 2).sum().item() == pytest.approx((wave.abs() ** 2).sum().item(), rel=1e-13)
    torch.testing.assert_close(propagate(there, optics=OPTICS, distance=-730.0), wave)
    torch.testing.assert_close(propagate(propagate(wave, optics=OPTICS, distance=430.0), optics=OPTICS, distance=300.0), there)


@pytest.mark.parametrize(
    ("voltage", "sag", "phase"), [(100.0, 0.00205635, 1.292), (200.0, 0.00139330, 0.875), (300.0, 0.00109375, 0.687)]
)
def test_the_ewald_sphere_sags_as_published(voltage, sag, phase):
    """Golden row 13: λk²/2 at 3 Å, and the phase error πλk²z of a point 100 Å off the middle."""
    optics = Optics(pixel_size=1.0, voltage_kv=voltage)
    assert optics.wavelength / 2 / 9 == pytest.approx(sag, rel=1e-5)
    # Of 12 pixels of 1 Å, frequency 4 is 1/3 Å⁻¹.
    factor = free_space((12, 12), optics=optics, distance=-100.0, like=torch.zeros(1, dtype=torch.complex128))[0, 4]
    assert torch.angle(factor).item() == pytest.approx(2 * math.pi * sag * 100, rel=1e-5)
    assert torch.angle(factor).item() == pytest.approx(phase, abs=1e-3)


def test_the_number_of_threads_does_not_change_a_transform(generator):
    """MKL in torch 2.13 leaves parts of a scaled complex64 transform of 2048 × 2048 unscaled when it has two threads."""
    wave = torch.complex(*torch.randn(2, 2048, 2048, generator=generator))
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            spectrum = filtering_transform(wave, direction="forward")
            results.append((spectrum, filtering_transform(spectrum, direction="inverse")))
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two)
    torch.testing.assert_close(results[1][1], wave, atol=1e-5, rtol=0)


# ---------------------------------------------------------------------------------------------------------- closed forms


@pytest.mark.parametrize("size", SIZES)
def test_a_single_slice_is_the_phase_grating(size, generator):
    slices = smooth_slices(generator, count=1, size=size, strength=0.01)
    thick = exit_wave(slices, optics=OPTICS, slice_thickness=7.0, method="multislice")
    thin = exit_wave(slices, optics=OPTICS, slice_thickness=7.0, method="phase_grating")
    torch.testing.assert_close(thick, thin, atol=1e-12, rtol=0)
    weak = exit_wave(slices, optics=OPTICS, slice_thickness=7.0, method="weak_phase")
    torch.testing.assert_close(exit_wave(slices, optics=OPTICS, slice_thickness=7.0, method="ewald"), weak, atol=1e-12, rtol=0)
    assert (thin - weak).abs().max() > 1e-4


def test_two_weak_planes_interfere_as_their_distance_says():
    """Planes 500 Å apart hold the same 4 Å wave: their sum appears with cos(πλk²t/2) = 0.568."""
    optics = Optics(pixel_size=1.0, amplitude_contrast=0.0)
    wave = 1e-4 * torch.cos(2 * math.pi * torch.arange(32, dtype=torch.float64) / 4).expand(32, 32)
    slices = torch.stack([wave, wave])
    projected = exit_wave(slices, optics=optics, slice_thickness=500.0, method="weak_phase") - 1
    for method in ("ewald", "multislice"):
        curved = exit_wave(slices, optics=optics, slice_thickness=500.0, method=method) - 1
        assert (curved[0, 0] / projected[0, 0]).real.item() == pytest.approx(0.568, abs=5e-4)
        assert (curved[0, 0] / projected[0, 0]).real.item() == pytest.approx(
            math.cos(math.pi * optics.wavelength / 16 * 250), abs=1e-6
        )


def test_uniform_absorption_takes_its_part_of_the_intensity():
    slices = torch.complex(torch.zeros(5, 8, 9, dtype=torch.float64), torch.full((5, 8, 9), 20.0, dtype=torch.float64))
    for method in ("phase_grating", "multislice"):
        wave = exit_wave(slices, optics=OPTICS, slice_thickness=3.0, method=method)
        expected = math.exp(-2 * 5 * 20 * interaction_constant(300))
        torch.testing.assert_close(wave.abs() ** 2, torch.full((8, 9), expected, dtype=torch.float64))


def test_amplitude_contrast_is_that_of_the_contrast_transfer_function(generator):
    """Weak limit: intensity 1 − 2σₑ v ∗ sin(χ + arcsin Q)."""
    from cryowalk.fourier.transform import to_fourier, to_real
    from cryowalk.microscope.lens import contrast_transfer

    optics = replace(OPTICS, amplitude_contrast=0.1)
    slices = smooth_slices(generator, count=1, strength=1e-5)
    linear = 1 - 2 * interaction_constant(300) * to_real(
        to_fourier(slices[0]) * contrast_transfer(optics, flat(9000.0), size=(32, 32)), width=32
    )
    for method in METHODS:
        image = image_of_wave(exit_wave(slices, optics=optics, slice_thickness=1.0, method=method), optics, flat(9000.0))
        torch.testing.assert_close(image, linear, atol=2e-9, rtol=0)


@pytest.mark.parametrize("slices_before", [0, 9])
def test_a_point_farther_along_the_beam_is_more_underfocused(slices_before):
    """A blob at height z, imaged at defocus Δf, looks like a blob at height 0 imaged at Δf + z."""
    count, thickness = 10, 40.0
    x, y = coordinates((80, 80), pixel_size=0.8, dtype=torch.float64)
    blob = 0.02 / interaction_constant(300) * torch.exp(-((x - 3) ** 2 + (y + 2) ** 2) / (2 * 2.0**2))
    slices = torch.zeros(count, 80, 80, dtype=torch.float64)
    slices[slices_before] = blob
    height = (slices_before - 4.5) * thickness
    middle = exit_wave(blob[None], optics=OPTICS, slice_thickness=thickness, method="phase_grating")
    expected = image_of_wave(middle, OPTICS, flat(5000.0 + height))
    wrong = image_of_wave(middle, OPTICS, flat(5000.0 - height))
    for method in ("ewald", "multislice"):
        image = image_of_wave(exit_wave(slices, optics=OPTICS, slice_thickness=thickness, method=method), OPTICS, flat(5000.0))
        assert (image - expected).abs().max() < 0.02 * (expected - 1).abs().max()
        assert (image - wrong).abs().max() > 0.05 * (expected - 1).abs().max()


def test_five_atoms_look_as_in_kirkland():
    """Golden row 16: C, Si, Cu, Au, U at 200 kV, Cs 1.3 mm, 700 Å, aperture 10.37 mrad, 512² over 50 Å (Kirkland, fig. 5.12)."""
    optics = Optics(pixel_size=50 / 512, voltage_kv=200, spherical_aberration_mm=1.3, amplitude_contrast=0.0)
    positions = torch.tensor([[5.0 + 10 * i, 25.0, 0.5] for i in range(5)], dtype=torch.float64)
    slices = atoms_in_slices(
        torch.tensor([6, 14, 29, 79, 92]),
        positions,
        size=(512, 512),
        pixel_size=50 / 512,
        count=1,
        thickness=1.0,
        table="kirkland",
    )
    for method in ("phase_grating", "multislice"):
        wave = exit_wave(slices, optics=optics, slice_thickness=1.0, method=method)
        image = image_of_wave(wave, optics, flat(700.0), lens=ObjectiveLens(aperture=10.37e-3))
        assert image.min().item() == pytest.approx(0.72, abs=5e-3)
        assert image.max().item() == pytest.approx(1.03, abs=5e-3)
        assert image.mean().item() == pytest.approx(0.99988, abs=2e-4)


# ---------------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("method", ["phase_grating", "multislice"])
def test_the_linear_image_errs_by_the_square_of_the_phase(method, generator):
    slices = smooth_slices(generator, count=3, strength=1.0)
    errors = []
    for strength in (0.04, 0.02, 0.01):
        image = image_of_wave(
            exit_wave(strength * slices, optics=OPTICS, slice_thickness=1e-3, method=method), OPTICS, flat(4000.0)
        )
        derivative = 1e-6
        wave = exit_wave(derivative * slices, optics=OPTICS, slice_thickness=1e-3, method="weak_phase")
        linear = 1 + (image_of_wave(wave, OPTICS, flat(4000.0)) - 1) * (strength / derivative)
        errors.append((image - linear).norm().item())
    assert errors[0] / errors[1] == pytest.approx(4, abs=0.2)
    assert errors[1] / errors[2] == pytest.approx(4, abs=0.1)


def test_multislice_becomes_the_phase_grating_as_the_specimen_thins(generator):
    slices = smooth_slices(generator, count=6, strength=0.02, part=0.25)
    grating = exit_wave(slices, optics=OPTICS, slice_thickness=1.0, method="phase_grating")
    errors = [
        (exit_wave(slices, optics=OPTICS, slice_thickness=thickness, method="multislice") - grating).norm().item()
        for thickness in (0.4, 0.2, 0.1)
    ]
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.05)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.05)
    assert errors[2] < 1e-3 * (grating - 1).norm()


def test_the_ewald_model_is_multislice_for_weak_thick_specimens(generator):
    slices = smooth_slices(generator, count=8, strength=1.0, part=0.5)
    errors = []
    for strength in (0.02, 0.01):
        waves = {method: exit_wave(strength * slices, optics=OPTICS, slice_thickness=60.0, method=method) for method in METHODS}
        errors.append((waves["ewald"] - waves["multislice"]).norm().item())
        assert errors[-1] < 0.2 * (waves["weak_phase"] - waves["multislice"]).norm().item()
    assert errors[0] / errors[1] == pytest.approx(4, abs=0.1)


# ----------------------------------------------------------------------------------------------------------------- power


@pytest.mark.parametrize("size", [(40, 40), (39, 44)])
def test_power_is_lost_to_the_band_limit_and_to_nothing_else(size, generator):
    optics = replace(OPTICS, pixel_size=0.4)
    strong = 400 * torch.randn(12, *size, generator=generator, dtype=torch.float64)
    result = multislice_by_definition(strong.unbind(0), optics=optics, slice_thickness=4.0)
    assert result.removed > 0.01
    assert (result.wave.abs() ** 2).mean().item() == pytest.approx(1 - result.removed.item(), abs=1e-12)
    compiled = exit_wave(strong.float(), optics=optics, slice_thickness=4.0)
    assert compiled.dtype == torch.complex64
    assert (compiled.to(torch.complex128).abs() ** 2).mean().item() == pytest.approx(1 - result.removed.item(), abs=1e-6)


def test_a_protein_loses_less_than_half_a_percent(generator):
    optics = replace(OPTICS, pixel_size=0.25)
    slices = protein_like(generator, size=(160, 160), pixel_size=0.25, count=40, thickness=3.0)
    assert 4 < slices.mean() / 3.0 < 12  # V: the mean inner potential of a protein is about 7 V
    result = multislice_by_definition(slices.unbind(0), optics=optics, slice_thickness=3.0)
    assert 0 < result.removed < 5e-3
    assert (result.wave.abs() ** 2).mean().item() == pytest.approx(1 - result.removed.item(), abs=1e-12)
    power = (exit_wave(slices.float(), optics=optics, slice_thickness=3.0).to(torch.complex128).abs() ** 2).mean().item()
    assert power == pytest.approx(1 - result.removed.item(), abs=1e-6)


def test_the_wave_is_limited_to_two_thirds_of_nyquist(generator):
    rough = 50 * torch.randn(3, 32, 37, generator=generator, dtype=torch.float64)
    spectrum = torch.fft.fft2(exit_wave(rough, optics=OPTICS, slice_thickness=2.0))
    kx, ky = full_frequency_grid((32, 37), pixel_size=OPTICS.pixel_size, dtype=torch.float64)
    beyond = kx**2 + ky**2 > (2 / 3 * 0.5 / OPTICS.pixel_size) ** 2
    assert spectrum[beyond].abs().max() < 1e-9
    assert spectrum[~beyond].abs().min() > 1e-3


# --------------------------------------------------------------------------------------------------------- forms and use


@pytest.mark.parametrize("size", [*SIZES, (5, 4), (1, 7), (130, 64)])
@pytest.mark.parametrize("contrast", [0.0, 0.12])
def test_the_compiled_form_equals_the_definition(size, contrast, generator):
    optics = replace(OPTICS, amplitude_contrast=contrast)
    slices = 300 * torch.randn(2, 5, *size, generator=generator)
    slow = multislice_by_definition(slices.double().unbind(-3), optics=optics, slice_thickness=11.0).wave
    fast = exit_wave(slices, optics=optics, slice_thickness=11.0)
    assert fast.dtype == torch.complex64
    torch.testing.assert_close(fast, slow.to(torch.complex64), atol=3e-5, rtol=0)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_compiled_form_in_blocks_and_threads(threads, generator):
    slices = 100 * torch.randn(3, 300, 520, generator=generator)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        fast = exit_wave(slices, optics=OPTICS, slice_thickness=11.0)
    finally:
        torch.set_num_threads(before)
    slow = multislice_by_definition(slices.double().unbind(-3), optics=OPTICS, slice_thickness=11.0).wave
    torch.testing.assert_close(fast, slow.to(torch.complex64), atol=3e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", METHODS)
def test_slices_may_come_one_by_one_and_in_batches(method, dtype, generator):
    slices = smooth_slices(generator, count=3, size=(20, 23), batch=(2,)).to(dtype)
    before = slices.clone()
    together = exit_wave(slices, optics=OPTICS, slice_thickness=30.0, method=method)
    streamed = exit_wave((s for s in slices.unbind(-3)), optics=OPTICS, slice_thickness=30.0, method=method)
    singles = torch.stack([exit_wave(s, optics=OPTICS, slice_thickness=30.0, method=method) for s in slices])
    assert together.shape == (2, 20, 23)
    torch.testing.assert_close(streamed, together)
    torch.testing.assert_close(singles, together)
    assert torch.equal(slices, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", METHODS)
def test_few_slices_are_held_at_a_time(method, dtype):
    alive, most = weakref.WeakSet(), 0

    def slices():
        nonlocal most
        for _ in range(12):
            one = torch.zeros(8, 9, dtype=dtype)
            alive.add(one)
            most = max(most, len(alive))
            yield one
            del one

    exit_wave(slices(), optics=OPTICS, slice_thickness=3.0, method=method)
    assert most <= 4


@pytest.mark.parametrize("method", METHODS)
def test_gradients_reach_the_slices(method, generator):
    slices = 300 * torch.randn(3, 6, 7, generator=generator, dtype=torch.float64)
    weights = torch.randn(6, 7, generator=generator, dtype=torch.float64)

    def loss(values):
        wave = exit_wave(values, optics=OPTICS, slice_thickness=30.0, method=method)
        return (weights * image_of_wave(wave, OPTICS, flat(3000.0))).sum()

    values = slices.clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (values,), fast_mode=True)
    (gradient,) = torch.autograd.grad(loss(values), values)
    direction = torch.randn(slices.shape, generator=generator, dtype=torch.float64)
    step = 1e-2
    difference = (loss(slices + step * direction) - loss(slices - step * direction)) / (2 * step)
    assert (gradient * direction).sum().item() == pytest.approx(difference.item(), rel=1e-5)


def test_single_precision_carries_gradients_too(generator):
    slices = (300 * torch.randn(3, 12, 12, generator=generator)).requires_grad_()
    wave = exit_wave(slices, optics=OPTICS, slice_thickness=30.0)
    (gradient,) = torch.autograd.grad((wave.abs() ** 2)[3, 4], slices)
    assert gradient.abs().max() > 0


def test_late_gradients_are_refused_rather_than_lost(generator):
    slices = 300 * torch.randn(2, 12, 12, generator=generator)
    with pytest.raises(UsageError, match="gradient"):
        exit_wave([slices[0], slices[1].requires_grad_()], optics=OPTICS, slice_thickness=30.0)


@pytest.mark.parametrize("method", METHODS)
def test_hostile_slices_are_refused(method):
    with pytest.raises(ShapeError, match="no slices"):
        exit_wave(torch.zeros(0, 4, 4), optics=OPTICS, slice_thickness=1.0, method=method)
    with pytest.raises(ShapeError, match="no slices"):
        exit_wave([], optics=OPTICS, slice_thickness=1.0, method=method)
    with pytest.raises(ShapeError, match="one shape"):
        exit_wave([torch.zeros(4, 4), torch.zeros(4, 5)], optics=OPTICS, slice_thickness=1.0, method=method)
    with pytest.raises(ShapeError, match="one shape"):
        exit_wave(torch.zeros(4, 4), optics=OPTICS, slice_thickness=1.0, method=method)
    with pytest.raises(UsageError, match="potentials"):
        exit_wave(torch.zeros(2, 4, 4, dtype=torch.int64), optics=OPTICS, slice_thickness=1.0, method=method)
    for thickness in (0.0, -3.0, math.nan):
        with pytest.raises(UsageError, match="slice thickness"):
            exit_wave(torch.zeros(1, 4, 4), optics=OPTICS, slice_thickness=thickness, method=method)
