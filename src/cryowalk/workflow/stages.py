"""Stages with files at both ends, shared by the commands and the walk: each works in a job's directory and goes on where a killed run stopped."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import torch

from cryowalk.core.errors import InputError, UsageError
from cryowalk.data import Atoms, HalfMaps, Optics, ParticleSet, Pose, Truth, Volume
from cryowalk.data.images import ImagesOnDevice
from cryowalk.io.atoms import read_atoms, write_atoms
from cryowalk.io.maps import read_map, write_map
from cryowalk.io.mrc import MrcStackReader
from cryowalk.io.mrc_header import HEADER_BYTES
from cryowalk.io.mrc_writer import MrcStackWriter
from cryowalk.io.relion import read_particles, write_particles
from cryowalk.io.stacks import image_names
from cryowalk.io.truth import read_truth, write_truth
from cryowalk.io.write_behind import WriteBehind
from cryowalk.microscope.settings import ParticleSimulationSettings
from cryowalk.microscope.simulate.particles import simulate_particles
from cryowalk.numerics.random import generator
from cryowalk.reconstruction.direct_inversion import Reconstruction, reconstruct_with_full_map
from cryowalk.reconstruction.settings import ReconstructionSettings
from cryowalk.workflow.chimerax_views import VIEW_NAME, View, write_view
from cryowalk.workflow.job import Job

FLOAT_BYTES = 4
HALF_MAP_NAMES = ("run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc")
FILTERED_HALF_MAP_NAMES = ("run_half1_class001.mrc", "run_half2_class001.mrc")
MAP_NAME = "run_class001.mrc"
Specimen: TypeAlias = Atoms | Volume | Callable[..., Atoms]


def read_specimens(
    *, structures: Sequence[Path], map_file: Path | None, voxel_size: float | None = None
) -> Specimen | list[Specimen]:
    """One specimen, as `read_specimen` gives it, or the list of those of several structure files."""
    if len(structures) < 2:
        return read_specimen(structure=structures[0] if structures else None, map_file=map_file, voxel_size=voxel_size)
    if map_file is not None:
        raise UsageError("both structures and a map were given", fix="give --structure or --map, not both")
    return [read_atoms(structure) for structure in structures]


def read_specimen(*, structure: Path | None, map_file: Path | None, voxel_size: float | None = None) -> Specimen:
    """The specimen to simulate: atoms of a structure file, a map, or, when neither is given, the procedural molecule as a function of its hinge angle.

    Raises
    ------
    UsageError
        If both are given.
    """
    if structure is not None and map_file is not None:
        raise UsageError("both a structure and a map were given", fix="give --structure or --map, not both")
    if structure is not None:
        return read_atoms(structure)
    if map_file is not None:
        volume = read_map(map_file, voxel_size=voxel_size)
        if is_constant(volume):
            raise InputError("the map is constant: there is nothing to image", file=map_file)
        return volume
    from cryowalk.microscope.specimen import hinge

    return hinge


def is_constant(volume: Volume) -> bool:
    """Whether all voxels of the map have one and the same value."""
    return bool(volume.voxels.min() == volume.voxels.max())


def simulate_particle_files(
    job: Job, specimen: Specimen | Sequence[Specimen], optics: Optics, settings: ParticleSimulationSettings, *, seed: int
) -> tuple[ParticleSet, Truth]:
    """Particles and their truth, written as particles.mrcs, particles.star, truth.star, truth_map.mrc and, for atoms, specimen.cif.

    Of several specimens each has a truth_class001.mrc and so on. The noise of an image depends on the seed and its number alone, so a stopped run goes on at the first image that is not on disk.
    """
    shape = (settings.box, settings.box)
    job.require_space(settings.count * FLOAT_BYTES * settings.box**2)
    stack = job.path("particles.mrcs")
    start = _images_on_disk(stack, shape, settings.count)
    with (
        MrcStackWriter(stack, image_shape=shape, pixel_size=optics.pixel_size, resume_at=start) as writer,
        WriteBehind(writer) as sink,
    ):
        particles, truth = simulate_particles(
            specimen, optics, generator=generator(seed), settings=settings, sink=sink, start=start, progress=job.progress
        )
    star = job.path("particles.star")
    particles = particles.with_images(MrcStackReader(stack), image_names(stack, settings.count, star=star))
    write_particles(particles, star)
    _write_truth_files(job, truth)
    return read_particles(star), read_truth(job.path("truth.star"))


def _write_truth_files(job: Job, truth: Truth) -> None:
    """Write truth.star and the map, the atoms and the maps of the classes that it names."""
    files: dict[str, Path | None] = {"volume_file": None, "atoms_file": None}
    if truth.volume is not None:
        files["volume_file"] = job.path("truth_map.mrc")
        write_map(truth.volume, job.path("truth_map.mrc"))
    if truth.atoms is not None:
        files["atoms_file"] = job.path("specimen.cif")
        write_atoms(truth.atoms, job.path("specimen.cif"))
    class_files = [job.path(f"truth_class{number:03d}.mrc") for number in range(1, len(truth.class_volumes) + 1)]
    for volume, file in zip(truth.class_volumes, class_files, strict=True):
        write_map(volume, file)
    write_truth(truth, job.path("truth.star"), **files, class_files=class_files)


def _images_on_disk(stack: Path, shape: tuple[int, int], count: int) -> int:
    """How many whole images an earlier run of this job left in the partial stack."""
    with suppress(FileNotFoundError):
        size = stack.with_name(stack.name + ".partial").stat().st_size - HEADER_BYTES
        return max(0, min(size // (FLOAT_BYTES * shape[0] * shape[1]), count))
    return 0


def check_particles(particles: ParticleSet, settings: ReconstructionSettings, *, file: Path) -> None:
    """Nothing, if these particles can be reconstructed; told before a directory is touched, with the name of their file.

    Raises
    ------
    InputError
        If they have no images, no poses or no CTF, or an image is in both half sets.
    """
    absent = {
        "rlnImageName": particles.images is None,
        "rlnAngleRot, rlnAngleTilt and rlnAnglePsi": particles.pose is None,
        "rlnDefocusU": particles.defocus is None and settings.ctf != "none",
    }
    require_images(
        particles, absent, file=file, without_ctf="estimate the CTF first, or give --ctf none if the images have no CTF"
    )
    if particles.half is not None:
        half_of: dict[str, int] = {}
        for row, (name, half) in enumerate(zip(particles.image_names, particles.half.tolist(), strict=True)):
            if half and half_of.setdefault(name, half) != half:
                raise InputError(
                    f"image {name} (row {row + 1}) is in both half sets, which feigns resolution",
                    file=file,
                    fix="give all rows of one image one rlnRandomSubset, or remove the copies",
                )


def refuse_subtomograms(particles: ParticleSet, *, file: Path) -> None:
    """Nothing, if the particles are images.

    Raises
    ------
    InputError
        If they are sub-tomograms.
    """
    if any(group.extra.get("rlnImageDimensionality") == "3" for group in particles.optics):
        raise InputError(
            "the particles are sub-tomograms (rlnImageDimensionality 3)", file=file, expected="images: rlnImageDimensionality 2"
        )


def require_images(particles: ParticleSet, absent: Mapping[str, bool], *, file: Path, without_ctf: str) -> None:
    """Nothing, if the particles are images and none of the columns is absent; `without_ctf` is what to do where the CTF alone is.

    Raises
    ------
    InputError
        If they are sub-tomograms, or lack columns.
    """
    refuse_subtomograms(particles, file=file)
    lacking = [name for name, is_absent in absent.items() if is_absent]
    if lacking:
        fix = without_ctf if lacking == ["rlnDefocusU"] else "give a STAR file with these columns"
        raise InputError(f"the particles lack {', '.join(lacking)}", file=file, fix=fix)


def reconstruct_files(job: Job, particles: ParticleSet, settings: ReconstructionSettings, *, seed: int) -> Reconstruction:
    """Both unfiltered half maps and the map of all particles, written under RELION's names, and regularised half maps where there are some."""
    if particles.images is None:
        raise InputError("the particles have no images", fix="give a STAR file with rlnImageName")
    job.require_space((3 if settings.method == "direct" else 5) * FLOAT_BYTES * particles.images.image_shape[0] ** 3)
    if job.manifest.device != "cpu":
        particles = replace(particles, images=ImagesOnDevice(source=particles.images, device=torch.device(job.manifest.device)))
    result = reconstruct_with_full_map(
        particles, settings, generator=generator(seed), progress=job.progress, checkpoint=job.checkpoint("reconstruct")
    )
    if is_constant(result.full):
        raise InputError(
            "the reconstruction is constant: the images have no contrast",
            cause="an empty stack, or one that an earlier step failed to fill",
            fix="look at the images: cryowalk validate STACK.mrcs",
        )
    maps = dict(zip((*HALF_MAP_NAMES, MAP_NAME), (result.halves.first, result.halves.second, result.full), strict=True))
    if result.regularised is not None:
        maps |= dict(zip(FILTERED_HALF_MAP_NAMES, (result.regularised.first, result.regularised.second), strict=True))
    for name, volume in maps.items():
        write_map(volume, job.path(name))
    others = [job.path(name) for name in maps if name != MAP_NAME]
    write_view(View(maps=[job.path(MAP_NAME)], half_maps=others), job.path(VIEW_NAME))
    return result


