"""Masks as volumes on the grid of a map: spheres, the map's own shape, and that of a molecule, each with a soft edge."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.checks import require_cube, require_positive
from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data import Atoms, Volume
from cryowalk.fourier.filters import low_pass
from cryowalk.numerics.masks import soft_sphere
from cryowalk.validation.settings import MaskSettings

VOXEL_SIZE_TOLERANCE = 1e-3  # relative
MASK_TOLERANCE = 0.01  # values this far outside 0 … 1 are rounding of other programs
_DENSITY_FRACTION = 0.25  # of the typical density of the specimen: where the automatic threshold lies
_NOISE_DEVIATIONS = 5.0  # above the solvent's mean: the automatic threshold is never lower
_NORMAL_FROM_MEDIAN = 1.4826  # standard deviation of a normal law over its median absolute deviation


def spherical_mask(volume: Volume, *, radius: float | None = None, edge: float | None = None) -> Volume:
    """Soft sphere about the origin voxel on the grid of `volume`: 1 inside `radius` (Å), falling to 0 over `edge` (Å).

    The default edge is six voxels wide, the default radius leaves the edge inside the box.

    Raises
    ------
    UsageError
        If the radius is not above zero, or the edge is negative.
    """
    box = require_cube("a map", tuple(volume.voxels.shape))
    width = 6 * volume.voxel_size if edge is None else edge
    inside = (box // 2) * volume.voxel_size - width if radius is None else radius
    if not inside > 0 or width < 0:
        raise UsageError(
            f"a spherical mask needs a radius above zero and an edge of zero or more: got {inside:g} and {width:g} Å"
        )
    voxels = soft_sphere(box, radius=inside, edge=width, voxel_size=volume.voxel_size).to(volume.voxels)
    return Volume(voxels=voxels, voxel_size=volume.voxel_size, origin=volume.origin)


@dataclass(frozen=True, slots=True, kw_only=True)
class AutomaticMask:
    """A mask made of a map: the mask, the threshold (map units) that cut it, how many connected parts there were and were kept."""

    mask: Volume
    threshold: float
    parts_found: int
    parts_kept: int


def automatic_mask(volume: Volume, settings: MaskSettings | None = None) -> AutomaticMask:
    """The mask of a map's own shape: low pass, threshold, large connected parts, grown, with a raised-cosine edge.

    The threshold is in the map's units. Unless it is given it is `density_threshold` of the low-passed map.

    Raises
    ------
    InputError
        If the map is constant or not finite, or nothing or everything lies above the threshold.
    """
    settings = settings or MaskSettings()
    require_cube("a map", tuple(volume.voxels.shape))
    if not bool(volume.voxels.isfinite().all()):
        raise InputError("the map holds NaN or infinite values", fix="look for the voxels: cryowalk validate FILE")
    if bool(volume.voxels.min() == volume.voxels.max()):
        raise InputError("the map is constant: there is nothing to mask", fix="look at it: cryowalk inspect FILE")
    smooth = volume.voxels
    if settings.low_pass > 2 * volume.voxel_size:
        smooth = low_pass(smooth, resolution=settings.low_pass, pixel_size=volume.voxel_size, dimensions=3)
    threshold = density_threshold(smooth) if settings.threshold is None else settings.threshold
    inside = smooth >= threshold
    if not bool(inside.any()) or bool(inside.all()):
        what = "nothing" if not bool(inside.any()) else "the whole box"
        raise InputError(
            f"{what} lies above the threshold {threshold:.4g}: the low-passed map runs from {float(smooth.min()):.4g} to {float(smooth.max()):.4g}",
            cause="a threshold for the contour of another map, or one in other units",
            fix="give another threshold, or none: then it is chosen from the map",
        )
    kept, found, count = _large_parts(inside, fraction=settings.smallest_part)
    voxels = soft_edged(kept, extend=settings.extend, soft_edge=settings.soft_edge).to(volume.voxels)
    mask = Volume(voxels=voxels, voxel_size=volume.voxel_size, origin=volume.origin)
    return AutomaticMask(mask=mask, threshold=threshold, parts_found=found, parts_kept=count)


def density_threshold(smooth: Float[Tensor, "z y x"]) -> float:
    """A density between the solvent and the specimen of a low-passed map, map units.

    The solvent's level and its spread are the median and the median absolute deviation of the voxels outside the specimen, which Otsu's threshold (the
    cut that explains most of the variance) finds first. The result lies a quarter of the way from there to the typical density of the specimen, which keeps
    what is flexible or half occupied, and never less than five deviations of the solvent above it.

    Source: Otsu, IEEE Trans. Syst. Man Cybern. 9, 62 (1979).
    """
    values = smooth.detach().double().cpu().numpy().ravel()
    cut = _otsu(values)
    solvent, specimen = values[values <= cut], values[values > cut]
    level = float(np.median(solvent))
    deviation = _NORMAL_FROM_MEDIAN * float(np.median(np.abs(solvent - level)))
    typical = float(np.median(specimen)) if specimen.size else float(values.max())
    threshold = max(level + _DENSITY_FRACTION * (typical - level), level + _NOISE_DEVIATIONS * deviation)
    return min(threshold, cut) if cut > level else threshold


def _otsu(values: NDArray[np.float64], bins: int = 512) -> float:
    """The cut with the largest variance between the two groups of values."""
    counts, edges = np.histogram(values, bins=bins)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(np.float64)
    above = values.size - below
    total = np.cumsum(counts * centres)
    mean_below, mean_above = total[:-1] / np.maximum(below, 1), (total[-1] - total[:-1]) / np.maximum(above, 1)
    return float(edges[1:-1][np.argmax(below * above * (mean_above - mean_below) ** 2)])


def _large_parts(inside: Bool[Tensor, "z y x"], *, fraction: float) -> tuple[Bool[Tensor, "z y x"], int, int]:
    """The connected parts that are at least this fraction of the largest, how many there are, and how many are kept."""
    from scipy.ndimage import label

    labels, found = label(inside.cpu().numpy(), structure=np.ones((3, 3, 3)))
    volumes = np.bincount(labels.ravel())
    volumes[0] = 0
    is_large = volumes >= max(fraction * volumes.max(), 1)
    return torch.from_numpy(is_large[labels]).to(inside.device), int(found), int(is_large.sum())


def soft_edged(inside: Bool[Tensor, "z y x"], *, extend: float, soft_edge: float) -> Float[Tensor, "z y x"]:
    """A mask of value 1 nearer than `extend` voxels to the voxels inside, falling to 0 as a raised cosine over `soft_edge` voxels more.

    Distances are to the middle of the nearest voxel inside. The box does not wrap round.
    """
    from scipy.ndimage import distance_transform_edt

    if extend < 0 or soft_edge < 0:
        raise UsageError(f"a mask grows by zero or more voxels: got {extend:g} and an edge of {soft_edge:g}")
    solid = inside.cpu().numpy()
    if extend > 0:
        solid = distance_transform_edt(~solid) < extend
    if soft_edge == 0:
        return torch.from_numpy(solid.astype(np.float32)).to(inside.device)
    position = np.clip(distance_transform_edt(~solid) / soft_edge, 0, 1)
    return torch.from_numpy((0.5 + 0.5 * np.cos(math.pi * position)).astype(np.float32)).to(inside.device)


def mask_from_atoms(atoms: Atoms, volume: Volume, *, radius: float = 3.0, soft_edge: float = 6.0) -> Volume:
    """The mask of a molecule on the grid of `volume`: 1 within `radius` (Å) of an atom, falling to 0 over `soft_edge` voxels.

    Atoms are where the frame of the map puts them: voxel (0, 0, 0) lies at `volume.origin`.

    Raises
    ------
    InputError
        If no atom lies inside the box.
    """
    from scipy.ndimage import distance_transform_edt

    box = require_cube("a map", tuple(volume.voxels.shape))
    require_positive("mask radius", radius, unit="Å")
    places = (atoms.positions.double().cpu() - torch.tensor(volume.origin, dtype=torch.float64)) / volume.voxel_size
    nearest = places.round().long()
    is_inside = ((nearest >= 0) & (nearest < box)).all(dim=1) & (atoms.occupancies.cpu() > 0)
    if not bool(is_inside.any()):
        raise InputError(
            f"none of the {len(atoms)} atoms lies inside the map",
            cause="the model is in another frame, or the map's header has another origin",
            fix="move the model onto the map first",
        )
    x, y, z = nearest[is_inside].unbind(dim=1)
    occupied = np.zeros((box, box, box), dtype=bool)
    occupied[z.numpy(), y.numpy(), x.numpy()] = True
    solid = distance_transform_edt(~occupied) * volume.voxel_size <= radius
    voxels = soft_edged(torch.from_numpy(solid), extend=0, soft_edge=soft_edge).to(volume.voxels)
    return Volume(voxels=voxels, voxel_size=volume.voxel_size, origin=volume.origin)


def require_mask(mask: Volume, volume: Volume) -> Volume:
    """The mask, known to be one for this map: same grid, values from 0 to 1 (rounding of other programs taken off), neither empty nor everywhere 1.

    Raises
    ------
    ShapeError
        If its box is another one.
    InputError
        If its voxel size is another one, or its values are not those of a mask.
    """
    if mask.voxels.shape != volume.voxels.shape:
        raise ShapeError(
            f"the mask has {tuple(mask.voxels.shape)} voxels (z, y, x), the map {tuple(volume.voxels.shape)}",
            fix="give a mask on the grid of the map",
        )
    if abs(mask.voxel_size / volume.voxel_size - 1) > VOXEL_SIZE_TOLERANCE:
        raise InputError(
            f"the mask has voxels of {mask.voxel_size:g} Å, the map of {volume.voxel_size:g} Å",
            fix="rescale the mask, or correct its header",
        )
    if not bool(mask.voxels.isfinite().all()):
        raise InputError("the mask holds NaN or infinite values", fix="look for the voxels: cryowalk validate FILE")
    low, high = float(mask.voxels.min()), float(mask.voxels.max())
    if low < -MASK_TOLERANCE or high > 1 + MASK_TOLERANCE:
        raise InputError(
            f"the values of the mask run from {low:.4g} to {high:.4g}",
            expected="values from 0 (solvent) to 1 (specimen)",
            cause="a map, or a mask to which a low pass was applied last",
            fix="make one: cryowalk mask --i MAP --o mask.mrc",
        )
    if high <= 0:
        raise InputError("the mask is zero everywhere", fix="make one: cryowalk mask --i MAP --o mask.mrc")
    if low >= 1:
        raise InputError("the mask is 1 everywhere: it masks nothing", fix="leave the mask out, or make one: cryowalk mask")
    return Volume(voxels=mask.voxels.clamp(0, 1).to(volume.voxels), voxel_size=volume.voxel_size, origin=volume.origin)


def independent_fraction(mask: Volume) -> float:
    """The fraction of the coefficients of a shell that stay independent under the mask: (Σ m²)² / (N Σ m⁴), N voxels.

    For a mask of zeros and ones it is the fraction of the box that it fills. (Noise under a mask has a spectrum convolved with that of the mask; the variance of a
    sum over it is that of so many independent coefficients.)
    """
    square = mask.voxels.double().square()
    return float(square.sum() ** 2 / (square.square().sum() * square.numel()))
