"""Bringing one map onto another: every rotation on a coarse grid with the best shift of each, then the best few refined together with their shifts."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_cube
from cryowalk.core.errors import InputError, ShapeError
from cryowalk.core.execution import batches
from cryowalk.data import Volume
from cryowalk.fourier.filters import low_pass
from cryowalk.fourier.transform import resample, to_fourier, to_real
from cryowalk.geometry.rotations import geodesic_distance, matrix_from_rotation_vector, rotation_vector_from_matrix
from cryowalk.geometry.so3_grid import so3_grid
from cryowalk.validation.rigid_motion import mirrored, moved, sampled

COARSE_BOX = 20
COARSE_ORDER = 2  # 4,608 rotations, 15° apart
FINE_BOX = 48
CANDIDATES = 8
BATCH = 64
SEPARATION = math.radians(40)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """A map brought onto a reference: x_reference = rotation · x_map + shift (Å), after a point inversion if `is_mirrored`.

    `volume` is the moved map on the grid of the reference, `correlation` that of both maps at the resolution of the search.
    """

    volume: Volume
    rotation: Float[Tensor, "3 3"]
    shift: Float[Tensor, "3"]
    correlation: float
    is_mirrored: bool

    @property
    def angle(self) -> float:
        """Angle of the rotation, rad."""
        return rotation_vector_from_matrix(self.rotation).norm().item()


def align(
    volume: Volume, reference: Volume, *, hand: Literal["keep", "either"] = "keep", resolution: float | None = None
) -> Alignment:
    """The map turned and moved onto the reference, with the motion that does it.

    All rotations of a 15° grid are tried on maps reduced to 20 voxels, each with its best shift (the peak of the cross-correlation); the best eight are
    refined by maximising the correlation over rotation and shift, and the winner is refined again on up to 48 voxels, or to `resolution` (Å).
    With `hand="either"` the mirror image is tried too. Both maps must have one box and voxel size, and differ from a constant.

    Raises
    ------
    ShapeError
        If the boxes differ or are not cubes.
    InputError
        If a map is constant or holds NaN.
    """
    box = require_cube("a map", tuple(volume.voxels.shape))
    if volume.voxels.shape != reference.voxels.shape:
        raise ShapeError(
            f"the maps differ in size: {tuple(volume.voxels.shape)} and {tuple(reference.voxels.shape)} voxels (z, y, x)",
            fix="rescale and crop them to one box first",
        )
    for what, voxels in (("map", volume.voxels), ("reference", reference.voxels)):
        if not voxels.std() > 0:
            raise InputError(f"the {what} to align is constant or holds NaN", fix="look at the map: cryowalk inspect FILE")
    found = _search(volume, reference, box, resolution)
    if hand == "either":
        other = _search(mirrored(volume), reference, box, resolution)
        if other.correlation > found.correlation:
            found = replace(other, is_mirrored=True)
    return found


def _search(volume: Volume, reference: Volume, box: int, resolution: float | None) -> Alignment:
    small = min(box, COARSE_BOX)
    # Detail finer than the displacement of the outermost voxels between grid points would only add noise to the coarse search.
    smooth = 3 * volume.voxel_size * box / small
    first, second = (_reduced(v, small, smooth) for v in (volume, reference))
    starts = _best_of_grid(first, second)
    climbs = [_climb(first, second, rotation, shift) for rotation, shift in starts]
    _, rotation, shift = max(climbs, key=lambda climb: climb[0])
    fine = min(box, FINE_BOX)
    detail = max(resolution or 0.0, 2.5 * volume.voxel_size * box / fine)
    first, second = (_reduced(v, fine, detail) for v in (volume, reference))
    correlation, rotation, shift = _climb(first, second, rotation, shift)
    return Alignment(
        volume=replace(moved(volume, rotation, shift), origin=reference.origin),
        rotation=rotation,
        shift=shift,
        correlation=correlation,
        is_mirrored=False,
    )


def _reduced(volume: Volume, box: int, resolution: float) -> Volume:
    """The map at low resolution on a coarser grid, its mean taken off."""
    smooth = low_pass(volume.voxels, resolution=resolution, pixel_size=volume.voxel_size, dimensions=3)
    voxels = resample(smooth, (box, box, box))
    return Volume(voxels=voxels - voxels.mean(), voxel_size=volume.voxel_size * volume.voxels.shape[-1] / box)


def _best_of_grid(volume: Volume, reference: Volume) -> list[tuple[Float[Tensor, "3 3"], Float[Tensor, "3"]]]:
    rotations = torch.as_tensor(so3_grid(COARSE_ORDER)).to(volume.voxels)
    target = to_fourier(reference.voxels, dimensions=3)
    box = volume.voxels.shape[-1]
    peaks, places = [], []
    for span in batches(len(rotations), BATCH):
        batch = rotations[span.start : span.stop]
        turned = sampled(volume, batch, torch.zeros_like(batch[:, 0]))
        overlap = to_real(target * to_fourier(turned, dimensions=3).conj(), width=box, dimensions=3)
        # A turned map of larger norm would win by its norm alone.
        peak, place = overlap.flatten(1).max(dim=1)
        peaks.append(peak / turned.flatten(1).norm(dim=1))
        places.append(place)
    best = _separate(rotations, torch.cat(peaks))
    place = torch.cat(places)[best]
    index = torch.stack([place % box, place // box % box, place // box**2], dim=-1)
    shifts = (index - box // 2) * volume.voxel_size
    return [(r.double(), s.double()) for r, s in zip(rotations[best], shifts, strict=True)]


def _separate(rotations: Float[Tensor, "n 3 3"], peaks: Float[Tensor, " n"]) -> list[int]:
    """The best rotations no two of which are neighbours: a broad wrong peak must not crowd out a sharp right one."""
    chosen: list[int] = []
    for index in peaks.argsort(descending=True).tolist():
        if all(float(geodesic_distance(rotations[index], rotations[other])) > SEPARATION for other in chosen):
            chosen.append(index)
        if len(chosen) == CANDIDATES:
            break
    return chosen


def _climb(
    volume: Volume, reference: Volume, rotation: Float[Tensor, "3 3"], shift: Float[Tensor, "3"]
) -> tuple[float, Float[Tensor, "3 3"], Float[Tensor, "3"]]:
    """The highest correlation near a start, with its rotation and shift (Å)."""
    from scipy.optimize import minimize

    value = _negative_correlation(volume, reference, rotation, shift)
    found = minimize(
        value, torch.zeros(6, dtype=torch.float64).numpy(), jac=True, method="BFGS", options={"gtol": 1e-6, "maxiter": 60}
    )
    turn, offset = _motion(torch.from_numpy(found.x), volume)
    return -float(found.fun), turn @ rotation, shift + offset


def _motion(parameters: Float[Tensor, "6"], volume: Volume) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "3"]]:
    # One unit of each parameter moves the outer part of the map by about one voxel, which conditions the search.
    quarter = volume.voxels.shape[-1] / 4
    return matrix_from_rotation_vector(parameters[:3] / quarter), parameters[3:] * volume.voxel_size


def _negative_correlation(
    volume: Volume, reference: Volume, rotation: Float[Tensor, "3 3"], shift: Float[Tensor, "3"]
) -> "Callable[[Any], Any]":
    target = reference.voxels / reference.voxels.norm()

    def value(parameters: Any) -> Any:
        variables = torch.tensor(parameters, dtype=torch.float64).requires_grad_()
        turn, offset = _motion(variables, volume)
        matrix = (turn @ rotation).to(target)[None]
        turned = sampled(volume, matrix, (shift + offset).to(target)[None])[0]
        negative = -(turned * target).sum() / turned.norm().clamp_min(math.sqrt(torch.finfo(target.dtype).tiny))
        negative.backward()  # type: ignore[no-untyped-call]
        gradient = variables.grad
        return negative.item(), None if gradient is None else gradient.numpy()

    return value
