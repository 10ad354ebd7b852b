"""Particles of a random specimen seen through a known lens: exact slices by a non-uniform transform, so that nothing refined makes the data."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from cryowalk.data import Defocus, ImageStack, Optics, ParticleSet, Pose, Volume
from cryowalk.data.optics import Aberrations
from cryowalk.fourier.filters import b_factor, shift_phases
from cryowalk.fourier.grids import frequency_grid
from cryowalk.fourier.nufft import slices_exactly
from cryowalk.fourier.transform import to_real
from cryowalk.geometry.sampling import random_rotations
from cryowalk.microscope.aberrations import magnified, magnified_area, magnified_reach
from cryowalk.microscope.lens import antisymmetric_factor, contrast_transfer

BOX, PIXEL = 48, 1.6


def random_specimen() -> Volume:
    """Random density within a ball of 0.28 of the box, falling with resolution."""
    generator = torch.Generator().manual_seed(11)
    axis = torch.arange(BOX, dtype=torch.float64) - BOX // 2
    radius = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
    voxels = torch.randn(BOX, BOX, BOX, generator=generator, dtype=torch.float64) * (radius < 0.28 * BOX)
    voxels = b_factor(voxels, b_factor=50.0, pixel_size=PIXEL, dimensions=3) * torch.sigmoid((0.3 * BOX - radius) * 2)
    return Volume(voxels=voxels.float(), voxel_size=PIXEL)


def photographed(
    specimen: Volume,
    count: int,
    generator: torch.Generator,
    *,
    aberrations: Aberrations,
    noise: float,
    micrographs: int = 6,
) -> ParticleSet:
    """Particles with true parameters: `noise` is the noise's deviation over the signal's."""
    optics = Optics(pixel_size=PIXEL, aberrations=aberrations)
    rotations = random_rotations(count, generator=generator)
    shift = 2 * torch.randn(count, 2, generator=generator, dtype=torch.float64)
    number = torch.arange(count) % micrographs
    mean = (8000 + 1500 * torch.arange(micrographs, dtype=torch.float64))[number]
    mean = mean + 200 * torch.randn(count, generator=generator, dtype=torch.float64)
    defocus = Defocus(
        major=mean + 150,
        minor=mean - 150,
        azimuth=(0.3 + 0.4 * number.double()) % math.pi,
        phase_shift=torch.zeros(count, dtype=torch.float64),
    )
    size = (BOX, BOX)
    spectra = slices_exactly(replace(specimen, voxels=specimen.voxels.double()), magnified(rotations, optics=optics))
    kx, ky = frequency_grid(size, pixel_size=PIXEL, dtype=torch.float64)
    known = magnified_reach(kx, ky, optics=optics, limit=0.5 / PIXEL) * magnified_area(optics)
    spectra = (
        spectra * known * contrast_transfer(optics, defocus, size=size) * antisymmetric_factor(optics, size=size, like=spectra)
    )
    images = to_real(spectra * shift_phases(size, shift, pixel_size=PIXEL), width=BOX)
    images += noise * images.std() * torch.randn(images.shape, generator=generator, dtype=torch.float64)
    return ParticleSet(
        optics=(optics,),
        optics_index=torch.zeros(count, dtype=torch.long),
        images=ImageStack(pixels=images.float(), pixel_size=PIXEL),
        pose=Pose(lab_from_particle=rotations, shift=shift),
        defocus=defocus,
        half=torch.arange(count) % 2 + 1,
        image_names=tuple(f"{i + 1:06d}@p.mrcs" for i in range(count)),
        micrograph_names=tuple(f"m{int(i)}.mrc" for i in number),
    )


@pytest.fixture(scope="session")
def specimen() -> Volume:
    """A random specimen."""
    return random_specimen()


@pytest.fixture
def photograph(specimen: Volume, generator: torch.Generator) -> Callable[..., ParticleSet]:
    """`photographed` of the specimen."""

    def make(count: int, *, aberrations: Aberrations = Aberrations(), noise: float = 2.0, micrographs: int = 6) -> ParticleSet:  # noqa: B008
        return photographed(specimen, count, generator, aberrations=aberrations, noise=noise, micrographs=micrographs)

    return make
