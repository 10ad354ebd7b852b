"""Where a map's symmetry axes stand: how well it agrees with itself turned about every direction, and the frame in which a point group fits best."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.data import Volume
from cryowalk.fourier.transform import resample
from cryowalk.geometry.rotations import matrix_from_axis_angle, matrix_from_rotation_vector
from cryowalk.geometry.so3_grid import healpix_directions, so3_grid
from cryowalk.geometry.symmetry import symmetry_operators
from cryowalk.numerics.interpolation import rotate_volume

SMALL_BOX = 24  # voxels that axes are looked for on
DIRECTIONS = 3  # HEALPix order: 768 directions, 7.3° apart
FRAMES = 3  # order of the grid of frames, 7.5°
REFINED = 3  # frames that are refined
APART = 0.4  # between these, as the norm of the matrices' difference: 16°
MOST_LOOKED_AT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class SymmetryFrame:
    """The rotation that brings a map into the frame of its point group, where its centre lies before (Å), and the least correlation with a turned copy."""

    rotation: Float[Tensor, "3 3"]
    centre: Float[Tensor, "3"]
    correlation: float


def symmetry_frame(volume: Volume, symmetry: str) -> SymmetryFrame:
    """The frame in which the map has the point group best: x_group = rotation · (x_map − centre).

    The correlation of the map with itself turned by each angle of the group is computed for 768 directions of the axis; the frames of a 7.5° grid are ranked by
    the sum over the group's operators, and the best are refined on rotation and centre.
    """
    small = _reduced(volume)
    operators = symmetry_operators(symmetry)[1:]
    angles, axes = _axes_and_angles(operators)
    correlation = {angle: _axis_correlation(small, angle) for angle in sorted(set(angles))}
    directions = healpix_directions(DIRECTIONS).float()
    frames = so3_grid(FRAMES).float()
    total = torch.zeros(len(frames))
    for angle, axis in zip(angles, axes, strict=True):
        # An axis a of the group stands at frameᵀ a in the map.
        nearest = (frames.mT @ axis @ directions.T).argmax(dim=1)
        total += correlation[angle][nearest]
    best = [_climb(small, frames[i], operators.float()) for i in _apart(frames, total)]
    winner = max(best, key=lambda frame: frame.correlation)
    scale = small.voxel_size
    return SymmetryFrame(rotation=winner.rotation, centre=winner.centre * scale, correlation=winner.correlation)


def _apart(frames: Float[Tensor, "n 3 3"], score: Float[Tensor, " n"]) -> list[int]:
    """The best few frames that lie more than two grid steps from each other."""
    found: list[int] = []
    for place in torch.argsort(score, descending=True)[:MOST_LOOKED_AT].tolist():
        near = [bool((frames[place] - frames[other]).norm() < APART) for other in found]
        if not any(near):
            found.append(place)
        if len(found) == REFINED:
            break
    return found


def turned_map(volume: Volume, rotation: Float[Tensor, "3 3"], centre: Float[Tensor, "3"]) -> Volume:
    """The map seen in a frame that is turned and has another centre: V'(x) = V(rotationᵀ x + centre)."""
    box = volume.voxels.shape[-1]
    fine = resample(volume.voxels, (2 * box, 2 * box, 2 * box))
    shift = -(rotation @ centre.to(rotation)) / (volume.voxel_size / 2)
    moved = rotate_volume(fine, rotation, shift.to(fine))
    return Volume(voxels=resample(moved, (box, box, box)), voxel_size=volume.voxel_size)


def _reduced(volume: Volume) -> Volume:
    box = volume.voxels.shape[-1]
    if box <= SMALL_BOX:
        return volume
    side = (SMALL_BOX, SMALL_BOX, SMALL_BOX)
    return Volume(voxels=resample(volume.voxels, side), voxel_size=volume.voxel_size * box / SMALL_BOX)


def _axes_and_angles(operators: Float[Tensor, "g 3 3"]) -> tuple[list[float], list[Float[Tensor, "3"]]]:
    """The turn (degrees, whole) and the axis of each operator."""
    angles, axes = [], []
    for operator in operators.double():
        cosine = ((operator.trace() - 1) / 2).clamp(-1, 1)
        values, vectors = torch.linalg.eig(operator)
        axis = vectors[:, (values - 1).abs().argmin()].real
        turned = torch.linalg.det(torch.stack((axis, _across(axis), operator @ _across(axis))))
        angles.append(round(math.degrees(math.acos(float(cosine)))))
        axes.append((axis if turned >= 0 else -axis).float())
    return [float(angle) for angle in angles], axes


def _across(axis: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
    helper = torch.eye(3, dtype=axis.dtype)[axis.abs().argmin()]
    return torch.linalg.cross(axis, helper)


def _axis_correlation(small: Volume, angle: float) -> Float[Tensor, " directions"]:
    """The correlation of the map with itself turned by an angle (degrees) about every direction."""
    directions = healpix_directions(DIRECTIONS).float()
    turns = matrix_from_axis_angle(directions, torch.full((len(directions),), math.radians(angle)))
    return torch.stack([_correlation(small.voxels, rotate_volume(small.voxels, turn)) for turn in turns])


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    one, two = first - first.mean(), second - second.mean()
    return (one * two).sum() / (one.norm() * two.norm()).clamp_min(1e-30)


def _climb(small: Volume, frame: Float[Tensor, "3 3"], operators: Float[Tensor, "g 3 3"]) -> SymmetryFrame:
    """The frame refined together with its centre: the correlation with copies turned by generators of the group, climbed along its gradient."""
    from scipy.optimize import minimize

    chosen = generators(operators)

    def seen(parameters: Tensor) -> Tensor:
        rotation = matrix_from_rotation_vector(parameters[:3]).float() @ frame
        return rotate_volume(small.voxels, rotation, -(rotation @ parameters[3:].float()))

    def loss(values: Any, /) -> tuple[float, Any]:
        parameters = torch.tensor(values, dtype=torch.float64, requires_grad=True)
        view = seen(parameters)
        total = -sum((_correlation(view, rotate_volume(view, operator)) for operator in chosen), torch.zeros(())) / len(chosen)
        (slope,) = torch.autograd.grad(total, parameters)
        return float(total.detach()), slope.double().numpy()

    start = [1e-3, 1e-3, 1e-3, 0.0, 0.0, 0.0]  # the rotation vector's matrix has no gradient at 0
    result = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 15})
    parameters = torch.as_tensor(result.x)
    view = seen(parameters)
    least = min(float(_correlation(view, rotate_volume(view, operator))) for operator in operators)
    rotation = matrix_from_rotation_vector(parameters[:3]).float() @ frame
    return SymmetryFrame(rotation=rotation, centre=parameters[3:].float(), correlation=least)


def generators(operators: Float[Tensor, "g 3 3"]) -> Float[Tensor, "few 3 3"]:
    """A few of a group's operators (the identity not among them) whose products are all of it."""
    chosen: list[Tensor] = []
    made = [torch.eye(3).to(operators)]
    for operator in operators:
        if any((operator - known).abs().max() < 1e-4 for known in made):
            continue
        chosen.append(operator)
        made.append(operator)
        for first in made:  # the list grows while it is walked, until every product with a generator is in it
            for second in chosen:
                product = first @ second
                if not any((product - known).abs().max() < 1e-4 for known in made):
                    made.append(product)
    return torch.stack(chosen)
