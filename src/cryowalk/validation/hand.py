"""The hand of a map: turned over together with its poses, and told by an atomic model or by another map.

Projections do not tell it: the image of a map from the direction d is that of the map mirrored in the image plane. So single-particle data fit both hands alike, and
what decides is outside of them: a model (L-amino acids, right-handed α-helices), or tilted specimens.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import torch

from cryowalk.core.errors import InputError
from cryowalk.data import Atoms, Pose, Volume
from cryowalk.validation.alignment import align
from cryowalk.validation.map_model import MASK_RADIUS, as_cube, model_density, model_mask
from cryowalk.validation.masks import density_threshold
from cryowalk.validation.rigid_motion import mirrored
from cryowalk.validation.shell_correlation import compare_maps

Flipped = TypeVar("Flipped", Volume, Pose)

SURE = 3.0  # standard errors
WITHOUT_MODEL = (
    "single-particle images cannot tell the hand: a map and its mirror image have the same projections. "
    "Give a model (its α-helices are right-handed), or look at helices at 7 Å or better, or tilt the specimen."
)


def flip_hand(thing: Flipped) -> Flipped:
    """The map mirrored along z about its origin voxel, or the poses that belong to the mirrored map.

    V'(x) = V(M x) with M = diag(1, 1, −1), and R' = M R M with the same shift: the mirrored map at the new poses has exactly the images that the map had at the old
    ones. A map's origin stays where it is. Twice is the identity.
    """
    if isinstance(thing, Pose):
        mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0])).to(thing.lab_from_particle)
        return replace(thing, lab_from_particle=mirror @ thing.lab_from_particle @ mirror)
    voxels = thing.voxels.flip(-3)
    return replace(thing, voxels=voxels.roll(1, dims=-3) if voxels.shape[-3] % 2 == 0 else voxels)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandCheck:
    """How well a model (or a reference map) fits a map and its mirror image, each in its best place: correlations of the voxels within 3 Å of the atoms (or in the reference's density).

    `greatest_difference` is what they could differ by at this resolution (Å), in a map that is the model; `standard_errors` how surely they do. `hand` says which fits.
    """

    correlation: float
    mirrored_correlation: float
    greatest_difference: float
    standard_errors: float
    resolution: float
    hand: Literal["right", "mirrored", "undecided"]


def check_hand_against(volume: Volume, reference: Volume, *, resolution: float | None = None) -> HandCheck:
    """Whether a map has the hand of a reference map, its mirror image's, or whether that cannot be told.

    The map and its mirror image are each aligned onto the reference, and their correlations in the region of the reference's density are compared as `check_hand`
    does. The resolution (Å), which counts the independent values, is where the better one's FSC with the reference falls below 0.5 unless it is given. Both maps have one
    box and voxel size.

    Raises
    ------
    ShapeError
        If the boxes differ or are not cubes.
    InputError
        If a map is constant or holds NaN.
    """
    placed = align(volume, reference, resolution=resolution).volume
    other = align(mirrored(volume), reference, resolution=resolution).volume
    own = align(mirrored(reference), reference, resolution=resolution).volume
    weight = (reference.voxels >= density_threshold(reference.voxels)).to(reference.voxels)
    correlations = [_within(one, reference, weight) for one in (placed, other, own)]
    if resolution is None:
        better = placed if correlations[0] >= correlations[1] else other
        resolution = compare_maps(better, reference).resolution(at=0.5)
    return _decided((correlations[0], correlations[1], correlations[2]), weight, reference.voxel_size, resolution)


def check_hand(volume: Volume, atoms: Atoms, *, resolution: float) -> HandCheck:
    """Whether a map has the hand of a model, its mirror image's, or whether that cannot be told at this resolution (Å).

    The model's density is compared with the map as it lies (and where that is no better, aligned onto it) and with the aligned mirror image. The difference of the two correlations r
    and r' is measured in standard errors of Fisher's transform, (artanh r − artanh r') √((N − 3)/2), N being the number of independent values
    of the masked volume, V · 4π/3 · (1/d)³; three are asked for.

    Raises
    ------
    InputError
        If the map is constant, or the model lies elsewhere.
    """
    if bool(volume.voxels.min() == volume.voxels.max()):
        raise InputError("the map is constant: it has no hand")
    cube = as_cube(volume)
    density = model_density(atoms, cube, resolution=resolution)
    weight = model_mask(atoms, cube, radius=MASK_RADIUS, edge=0.0).voxels
    placed = _within(cube, density, weight)
    other = _within(align(mirrored(cube), density, resolution=resolution).volume, density, weight)
    if placed <= other:  # the map may lie elsewhere than its model, which must not decide the hand
        placed = max(placed, _within(align(cube, density, resolution=resolution).volume, density, weight))
    own = _within(align(mirrored(density), density, resolution=resolution).volume, density, weight)
    return _decided((placed, other, own), weight, cube.voxel_size, resolution)


def _decided(correlations: tuple[float, float, float], weight: torch.Tensor, voxel_size: float, resolution: float) -> HandCheck:
    """The verdict on the correlations of the map, of its mirror image, and of the reference with its own mirror image."""
    placed, other, own = correlations
    count = float(weight.sum()) * voxel_size**3 * 4 * math.pi / 3 / resolution**3
    edge = 1 - 1e-9
    difference = math.atanh(max(-edge, min(placed, edge))) - math.atanh(max(-edge, min(other, edge)))
    errors = difference * math.sqrt(max(count - 3, 0) / 2)
    decided: Literal["right", "mirrored"] = "right" if errors > 0 else "mirrored"
    return HandCheck(
        correlation=placed,
        mirrored_correlation=other,
        greatest_difference=1 - own,
        standard_errors=abs(errors),
        resolution=resolution,
        hand=decided if abs(errors) >= SURE else "undecided",
    )


def _within(volume: Volume, density: Volume, weight: torch.Tensor) -> float:
    """The correlation of two maps where the weight is 1."""
    inside = weight > 0
    a, b = volume.voxels[inside].double(), density.voxels[inside].double()
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / (a.norm() * b.norm()).clamp_min(1e-300))
