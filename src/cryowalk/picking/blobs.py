"""Blobs of the particle's size: Laplacian of Gaussian and a disk by normalised correlation."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.fourier.transform import filtered_image, filtering_half_spectrum
from cryowalk.picking.search import Coarse, Searched, disk, searched

WIDTH = 0.4  # standard deviation of the narrow Gaussian, in radii
_RATIO = 1.6  # of the two Gaussians whose difference stands for the Laplacian
_DISK, _MASK = 0.85, 1.4  # radii of the disk that is looked for, and of the mask within which it is normalised
_STEPS = 5


class ScoreMap(NamedTuple):
    """`score`: how much like a particle each place is, in robust standard deviations of the map; `significance`: how far above white noise."""

    score: Float[Tensor, "h w"]
    significance: Float[Tensor, "h w"]


def blob_map(coarse: Coarse, level: Float[Tensor, "h w"], *, spread: float = 0.0) -> ScoreMap:
    """How much like a blob of the particle's size each place is: the mean of an amplitude and a shape, each in its own standard deviations.

    The amplitude is a difference of Gaussians (the Laplacian of a Gaussian, the blob detector), the shape the normalised cross-correlation with a soft
    disk: the one finds faint particles, the other is not dazzled by strong edges. With a `spread`, the best of radii (1 ± spread) · r.
    The significance is the larger of the amplitude and the correlation times the root of the number of its pixels: each is standard normal on white noise.

    Source: Lindeberg, Int. J. Comput. Vis. 30, 79 (1998); Zivanov et al., eLife 7, e42166 (2018).
    """
    steps = torch.linspace(-1, 1, _STEPS).tolist() if spread else [0.0]
    radii = [coarse.radius * (1 + spread * step) for step in steps]
    ready = searched(level, _reach(max(radii)))
    found = [_one_size(ready, radius) for radius in radii]
    best = found[0]
    for other in found[1:]:
        best = ScoreMap(*(torch.maximum(first, second) for first, second in zip(best, other, strict=True)))
    return best


def _one_size(ready: Searched, radius: float) -> ScoreMap:
    amplitude = ready.correlated(difference_of_gaussians(radius).to(ready.spectrum.real))
    shape, pixels = normalised_disk(ready, radius)
    score = (amplitude / spread_of(amplitude) + shape / spread_of(shape)) / 2
    return ScoreMap(score, torch.maximum(shape * math.sqrt(pixels), amplitude))


def _reach(radius: float) -> int:
    return max(math.ceil(_MASK * radius) + 2, math.ceil(3.2 * _RATIO * WIDTH * radius))


def spread_of(values: Tensor) -> Tensor:
    """The standard deviation that the lower half of the values has about their median: particles, which stand out, do not count."""
    middle = values.median()
    return (middle - values[values < middle]).median().clamp_min(1e-12) * 1.4826


def difference_of_gaussians(radius: float, *, width: float = WIDTH) -> Float[Tensor, "side side"]:
    """A narrow Gaussian less a wide one, each of sum 1; the sum of the kernel is zero, its norm one."""
    narrow = width * radius
    half = math.ceil(3.2 * _RATIO * narrow)
    line = torch.arange(-half, half + 1, dtype=torch.float32)
    square = line.square() + line.square()[:, None]
    first, second = (torch.exp(-square / (2 * sigma**2)) for sigma in (narrow, _RATIO * narrow))
    kernel: Tensor = first / first.sum() - second / second.sum()
    unit: Tensor = kernel / kernel.norm()
    return unit


def normalised_disk(ready: Searched, radius: float) -> tuple[Float[Tensor, "h w"], float]:
    """The normalised cross-correlation with a soft disk within a round mask, and the number of pixels of the mask."""
    side = 2 * (math.ceil(_MASK * radius) + 1) + 1
    mask = disk(_MASK * radius, soft=2.0, side=side).to(ready.spectrum.real)
    deviation = local_deviation(ready, mask)
    kernel = disk(_DISK * radius, soft=0.35 * radius, side=side).to(mask)
    return normalised(ready, kernel, mask=mask, deviation=deviation), float(mask.sum())


def local_deviation(ready: Searched, mask: Float[Tensor, "side side"]) -> Float[Tensor, "h w"]:
    """The standard deviation of the image within the mask about each pixel; two transforms more, shared by all templates."""
    share = mask / mask.sum()
    mean = ready.correlated(share)
    image = filtered_image(ready.spectrum, width=ready.padded[1])
    height, width = (length + 2 * ready.reach for length in ready.shape)
    squares = searched_as_it_is(image[:height, :width].square(), ready).correlated(share)
    return (squares - mean.square()).clamp_min(1e-6).sqrt()


def searched_as_it_is(mirrored: Tensor, like: Searched) -> Searched:
    """An image that is mirrored at its borders already, ready like another."""
    rows, columns = (whole - part for whole, part in zip(like.padded, mirrored.shape, strict=True))
    return like._replace(spectrum=filtering_half_spectrum(torch.nn.functional.pad(mirrored, (0, columns, 0, rows))))


def normalised(
    ready: Searched, kernel: Float[Tensor, "side side"], *, mask: Float[Tensor, "side side"], deviation: Float[Tensor, "h w"]
) -> Float[Tensor, "h w"]:
    """The correlation coefficient of the image with a kernel within the mask about each pixel, −1 to 1.

    c(x) = Σ m(u) t(u) f(x + u) / (σ_f(x) √Σm), where t has Σ m t = 0 and Σ m t² = 1: the fast local correlation.

    Source: Roseman, Ultramicroscopy 94, 225 (2003).
    """
    total = mask.sum()
    centred = kernel - (kernel * mask).sum() / total
    norm = (mask * centred.square()).sum().sqrt().clamp_min(1e-12)
    return ready.correlated(mask * centred / norm) / (deviation * total.sqrt())
