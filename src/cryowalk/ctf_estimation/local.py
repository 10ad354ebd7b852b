"""Defocus that changes over the field: the tilt of the specimen, and the defocus of each particle.

Source: Elferich, Kong, Zottig & Grigorieff, eLife 13, e97227 (2024), for searching the tilt against all tiles at once.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.ctf_estimation.estimate import CtfEstimate
from cryowalk.ctf_estimation.rings import Layout, layout_of
from cryowalk.ctf_estimation.search import oscillation
from cryowalk.ctf_estimation.settings import CtfSettings
from cryowalk.ctf_estimation.spectrum import cropped, tile_side, tiles_of, windows_of
from cryowalk.data.optics import Optics
from cryowalk.fourier.transform import to_fourier

_STEP = 20.0  # Å of defocus in the tables
_STEEPEST = math.tan(math.radians(70.0))
_HALVINGS = 7
_COARSE = 17  # gradients along each axis in the first search


@dataclass(frozen=True, slots=True, kw_only=True)
class TiltEstimate:
    """A plane of defocus: at the middle of the field (Å), and how it grows along x and y (Å per Å, the tangent of the tilt).

    `centre` is the middle (x, y), Å. `gain` is the score of this plane over that of a level one, minus 1.
    """

    defocus: float
    gradient: tuple[float, float]
    centre: tuple[float, float]
    gain: float

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
        offset = positions.double() - torch.tensor(self.centre, dtype=torch.float64)
        return self.defocus + offset @ torch.tensor(self.gradient, dtype=torch.float64)


def estimate_tilt(
    pixels: Float[Tensor, "h w"],
    optics: Optics,
    estimate: CtfEstimate,
    settings: CtfSettings = CtfSettings(),  # noqa: B008  frozen
) -> TiltEstimate:
    """The plane of defocus that fits the power spectra of all tiles best, with the astigmatism of the whole micrograph kept.

    The pixel size is the optics'. Each tile has a table of its score against defocus; a plane reads one entry of every table. The search starts from a grid
    of gradients up to 70° and halves its steps.
    """
    box, side = settings.box, tile_side(settings.box, optics.pixel_size)
    finest = max(settings.finest_resolution, estimate.resolution if math.isfinite(estimate.resolution) else 0.0, 4.0)
    layout = layout_of(box, pixel_size=optics.pixel_size * side / box, coarsest=settings.coarsest_resolution, finest=finest)
    places, spectra = _tile_cells(pixels.float(), layout, side=side, box=box, tapers=settings.tapers)
    places = places * optics.pixel_size
    height, width = pixels.shape
    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64) * optics.pixel_size
    reach = _STEEPEST * float((places - centre).norm(dim=1).max()) + 500.0
    low = max(500.0, estimate.mean_defocus - reach)
    defocus = torch.arange(low, estimate.mean_defocus + reach, _STEP, dtype=torch.float64)
    tables = _tables(spectra, layout, optics, estimate=estimate, defocus=defocus)
    plane = _best_plane(tables, defocus, places - centre, start=estimate.mean_defocus)
    level = _score(tables, defocus, places - centre, (estimate.mean_defocus, 0.0, 0.0))
    gain = _score(tables, defocus, places - centre, plane) / level - 1 if level > 0 else 0.0
    return TiltEstimate(defocus=plane[0], gradient=(plane[1], plane[2]), centre=(float(centre[0]), float(centre[1])), gain=gain)


def _tile_cells(pixels: Tensor, layout: Layout, *, side: int, box: int, tapers: str) -> tuple[Tensor, Tensor]:
    """The middles of the tiles (x, y) in pixels, and each tile's power in the cells relative to that of all tiles, minus 1."""
    windows = windows_of(side, tapers, like=pixels)
    places, cells = [], []
    for corners, tiles in tiles_of(pixels, side):
        centred = tiles - tiles.mean(dim=(-2, -1), keepdim=True)
        power = sum((to_fourier(centred * window).abs() ** 2 for window in windows), start=torch.zeros(()))
        cells += [layout.mean(one) for one in cropped(power, box)]
        places += [(x + (side - 1) / 2, y + (side - 1) / 2) for y, x in corners]
    stack = torch.stack(cells)
    # Rings differ from tile to tile; their mean over azimuth and a wide stretch of frequency is the background of each.
    smooth = _running_mean((stack * layout.weight).sum(1) / layout.weight.sum(0).clamp_min(1), layout)
    return torch.tensor(places, dtype=torch.float64), stack / smooth[:, None] - 1


def _running_mean(profiles: Float[Tensor, "tiles rings"], layout: Layout) -> Tensor:
    """Each profile averaged over a stretch of an eighth of the band."""
    half = max(4, len(layout.ring) // 16)
    padded = torch.nn.functional.pad(profiles[:, None], (half, half), mode="replicate")
    return torch.nn.functional.avg_pool1d(padded, 2 * half + 1, stride=1)[:, 0]


def _tables(
    spectra: Tensor, layout: Layout, optics: Optics, *, estimate: CtfEstimate, defocus: Tensor
) -> Float[Tensor, "tiles steps"]:
    """The product of each tile's cells with the oscillation of CTF² at each mean defocus."""
    amplitude, azimuth = estimate.astigmatism / 2, float(estimate.defocus.azimuth.mean())
    local = amplitude * torch.cos(2 * (layout.azimuth - azimuth))
    weighted = (spectra * layout.weight).reshape(len(spectra), -1)
    phase_shift = float(estimate.defocus.phase_shift.mean())
    columns = []
    for some in torch.split(defocus, 64):
        wave = oscillation(layout.frequency, some[:, None, None] + local, optics=optics, phase_shift=phase_shift)
        columns.append(weighted @ wave.reshape(len(some), -1).T)
    return torch.cat(columns, dim=1)


def _score(tables: Tensor, defocus: Tensor, offset: Tensor, plane: tuple[float, float, float]) -> float:
    """The sum over the tiles of their tables at the plane's defocus, linear between entries."""
    place = (plane[0] + offset @ torch.tensor(plane[1:], dtype=torch.float64) - defocus[0]) / _STEP
    place = place.clamp(0, len(defocus) - 1.001)
    below = place.floor().long()
    share = (place - below)[:, None]
    rows = torch.arange(len(tables))
    values = tables[rows, below][:, None] * (1 - share) + tables[rows, below + 1][:, None] * share
    return float(values.sum())


def _best_plane(tables: Tensor, defocus: Tensor, offset: Tensor, *, start: float) -> tuple[float, float, float]:
    """The plane (defocus, gradients) of the highest score: a grid of gradients, then ever smaller steps about the best."""
    line = torch.linspace(-_STEEPEST, _STEEPEST, _COARSE).tolist()
    best = max(((start, gx, gy) for gx in line for gy in line), key=lambda plane: _score(tables, defocus, offset, plane))
    step = (200.0, line[1] - line[0])
    for _ in range(_HALVINGS):
        improved = True
        while improved:
            around = [
                (best[0] + i * step[0], best[1] + j * step[1], best[2] + k * step[1])
                for i in (-1, 0, 1)
                for j in (-1, 0, 1)
                for k in (-1, 0, 1)
            ]
            chosen = max(around, key=lambda plane: _score(tables, defocus, offset, plane))
            improved = _score(tables, defocus, offset, chosen) > _score(tables, defocus, offset, best)
            best = chosen if improved else best
        step = (step[0] / 2, step[1] / 2)
    return best
