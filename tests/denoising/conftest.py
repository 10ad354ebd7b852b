"""Objects of known spectrum behind known lenses: pairs of noisy halves, and particles without symmetry."""

import math

import pytest
import torch

from cryowalk import Defocus, Optics, ParticleSet, fourier
from cryowalk.data import ImageStack
from cryowalk.microscope.lens import contrast_transfer

PIXEL_SIZE = 3.7


def lumps(size, *, count=40, seed=3):
    """A lopsided sum of Gaussians in the middle of an array of any size, mean 0."""
    source = torch.Generator().manual_seed(seed)
    result = torch.zeros(size, dtype=torch.float64)
    for _ in range(count):
        product = torch.ones((), dtype=torch.float64)
        width = 0.8 + 0.8 * float(torch.rand(1, generator=source))
        for axis, side in enumerate(size):
            centre = side // 2 + 0.11 * side * float(torch.randn(1, generator=source)) + 0.05 * side
            line = torch.exp(-((torch.arange(side, dtype=torch.float64) - centre) ** 2) / (2 * width**2))
            product = product * line.reshape(-1, *[1] * (len(size) - 1 - axis))
        result += product
    return result - result.mean()


def noisy(truth, *, deviation, seed):
    source = torch.Generator().manual_seed(seed)
    return tuple(truth + deviation * torch.randn(truth.shape, generator=source, dtype=truth.dtype) for _ in range(2))


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self):
        self.images = []

    def write(self, images):
        self.images.append(images)

    def all(self):
        return torch.cat(self.images)


def particles_of(count, *, box=45, snr=0.1, seed=5):
    """Projections of one lopsided object in random directions, each behind its own CTF; with the clean ones and the noise's deviation."""
    source = torch.Generator().manual_seed(seed)
    places = torch.randn(20, 3, generator=source, dtype=torch.float64) * box / 12
    turns = torch.linalg.qr(torch.randn(count, 3, 3, generator=source, dtype=torch.float64))[0]
    flat = (places @ turns.transpose(1, 2))[..., :2]
    line = torch.arange(box, dtype=torch.float64) - box // 2
    along = [torch.exp(-((line - flat[..., axis, None]) ** 2) / (2 * 1.7**2)) for axis in (0, 1)]
    clean = torch.einsum("npy,npx->nyx", along[1], along[0])
    optics = Optics(pixel_size=PIXEL_SIZE)
    mean = 9000 + 14000 * torch.rand(count, generator=source, dtype=torch.float64)
    zero = torch.zeros_like(mean)
    defocus = Defocus(major=mean + 80, minor=mean - 80, azimuth=zero + 0.3, phase_shift=zero)
    transfer = contrast_transfer(optics, defocus, size=(box, box))
    seen = fourier.to_real(fourier.to_fourier(clean) * transfer, width=box)
    deviation = math.sqrt(float(seen.var()) / snr)
    images = seen + deviation * torch.randn(seen.shape, generator=source, dtype=torch.float64)
    particles = ParticleSet(
        optics=(optics,),
        optics_index=torch.zeros(count, dtype=torch.int64),
        images=ImageStack(pixels=images.float(), pixel_size=PIXEL_SIZE),
        defocus=defocus,
    )
    return clean, particles, transfer, deviation


@pytest.fixture(scope="session")
def projections():
    return particles_of(500)
