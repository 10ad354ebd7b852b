"""Images read at displaced places: what lies at x + d(x) comes to x, d a smooth field given by a few coefficients.

Interpolation by cubic convolution (four points an axis), or linear. `sinc_warp` is for making movies: it moves by a field given pixel by pixel, wraps round, and
takes twelve points an axis, three times the time; here frames by the dozen are read, and what interpolation takes is given back at the end.

Source: Keys, IEEE Trans. Acoust. Speech Signal Process. 29, 1153 (1981).
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import ShapeError

Interpolation = Literal["cubic", "linear"]


def displaced_places(
    coefficients: Float[Tensor, "2 6"], *, size: tuple[int, int]
) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """The places (x, y), pixels, that a field c₀ + c₁u + c₂u² + c₃v + c₄v² + c₅uv (pixels; u = x/width − ½, v = y/height − ½) leads to from each pixel."""
    height, width = size
    x = torch.arange(width, dtype=torch.float64, device=coefficients.device)
    y = torch.arange(height, dtype=torch.float64, device=coefficients.device)
    u, v = x / width - 0.5, (y / height - 0.5)[:, None]
    c = coefficients.double()[:, :, None, None]
    field = c[:, 0] + c[:, 1] * u + c[:, 2] * u**2 + c[:, 3] * v + c[:, 4] * v**2 + c[:, 5] * u * v
    return x + field[0], y[:, None] + field[1]


def warp(
    image: Float[Tensor, "h w"], coefficients: Float[Tensor, "2 6"], *, interpolation: Interpolation = "cubic"
) -> Float[Tensor, "h w"]:
    """The image read at the places that `displaced_places` tells; beyond an edge the edge's own pixels continue.

    Raises
    ------
    ShapeError
        If the image is smaller than the reach of the interpolation.
    """
    _require_room(image)
    result = torch.zeros_like(image)
    add_warped(image[None], coefficients[None], image.new_ones(1, 1), result[None], interpolation=interpolation)
    return result


def add_warped(
    images: Float[Tensor, "n h w"],
    coefficients: Float[Tensor, "n 2 6"],
    factors: Float[Tensor, "m n"],
    sums: Float[Tensor, "m h w"],
    *,
    interpolation: Interpolation = "cubic",
) -> None:
    """Nothing; each image warped by its own coefficients, times its factor for a sum, is added to that sum, in place.

    Several images and sums at a time cost little more than one: what is warped stays in the cache until it is added everywhere.

    Raises
    ------
    ShapeError
        If the images are smaller than the reach of the interpolation.
    """
    _require_room(images)
    is_plain = all(
        each.device.type == "cpu" and each.dtype == torch.float32 and not each.requires_grad for each in (images, sums)
    )
    if not is_plain:
        add_warped_reference(images, coefficients, factors, sums, interpolation=interpolation)
        return
    from cryowalk.numerics.warping_compiled import add_warped_compiled

    add_warped_compiled(
        images.contiguous().numpy(),
        coefficients.detach().double().cpu().contiguous().numpy(),
        factors.detach().float().cpu().contiguous().numpy(),
        sums.numpy(),
        is_cubic=interpolation == "cubic",
        threads=torch.get_num_threads(),
    )


def add_warped_reference(
    images: Float[Tensor, "n h w"],
    coefficients: Float[Tensor, "n 2 6"],
    factors: Float[Tensor, "m n"],
    sums: Float[Tensor, "m h w"],
    *,
    interpolation: Interpolation = "cubic",
) -> None:
    """The same as `add_warped`, one image after the other, on any device and with gradients."""
    for index, image in enumerate(images):
        moved = warp_reference(image, coefficients[index], interpolation=interpolation)
        for one, factor in enumerate(factors[:, index].tolist()):
            if factor != 0:
                sums[one] += factor * moved


def _require_room(images: Tensor) -> None:
    if min(images.shape[-2:]) < 4:
        raise ShapeError(
            f"an image of {images.shape[-2]} × {images.shape[-1]} pixels is too small to be warped", expected="at least 4 × 4"
        )


def warp_reference(
    image: Float[Tensor, "h w"], coefficients: Float[Tensor, "2 6"], *, interpolation: Interpolation = "cubic"
) -> Float[Tensor, "h w"]:
    """The same as `warp`, written as the formula reads; it carries gradients with respect to the image and runs on any device."""
    height, width = image.shape
    x, y = displaced_places(coefficients, size=(height, width))
    left, top = x.floor(), y.floor()
    weights_x, weights_y = _weights(x - left, interpolation), _weights(y - top, interpolation)
    first = -1 if interpolation == "cubic" else 0
    result = torch.zeros_like(image)
    for row, weight_y in enumerate(weights_y, start=first):
        line = (top.long() + row).clamp(0, height - 1)
        for column, weight_x in enumerate(weights_x, start=first):
            result = result + (weight_x * weight_y).to(image) * image[line, (left.long() + column).clamp(0, width - 1)]
    return result


def _weights(t: Tensor, interpolation: Interpolation) -> list[Tensor]:
    """The weights of the points at −1, 0, 1, 2 (cubic, a = −½) or 0, 1 for a place t between 0 and 1."""
    if interpolation == "linear":
        return [1 - t, t]
    return [
        ((-0.5 * t + 1) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1,
        ((-1.5 * t + 2) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    ]
