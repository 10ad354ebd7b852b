"""RELION's particle tables and our `ParticleSet`, with RELION's conventions translated here and nowhere else.

RELION's matrix A of (rot, tilt, psi) is our lab_from_particle, A = (R_z(rot) R_y(tilt) R_z(psi))ᵀ; its origin is minus our shift. Angles in degrees,
beam tilt in mrad and origins of RELION 3.0 in pixels end here too. Columns we do not know are carried through as text.
"""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import CryowalkWarning, InputError, printable
from cryowalk.core.execution import ImageSource, batches
from cryowalk.core.units import DEGREE
from cryowalk.data.images import SelectedImages
from cryowalk.data.optics import Defocus, Optics
from cryowalk.data.particles import ParticleSet
from cryowalk.data.pose import Pose
from cryowalk.geometry.rotations import euler_from_matrix, matrix_from_euler
from cryowalk.io.cryosparc import CRYOSPARC_ENDINGS, read_cryosparc
from cryowalk.io.hdf5_guard import is_hdf5
from cryowalk.io.hdf5_names import with_own_names
from cryowalk.io.hdf5_tables import read_hdf5_tables
from cryowalk.io.kinds import is_zarr
from cryowalk.io.mrc import MrcStackReader
from cryowalk.io.mrc_writer import MrcStackWriter
from cryowalk.io.relion_optics import (
    REPEATED,
    check_against_stacks,
    optics_block,
    optics_of_rows,
    read_optics_table,
    read_repeated_optics,
)
from cryowalk.io.signed_images import SignedImages, all_bright, signed_by_column, with_true_signs
from cryowalk.io.stacks import ParticleImages, image_names, lies_here, open_images, stack_place, stack_reference
from cryowalk.io.star import StarBlock, StarFile, read_star, write_star
from cryowalk.io.star_numbers import integer_texts, integers, number_texts, numbers
from cryowalk.io.zarr_stacks import read_zarr_tables

ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
LARGEST_DEFOCUS = 5e5  # Å
SMALLEST_DEFOCUS = 30.0  # Å; below it a defocus was given in μm
BATCH = 256  # images held in memory while a stack is written
VERSION_COMMENT = "# version 30001"
_CTF_OPTICS = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")


