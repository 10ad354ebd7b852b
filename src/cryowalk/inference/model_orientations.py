"""Orientations near each particle's last one, looked at in several models and, where a symmetry is only nearly one, in all its copies."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.checks import require_positive
from cryowalk.inference.orientations import Cells, LocalCells, LocalOrientations

NARROWEST = 1e-6  # rad: a prior of no width, that of poses that are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOrientations:
    """Orientations near one centre for each particle, in each of `models` models.

    The prior about each of three axes is Gaussian, of standard deviation `sigma` (rad); 0 keeps the centres as they are. `operators` S, the identity
    alone unless given, add the centres R S: the copies that a broken symmetry makes different. `turn` moves all centres, `log_prior` weighs the models.
    """

    centres: Float[Tensor, "n 3 3"]
    models: int
    sigma: float
    operators: Float[Tensor, "operators 3 3"] | None = None
    turn: Float[Tensor, "3 3"] | None = None
    log_prior: Float[Tensor, " models"] | None = None

    def cells(self, step: float) -> Cells:
        """The hierarchy whose finest cells lie `step` (rad) apart."""
        require_positive("angular step", step, unit="rad")
        return ModelCells.of(self, step)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCells:
    """`LocalCells` of every copy of every model; a key is (model · copies + copy) · cells + cell."""

    source: ModelOrientations
    local: LocalCells
    operators: Float[Tensor, "operators 3 3"]

    @staticmethod
    def of(source: ModelOrientations, step: float) -> "ModelCells":
        """The levels of the local cells."""
        model = torch.zeros(len(source.centres), dtype=torch.int64)
        centres = LocalOrientations(centres=source.centres, model=model, sigma=max(source.sigma, NARROWEST), turn=source.turn)
        operators = torch.eye(3)[None] if source.operators is None else source.operators
        return ModelCells(source=source, local=LocalCells.of(centres, step), operators=operators)

    @property
    def steps(self) -> tuple[float, ...]:
        """The spacing of rotation vectors at each level, rad."""
        return self.local.steps

    @property
    def is_shared(self) -> bool:
        """False: a key is another orientation for each image."""
        return False

    @property
    def symmetry(self) -> str:
        """None: cells near one orientation have no equivalents among them."""
        return "C1"

    def first(self) -> Int[Tensor, " cells"]:
        """The coarsest table of every copy of every model."""
        copies = self.source.models * len(self.operators)
        return torch.arange(copies * len(self.local.offsets[0]))

    def children(self, level: int, keys: Int[Tensor, " n"]) -> Int[Tensor, "n c"]:
        """Eight cells of half the step, of the same copy and model."""
        size, finer = len(self.local.offsets[level]), len(self.local.offsets[level + 1])
        return (keys // size * finer)[:, None] + self.local.children(level, keys % size)

    def place(
        self, level: int, keys: Int[Tensor, " n"], image: Int[Tensor, " n"]
    ) -> tuple[Int[Tensor, " n"], Float[Tensor, "n 3 3"]]:
        """The model, and exp(w) times the particle's centre times the copy's operator."""
        size = len(self.local.offsets[level])
        copy = keys // size
        _, rotations = self.local.place(level, keys % size, image)
        operators = self.operators.to(rotations)
        if len(operators) > 1:
            rotations = rotations @ operators[copy % len(operators)]
        return copy // len(operators), rotations

    def log_prior(self, level: int, keys: Int[Tensor, " n"], image: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """−|w|²/2σ², the model's prior, and the share of its copies' coarse cells that one cell is."""
        size, copies = len(self.local.offsets[level]), len(self.operators)
        prior = self.local.log_prior(level, keys % size, image) - math.log(copies)
        if self.source.log_prior is None:
            return prior
        return prior + self.source.log_prior.float()[keys // size // copies]
