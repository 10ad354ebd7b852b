"""Particles of an asymmetric sum of Gaussian blobs: map and images in closed form, noise of known variance, so nothing of ours makes the data."""

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
    [[0.0, 0.0, 0.02], [0.2, 0.02, -0.05], [-0.08, 0.19, 0.04], [0.03, -0.12, 0.2], [-0.15, -0.09, -0.13], [0.1, 0.14, 0.11]],
    dtype=torch.float64,
)
WIDTHS = (0.06, 0.032, 0.036, 0.03, 0.04, 0.03)
HEIGHTS = (0.6, 1.6, 1.2, 2.0, 0.9, 1.8)


@dataclass(frozen=True)
class Specimen:
    """Blobs in a box of `box` voxels of `pixel_size` Å; lengths are fractions of the box."""

    box: int
    pixel_size: float

    def volume(self) -> Volume:
        axis = self._axis()
        voxels = torch.zeros(self.box, self.box, self.box, dtype=torch.float64)
        for centre, width, height in self._blobs():
            x, y, z = (torch.exp(-((axis - c) ** 2) / (2 * width**2)) for c in centre)
            voxels += height * z[:, None, None] * y[:, None] * x
        return Volume(voxels=voxels.float(), voxel_size=self.pixel_size)

    def images(self, pose: Pose) -> torch.Tensor:
        """∫ V dz of each pose, moved by its shift."""
        axis = self._axis()
        images = torch.zeros(len(pose), self.box, self.box, dtype=torch.float64)
        for centre, width, height in self._blobs():
            place = (pose.lab_from_particle @ centre)[:, :2] + pose.shift
            x, y = (torch.exp(-((axis - place[:, i, None]) ** 2) / (2 * width**2)) for i in (0, 1))
            images += height * width * math.sqrt(2 * math.pi) * y[:, :, None] * x[:, None, :]
        return images

    def particles(self, count: int, *, snr: float, seed: int = 5, shift: float = 3.0) -> ParticleSet:
        """Particles with white noise; `snr` is the ratio of variances over the whole image. Poses are the true ones."""
        generator = torch.Generator().manual_seed(seed)
        pose = Pose(
            lab_from_particle=random_rotations(count, generator=generator),
            shift=shift * torch.randn(count, 2, generator=generator, dtype=torch.float64),
        )
        major = 9000 + 9000 * torch.rand(count, generator=generator, dtype=torch.float64)
        defocus = Defocus(
            major=major, minor=major - 200, azimuth=torch.full((count,), 0.4).double(), phase_shift=torch.zeros(count).double()
        )
        optics = Optics(pixel_size=self.pixel_size, amplitude_contrast=0.1)
        clean = self.images(pose).float()
        transfer = contrast_transfer(optics, defocus, size=(self.box, self.box)).float()
        seen = to_real(to_fourier(clean) * transfer, width=self.box)
        noise = torch.randn(seen.shape, generator=generator) * math.sqrt(float(seen.var()) / snr)
        return ParticleSet(
            optics=(optics,),
            optics_index=torch.zeros(count, dtype=torch.int64),
            images=ImageStack(pixels=seen + noise, pixel_size=self.pixel_size),
            pose=pose,
            defocus=defocus,
            micrograph_names=tuple(f"micrograph{number % 4}.mrc" for number in range(count)),
        )

    def _axis(self) -> torch.Tensor:
        return (torch.arange(self.box, dtype=torch.float64) - self.box // 2) * self.pixel_size

    def _blobs(self) -> list[tuple[torch.Tensor, float, float]]:
        length = self.box * self.pixel_size
        return [(centre * length, width * length, height) for centre, width, height in zip(CENTRES, WIDTHS, HEIGHTS, strict=True)]


@pytest.fixture(scope="session")
def specimen() -> Callable[..., Specimen]:
    def make(box: int = 32, *, pixel_size: float = 4.3) -> Specimen:
        return Specimen(box, pixel_size)

    return make
