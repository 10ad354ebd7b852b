"""Points in the plane that lie in separate heaps, such as the beam shifts of an acquisition: how many heaps there are, and which is whose."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError

LEAST_GAP = 2.5  # heaps lie apart by at least so many times the widest step within one
LEAST_POINTS = 2  # of a heap
_FEWEST = 12  # points; fewer seem apart by chance
_STRAYS = 0.1  # of all points, at most, may lie in smaller heaps
_FINEST = 2e-3  # of the extent: steps below it are none
_MOST = 4000  # points whose distances are all compared; more are gathered in cells first
_CELLS = 500  # along the extent


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """The group of each point, counted from 0, the middle of each group, and how clearly they are apart.

    Groups are ordered by their middles: rows of y from low to high, in each row x from low to high. `gap` is the smallest distance between neighbouring
    groups over the widest step within one; 0 where there is one group, or their number was given. `strays` counts the points
    that are alone in their group.
    """

    index: Int[Tensor, " n"]
    centres: Float[Tensor, "groups 2"]
    gap: float
    strays: int


def find_groups(points: Float[Tensor, "n 2"]) -> Grouping:
    """The groups that points in the plane form by themselves; one where no gap parts them.

    Single linkage: with the merging steps h₁ ≤ h₂ ≤ … of all points, the cut lies where h grows by the largest factor, among cuts that leave at least nine
    tenths of the points in two or more groups of two or more; of fewer than
    twelve points nothing is said. A factor below 2.5 is no gap.

    Raises
    ------
    InputError
        If there are no points or one is not finite.

    Source: single linkage: Gower & Ross, Appl. Stat. 18, 54 (1969).
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    array = _array_of(points)
    cells, member, weight = _cells(array)
    if len(cells) < 2 or len(array) < _FEWEST:
        return _grouping(array, np.zeros(len(array), dtype=np.int64), gap=0.0, strays=0)
    tree = linkage(cells, "single")
    finest = _FINEST * float(np.ptp(array, axis=0).max())
    heights = np.maximum(tree[:, 2], finest)
    factors = heights[1:] / heights[:-1]
    for place in np.argsort(-factors, kind="stable"):
        if factors[place] < LEAST_GAP:
            break
        labels = fcluster(tree, (heights[place] * heights[place + 1]) ** 0.5, "distance") - 1
        sizes = np.bincount(labels, weights=weight)
        large = sizes >= LEAST_POINTS
        strays = int(sizes[~large].sum())
        if large.sum() >= 2 and strays <= _STRAYS * len(array):
            return _grouping(array, labels[member].astype(np.int64), gap=float(factors[place]), strays=strays)
    return _grouping(array, np.zeros(len(array), dtype=np.int64), gap=0.0, strays=0)


def group_into(points: Float[Tensor, "n 2"], count: int) -> Grouping:
    """So many groups of points in the plane: k-means that begins with the groups of Ward's tree.

    Raises
    ------
    InputError
        If there are fewer different points than groups, or one is not finite.

    Source: Ward, J. Am. Stat. Assoc. 58, 236 (1963); Lloyd, IEEE Trans. Inf. Theory 28, 129 (1982).
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.cluster.vq import kmeans2

    array = _array_of(points)
    cells, member, _ = _cells(array)
    if count < 1 or len(cells) < count:
        raise InputError(f"{len(cells)} different points cannot be parted into {count} groups", fix="ask for fewer groups")
    if count == 1:
        return _grouping(array, np.zeros(len(array), dtype=np.int64), gap=0.0, strays=0)
    first = (fcluster(linkage(cells, "ward"), count, "maxclust") - 1)[member]
    centres = np.stack([array[first == label].mean(axis=0) for label in range(count)])
    _, index = kmeans2(array, centres, iter=50, minit="matrix", missing="raise")
    return _grouping(array, index.astype(np.int64), gap=0.0, strays=0)


def _array_of(points: Tensor) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    array = points.detach().cpu().double().numpy()
    if not len(array):
        raise InputError("there are no points to group")
    if not np.isfinite(array).all():
        raise InputError("a point that is not finite cannot be grouped")
    return array  # type: ignore[no-any-return]


def _cells(
    array: "np.ndarray[tuple[int, int], np.dtype[np.float64]]",
) -> tuple["np.ndarray", "np.ndarray", "np.ndarray"]:  # type: ignore[type-arg]
    """Points that stand for all, which of them stands for each, and for how many each stands; the points themselves where they are few."""
    low, extent = array.min(axis=0), float(np.ptp(array, axis=0).max())
    if len(array) <= _MOST or extent == 0:
        cells, member = np.unique(array, axis=0, return_inverse=True)
    else:
        places = np.round((array - low) / extent * _CELLS)
        cells, member = np.unique(places, axis=0, return_inverse=True)
        cells = cells / _CELLS * extent + low
    member = member.reshape(-1)
    return cells, member, np.bincount(member).astype(float)


def _grouping(array: "np.ndarray", index: "np.ndarray", *, gap: float, strays: int) -> Grouping:  # type: ignore[type-arg]
    """The groups, in the order of their middles."""
    centres = np.stack([array[index == label].mean(axis=0) for label in range(int(index.max()) + 1)])
    order = np.lexsort((centres[:, 0], _rows(centres[:, 1])))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return Grouping(index=torch.from_numpy(place[index]), centres=torch.from_numpy(centres[order]), gap=gap, strays=strays)


def _rows(y: "np.ndarray") -> "np.ndarray":  # type: ignore[type-arg]
    """The row that each middle lies in: a new one begins where y steps by more than a tenth of the extent."""
    order = np.argsort(y, kind="stable")
    steps = np.diff(y[order]) > np.ptp(y) / 10 if len(y) > 1 else np.zeros(0, dtype=bool)
    rows = np.empty(len(y), dtype=np.int64)
    rows[order] = np.concatenate([[0], np.cumsum(steps)])
    return rows
