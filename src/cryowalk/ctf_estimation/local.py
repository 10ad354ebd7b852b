"""Defocus that changes over the field: the tilt of the specimen, and the defocus at the place of each particle.

Source: Elferich, Kong, Zottig & Grigorieff, eLife 13, e97227 (2024), for searching the tilt against all tiles at once.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.ctf_estimation.estimate import CtfEstimate
from cryowalk.ctf_estimation.settings import CtfSettings
from cryowalk.ctf_estimation.spectrum import tile_side
from cryowalk.ctf_estimation.tables import STEP, TileTables, tile_tables
from cryowalk.data.optics import Optics

_STEEPEST = math.tan(math.radians(70.0))
_HALVINGS = 9
_COARSE = 17  # gradients along each axis in the first search
_DEFOCUS_STEP = 200.0  # Å, halved as the gradients' steps are
_SIGNIFICANT = 4.0  # standard deviations; on level films one in three thousand exceeds it by chance
_LOCAL_RANGE = 1500.0  # Å about the plane, where a particle's defocus is looked for
_LOCAL_SPREAD = 150.0  # Å, how far the specimen may lie from the plane: bent support and the thickness of the ice
_SMALLEST_BOX = 128  # pixels
_NEARNESS = 0.7  # standard deviation of the tiles' weights, in tiles
_PLACES_AT_ONCE = 4096

Plane = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TiltEstimate:
    """A plane of defocus: at the middle of the field (Å), and how it grows along x and y (Å per Å, the tangent of the tilt).

    `centre` is the middle (x, y), Å. `significance` is that of the best plane over the best level one, in standard deviations (√(2 Δ log p)). Below 4 the
    gradient is 0: what was found is not more than noise gives. `deviation` is the standard error of the gradient, the larger one of the two.
    """

    defocus: float
    gradient: tuple[float, float]
    centre: tuple[float, float]
    significance: float
    deviation: float

    @property
    def is_significant(self) -> bool:
        """Whether the field is tilted by more than noise would say."""
        return self.significance >= _SIGNIFICANT

    @property
    def angle(self) -> float:
        """The tilt of the specimen, rad."""
        return math.atan(math.hypot(*self.gradient))

    @property
    def axis(self) -> float:
        """The direction of the tilt axis, rad from +x towards +y, from 0 to π: along it the defocus does not change."""
        return (math.atan2(self.gradient[1], self.gradient[0]) + math.pi / 2) % math.pi

    def at(self, positions: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
        """The mean defocus at places (x, y) of the field, Å."""
        offset = positions.double().cpu() - torch.tensor(self.centre, dtype=torch.float64)
        return self.defocus + offset @ torch.tensor(self.gradient, dtype=torch.float64)


def estimate_tilt(
    pixels: Float[Tensor, "h w"],
    optics: Optics,
    estimate: CtfEstimate,
    settings: CtfSettings = CtfSettings(),  # noqa: B008  frozen
) -> TiltEstimate:
    """The plane of defocus that fits the power spectra of all tiles best, with the astigmatism of the whole micrograph kept.

    The pixel size is the optics'. Each tile has a table of its likelihood against defocus; a plane reads one entry of every table. The search starts from a
    grid of gradients up to 70° and halves its steps. A plane that is not clearly more likely than a level one is not reported.
    """
    height, width = pixels.shape
    side = tile_side(settings.box, optics.pixel_size)
    farthest = math.hypot(max(width - side, 0), max(height - side, 0)) / 2 * optics.pixel_size
    tables = tile_tables(pixels, optics, estimate, settings, reach=_STEEPEST * farthest + 500.0)
    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64) * optics.pixel_size
    offset = tables.places - centre
    start = estimate.mean_defocus
    level = _climbed(tables, offset, (start, 0.0, 0.0), steps=(_DEFOCUS_STEP, 0.0))
    best = level
    if float(offset.abs().max()) > STEP:
        line = torch.linspace(-_STEEPEST, _STEEPEST, _COARSE).tolist()
        rough = max(((start, gx, gy) for gx in line for gy in line), key=lambda plane: _likelihood(tables, offset, plane))
        starts = ((rough, line[1] - line[0]), (level, (line[1] - line[0]) / 4))
        found = [_climbed(tables, offset, plane, steps=(_DEFOCUS_STEP, step)) for plane, step in starts]
        best = max(found, key=lambda plane: _likelihood(tables, offset, plane))
    gain = _likelihood(tables, offset, best) - _likelihood(tables, offset, level)
    significance = math.sqrt(2 * max(gain, 0.0))
    chosen = best if significance >= _SIGNIFICANT else (start, 0.0, 0.0)  # the whole micrograph's own fit goes to finer rings
    return TiltEstimate(
        defocus=chosen[0],
        gradient=(chosen[1], chosen[2]),
        centre=(float(centre[0]), float(centre[1])),
        significance=significance,
        deviation=_gradient_error(tables, offset, chosen),
    )


def estimate_local_defocus(
    pixels: Float[Tensor, "h w"],
    optics: Optics,
    estimate: CtfEstimate,
    *,
    positions: Float[Tensor, "n 2"],
    tilt: TiltEstimate,
    settings: CtfSettings = CtfSettings(),  # noqa: B008  frozen
) -> Float[Tensor, " n"]:
    """The mean defocus at places (x, y) in Å of the field, Å: that of the tiles around each, weighted by their nearness and held to the plane of the tilt.

    The likelihoods of the tiles are added with Gaussian weights of a third of the box's width, and a normal prior of 150 Å about the plane. It follows supports that are
    bent; it cannot see at which height in the ice a single particle lies, whose own rings are far too weak.
    """
    offset = positions.double().cpu()
    plane = tilt.at(offset)
    if not len(plane):
        return plane
    farthest = max(abs(value - estimate.mean_defocus) for value in _corners(tilt))
    box = max(_SMALLEST_BOX, settings.box // 2)
    tables = tile_tables(pixels, optics, estimate, replace(settings, box=box), reach=farthest + _LOCAL_RANGE)
    away = torch.arange(-_LOCAL_RANGE, _LOCAL_RANGE + STEP, STEP, dtype=torch.float64)
    expected = tilt.at(tables.places)
    # Each tile tells how far it lies from the plane, so that the plane's own slope smears nothing.
    departures = torch.stack([tables.at(expected + step) for step in away.tolist()], dim=1)
    prior = (away / _LOCAL_SPREAD) ** 2 / 2
    width = tile_side(box, optics.pixel_size) * optics.pixel_size * _NEARNESS
    found = []
    for places in torch.split(offset, _PLACES_AT_ONCE):
        weight = torch.exp(-((torch.cdist(places, tables.places) / width) ** 2) / 2)
        found.append(_peaks(weight @ departures - prior, away))
    return plane + torch.cat(found)


def _corners(tilt: TiltEstimate) -> list[float]:
    """The defocus at the corners of the field, Å."""
    x, y = 2 * tilt.centre[0], 2 * tilt.centre[1]
    corners: list[float] = tilt.at(torch.tensor([[0.0, 0.0], [x, 0.0], [0.0, y], [x, y]])).tolist()
    return corners


def _peaks(score: Float[Tensor, "n steps"], away: Float[Tensor, " steps"]) -> Float[Tensor, " n"]:
    """Where each row is highest, between its entries by a parabola."""
    place = score.argmax(1).clamp(1, len(away) - 2)
    rows = torch.arange(len(score))
    before, middle, after = (score[rows, place + i] for i in (-1, 0, 1))
    bend = before - 2 * middle + after
    shift = torch.where(bend < 0, (before - after) / (2 * bend), torch.zeros_like(bend))
    return away[place] + STEP * torch.nan_to_num(shift).clamp(-0.5, 0.5)


def _likelihood(tables: TileTables, offset: Tensor, plane: Plane) -> float:
    return float(tables.at(plane[0] + offset @ torch.tensor(plane[1:], dtype=torch.float64)).sum())


def _climbed(tables: TileTables, offset: Tensor, start: Plane, *, steps: tuple[float, float]) -> Plane:
    """The plane to which ever smaller steps lead from a start; gradients stay where their step is 0."""
    best, value = start, _likelihood(tables, offset, start)
    for halving in range(_HALVINGS):
        across, along = (step / 2**halving for step in steps)
        turns = (-1, 0, 1) if along else (0,)
        while True:
            around = [
                (best[0] + i * across, best[1] + j * along, best[2] + k * along) for i in (-1, 0, 1) for j in turns for k in turns
            ]
            chosen = max(around, key=lambda plane: _likelihood(tables, offset, plane))
            reached = _likelihood(tables, offset, chosen)
            if reached <= value:
                break
            best, value = chosen, reached
    return best


def _gradient_error(tables: TileTables, offset: Tensor, plane: Plane) -> float:
    """The larger standard error of the two gradients, from the curvature of the tiles' likelihoods; infinite where there is none."""
    local = plane[0] + offset @ torch.tensor(plane[1:], dtype=torch.float64)
    bend = (tables.at(local + STEP) + tables.at(local - STEP) - 2 * tables.at(local)) / STEP**2
    design = torch.cat([torch.ones(len(offset), 1, dtype=torch.float64), offset], dim=1)
    information = -(design * bend[:, None]).T @ design
    values, vectors = torch.linalg.eigh(information)
    if float(values[0]) <= 0:
        return math.inf
    covariance = (vectors / values) @ vectors.T
    return float(covariance.diagonal()[1:].max().sqrt())
