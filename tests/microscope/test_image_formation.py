"""Images of the lens: no wrap-round, right sign, right place, and what leaves the box."""

import math
from dataclasses import replace

import pytest
import torch

from cryowalk.core.constants import interaction_constant
from cryowalk.core.errors import UsageError
from cryowalk.data.instrument import Gun, ObjectiveLens
from cryowalk.data.optics import Aberrations, Defocus, Optics
from cryowalk.fourier.filters import low_pass
from cryowalk.fourier.grids import coordinates
from cryowalk.fourier.transform import resize, to_fourier, to_real
from cryowalk.microscope.gun import focus_spread, spatial_envelope, temporal_envelope
from cryowalk.microscope.image_formation import form_images, image_by_summation, image_of_wave
from cryowalk.microscope.lens import antisymmetric_phase, contrast_transfer
from cryowalk.microscope.scattering import exit_wave

OPTICS = Optics(pixel_size=1.6)


def defocus_of(*values):
    major = torch.tensor(values, dtype=torch.float64)
    return Defocus(major=major, minor=major - 300, azimuth=torch.full_like(major, 0.4), phase_shift=torch.zeros_like(major))


def blob(box, *, sigma=2.5, at=(6.0, -9.0)):
    x, y = coordinates((box, box), pixel_size=1.6, dtype=torch.float64)
    return torch.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * sigma**2))


@pytest.mark.parametrize("box", [40, 41])
def test_a_larger_canvas_changes_nothing(box):
    image, shift = blob(box)[None], torch.tensor([[2.3, -1.1]], dtype=torch.float64)
    usual = form_images(image, OPTICS, defocus_of(15000.0), shift=shift).images
    larger = form_images(image, OPTICS, defocus_of(15000.0), shift=shift, canvas=640).images
    torch.testing.assert_close(usual, larger, atol=2e-5 * larger.abs().max().item(), rtol=0)
    wrapped = form_images(image, OPTICS, defocus_of(15000.0), shift=shift, canvas=box).images
    assert (wrapped - larger).abs().max() > 0.05 * larger.abs().max()


def test_a_canvas_that_is_all_image_gives_the_plain_convolution(generator):
    image = torch.randn(2, 32, 32, generator=generator, dtype=torch.float64)
    defocus = defocus_of(9000.0, 12000.0)
    formed = form_images(image, OPTICS, defocus, shift=torch.zeros(2, 2, dtype=torch.float64), canvas=32)
    plain = to_real(to_fourier(image) * contrast_transfer(OPTICS, defocus, size=(32, 32)), width=32)
    torch.testing.assert_close(formed.images, plain)
    torch.testing.assert_close(formed.signal_lost, torch.zeros(2, dtype=torch.float64), atol=1e-12, rtol=0)


def test_shifts_move_the_particle(generator):
    del generator
    still = form_images(blob(48)[None], OPTICS, defocus_of(8000.0), shift=torch.zeros(1, 2, dtype=torch.float64), canvas=200)
    moved = form_images(
        blob(48)[None], OPTICS, defocus_of(8000.0), shift=torch.tensor([[3.2, -4.8]], dtype=torch.float64), canvas=200
    )
    torch.testing.assert_close(
        moved.images[0, 5:-5, 5:-5], still.images[0].roll((-3, 2), dims=(0, 1))[5:-5, 5:-5], atol=1e-6, rtol=0
    )


def test_a_particle_is_bright():
    x, y = coordinates((64, 64), pixel_size=1.6, dtype=torch.float64)
    particle = torch.exp(-(x**2 + y**2) / (2 * 12.0**2))
    phase_plate = Defocus(
        major=torch.tensor([500.0]), minor=torch.tensor([500.0]), azimuth=torch.zeros(1), phase_shift=torch.tensor([math.pi / 2])
    )
    for defocus in (phase_plate, defocus_of(20000.0)):
        image = form_images(particle[None], OPTICS, defocus, shift=torch.zeros(1, 2, dtype=torch.float64)).images[0]
        assert image[32, 32] > 0.1
        assert image[32, 32] == image.max()


def test_more_defocus_loses_more_signal():
    image = blob(40, sigma=1.2)[None].expand(3, 40, 40)
    lost = form_images(
        image, OPTICS, defocus_of(5000.0, 12000.0, 25000.0), shift=torch.zeros(3, 2, dtype=torch.float64)
    ).signal_lost
    assert (lost.diff() > 0).all()
    assert 0 < lost[0] < lost[2] < 1


def test_energy_is_kept_on_a_whole_canvas():
    image = resize(blob(40)[None], 256)
    formed = form_images(image, OPTICS, defocus_of(15000.0), shift=torch.zeros(1, 2, dtype=torch.float64), canvas=256)
    assert formed.signal_lost.item() == pytest.approx(0, abs=1e-12)


