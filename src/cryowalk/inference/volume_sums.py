"""Maps from weighted sums: the maximisation step in three dimensions."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import ShapeError
from cryowalk.data import Volume
from cryowalk.fourier.accumulator import SliceAccumulator
from cryowalk.fourier.disk import half_disk
from cryowalk.fourier.filters import apply_shell_weights
from cryowalk.fourier.slices import PADDING
from cryowalk.fourier.symmetriser import Symmetriser, symmetriser
from cryowalk.fourier.transform import resample
from cryowalk.inference.assignments import Contribution
from cryowalk.inference.references import working_box

INSERTED = 512  # slices at a time


class VolumeSums:
    """Σ γ y CTF/σ² and Σ γ CTF²/σ² of the slices of each map up to `radius` shells, on padded grids of a box that just holds them.

    Symmetry is imposed on the finished sums (and, where it does not map the grid onto itself, slice by slice).
    """

    def __init__(
        self, models: int, *, box: int, pixel_size: float, radius: int, symmetry: str = "C1", device: torch.device | str = "cpu"
    ) -> None:
        self.box, self.pixel_size, self.radius, self.symmetry = box, pixel_size, min(radius, (box - 1) // 2), symmetry
        self.small = working_box(box, self.radius)
        voxel_size = pixel_size * box / self.small
        self.parts = [SliceAccumulator(self.small, voxel_size=voxel_size, padding=PADDING, device=device) for _ in range(models)]
        self._symmetriser: Symmetriser = symmetriser(symmetry)
        self._is_symmetric = False

    def add(self, contribution: Contribution) -> None:
        """Add rows, in the order in which they come."""
        for number in sorted(set(contribution.model.tolist())):
            members = (contribution.model == number).nonzero().flatten()
            for start in range(0, len(members), INSERTED):
                self._insert(number, contribution, members[start : start + INSERTED])

    def _insert(self, number: int, contribution: Contribution, rows: Tensor) -> None:
        device = contribution.numerator.device
        count = contribution.numerator.shape[1]
        disk = half_disk(self.small, device=device)
        chosen = rows.to(device)
        slices = contribution.numerator[chosen] * (self.small / self.box)
        weights = contribution.denominator[chosen]
        rotations = contribution.lab_from_particle[rows]
        for operator in self._symmetriser.inserted:
            turned = rotations @ operator.to(rotations)
            self.parts[number].add_rows(slices, weights, turned, place=disk.place[:count], reach=disk.reach(count))

    def merge(self, other: "VolumeSums") -> None:
        """Add another's sums, made alike."""
        if (other.small, len(other.parts), other.symmetry) != (self.small, len(self.parts), self.symmetry):
            raise ShapeError("sums of different boxes, numbers of maps or symmetries cannot be merged")
        for mine, theirs in zip(self.parts, other.parts, strict=True):
            mine.merge(theirs)

    def finished(self) -> "VolumeSums":
        """These sums with the symmetry imposed, done once; nothing can be added afterwards."""
        if not self._is_symmetric:
            for part in self.parts:
                self._symmetriser.apply(part)
            self._is_symmetric = True
        return self

    def weight(self, model: int = 0) -> Float[Tensor, " shells"]:
        """Σ γ CTF²/σ² of one Fourier coefficient of the map, the mean over each shell 0 … box // 2 of the full box; 0 beyond the radius.

        Its inverse is the noise variance of a real component of the map, in the unit of slices.
        """
        self.finished()
        mean = self.parts[model].mean_weight()
        full = torch.zeros(self.box // 2 + 1)
        count = min(self.radius + 1, len(mean))
        full[:count] = mean[:count]
        return full

    def volume(self, model: int = 0, *, precision: Float[Tensor, " shells"] | None = None, floor: float = 1e-3) -> Volume:
        """The map in its full box; `precision` is 1/τ² in each shell 0 … box // 2 (0: no prior), in the unit of `weight`.

        The Wiener solution Σ γ y CTF/σ² / (Σ γ CTF²/σ² + 1/τ²), zero beyond the radius.
        """
        self.finished()
        part = self.parts[model]
        prior = None
        if precision is not None:
            prior = precision[: self.small // 2 + 1] / part.grid.ratio**3
        voxels = part.to_volume(floor=floor, prior=prior).voxels
        # Beyond the radius the sums hold the outskirts of its coefficients alone, which no prior holds down.
        known = (torch.arange(self.small // 2 + 1) <= self.radius).to(voxels)
        voxels = apply_shell_weights(voxels, known, dimensions=3)
        if self.small != self.box:
            voxels = resample(voxels, (self.box, self.box, self.box))
        return Volume(voxels=voxels, voxel_size=self.pixel_size)

    def state(self) -> dict[str, Any]:
        """All that `from_state` needs."""
        return {
            "parts": [part.state() for part in self.parts], "box": self.box, "pixel_size": self.pixel_size,
            "radius": self.radius, "symmetry": self.symmetry, "is_symmetric": self._is_symmetric,
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "VolumeSums":
        """The sums that were saved."""
        made = cls(
            0, box=int(state["box"]), pixel_size=float(state["pixel_size"]), radius=int(state["radius"]),
            symmetry=str(state["symmetry"]),
        )  # fmt: skip
        made.parts = [SliceAccumulator.from_state(part) for part in state["parts"]]
        made._is_symmetric = bool(state["is_symmetric"])
        return made
