"""Coordinates of the pixels of images and volumes and of their half spectra."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import ShapeError

Size = tuple[int, int] | tuple[int, int, int]


def frequency_grid(
    size: Size,
    *,
    pixel_size: float,
    like: Tensor | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> tuple[Tensor, ...]:
    """Frequencies (kx, ky) or (kx, ky, kz) of the half spectrum of an array of this size, 1/Å, ready to broadcast.

    kx has shape [w // 2 + 1], ky [h, 1], kz [d, 1, 1]. The Nyquist frequency of an even side is +½ on the half axis and −½ on the others.
    dtype and device are those of `like` (of its real part) unless they are given.
    """
    dtype, device = _placement(like, dtype, device)
    width = size[-1]
    frequencies = [torch.arange(width // 2 + 1, dtype=dtype, device=device) / (width * pixel_size)]
    for axis, length in enumerate(reversed(size[:-1]), start=1):
        index = torch.arange(length, device=device)
        signed = torch.where(index < (length + 1) // 2, index, index - length)
        frequencies.append((signed.to(dtype) / (length * pixel_size)).reshape(-1, *[1] * axis))
    return tuple(frequencies)


def full_frequency_grid(
    size: tuple[int, int],
    *,
    pixel_size: float,
    like: Tensor | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> tuple[Tensor, Tensor]:
    """Frequencies (kx, ky) of the full spectrum of a complex image of this size, 1/Å: kx has shape [w], ky [h, 1], in the order 0, 1, …, −1.

    The Nyquist frequency of an even side is −½. dtype and device are those of `like` (of its real part) unless they are given.
    """
    dtype, device = _placement(like, dtype, device)

    def axis(length: int) -> Tensor:
        index = torch.arange(length, device=device)
        return torch.where(index < (length + 1) // 2, index, index - length).to(dtype) / (length * pixel_size)

    return axis(size[1]), axis(size[0])[:, None]


def frequency_radius(
    size: Size,
    *,
    pixel_size: float,
    like: Tensor | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Float[Tensor, "*size"]:
    """|k| on the half spectrum of an array of this size, 1/Å."""
    return radius_of(*frequency_grid(size, pixel_size=pixel_size, like=like, dtype=dtype, device=device))


def frequency_azimuth(
    size: tuple[int, int],
    *,
    pixel_size: float,
    like: Tensor | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Float[Tensor, "h half"]:
    """Direction of k on the half spectrum of an image, rad from +x towards +y; 0 at the origin."""
    kx, ky = frequency_grid(size, pixel_size=pixel_size, like=like, dtype=dtype, device=device)
    return torch.atan2(ky.expand(size[0], kx.shape[0]), kx.expand(size[0], kx.shape[0]))


def shell_index(size: Size, *, device: torch.device | str | None = None) -> Int[Tensor, "*size"]:
    """The shell of each coefficient of the half spectrum: |k| in units of 1/(side · pixel size), to the nearest integer.

    Sides may differ; the shortest one then counts, so that its Nyquist frequency lies in shell side // 2. Half-way radii go outwards.
    """
    # In float64 (|k|·n)² of equal sides is a whole number to 1e-13, so that no rounding moves a coefficient to another shell.
    radius = frequency_radius(size, pixel_size=1.0, dtype=torch.float64, device=device) * min(size)
    return torch.floor(radius + 0.5 + 1e-9).to(torch.int64)


def coordinates(
    size: Size,
    *,
    pixel_size: float,
    like: Tensor | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> tuple[Tensor, ...]:
    """Real-space positions (x, y) or (x, y, z) of the pixels relative to the origin pixel, Å, ready to broadcast."""
    dtype, device = _placement(like, dtype, device)
    return tuple(
        ((torch.arange(length, dtype=dtype, device=device) - length // 2) * pixel_size).reshape(-1, *[1] * axis)
        for axis, length in enumerate(reversed(size))
    )


def radius_of(*components: Tensor) -> Float[Tensor, "*size"]:
    """The length of the vectors whose components are given."""
    squared = components[0] ** 2
    for component in components[1:]:
        squared = squared + component**2
    return torch.sqrt(squared)


def friedel_weights(size: Size, *, like: Tensor | None = None) -> Float[Tensor, " half"]:
    """How often each column of a half spectrum stands in the full one: 2, but 1 for column 0 and for an even width's Nyquist column."""
    dtype, device = _placement(like, None, None)
    weights = torch.full((size[-1] // 2 + 1,), 2.0, dtype=dtype, device=device)
    weights[0] = 1.0
    if size[-1] % 2 == 0:
        weights[-1] = 1.0
    return weights


def require_size(array: Tensor, dimensions: int, *, what: str = "array") -> Size:
    """The last two or three sides of an array.

    Raises
    ------
    ShapeError
        If the array has fewer axes.
    """
    if array.ndim < dimensions or dimensions not in (2, 3):
        raise ShapeError(f"the {what} must have {dimensions} axes (2 or 3): got the shape {tuple(array.shape)}")
    sides = tuple(array.shape[-dimensions:])
    return (sides[0], sides[1]) if dimensions == 2 else (sides[0], sides[1], sides[2])


def shell_count(size: Size) -> int:
    """The number of shells from the origin to Nyquist, both included: shortest side // 2 + 1."""
    return min(size) // 2 + 1


def _placement(
    like: Tensor | None, dtype: torch.dtype | None, device: torch.device | str | None
) -> tuple[torch.dtype, torch.device | str | None]:
    """The real dtype and the device to make a grid on."""
    if like is not None:
        dtype = dtype or torch.empty(0, dtype=like.dtype).real.dtype
        device = device or like.device
    return dtype or torch.float32, device
