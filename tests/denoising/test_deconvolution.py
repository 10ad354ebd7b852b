"""Deconvolution of micrographs: contrast comes back, signs are right, and bad input is told."""

import pytest
import torch
from tests.denoising.conftest import PIXEL_SIZE, lumps

from cryowalk import Defocus, Optics, fourier
from cryowalk.core.errors import InputError
from cryowalk.data import Micrograph
from cryowalk.denoising import DenoisingSettings, deconvolve
from cryowalk.denoising.deconvolution import assumed_ratio
from cryowalk.microscope.lens import contrast_transfer

OPTICS = Optics(pixel_size=PIXEL_SIZE)
DEFOCUS = Defocus(
    major=torch.tensor(20000.0), minor=torch.tensor(19500.0), azimuth=torch.tensor(0.3), phase_shift=torch.tensor(0.0)
)


def test_protein_stays_dark_and_comes_nearer_to_its_projection():
    truth = lumps((128, 120), count=60)
    seen = fourier.to_real(fourier.to_fourier(truth) * contrast_transfer(OPTICS, DEFOCUS, size=(128, 120)).double(), width=120)
    noise = 0.05 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    image = Micrograph(pixels=100 - seen + noise, pixel_size=PIXEL_SIZE)
    found = deconvolve(image, OPTICS, DEFOCUS, DenoisingSettings(strength=0.7, falloff=0.3, high_pass=1e4))

    def likeness(pixels):
        return float(torch.corrcoef(torch.stack([(pixels - pixels.mean()).reshape(-1), -truth.reshape(-1)]))[0, 1])

    assert likeness(found.pixels) > 0.8
    assert likeness(found.pixels) > likeness(image.pixels) + 0.2
    assert abs(float(found.pixels.mean())) < 1e-9


def test_the_assumed_ratio_has_its_stated_values():
    frequency = torch.tensor([0.0, 0.005, 0.01, 0.02], dtype=torch.float64)
    found = assumed_ratio(frequency, strength=1.0, falloff=1.0, high_pass=100.0)
    expected = torch.tensor([0.0, 0.5, 1.0, 1.0], dtype=torch.float64) * 1000 * torch.exp(-100 * frequency)
    assert torch.allclose(found, expected)


def test_bad_micrographs_are_told():
    with pytest.raises(InputError, match="constant"):
        deconvolve(Micrograph(pixels=torch.ones(32, 32), pixel_size=2.0), OPTICS, DEFOCUS)
    with pytest.raises(InputError, match="NaN"):
        deconvolve(Micrograph(pixels=torch.full((32, 32), float("nan")), pixel_size=2.0), OPTICS, DEFOCUS)
