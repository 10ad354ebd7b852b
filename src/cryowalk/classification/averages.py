"""Averages without a search of orientations: every image with the images that look most like it, whatever way those are turned.

Nearest neighbours by features that do not change when an image is turned (`invariants`); the neighbours are turned and moved onto the image and
averaged. It shows within seconds what is in a set, needs no starting classes, and cannot find what is not there.

Source: Zhao & Singer, J. Struct. Biol. 186, 153 (2014).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.classification.invariants import bispectra, relative_turns, steerable_components
from cryowalk.core.checks import require_between, require_positive, require_square
from cryowalk.core.errors import InputError
from cryowalk.data import ParticleSet
from cryowalk.fourier.filters import low_pass
from cryowalk.fourier.transform import resample, to_fourier, to_real
from cryowalk.microscope.lens import contrast_transfer
from cryowalk.numerics.masks import soft_circle

_BATCH = 256  # images that are compared with all others at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourAverages:
    """Averages of images with their nearest neighbours.

    `images` has one average for each row of `of`, the images they are about; `neighbours` (nearest first) and `likeness` (cosine of the features, 1 for
    the same) tell who is in it.
    """

    images: Float[Tensor, "m box box"]
    of: Int[Tensor, " m"]
    neighbours: Int[Tensor, "m k"]
    likeness: Float[Tensor, "m k"]


def phase_flipped(images: Float[Tensor, "n h w"], particles: ParticleSet) -> Float[Tensor, "n h w"]:
    """The images of these particles with the phases that their CTF turned over turned back; unchanged where they have no CTF."""
    if particles.defocus is None:
        return images
    spectra = to_fourier(images)
    size = (images.shape[-2], images.shape[-1])
    for group in sorted(set(particles.optics_index.tolist())):
        mine = torch.nonzero(particles.optics_index == group)[:, 0]
        transfer = contrast_transfer(particles.optics[group], particles.defocus[mine].to(torch.float32), size=size)
        spectra[mine] = spectra[mine] * torch.where(transfer < 0, -1.0, 1.0).to(images.dtype)
    return to_real(spectra, width=size[1])


def neighbour_averages(
    particles: ParticleSet,
    *,
    neighbours: int = 30,
    diameter: float | None = None,
    resolution: float = 20.0,
    count: int | None = None,
) -> NeighbourAverages:
    """Averages of `neighbours` images each about `count` images evenly from the set (all of them unless given).

    Images are compared at `resolution` (Å) within `diameter` (Å; 0.8 of the box unless given). All of them are held in memory.

    Raises
    ------
    InputError
        If there are no images, or fewer than neighbours are asked for.
    """
    if particles.images is None or len(particles) <= neighbours:
        raise InputError(
            f"{len(particles)} particles have no {neighbours} neighbours each"
            if particles.images is not None
            else "the particles have no images",
            fix="ask for fewer neighbours, or give more particles",
        )
    require_positive("neighbours", neighbours)
    box, pixel_size = require_square("particle images", particles.images.image_shape), particles.pixel_size
    images = phase_flipped(particles.images.read(range(len(particles))), particles)
    small, radius = smoothed(images, pixel_size=pixel_size, resolution=resolution, diameter=diameter or 0.8 * box * pixel_size)
    found = steerable_components(small, radius=radius, noise_deviation=outside_deviation(small))
    if not len(found.order):
        raise InputError("at this resolution the images show nothing but noise", fix="compare them at a coarser --resolution")
    chosen = torch.linspace(0, len(particles) - 1, min(count or len(particles), len(particles))).round().long()
    nearest, likeness = _nearest(bispectra(found), chosen, neighbours)
    turns = relative_turns(found.values[chosen, None], found.values[nearest], found)
    averages = [
        _average(images[[int(row), *nearest[place].tolist()]], turns[place], pixel_size=pixel_size, resolution=resolution)
        for place, row in enumerate(chosen)
    ]
    return NeighbourAverages(images=torch.stack(averages), of=chosen, neighbours=nearest, likeness=likeness)


def smoothed(
    images: Float[Tensor, "n box box"], *, pixel_size: float, resolution: float, diameter: float
) -> tuple[Float[Tensor, "n side side"], float]:
    """The images at this resolution (Å) on as few pixels as hold it, and the radius of the particles' circle in such pixels.

    Raises
    ------
    UsageError
        If the resolution is finer than the pixels, or leaves nothing of the images.
    """
    box = images.shape[-1]
    field = box * pixel_size
    require_between("resolution", resolution, 2 * pixel_size, field / 8)
    side = min(box, 2 * math.ceil(1.25 * field / resolution))
    small = resample(low_pass(images, resolution=resolution, pixel_size=pixel_size), side)
    return small, min((side - 1) // 2, diameter / 2 * side / field)


def outside_deviation(images: Float[Tensor, "n side side"]) -> float:
    """The standard deviation of pixels outside the inscribed circle."""
    side = images.shape[-1]
    axis = torch.arange(side) - side // 2
    corner = axis**2 + axis[:, None] ** 2 > (0.48 * side) ** 2
    return float(images[:, corner.to(images.device)].std())


def _nearest(features: Tensor, chosen: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The images most like each of the chosen ones, itself left out, and the cosines."""
    nearest, likeness = [], []
    for part in torch.split(chosen, _BATCH):
        cosine = features[part] @ features.T
        cosine[torch.arange(len(part)), part] = -2.0
        best = torch.topk(cosine, count, dim=1)
        nearest.append(best.indices)
        likeness.append(best.values)
    return torch.cat(nearest), torch.cat(likeness)


