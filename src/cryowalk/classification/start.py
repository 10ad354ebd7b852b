"""The first classes: averages of images that look alike, or of random parts of the set."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.classification.averages import best_move, outside_deviation, phase_flipped, smoothed, turned_images
from cryowalk.classification.invariants import SteerableComponents, bispectra, relative_turns, steerable_components
from cryowalk.core.execution import batches
from cryowalk.data import ParticleSet
from cryowalk.fourier.filters import apply_shell_weights, low_pass
from cryowalk.fourier.shells import shell_average
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.microscope.lens import contrast_transfer

LARGEST_SAMPLE = 3000  # images that are compared with each other
MEMBERS = 40  # images of a first class that are turned onto each other
_READ = 512
_FEATURE_DIMENSIONS = 40
_ROUNDS = 30  # of k-means, at most
_RUNS = 24
_LEAST_TRANSFER = 0.02  # of the mean of CTF² over images, below which nothing is restored


class FilteredImages(NamedTuple):
    """Images times their CTF, and CTF² averaged over each shell."""

    images: Float[Tensor, "n h w"]
    transfer_power: Float[Tensor, "n shells"]


def filtered_images(particles: ParticleSet, indices: Int[Tensor, " n"]) -> FilteredImages:
    """CTF ∗ image and the shells' means of CTF² of some particles; without defocus the CTF is 1."""
    if particles.images is None:
        raise ValueError("checked before: the particles have images")
    images = particles.images.read(indices.tolist())
    size = (images.shape[-2], images.shape[-1])
    transfer = torch.ones(len(images), size[0], size[1] // 2 + 1)
    if particles.defocus is not None:
        for group in sorted(set(particles.optics_index[indices].tolist())):
            mine = torch.nonzero(particles.optics_index[indices] == group)[:, 0]
            defocus = particles.defocus[indices[mine]].to(torch.float32)
            transfer[mine] = contrast_transfer(particles.optics[group], defocus, size=size)
    transfer = transfer.to(images)
    power = shell_average(transfer.square(), size=size)
    premultiplied = torch.tensor([group.is_premultiplied for group in particles.optics])[particles.optics_index[indices]]
    factor = torch.where(premultiplied.to(images.device)[:, None, None], torch.ones_like(transfer), transfer)
    return FilteredImages(to_real(to_fourier(images) * factor, width=size[1]), power)


def random_classes(
    particles: ParticleSet, classes: int, *, resolution: float, generator: torch.Generator
) -> Float[Tensor, "classes h w"]:
    """Averages of random parts of the set, as the images lie, down to `resolution` (Å): Σ CTF y / Σ CTF²."""
    label = torch.randperm(len(particles), generator=generator) % classes
    total, power = None, None
    for chunk in batches(len(particles), _READ):
        indices = torch.tensor(list(chunk))
        found = filtered_images(particles, indices)
        if total is None or power is None:
            total = found.images.new_zeros((classes, *found.images.shape[1:]))
            power = found.transfer_power.new_zeros((classes, found.transfer_power.shape[1]))
        total.index_add_(0, label[indices].to(total.device), found.images)
        power.index_add_(0, label[indices].to(total.device), found.transfer_power)
    if total is None or power is None:
        raise ValueError("checked before: there are particles")
    return low_pass(restored(total, power), resolution=resolution, pixel_size=particles.pixel_size)


def restored(total: Float[Tensor, "n h w"], power: Float[Tensor, "n shells"]) -> Float[Tensor, "n h w"]:
    """Sums of CTF ∗ image divided by the sums of CTF² in each shell; not blown up where those are small."""
    floor = _LEAST_TRANSFER * power.mean(dim=-1, keepdim=True).clamp_min(1e-12)
    return apply_shell_weights(total, 1 / power.clamp_min(floor))


def alike_classes(
    particles: ParticleSet, classes: int, *, diameter: float, resolution: float, generator: torch.Generator
) -> Float[Tensor, "classes h w"] | None:
    """Averages of images that look alike whatever way they are turned, down to `resolution` (Å); None where images do not stand out from noise.

    Features that turning does not change (`invariants.bispectra`) of at most 3,000 images are parted by k-means, and the images nearest to each middle are
    turned onto the nearest one and averaged.
    """
    if particles.images is None:
        raise ValueError("checked before: the particles have images")
    sample = torch.randperm(len(particles), generator=generator)[:LARGEST_SAMPLE].sort().values
    pixel_size = particles.pixel_size
    parts = [filtered_images(particles, part) for part in torch.split(sample, _READ)]
    images = torch.cat([part.images for part in parts])
    power = torch.cat([part.transfer_power for part in parts])
    flipped = phase_flipped(particles.images.read(sample.tolist()), particles[sample])  # noise stays as white as it was
    small, radius = smoothed(flipped, pixel_size=pixel_size, resolution=resolution, diameter=diameter)
    found = steerable_components(small, radius=radius, noise_deviation=outside_deviation(small))
    if len(found.order) < 2:
        return None
    points = leading_coordinates(bispectra(found), _FEATURE_DIMENSIONS, generator=generator)
    label, distance = clusters(points, classes, generator=generator)
    averages = [
        _aligned_average(
            images, power, found, _nearest_members(label, distance, number), pixel_size=pixel_size, resolution=resolution
        )
        for number in range(classes)
    ]
    return low_pass(torch.stack(averages), resolution=resolution, pixel_size=pixel_size)


def leading_coordinates(
    features: Float[Tensor, "n features"], dimensions: int, *, generator: torch.Generator
) -> Float[Tensor, "n dimensions"]:
    """The coordinates of points along the directions in which they differ most, by subspace iteration."""
    centred = features - features.mean(dim=0)
    count = min(dimensions, *centred.shape)
    axes = torch.randn(centred.shape[1], count, generator=generator).to(centred)
    for _ in range(6):
        axes = torch.linalg.qr(centred.T @ (centred @ axes)).Q
    return centred @ axes


def clusters(
    points: Float[Tensor, "n d"], count: int, *, generator: torch.Generator
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """The cluster of each point and its distance from the middle: the best of several runs of k-means, each from points far apart.

    Source: Arthur & Vassilvitskii, Proc. 18th ACM-SIAM SODA, 1027 (2007), for the start.
    """
    runs = [_one_clustering(points, count, generator=generator) for _ in range(_RUNS)]
    return min(runs, key=lambda run: float(run[1].double().square().sum()))


def _one_clustering(points: Tensor, count: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    middles = points[torch.randint(len(points), (1,), generator=generator)]
    while len(middles) < count:
        away = torch.cdist(points, middles).min(dim=1).values.square().double().cpu()
        middles = torch.cat([middles, points[torch.multinomial(away + 1e-30, 1, generator=generator)]])
    label = torch.full((len(points),), -1)
    for _ in range(_ROUNDS):
        distance = torch.cdist(points, middles)
        new = distance.argmin(dim=1)
        if bool((new == label).all()):
            break
        label = new
        number = torch.bincount(label, minlength=count)
        middles = torch.zeros_like(middles).index_add_(0, label, points) / number.clamp_min(1)[:, None]
        for empty in torch.nonzero(number == 0)[:, 0].tolist():
            middles[empty] = points[distance.min(dim=1).values.argmax()]
    distance = torch.cdist(points, middles)
    return label, distance.gather(1, label[:, None])[:, 0]


def _nearest_members(label: Tensor, distance: Tensor, number: int) -> Int[Tensor, " m"]:
    """The members of a cluster nearest to its middle, nearest first; where it has none, the image that fits nowhere."""
    members = torch.nonzero(label == number)[:, 0]
    if not len(members):
        return distance.argmax()[None]
    return members[torch.argsort(distance[members])][:MEMBERS]


def _aligned_average(
    images: Tensor, power: Tensor, found: SteerableComponents, members: Tensor, *, pixel_size: float, resolution: float
) -> Float[Tensor, "h w"]:
    """The members turned and moved onto the first of them, their CTF divided out."""
    turns = relative_turns(found.values[members[:1]], found.values[members], found)
    turned = turned_images(images[members], turns)
    smooth = low_pass(turned, resolution=resolution, pixel_size=pixel_size)
    total, seen = turned[0].clone(), smooth[0].clone()
    reach = max(1, images.shape[-1] // 12)
    for image, rough in zip(turned[1:], smooth[1:], strict=True):
        move = best_move(seen, rough, reach=reach)
        total += torch.roll(image, move, dims=(0, 1))
        seen += torch.roll(rough, move, dims=(0, 1))  # the growing mean is a better target than its first member
    return restored(total[None], power[members].sum(dim=0, keepdim=True))[0]
