"""What is known of the classes between two iterations."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.inference.noise import NoiseModel

_EMPTY = 0.5  # images below which a class holds nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassModel:
    """Class averages and all that images are compared with them by.

    `images` are protein bright, V Å; `occupancy` sums to 1. In each shell 0 … box // 2 `signal` is the prior variance τ² of a real component of each class, and
    `ratio` the power of the data's evidence over that of the prior, τ² Σ γ CTF²/σ²: above 1 the data decide. `radius` is the finest shell that the next
    iteration compares; `scale` a factor on the CTF for each micrograph, or nothing.
    """

    images: Float[Tensor, "classes h w"]
    occupancy: Float[Tensor, " classes"]
    noise: NoiseModel
    signal: Float[Tensor, "classes shells"]
    ratio: Float[Tensor, "classes shells"]
    pixel_size: float
    radius: int
    scale: Float[Tensor, " micrographs"] | None = None

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self.images.shape[0]

    @property
    def box(self) -> int:
        """The side of the images, pixels."""
        return self.images.shape[-1]

    def resolution(self) -> Float[Tensor, " classes"]:
        """The finest detail of each class that the data decide upon, Å; that of the first shell where there is none."""
        shell = finest_shell(self.ratio)
        return self.box * self.pixel_size / shell.clamp_min(1).to(torch.float64)

    def is_empty(self, images: float) -> "Tensor":
        """Which classes hold less than half an image of so many."""
        return self.occupancy * images < _EMPTY

    def state(self) -> dict[str, Any]:
        """Everything, for a checkpoint."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"noise": self.noise.power}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "ClassModel":
        """The model that was saved."""
        return cls(**{**state, "noise": NoiseModel(power=state["noise"])})


def finest_shell(ratio: Float[Tensor, "classes shells"]) -> "Tensor":
    """The last shell of each class up to which the ratio stays above 1, from its largest value on; 0 where it never is.

    Not from the first shell: there the CTF passes little, and images say little of it however good they are.
    """
    shell = torch.arange(ratio.shape[1], device=ratio.device)
    strongest = ratio.argmax(dim=1, keepdim=True)
    stays = torch.cumprod(((ratio > 1) | (shell < strongest)).to(torch.int64), dim=1).bool()
    return torch.where(stays & (ratio > 1), shell, torch.zeros_like(shell)).amax(dim=1)
