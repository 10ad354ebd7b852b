"""Particles of an asymmetric Gaussian phantom: volume and images both in closed form, so nothing of ours makes the data."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from cryowalk.data import Defocus, ImageStack, Optics, ParticleSet, Pose, Volume
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.geometry.sampling import random_rotations
from cryowalk.microscope.lens import contrast_transfer

CENTRES = torch.tensor(
    [[0.0, 0.0, 0.0], [0.16, 0.02, -0.05], [-0.06, 0.15, 0.04], [0.03, -0.09, 0.16], [-0.12, -0.07, -0.1]], dtype=torch.float64
)
WIDTHS = (0.055, 0.035, 0.042, 0.03, 0.05)
HEIGHTS = (1.0, 1.6, 1.2, 2.0, 0.8)


@dataclass(frozen=True)
class Phantom:
    """Gaussian blobs in a box of `box` voxels; lengths are fractions of the box."""

    box: int
    pixel_size: float
    operators: torch.Tensor

    def volume(self) -> Volume:
        axis = (torch.arange(self.box, dtype=torch.float64) - self.box // 2) * self.pixel_size
        voxels = torch.zeros(self.box, self.box, self.box, dtype=torch.float64)
        for centre, width, height in self.blobs():
            x, y, z = (torch.exp(-((axis - c) ** 2) / (2 * width**2)) for c in centre)
            voxels += height * z[:, None, None] * y[:, None] * x
        return Volume(voxels=voxels.float(), voxel_size=self.pixel_size)

    def blobs(self) -> list[tuple[torch.Tensor, float, float]]:
        length = self.box * self.pixel_size
        return [
            (operator @ centre * length, width * length, height)
            for operator in self.operators
            for centre, width, height in zip(CENTRES, WIDTHS, HEIGHTS, strict=True)
        ]

    def images(self, pose: Pose) -> torch.Tensor:
        """∫ V dz of each pose, moved by its shift."""
        axis = (torch.arange(self.box, dtype=torch.float64) - self.box // 2) * self.pixel_size
        images = torch.zeros(len(pose), self.box, self.box, dtype=torch.float64)
        for centre, width, height in self.blobs():
            place = (pose.lab_from_particle @ centre)[:, :2] + pose.shift
            x, y = (torch.exp(-((axis - place[:, i, None]) ** 2) / (2 * width**2)) for i in (0, 1))
            images += height * width * math.sqrt(2 * math.pi) * y[:, :, None] * x[:, None, :]
        return images


@pytest.fixture(scope="session")
def make_phantom() -> Callable[..., Phantom]:
    def make(box: int, *, pixel_size: float = 2.3, operators: torch.Tensor | None = None) -> Phantom:
        return Phantom(box, pixel_size, torch.eye(3, dtype=torch.float64)[None] if operators is None else operators)

    return make


@pytest.fixture
def make_particles(generator: torch.Generator) -> Callable[..., ParticleSet]:
    """Particles of a phantom at random orientations and shifts, with CTFs and noise where asked for."""

    def make(
        phantom: Phantom, count: int, *, ctf: bool = True, noise: float = 0.0, rotations: torch.Tensor | None = None
    ) -> ParticleSet:
        rotations = random_rotations(count, generator=generator) if rotations is None else rotations
        pose = Pose(
            lab_from_particle=rotations.double(),
            shift=2 * phantom.pixel_size * torch.randn(count, 2, generator=generator, dtype=torch.float64),
        )
        major = 9000 + 9000 * torch.rand(count, generator=generator, dtype=torch.float64)
        defocus = Defocus(
            major=major,
            minor=major - 400,
            azimuth=math.pi * torch.rand(count, generator=generator, dtype=torch.float64),
            phase_shift=torch.zeros(count, dtype=torch.float64),
        )
        optics = Optics(pixel_size=phantom.pixel_size)
        images = phantom.images(pose)
        if ctf:
            size = (phantom.box, phantom.box)
            images = to_real(to_fourier(images) * contrast_transfer(optics, defocus, size=size), width=phantom.box)
        images += noise * torch.randn(images.shape, generator=generator, dtype=torch.float64)
        return ParticleSet(
            optics=(optics,),
            optics_index=torch.zeros(count, dtype=torch.long),
            images=ImageStack(pixels=images.float(), pixel_size=phantom.pixel_size),
            pose=pose,
            defocus=defocus if ctf else None,
            image_names=tuple(f"{i + 1:06d}@phantom.mrcs" for i in range(count)),
        )

    return make