def read_half_map_files(directory: Path) -> HalfMaps:
    """The half maps that a reconstruction left in its directory."""
    from cryowalk.io.maps import read_half_maps

    return read_half_maps(directory / HALF_MAP_NAMES[0], directory / HALF_MAP_NAMES[1])


def perturbed(particles: ParticleSet, *, angle: float, shift: float, seed: int) -> ParticleSet:
    """The same particles with poses off by Gaussian errors: `angle` (rad) about each axis, `shift` (Å) on each coordinate."""
    from cryowalk.geometry.sampling import perturb_rotations

    if particles.pose is None:
        raise InputError("the particles have no poses to perturb")
    source = generator(seed)
    rotations = perturb_rotations(particles.pose.lab_from_particle, angle=angle, generator=source)
    noise = torch.randn(particles.pose.shift.shape, generator=source, dtype=particles.pose.shift.dtype)
    return particles.with_pose(Pose(lab_from_particle=rotations, shift=particles.pose.shift + shift * noise))


def scores_text(scores: Mapping[str, float | int | str]) -> str:
    """The scores as aligned lines."""
    width = max(map(len, scores), default=0)
    return "\n".join(
        f"  {name:<{width}}  {value:.6g}" if isinstance(value, float) else f"  {name:<{width}}  {value}"
        for name, value in scores.items()
    )
