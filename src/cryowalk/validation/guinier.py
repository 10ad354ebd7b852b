"""The Guinier plot: how amplitudes fall with resolution, the B-factor in it, and what that says about numbers of particles.

Source: Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_cube, require_positive
from cryowalk.core.errors import InputError, UsageError
from cryowalk.data import Volume
from cryowalk.fourier.shells import shell_average, shell_frequency
from cryowalk.fourier.transform import to_fourier

LEAST_POINTS = 3  # shells in a straight-line fit


@dataclass(frozen=True, slots=True, kw_only=True)
class GuinierFit:
    """A straight line ln|F| = intercept − (B/4) k² through the shells between two resolutions (Å).

    `b_factor` (Å²) is that of the map, positive where amplitudes fall; `error` its standard error; `correlation` that of the points, 1 for a line.
    """

    b_factor: float
    intercept: float
    error: float
    correlation: float
    coarsest: float
    finest: float

    def line(self, frequency: Float[Tensor, " shells"]) -> Float[Tensor, " shells"]:
        """ln|F| of the line at these frequencies (1/Å)."""
        return self.intercept - self.b_factor / 4 * frequency.square()


def log_amplitude(volume: Volume) -> Float[Tensor, " shells"]:
    """Logarithm of the mean |F| in each Fourier shell 0 … n // 2 (orthonormal transform, map units); −∞ where a shell is empty."""
    box = require_cube("a map", tuple(volume.voxels.shape))
    return shell_average(to_fourier(volume.voxels, dimensions=3).abs(), size=(box, box, box)).double().log()


def fit_b_factor(
    frequency: Float[Tensor, " shells"], logarithm: Float[Tensor, " shells"], *, coarsest: float = 10.0, finest: float
) -> GuinierFit:
    """The B-factor of ln|F| over frequency (1/Å) by a straight line in k², from `coarsest` to `finest` (Å), each shell counting once.

    Coarser than about 10 Å the shape of the molecule rules and the law does not hold.

    Raises
    ------
    InputError
        If fewer than three shells with signal lie between the two resolutions.
    """
    require_positive("the coarsest resolution", coarsest, unit="Å")
    require_positive("the finest resolution", finest, unit="Å")
    # The shell that lies at a limit belongs to the fit, whatever the rounding of its frequency.
    slack = 1e-6 * float(frequency[-1])
    chosen = (frequency >= 1 / coarsest - slack) & (frequency <= 1 / finest + slack) & logarithm.isfinite()
    count = int(chosen.sum())
    if count < LEAST_POINTS:
        raise InputError(
            f"{count} shells lie between {coarsest:g} and {finest:g} Å: too few for a B-factor",
            expected=f"{LEAST_POINTS} or more",
            cause="a map that does not reach beyond 10 Å has no B-factor that can be fitted",
            fix="give the B-factor, 0 for none: --b-factor 0",
        )
    x, y = frequency[chosen].double().square(), logarithm[chosen].double()
    slope, intercept, error, correlation = _straight_line(x, y)
    return GuinierFit(
        b_factor=-4 * slope,
        intercept=intercept,
        error=4 * error,
        correlation=-correlation,
        coarsest=1 / math.sqrt(float(x[0])),
        finest=1 / math.sqrt(float(x[-1])),
    )


def _straight_line(x: Tensor, y: Tensor) -> tuple[float, float, float, float]:
    """Slope, intercept, standard error of the slope and correlation of a least-squares line."""
    dx, dy = x - x.mean(), y - y.mean()
    spread, rise = float(dx @ dx), float(dx @ dy)
    slope = rise / spread
    rest = float((dy - slope * dx).square().sum())
    error = math.sqrt(rest / ((len(x) - 2) * spread)) if len(x) > 2 else math.inf
    height = float(dy @ dy)
    correlation = rise / math.sqrt(spread * height) if height > 0 else 0.0
    return slope, float(y.mean()) - slope * float(x.mean()), error, correlation


def particles_for_resolution(count: float, *, at: float, wanted: float, b_factor: float) -> float:
    """How many particles the resolution `wanted` (Å) takes where `count` of them give the resolution `at` (Å), for a B-factor in Å².

    N₂ = N₁ exp(B/2 · (1/d₂² − 1/d₁²)): the signal's power falls as exp(−B k²/2) and the noise is white. (The volume of a shell, a factor of d₁/d₂, is left out:
    it moves the threshold, not the ratio of signal to noise.)

    Example
    -------
    >>> round(particles_for_resolution(10_000, at=3.0, wanted=2.5, b_factor=100.0) / 10_000, 2)
    11.52

    Source: Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003).
    """
    require_positive("the number of particles", count)
    for resolution in (at, wanted):
        require_positive("resolution", resolution, unit="Å")
    return count * math.exp(b_factor / 2 * (1 / wanted**2 - 1 / at**2))


def b_factor_of_numbers(counts: Sequence[float], resolutions: Sequence[float]) -> GuinierFit:
    """The overall B-factor of a data set from the resolution (Å) that each number of its particles gave: ln N = a + (B/2) / d².

    The line is that of `GuinierFit` for ln(1/√N), the amplitude of the noise in the average: its slope is −B/4, too.

    Raises
    ------
    UsageError
        If there are fewer than three points, or they do not differ.

    Source: Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003), fig. 11; as a diagnosis: Stagg et al., J. Struct. Biol. 185, 418 (2014).
    """
    if len(counts) != len(resolutions) or len(counts) < LEAST_POINTS:
        raise UsageError(
            f"a line needs {LEAST_POINTS} or more pairs of numbers: got {len(counts)} counts and {len(resolutions)} resolutions"
        )
    for value in (*counts, *resolutions):
        require_positive("a number of particles or a resolution", value)
    order = sorted(range(len(counts)), key=lambda index: -resolutions[index])
    x = torch.tensor([resolutions[index] ** -2 for index in order], dtype=torch.float64)
    if float(x[-1] - x[0]) <= 0:
        raise UsageError("all resolutions are the same: there is no slope", fix="give subsets of different sizes")
    y = -0.5 * torch.tensor([float(counts[index]) for index in order], dtype=torch.float64).log()
    slope, intercept, error, correlation = _straight_line(x, y)
    return GuinierFit(
        b_factor=-4 * slope,
        intercept=intercept,
        error=4 * error,
        correlation=-correlation,
        coarsest=resolutions[order[0]],
        finest=resolutions[order[-1]],
    )


def shell_frequencies(volume: Volume) -> Float[Tensor, " shells"]:
    """The frequencies of the shells of a map, 1/Å, float64."""
    box = require_cube("a map", tuple(volume.voxels.shape))
    return shell_frequency(box, pixel_size=volume.voxel_size, dtype=torch.float64, device=volume.voxels.device)
