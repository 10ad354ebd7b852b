"""How well each tile of a micrograph fits each defocus: the table that tilt and local defocus are read from.

A tile's table is its log-likelihood up to a constant. The tile's power in the cells of rings and sectors, relative to its background, is a · (−cos 2χ) plus
noise; with T(Δf) their product with −cos 2χ of a defocus, log p = a T / v + const, where v is the noise's variance and a the strength of the rings.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.ctf_estimation.estimate import CtfEstimate
from cryowalk.ctf_estimation.rings import Layout, layout_of
from cryowalk.ctf_estimation.search import oscillation
from cryowalk.ctf_estimation.settings import CtfSettings
from cryowalk.ctf_estimation.spectrum import tile_side, tiles_of, windows_of
from cryowalk.data.optics import Optics
from cryowalk.fourier.transform import lower_frequencies, to_fourier

STEP = 20.0  # Å of defocus in the tables
_LEAST_DEFOCUS = 500.0  # Å
_FINEST = 4.0  # Å; single tiles seldom show finer rings
_FAR = 1500.0  # Å from the defocus found, where a table is noise
_STEPS_AT_ONCE = 64


class TileTables(NamedTuple):
    """The log-likelihoods of all tiles: their middles (x, y) in Å, the defocus (Å) of the columns, and the tables."""

    places: Float[Tensor, "tiles 2"]
    defocus: Float[Tensor, " steps"]
    likelihood: Float[Tensor, "tiles steps"]

    def at(self, defocus: Float[Tensor, " tiles"]) -> Float[Tensor, " tiles"]:
        """Each tile's log-likelihood at its own defocus (Å), by cubic interpolation: straight lines would favour the entries of the table."""
        place = ((defocus - self.defocus[0]) / STEP).clamp(1, len(self.defocus) - 2.001)
        first = place.floor().long()
        share = place - first
        rows = torch.arange(len(self.likelihood))
        a, b, c, d = (self.likelihood[rows, first + i] for i in (-1, 0, 1, 2))
        # Catmull–Rom
        value: Tensor = b + share / 2 * (c - a + share * (2 * a - 5 * b + 4 * c - d + share * (3 * (b - c) + d - a)))
        return value


def tile_tables(
    pixels: Float[Tensor, "h w"], optics: Optics, estimate: CtfEstimate, settings: CtfSettings, *, reach: float
) -> TileTables:
    """The tables of the tiles of a micrograph for mean defocus within ± `reach` (Å) of the estimate, its astigmatism and phase shift kept."""
    box, side = settings.box, tile_side(settings.box, optics.pixel_size)
    finest = max(settings.finest_resolution, estimate.resolution if math.isfinite(estimate.resolution) else 0.0, _FINEST)
    layout = layout_of(
        box,
        pixel_size=optics.pixel_size * side / box,
        coarsest=settings.coarsest_resolution,
        finest=min(finest, settings.coarsest_resolution / 2),
        exclude_ice=settings.exclude_ice == "yes",
    )
    places, spectra = _tile_cells(pixels.float(), layout, side=side, box=box, tapers=settings.tapers)
    low = max(_LEAST_DEFOCUS, estimate.mean_defocus - reach - 2 * STEP)
    defocus = torch.arange(low, estimate.mean_defocus + max(reach, 2 * _FAR) + 2 * STEP, STEP, dtype=torch.float64)
    products = _products(spectra, layout, optics, estimate=estimate, defocus=defocus)
    level = products[:, int((defocus - estimate.mean_defocus).abs().argmin())].mean()
    variance = _noise(products[:, (defocus - estimate.mean_defocus).abs() > _FAR])
    return TileTables(places * optics.pixel_size, defocus, products * (level.clamp_min(0) / variance))


def _noise(products: Float[Tensor, "tiles steps"]) -> Tensor:
    """The variance of products far from the right defocus; what all tiles have in common there are side lobes of their rings, not noise."""
    tiles = len(products)
    if tiles > 1:
        products = (products - products.mean(0)) * math.sqrt(tiles / (tiles - 1))
    return products.square().mean().clamp_min(1e-12)


def _tile_cells(pixels: Tensor, layout: Layout, *, side: int, box: int, tapers: str) -> tuple[Tensor, Tensor]:
    """The middles of the tiles (x, y) in pixels, and each tile's power in the cells relative to its smooth background, minus 1."""
    windows = windows_of(side, tapers, like=pixels)
    places, cells = [], []
    for corners, tiles in tiles_of(pixels, side):
        centred = tiles - tiles.mean(dim=(-2, -1), keepdim=True)
        power = sum((to_fourier(centred * window).abs() ** 2 for window in windows), start=torch.zeros(()))
        cells += [layout.mean(one) for one in lower_frequencies(power, (box, box))]
        places += [(x + (side - 1) / 2, y + (side - 1) / 2) for y, x in corners]
    stack = torch.stack(cells)
    # Rings differ from tile to tile; their mean over azimuth and a wide stretch of frequency is the background of each.
    smooth = _running_mean((stack * layout.weight).sum(1) / layout.weight.sum(0).clamp_min(1), layout)
    return torch.tensor(places, dtype=torch.float64), stack / smooth[:, None].clamp_min(1e-300) - 1


def _running_mean(profiles: Float[Tensor, "tiles rings"], layout: Layout) -> Tensor:
    """Each profile averaged over a stretch of an eighth of the band."""
    half = max(4, len(layout.ring) // 16)
    padded = torch.nn.functional.pad(profiles[:, None], (half, half), mode="replicate")
    return torch.nn.functional.avg_pool1d(padded, 2 * half + 1, stride=1)[:, 0]


def _products(
    spectra: Tensor, layout: Layout, optics: Optics, *, estimate: CtfEstimate, defocus: Tensor
) -> Float[Tensor, "tiles steps"]:
    """The product of each tile's cells with the oscillation of CTF² at each mean defocus."""
    amplitude, azimuth = estimate.astigmatism / 2, float(estimate.defocus.azimuth.mean())
    local = amplitude * torch.cos(2 * (layout.azimuth - azimuth))
    weighted = (spectra * layout.weight).reshape(len(spectra), -1)
    phase_shift = float(estimate.defocus.phase_shift.mean())
    columns = []
    for some in torch.split(defocus, _STEPS_AT_ONCE):
        wave = oscillation(layout.frequency, some[:, None, None] + local, optics=optics, phase_shift=phase_shift)
        columns.append(weighted @ wave.reshape(len(some), -1).T)
    return torch.cat(columns, dim=1)
