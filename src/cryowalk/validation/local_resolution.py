"""The resolution at each place of a map: the shell correlation of two half maps within a soft window that is moved over them.

Source: Cardone, Heymann & Steven, J. Struct. Biol. 184, 226 (2013): a Fourier shell correlation inside a window about each place, read at 0.5.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.checks import require_between, require_cube, require_positive
from cryowalk.core.errors import InputError, ShapeError
from cryowalk.core.execution import Progress, SilentProgress
from cryowalk.data import HalfMaps, Volume
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.numerics.sizes import fast_length_from
from cryowalk.validation.local_resolution_settings import LocalResolutionSettings
from cryowalk.validation.shell_correlation import fourier_shell_correlation

RESOLUTIONS_A_WINDOW = 7.0
LEAST_WINDOW = 10  # voxels
FIRST_BAND = 2  # periods in the window: one period makes some six coefficients, whose correlation is chance
STEPS_A_DEVIATION = 1.25  # places per standard deviation of the window: linear interpolation between them errs by about a percent


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalResolution:
    """The resolution at each voxel, Å, and what it was read from: `correlation[band, z, y, x]` at the places of a coarse grid over the whole box.

    `window` is the diameter of the sphere that each place stands for, Å; `frequency` the middles of the bands, 1/Å.
    """

    resolution: Volume
    frequency: Float[Tensor, " bands"]
    correlation: Float[Tensor, "bands z y x"]
    window: float
    threshold: float


def local_resolution(
    halves: HalfMaps, settings: LocalResolutionSettings | None = None, *, progress: Progress | None = None
) -> LocalResolution:
    """The resolution at each voxel of a map, Å, from two half maps.

    C(x, k) = (w ∗ f₁f₂) / √((w ∗ f₁²)(w ∗ f₂²)) with the half maps f₁ and f₂ in a band about k, and w a Gaussian with the second moment of a ball of
    diameter `window` (its effective volume is that of the ball within 5 %). The bands are one over the window wide, the finest the window can part;
    since they are cut out before the window is applied, strong low frequencies do not leak into weak high ones. The resolution is where C first falls below
    the threshold, between Nyquist and the window's diameter. Half maps that share a mask, or whose noise is correlated, look better than they are.

    Raises
    ------
    InputError
        If a half map is constant or not finite, or the window is larger than the box.
    ShapeError
        If the maps are not cubes of one size.

    Source: Cardone, Heymann & Steven, J. Struct. Biol. 184, 226 (2013).
    """
    settings, progress = settings or LocalResolutionSettings(), progress or SilentProgress()
    require_between("the threshold of the correlation", settings.threshold, 0.01, 0.99)
    box, voxel_size = _checked(halves)
    window = _window(halves, settings)
    length = box * voxel_size
    if window > length:
        raise InputError(
            f"the window of {window:.0f} Å is larger than the box of {length:.0f} Å",
            cause="the half maps agree only at very low resolution, or the window was given too large",
            fix="give a smaller window with --window",
        )
    step = length / window  # shells between bands
    numbers = range(FIRST_BAND, math.floor((box / 2 - 1e-6) / step) + 1)
    deviation = window / math.sqrt(20) / voxel_size  # of a ball's coordinate, R/√5, voxels
    places = torch.linspace(0, box - 1, 2 + math.ceil((box - 1) * STEPS_A_DEVIATION / deviation), dtype=torch.float64)
    spectra = [to_fourier(half.voxels, dimensions=3) for half in (halves.first, halves.second)]
    progress.start("local resolution, bands", len(numbers))
    rows = []
    for band in numbers:
        rows.append(_band_correlation(spectra, middle=band * step, width=step, places=places, deviation=deviation))
        progress.advance()
    correlation = torch.stack(rows)
    frequency = torch.tensor(numbers, dtype=torch.float64) / window
    crossing = _first_crossing(correlation, frequency.to(correlation), at=settings.threshold, finest=0.5 / voxel_size)
    whole = torch.nn.functional.interpolate(crossing[None, None], size=(box, box, box), mode="trilinear", align_corners=True)
    resolution = 1 / whole[0, 0].clamp(1 / window, 0.5 / voxel_size)
    return LocalResolution(
        resolution=Volume(voxels=resolution, voxel_size=voxel_size, origin=halves.first.origin),
        frequency=frequency,
        correlation=correlation,
        window=window,
        threshold=settings.threshold,
    )


def _checked(halves: HalfMaps) -> tuple[int, float]:
    """Box and voxel size of two half maps that can be compared."""
    box = require_cube("a half map", tuple(halves.first.voxels.shape))
    if halves.first.voxels.shape != halves.second.voxels.shape:
        raise ShapeError(
            f"the half maps differ in size: {tuple(halves.first.voxels.shape)} and {tuple(halves.second.voxels.shape)} voxels (z, y, x)",
            fix="name the two halves of one reconstruction",
        )
    for number, half in enumerate((halves.first, halves.second), start=1):
        if not bool(half.voxels.isfinite().all()):
            raise InputError(f"half map {number} holds NaN or infinite values", fix="look for the voxels: cryowalk validate FILE")
        if bool(half.voxels.min() == half.voxels.max()):
            raise InputError(f"half map {number} is constant: there is nothing to compare")
    return box, halves.first.voxel_size


def _window(halves: HalfMaps, settings: LocalResolutionSettings) -> float:
    """The diameter of the window, Å."""
    least = LEAST_WINDOW * halves.first.voxel_size
    if settings.window is not None:
        return max(require_positive("the window", settings.window, unit="Å"), least)
    resolution = fourier_shell_correlation(halves).resolution(at=0.143)
    half_box = halves.first.voxels.shape[-1] * halves.first.voxel_size / 2
    return max(min(RESOLUTIONS_A_WINDOW * resolution, half_box), least)


def _band_correlation(
    spectra: "list[Complex[Tensor, 'z y half']]",
    *,
    middle: float,
    width: float,
    places: Float[Tensor, " places"],
    deviation: float,
) -> Float[Tensor, "places places places"]:
    """C(x, k) of one band at the places; middle and width in shells, places and deviation in voxels."""
    box = spectra[0].shape[0]
    reach = min(math.ceil(middle + width), (box - 1) // 2)
    # On this grid the doubled frequencies of a product fold back no nearer to 0 than what the window keeps (2.5 standard deviations of its spectrum).
    side = fast_length_from(2 * reach + 2 + math.ceil(2.5 * box / (2 * math.pi * deviation)))
    first, second = (_band_map(spectrum, reach=reach, side=side, middle=middle, width=width) for spectrum in spectra)
    position = (torch.arange(side, dtype=torch.float64) - side // 2) * (box / side) + box // 2
    window = torch.exp(-0.5 * ((position - places[:, None]) / deviation) ** 2).to(first)
    shared, one, other = (_smoothed(product, window) for product in (first * second, first * first, second * second))
    power = one * other
    return torch.where(power > 0, shared / power.clamp_min(torch.finfo(power.dtype).tiny).sqrt(), torch.zeros_like(shared))


def _band_map(
    spectrum: Complex[Tensor, "z y half"], *, reach: int, side: int, middle: float, width: float
) -> Float[Tensor, "side side side"]:
    """The map in a band, on a grid of `side` voxels over the same field. The squares of neighbouring bands' weights add up to 1."""
    index = torch.cat([torch.arange(reach + 1), torch.arange(-reach, 0)])
    squared = index.to(spectrum.real).square()
    radius = (squared[:, None, None] + squared[:, None] + squared[: reach + 1]).sqrt()
    away = (radius - middle).abs() / width
    inside = (away < 1) & (radius < spectrum.shape[0] / 2)
    weight = torch.where(inside, torch.cos(math.pi / 2 * away), torch.zeros_like(away))
    rows = index % spectrum.shape[0]
    part = spectrum[rows[:, None], rows, : reach + 1] * weight
    target = spectrum.new_zeros((side, side, side // 2 + 1))
    rows = index % side
    target[rows[:, None], rows, : reach + 1] = part
    return to_real(target, width=side, dimensions=3)


def _smoothed(product: Float[Tensor, "z y x"], window: Float[Tensor, "places side"]) -> Float[Tensor, "places places places"]:
    """The product under the separable window about each place."""
    for _ in range(3):  # each turn sums over the last axis and brings it to the front
        product = (product @ window.T).permute(2, 0, 1)
    return product


def _first_crossing(
    correlation: Float[Tensor, "bands z y x"], frequency: Float[Tensor, " bands"], *, at: float, finest: float
) -> Float[Tensor, "z y x"]:
    """The frequency at which each curve first falls below the threshold, 1/Å; the origin counts as 1, a curve that never falls gives `finest`."""
    values = torch.cat([torch.ones_like(correlation[:1]), correlation])
    middles = torch.cat([frequency.new_zeros(1), frequency])
    below = values < at
    index = below.int().argmax(dim=0).clamp_min(1)
    high, low = (values.gather(0, (index + shift)[None])[0] for shift in (-1, 0))
    crossing = middles[index - 1] + (high - at) / (high - low).clamp_min(1e-12) * (middles[index] - middles[index - 1])
    return torch.where(below.any(dim=0), crossing, torch.full_like(crossing, finest))
