"""The true voxel size of a map, from a model or a map whose scale is known."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_cube, require_positive
from cryowalk.core.errors import InputError, ShapeError
from cryowalk.core.execution import Progress, SilentProgress
from cryowalk.data import Volume
from cryowalk.fourier.filters import low_pass, low_pass_weights
from cryowalk.fourier.grids import frequency_grid
from cryowalk.fourier.transform import resample, to_fourier, to_real
from cryowalk.geometry.rotations import matrix_from_rotation_vector

SCAN = 0.06  # largest change that is looked for, as a fraction
STEPS = 7
REFINED = 2  # of them
SAMPLES = 2.5  # voxels a resolution
LARGEST = 128  # voxels a side
WIDER = 0.85  # of the resolution
COARSE = 3.0  # the scan is made at so many times the resolution: there the maximum is broad and has no neighbours


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelCalibration:
    """The voxel size that a map has by its reference, and its standard error, Å; `scale` is the ratio to the one it claims.

    `scan` holds the correlation at each of `scales` at low resolution, after fitting rotation and shift; `correlation` is the final one.
    """

    voxel_size: float
    standard_error: float
    scale: float
    correlation: float
    scales: Float[Tensor, " steps"]
    scan: Float[Tensor, " steps"]


def calibrate_voxel_size(
    volume: Volume, reference: Volume, *, resolution: float, mask: Volume | None = None, progress: Progress | None = None
) -> PixelCalibration:
    """The voxel size of a map, Å, at which it correlates best with a reference of known scale on the same grid.

    The map's voxel x corresponds to the reference at s R x + t. The scale s is scanned from 0.94 to 1.06, with rotation and shift fitted at each step at three times
    the `resolution` (Å); the best two are refined over all seven parameters at `resolution`, and the best of them wins. The reference must lie on the
    map within some degrees and Å (see `align`). `mask` weighs the voxels of the map; without one a soft ball inside the box is taken.
    The standard error is that of a least-squares fit, σ_s⁻² = −N r r'' / (1 − r²), with N the number of independent values of the masked map up to the resolution.
    It holds for what noise does; a model with another conformation, or B-factors that grow outwards, can be off by more.

    Raises
    ------
    ShapeError
        If the maps are not cubes of one size.
    InputError
        If a map is constant, or the best scale lies at an end of the scan.
    """
    box = require_cube("a map", tuple(volume.voxels.shape))
    if volume.voxels.shape != reference.voxels.shape:
        raise ShapeError(
            f"map and reference differ in size: {tuple(volume.voxels.shape)} and {tuple(reference.voxels.shape)} voxels (z, y, x)",
            fix="bring the reference onto the map's grid first",
        )
    for what, one in (("map", volume), ("reference", reference)):
        if not one.voxels.std() > 0:
            raise InputError(f"the {what} is constant or holds NaN", fix="look at it: cryowalk inspect FILE")
    require_positive("resolution", resolution, unit="Å")
    progress = progress or SilentProgress()
    weight = _ball(box).to(volume.voxels) if mask is None else mask.voxels.to(volume.voxels)
    scales = torch.linspace(1 - SCAN, 1 + SCAN, STEPS, dtype=torch.float64)
    progress.start("scales", STEPS + REFINED)
    coarse = _prepared(volume, reference, weight, resolution=COARSE * resolution)
    starts = []
    for scale in scales.tolist():
        starts.append(_climb(coarse, torch.tensor([math.log(scale), *[0.0] * 6], dtype=torch.float64), free=slice(1, 7)))
        progress.advance()
    scan = torch.tensor([value for value, _ in starts], dtype=torch.float64)
    fine = _prepared(volume, reference, weight, resolution=resolution)
    best, found = -math.inf, starts[0][1]
    for index in scan.argsort(descending=True)[:REFINED].tolist():
        value, parameters = _climb(fine, starts[index][1], free=slice(0, 7))
        best, found = (value, parameters) if value > best else (best, found)
        progress.advance()
    scale = math.exp(float(found[0]))
    if abs(scale - 1) > SCAN:
        raise InputError(
            f"the best scale, {scale:.3f}, lies outside of the scan from {1 - SCAN:g} to {1 + SCAN:g}",
            cause="the reference does not lie on the map, or is another molecule",
            fix="align them first, or correct the claimed pixel size by more",
        )
    return PixelCalibration(
        voxel_size=volume.voxel_size * scale,
        standard_error=volume.voxel_size * scale * _error(fine, found, best, count=_independent(weight, volume, resolution)),
        scale=scale,
        correlation=best,
        scales=scales,
        scan=scan,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """The weighted map on a coarse grid, and the reference ready for interpolation on one twice as fine; lengths in boxes."""

    target: Float[Tensor, "z y x"]
    weight: Float[Tensor, "z y x"]
    passed: Float[Tensor, "z y half"]
    source: Float[Tensor, "fz fy fx"]
    points: Float[Tensor, "points 3"]


def _prepared(volume: Volume, reference: Volume, weight: Float[Tensor, "z y x"], *, resolution: float) -> _Pair:
    box, voxel_size = volume.voxels.shape[-1], volume.voxel_size
    detail = max(resolution, 2.2 * voxel_size)
    side = min(box, LARGEST, 2 * math.ceil(box * voxel_size / detail * SAMPLES / 2))

    def reduced(voxels: Tensor, size: int) -> Tensor:
        return resample(voxels, (size, size, size))

    # The reference keeps somewhat finer detail, and is cut as the map is after it was scaled: edges that scale with it would pull the fit to the scale 1.
    cuts = ((volume, detail), (reference, WIDER * detail))
    smooth = [low_pass(one.voxels, resolution=cut, pixel_size=voxel_size, dimensions=3) for one, cut in cuts]
    fine = 2 * side
    spectrum = to_fourier(reduced(smooth[1], fine), dimensions=3)
    for frequency in frequency_grid((fine, fine, fine), pixel_size=1.0, like=spectrum):
        spectrum = spectrum / torch.sinc(frequency).square()  # what linear interpolation takes away
    axis = (torch.arange(side, dtype=torch.float64) - side // 2) / side
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return _Pair(
        target=reduced(smooth[0], side).double(),
        weight=reduced(weight, side).double().clamp(0, 1),
        passed=low_pass_weights(
            (side, side, side), resolution=detail, pixel_size=box * voxel_size / side, like=torch.zeros((), dtype=torch.float64)
        ),
        source=to_real(spectrum, width=fine, dimensions=3).double(),
        points=torch.stack([x, y, z], dim=-1).reshape(-1, 3),
    )


def _correlation(pair: _Pair, parameters: Float[Tensor, "7"]) -> Tensor:
    """The weighted correlation of the map with the reference at log scale, rotation vector (rad · 4) and shift (boxes · 100)."""
    turn = matrix_from_rotation_vector(parameters[1:4] / 4)
    places = torch.exp(parameters[0]) * pair.points @ turn.T + parameters[4:] / 100
    fine = pair.source.shape[-1]
    grid = (2 * (places * fine + fine // 2) / (fine - 1) - 1)[None, None, None]
    values = torch.nn.functional.grid_sample(pair.source[None, None], grid, align_corners=True).reshape(pair.target.shape)
    values = to_real(to_fourier(values, dimensions=3) * pair.passed, width=values.shape[-1], dimensions=3)
    weight, total = pair.weight, pair.weight.sum()
    a = pair.target - (weight * pair.target).sum() / total
    b = values - (weight * values).sum() / total
    norm = ((weight * a * a).sum() * (weight * b * b).sum()).clamp_min(1e-300).sqrt()
    return (weight * a * b).sum() / norm


def _climb(pair: _Pair, start: Float[Tensor, "7"], *, free: slice) -> tuple[float, Float[Tensor, "7"]]:
    """The highest correlation near a start, over the free parameters, and where it is."""
    from scipy.optimize import minimize

    found = minimize(
        _objective(pair, start, free), start[free].numpy(), jac=True, method="BFGS", options={"gtol": 1e-6, "maxiter": 30}
    )
    best = start.clone()
    best[free] = torch.from_numpy(found.x)
    return -float(found.fun), best


def _objective(pair: _Pair, start: Float[Tensor, "7"], free: slice) -> Callable[[Any], Any]:
    def value(numbers: Any) -> Any:
        variables = torch.tensor(numbers, dtype=torch.float64).requires_grad_()
        whole = torch.cat([start[: free.start], variables, start[free.stop :]])
        negative = -_correlation(pair, whole)
        negative.backward()  # type: ignore[no-untyped-call]
        gradient = variables.grad
        return negative.item(), None if gradient is None else gradient.numpy()

    return value


def _error(pair: _Pair, found: Float[Tensor, "7"], correlation: float, *, count: float) -> float:
    """The standard error of log s, rotation and shift being fitted too: the curvature comes from differences of a thousandth."""
    step = 1e-3
    identity = torch.eye(7, dtype=torch.float64) * step
    with torch.no_grad():
        rows = [
            [
                float(
                    _correlation(pair, found + a + b)
                    - _correlation(pair, found + a - b)
                    - _correlation(pair, found - a + b)
                    + _correlation(pair, found - a - b)
                )
                / (4 * step**2)
                for b in identity
            ]
            for a in identity
        ]
    information = -torch.tensor(rows, dtype=torch.float64) * count * correlation / max(1 - correlation**2, 1e-12)
    variance = float(torch.linalg.pinv((information + information.T) / 2)[0, 0])
    return math.sqrt(variance) if variance > 0 else math.inf


def _independent(weight: Float[Tensor, "z y x"], volume: Volume, resolution: float) -> float:
    """The number of independent real values of the masked map up to the resolution: V · 4π/3 · (1/d)³."""
    detail = max(resolution, 2.2 * volume.voxel_size)
    return float(weight.double().square().sum()) * volume.voxel_size**3 * 4 * math.pi / 3 / detail**3


def _ball(box: int) -> Float[Tensor, "z y x"]:
    from cryowalk.numerics.masks import soft_sphere

    return soft_sphere(box, radius=0.42 * box, edge=0.06 * box, voxel_size=1.0)
