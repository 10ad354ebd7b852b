"""Curves to hold a Fourier shell correlation against: a multiple of its noise, and a given amount of information."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_between, require_positive
from cryowalk.fourier.grids import Size
from cryowalk.fourier.shells import shell_sum
from cryowalk.validation.shell_correlation import ShellCorrelation


def shell_sizes(box: int, *, dimensions: int = 3) -> Float[Tensor, " shells"]:
    """How many Fourier coefficients the shells 0 … box // 2 of a cube (or the rings of a square) have, both Friedel mates counted, float64."""
    size: Size = (box, box, box) if dimensions == 3 else (box, box)
    return shell_sum(torch.ones((*size[:-1], box // 2 + 1), dtype=torch.float64), size=size)


def noise_deviation(counts: Float[Tensor, " shells"], *, independent_fraction: float = 1.0) -> Float[Tensor, " shells"]:
    """The standard deviation of the correlation of independent noise, 1/√N for N coefficients with both Friedel mates counted.

    (N/2 independent complex coefficients, of whose product the real part has half the power: 1/√(2 · N/2).) Under a mask only a fraction stays independent: `masks.independent_fraction`.
    Symmetry copies do not count either: divide the fraction by their number.
    """
    require_between("the independent fraction", independent_fraction, 1e-9, 1.0)
    return (counts * independent_fraction).clamp_min(1.0).rsqrt()


def sigma_curve(
    counts: Float[Tensor, " shells"], *, deviations: float = 3.0, independent_fraction: float = 1.0
) -> Float[Tensor, " shells"]:
    """So many standard deviations of the correlation of independent noise, at most 1.

    Source: the criterion is that of van Heel, Ultramicroscopy 21, 95 (1987); the deviation is `noise_deviation`.
    """
    require_positive("the number of deviations", deviations)
    return (deviations * noise_deviation(counts, independent_fraction=independent_fraction)).clamp_max(1.0)


def information_curve(
    counts: Float[Tensor, " shells"], *, bits: float = 0.5, independent_fraction: float = 1.0
) -> Float[Tensor, " shells"]:
    """The correlation of half maps whose average carries so many bits a coefficient, with what noise adds in a shell of so many coefficients.

    T = (S + (2√S + 1)/√n) / (S + 1 + 2√S/√n), S = (2^bits − 1)/2 the ratio of signal to noise of one half map, n independent coefficients. For half a bit
    T = (0.2071 + 1.9102/√n) / (1.2071 + 0.9102/√n), which tends to 0.1716.

    Source: van Heel & Schatz, J. Struct. Biol. 151, 250 (2005).
    """
    require_positive("the information", bits, unit="bits")
    require_between("the independent fraction", independent_fraction, 1e-9, 1.0)
    ratio = (2**bits - 1) / 2
    spread = (counts * independent_fraction).clamp_min(1.0).rsqrt()
    root = 2 * math.sqrt(ratio)
    return (ratio + (root + 1) * spread) / (ratio + 1 + root * spread)


def resolution_against(curve: ShellCorrelation, threshold: Float[Tensor, " shells"]) -> float:
    """The resolution (Å) at which the curve first falls below a threshold curve of the same shells; interpolated, Nyquist where it never does.

    The origin counts as above; thresholds that are 1 in shells of few coefficients are passed there too (shells 1 and 2 are not compared).
    """
    excess = (curve.correlation - threshold.to(curve.correlation)).double()
    below = (excess[3:] < 0).nonzero().flatten()
    if not len(below):
        return 1 / float(curve.frequency[-1])
    shell = int(below[0]) + 3
    high, low = max(float(excess[shell - 1]), 0.0), float(excess[shell])
    first, second = float(curve.frequency[shell - 1]), float(curve.frequency[shell])
    return 1 / (first + high / (high - low) * (second - first))
