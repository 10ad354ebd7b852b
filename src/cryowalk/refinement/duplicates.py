"""Particles that lie on each other once their places are refined: two picks of one molecule, of which the better one is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cryowalk.core.checks import require_positive
from cryowalk.core.errors import InputError
from cryowalk.data import Optics, ParticleSet
from cryowalk.picking.extract import MICROGRAPH_PIXEL_SIZE, origin_shift

MERITS = ("rlnMaxValueProbDistribution", "rlnAutopickFigureOfMerit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """Which particles are kept; for each, the row of the one that stands for it (its own where it is kept). `merit` is the column that decided, or nothing."""

    kept: Bool[Tensor, " n"]
    stands_for: Int[Tensor, " n"]
    merit: str

    @property
    def removed(self) -> int:
        """How many particles are not kept."""
        return int((~self.kept).sum())


def find_duplicates(particles: ParticleSet, *, distance: float) -> Duplicates:
    """The particles of which none lies within `distance` (Å) of a better one of its micrograph.

    Particles are taken in falling order of merit, the largest value of their posterior or else the picker's figure of merit, equal ones in their order.

    Raises
    ------
    InputError
        If the particles have no micrographs or no coordinates, or a merit is no number.
    """
    require_positive("distance", distance, unit="Å")
    places = places_in_micrographs(particles)
    merit = next((label for label in MERITS if label in particles.extra), "")
    value = torch.zeros(len(particles), dtype=torch.float64)
    if merit:
        value = _numbers(particles.extra[merit], merit)
    members: dict[str, list[int]] = {}
    for row, name in enumerate(particles.micrograph_names):
        members.setdefault(name, []).append(row)
    stands_for = torch.arange(len(particles))
    for rows in members.values():
        chosen = torch.tensor(rows)
        better = chosen[torch.argsort(value[chosen], descending=True, stable=True)]
        stands_for[better] = better[_representatives(places[better], distance)]
    return Duplicates(kept=stands_for == torch.arange(len(particles)), stands_for=stands_for, merit=merit)


def places_in_micrographs(particles: ParticleSet) -> Float[Tensor, "n 2"]:
    """Where each particle lies in its micrograph (x, y), Å: its coordinates, corrected by its shift.

    Raises
    ------
    InputError
        If they have no micrographs or no coordinates.
    """
    if particles.coordinates is None or not particles.micrograph_names:
        lacking = "rlnMicrographName" if particles.coordinates is not None else "rlnCoordinateX and rlnCoordinateY"
        raise InputError("the particles have no places in micrographs", expected=lacking)
    pixel = torch.tensor([coordinate_pixel_size(group) for group in particles.optics], dtype=torch.float64)
    return particles.coordinates.double().cpu() * pixel[particles.optics_index][:, None] + origin_shift(particles)


def coordinate_pixel_size(optics: Optics) -> float:
    """The pixel size that coordinates count, Å: that of the micrographs where it is known, else that of the images."""
    told = optics.extra.get(MICROGRAPH_PIXEL_SIZE)
    if told is not None:
        return float(_numbers([told], MICROGRAPH_PIXEL_SIZE)[0])
    return optics.micrograph_pixel_size or optics.pixel_size


def _representatives(places: Float[Tensor, "n 2"], distance: float) -> Int[Tensor, " n"]:
    """For each place the first kept one within the distance, places being in the order in which they are taken."""
    from scipy.spatial import cKDTree

    found = torch.arange(len(places))
    neighbours = cKDTree(places.numpy()).query_ball_point(places.numpy(), distance)
    for row, near in enumerate(neighbours):
        earlier = [other for other in sorted(near) if other < row and int(found[other]) == other]
        if earlier:
            found[row] = earlier[0]
    return found


def _numbers(texts: Sequence[str], label: str) -> Float[Tensor, " n"]:
    try:
        return torch.tensor([float(text) for text in texts], dtype=torch.float64)
    except ValueError as error:
        raise InputError(f"a value of {label} is no number: {error}", expected="numbers") from None
