"""Where each particle is and how it is turned."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Poses: x_lab = lab_from_particle · x_particle, and the particle origin's place (x, y) in Å relative to the image's origin."""

    lab_from_particle: Float[Tensor, "*batch 3 3"]
    shift: Float[Tensor, "*batch 2"]

    def __len__(self) -> int:
        return self.shift.shape[0]

    def __getitem__(self, selection: "Int[Tensor, ' n'] | slice") -> "Pose":
        return Pose(lab_from_particle=self.lab_from_particle[selection], shift=self.shift[selection])

    def to(self, target: "torch.device | torch.dtype | str") -> "Pose":
        """The same poses on another device, or in another precision."""
        return Pose(lab_from_particle=self.lab_from_particle.to(target), shift=self.shift.to(target))
