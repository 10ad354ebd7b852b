"""One half's pass over its images: poses and weights against its own map, and the sums that its next map is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.execution import Progress
from cryowalk.data import ParticleSet, Pose, Volume
from cryowalk.geometry.rotations import matrix_from_rotation_vector
from cryowalk.geometry.symmetry import symmetry_name, symmetry_operators
from cryowalk.inference.assignments import Assignments
from cryowalk.inference.expectation_step import expectation
from cryowalk.inference.model_orientations import ModelOrientations
from cryowalk.inference.noise import NoiseModel
from cryowalk.inference.orientations import GlobalOrientations, LocalOrientations
from cryowalk.inference.references import VolumeReferences
from cryowalk.inference.search import SearchSettings
from cryowalk.inference.volume_sums import VolumeSums
from cryowalk.refinement.sampling import SamplingPlan, Schedule

COLUMNS = (
    "rotations", "shifts", "max_probability", "log_evidence", "angular_width", "shift_width", "significant",
    "scale_numerator", "scale_denominator",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfResult:
    """What a half's pass left: columns of its particles, the sums, and the noise that its map does not explain."""

    columns: Mapping[str, Tensor]
    sums: VolumeSums
    noise: Float[Tensor, "groups shells"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfTask:
    """One half's particles (with their last poses), its map, noise and scales, and how poses are looked for."""

    particles: ParticleSet
    reference: Volume
    noise: Float[Tensor, "groups shells"]
    scale: Float[Tensor, " n"]
    plan: SamplingPlan
    schedule: Schedule
    shift_deviation: float

    def search(self) -> SearchSettings:
        """The engine's settings for this plan."""
        return SearchSettings(
            radius=self.plan.radius,
            diameter=self.schedule.diameter,
            angular_step=self.plan.step,
            shift_range=self.plan.shift_range,
            shift_step=self.plan.shift_step,
            shift_deviation=self.shift_deviation,
            byte_budget=self.schedule.settings.memory_budget,
        )

    def orientations(self, generator: torch.Generator) -> GlobalOrientations | LocalOrientations | ModelOrientations:
        """All orientations, or those near the last ones, the grid turned a little at random so that its steps average out."""
        turn = random_turn(self.plan.step, generator)
        if self.plan.search == "global":
            return GlobalOrientations(models=1, symmetry=self.schedule.settings.symmetry, turn=turn)
        centres = pose_of(self.particles).lab_from_particle
        relaxed = self.schedule.settings.relax_symmetry
        if symmetry_name(relaxed) != "C1":
            operators = symmetry_operators(relaxed)
            return ModelOrientations(centres=centres, models=1, sigma=self.plan.deviation, operators=operators, turn=turn)
        model = torch.zeros(len(self.particles), dtype=torch.int64)
        return LocalOrientations(centres=centres, model=model, sigma=self.plan.deviation, turn=turn)


def pose_of(particles: ParticleSet) -> Pose:
    """The particles' poses; those without lie in their images' middles."""
    if particles.pose is not None:
        return particles.pose
    count = len(particles)
    rotations = torch.eye(3, dtype=torch.float64).expand(count, 3, 3).clone()
    return Pose(lab_from_particle=rotations, shift=torch.zeros(count, 2, dtype=torch.float64))


def random_turn(step: float, generator: torch.Generator) -> Float[Tensor, "3 3"]:
    """A rotation by up to half a step about each of three axes."""
    vector = (torch.rand(3, generator=generator, dtype=torch.float64) - 0.5) * step
    return matrix_from_rotation_vector(vector)


def pass_over(task: HalfTask, *, generator: torch.Generator, progress: Progress) -> HalfResult:
    """The result of one half's expectation step, on the device that the images come on."""
    schedule, plan = task.schedule, task.plan
    device = _device(task.particles)
    sums = VolumeSums(
        1,
        box=schedule.box,
        pixel_size=schedule.pixel_size,
        radius=plan.radius,
        symmetry=schedule.settings.symmetry,
        device=device,
    )
    reference = Volume(voxels=task.reference.voxels.to(device), voxel_size=task.reference.voxel_size)
    found = expectation(
        task.particles,
        VolumeReferences.of([reference], radius=plan.radius),
        NoiseModel(power=task.noise),
        task.search(),
        orientations=task.orientations(generator),
        sums=sums,
        scale=task.scale,
        progress=progress,
    )
    for part in sums.parts:
        part.move_to("cpu")  # sums of a resumed half come from a file: both halves' meet there
    return HalfResult(columns=columns_of(found), sums=sums, noise=found.residual.noise_model().power.cpu())


def _device(particles: ParticleSet) -> torch.device:
    return torch.device("cpu") if particles.images is None else particles.images.read([0]).device


def columns_of(found: Assignments) -> dict[str, Tensor]:
    """The columns of the particles that a refinement keeps."""
    columns = {name: getattr(found, name).cpu() for name in COLUMNS[2:]}
    return {"rotations": found.pose.lab_from_particle.cpu().double(), "shifts": found.pose.shift.cpu().double(), **columns}


def placed(members: tuple[Int[Tensor, " _"], ...], results: tuple[HalfResult, ...], name: str, *, count: int) -> Tensor:
    """A column of all particles, put together from those of the halves."""
    parts = [result.columns[name].cpu() for result in results]
    whole = parts[0].new_zeros((count, *parts[0].shape[1:]))
    for rows, part in zip(members, parts, strict=True):
        whole[rows] = part
    return whole


def packed_half(result: HalfResult) -> dict[str, Any]:
    """The result as tensors, for a checkpoint."""
    return {"columns": dict(result.columns), "sums": result.sums.state(), "noise": result.noise}


def unpacked_half(saved: Mapping[str, Any]) -> HalfResult:
    """The result that `packed_half` was given."""
    return HalfResult(columns=saved["columns"], sums=VolumeSums.from_state(saved["sums"]), noise=saved["noise"])
