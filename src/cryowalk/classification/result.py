"""What 2D classification gives."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.classification.model import ClassModel
from cryowalk.data import Pose


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticleClasses:
    """Each particle's class (from 0), place in it and how sure that is; figures of a particle that was not looked at yet are NaN, its class −1.

    `log_evidence` is the logarithm of how much better the classes explain the image than noise alone.
    """

    pose: Pose
    label: Int[Tensor, " n"]
    probability: Float[Tensor, " n"]
    log_evidence: Float[Tensor, " n"]
    log_noise: Float[Tensor, " n"]
    angular_width: Float[Tensor, " n"]
    shift_width: Float[Tensor, " n"]
    significant: Int[Tensor, " n"]

    @classmethod
    def unknown(cls, pose: Pose) -> "ParticleClasses":
        """Particles that were not looked at yet."""
        nothing = torch.full((len(pose),), torch.nan)
        none = torch.full((len(pose),), -1, dtype=torch.int64)
        return cls(
            pose=pose, label=none, probability=nothing, log_evidence=nothing, log_noise=nothing,
            angular_width=nothing, shift_width=nothing, significant=none.clamp_min(0),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.label)

    def with_part(self, rows: Int[Tensor, " m"], part: "ParticleClasses") -> "ParticleClasses":
        """The same with other values for some particles."""
        values: dict[str, Any] = {}
        for field in fields(self):
            if field.name == "pose":
                rotations, shift = self.pose.lab_from_particle.clone(), self.pose.shift.clone()
                rotations[rows], shift[rows] = part.pose.lab_from_particle.to(rotations), part.pose.shift.to(shift)
                values["pose"] = Pose(lab_from_particle=rotations, shift=shift)
            else:
                old = getattr(self, field.name).clone()
                old[rows] = getattr(part, field.name).to(old)
                values[field.name] = old
        return type(self)(**values)

    def state(self) -> dict[str, Any]:
        """Everything, for a checkpoint."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "pose"}
        return values | {"lab_from_particle": self.pose.lab_from_particle, "shift": self.pose.shift}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "ParticleClasses":
        """What was saved."""
        others = {name: value for name, value in state.items() if name not in ("lab_from_particle", "shift")}
        return cls(pose=Pose(lab_from_particle=state["lab_from_particle"], shift=state["shift"]), **others)


@dataclass(frozen=True, slots=True, kw_only=True)
class Iteration:
    """One iteration in numbers: how many images it took, log p(images) of those, the finest shell compared, the resolution of the best class (Å).

    `moved` is the part of the images that changed their class.
    """

    number: int
    images: int
    log_likelihood: float
    radius: int
    resolution: float
    moved: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """Classes and what each particle shows.

    `rows` are the particles of the set that took part, in the order of `particles`; `damaged` and `flat` those left out. `halves` are the averages of two
    random halves of each class, made in the last iteration only; `evidence` is the mean Σ γ CTF²/σ² of each shell of each class.
    """

    model: ClassModel
    particles: ParticleClasses
    rows: Int[Tensor, " n"]
    damaged: Int[Tensor, " m"]
    flat: Int[Tensor, " k"]
    history: tuple[Iteration, ...]
    evidence: Float[Tensor, "classes shells"]
    diameter: float
    halves: Float[Tensor, "two classes h w"] | None = None

    @property
    def iteration(self) -> int:
        """How many iterations were made."""
        return self.history[-1].number if self.history else 0

    def counts(self) -> Int[Tensor, " classes"]:
        """How many particles are in each class."""
        label = self.particles.label
        return torch.bincount(label[label >= 0], minlength=self.model.classes)
