"""Particles to cryoSPARC's .cs records: what came from such records and was not changed keeps its bits, all else is written in cryoSPARC's conventions."""

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cryowalk.core.errors import CryowalkWarning, InputError
from cryowalk.data.particles import ParticleSet
from cryowalk.geometry.rotations import rotation_vector_from_matrix
from cryowalk.io.cryosparc_columns import RELION, CryosparcColumns, field_of, text_field, values_of
from cryowalk.io.cryosparc_groups import write_group
from cryowalk.io.cryosparc_optics import optics_fields, optics_of
from cryowalk.io.cryosparc_records import UID, write_records
from cryowalk.io.cryosparc_values import (
    ANGLES,
    EQUIVALENT,
    LABELS,
    MICROGRAPH,
    MICROGRAPH_SHAPE,
    ORIGINS,
    SIGN,
    X_FRACTION,
    Y_FRACTION,
    PicksAxis,
    alignment_of,
    coordinates_of,
    defocus_of,
    distinct,
    image_names_of,
    names_of,
    pose_of,
    texts_of_paths,
)
from cryowalk.io.mrc import MrcStackReader
from cryowalk.io.mrc_writer import MrcStackWriter
from cryowalk.io.signed_images import are_anew, with_true_signs
from cryowalk.io.stacks import image_names, split_names
from cryowalk.io.star import StarBlock

Fields = dict[str, NDArray[Any]]
MICROGRAPH_UID = "location/micrograph_uid"
BATCH = 256  # images held in memory while a stack is written
WIDE = {np.dtype(np.float64): np.dtype(np.float32), np.dtype(np.int64): np.dtype(np.uint32)}  # as cryoSPARC stores them
_ALIGNED = {  # what an alignment holds beside pose, shift, pixel size, half set and class
    "error": 0, "error_min": 0, "resid_pow": 0, "slice_pow": 0, "image_pow": 0, "cross_cor": 0, "alpha": 1, "weight": 0, "pose_ess": 0, "shift_ess": 0,
    "class_posterior": 1, "class_ess": 1,
}  # fmt: skip
_FURTHER = {"ctf/shift_A": (2,), "ctf/trefoil_A": (2,), "ctf/tetra_A": (4,)}  # aberrations that are none in records written anew


def write_cryosparc(
    particles: ParticleSet,
    path: str | Path,
    *,
    y_axis: PicksAxis = "up",
    micrograph_shapes: Mapping[str, tuple[int, int]] | None = None,
) -> None:
    """Write a .cs file and, with the same name, its .csg group, each all or nothing.

    Fields keep the order, the type and, where nothing was changed, the bits of the .cs file that the particles came from. `micrograph_shapes` (height,
    width by name) let coordinates become fractions; `y_axis` as in `read_cryosparc`. Particles without image names get their images written beside.

    Raises
    ------
    InputError
        If there are no particles, or a value cannot be written.
    """
    path = Path(path)
    if not len(particles):
        raise InputError("there are no particles to write", file=path, cause="an earlier selection removed them all")
    if not particles.image_names and particles.images is not None:
        particles = _with_written_images(particles, path)
    records = records_from_particles(particles, y_axis=y_axis, micrograph_shapes=micrograph_shapes)
    write_records(records, path)
    write_group(records, path.with_suffix(".csg"), metafile=path)


def _with_written_images(particles: ParticleSet, path: Path) -> ParticleSet:
    """The particles with the names of images that were written to a stack beside the file."""
    images, stack = particles.images, path.with_suffix(".mrcs")
    if images is None:
        return particles
    with MrcStackWriter(stack, image_shape=images.image_shape, pixel_size=particles.optics[0].pixel_size) as writer:
        for start in range(0, images.count, BATCH):
            writer.write(images.read(range(start, min(start + BATCH, images.count))))
    return replace(particles, images=MrcStackReader(stack), image_names=image_names(stack, images.count, star=path))


