"""A local Wiener filter: each band of frequencies is weighted, place by place, by how well two half maps agree there.

Source: the weight is Wiener's with the local correlation in place of the shell's; local filtering of maps by their local resolution: Cardone, Heymann &
Steven, J. Struct. Biol. 184, 226 (2013).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_positive
from cryowalk.fourier.filters import b_factor, weights_on_spectrum
from cryowalk.fourier.grids import require_size, shell_count
from cryowalk.fourier.transform import to_fourier, to_real

_BAND = 1.25  # ratio of the middle frequencies of neighbouring bands
_NARROWEST = 3.0  # shells


def local_wiener(
    first: Float[Tensor, "*size"], second: Float[Tensor, "*size"], *, window: float = 2.0
) -> tuple[Float[Tensor, "*size"], Float[Tensor, "*size"]]:
    """Both halves with each band of frequencies multiplied by the local Wiener weight 2c / (1 + c), c the halves' local correlation in that band.

    c(x) = ⟨h₁h₂⟩ / ½⟨h₁² + h₂²⟩ under a Gaussian about x, whose standard deviation is `window` wavelengths of the band. Bands overlap, and their shares add up to 1
    in every shell. Where the halves do not agree the weight is zero: solvent loses its noise, and a flexible part only the frequencies that it does not hold.
    """
    require_positive("window", window)
    size = require_size(first, first.ndim)
    spectra = [to_fourier(half, dimensions=len(size)) for half in (first, second)]
    results = [torch.zeros_like(first), torch.zeros_like(second)]
    for share, middle in bands(shell_count(size)):
        weights = weights_on_spectrum(share.to(first), size=size)
        parts = [to_real(spectrum * weights, width=size[-1], dimensions=len(size)) for spectrum in spectra]
        weight = _local_weight(parts[0], parts[1], deviation=window * min(size) / max(middle, 1.0))
        for result, part in zip(results, parts, strict=True):
            result += weight * part
    return results[0], results[1]


def bands(shells: int) -> list[tuple[Float[Tensor, " shells"], float]]:
    """Shares of each band in the shells, which add up to 1, and the shell in its middle; each is 1.25 times as fine as the one before, or three shells further."""
    middles = [0.0]
    while middles[-1] < shells - 1:
        middles.append(max(middles[-1] * _BAND, middles[-1] + _NARROWEST))
    place = torch.arange(shells, dtype=torch.float64)
    result = []
    for index, middle in enumerate(middles):
        share = torch.ones(shells, dtype=torch.float64)
        if index:
            below = middles[index - 1]
            share *= 0.5 - 0.5 * torch.cos(math.pi * ((place - below) / (middle - below)).clamp(0, 1))
        if index + 1 < len(middles):
            above = middles[index + 1]
            share *= 0.5 + 0.5 * torch.cos(math.pi * ((place - middle) / (above - middle)).clamp(0, 1))
        result.append((share, middle))
    return result


def _local_weight(first: Tensor, second: Tensor, *, deviation: float) -> Tensor:
    """The Wiener weight of the average at each place, `deviation` in pixels."""
    widest = min(first.shape) / 6
    # exp(−2π²σ²k²) written as exp(−B k²/4).
    broadness = 8 * math.pi**2 * min(deviation, widest) ** 2

    def local_mean(values: Tensor) -> Tensor:
        return b_factor(values, b_factor=broadness, pixel_size=1.0, dimensions=first.ndim)

    shared, total = local_mean(first * second), local_mean((first**2 + second**2) / 2)
    likeness = (shared / total.clamp_min(torch.finfo(total.dtype).tiny)).clamp(0, 1)
    return 2 * likeness / (1 + likeness)
