"""Class averages from weighted sums: the maximisation step in two dimensions."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import ShapeError
from cryowalk.fourier.padded import PaddedGrid, padded_grid
from cryowalk.fourier.plane import PADDING, insert_rows
from cryowalk.fourier.transform import complex_transform, resize
from cryowalk.inference.assignments import Contribution

FLOOR = 1e-3  # of a shell's mean weight: what is seen less is not divided by less


class ClassSums:
    """Σ γ y CTF/σ² and Σ γ CTF²/σ² of each class, turned into the class's frame, on a padded plane."""

    def __init__(self, models: int, *, box: int, device: torch.device | str = "cpu") -> None:
        self.grid: PaddedGrid = padded_grid(box, padding=PADDING)
        side = 2 * self.grid.margin + 1
        self.sums: Float[Tensor, "models ky kx 3"] = torch.zeros(models, side, side, 3, device=device)
        self.occupancy: Float[Tensor, " models"] = torch.zeros(models, dtype=torch.float64)

    def add(self, contribution: Contribution) -> None:
        """Add rows, in the order in which they come."""
        insert_rows(
            contribution.numerator, contribution.denominator, contribution.model, contribution.lab_from_particle,
            sums=self.sums, grid=self.grid,
        )  # fmt: skip

    def merge(self, other: "ClassSums") -> None:
        """Add another's sums, made for the same box and number of classes."""
        if other.sums.shape != self.sums.shape:
            raise ShapeError(f"sums of one shape can be merged: got {tuple(self.sums.shape)} and {tuple(other.sums.shape)}")
        self.sums += other.sums

    def weight(self) -> Float[Tensor, "models shells"]:
        """Σ γ CTF²/σ² of one coefficient of a class average, the mean over each shell 0 … box // 2: the inverse of its noise variance."""
        total, number = self._shell_sums(self._folded()[1])
        return total / number * self.grid.ratio**2

    def images(self, *, precision: Float[Tensor, "models shells"] | None = None) -> Float[Tensor, "models h w"]:
        """The class averages; `precision` is 1/τ² of each shell (0: no prior), the inverse variance of a real component of the true one.

        The Wiener solution Σ γ y CTF/σ² / (Σ γ CTF²/σ² + 1/τ²), corrected for the interpolation.
        """
        numerator, denominator = self._folded()
        total, number = self._shell_sums(denominator)
        shell = self._shells(numerator.device)
        least = (FLOOR * total / number).to(denominator)
        denominator = torch.maximum(denominator, torch.nn.functional.pad(least, (0, 1))[:, shell])
        if precision is not None:
            prior = (precision / self.grid.ratio**2).to(denominator)
            denominator = denominator + torch.nn.functional.pad(prior, (0, 1))[:, shell]
        inside = (shell < total.shape[1]) & (denominator > 0)
        ratio = torch.where(inside, numerator / denominator.clamp_min(torch.finfo(denominator.dtype).tiny), 0)
        return self._to_box(ratio)

    def state(self) -> dict[str, Any]:
        """All that `from_state` needs."""
        return {"sums": self.sums, "box": self.grid.box}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "ClassSums":
        """The sums that were saved."""
        sums = torch.as_tensor(state["sums"])
        made = cls(sums.shape[0], box=int(state["box"]))
        made.sums = sums.clone()
        return made

    def _folded(self) -> tuple[Tensor, Tensor]:
        """Numerator and denominator with their Friedel mates added."""
        sums = self.sums
        mates = sums.flip(1, 2)
        numerator = torch.complex(sums[..., 0] + mates[..., 0], sums[..., 1] - mates[..., 1])
        return numerator, sums[..., 2] + mates[..., 2]

    def _shells(self, device: torch.device) -> Tensor:
        """The image's shell of each point of the plane; one more than Nyquist's beyond it."""
        axis = torch.arange(-self.grid.margin, self.grid.margin + 1, device=device, dtype=torch.float32) / self.grid.ratio
        radius = (axis[:, None].square() + axis.square()).sqrt()
        return torch.floor(radius + 0.5).long().clamp(max=self.grid.box // 2 + 1)

    def _shell_sums(
        self, values: Float[Tensor, "models ky kx"]
    ) -> tuple[Float[Tensor, "models shells"], Float[Tensor, " shells"]]:
        shell, shells = self._shells(values.device).flatten(), self.grid.box // 2 + 1
        total = torch.zeros(values.shape[0], shells + 1, dtype=torch.float64, device=values.device)
        total.index_add_(1, shell, values.flatten(1).double())
        number = torch.zeros(shells + 1, dtype=torch.float64, device=values.device).index_add_(
            0, shell, torch.ones_like(shell, dtype=torch.float64)
        )
        return total[:, :shells].float(), number[:shells].float()

    def _to_box(self, plane: Tensor) -> Tensor:
        grid = self.grid
        full = plane.new_zeros(plane.shape[0], grid.size, grid.size)
        index = torch.arange(-grid.margin, grid.margin + 1, device=plane.device) % grid.size
        rows = plane.new_zeros(plane.shape[0], grid.size, plane.shape[2]).index_add_(1, index, plane)
        full.index_add_(2, index, rows)
        images = complex_transform(full, dimensions=2, direction="inverse").real * (grid.box / grid.size)
        factor = grid.correction(purpose="average", like=images)
        return resize(images, (grid.box, grid.box)) * factor[:, None] * factor
