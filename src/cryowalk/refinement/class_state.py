"""What a 3D classification knows between iterations, kept whole in checkpoints, and what it tells of each one."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.data import Pose, Volume
from cryowalk.refinement.state import PoseFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRecord:
    """One iteration in numbers; resolutions in Å, where the maps' signal falls below their noise.

    `moved` is the share of the particles whose likeliest class changed, `log_evidence` the sum over particles of log p over that of noise alone.
    """

    iteration: int
    radius: int
    occupancy: tuple[float, ...]
    particles: tuple[int, ...]
    resolution: tuple[float, ...]
    moved: float
    max_probability: float
    log_evidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassState:
    """Everything that the next iteration starts from.

    `maps` are the regularised maps, `references` the same without solvent. `weight` is the mean Σ γ CTF²/σ² over a map's coefficients of each shell, `signal` the
    variance τ² of their real components that was believed, tau_fudge not counted. `model` counts from 0.
    """

    iteration: int
    maps: tuple[Volume, ...]
    references: tuple[Volume, ...]
    occupancy: Float[Tensor, " classes"]
    noise: Float[Tensor, "groups shells"]
    weight: Float[Tensor, "classes shells"]
    signal: Float[Tensor, "classes shells"]
    pose: Pose
    model: Int[Tensor, " n"]
    model_probability: Float[Tensor, "n classes"]
    facts: PoseFacts
    radius: int
    shift_deviation: float
    history: tuple[ClassRecord, ...] = ()


_TENSORS = ("occupancy", "noise", "weight", "signal", "model", "model_probability")
_NUMBERS = ("iteration", "radius", "shift_deviation")


def packed(state: ClassState) -> dict[str, Any]:
    """The state as tensors, numbers and text, for a checkpoint."""
    return {
        **{name: getattr(state, name) for name in (*_TENSORS, *_NUMBERS)},
        "voxel_size": state.maps[0].voxel_size,
        "maps": [volume.voxels for volume in state.maps],
        "references": [volume.voxels for volume in state.references],
        "rotations": state.pose.lab_from_particle,
        "shifts": state.pose.shift,
        "facts": {field.name: getattr(state.facts, field.name) for field in fields(PoseFacts)},
        "history": [asdict(record) for record in state.history],
    }


def unpacked(saved: Mapping[str, Any]) -> ClassState:
    """The state that `packed` was given."""

    def volumes(name: str) -> tuple[Volume, ...]:
        return tuple(Volume(voxels=voxels, voxel_size=saved["voxel_size"]) for voxels in saved[name])

    return ClassState(
        **{name: saved[name] for name in (*_TENSORS, *_NUMBERS)},
        maps=volumes("maps"),
        references=volumes("references"),
        pose=Pose(lab_from_particle=saved["rotations"], shift=saved["shifts"]),
        facts=PoseFacts(**saved["facts"]),
        history=tuple(ClassRecord(**record) for record in saved["history"]),
    )
