"""The background of particle boxes, outside a circle that holds the particle: its plane, its mean and spread, and dust."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cryowalk.core.errors import UsageError

_FEWEST = 8  # background pixels from which a plane and a spread are worth anything
_ROUNDING = 1e-5  # relative, of float32 after two transforms


def background_mask(box: int, *, radius: float) -> Bool[Tensor, "box box"]:
    """Which pixels lie farther than `radius` (pixels) from the origin pixel.

    Raises
    ------
    UsageError
        If next to none do.
    """
    axis = torch.arange(box, dtype=torch.float64) - box // 2
    mask = axis[:, None] ** 2 + axis**2 > radius**2
    if int(mask.sum()) < _FEWEST:
        raise UsageError(
            f"a circle of {2 * radius:.0f} px leaves no background in a box of {box} px",
            fix="make the box larger, or --background-diameter smaller",
        )
    return mask


def plane_of_background(images: Float[Tensor, "*batch h w"], *, mask: Bool[Tensor, "h w"]) -> Float[Tensor, "*batch h w"]:
    """The plane a + b x + c y that fits the pixels of the mask best, in least squares, over the whole box."""
    height, width = images.shape[-2:]
    y = torch.arange(height, dtype=torch.float64, device=images.device)[:, None] - height // 2
    x = torch.arange(width, dtype=torch.float64, device=images.device) - width // 2
    ones = torch.ones(height, width, dtype=torch.float64, device=images.device)
    design = torch.stack([ones, ones * (x / width), ones * (y / height)])
    inside = (design * mask.to(design)).flatten(1)
    mean, _ = background_statistics(images, mask=mask)
    moments = _sums(images - mean, inside).double()
    coefficients = torch.linalg.solve(inside @ inside.T, moments[..., None])[..., 0].to(images.dtype)
    plane: Tensor = coefficients @ design.flatten(1).to(images.dtype)
    return mean + plane.reshape(images.shape)


def background_statistics(
    images: Float[Tensor, "*batch h w"], *, mask: Bool[Tensor, "h w"]
) -> tuple[Float[Tensor, "*batch 1 1"], Float[Tensor, "*batch 1 1"]]:
    """The mean and the standard deviation (that of the pixels themselves, divided by their number) of the pixels of the mask."""
    share = (mask.double() / mask.sum()).flatten()[None].to(images.device)
    rough = _sums(images, share)[..., None]
    apart = images - rough  # sums of small numbers keep what sums of large ones lose
    rest = _sums(apart, share)[..., None]
    variance = _sums(apart.square_(), share)[..., None] - rest.square()
    return rough + rest, variance.clamp_min(0).sqrt()


def _sums(images: Float[Tensor, "*batch h w"], weights: Float[Tensor, "k pixels"]) -> Float[Tensor, "*batch k"]:
    """The sums of the pixels of each image with these weights: products of matrices, many times faster than picking pixels out."""
    return images.flatten(-2) @ weights.to(images.dtype).T


def replace_dust(
    images: Float[Tensor, "n h w"],
    *,
    mask: Bool[Tensor, "h w"],
    white: float | None,
    black: float | None,
    generator: torch.Generator,
) -> Float[Tensor, "n h w"]:
    """The images with outliers replaced by normal noise of the background's mean and spread.

    An outlier lies more than `white` standard deviations of the background above its mean, or `black` below; None lets that side be. The spread is taken
    with the outliers in it, as it is all that is known.
    """
    if white is None and black is None:
        return images
    mean, spread = background_statistics(images, mask=mask)
    is_dust = torch.zeros(images.shape, dtype=torch.bool, device=images.device)
    if white is not None:
        is_dust |= images > mean + white * spread
    if black is not None:
        is_dust |= images < mean - black * spread
    noise = torch.randn(images.shape, generator=generator, dtype=images.dtype).to(images.device)
    return torch.where(is_dust, mean + spread * noise, images)


def has_flat_background(images: Float[Tensor, "n h w"], *, mask: Bool[Tensor, "h w"]) -> Bool[Tensor, " n"]:
    """Which images have a background of one grey, but for rounding: there is nothing to normalise them by."""
    mean, spread = background_statistics(images, mask=mask)
    return (spread <= _ROUNDING * mean.abs())[:, 0, 0]


def normalised_boxes(images: Float[Tensor, "n h w"], *, mask: Bool[Tensor, "h w"]) -> Float[Tensor, "n h w"]:
    """The images with the mean of the mask's pixels taken off, divided by their standard deviation; one whose background has no spread is not divided."""
    mean, spread = background_statistics(images, mask=mask)
    return (images - mean) / torch.where(spread > 0, spread, torch.ones_like(spread))
