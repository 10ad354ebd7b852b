"""Movies of known motion: a scene with Thon rings, moved by Fourier phases and read at displaced places, counted electron by electron."""

import math

import pytest
import torch

from cryowalk.data import ImageStack, Motion


def scene(height, width, pixel_size, *, seed=0):
    """An image with the spectrum of protein in ice at 1.5 µm underfocus, standard deviation 1."""
    generator = torch.Generator().manual_seed(seed)
    ky, kx = torch.fft.fftfreq(height)[:, None] / pixel_size, torch.fft.rfftfreq(width) / pixel_size
    k = torch.hypot(kx, ky)
    amplitude = torch.sin(math.pi * 0.0197 * 15000 * k**2 + 0.1) * torch.exp(-20 * k**2) / (1 + (k / 0.03) ** 2).sqrt()
    image = torch.fft.irfft2(torch.fft.rfft2(torch.randn(height, width, generator=generator)) * amplitude, s=(height, width))
    return image / image.std()


def displaced(image, motion, frame, pixel_size):
    """The scene as it lies in a frame: what was at x is at x + d; bicubic."""
    height, width = image.shape
    u, v = torch.arange(width) / width - 0.5, torch.arange(height)[:, None] / height - 0.5
    c = torch.zeros(2, 5) if motion.local is None else motion.local[frame].float() / pixel_size
    whole = motion.global_displacement[frame].float() / pixel_size
    x, y = (whole[a] + c[a, 0] * u + c[a, 1] * u**2 + c[a, 2] * v + c[a, 3] * v**2 + c[a, 4] * u * v for a in (0, 1))
    places = torch.stack(
        [2 * (torch.arange(width) - x) / (width - 1) - 1, 2 * (torch.arange(height)[:, None] - y) / (height - 1) - 1], dim=-1
    )
    sample = torch.nn.functional.grid_sample
    return sample(image[None, None], places[None], mode="bicubic", padding_mode="reflection", align_corners=True)[0, 0]


def track(frames, *, scale=1.0):
    """A drift with a fast beginning, Å."""
    time = torch.arange(frames, dtype=torch.float64)
    x = 6 * (1 - torch.exp(-time / 4)) + 0.15 * time
    y = -4 * (1 - torch.exp(-time / 5)) + 0.1 * time + 0.3 * torch.sin(time / 1.5)
    both = scale * torch.stack([x, y], dim=1)
    return both - both[0]


@pytest.fixture
def movie():
    """A function that makes a movie: its frames as a source, and its motion."""

    def make(size=(640, 704), *, frames=16, pixel_size=1.1, dose=1.0, contrast=0.1, local=0.0, seed=0, counts=True, scale=1.0):
        generator = torch.Generator().manual_seed(100 + seed)
        time = torch.arange(frames, dtype=torch.float64)
        terms = local * torch.randn(2, 5, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 2, 1, 2, 2])
        course = 1 - torch.exp(-time / 6)
        moves = None if local == 0 else terms * (course - course[0])[:, None, None]
        motion = Motion(
            global_displacement=track(frames, scale=scale), local=moves, field=(size[1] * pixel_size, size[0] * pixel_size)
        )
        image = scene(*size, pixel_size, seed=seed) * contrast
        made = []
        for frame in range(frames):
            expected = dose * pixel_size**2 * (1 + displaced(image, motion, frame, pixel_size)).clamp_min(0)
            made.append(torch.poisson(expected, generator=generator) if counts else expected)
        return ImageStack(pixels=torch.stack(made), pixel_size=pixel_size), motion

    return make


def error(found, truth, pixel_size):
    """Root mean square error of the displacement over the field, each place's mean over the frames taken away, pixels."""
    generator = torch.Generator().manual_seed(5)
    place = torch.rand(300, 2, generator=generator, dtype=torch.float64) - 0.5
    basis = torch.stack([place[:, 0], place[:, 0] ** 2, place[:, 1], place[:, 1] ** 2, place[:, 0] * place[:, 1]], dim=1)

    def values(motion):
        whole = motion.global_displacement[None].double()
        local = 0 if motion.local is None else torch.einsum("faj,nj->nfa", motion.local.double(), basis)
        total = (whole + local).expand(len(place), -1, 2)
        return (total - total.mean(1, keepdim=True)) / pixel_size

    return float((values(found) - values(truth)).pow(2).mean().sqrt())
