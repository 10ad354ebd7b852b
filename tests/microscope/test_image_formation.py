"""Images of the lens: no wrap-round, right sign, right place, and what leaves the box."""

import math

import pytest
import torch

from cryowalk.core.errors import UsageError
from cryowalk.data.optics import Defocus, Optics
from cryowalk.fourier.grids import coordinates
from cryowalk.fourier.transform import resize, to_fourier, to_real
from cryowalk.microscope.image_formation import form_images
from cryowalk.microscope.lens import contrast_transfer

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
