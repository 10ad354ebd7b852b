"""Scattering models: closed forms of free space and of two planes, their limits, and the power that multislice keeps account of."""

import math
from dataclasses import replace

import pytest
import torch

from cryowalk.core.constants import interaction_constant
from cryowalk.core.errors import ShapeError, UsageError
from cryowalk.data.optics import Optics
from cryowalk.fourier.grids import coordinates, full_frequency_grid
from cryowalk.microscope.lens import aberration_phase
from cryowalk.microscope.multislice import (
    band_limit,
    limit_band,
    multislice_by_definition,
    propagate,
)
from cryowalk.microscope.scattering import exit_wave

METHODS = ("weak_phase", "phase_grating", "ewald", "multislice")
OPTICS = Optics(pixel_size=0.8, amplitude_contrast=0.0)


def smooth_slices(generator, *, count, size, strength, optics=OPTICS, batch=()):
    """Random slices of the given r.m.s. phase (rad) over all slices, without detail beyond half of the band limit."""
    slices = torch.randn(*batch, count, *size, generator=generator, dtype=torch.float64)
    slices = limit_band(slices, optics=replace(optics, pixel_size=optics.pixel_size)) * 1.0
    kx, ky = full_frequency_grid(size, pixel_size=optics.pixel_size, dtype=torch.float64)
    envelope = torch.exp(-(kx**2 + ky**2) * (9 / band_limit(optics) ** 2))
    slices = torch.fft.ifft2(torch.fft.fft2(slices) * envelope).real
    phase = interaction_constant(optics.voltage_kv) * slices.sum(dim=-3)
    return slices * (strength / phase.std())


@pytest.mark.parametrize("method", METHODS)
def test_no_specimen_leaves_the_plane_wave(method):
    wave = exit_wave(torch.zeros(3, 12, 13, dtype=torch.float64), optics=OPTICS, slice_thickness=5.0, method=method)
    torch.testing.assert_close(wave, torch.ones(12, 13, dtype=torch.complex128), atol=1e-14, rtol=0)
