"""Films of known defocus: every frequency at the same strength, seen through a lens, with noise."""

import math

import numpy as np
import pytest
import torch

from cryowalk import Defocus, Optics, fourier
from cryowalk.microscope.lens import contrast_transfer


def defocus_of(mean, *, astigmatism=0.0, azimuth=0.0, phase_shift=0.0):
    values = (mean + astigmatism / 2, mean - astigmatism / 2, azimuth, phase_shift)
    major, minor, angle, shift = (torch.tensor([value], dtype=torch.float64) for value in values)
    return Defocus(major=major, minor=minor, azimuth=angle, phase_shift=shift)


def white(side, seed):
    return torch.randn(side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def film():
    """A function that makes a film: side, optics, defocus, noise (σ), seed."""

    def make(side, optics, defocus, *, noise=1.5, seed=1):
        transfer = contrast_transfer(optics, defocus, size=(side, side))[0]
        image = fourier.to_real(fourier.to_fourier(white(side, seed)) * transfer, width=side)
        return (image + noise * white(side, seed + 1000)).float()

    return make


@pytest.fixture
def curved_film():
    """A function that makes a film whose defocus depends on the place: a function of (x, y) in Å from the middle."""

    def make(side, optics, defocus, *, noise=1.0, step=60.0, seed=1):
        spectrum = fourier.to_fourier(white(side, seed))
        line = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2) * optics.pixel_size
        field = defocus(line[None, :].expand(side, side), line[:, None].expand(side, side))
        total = torch.zeros(side, side, dtype=torch.float64)
        for value in np.arange(float(field.min()) - step, float(field.max()) + 2 * step, step):
            transfer = contrast_transfer(optics, defocus_of(float(value)), size=(side, side))[0]
            layer = fourier.to_real(spectrum * transfer, width=side)
            total += (1 - (field - value).abs() / step).clamp_min(0) * layer
        return (total + noise * white(side, seed + 1000)).float()

    return make


@pytest.fixture
def thick_film():
    """A function that makes a slab of independent sheets 25 Å apart."""

    def make(side, optics, defocus, thickness, *, noise=0.7):
        heights = np.arange(-thickness / 2 + 12.5, thickness / 2, 25.0)
        total = torch.zeros(side, side, dtype=torch.float64)
        for number, height in enumerate(heights):
            transfer = contrast_transfer(optics, defocus_of(defocus + float(height)), size=(side, side))[0]
            total += fourier.to_real(fourier.to_fourier(white(side, number)) * transfer, width=side)
        return (total / math.sqrt(len(heights)) + noise * white(side, 5000)).float()

    return make


@pytest.fixture
def titan():
    return Optics(pixel_size=1.4, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.07)
