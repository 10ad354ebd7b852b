"""Noise at a stated dose, a stated ratio and a stated spectrum."""

import math

import pytest
import torch

from cryowalk.core.constants import interaction_constant
from cryowalk.core.errors import UsageError
from cryowalk.data.optics import Optics
from cryowalk.fourier.shells import shell_average
from cryowalk.fourier.transform import to_fourier
from cryowalk.microscope.exposure import (
    deviation_for_snr,
    electrons_per_pixel,
    expected_intensity,
    images_of_counts,
    noise_deviation,
    noise_images,
    noise_power,
)

OPTICS = Optics(pixel_size=1.3)


def test_counting_noise_has_the_stated_deviation(generator):
    dose = 35.0
    mean = expected_intensity(torch.zeros(200, 200), OPTICS, dose=dose)
    counts = torch.poisson(mean, generator=generator)
    assert mean[0, 0].item() == pytest.approx(35 * 1.3**2)
    assert images_of_counts(counts, OPTICS, dose=dose).std().item() == pytest.approx(noise_deviation(OPTICS, dose=dose), rel=0.02)
    relative = noise_deviation(OPTICS, dose=dose) * 2 * interaction_constant(300)
    assert relative == pytest.approx(1 / math.sqrt(35 * 1.3**2))


def test_protein_is_dark_on_the_camera_and_bright_in_particle_images(generator):
    image = 50 * torch.rand(9, 8, generator=generator, dtype=torch.float64)
    counts = expected_intensity(image, OPTICS, dose=20)
    assert (counts < electrons_per_pixel(OPTICS, dose=20)).all()
    torch.testing.assert_close(images_of_counts(counts, OPTICS, dose=20), image)


@pytest.mark.parametrize("box", [32, 33])
@pytest.mark.parametrize("colour", ["white", "ice"])
def test_noise_has_the_stated_power_in_every_shell(box, colour):
    power = noise_power(box, pixel_size=1.3, deviation=7.0, colour=colour)
    noise = noise_images(range(1500), seed=3, power=power, box=box)
    measured = shell_average(to_fourier(noise.double()).abs() ** 2, size=(box, box)).mean(dim=0)
    torch.testing.assert_close(measured, power, rtol=0.08, atol=0)
    assert noise.std().item() == pytest.approx(7.0, rel=0.01)
    if colour == "ice":
        assert power[0] > 4 * power[-1]
        assert (power.diff() < 0).all()


def test_the_noise_of_an_image_depends_on_seed_and_number_alone():
    power = noise_power(16, pixel_size=1.3, deviation=2.0, colour="ice")
    together = noise_images(range(10), seed=5, power=power, box=16)
    alone = noise_images([7], seed=5, power=power, box=16)
    torch.testing.assert_close(together[7], alone[0], rtol=0, atol=1e-5)
    assert not torch.equal(alone, noise_images([7], seed=6, power=power, box=16))
    flat = together.reshape(10, -1)
    assert (torch.corrcoef(flat) - torch.eye(10)).abs().max() < 0.35


def test_noise_for_a_ratio(generator):
    signal = 3 * torch.randn(20, 30, 30, generator=generator) + 11
    assert deviation_for_snr(signal, snr=0.09) == pytest.approx(10.0, rel=0.03)
    with pytest.raises(UsageError, match="snr"):
        deviation_for_snr(signal, snr=0.0)
    with pytest.raises(UsageError, match="dose"):
        noise_deviation(OPTICS, dose=-1.0)
