"""Maps from images with beam tilt, Zernike terms and uneven magnification: as good as from images without."""

import math
from dataclasses import replace

import pytest
import torch

from cryowalk.data import ImageStack
from cryowalk.data.optics import Aberrations
from cryowalk.fourier.grids import frequency_grid
from cryowalk.fourier.shells import shell_correlation
from cryowalk.fourier.transform import to_real
from cryowalk.microscope.aberrations import true_frequency
from cryowalk.microscope.lens import antisymmetric_factor, contrast_transfer
from cryowalk.reconstruction import ReconstructionSettings, reconstruct_with_full_map

BOX = 36


def seen_through(phantom, particles, aberrations):
    """The particles with images that a lens with these aberrations makes of the phantom, in closed form: F(M k) |det M| CTF exp(iρ)."""
    optics = replace(particles.optics[0], aberrations=aberrations)
    kx, ky = frequency_grid((BOX, BOX), pixel_size=optics.pixel_size, dtype=torch.float64)
    kx, ky = (k + torch.zeros(BOX, BOX // 2 + 1, dtype=torch.float64) for k in (kx, ky))
    x, y = true_frequency(kx, ky, optics=optics)
    total = torch.zeros(len(particles), BOX, BOX // 2 + 1, dtype=torch.complex128)
    for centre, width, height in phantom.blobs():
        place = (particles.pose.lab_from_particle @ centre)[:, :2]
        turns = place[:, 0, None, None] * x + place[:, 1, None, None] * y
        decay = torch.exp(-2 * (math.pi * width) ** 2 * (x**2 + y**2)) * height * width**3 * (2 * math.pi) ** 1.5
        total += torch.polar(decay.expand_as(turns).contiguous(), -2 * math.pi * turns)
    m = aberrations.magnification
    total *= abs(m[0] * m[3] - m[1] * m[2]) / (BOX * optics.pixel_size**2)
    shift = particles.pose.shift
    moved = torch.exp(-2j * math.pi * (shift[:, 0, None, None] * kx + shift[:, 1, None, None] * ky))
    spectra = total * moved * antisymmetric_factor(optics, size=(BOX, BOX), like=total)
    spectra = spectra * contrast_transfer(optics, particles.defocus, size=(BOX, BOX))
    images = to_real(spectra, width=BOX).float()
    return replace(particles, optics=(optics,), images=ImageStack(pixels=images, pixel_size=optics.pixel_size))


ALL = Aberrations(
    beam_tilt=(6e-3, -9e-3),
    odd_zernike=(0.0, 0.0, 40.0, 10.0, -30.0, 60.0),
    even_zernike=(0.0, 30.0, 0.0, -20.0),
    magnification=(1.05, 0.02, 0.02, 0.97),
)


@pytest.mark.parametrize(
    "aberrations",
    [
        Aberrations(beam_tilt=ALL.beam_tilt),
        Aberrations(odd_zernike=ALL.odd_zernike),
        Aberrations(even_zernike=ALL.even_zernike),
        Aberrations(magnification=ALL.magnification),
        ALL,
    ],
    ids=["beam tilt", "odd", "even", "magnification", "all"],
)
def test_the_map_is_as_good_as_without_aberrations(aberrations, make_phantom, make_particles):
    phantom = make_phantom(BOX, pixel_size=1.7)
    truth = phantom.volume().voxels
    plain = make_particles(phantom, 500)
    aberrated = seen_through(phantom, plain, aberrations)
    corrected = reconstruct_with_full_map(aberrated)
    last = int(0.75 * BOX / 2)
    reference = shell_correlation(reconstruct_with_full_map(seen_through(phantom, plain, Aberrations())).full.voxels, truth)
    correlation = shell_correlation(corrected.full.voxels, truth)
    assert correlation[1:last].min() > 0.99
    assert (correlation - reference)[1:last].abs().max() < 5e-3
    scale = float((corrected.full.voxels * truth).sum() / truth.square().sum())
    assert scale == pytest.approx(1, abs=0.02)
    ignored = replace(aberrated, optics=(plain.optics[0],))
    assert shell_correlation(reconstruct_with_full_map(ignored).full.voxels, truth)[1:last].min() < 0.97


def test_groups_with_their_own_magnification_meet_in_one_map(make_phantom, make_particles):
    phantom = make_phantom(BOX, pixel_size=1.7)
    plain = make_particles(phantom, 400)
    kinds = (
        Aberrations(),
        Aberrations(magnification=(1.06, 0.0, 0.0, 1.02)),
        Aberrations(magnification=(0.95, 0.02, 0.01, 0.97)),
    )
    group = torch.arange(400) % 3
    seen = [seen_through(phantom, plain, kind) for kind in kinds]
    pixels = torch.stack([s.images.read(range(400)) for s in seen])[group, torch.arange(400)]
    mixed = replace(
        plain,
        optics=tuple(replace(s.optics[0], name=f"g{i}") for i, s in enumerate(seen)),
        optics_index=group,
        half=torch.arange(400) // 3 % 2 + 1,
        images=ImageStack(pixels=pixels, pixel_size=1.7),
    )
    truth = phantom.volume().voxels
    for settings in (ReconstructionSettings(), ReconstructionSettings(padding=2.0)):
        assert shell_correlation(reconstruct_with_full_map(mixed, settings).full.voxels, truth)[1:13].min() > 0.99
