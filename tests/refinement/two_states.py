"""Particles of two states: blobs of which one lies elsewhere in the second state, seen with CTF, shifts and white noise."""

import math

import torch

from cryowalk.data import Defocus, ImageStack, Optics, ParticleSet, Pose, Volume
from cryowalk.fourier.slices import extract_slices, prepare_volume
from cryowalk.fourier.transform import to_real
from cryowalk.geometry.sampling import random_rotations
from cryowalk.microscope.lens import contrast_transfer

BOX, PIXEL = 24, 5.0
CORE = ((0.0, 0.0, 2.0, 5.0), (4.0, 0.5, -1.0, 4.0), (-2.0, 4.0, 1.0, 4.5), (1.0, -3.0, 4.0, 5.5), (-3.0, -2.0, -3.0, 4.0))
ARMS = (
    (4.5, 3.5, 3.0, 9.0),
    (-4.0, 1.0, 5.0, 9.0),
)  # (x, y, z) in voxels from the middle, and height: where the arm is in each state
WIDTH = 1.5  # voxels


def blobs(which, *, box=BOX, origin=(0.0, 0.0, 0.0)):
    """The sum of Gaussian blobs about a point (voxels from the middle) of a box."""
    axis = torch.arange(box, dtype=torch.float64) - box // 2
    voxels = torch.zeros(box, box, box, dtype=torch.float64)
    for x, y, z, height in which:
        parts = [torch.exp(-((axis - c + o) ** 2) / (2 * WIDTH**2)) for c, o in zip((x, y, z), origin, strict=True)]
        voxels += height * parts[2][:, None, None] * parts[1][:, None] * parts[0]
    return Volume(voxels=voxels.float(), voxel_size=PIXEL)


def state(number):
    """The whole map of state 0 or 1."""
    return blobs((*CORE, ARMS[number]))


def images_of(volume, particles):
    """Noiseless images of a map at the particles' poses."""
    factor = contrast_transfer(particles.optics[0], particles.defocus, size=(BOX, BOX)).float()
    pose = particles.pose.to(torch.float32)
    slices = extract_slices(prepare_volume(volume), pose.lab_from_particle, factor=factor, shift=pose.shift)
    return to_real(slices, width=BOX)


def two_states(count, *, snr, seed=3, shift=4.0, share=0.5):
    """Particles with their true poses, class numbers that are not told, and the true state of each."""
    generator = torch.Generator().manual_seed(seed)
    label = (torch.rand(count, generator=generator) > share).long()
    pose = Pose(
        lab_from_particle=random_rotations(count, generator=generator),
        shift=shift * torch.randn(count, 2, generator=generator, dtype=torch.float64),
    )
    major = 9000 + 9000 * torch.rand(count, generator=generator, dtype=torch.float64)
    defocus = Defocus(
        major=major, minor=major - 150, azimuth=torch.full((count,), 0.4).double(), phase_shift=torch.zeros(count).double()
    )
    particles = ParticleSet(
        optics=(Optics(pixel_size=PIXEL),), optics_index=torch.zeros(count, dtype=torch.int64), pose=pose, defocus=defocus,
        micrograph_names=tuple(f"micrograph{number % 3}.mrc" for number in range(count)),
    )  # fmt: skip
    both = torch.stack([images_of(state(number), particles) for number in (0, 1)])
    clean = both[label, torch.arange(count)]
    noise = torch.randn(clean.shape, generator=generator) * math.sqrt(float(clean.var()) / snr)
    return particles.with_images(ImageStack(pixels=clean + noise, pixel_size=PIXEL)), label


def adjusted_rand_index(first, second):
    """How well two partitions agree: 1 for the same one, 0 as by chance."""
    table = torch.zeros(int(first.max()) + 1, int(second.max()) + 1, dtype=torch.float64)
    table.index_put_((first, second), torch.ones(len(first), dtype=torch.float64), accumulate=True)

    def pairs(counts):
        return float((counts * (counts - 1) / 2).sum())

    expected = pairs(table.sum(dim=0)) * pairs(table.sum(dim=1)) / pairs(table.sum())
    largest = (pairs(table.sum(dim=0)) + pairs(table.sum(dim=1))) / 2
    return (pairs(table) - expected) / (largest - expected)
