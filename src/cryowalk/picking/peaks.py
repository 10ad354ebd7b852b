"""Peaks of a score map, and how strong chance makes them."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_NEIGHBOURS = 3  # pixels within which a peak must be the highest


def peaks(
    score: Float[Tensor, "h w"], *, separation: float, margin: float, least: float
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Rows, columns (pixels, between them by a parabola) and heights of the peaks above `least`, the highest first, none nearer to a higher one than `separation`.

    `margin` (pixels) keeps them from the border.
    """
    height, width = score.shape
    side = 2 * min(_NEIGHBOURS, max(1, int(separation / 3))) + 1
    highest = torch.nn.functional.max_pool2d(score[None, None], side, 1, side // 2)[0, 0]
    edge = max(1, round(margin))
    allowed = torch.zeros_like(score, dtype=torch.bool)
    allowed[edge : height - edge, edge : width - edge] = True
    rows, columns = torch.nonzero((score == highest) & allowed & (score > least), as_tuple=True)
    order = score[rows, columns].argsort(descending=True, stable=True)
    rows, columns = rows[order], columns[order]
    kept = apart(torch.stack((columns, rows), dim=-1).double(), separation)
    rows, columns = rows[kept], columns[kept]
    return (
        rows + _between(score, rows, columns, axis=0),
        columns + _between(score, rows, columns, axis=1),
        score[rows, columns],
    )


def _between(score: Tensor, rows: Tensor, columns: Tensor, *, axis: int) -> Tensor:
    """Where between the pixels the parabola through a peak and its two neighbours is highest, −½ to ½."""
    step = (1, 0) if axis == 0 else (0, 1)
    before, here, after = (score[rows + sign * step[0], columns + sign * step[1]].double() for sign in (-1, 0, 1))
    bend = (2 * here - before - after).clamp_min(1e-12)
    return ((after - before) / (2 * bend)).clamp(-0.5, 0.5)


def apart(positions: Float[Tensor, "n 2"], distance: float) -> Tensor:
    """The indices of positions, the best first, of which none lies nearer than `distance` to a better one that is kept."""
    from scipy.spatial import cKDTree

    places = positions.cpu().double().numpy()
    if not len(places):
        return torch.zeros(0, dtype=torch.int64, device=positions.device)
    near = cKDTree(places).query_ball_point(places, distance * (1 - 1e-9))
    dead = np.zeros(len(places), dtype=bool)
    kept = []
    for index in range(len(places)):
        if not dead[index]:
            kept.append(index)
            dead[near[index]] = True
    return torch.tensor(kept, dtype=torch.int64, device=positions.device)
