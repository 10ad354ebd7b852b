"""Views of the particle, and where a micrograph looks like one of them in some rotation: fast local correlation."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError, ShapeError
from cryowalk.data.images import ImageStack
from cryowalk.fourier.transform import resample
from cryowalk.picking.blobs import ScoreMap, local_deviation, spread_of
from cryowalk.picking.search import Coarse, disk, searched

_MASK = 1.15  # radii of the mask within which templates are compared
_WINDOW = 1.4  # radii from the middle to the side of a window about a pick
LEAST_PICKS = 20  # that a template is averaged from
_ROUNDS = 12  # of k-means
_LEFT_OUT = 0.02  # of a kernel's norm that a sum of shared ones may lack
_MAP_BYTES = 2**28  # of the maps of shared kernels that are held at a time
_BLOCK = 1024  # pixels whose correlations with all kernels are formed at a time


def template_map(
    coarse: Coarse, level: Float[Tensor, "h w"], templates: Float[Tensor, "n side side"], *, angles: int
) -> ScoreMap:
    """The best normalised correlation of each place with any of the templates at any of so many rotations in the plane.

    All share one transform of the micrograph, one map of local deviations and one round mask. The rotations of a template are much alike: all kernels
    are sums of few (`shared_kernels`), so that there are two transforms for each of these few, and a matrix product for the rest.

    Source: Roseman, Ultramicroscopy 94, 225 (2003).
    """
    if not len(templates):
        raise InputError("there are no templates")
    side = templates.shape[-1]
    mask = disk(min(_MASK * coarse.radius, side / 2 - 1), soft=2.0, side=side).to(level)
    every = torch.cat([rotations(template, 1 if is_round(template) else angles) for template in templates.to(level)])
    kernels, weights = shared_kernels(normalised_kernels(every, mask=mask))
    best = best_of_sums(level, kernels, weights)
    best /= local_deviation(searched(level, side // 2), mask).mul_(mask.sum().sqrt())
    return ScoreMap((best - best.median()) / spread_of(best), best * math.sqrt(float(mask.sum())))


def best_of_sums(
    image: Float[Tensor, "h w"], kernels: Float[Tensor, "r side side"], weights: Float[Tensor, "m r"]
) -> Float[Tensor, "h w"]:
    """The largest of the correlations of an image with each of the sums Σ_r weights[m, r] · kernels[r], at every pixel; bands of rows bound the memory."""
    height, width = image.shape
    reach = kernels.shape[-1] // 2
    band = max(4 * reach, _MAP_BYTES // (len(kernels) * width * image.element_size()))
    best = torch.empty_like(image)
    for top in range(0, height, band):
        last = min(top + band, height)
        first = max(0, top - reach)
        ready = searched(image[first : min(last + reach, height)], reach)
        maps = torch.stack([ready.correlated(kernel)[top - first : last - first].flatten() for kernel in kernels])
        flat = best[top:last].view(-1)
        for start in range(0, len(flat), _BLOCK):
            flat[start : start + _BLOCK] = (weights @ maps[:, start : start + _BLOCK]).amax(dim=0)
    return best


def normalised_kernels(images: Float[Tensor, "m side side"], *, mask: Float[Tensor, "side side"]) -> Float[Tensor, "m side side"]:
    """The images under the mask, each with Σ m t = 0 and Σ m t² = 1: what `blobs.normalised` correlates with."""
    total = mask.sum()
    centred = images - (images * mask).sum(dim=(-2, -1), keepdim=True) / total
    norm = (mask * centred.square()).sum(dim=(-2, -1), keepdim=True).sqrt().clamp_min(1e-12)
    return mask * centred / norm


def shared_kernels(kernels: Float[Tensor, "m side side"]) -> tuple[Float[Tensor, "r side side"], Float[Tensor, "m r"]]:
    """Few kernels and the weights with which their sums are all of these, each to a fiftieth of its norm: the leading singular vectors.

    A normalised correlation is wrong by a fiftieth at most, and by far less on noise, which has little to do with what is left out.
    """
    flat = kernels.flatten(1).double()
    left, strengths, right = torch.linalg.svd(flat, full_matrices=False)
    weights = left * strengths
    left_out = weights.square().flip(1).cumsum(1).flip(1).sqrt()  # of each kernel, if nothing from this vector on is kept
    needed = (left_out > _LEFT_OUT * flat.norm(dim=1, keepdim=True)).any(dim=0)
    count = max(1, int(needed.sum()))
    return right[:count].reshape(-1, *kernels.shape[1:]).to(kernels), weights[:, :count].to(kernels)


def rotations(image: Float[Tensor, "side side"], count: int) -> Float[Tensor, "count side side"]:
    """The image turned by so many angles that divide a full turn evenly, from +x towards +y about its middle; the first is the image itself."""
    return torch.stack([rotated(image, 2 * math.pi * turn / count) if turn else image for turn in range(count)])


def rotated(image: Float[Tensor, "side side"], angle: float) -> Float[Tensor, "side side"]:
    """The image turned by an angle (rad) from +x towards +y about its middle, bilinear; the side is odd."""
    half = (image.shape[-1] - 1) / 2
    line = torch.arange(image.shape[-1], dtype=image.dtype, device=image.device) - half
    y, x = line[:, None], line
    cosine, sine = math.cos(angle), math.sin(angle)
    grid = torch.stack((cosine * x + sine * y, -sine * x + cosine * y), dim=-1) / half
    turned = torch.nn.functional.grid_sample(image[None, None], grid[None], padding_mode="zeros", align_corners=True)
    return turned[0, 0]


def is_round(image: Float[Tensor, "side side"]) -> bool:
    """Whether a template is its own rotational average."""
    return bool((image - round_average(image)).norm() < 0.02 * image.norm())


def round_average(image: Float[Tensor, "*batch side side"]) -> Float[Tensor, "*batch side side"]:
    """The mean over all rotations about the middle: the value at a radius is interpolated between rings one pixel wide."""
    side = image.shape[-1]
    line = torch.arange(side, dtype=image.dtype, device=image.device) - side // 2
    radius = torch.hypot(line, line[:, None])
    low = radius.floor().long()
    upper = radius - low
    count = int(low.max()) + 2
    weights, sums = radius.new_zeros(count), image.new_zeros((*image.shape[:-2], count))
    for ring, weight in ((low, 1 - upper), (low + 1, upper)):
        weights.index_add_(0, ring.flatten(), weight.flatten())
        sums.index_add_(-1, ring.flatten(), (image * weight).flatten(-2))
    mean = sums / weights.clamp_min(1e-12)
    return mean[..., low] * (1 - upper) + mean[..., low + 1] * upper


def templates_for(stack: ImageStack, coarse: Coarse) -> Float[Tensor, "n side side"]:
    """Images of the particle, protein bright, on the coarse micrograph's pixels, on an odd side that holds the particle.

    Raises
    ------
    ShapeError
        If the images are smaller than the particle.
    InputError
        If one has no contrast, or values that are not finite numbers.
    """
    pixels = stack.pixels.float()
    if not bool(torch.isfinite(pixels).all()):
        raise InputError("a template holds values that are not finite numbers")
    if bool((pixels.std(dim=(-2, -1)) == 0).any()):
        raise InputError("a template has no contrast", cause="an empty class")
    width = pixels.shape[-1] * stack.pixel_size
    if min(pixels.shape[-2:]) * stack.pixel_size < 2 * coarse.radius * coarse.pixel_size * 0.9:
        raise ShapeError(
            f"templates are {width:.0f} Å wide, the particle {2 * coarse.radius * coarse.pixel_size:.0f} Å",
            fix="give templates in a box that holds the particle",
        )
    # The origin n // 2 stays the origin where images are resampled; an odd window about it is cut out afterwards.
    size = tuple(2 * max(4, round(length * stack.pixel_size / coarse.pixel_size / 2)) for length in pixels.shape[-2:])
    small = resample(pixels, size)
    half = min(math.ceil(_MASK * coarse.radius) + 2, min(size) // 2 - 1)
    y, x = size[0] // 2, size[1] // 2
    return small[..., y - half : y + half + 1, x - half : x + half + 1]


def windows(level: Float[Tensor, "h w"], rows: Tensor, columns: Tensor, *, half: int) -> Float[Tensor, "n side side"]:
    """Windows of side 2 · half + 1 about places (pixels, rounded) of a map, zero beyond its borders."""
    padded = torch.nn.functional.pad(level, (half, half, half, half))
    line = torch.arange(2 * half + 1, device=level.device)
    y = rows.round().long()[:, None] + line
    x = columns.round().long()[:, None] + line
    return padded[y[:, :, None], x[:, None, :]]


def own_templates(
    level: Float[Tensor, "h w"], rows: Tensor, columns: Tensor, *, radius: float, classes: int
) -> Float[Tensor, "m side side"] | None:
    """Templates averaged from what lies at these places of the map, or None where they are fewer than twenty."""
    if len(rows) < LEAST_PICKS:
        return None
    return averaged_templates(windows(level, rows, columns, half=math.ceil(_WINDOW * radius)), classes=classes)


def averaged_templates(found: Float[Tensor, "n side side"], *, classes: int) -> Float[Tensor, "m side side"]:
    """Round averages of windows about picks, in so many classes by their strength along the picks' own main variation.

    Windows are averaged over rotations first, so that nothing need be aligned; k-means of these profiles then sorts them by size and ring.
    """
    profiles = round_average(found)
    flat = (profiles - profiles.mean(dim=(-2, -1), keepdim=True)).flatten(1)
    order = flat.norm(dim=1).argsort()
    groups = order.chunk(max(1, min(classes, len(order) // LEAST_PICKS)))
    centres = torch.stack([flat[part].mean(dim=0) for part in groups])
    for _ in range(_ROUNDS if len(centres) > 1 else 0):
        nearest = torch.cdist(flat, centres).argmin(dim=1)
        centres = torch.stack(
            [flat[nearest == k].mean(dim=0) if bool((nearest == k).any()) else centres[k] for k in range(len(centres))]
        )
    return centres.reshape(-1, *found.shape[1:])
