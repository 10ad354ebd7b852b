"""Particle images read again and again in batches, with what filters need to know of them: their CTFs, and the noise around the particle."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_square
from cryowalk.core.errors import InputError, UsageError
from cryowalk.core.execution import Progress, batches
from cryowalk.data.particles import ParticleSet
from cryowalk.denoising.settings import DenoisingSettings
from cryowalk.fourier.shells import shell_average
from cryowalk.fourier.transform import to_fourier
from cryowalk.microscope.lens import contrast_transfer
from cryowalk.numerics.masks import soft_circle

_BATCH = 256
_COARSEST = 4.0  # pixels: the finest detail unless another is asked for


class Passes:
    """The images in batches, and what is derived from them; each pass reads them once more, so that none need fit in memory."""

    def __init__(self, particles: ParticleSet, settings: DenoisingSettings) -> None:
        if particles.images is None:
            raise InputError("the particles have no images")
        self.particles, self.source = particles, particles.images
        self.box = require_square("particle images", self.source.image_shape)
        self.pixel_size = particles.pixel_size
        diameter = settings.diameter or 0.8 * self.box * self.pixel_size
        if diameter > self.box * self.pixel_size:
            raise UsageError(
                f"the particle's diameter of {diameter:g} Å is larger than the box of {self.box * self.pixel_size:g} Å",
                fix="give the particle's own diameter; the noise is measured around it",
            )
        self.support = diameter / 2 / self.pixel_size
        finest = settings.finest_resolution or _COARSEST * self.pixel_size
        self.cut = min(self.box * self.pixel_size / finest, self.box / 2 - 1)
        self.like = self.source.read([0])
        radius = 0.95 * self.support * self.pixel_size
        circle = soft_circle(self.box, radius=radius, edge=4 * self.pixel_size, pixel_size=self.pixel_size)
        self.outside = 1 - circle.to(self.like)

    def batches(self, progress: Progress) -> Iterator[tuple[range, Float[Tensor, "n h w"]]]:
        """Which images, and the images, each of mean 0.

        Raises
        ------
        InputError
            If one is constant or holds values that are not finite.
        """
        for places in batches(len(self.particles), _BATCH):
            images = self.source.read(places)
            flat = images.flatten(1)
            wrong = torch.nonzero(~torch.isfinite(flat).all(dim=1) | (flat.amax(dim=1) == flat.amin(dim=1))).reshape(-1)
            if len(wrong):
                raise InputError(
                    f"image {places[int(wrong[0])] + 1} is constant or holds values that are not finite",
                    fix="leave it out of the STAR file",
                )
            yield places, images - images.mean(dim=(-1, -2), keepdim=True)
            progress.advance(len(places))

    def transfer(self, places: range, radii: Float[Tensor, " points"]) -> Float[Tensor, "n points"]:
        """The CTF of each image at these radii (shells), astigmatism averaged out by the mean defocus; 1 without a CTF."""
        if self.particles.defocus is None:
            return torch.ones(len(places), len(radii), dtype=radii.dtype, device=radii.device)
        defocus = self.particles.defocus[torch.tensor(list(places))].to(torch.float64)
        mean = (defocus.major + defocus.minor) / 2
        round_defocus = replace(defocus, major=mean, minor=mean)
        result = torch.empty(len(places), len(radii), dtype=torch.float64)
        fine = 8 * self.box  # a line of a spectrum this fine, for interpolation
        groups = self.particles.optics_index[list(places)]
        for group in sorted(set(groups.tolist())):
            chosen = torch.nonzero(groups == group).reshape(-1)
            line = contrast_transfer(self.particles.optics[group], round_defocus[chosen], size=(1, fine))[:, 0]
            at = radii.double().cpu() * fine / self.box
            below = at.floor().long().clamp(max=line.shape[-1] - 2)
            result[chosen] = torch.lerp(line[:, below], line[:, below + 1], at - below)
        return result.to(radii)

    def noise(self, progress: Progress) -> Float[Tensor, " shells"]:
        """The noise's power in each shell: what lies outside the particle's circle."""
        total = torch.zeros(self.box // 2 + 1, dtype=torch.float64, device=self.like.device)
        share = self.outside.square().mean()
        for _, images in self.batches(progress):
            level = (images * self.outside).sum(dim=(-1, -2), keepdim=True) / self.outside.sum()
            spectra = to_fourier((images - level) * self.outside)
            total += shell_average(spectra.abs().square().sum(dim=0), size=(self.box, self.box)).double()
        power = (total / len(self.particles) / share).to(self.like)
        power[0] = power[1]
        return power.clamp_min(float(power.max()) * 1e-6)