def records_from_particles(
    particles: ParticleSet, *, y_axis: PicksAxis = "up", micrograph_shapes: Mapping[str, tuple[int, int]] | None = None
) -> NDArray[Any]:
    """The records of particles, as `write_cryosparc` writes them.

    Raises
    ------
    InputError
        If a value cannot be written.
    """
    extra = particles.extra
    base = extra.records if isinstance(extra, CryosparcColumns) and len(extra.records) == len(particles) else None
    fields = _foreign(particles, base)
    parts: tuple[Callable[[ParticleSet, NDArray[Any] | None], Fields], ...] = (_images, _optics, _defocus, _aligned)
    for part in parts:
        fields |= part(particles, base)
    if are_anew(particles.images) and base is not None and SIGN in names_of(base) and bool((base[SIGN] < 0).any()):
        fields[SIGN] = np.ones(len(particles), np.float32)
    shape = fields.get(MICROGRAPH_SHAPE)
    shape = _shapes(particles.micrograph_names, micrograph_shapes or {}) if shape is None else shape.astype(np.float64)
    placed = _places(particles, base, y_axis, shape)
    fields |= {
        name: column for name, column in placed.items() if name not in (MICROGRAPH_SHAPE, MICROGRAPH_UID) or name not in fields
    }
    if "alignments3D/pose" in fields and (base is None or "alignments3D/pose" not in names_of(base)):
        there = {*fields, *(() if base is None else names_of(base))}
        defaults = {f"alignments3D/{part}": np.full(len(particles), value, np.float32) for part, value in _ALIGNED.items()}
        fields |= {name: column for name, column in defaults.items() if name not in there}
    if base is None:
        fields = _ordered(_completed(fields, particles), particles.column_order)
    return _assembled(base, fields, len(particles))


def _assembled(base: NDArray[Any] | None, fields: Fields, count: int) -> NDArray[Any]:
    """The records: those fields of `base` that are not given anew, in their order, and then the others."""
    if base is not None and not fields:
        return base
    described: list[Any] = []
    names = () if base is None else names_of(base)
    for name in (*names, *(name for name in fields if name not in names)):
        dtype = None if base is None or name not in names else base.dtype[name]
        if name in fields:
            column = fields[name]
            anew = np.dtype((WIDE.get(column.dtype, column.dtype), column.shape[1:]))
            widens = dtype is not None and dtype.kind == "S" and anew.kind == "S" and anew.itemsize > dtype.itemsize
            dtype = anew if dtype is None or dtype.shape != anew.shape or widens else dtype
        described.append((name, dtype))
    if base is not None and np.dtype(described) == base.dtype:
        records = base.copy()
    else:
        records = np.zeros(count, dtype=described)
        for name in names if base is not None else ():
            if name not in fields and base is not None:
                records[name] = base[name]
    for name, column in fields.items():
        records[name] = column
    return records


def _kept(base: NDArray[Any], name: str, changed: NDArray[np.bool_], anew: NDArray[Any]) -> NDArray[Any]:
    """The field of `base`, with other values in the rows that changed."""
    column = (
        base[name].astype(np.promote_types(base.dtype[name].base, anew.dtype)) if anew.dtype.kind == "S" else base[name].copy()
    )
    column[changed] = anew[changed]
    return column


def _different(a: torch.Tensor | None, b: torch.Tensor | None, count: int) -> NDArray[np.bool_]:
    """The rows in which two tensors differ; all where only one is there."""
    if a is None or b is None:
        return np.full(count, (a is None) != (b is None))
    differs: NDArray[np.bool_] = (a.detach().cpu().double() != b.double()).reshape(count, -1).any(1).numpy()
    return differs


def _images(particles: ParticleSet, base: NDArray[Any] | None) -> Fields:
    """Paths and numbers of the images."""
    names = particles.image_names
    if not names:
        raise InputError("the particles name no images, and hold none", fix="give the stack they belong to")
    count = len(particles)
    changed = np.ones(count, bool)
    if base is not None and "blob/path" in names_of(base):
        there = image_names_of(base)
        if there == names:
            return {}
        changed = np.array([a != b for a, b in zip(there, names, strict=True)])
    stack_of, image_of, stacks = split_names(StarBlock(name="particles"), names, path=None)
    paths, numbers = text_field(stacks)[stack_of], image_of.astype(np.uint32)
    if base is None:
        return {"blob/path": paths, "blob/idx": numbers}
    return {"blob/path": _kept(base, "blob/path", changed, paths), "blob/idx": _kept(base, "blob/idx", changed, numbers)}


def _optics(particles: ParticleSet, base: NDArray[Any] | None) -> Fields:
    """What belongs to the optics of each particle."""
    index = particles.optics_index.cpu().numpy()
    fields = dict(optics_fields(particles.optics, index))
    if base is None:
        return fields
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryowalkWarning)  # told when the records were read
        groups, base_index, _ = optics_of(base, None)
    differs = np.array([[ours != theirs for theirs in groups] for ours in particles.optics])[index, base_index.numpy()]
    if not differs.any():
        return {}
    return {
        name: _kept(base, name, differs, column) if name in names_of(base) else column
        for name, column in fields.items()
        if name in names_of(base) or bool(column.any() if column.dtype.kind != "S" else (column != b"").any())
    }


