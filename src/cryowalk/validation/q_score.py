"""Q-scores: how closely the density around each atom follows that of an atom that is well resolved.

Source: Pintilie, Zhang, Su, Li, Schmid & Chiu, Nature Methods 17, 328 (2020). The points on a sphere are the spiral of Saff & Kuijlaars, Math.
Intelligencer 19, 5 (1997).
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.checks import require_positive
from cryowalk.core.errors import InputError
from cryowalk.core.execution import Progress, SilentProgress, batches
from cryowalk.data import Atoms, Volume

SIGMA = 0.6  # Å, of the Gaussian that a well-resolved atom shows
STEP, FARTHEST = 0.1, 2.0  # Å: the radii
POINTS = 8  # wanted on each sphere
TRIES = 50  # each with two points more
CLEAR = 0.9  # of the radius: how far a point must be from every other atom
CHUNK = 2048  # atoms at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class QScores:
    """The Q-score of each atom (NaN for hydrogens) and the mean over each residue: name, number and chain with it. 1 is perfect, 0 no relation."""

    atoms: Float[Tensor, " atoms"]
    residue_of_atom: Int[Tensor, " atoms"]
    residues: tuple[tuple[str, int, str], ...]

    @property
    def mean(self) -> float:
        """The mean over all atoms but hydrogens."""
        return float(self.atoms.nanmean())

    def by_residue(self) -> Float[Tensor, " residues"]:
        """The mean over each residue's atoms."""
        known = ~self.atoms.isnan()
        total = torch.zeros(len(self.residues), dtype=self.atoms.dtype)
        index = self.residue_of_atom[known]
        count = torch.bincount(index, minlength=len(self.residues))
        return total.index_add(0, index, self.atoms[known]) / count


def q_scores(volume: Volume, atoms: Atoms, *, sigma: float = SIGMA, progress: Progress | None = None) -> QScores:
    """The Q-score of each atom of a model in a map.

    Q = ⟨u − ū, v − v̄⟩ / (|u − ū| |v − v̄|), with u the map (linear interpolation) at points on spheres of 0, 0.1 … 2 Å about the atom and v the
    Gaussian exp(−r²/2σ²) there. On each sphere at least eight points are taken that lie no nearer than 0.9 times its radius to any other atom; where
    they are not found on the first spiral, spirals with ever two points more are tried, up to fifty, and then the sphere is left out. At
    the atom itself its value counts eight times. Hydrogens neither have scores nor keep others' points away; alternate locations of one atom
    do not keep each other's away. Brightness and contrast of the map do not matter. A model without its neighbours (one chain of
    several, no symmetry mates) takes their density for its own: score whole models.

    Raises
    ------
    InputError
        If no atom lies in the map, or the map is constant.

    Source: Pintilie et al. (2020), Methods.
    """
    require_positive("sigma", sigma, unit="Å")
    progress = progress or SilentProgress()
    if bool(volume.voxels.min() == volume.voxels.max()):
        raise InputError("the map is constant: no atom can be scored in it")
    heavy = torch.nonzero(atoms.atomic_numbers > 1)[:, 0]
    index, residues = _residues(atoms)
    positions = atoms.positions[heavy].double().cpu().numpy()
    grid = _Grid(volume)
    if len(heavy) == 0 or not bool(grid.holds(positions).any()):
        raise InputError(
            "no atom of the model lies in the map",
            cause="the map's origin was lost, or the model is that of another map",
            fix="look at both in a viewer; put the model onto the map first",
        )
    twins = _twin_numbers(atoms, heavy)
    scores = torch.full((len(atoms),), math.nan, dtype=torch.float64)
    progress.start("Q-scores, atoms", len(heavy))
    for span in batches(len(heavy), CHUNK):
        chosen = slice(span.start, span.stop)
        scores[heavy[chosen]] = torch.from_numpy(
            _scores_of(positions, np.arange(len(heavy))[chosen], twins, grid=grid, sigma=sigma)
        )
        progress.advance(len(span))
    return QScores(atoms=scores, residue_of_atom=index, residues=residues)


