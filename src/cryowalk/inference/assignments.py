"""What an expectation step says of each particle, and what it says of the noise."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from cryowalk.data import Pose
from cryowalk.inference.noise import NoiseModel, checked_noise


class Contribution(NamedTuple):
    """Rows for the sums that models are made of: Σ γ y CTF/σ² (moved back) and Σ γ CTF²/σ² on K coefficients, for an orientation of a model.

    Images of one orientation may already be summed; then `image` is −1, else it is the particle's position in the set.
    """

    model: Int[Tensor, " rows"]
    image: Int[Tensor, " rows"]
    lab_from_particle: Float[Tensor, "rows 3 3"]
    numerator: Complex[Tensor, "rows K"]
    denominator: Float[Tensor, "rows K"]


@runtime_checkable
class Sums(Protocol):
    """Where contributions are summed, in the order in which they come."""

    def add(self, contribution: Contribution) -> None:
        """Add these rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseResidual:
    """Σ E|y − CTF p|² over the coefficients of each shell (Friedel mates counted), and how many coefficients and images these are.

    In shells that were not compared it is the images' own power.
    """

    power: Float[Tensor, "groups shells"]
    coefficients: Float[Tensor, "groups shells"]
    images: Int[Tensor, " groups"]

    def noise_model(self) -> NoiseModel:
        """The noise that these residuals show: half their mean power."""
        return checked_noise(self.power / self.coefficients.clamp_min(1) / 2, self.images)

    def __add__(self, other: "NoiseResidual") -> "NoiseResidual":
        return NoiseResidual(
            power=self.power + other.power,
            coefficients=self.coefficients + other.coefficients,
            images=self.images + other.images,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignments:
    """For each particle, in order: its pose and model, and how sure they are.

    The pose has the posterior's mean orientation near the likeliest one and the mean shift (Å) there. `log_evidence` is that of the particle over that of noise alone, and
    `log_noise` the latter. `angular_width` is the posterior's root mean square angle from the pose (rad), `shift_width` its standard deviation along
    one axis (Å). `scale_numerator` / `scale_denominator` is the factor on the CTF that fits best.
    """

    pose: Pose
    model: Int[Tensor, " n"]
    model_probability: Float[Tensor, "n models"]
    log_evidence: Float[Tensor, " n"]
    log_noise: Float[Tensor, " n"]
    max_probability: Float[Tensor, " n"]
    angular_width: Float[Tensor, " n"]
    shift_width: Float[Tensor, " n"]
    significant: Int[Tensor, " n"]
    scale_numerator: Float[Tensor, " n"]
    scale_denominator: Float[Tensor, " n"]
    residual: NoiseResidual

    def __len__(self) -> int:
        return len(self.model)


def joined(parts: Sequence[Assignments]) -> Assignments:
    """The assignments of consecutive parts of a set as one."""
    residual = parts[0].residual
    for part in parts[1:]:
        residual = residual + part.residual
    columns = {
        f.name: torch.cat([getattr(part, f.name) for part in parts])
        for f in fields(Assignments)
        if f.name not in ("pose", "residual")
    }
    pose = Pose(
        lab_from_particle=torch.cat([part.pose.lab_from_particle for part in parts]),
        shift=torch.cat([part.pose.shift for part in parts]),
    )
    return Assignments(pose=pose, residual=residual, **columns)


def reordered(assignments: Assignments, order: Int[Tensor, " n"]) -> Assignments:
    """The assignments of the particles `order`."""
    columns = {f.name: getattr(assignments, f.name) for f in fields(Assignments) if f.name not in ("pose", "residual")}
    return Assignments(
        pose=assignments.pose[order], residual=assignments.residual, **{name: column[order] for name, column in columns.items()}
    )