def _defocus(particles: ParticleSet, base: NDArray[Any] | None) -> Fields:
    """The defocus fields that changed."""
    ours = particles.defocus
    if ours is None:
        return {}
    theirs = None if base is None else defocus_of(base, None)
    parts = {
        "ctf/df1_A": "major", "ctf/df2_A": "minor", "ctf/df_angle_rad": "azimuth", "ctf/phase_shift_rad": "phase_shift", "ctf/bfactor": "b_factor",
        "ctf/scale": "scale",
    }  # fmt: skip
    fields: Fields = {}
    for name, part in parts.items():
        values, before = getattr(ours, part), None if theirs is None else getattr(theirs, part)
        changed = _different(values, before, len(particles))
        if values is None or not changed.any():
            continue
        anew = values.detach().cpu().double().numpy()
        is_there = base is not None and name in names_of(base)
        fields[name] = _kept(base, name, changed, anew) if base is not None and is_there else anew
    return fields


def _aligned(particles: ParticleSet, base: NDArray[Any] | None) -> Fields:
    """Poses, shifts, classes and half sets that changed; where records have no field for them, a whole group `alignments3D`."""
    count = len(particles)
    before = None if base is None else alignment_of(base, None)
    ours, theirs = particles.pose, None if before is None else pose_of(before)
    turned = _different(
        None if ours is None else ours.lab_from_particle, None if theirs is None else theirs.lab_from_particle, count
    )
    moved = _different(None if ours is None else ours.shift, None if theirs is None else theirs.shift, count)
    counts = {"split": particles.half, "class": particles.class_number}
    old = {"split": None if before is None else before.split, "class": None if before is None else before.class_index}
    recounted = {
        part: np.zeros(count, bool) if ours_counted is None else _different(ours_counted, _plus_one(old[part]), count)
        for part, ours_counted in counts.items()
    }
    if ours is None or not (turned.any() or moved.any() or any(each.any() for each in recounted.values())):
        return {} if ours is not None or base is not None else _unposed(particles)
    size = np.array([group.pixel_size for group in particles.optics])[particles.optics_index.cpu().numpy()]
    is_in_place = base is not None and before is not None and before.kind == "alignments3D" and before.pose.ndim == 2
    size = before.pixel_size if before is not None and is_in_place else size
    vector = rotation_vector_from_matrix(ours.lab_from_particle.detach().cpu().double().transpose(-1, -2)).numpy()
    anew: Fields = {"pose": vector, "shift": -ours.shift.detach().cpu().double().numpy() / size[:, None] + 0.0}
    anew |= {part: _from_zero(whole, part) for part, whole in counts.items() if whole is not None}
    if base is None or not is_in_place:
        anew["psize_A"] = size
        return {f"alignments3D/{part}": column for part, column in anew.items()}
    changed = {"pose": turned, "shift": moved, **recounted}
    return {
        f"alignments3D/{part}": _kept(base, f"alignments3D/{part}", changed[part], column)
        if f"alignments3D/{part}" in names_of(base)
        else column
        for part, column in anew.items()
        if changed[part].any()
    }


def _unposed(particles: ParticleSet) -> Fields:
    """Classes and half sets of particles without poses, which no group of cryoSPARC's holds: as RELION's columns."""
    whole = {"rlnRandomSubset": particles.half, "rlnClassNumber": particles.class_number}
    return {RELION + label: text_field(list(map(str, column.tolist()))) for label, column in whole.items() if column is not None}


def _plus_one(index: NDArray[np.int64] | None) -> torch.Tensor | None:
    return None if index is None else torch.from_numpy(index) + 1


def _from_zero(whole: torch.Tensor, part: str) -> NDArray[np.uint32]:
    """Numbers that count from 1, counted from 0.

    Raises
    ------
    InputError
        If one is below 1.
    """
    counted = whole.cpu().numpy().astype(np.int64)
    if counted.min() < 1:
        what = "half set" if part == "split" else "class"
        raise InputError(
            f"particle {int(np.flatnonzero(counted < 1)[0]) + 1} has the {what} {counted.min()}",
            expected="numbers from 1",
            fix="select the particles that have one",
        )
    return (counted - 1).astype(np.uint32)


