"""Maps turned, moved and mirrored with files at both ends, and the poses of their particles with them."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from cryowalk.core.errors import InputError
from cryowalk.core.units import degrees_from_radians
from cryowalk.data import ParticleSet, Pose, Volume
from cryowalk.fourier.transform import resample, resize
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.maps import read_map, write_map
from cryowalk.io.relion import read_particles, write_particles
from cryowalk.validation.alignment import Alignment, align
from cryowalk.validation.hand import flip_hand
from cryowalk.validation.pose_errors import RigidMotion, in_frame_of_truth
from cryowalk.validation.shell_correlation import compare_maps
from cryowalk.workflow.job import Job

ALIGNED_NAME, ALIGNMENT_NAME, PARTICLES_NAME = "aligned.mrc", "alignment.json", "particles.star"
LARGEST_PADDING = 64  # voxels, among which a whole ratio of the voxel sizes is looked for


def flip_file(source: Path, target: Path) -> None:
    """Nothing; the map, or the STAR file of particles, of the other hand is written."""
    if source.suffix == ".star":
        particles, pose = posed(source, beside=target.parent)
        write_particles(particles.with_pose(flip_hand(pose)), target)
        return
    write_map(flip_hand(read_map(source)), target)


def posed(path: Path, *, beside: Path) -> tuple[ParticleSet, Pose]:
    """The particles of a STAR file, and their poses; stacks are opened only where names must be written anew for another folder."""
    particles = read_particles(path, images="ignore" if path.parent.resolve() == beside.resolve() else "open")
    if particles.pose is None:
        raise InputError("the particles have no poses", file=path, expected="rlnAngleRot, rlnAngleTilt and rlnAnglePsi")
    return particles, particles.pose


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentInputs:
    """The map, what it is brought onto, and the particles whose poses follow it."""

    volume: Path
    reference: Path
    particles: Path | None = None
    hand: Literal["keep", "either"] = "keep"
    resolution: float | None = None
    voxel_size: float | None = None


def align_map_files(job: Job, inputs: AlignmentInputs) -> dict[str, object]:
    """The motion in words and numbers; aligned.mrc, alignment.json and, with particles, particles.star are written."""
    # Particles that cannot follow are told before the search, not after it.
    followers = None if inputs.particles is None else posed(inputs.particles, beside=job.directory)
    reference = read_map(inputs.reference)
    volume, notice = on_grid_of(read_map(inputs.volume, voxel_size=inputs.voxel_size), reference)
    if notice:
        job.progress.note(notice)
    found = align(volume, reference, hand=inputs.hand, resolution=inputs.resolution)
    curve = compare_maps(found.volume, reference)
    write_map(found.volume, job.path(ALIGNED_NAME))
    facts: dict[str, object] = {
        "alignment_angle_degrees": degrees_from_radians(found.angle),
        "alignment_shift_angstrom": found.shift.tolist(),
        "rotation": found.rotation.tolist(),
        "is_mirrored": found.is_mirrored,
        "correlation": found.correlation,
        "fsc_0.5_angstrom": curve.resolution(at=0.5),
        "meaning": "x_reference = rotation · x_map + shift, about the origin voxels, after a point inversion of the map if is_mirrored",
    }
    atomic_write_text(job.path(ALIGNMENT_NAME), json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    if followers is not None:
        particles, pose = followers
        write_particles(particles.with_pose(followed(pose, found)), job.path(PARTICLES_NAME))
    return facts


def followed(pose: Pose, found: Alignment) -> Pose:
    """The poses at which the moved map has the images that the map had: R Qᵀ and s − (R Qᵀ t)ₓᵧ, R being diag(−1, −1, 1) R for an inverted map."""
    if found.is_mirrored:
        turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0])).to(pose.lab_from_particle)
        pose = replace(pose, lab_from_particle=turn @ pose.lab_from_particle)
    motion = RigidMotion(rotation=found.rotation.to(pose.lab_from_particle), translation=found.shift.to(pose.lab_from_particle))
    return in_frame_of_truth(pose, motion)


def on_grid_of(volume: Volume, reference: Volume) -> tuple[Volume, str]:
    """The map with the voxel size and box of the reference, origin voxel on origin voxel, and what was done to it in words (or nothing)."""
    side, wanted = volume.voxels.shape[-1], reference.voxels.shape[-1]
    ratio = volume.voxel_size / reference.voxel_size
    if volume.voxels.shape == reference.voxels.shape and abs(ratio - 1) < 1e-4:
        return volume, ""
    if len({*volume.voxels.shape}) > 1 or len({*reference.voxels.shape}) > 1:
        raise InputError("maps of different grids must be cubes", fix="crop or pad them first")
    padded = min(range(side, side + LARGEST_PADDING), key=lambda n: (abs(n * ratio - round(n * ratio)) / n, n))
    target = round(padded * ratio)
    voxels = resample(resize(volume.voxels, (padded,) * 3), (target,) * 3)
    notice = f"map brought from {side} voxels of {volume.voxel_size:g} Å to {wanted} of {reference.voxel_size:g} Å"
    return Volume(voxels=resize(voxels, (wanted,) * 3), voxel_size=reference.voxel_size, origin=reference.origin), notice