def _average(images: Tensor, turns: Tensor, *, pixel_size: float, resolution: float) -> Float[Tensor, "box box"]:
    """The mean of the first image and the others, turned and moved onto it."""
    turned = turned_images(images[1:], turns)
    box = images.shape[-1]
    mask = soft_circle(box, radius=0.4 * box, edge=0.05 * box, pixel_size=1.0, dtype=images.dtype)
    smooth = low_pass(torch.cat([images[:1], turned]) * mask, resolution=resolution, pixel_size=pixel_size)
    total, target = images[0].clone(), smooth[0]
    for image, seen in zip(turned, smooth[1:], strict=True):
        total += torch.roll(image, best_move(target, seen, reach=max(1, box // 12)), dims=(0, 1))
    return total / len(images)


def turned_images(images: Float[Tensor, "n h w"], angle: Float[Tensor, " n"]) -> Float[Tensor, "n h w"]:
    """Images turned about their origin pixel by these angles (rad, from +x towards +y), linear between pixels, 0 outside."""
    height, width = images.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, dtype=images.dtype) - height // 2,
        torch.arange(width, dtype=images.dtype) - width // 2,
        indexing="ij",
    )
    cos, sin = torch.cos(angle).to(images)[:, None, None], torch.sin(angle).to(images)[:, None, None]
    across, down = cos * x + sin * y, -sin * x + cos * y
    place = torch.stack([(across + width // 2) * (2 / (width - 1)) - 1, (down + height // 2) * (2 / (height - 1)) - 1], dim=-1)
    return torch.nn.functional.grid_sample(images[:, None], place, mode="bilinear", padding_mode="zeros", align_corners=True)[
        :, 0
    ]


def best_move(target: Float[Tensor, "h w"], image: Float[Tensor, "h w"], *, reach: int) -> tuple[int, int]:
    """The move (rows, columns) of at most `reach` pixels each way by which an image looks most like the target."""
    height, width = target.shape
    shared = to_real(to_fourier(target) * to_fourier(image).conj(), width=width)
    middle = shared[height // 2 - reach : height // 2 + reach + 1, width // 2 - reach : width // 2 + reach + 1]
    place = int(torch.argmax(middle))
    return place // (2 * reach + 1) - reach, place % (2 * reach + 1) - reach