class _Grid:
    """A map to be read at places (x, y, z) in Å; beyond its border it is 0."""

    def __init__(self, volume: Volume) -> None:
        self.voxels = np.ascontiguousarray(volume.voxels.detach().cpu().double().numpy())
        self.flat = self.voxels.reshape(-1)
        self.origin, self.voxel_size = np.array(volume.origin), volume.voxel_size
        self.shape = np.array(self.voxels.shape[::-1])  # x, y, z

    def holds(self, places: NDArray[np.float64]) -> NDArray[np.bool_]:
        index = (places - self.origin) / self.voxel_size
        inside: NDArray[np.bool_] = ((index >= 0) & (index <= self.shape - 1)).all(axis=-1)
        return inside

    def at(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """The map at the places `[n, 3]`, interpolated linearly."""
        index = (places - self.origin) / self.voxel_size
        low = np.clip(np.floor(index), 0, self.shape - 2).astype(np.int64)
        part = index - low
        start = (low[:, 2] * self.shape[1] + low[:, 1]) * self.shape[0] + low[:, 0]
        value = np.zeros(len(places))
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod(np.where(corner, part, 1 - part), axis=1)
            value += weight * self.flat[start + (corner[2] * self.shape[1] + corner[1]) * self.shape[0] + corner[0]]
        return np.where(self.holds(places), value, 0.0)


@cache
def spiral(count: int) -> NDArray[np.float64]:
    """`count` unit vectors spread over the sphere along a spiral from pole to pole.

    Source: Saff & Kuijlaars (1997): cos θₖ = −1 + 2(k − 1)/(N − 1), φₖ = φₖ₋₁ + 3.6/√(N(1 − cos² θₖ)).
    """
    height = -1 + 2 * np.arange(count) / (count - 1)
    middle = height[1:-1]
    longitude = np.concatenate([[0.0], np.cumsum(3.6 / np.sqrt(count * (1 - middle**2))), [0.0]])
    across = np.sqrt(np.maximum(1 - height**2, 0))
    return np.stack([across * np.cos(longitude), across * np.sin(longitude), height], axis=1)


def _scores_of(
    positions: NDArray[np.float64], chosen: NDArray[np.int64], twins: NDArray[np.int64], *, grid: _Grid, sigma: float
) -> NDArray[np.float64]:
    """The Q-scores of the chosen atoms."""
    offsets = _neighbours(positions, chosen, twins)
    centre = grid.at(positions[chosen])
    # Sums of 1, u, v, u², v², uv over the points of each atom.
    sums = POINTS * np.stack([np.ones_like(centre), centre, np.ones_like(centre), centre**2, np.ones_like(centre), centre])
    for radius in STEP * np.arange(1, round(FARTHEST / STEP) + 1):
        gauss = math.exp(-0.5 * (radius / sigma) ** 2)
        atom, places = _points_on_sphere(positions[chosen], offsets, radius=radius)
        value = grid.at(places)
        for row, term in enumerate((np.ones_like(value), value, None, value**2, None, value * gauss)):
            if term is not None:
                sums[row] += np.bincount(atom, weights=term, minlength=len(chosen))
        count = np.bincount(atom, minlength=len(chosen))
        sums[2] += count * gauss
        sums[4] += count * gauss**2
    n, u, v, uu, vv, uv = sums
    spread = np.maximum(n * uu - u**2, 0) * np.maximum(n * vv - v**2, 0)
    # A sum of squares less its mean's keeps about eight digits: below that the density around the atom is constant.
    flat = spread <= (1e-12 * n * uu) * (n * vv)
    return np.where(flat, 0.0, (n * uv - u * v) / np.sqrt(np.where(flat, 1.0, spread)))


def _neighbours(positions: NDArray[np.float64], chosen: NDArray[np.int64], twins: NDArray[np.int64]) -> NDArray[np.float64]:
    """Where the atoms lie that can keep points away, relative to each chosen one: `[chosen, most, 3]`, Å, filled up with very far ones."""
    from scipy.spatial import cKDTree

    lists: Any = cKDTree(positions).query_ball_point(positions[chosen], (1 + CLEAR) * FARTHEST)
    kept = [[j for j in row if j != i and twins[j] != twins[i]] for i, row in zip(chosen.tolist(), lists, strict=True)]
    most = max((len(row) for row in kept), default=0)
    offsets = np.full((len(chosen), max(most, 1), 3), 1e6)
    for place, (i, row) in enumerate(zip(chosen.tolist(), kept, strict=True)):
        offsets[place, : len(row)] = positions[row] - positions[i]
    return offsets


def _points_on_sphere(
    centres: NDArray[np.float64], offsets: NDArray[np.float64], *, radius: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which atom each point belongs to, and the points (x, y, z) in Å."""
    # |r u − o| < 0.9 r  ⟺  u·o > (|o|² + (1 − 0.81) r²) / 2r
    squared = np.square(offsets).sum(axis=2)
    is_near = squared < ((1 + CLEAR) * radius) ** 2
    most = max(int(is_near.sum(axis=1).max()), 1)
    order = np.argsort(squared, axis=1)[:, :most]
    near = np.take_along_axis(offsets, order[..., None], axis=1)
    limit = (np.take_along_axis(squared, order, axis=1) + (1 - CLEAR**2) * radius**2) / (2 * radius)
    waiting = np.arange(len(centres))
    atoms, places = [], []
    for attempt in range(TRIES):
        units = spiral(POINTS + 2 * attempt)
        is_free = ~((near[waiting] @ units.T) > limit[waiting][..., None]).any(axis=1)
        enough = is_free.sum(axis=1) >= POINTS
        rows, columns = np.nonzero(is_free & enough[:, None])
        atoms.append(waiting[rows])
        places.append(centres[waiting[rows]] + radius * units[columns])
        waiting = waiting[~enough]
        if len(waiting) == 0:
            break
    return np.concatenate(atoms), np.concatenate(places)


def _residues(atoms: Atoms) -> tuple[Int[Tensor, " atoms"], tuple[tuple[str, int, str], ...]]:
    """The residue of each atom, and the residues in the order of the atoms; without names all atoms are one."""
    count = len(atoms)
    if not (atoms.residue_numbers and atoms.residue_names and atoms.chains):
        return torch.zeros(count, dtype=torch.int64), (("", 0, ""),)
    found: dict[tuple[str, int, str], int] = {}
    index = [
        found.setdefault((name, number, chain), len(found))
        for name, number, chain in zip(atoms.residue_names, atoms.residue_numbers, atoms.chains, strict=True)
    ]
    return torch.tensor(index, dtype=torch.int64), tuple(found)


def _twin_numbers(atoms: Atoms, heavy: Int[Tensor, " heavy"]) -> NDArray[np.int64]:
    """A number for each atom that alternate locations of the same atom share."""
    if not (atoms.names and atoms.residue_numbers and atoms.chains):
        return np.arange(len(heavy))
    found: dict[tuple[str, int, str], int] = {}
    keys = zip(atoms.names, atoms.residue_numbers, atoms.chains, strict=True)
    numbers = np.array([found.setdefault(key, len(found)) for key in keys], dtype=np.int64)
    return numbers[heavy.numpy()]
