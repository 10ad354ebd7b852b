"""The micrograph that is searched: made so coarse that the particle has a given radius, levelled, and correlated with small kernels."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.errors import InputError, ShapeError
from cryowalk.data.images import Micrograph
from cryowalk.fourier.transform import filtered_image, filtering_half_spectrum, resample

RADIUS = 10.0  # pixels of the coarse micrograph
BACKGROUND = 3.0  # radii over which the local mean is taken
STRONGEST = 4.0  # standard deviations at which values are cut: nothing that one pixel holds may win
_LEAST = 4.0  # radii that a side must have


@dataclass(frozen=True, slots=True, kw_only=True)
class Coarse:
    """A micrograph made coarse: `pixels` protein bright, `radius` (pixels) that of the particle; `size` (h, w) the micrograph's own."""

    pixels: Float[Tensor, "h w"]
    pixel_size: float
    radius: float
    size: tuple[int, int]

    def in_micrograph(self, rows: Tensor, columns: Tensor) -> Float[Tensor, "n 2"]:
        """Positions (x, y) in the micrograph's pixels: both grids have their origins, n // 2, at the same place."""
        height, width = self.pixels.shape
        y = (rows.double() - height // 2) * (self.size[0] / height) + self.size[0] // 2
        x = (columns.double() - width // 2) * (self.size[1] / width) + self.size[1] // 2
        return torch.stack((x, y), dim=-1)

    def places_of(self, positions: Float[Tensor, "n 2"]) -> Float[Tensor, "n 2"]:
        """Rows and columns on the coarse grid of positions (x, y) in the micrograph's pixels."""
        height, width = self.pixels.shape
        columns, rows = positions.double().unbind(-1)
        y = (rows - self.size[0] // 2) * (height / self.size[0]) + height // 2
        x = (columns - self.size[1] // 2) * (width / self.size[1]) + width // 2
        return torch.stack((y, x), dim=-1)


class Searched(NamedTuple):
    """The spectrum of an image that was mirrored at its borders by `reach` pixels, and padded to a size that transforms fast."""

    spectrum: Complex[Tensor, "h half"]
    padded: tuple[int, int]
    shape: tuple[int, int]
    reach: int

    def correlated(self, kernel: Float[Tensor, "side side"]) -> Float[Tensor, "h w"]:
        """Σ image(x + u) kernel(u) at every pixel x, u counted from the kernel's middle; the side is odd, at most 2 · reach + 1."""
        side = kernel.shape[-1]
        if side % 2 == 0 or side // 2 > self.reach:
            raise ShapeError(f"the kernel has a side of {side} pixels", expected=f"an odd one up to {2 * self.reach + 1}")
        padded = kernel.new_zeros(self.padded)
        padded[:side, :side] = kernel
        half = side // 2
        product = filtering_half_spectrum(padded).conj_physical_().mul_(self.spectrum)
        found = filtered_image(product, width=self.padded[1])
        top = self.reach - half
        window = found[top : top + self.shape[0], top : top + self.shape[1]]
        return window * math.sqrt(self.padded[0] * self.padded[1])


def searched(image: Float[Tensor, "h w"], reach: int) -> Searched:
    """The image ready to be correlated with kernels that reach so many pixels from their middle."""
    shape = (image.shape[0], image.shape[1])
    first = [min(reach, length - 1) for length in shape]
    mirrored = torch.nn.functional.pad(image[None, None], (first[1], first[1], first[0], first[0]), mode="reflect")[0, 0]
    rest = [reach - each for each in first]
    padded = [fast_length(length + 2 * reach) for length in shape]
    amounts = (rest[1], padded[1] - shape[1] - 2 * reach + rest[1], rest[0], padded[0] - shape[0] - 2 * reach + rest[0])
    mirrored = torch.nn.functional.pad(mirrored, amounts)
    return Searched(filtering_half_spectrum(mirrored), (padded[0], padded[1]), shape, reach)


def fast_length(least: int) -> int:
    """The smallest even number from `least` on without prime factors above 5."""
    length = least + least % 2
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 2


def coarse_micrograph(micrograph: Micrograph, *, diameter: float, radius: float = RADIUS) -> Coarse:
    """The micrograph with pixels of diameter / (2 · radius) or its own where those are coarser, protein bright.

    Raises
    ------
    ShapeError
        If the field is smaller than two particles.
    InputError
        If it holds no contrast, or values that are not finite numbers.
    """
    pixels = micrograph.pixels if micrograph.pixels.is_floating_point() else micrograph.pixels.float()
    deviation = float(pixels.std()) if pixels.numel() > 1 else 0.0
    if not math.isfinite(deviation):
        raise InputError("the micrograph holds values that are not finite numbers", cause="a damaged file")
    if deviation == 0:
        raise InputError("the micrograph has no contrast: all its pixels are equal", cause="an empty or a blanked exposure")
    factor = max(1.0, diameter / (2 * radius) / micrograph.pixel_size)
    height, width = pixels.shape
    size = (height, width) if factor == 1 else (_even(height / factor), _even(width / factor))
    pixel_size = micrograph.pixel_size * math.sqrt(height * width / (size[0] * size[1]))
    found = diameter / 2 / pixel_size
    if min(size) < _LEAST * found:
        raise ShapeError(
            f"the micrograph of {height * micrograph.pixel_size:.0f} × {width * micrograph.pixel_size:.0f} Å hardly holds particles of {diameter:g} Å",
            cause="a wrong pixel size or diameter",
        )
    small = resample((pixels - pixels.mean()) / -deviation, size)
    return Coarse(pixels=small, pixel_size=pixel_size, radius=found, size=(height, width))


def _even(length: float) -> int:
    return max(2, 2 * round(length / 2))


def levelled(coarse: Coarse) -> Float[Tensor, "h w"]:
    """The coarse micrograph without its local mean, its values cut at ±4 standard deviations, of deviation 1.

    The standard deviation is a robust one (1.4826 times the median of absolute values): a strip of carbon does not change how strong a particle is.
    """
    kernel = disk(BACKGROUND * coarse.radius)
    flat = coarse.pixels - searched(coarse.pixels, kernel.shape[-1] // 2).correlated((kernel / kernel.sum()).to(coarse.pixels))
    scale = 1.4826 * flat.abs().median().clamp_min(1e-12)
    cut = (flat / scale).clamp(-STRONGEST, STRONGEST)
    result: Tensor = cut / cut.std()
    return result


def disk(radius: float, *, soft: float = 1.0, side: int = 0) -> Float[Tensor, "side side"]:
    """1 within the radius, 0 outside, falling over `soft` pixels about it, on an odd side."""
    half = side // 2 if side else math.ceil(radius + soft / 2)
    line = torch.arange(-half, half + 1, dtype=torch.float32)
    return ((radius - torch.hypot(line, line[:, None])) / soft + 0.5).clamp(0, 1)
