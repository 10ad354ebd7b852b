"""Which orientations are looked at, from coarse to fine: everywhere, or near where each particle was last."""

import math
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.checks import require_positive
from cryowalk.geometry.healpix import pixel_count
from cryowalk.geometry.rotations import matrix_about_axis, matrix_from_rotation_vector
from cryowalk.geometry.so3_grid import grid_size, grid_spacing, in_plane_steps, so3_children, so3_rotations
from cryowalk.geometry.symmetry import asymmetric_unit_pixels

LARGEST_STEP = math.pi / 6  # rad between the coarsest orientations of a search
REACH = 3.0  # standard deviations of a local search's prior that are looked at


@runtime_checkable
class Cells(Protocol):
    """A hierarchy of cells of orientation (and model): level 0 is the coarsest. Cells are known by whole numbers, their `keys`."""

    @property
    def steps(self) -> tuple[float, ...]:
        """The angle between neighbouring cells at each level, rad."""

    @property
    def is_shared(self) -> bool:
        """Whether a key is the same orientation for all images."""

    @property
    def symmetry(self) -> str:
        """The point group whose equivalent orientations are one."""

    def first(self) -> Int[Tensor, " cells"]:
        """The keys of level 0."""

    def children(self, level: int, keys: Int[Tensor, " n"]) -> Int[Tensor, "n c"]:
        """The keys at level + 1 of the cells that each cell is made of."""

    def place(
        self, level: int, keys: Int[Tensor, " n"], image: Int[Tensor, " n"]
    ) -> tuple[Int[Tensor, " n"], Float[Tensor, "n 3 3"]]:
        """The model and `lab_from_particle` at the middle of each cell, for these images (positions in the particle set)."""

    def log_prior(self, level: int, keys: Int[Tensor, " n"], image: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The logarithm of each cell's prior weight, up to a constant that all cells of all levels share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalOrientations:
    """All orientations of all models: those of space ("so3", a symmetry's asymmetric unit) or of the plane, where only in-plane angles count.

    `turn` moves the whole grid (a small random one each iteration spreads the grid's error); `log_prior` weighs the models.
    """

    models: int
    kind: Literal["so3", "plane"] = "so3"
    symmetry: str = "C1"
    turn: Float[Tensor, "3 3"] | None = None
    log_prior: Float[Tensor, " models"] | None = None

    def cells(self, step: float) -> Cells:
        """The hierarchy whose finest cells lie `step` (rad) apart."""
        require_positive("angular step", step, unit="rad")
        return PlaneCells.of(self, step) if self.kind == "plane" else SpaceCells.of(self, step)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOrientations:
    """Orientations near one centre for each particle, with a Gaussian prior of standard deviation `sigma` (rad) about each of three axes.

    `model` is the model that each particle is compared with; `turn` moves all centres.
    """

    centres: Float[Tensor, "n 3 3"]
    model: Int[Tensor, " n"]
    sigma: float
    turn: Float[Tensor, "3 3"] | None = None

    def cells(self, step: float) -> Cells:
        """The hierarchy whose finest cells lie `step` (rad) apart."""
        require_positive("angular step", step, unit="rad")
        return LocalCells.of(self, step)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceCells:
    """HEALPix views times in-plane angles, of every model; a key is model · cells + cell."""

    source: GlobalOrientations
    orders: tuple[int, ...]

    @staticmethod
    def of(source: GlobalOrientations, step: float) -> "SpaceCells":
        """Levels down to the first order whose spacing is at most `step`."""
        last = max(0, math.ceil(math.log2(math.pi / 3 / step) - 1e-3))
        first = min(last, math.ceil(math.log2(math.pi / 3 / LARGEST_STEP) - 1e-3))
        return SpaceCells(source=source, orders=tuple(range(first, last + 1)))

    @property
    def steps(self) -> tuple[float, ...]:
        """The in-plane step of each order, rad."""
        return tuple(grid_spacing(order) for order in self.orders)

    @property
    def is_shared(self) -> bool:
        """True: every image looks at the same grid."""
        return True

    @property
    def symmetry(self) -> str:
        """The group whose asymmetric unit is looked at."""
        return self.source.symmetry

    def first(self) -> Int[Tensor, " cells"]:
        """The cells of the asymmetric unit at the coarsest order, for every model."""
        order = self.orders[0]
        turns = in_plane_steps(order)
        pixels = (
            torch.arange(pixel_count(order))
            if self.source.symmetry == "C1"
            else asymmetric_unit_pixels(order, self.source.symmetry)
        )
        cells = (pixels[:, None] * turns + torch.arange(turns)).flatten()
        return (torch.arange(self.source.models)[:, None] * grid_size(order) + cells).flatten()

    def children(self, level: int, keys: Int[Tensor, " n"]) -> Int[Tensor, "n c"]:
        """Eight cells of half the step."""
        order = self.orders[level]
        model, cell = keys // grid_size(order), keys % grid_size(order)
        return model[:, None] * grid_size(order + 1) + so3_children(order, cell)

    def place(
        self, level: int, keys: Int[Tensor, " n"], image: Int[Tensor, " n"]
    ) -> tuple[Int[Tensor, " n"], Float[Tensor, "n 3 3"]]:
        """Model and orientation; the same for all images."""
        del image
        order = self.orders[level]
        rotations = so3_rotations(order, keys % grid_size(order)).float()
        return keys // grid_size(order), _turned(rotations, self.source.turn)

    def log_prior(self, level: int, keys: Int[Tensor, " n"], image: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The model's prior, and the share of the models' cells that one cell is."""
        del image
        return _model_prior(self.source, keys // grid_size(self.orders[level])) - math.log(8) * (
            self.orders[level] - self.orders[0]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneCells:
    """In-plane angles of every model, evenly spaced; a key is model · angles + angle."""

    source: GlobalOrientations
    counts: tuple[int, ...]

    @staticmethod
    def of(source: GlobalOrientations, step: float) -> "PlaneCells":
        """Levels that halve the step until it is at most `step`."""
        halvings = max(0, math.ceil(math.log2(LARGEST_STEP / step) - 1e-3))
        coarsest = math.ceil(2 * math.pi / step / 2**halvings - 1e-3)
        return PlaneCells(source=source, counts=tuple(coarsest * 2**level for level in range(halvings + 1)))

    @property
    def steps(self) -> tuple[float, ...]:
        """The angle between neighbours at each level, rad."""
        return tuple(2 * math.pi / count for count in self.counts)

    @property
    def is_shared(self) -> bool:
        """True: every image looks at the same angles."""
        return True

    @property
    def symmetry(self) -> str:
        """None: in the plane no two angles are one."""
        return "C1"

    def first(self) -> Int[Tensor, " cells"]:
        """All angles of all models."""
        return torch.arange(self.source.models * self.counts[0])

    def children(self, level: int, keys: Int[Tensor, " n"]) -> Int[Tensor, "n c"]:
        """Two angles on either side of the middle."""
        model, angle = keys // self.counts[level], keys % self.counts[level]
        return (model * self.counts[level + 1] + 2 * angle)[:, None] + torch.arange(2)

    def place(
        self, level: int, keys: Int[Tensor, " n"], image: Int[Tensor, " n"]
    ) -> tuple[Int[Tensor, " n"], Float[Tensor, "n 3 3"]]:
        """Model and in-plane rotation; the same for all images."""
        del image
        angle = (keys % self.counts[level] + 0.5).double() * self.steps[level]
        return keys // self.counts[level], _turned(matrix_about_axis(angle, axis="z").float(), self.source.turn)

    def log_prior(self, level: int, keys: Int[Tensor, " n"], image: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The model's prior, and the share of its angles that one angle is."""
        del image
        return _model_prior(self.source, keys // self.counts[level]) - math.log(2) * level


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCells:
    """A cube of small rotation vectors about each particle's centre; a key is a place in a table that all particles share."""

    source: LocalOrientations
    offsets: tuple[Float[Tensor, "_ 3"], ...]
    spacing: tuple[float, ...]

    @staticmethod
    def of(source: LocalOrientations, step: float) -> "LocalCells":
        """Levels that halve the step until it is `step`; the coarsest has three to five cells across the prior's reach."""
        reach = REACH * source.sigma
        halvings = max(0, math.ceil(math.log2(max(reach / 2.5 / step, 1.0))))
        coarse = step * 2**halvings
        across = max(0, math.floor(reach / coarse + 1e-6))
        axis = torch.arange(-across, across + 1, dtype=torch.float64) * coarse
        cube = torch.cartesian_prod(axis, axis, axis).reshape(-1, 3)
        tables = [cube[cube.norm(dim=-1) <= reach + coarse / 2]]
        corner = torch.cartesian_prod(*[torch.tensor([-0.25, 0.25], dtype=torch.float64)] * 3)
        for level in range(halvings):
            children = tables[-1][:, None] + corner * (coarse / 2**level)
            tables.append(children.reshape(-1, 3))
        return LocalCells(source=source, offsets=tuple(tables), spacing=tuple(coarse / 2**i for i in range(halvings + 1)))

    @property
    def steps(self) -> tuple[float, ...]:
        """The spacing of rotation vectors at each level, rad."""
        return self.spacing

    @property
    def is_shared(self) -> bool:
        """False: a key is another orientation for each image."""
        return False

    @property
    def symmetry(self) -> str:
        """None: cells near one orientation have no equivalents among them."""
        return "C1"

    def first(self) -> Int[Tensor, " cells"]:
        """The whole coarsest table."""
        return torch.arange(len(self.offsets[0]))

    def children(self, level: int, keys: Int[Tensor, " n"]) -> Int[Tensor, "n c"]:
        """Eight cells of half the step."""
        del level
        return keys[:, None] * 8 + torch.arange(8)

    def place(
        self, level: int, keys: Int[Tensor, " n"], image: Int[Tensor, " n"]
    ) -> tuple[Int[Tensor, " n"], Float[Tensor, "n 3 3"]]:
        """The particle's own model, and exp(w) times its centre."""
        # Few distinct offsets serve many images: their matrices are made once.
        table = matrix_from_rotation_vector(self.offsets[level]).float()
        centres = _turned(self.source.centres[image].float(), self.source.turn)
        return self.source.model[image], table[keys] @ centres

    def log_prior(self, level: int, keys: Int[Tensor, " n"], image: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """−|w|²/2σ², and the share of a coarse cell that one is."""
        del image
        squared = self.offsets[level].square().sum(dim=-1)[keys]
        return (-squared / (2 * self.source.sigma**2)).float() - math.log(8) * level


def _turned(rotations: Tensor, turn: Tensor | None) -> Tensor:
    # On the camera's side: any turn of a fundamental domain of a symmetry, which acts on the particle's side, is one again.
    return rotations if turn is None else turn.to(rotations) @ rotations


def _model_prior(source: GlobalOrientations, model: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    return torch.zeros(len(model)) if source.log_prior is None else source.log_prior.float()[model]