def lab_from_particle_from_relion(angles: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Our lab_from_particle matrices of RELION's (rot, tilt, psi) in degrees."""
    return matrix_from_euler(angles * DEGREE, order="ZYZ").transpose(-1, -2)


def relion_from_lab_from_particle(matrices: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """RELION's (rot, tilt, psi) in degrees of our lab_from_particle matrices; where only rot ± psi is defined all of it is psi."""
    angles = euler_from_matrix(matrices.transpose(-1, -2), order="ZYZ") / DEGREE
    rot, tilt, psi = angles.unbind(-1)
    is_flat, is_upside_down = tilt.abs() < 1e-6, (tilt - 180).abs() < 1e-6
    turned = torch.where(is_flat, psi + rot, torch.where(is_upside_down, psi - rot, psi))
    rot = torch.where(is_flat | is_upside_down, torch.zeros_like(rot), rot)
    return torch.stack((rot, tilt, torch.remainder(turned + 180, 360) - 180), dim=-1)


def particle_block(star: StarFile) -> StarBlock:
    """The table of particles in a STAR file of any RELION version.

    Raises
    ------
    InputError
        If there is none, or it has no rows.
    """
    tables = [block for block in star.blocks if block.name == "particles"] or [
        block
        for block in star.blocks
        if block.name in ("", "images") and {"rlnImageName", *ANGLES[:2], "rlnCoordinateX"} & set(block.columns)
    ]
    if len(tables) != 1:
        names = ", ".join(f"data_{block.name}" for block in star.blocks)
        raise InputError(
            f"{'no table' if not tables else 'more than one table'} of particles",
            file=star.path,
            expected=f"one block data_particles; found {names}",
        )
    if not len(tables[0]):
        raise InputError(
            "the table holds no particles",
            file=star.path,
            cause="an earlier selection removed them all",
            fix="loosen that selection",
        )
    return tables[0]


def read_particles(
    path: str | Path,
    *,
    images: Literal["open", "ignore"] = "open",
    pixel_size: float | None = None,
    confine: Path | None = None,
) -> ParticleSet:
    """The particles of a RELION STAR file (3.0 to 5), an HDF5 stack or cryoSPARC's .cs or .csg, numbers in double precision, images opened but not read.

    `pixel_size` (Å) stands for that of a file that does not say or says wrong; `confine` is the folder that stacks must lie in.

    Raises
    ------
    InputError
        If the file, a value in it, or a stack it names is not usable; the message names the line.
    """
    file = Path(path)
    if file.suffix.lower() in CRYOSPARC_ENDINGS:
        return _with_pixel_size(read_cryosparc(file, images=images, confine=confine), pixel_size)
    is_stack = is_zarr(file) or is_hdf5(file)
    star = read_star(file) if not is_stack else read_zarr_tables(file) if is_zarr(file) else read_hdf5_tables(file)
    table = particle_block(with_own_names(star, file) if is_stack else star)
    optics, optics_index = _optics(star, table, pixel_size)
    names = table.columns.get("rlnImageName", ())
    used = {"rlnOpticsGroup", "rlnImageName", "rlnMicrographName"}
    if not any(block.name == "optics" for block in star.blocks):
        used |= {*REPEATED}
    sizes = torch.tensor([group.pixel_size for group in optics], dtype=torch.float64)[optics_index]
    source: ImageSource | None = None
    if names and images == "open" and not any(group.extra.get("rlnImageDimensionality") == "3" for group in optics):
        stacks = open_images(table, names, star=file, confine=confine)
        check_against_stacks(optics, stacks, file, is_pixel_size_given=pixel_size is not None)
        source = stacks if is_stack else signed_by_column(stacks, table.columns)
    pose, defocus = table_pose(table, sizes, file, used), table_defocus(table, file, used)
    half, classes = _whole(table, "rlnRandomSubset", file, used, low=0, high=2), _whole(table, "rlnClassNumber", file, used)
    coordinates = _coordinates(table, file, used)
    extra = table.only(label for label in table.columns if label not in used).columns
    return ParticleSet(
        optics=optics,
        optics_index=optics_index,
        images=source,
        pose=pose,
        defocus=defocus,
        half=half,
        class_number=classes,
        image_names=names,
        micrograph_names=table.columns.get("rlnMicrographName", ()),
        coordinates=coordinates,
        extra=all_bright(extra) if is_stack else extra,
        column_order=tuple(table.columns),
    )


def _with_pixel_size(particles: ParticleSet, pixel_size: float | None) -> ParticleSet:
    """The particles with another pixel size (Å), where one is given."""
    if pixel_size is None:
        return particles
    return replace(particles, optics=tuple(replace(group, pixel_size=pixel_size) for group in particles.optics))


def _optics(star: StarFile, table: StarBlock, pixel_size: float | None) -> tuple[tuple[Optics, ...], Int[Tensor, " n"]]:
    """The optics groups and the group of each particle."""
    path = star.path
    needs_ctf = "rlnDefocusU" in table.columns
    source = table
    if "optics" in star:
        source = star["optics"]
    absent = [label for label in _CTF_OPTICS if needs_ctf and label not in source.columns]
    if absent and "truth" in star:
        raise InputError(
            "this is the truth of a simulation, which holds no optics", file=path, fix="give the particles.star beside it"
        )
    if absent:
        raise InputError(
            f"the particles have a defocus, and data_{source.name} lacks {', '.join(absent)}",
            file=path,
            cause="a file of RELION 3.1 whose optics table was lost" if source is table else "",
            fix="add the optics table (data_optics) of the file this one was made from" if source is table else "add the column",
        )
    if source is table:
        return read_repeated_optics(table, path=path, pixel_size=pixel_size)
    groups, place = read_optics_table(source, path=path, pixel_size=pixel_size)
    return groups, optics_of_rows(table, groups, place, path=path)


def table_pose(table: StarBlock, sizes: Float[Tensor, " n"], path: Path, used: set[str]) -> Pose | None:
    """The poses, where rot and tilt are given; psi and origins that are not there are 0, and told.

    Raises
    ------
    InputError
        If one of rot and tilt is there without the other.
    """
    if not {*ANGLES[:2]} & set(table.columns):
        return None
    _require_columns(table, ANGLES[:2], path)
    used.update(ANGLES)
    absent = [label for label in ANGLES[2:] if label not in table.columns]
    origins = [any(f"rlnOrigin{letter}{unit}" in table.columns for unit in ("Angst", "")) for letter in "XY"]
    if any(origins):
        absent += [f"rlnOrigin{letter}Angst" for letter, is_there in zip("XY", origins, strict=True) if not is_there]
    if absent:
        warnings.warn(f"{printable(path)}: no column {', '.join(absent)}: taken as 0", CryowalkWarning, stacklevel=3)
    zeros = np.zeros(len(table))
    angles = [numbers(table, label, path=path, low=-1e5, high=1e5) if label in table.columns else zeros for label in ANGLES]
    shift = [zeros, zeros]
    for axis, letter in enumerate("XY"):
        angstrom, pixels = f"rlnOrigin{letter}Angst", f"rlnOrigin{letter}"
        if angstrom in table.columns:
            shift[axis] = -numbers(table, angstrom, path=path, low=-1e5, high=1e5)
        elif pixels in table.columns:
            shift[axis] = -numbers(table, pixels, path=path, low=-1e5, high=1e5) * sizes.numpy()
        used.update((angstrom, pixels))
    return Pose(
        lab_from_particle=lab_from_particle_from_relion(torch.from_numpy(np.stack(angles, axis=-1))),
        shift=torch.from_numpy(np.stack(shift, axis=-1)) + 0.0,
    )


def table_defocus(table: StarBlock, path: Path, used: set[str]) -> Defocus | None:
    """The defocus, where it is given.

    Raises
    ------
    InputError
        If the minor defocus is there without the major one.
    """
    if "rlnDefocusU" not in table.columns:
        if "rlnDefocusV" in table.columns:
            _require_columns(table, ("rlnDefocusV", "rlnDefocusU"), path)
        return None

    def values(label: str, *, limit: float = 1e6) -> Float[Tensor, " n"]:
        return torch.from_numpy(numbers(table, label, path=path, low=-limit, high=limit))

    def where_given(label: str) -> Float[Tensor, " n"] | None:
        used.add(label)
        return values(label) if label in table.columns else None

    used.add("rlnDefocusU")
    major = values("rlnDefocusU", limit=LARGEST_DEFOCUS)
    minor, azimuth, phase = where_given("rlnDefocusV"), where_given("rlnDefocusAngle"), where_given("rlnPhaseShift")
    if 0 < float(major.abs().max()) < SMALLEST_DEFOCUS:
        raise InputError(
            f"rlnDefocusU is {table.columns['rlnDefocusU'][0]} Å",
            file=path,
            row=table.line_of(0),
            cause="μm in place of Å?",
            fix="multiply by 10 000",
        )
    zeros = torch.zeros_like(major)
    return Defocus(
        major=major,
        minor=major if minor is None else minor,
        azimuth=zeros if azimuth is None else azimuth * DEGREE,
        phase_shift=zeros if phase is None else phase * DEGREE,
        b_factor=where_given("rlnCtfBfactor"),
        scale=where_given("rlnCtfScalefactor"),
    )


def _require_columns(table: StarBlock, labels: tuple[str, ...], path: Path) -> None:
    """Raise an error unless all these columns are there; they only mean something together."""
    absent = [label for label in labels if label not in table.columns]
    if absent:
        there = [label for label in labels if label in table.columns]
        raise InputError(
            f"data_{table.name} has {', '.join(there)} and lacks {', '.join(absent)}",
            file=path,
            cause="a column was lost",
            fix="add it from the file this one was made from, or remove the others",
        )


def _whole(
    table: StarBlock, label: str, path: Path, used: set[str], *, low: int = -(2**31), high: int = 2**31
) -> Int[Tensor, " n"] | None:
    """A column of whole numbers, where it is given."""
    if label not in table.columns:
        return None
    used.add(label)
    return torch.from_numpy(integers(table, label, path=path, low=low, high=high))


def _coordinates(table: StarBlock, path: Path, used: set[str]) -> Float[Tensor, "n 2"] | None:
    """The positions in the micrographs, pixels, where they are given."""
    labels = ("rlnCoordinateX", "rlnCoordinateY")
    if not set(labels) <= set(table.columns):
        return None
    used.update(labels)
    return torch.from_numpy(np.stack([numbers(table, label, path=path) for label in labels], axis=-1))


def write_particles(particles: ParticleSet, path: str | Path) -> None:
    """Write a RELION 3.1 STAR file (optics and particles), all or nothing; particles without image names get their images written beside it.

    Columns keep the order and, where unknown, the text of the file the particles came from. Image names are kept where they lead to the same stacks
    from the new place, and written anew where they do not.

    Raises
    ------
    InputError
        If there are no particles, or a value cannot be written.
    """
    path = Path(path)
    if not len(particles):
        raise InputError("there are no particles to write", file=path, cause="an earlier selection removed them all")
    names = particles.image_names
    if not names and particles.images is not None:
        names = _write_images(particles.images, particles, path)
        particles = replace(particles, images=MrcStackReader(path.with_suffix(".mrcs")))  # protein is bright in it
    elif names:
        names = _names_seen_from(path, names, particles.images)
    write_star(particle_blocks(particles, names), path)


def particle_blocks(particles: ParticleSet, names: tuple[str, ...]) -> tuple[StarBlock, StarBlock]:
    """The blocks data_optics and data_particles of RELION 3.1 for these particles, whose images have these names."""
    box = None if particles.images is None else particles.images.image_shape[-1]
    table = StarBlock(name="particles", columns=_ordered(_columns(particles, names), particles), comments=(VERSION_COMMENT,))
    optics = optics_block(particles.optics, box=box)
    return StarBlock(name="optics", columns=optics.columns, comments=(VERSION_COMMENT,)), table


def _columns(particles: ParticleSet, names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Every column by label, in RELION's usual order."""
    seen = set(particles.column_order)
    columns: dict[str, tuple[str, ...]] = {}
    if particles.coordinates is not None:
        columns |= {
            f"rlnCoordinate{letter}": number_texts(particles.coordinates[:, axis].cpu()) for axis, letter in enumerate("XY")
        }
    if names:
        columns["rlnImageName"] = names
    if particles.micrograph_names:
        columns["rlnMicrographName"] = particles.micrograph_names
    columns["rlnOpticsGroup"] = integer_texts(particles.optics_index.cpu() + 1)
    if particles.defocus is not None:
        columns |= defocus_columns(particles.defocus, seen)
    if particles.pose is not None:
        columns |= pose_columns(particles.pose)
    for label, whole in (("rlnClassNumber", particles.class_number), ("rlnRandomSubset", particles.half)):
        if whole is not None:
            columns[label] = integer_texts(whole.cpu())
    extra = with_true_signs(particles.extra, particles.images)
    return {**columns, **{label: column for label, column in extra.items() if label not in columns}}


def pose_columns(pose: Pose) -> dict[str, tuple[str, ...]]:
    """RELION's angle and origin columns of these poses."""
    angles = relion_from_lab_from_particle(pose.lab_from_particle.detach().cpu().double())
    columns = {label: number_texts(angles[:, i]) for i, label in enumerate(ANGLES)}
    return columns | {
        f"rlnOrigin{letter}Angst": number_texts(-pose.shift[:, axis].detach().cpu().double()) for axis, letter in enumerate("XY")
    }


def defocus_columns(defocus: Defocus, seen: set[str]) -> dict[str, tuple[str, ...]]:
    """RELION's columns of these defocus values; phase shifts only where there are any or the file had the column."""
    columns = {
        "rlnDefocusU": number_texts(defocus.major.cpu()),
        "rlnDefocusV": number_texts(defocus.minor.cpu()),
        "rlnDefocusAngle": number_texts(defocus.azimuth.cpu().double() / DEGREE),
    }
    if "rlnPhaseShift" in seen or bool(defocus.phase_shift.any()):
        columns["rlnPhaseShift"] = number_texts(defocus.phase_shift.cpu().double() / DEGREE)
    if defocus.b_factor is not None:
        columns["rlnCtfBfactor"] = number_texts(defocus.b_factor.cpu())
    if defocus.scale is not None:
        columns["rlnCtfScalefactor"] = number_texts(defocus.scale.cpu())
    return columns


def _ordered(columns: Mapping[str, tuple[str, ...]], particles: ParticleSet) -> dict[str, tuple[str, ...]]:
    """The columns in the order of the file they came from, new ones after them; origins in pixels became origins in Å."""
    renamed = {"rlnOriginX": "rlnOriginXAngst", "rlnOriginY": "rlnOriginYAngst"}
    order = dict.fromkeys(renamed.get(label, label) for label in particles.column_order)
    lengths = {len(column) for column in columns.values()}
    if lengths != {len(particles)}:
        raise InputError(f"the columns of the particles differ in length: {sorted(lengths)}")
    return {label: columns[label] for label in [*order, *(label for label in columns if label not in order)] if label in columns}


def _write_images(images: ImageSource, particles: ParticleSet, path: Path) -> tuple[str, ...]:
    """Write the images to a stack beside the STAR file; their names."""
    stack = path.with_suffix(".mrcs")
    with MrcStackWriter(stack, image_shape=images.image_shape, pixel_size=particles.optics[0].pixel_size) as writer:
        for batch in batches(images.count, BATCH):
            writer.write(images.read(batch))
    return image_names(stack, images.count, star=path)


def _names_seen_from(path: Path, names: tuple[str, ...], images: ImageSource | None) -> tuple[str, ...]:
    """The image names, those of stacks that would not be found from the new STAR file written anew."""
    places = _stack_paths(images)
    if places is None:
        return names
    wanted = {name.rpartition("@")[2]: place for name, place in zip(names, places, strict=True)}
    anew = {}
    first = (Path(),) if lies_here(path) else ()
    for stack, place in wanted.items():
        found = stack_place(stack, path, first)
        if found is None or not found.samefile(place):
            anew[stack] = stack_reference(place, star=path)
    if not anew:
        return names
    return tuple(f"{index}@{anew.get(stack, stack)}" for index, _, stack in (name.rpartition("@") for name in names))


def _stack_paths(images: ImageSource | None) -> list[Path] | None:
    """The stack of each image, where the images come from files."""
    chosen: list[int] | None = None
    while isinstance(images, SelectedImages):
        chosen = list(images.indices) if chosen is None else [images.indices[i] for i in chosen]
        images = images.source
    if not isinstance(images, ParticleImages | SignedImages):
        return None
    return [images.path_of(i) for i in (range(images.count) if chosen is None else chosen)]
