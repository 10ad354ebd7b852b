"""Power spectra of micrographs: averages over overlapping tapered tiles."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_positive, require_square
from cryowalk.core.errors import InputError, ShapeError
from cryowalk.fourier.transform import lower_frequencies, to_fourier

FINEST_PIXEL = 1.4  # Å; finer spectra than Nyquist at 2.8 Å hold no Thon rings that a fit could use
SINE_TAPERS = 3
_TILES_AT_ONCE = 16


class PowerSpectrum(NamedTuple):
    """A power spectrum on the unshifted half plane of a square image, and the pixel size (Å) whose Nyquist frequency is its edge."""

    power: Float[Tensor, "side half"]
    pixel_size: float

    @property
    def side(self) -> int:
        """The side of the image that it belongs to, pixels."""
        return self.power.shape[0]


def power_spectrum(pixels: Float[Tensor, "h w"], *, pixel_size: float, box: int = 512, tapers: str = "hann") -> PowerSpectrum:
    """The power spectrum of a micrograph, averaged over tapered tiles that overlap by a half.

    Where pixels are finer than 1.4 Å, tiles are taken so much larger and their spectra cropped, so that its edge lies at 2.8 Å. Each tile has its
    mean taken away. `tapers`: "hann", or "sine" for three orthogonal sine tapers a axis. An orthonormal transform: white noise of variance σ² gives σ².

    Raises
    ------
    ShapeError
        If the micrograph is smaller than a tile.
    InputError
        If it holds no contrast, or values that are not finite numbers.

    Source: Rohou & Grigorieff, J. Struct. Biol. 192, 216 (2015), sec. 2.1; Heimowitz, Andén & Singer, J. Struct. Biol. 212, 107640 (2020).
    """
    require_positive("pixel size", pixel_size, unit="Å")
    side = tile_side(box, pixel_size)
    height, width = pixels.shape
    if min(height, width) < side:
        raise ShapeError(
            f"the micrograph has {height} × {width} pixels (height × width), its power spectrum needs tiles of {side}",
            fix=f"use a box of at most {int(box * min(height, width) / side) // 2 * 2}",
        )
    pixels = pixels if pixels.is_floating_point() else pixels.float()
    deviation = float(pixels.std())
    if not math.isfinite(deviation):
        raise InputError("the micrograph holds values that are not finite numbers")
    if deviation == 0:
        raise InputError("the micrograph has no contrast: all its pixels are equal", cause="an empty or a blanked exposure")
    windows = windows_of(side, tapers, like=pixels)
    total = torch.zeros(box, box // 2 + 1, dtype=torch.float64, device=pixels.device)
    count = 0
    for _, tiles in tiles_of(pixels, side):
        centred = tiles - tiles.mean(dim=(-2, -1), keepdim=True)
        for window in windows:
            spectrum = to_fourier(centred * window)
            total += lower_frequencies(spectrum.real.square() + spectrum.imag.square(), (box, box)).sum(
                dim=0, dtype=torch.float64
            )
        count += len(tiles) * len(windows)
    return PowerSpectrum(total / count, pixel_size * side / box)


def spectrum_of_picture(picture: Float[Tensor, "h w"], *, pixel_size: float) -> PowerSpectrum:
    """The power spectrum that a picture of one shows: its origin at pixel n // 2, both halves there, power or amplitude.

    Raises
    ------
    ShapeError
        If the picture is not square.
    InputError
        If it holds negative or not finite numbers.
    """
    side = require_square("picture of a power spectrum", tuple(picture.shape))
    if not bool(torch.isfinite(picture).all()) or bool((picture < 0).any()):
        raise InputError(
            "the picture of a power spectrum holds negative or not finite numbers", cause="a logarithm or a difference was stored"
        )
    rolled = picture.double().roll((-(side // 2), -(side // 2)), dims=(0, 1))
    return PowerSpectrum(rolled[:, : side // 2 + 1], require_positive("pixel size", pixel_size, unit="Å"))


def tile_side(box: int, pixel_size: float) -> int:
    """The side of the tiles, pixels: the box, or as much more as pixels are finer than 1.4 Å."""
    return 2 * math.ceil(box * max(1.0, FINEST_PIXEL / pixel_size) / 2 - 1e-9)


def windows_of(side: int, tapers: str, *, like: Tensor) -> list[Tensor]:
    """Windows of mean square 1, orthogonal to each other."""
    line = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    if tapers == "sine":
        lines = [torch.sin(math.pi * (order + 1) * line) for order in range(SINE_TAPERS)]
    else:
        lines = [torch.sin(math.pi * line) ** 2]
    lines = [each / each.square().mean().sqrt() for each in lines]
    return [(first[:, None] * second).to(like) for first in lines for second in lines]


def tiles_of(pixels: Tensor, side: int) -> Iterator[tuple[list[tuple[int, int]], Tensor]]:
    """Corners (y, x) and pixels of tiles that cover the micrograph and overlap by about a half, a few at a time."""
    starts = [
        [round(i * (length - side) / steps) for i in range(steps + 1)] if steps else [0]
        for length in pixels.shape
        for steps in (math.ceil((length - side) / (side / 2)),)
    ]
    corners = [(y, x) for y in starts[0] for x in starts[1]]
    for first in range(0, len(corners), _TILES_AT_ONCE):
        some = corners[first : first + _TILES_AT_ONCE]
        yield some, torch.stack([pixels[y : y + side, x : x + side] for y, x in some])
