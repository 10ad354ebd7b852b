"""How a search goes from coarse to fine: the radius, the angular step and the step of shifts of each level."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_between, require_positive

ARC = 0.8  # waves of the finest detail looked at, along the particle's edge, that one angular step may pass
PHASE = 0.35  # waves of the finest detail that one step of shifts may pass
SHORTEST = 5  # shells: below these the noise model and the solvent say more than the particle


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """How far and how finely poses are looked for.

    `radius`: the finest shell compared. `diameter`: of the particle and its mask, Å. Shifts lie within `shift_range` (Å) of where each particle
    was last, in steps of `shift_step` at the finest level, with a Gaussian prior of `shift_deviation` about the image's middle where given.
    `angular_step` (rad) is the finest level's. Between the levels cells that hold `kept` of the posterior stay, at most `most_cells` an image.
    With the mode "maximum" the best pose takes all the weight. The work is cut so that its arrays stay within `byte_budget`.
    """

    radius: int
    diameter: float
    angular_step: float
    shift_range: float = 12.0
    shift_step: float = 1.0
    shift_deviation: float | None = None
    kept: float = 0.999
    most_cells: int = 1024
    mode: Literal["marginal", "maximum"] = "marginal"
    byte_budget: int = 2**30

    def __post_init__(self) -> None:
        require_positive("diameter", self.diameter, unit="Å")
        require_positive("angular step", self.angular_step, unit="rad")
        require_positive("step of shifts", self.shift_step, unit="Å")
        require_between("share of the posterior that is kept", self.kept, 0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level: shells up to `radius` are compared at cells `step` (rad) apart and shifts `shift_step` (Å) apart."""

    radius: int
    step: float
    shift_step: float


def levels(search: SearchSettings, steps: tuple[float, ...], *, box: int, pixel_size: float) -> tuple[Level, ...]:
    """The levels for cells of these steps, coarse to fine; the last compares all shells.

    A step δ passes an arc of δ D / 2 at the edge of a particle of diameter D: shells are compared while it is below `ARC` waves, so that a coarse
    cell still agrees with the images that belong into it. Levels too coarse for `SHORTEST` shells are left out by the caller starting later.
    """
    field = box * pixel_size
    diameter = min(search.diameter, field)
    found = []
    for step in steps:
        radius = search.radius if step == steps[-1] else min(search.radius, math.floor(2 * ARC * field / (diameter * step)))
        widest = PHASE * field / max(radius, 1)
        found.append(
            Level(radius=radius, step=step, shift_step=max(search.shift_step, min(widest, search.shift_range or widest)))
        )
    last = found[-1]
    found[-1] = Level(radius=last.radius, step=last.step, shift_step=search.shift_step)
    return tuple(found)


def first_level(found: tuple[Level, ...]) -> int:
    """The coarsest level that compares at least `SHORTEST` shells."""
    for number, level in enumerate(found):
        if level.radius >= SHORTEST:
            return number
    return len(found) - 1


def shift_grid(step: float, reach: float) -> Float[Tensor, "shifts 2"]:
    """Shifts (x, y in Å) on a square grid within `reach` of 0, by increasing length; 0 itself always."""
    across = math.floor(reach / step + 1e-6)
    axis = torch.arange(-across, across + 1, dtype=torch.float64) * step
    grid = torch.cartesian_prod(axis, axis).reshape(-1, 2)
    grid = grid[grid.norm(dim=-1) <= reach + 1e-6]
    return grid[torch.argsort(grid.norm(dim=-1), stable=True)].float()