def test_a_canvas_smaller_than_the_image_is_refused():
    with pytest.raises(UsageError, match="canvas"):
        form_images(blob(40)[None], OPTICS, defocus_of(9000.0), shift=torch.zeros(1, 2, dtype=torch.float64), canvas=32)


# ------------------------------------------------------------------------------------------------------------ images of waves

GUN = Gun(energy_spread_ev=0.6, convergence=1.5e-4)
LENS = ObjectiveLens()


def flat(value):
    major = torch.tensor(value, dtype=torch.float64)
    return Defocus(major=major, minor=major, azimuth=0 * major, phase_shift=0 * major)


def beams(*orders, strength=1.0, size=48):
    """A wave that is a sum of plane waves of these orders along x."""
    x = torch.arange(size, dtype=torch.float64) / size
    wave = sum(strength * torch.exp(2j * math.pi * order * x) for order in orders)
    return wave.expand(size, size).contiguous()


@pytest.mark.parametrize("size", [(32, 32), (33, 30)])
def test_the_weak_image_of_a_wave_is_the_linear_image(size, generator):
    """Defocus in a batch, astigmatism, phase plate, coma and trefoil: 1 − 2σₑ v ∗ CTF, moved by the odd phase."""
    optics = replace(
        OPTICS, aberrations=Aberrations(beam_tilt=(2e-3, -1e-3), odd_zernike=(0.0, 0.0, 3.0), even_zernike=(0.0, 0.0, 0.0, 5.0))
    )
    major = torch.tensor([8000.0, 12000.0], dtype=torch.float64)
    defocus = Defocus(major=major, minor=major - 900, azimuth=torch.tensor([0.3, 1.0]).double(), phase_shift=0 * major + 0.4)
    v = 1e-3 * torch.randn(*size, generator=generator, dtype=torch.float64)
    v = v - v.mean()  # the phase plate acts on everything but the unscattered beam
    v = low_pass(v, resolution=4.5, pixel_size=OPTICS.pixel_size)
    wave = exit_wave(v[None], optics=optics, slice_thickness=1.0, method="weak_phase")
    odd = antisymmetric_phase(optics, size=size)
    spectrum = to_fourier(v) * contrast_transfer(optics, defocus, size=size) * torch.polar(torch.ones_like(odd), odd)
    linear = -2 * interaction_constant(300) * to_real(spectrum, width=size[1])
    contrast = image_of_wave(wave, optics, defocus) - 1
    assert contrast.shape == (2, *size)
    torch.testing.assert_close(contrast, linear, atol=1e-4 * linear.abs().max().item(), rtol=0)
    if size[0] == size[1]:
        moved = form_images(
            v.expand(2, *size), optics, defocus, shift=torch.zeros(2, 2, dtype=torch.float64), canvas=size[0]
        ).images
        torch.testing.assert_close(-2 * interaction_constant(300) * moved, linear, atol=1e-4 * linear.abs().max().item(), rtol=0)


def test_the_empty_image_is_one_everywhere():
    wave = torch.ones(2, 12, 15, dtype=torch.complex64)
    image = image_of_wave(wave, OPTICS, flat(10000.0), gun=GUN, lens=LENS)
    assert image.dtype == torch.float32
    torch.testing.assert_close(image, torch.ones(2, 12, 15))
    torch.testing.assert_close(image_by_summation(wave, OPTICS, flat(10000.0), gun=GUN, lens=LENS), torch.ones(2, 12, 15))


def test_without_spread_the_sum_is_the_coherent_image(generator):
    wave = torch.polar(torch.ones(24, 25).double(), 0.4 * torch.randn(24, 25, generator=generator, dtype=torch.float64))
    still = Gun(energy_spread_ev=0.0, convergence=1e-12, voltage_ripple=0.0)
    lens = ObjectiveLens(current_ripple=0.0, aperture=0.004)
    aberrations = Aberrations(
        beam_tilt=(2e-3, -1e-3), odd_zernike=(0.0, 0.0, 3.0), even_zernike=(0.7, 0.0, 5.0), magnification=(1.01, 0.02, 0.01, 0.98)
    )
    optics = replace(OPTICS, aberrations=aberrations)
    defocus = replace(flat(7000.0), phase_shift=torch.tensor(0.9).double())
    torch.testing.assert_close(
        image_by_summation(wave, optics, defocus, gun=still, lens=lens), image_of_wave(wave, optics, defocus, lens=lens)
    )


