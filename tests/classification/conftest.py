"""Particle images of a few known views, small enough to be classified within seconds."""

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from cryowalk.data import Defocus, ImageStack, Optics, ParticleSet, Pose, Volume
from cryowalk.fourier.slices import extract_slices, prepare_volume
from cryowalk.fourier.transform import to_real
from cryowalk.geometry.rotations import matrix_about_axis, view_direction
from cryowalk.geometry.sampling import random_rotations
from cryowalk.microscope.exposure import deviation_for_snr
from cryowalk.microscope.image_formation import form_images

BOX, PIXEL_SIZE = 48, 5.0


class Views(NamedTuple):
    """Particles that show known views, and the truth: which view each shows (−1: none), its pose, the views themselves, the noise's deviation."""

    particles: ParticleSet
    label: Tensor
    pose: Pose
    clean: Tensor
    deviation: float


def phantom() -> Volume:
    """An asymmetric molecule of Gaussian blobs, some 150 Å across, unlike any turned or mirrored copy of itself."""
    axis = (torch.arange(BOX, dtype=torch.float64) - BOX // 2) * PIXEL_SIZE
    voxels = torch.zeros(BOX, BOX, BOX, dtype=torch.float64)
    generator = torch.Generator().manual_seed(12)
    for number in range(14):
        place = torch.randn(3, generator=generator, dtype=torch.float64) * torch.tensor([38.0, 24.0, 14.0], dtype=torch.float64)
        width = 8.0 + float(4 * torch.rand(1, generator=generator))
        x, y, z = (torch.exp(-((axis - each) ** 2) / (2 * width**2)) for each in place)
        voxels += (1 + number % 3) * z[:, None, None] * y[:, None] * x
    return Volume(voxels=voxels.float(), voxel_size=PIXEL_SIZE)


def known_views(count: int, *, views: int, snr: float, seed: int, empty: float = 0.0, shift: float = 4.0) -> Views:
    """Images of a phantom along a few directions far apart, turned in the plane, moved, with CTF and white noise."""
    generator = torch.Generator().manual_seed(seed)
    optics = Optics(pixel_size=PIXEL_SIZE)
    reference = prepare_volume(phantom())
    candidates = random_rotations(200, generator=generator)
    direction = view_direction(candidates)
    chosen = [0]
    while len(chosen) < views:
        away = torch.acos((direction @ direction[chosen].T).abs().clamp(max=1)).min(dim=1).values
        chosen.append(int(away.argmax()))
    label = torch.randint(views, (count,), generator=generator)
    turn = 2 * math.pi * torch.rand(count, generator=generator, dtype=torch.float64)
    rotations = matrix_about_axis(turn, axis="z") @ candidates[chosen][label]
    places = shift * torch.randn(count, 2, generator=generator, dtype=torch.float64)
    major = 10000 + 10000 * torch.rand(count, generator=generator, dtype=torch.float64)
    zero = torch.zeros_like(major)
    defocus = Defocus(major=major, minor=major - 100, azimuth=zero, phase_shift=zero, b_factor=zero + 100)
    is_empty = torch.rand(count, generator=generator) < empty
    projections = to_real(extract_slices(reference, rotations.float()), width=BOX)
    projections[is_empty] = 0
    images = form_images(projections, optics, defocus, shift=places).images
    deviation = deviation_for_snr(images[~is_empty], snr=snr)
    images = images + deviation * torch.randn(images.shape, generator=generator)
    particles = ParticleSet(
        optics=(optics,),
        optics_index=torch.zeros(count, dtype=torch.int64),
        images=ImageStack(pixels=images, pixel_size=PIXEL_SIZE),
        defocus=defocus,
    )
    clean = to_real(extract_slices(reference, candidates[chosen].float()), width=BOX)
    return Views(
        particles=particles,
        label=torch.where(is_empty, -1, label),
        pose=Pose(lab_from_particle=rotations, shift=places),
        clean=clean,
        deviation=deviation,
    )


def rand_index(first: Tensor, second: Tensor) -> float:
    """The adjusted Rand index of two divisions of one set (Hubert & Arabie, J. Classif. 2, 193 (1985))."""
    table = torch.zeros(int(first.max()) + 1, int(second.max()) + 1, dtype=torch.float64)
    table.index_put_((first, second), torch.ones(len(first), dtype=torch.float64), accumulate=True)

    def pairs(number: Tensor) -> Tensor:
        return (number * (number - 1) / 2).sum()

    rows, columns, all_pairs = pairs(table.sum(1)), pairs(table.sum(0)), len(first) * (len(first) - 1) / 2
    expected = rows * columns / all_pairs
    return float((pairs(table) - expected) / ((rows + columns) / 2 - expected))


@pytest.fixture(scope="session")
def few_views() -> Views:
    """Two hundred images of four views."""
    return known_views(200, views=4, snr=0.15, seed=5)


@pytest.fixture(scope="session")
def views_with_empty_images() -> Views:
    """As `few_views`, and a quarter of the images hold nothing."""
    return known_views(200, views=3, snr=0.15, seed=6, empty=0.25)
