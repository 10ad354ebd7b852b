"""What the half maps tell about the signal's power: the prior of a Wiener filter, by shells, or by shells and directions.

With FSC = SSNR / (1 + SSNR) between half maps and SSNR = τ² W, W a half's mean weight, the inverse power of the signal is 1/τ² = W (1 − FSC) / FSC. Where
weights are even a half map is then filtered by the FSC, and the map of both halves by 2 FSC / (1 + FSC).

Source: Scheres, J. Struct. Biol. 180, 519 (2012), eqs. 2 and 6; Tan et al., Nat. Methods 14, 793 (2017), for correlations within cones.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.fourier.accumulator import SliceAccumulator
from cryowalk.fourier.grids import frequency_grid, friedel_weights
from cryowalk.fourier.shells import shell_correlation
from cryowalk.fourier.transform import to_fourier
from cryowalk.geometry.healpix import pixel_count, pixel_directions

LEAST, MOST = 1e-3, 0.9999  # FSC: a prior is neither infinite nor absent
CONE_ORDER = 2  # HEALPix: 96 axes, about 15° apart
HALF_ANGLE = math.radians(25)  # of a cone
LEAST_WEIGHT = 1e-3  # of the whole shell's mean: a cone that no image shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """1/τ² in the unit of weights: one row of shells 0 … box // 2, or one for each double cone about `axes`."""

    inverse_power: Float[Tensor, "cones shells"]
    axes: Float[Tensor, "cones 3"] | None = None
    half_angle: float = HALF_ANGLE

    def on_grid(self, size: int, *, box: int) -> Float[Tensor, "kz ky kx"]:
        """The values on the half spectrum of a box of `size` that holds the map's box; beyond Nyquist the last shell's.

        Where cones overlap logarithms are averaged: between a cone and the next priors may differ by orders of magnitude.
        """
        points = _points(size, box=box, device=self.inverse_power.device)
        if self.axes is None:
            return self.inverse_power[0][points.shell].reshape(points.shape)
        logarithm = self.inverse_power.clamp_min(torch.finfo(torch.float32).tiny).log()
        total, number = (
            torch.zeros(len(points.shell), device=logarithm.device),
            torch.zeros(len(points.shell), device=logarithm.device),
        )
        for held, row in zip(_held(points, self.axes, self.half_angle), logarithm, strict=True):
            total[held] += row[points.shell[held]]
            number[held] += 1
        whole = logarithm.mean(dim=0)[points.shell]
        return torch.where(number > 0, total / number.clamp_min(1), whole).exp().reshape(points.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Points:
    """The coefficients of a half spectrum, flat: the shell (those beyond Nyquist in the last one) and unit direction (x, y, z) of each."""

    shell: Int[Tensor, " points"]
    inside: Tensor
    direction: Float[Tensor, "points 3"]
    shape: tuple[int, ...]


def _points(size: int, *, box: int, device: torch.device | str) -> _Points:
    shape = (size, size, size // 2 + 1)
    grid = frequency_grid((size, size, size), pixel_size=1 / box, dtype=torch.float32, device=device)  # cycles over the map's box
    vector = torch.stack([k.expand(shape).reshape(-1) for k in grid], dim=-1)
    radius = vector.norm(dim=-1)
    shell = torch.floor(radius + 0.5).long()
    vector /= radius.clamp_min(1e-6)[:, None]
    return _Points(shell=shell.clamp(max=box // 2), inside=shell <= box // 2, direction=vector, shape=shape)


def _held(points: _Points, axes: Tensor, half_angle: float) -> list[Tensor]:
    """The places of the coefficients that each double cone holds."""
    cosine = math.cos(half_angle)
    return [torch.nonzero((points.direction @ axis).abs() >= cosine).reshape(-1) for axis in axes.to(points.direction)]


def cone_axes(order: int = CONE_ORDER) -> Float[Tensor, "cones 3"]:
    """The pixels' centres of a HEALPix grid, one of each pair ±."""
    directions = pixel_directions(order, torch.arange(pixel_count(order)), dtype=torch.float64)
    x, y, z = directions.unbind(-1)
    north = (z > 1e-9) | ((z.abs() <= 1e-9) & ((y > 1e-9) | ((y.abs() <= 1e-9) & (x > 0))))
    return directions[north].float()


def shell_prior(accumulator: SliceAccumulator, correlation: Float[Tensor, " shells"]) -> Prior:
    """The prior of each shell from the correlation of half maps, in the unit of the weights of one half's accumulator."""
    weight = mean_weights(accumulator, None)
    return Prior(inverse_power=_inverse_power(weight, correlation.to(weight)[None]))


def directional_prior(
    accumulator: SliceAccumulator,
    first: Float[Tensor, "z y x"],
    second: Float[Tensor, "z y x"],
    *,
    half_angle: float = HALF_ANGLE,
) -> Prior:
    """The prior of each shell within each of 96 double cones, from the correlation of both half maps there."""
    axes = cone_axes().to(first)
    correlation = cone_correlation(first, second, axes=axes, half_angle=half_angle)
    weight = mean_weights(accumulator, axes, half_angle=half_angle)
    weight = torch.maximum(weight, LEAST_WEIGHT * mean_weights(accumulator, None))
    return Prior(inverse_power=_inverse_power(weight, correlation), axes=axes, half_angle=half_angle)


def _inverse_power(weight: Tensor, correlation: Tensor) -> Tensor:
    kept = correlation.clamp(LEAST, MOST)
    inverse = weight * (1 - kept) / kept
    inverse[:, 0] = inverse[:, min(1, inverse.shape[1] - 1)]  # a mean density is no measure of signal
    return inverse


def mean_weights(
    accumulator: SliceAccumulator, axes: Float[Tensor, "cones 3"] | None, *, half_angle: float = HALF_ANGLE
) -> Float[Tensor, "cones shells"]:
    """The mean weight in each shell 0 … box // 2, whole or within double cones, without the accumulator's density |k|."""
    grid = accumulator.grid
    weight = grid.folded(accumulator.sums[..., 2]).reshape(-1)
    points = _points(grid.size, box=grid.box, device=weight.device)
    weight = torch.where(points.inside, weight / points.shell.to(weight).clamp_min(1 / 3), 0)
    rows = [slice(None)] if axes is None else _held(points, axes, half_angle)
    found = []
    for held in rows:
        shell, inside = points.shell[held], points.inside[held]
        total = torch.zeros(grid.box // 2 + 1, dtype=torch.float64, device=weight.device)
        number = total.index_add(0, shell, inside.double())
        found.append(total.index_add(0, shell, weight[held].double()) / number.clamp_min(1))
    return torch.stack(found).to(weight.dtype)


def cone_correlation(
    first: Float[Tensor, "z y x"],
    second: Float[Tensor, "z y x"],
    *,
    axes: Float[Tensor, "cones 3"],
    half_angle: float = HALF_ANGLE,
) -> Float[Tensor, "cones shells"]:
    """The correlation of two maps in each shell 0 … n // 2 within each double cone; that of the whole shell where a cone holds no coefficient."""
    box = first.shape[-1]
    one, other = (to_fourier(voxels, dimensions=3) for voxels in (first, second))
    twice = friedel_weights((box, box, box), like=one).expand(one.shape).reshape(-1)
    points = _points(box, box=box, device=one.device)
    products = (one.real * other.real + one.imag * other.imag, one.real**2 + one.imag**2, other.real**2 + other.imag**2)
    terms = torch.stack([product.reshape(-1) * twice * points.inside for product in products], dim=-1).double()
    whole = shell_correlation(first, second)
    rows = []
    for held in _held(points, axes, half_angle):
        shared, *powers = terms.new_zeros(box // 2 + 1, 3).index_add(0, points.shell[held], terms[held]).unbind(-1)
        power = powers[0] * powers[1]
        rows.append(torch.where(power > 0, shared / power.clamp_min(1e-300).sqrt(), whole.double()))
    return torch.stack(rows).to(first.dtype)