def test_the_envelope_of_the_defocus_is_that_of_the_linear_image(generator):
    v = 1e-3 * low_pass(torch.randn(32, 32, generator=generator, dtype=torch.float64), resolution=4.5, pixel_size=1.6)
    defocus = replace(defocus_of(9000.0), b_factor=torch.tensor([80.0]).double(), scale=torch.tensor([0.7]).double())
    v = v - v.mean()
    wave = exit_wave(v[None], optics=OPTICS, slice_thickness=1.0, method="weak_phase")
    formed = form_images(v[None], OPTICS, defocus, shift=torch.zeros(1, 2, dtype=torch.float64), canvas=32).images
    linear = -2 * interaction_constant(300) * formed
    contrast = image_of_wave(wave, OPTICS, defocus) - 1
    torch.testing.assert_close(contrast, linear, atol=1e-4 * linear.abs().max().item(), rtol=0)


@pytest.mark.parametrize("gun", [replace(GUN, convergence=1e-9), replace(GUN, energy_spread_ev=0.0, voltage_ripple=0.0), GUN])
def test_envelopes_are_right_for_interference_with_the_unscattered_beam(gun):
    """A fringe of 5 Å at 2 µm: its contrast in the sum over energies and directions is the coherent one times both envelopes."""
    order = round(48 * OPTICS.pixel_size / 5)
    wave = 1 + 1e-4j * (beams(order) + beams(-order)).real
    defocus = flat(20000.0)
    coherent = image_of_wave(wave, OPTICS, defocus) - 1
    summed = image_by_summation(wave, OPTICS, defocus, gun=gun, lens=LENS, focus_nodes=15, angle_nodes=15) - 1
    enveloped = image_of_wave(wave, OPTICS, defocus, gun=gun, lens=LENS) - 1
    k = torch.tensor(order / (48 * OPTICS.pixel_size), dtype=torch.float64)
    envelope = temporal_envelope(k, optics=OPTICS, gun=gun, lens=LENS) * spatial_envelope(
        k, optics=OPTICS, defocus=defocus, gun=gun
    )
    assert envelope < 0.999
    ratio = (summed.std() / coherent.std()).item()
    assert ratio == pytest.approx(envelope.item(), abs=2e-3)
    assert (enveloped.std() / coherent.std()).item() == pytest.approx(envelope.item(), abs=1e-6)


def test_envelopes_are_wrong_for_scattered_beams_among_themselves():
    """Two beams of ±k interfere in focus whatever the energy, T(k, −k) = 1; the product of the envelopes says E(k)²."""
    order = round(48 * OPTICS.pixel_size / 3.6)
    wave = beams(order) + beams(-order)
    gun = replace(GUN, energy_spread_ev=1.5, convergence=1e-9)
    k = torch.tensor(order / (48 * OPTICS.pixel_size), dtype=torch.float64)
    envelope = temporal_envelope(k, optics=OPTICS, gun=gun, lens=LENS).item()
    assert envelope < 0.8
    coherent = image_of_wave(wave, OPTICS, flat(5000.0)).std()
    summed = image_by_summation(wave, OPTICS, flat(5000.0), gun=gun, lens=LENS).std()
    enveloped = image_of_wave(wave, OPTICS, flat(5000.0), gun=gun, lens=LENS).std()
    assert (summed / coherent).item() == pytest.approx(1, abs=1e-6)
    assert (enveloped / coherent).item() == pytest.approx(envelope**2, rel=1e-6)


@pytest.mark.parametrize(("first", "second"), [(6, 12), (3, 17), (9, -14)])
def test_the_sum_has_the_transmission_cross_coefficient_of_focus(first, second):
    """The fringe of two scattered beams fades by exp(−½ (πλδ)² (k₁² − k₂²)²)."""
    gun = replace(GUN, energy_spread_ev=1.5, convergence=1e-9)
    field = 48 * OPTICS.pixel_size
    wave = beams(first) + beams(second)
    spread = focus_spread(OPTICS, gun, LENS)
    exponent = math.pi * OPTICS.wavelength * spread * ((first / field) ** 2 - (second / field) ** 2)
    summed = image_by_summation(wave, OPTICS, flat(5000.0), gun=gun, lens=LENS, focus_nodes=21, angle_nodes=1)
    coherent = image_of_wave(wave, OPTICS, flat(5000.0))
    assert (summed.std() / coherent.std()).item() == pytest.approx(math.exp(-(exponent**2) / 2), rel=1e-6)


def test_a_sum_over_nothing_is_refused():
    with pytest.raises(UsageError, match="node"):
        image_by_summation(beams(0), OPTICS, flat(0.0), gun=GUN, lens=LENS, focus_nodes=0)


def test_the_sum_carries_gradients(generator):
    v = torch.randn(6, 7, generator=generator, dtype=torch.float64, requires_grad=True)

    def image(potential):
        wave = exit_wave(100 * potential[None], optics=OPTICS, slice_thickness=1.0, method="phase_grating")
        return image_by_summation(wave, OPTICS, flat(3000.0), gun=GUN, lens=LENS, focus_nodes=3, angle_nodes=2)

    assert torch.autograd.gradcheck(image, (v,), fast_mode=True)
