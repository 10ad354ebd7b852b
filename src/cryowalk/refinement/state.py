"""What a refinement knows between iterations, and what it tells of each one; kept whole in checkpoints."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.data import HalfMaps, Pose, Volume
from cryowalk.refinement.sampling import SamplingPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseFacts:
    """What is known of each particle beside its pose, one entry a particle in order.

    Widths are standard deviations of the posterior: of the orientation (rad) and the place (Å). `scale` is the contrast of its micrograph.
    """

    max_probability: Float[Tensor, " n"]
    log_evidence: Float[Tensor, " n"]
    angular_width: Float[Tensor, " n"]
    shift_width: Float[Tensor, " n"]
    significant: Int[Tensor, " n"]
    scale: Float[Tensor, " n"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IterationRecord:
    """One iteration in numbers: how poses were looked for, and what came of it.

    Lengths in Å, angles in rad. `resolution` is where the halves' correlation inside the solvent mask falls below 0.143, `unmasked_resolution` that of
    whole maps; accuracies are least standard deviations about and along one axis; changes are medians over particles.
    """

    iteration: int
    search: str
    step: float
    shift_range: float
    shift_step: float
    radius: int
    is_last: bool
    resolution: float
    unmasked_resolution: float
    angular_accuracy: float
    shift_accuracy: float
    angular_change: float
    shift_change: float
    max_probability: float
    log_evidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementState:
    """Everything that the next iteration starts from.

    `references` are the regularised, flattened, joined maps of both halves; `unfiltered` are divided sums without any prior, `full` the regularised map of both
    halves' sums. `noise` is σ² of each half,
    optics group and shell, `weight` the mean of Σ CTF²/σ² over the map's coefficients of each shell; `correlation` that of the unfiltered halves inside the solvent mask, `whole_correlation` of whole maps, `curves` the former of all iterations so far. `shift_deviation`
    is that of the places about the images' middles along one axis, Å.
    """

    iteration: int
    references: HalfMaps
    unfiltered: HalfMaps | None
    full: Volume | None
    noise: Float[Tensor, "halves groups shells"]
    weight: Float[Tensor, "halves shells"]
    pose: Pose
    facts: PoseFacts
    plan: SamplingPlan
    correlation: Float[Tensor, " shells"]
    whole_correlation: Float[Tensor, " shells"]
    curves: Float[Tensor, "iterations shells"]
    shift_deviation: float
    best_shell: int
    history: tuple[IterationRecord, ...] = ()


def told(record: IterationRecord) -> str:
    """One line on an iteration."""
    return (
        f"iteration {record.iteration}: {record.resolution:.2f} Å inside the mask, {record.unmasked_resolution:.2f} Å without; "
        f"orientations changed by {math.degrees(record.angular_change):.2g}° (step {math.degrees(record.step):.2g}°, "
        f"accuracy {math.degrees(record.angular_accuracy):.2g}°), places by up to {record.shift_change:.2g} Å"
    )


def packed(state: RefinementState) -> dict[str, Any]:
    """The state as tensors, numbers and text, for a checkpoint."""
    return {
        "iteration": state.iteration,
        "references": _packed_halves(state.references),
        "unfiltered": None if state.unfiltered is None else _packed_halves(state.unfiltered),
        "full": None if state.full is None else {"voxel_size": state.full.voxel_size, "voxels": state.full.voxels},
        "noise": state.noise,
        "weight": state.weight,
        "rotations": state.pose.lab_from_particle,
        "shifts": state.pose.shift,
        "facts": {field.name: getattr(state.facts, field.name) for field in fields(PoseFacts)},
        "plan": asdict(state.plan),
        "correlation": state.correlation,
        "whole_correlation": state.whole_correlation,
        "curves": state.curves,
        "shift_deviation": state.shift_deviation,
        "best_shell": state.best_shell,
        "history": [asdict(record) for record in state.history],
    }


def unpacked(saved: Mapping[str, Any]) -> RefinementState:
    """The state that `packed` was given."""
    return RefinementState(
        iteration=saved["iteration"],
        references=_unpacked_halves(saved["references"]),
        unfiltered=None if saved["unfiltered"] is None else _unpacked_halves(saved["unfiltered"]),
        full=None if saved["full"] is None else Volume(**saved["full"]),
        noise=saved["noise"],
        weight=saved["weight"],
        pose=Pose(lab_from_particle=saved["rotations"], shift=saved["shifts"]),
        facts=PoseFacts(**saved["facts"]),
        plan=SamplingPlan(**saved["plan"]),
        correlation=saved["correlation"],
        whole_correlation=saved["whole_correlation"],
        curves=saved["curves"],
        shift_deviation=saved["shift_deviation"],
        best_shell=saved["best_shell"],
        history=tuple(IterationRecord(**record) for record in saved["history"]),
    )


def _packed_halves(halves: HalfMaps) -> dict[str, Any]:
    return {"voxel_size": halves.first.voxel_size, "first": halves.first.voxels, "second": halves.second.voxels}


def _unpacked_halves(saved: Mapping[str, Any]) -> HalfMaps:
    first, second = (Volume(voxels=saved[name], voxel_size=saved["voxel_size"]) for name in ("first", "second"))
    return HalfMaps(first=first, second=second)