def _places(particles: ParticleSet, base: NDArray[Any] | None, y_axis: PicksAxis, shape: NDArray[np.float64] | None) -> Fields:
    """Micrographs and places in them, where they changed."""
    fields: Fields = {}
    names, count = particles.micrograph_names, len(particles)
    has_names = base is not None and MICROGRAPH in names_of(base)
    if names and not (base is not None and has_names and texts_of_paths(base[MICROGRAPH]) == names):
        fields[MICROGRAPH] = text_field(names)
    if particles.coordinates is None:
        return fields
    before = None if base is None else coordinates_of(base, None, y_axis=y_axis)
    changed = _different(particles.coordinates, before, count)
    if not changed.any():
        return fields
    is_placed = base is not None and {MICROGRAPH_SHAPE, X_FRACTION, Y_FRACTION} <= set(names_of(base))
    shape = base[MICROGRAPH_SHAPE].astype(np.float64) if base is not None and is_placed else shape
    places = particles.coordinates.cpu().double().numpy()
    if shape is None:
        told = "no shapes of the micrographs are known: coordinates are kept as RELION's columns, which cryoSPARC does not read"
        warnings.warn(told, CryowalkWarning, stacklevel=5)
        return fields | {
            f"{RELION}rlnCoordinate{letter}": text_field(list(map(repr, places[:, i].tolist()))) for i, letter in enumerate("XY")
        }
    x, y = places[:, 0] / shape[:, 1], places[:, 1] / shape[:, 0]
    anew = {X_FRACTION: x, Y_FRACTION: 1 - y if y_axis == "up" else y}
    if base is not None and is_placed:
        return fields | {name: _kept(base, name, changed, column) for name, column in anew.items()}
    return fields | anew | {MICROGRAPH_SHAPE: shape.astype(np.uint32), MICROGRAPH_UID: _identifiers(names)}


def _shapes(names: tuple[str, ...], shapes: Mapping[str, tuple[int, int]]) -> NDArray[np.float64] | None:
    """The shape (y, x) of each particle's micrograph, or None where one is not known."""
    if not names or not set(names) <= set(shapes):
        return None
    return np.array([shapes[name] for name in names], dtype=np.float64)


def _foreign(particles: ParticleSet, base: NDArray[Any] | None) -> Fields:
    """The columns of `extra`: fields of other .cs files in their own type, columns of STAR files as bytes."""
    if base is not None:
        return {}
    fields: Fields = {}
    for label, texts in with_true_signs(particles.extra, particles.images).items():
        field = field_of(label)
        if field is not None:
            fields[field[0]] = values_of(texts, field[1], label=label)
        else:
            fields[RELION + label] = text_field(texts)
    for name, label in EQUIVALENT.items():
        if label in particles.extra and name not in fields:
            fields |= _numeric(name, particles.extra[label])
    return fields


def _numeric(name: str, texts: tuple[str, ...]) -> Fields:
    """The field of these numbers, where all are numbers."""
    try:
        return {name: np.fromiter(map(float, texts), np.float64, len(texts))}
    except ValueError:
        return {}


def _completed(fields: Fields, particles: ParticleSet) -> Fields:
    """The fields with those that cryoSPARC wants and no table of ours holds."""
    count = len(particles)
    if UID not in fields:
        fields = {UID: _identifiers(particles.image_names), **fields}
    more: Fields = {SIGN: np.ones(count, np.float32)}
    if particles.images is not None:
        more["blob/shape"] = np.tile(np.array(particles.images.image_shape, np.uint32), (count, 1))
    if particles.defocus is not None:
        more |= {"ctf/type": np.full(count, b"imported"), "ctf/scale_const": np.zeros(count, np.float32)}
        more |= {"ctf/scale": np.ones(count, np.float32), "ctf/bfactor": np.zeros(count, np.float32)}
        more |= {name: np.zeros((count, *shape), np.float32) for name, shape in _FURTHER.items()}
    return {**fields, **{name: column for name, column in more.items() if name not in fields}}


def _identifiers(names: tuple[str, ...]) -> NDArray[np.uint64]:
    """A number for each name, the same in every run; the second particle of one name gets another, the second micrograph of one name the same."""
    is_image = bool(names) and "@" in names[0]
    unique, place = distinct(np.array(names, dtype=object))
    hashed = [
        int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little")
        for name in unique
    ]
    numbers = np.array(hashed, dtype=np.uint64)[place]
    if not is_image:
        return numbers
    while len(np.unique(numbers)) < len(numbers):
        _, first = np.unique(numbers, return_index=True)
        again = np.ones(len(numbers), bool)
        again[first] = False
        numbers[again] += np.arange(1, int(again.sum()) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return numbers


def _ordered(fields: Fields, order: tuple[str, ...]) -> Fields:
    """The fields in the order of the columns that they came from; `uid` first, fields without a column after all others."""
    rank = {label: place for place, label in enumerate(order)}
    labels = {**LABELS, "alignments3D/pose": ANGLES, "alignments3D/shift": ORIGINS}
    labels |= {"alignments3D/class": ("rlnClassNumber",), "alignments3D/split": ("rlnRandomSubset",)}
    by_field = {field[0]: label for label in order if (field := field_of(label)) is not None}

    def place(name: str) -> int:
        candidates = (*labels.get(name, ()), name.removeprefix(RELION), by_field.get(name, ""))
        return -1 if name == UID else min((rank[label] for label in candidates if label in rank), default=len(rank))

    return dict(sorted(fields.items(), key=lambda item: place(item[0])))
