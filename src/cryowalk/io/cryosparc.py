"""Particles in cryoSPARC's .cs tables and .csg groups, in our conventions; no pickled object is read.

What each field means stands in `cryosparc_values` and `cryosparc_optics`; fields without a place in a `ParticleSet` travel in its `extra`, bit by bit, so
that `write_cryosparc` gives the same records back where nothing was changed.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.errors import CryowalkWarning, InputError, printable
from cryowalk.core.execution import ImageSource
from cryowalk.data.optics import Optics
from cryowalk.data.particles import ParticleSet
from cryowalk.io.cryosparc_columns import RELION, CryosparcColumns, label_of
from cryowalk.io.cryosparc_groups import GROUP_ENDINGS, read_group_records
from cryowalk.io.cryosparc_optics import GROUP_EXTRA, GROUP_NAME, optics_of
from cryowalk.io.cryosparc_records import check_identifiers, merge_records, read_records
from cryowalk.io.cryosparc_types import check_types
from cryowalk.io.cryosparc_values import (
    ANGLES,
    DEFOCUS,
    EQUIVALENT,
    LABELS,
    MICROGRAPH,
    ORIGINS,
    SIGN,
    X_FRACTION,
    Y_FRACTION,
    Alignment,
    PicksAxis,
    alignment_of,
    coordinates_of,
    counted_from_one,
    defocus_of,
    distinct,
    finite,
    image_names_of,
    names_of,
    pose_of,
    relion_numbers,
    texts_of_paths,
)
from cryowalk.io.cryosparc_writer import write_cryosparc
from cryowalk.io.relion_optics import check_against_stacks
from cryowalk.io.signed_images import signed
from cryowalk.io.stacks import open_images
from cryowalk.io.star import StarBlock

COORDINATES = ("rlnCoordinateX", "rlnCoordinateY")
CRYOSPARC_ENDINGS = {".cs", *GROUP_ENDINGS}
__all__ = ["CRYOSPARC_ENDINGS", "particles_from_records", "read_components", "read_cryosparc", "write_cryosparc"]


def read_cryosparc(
    path: str | Path,
    passthrough: Sequence[str | Path] = (),
    *,
    images: Literal["open", "ignore"] = "ignore",
    y_axis: PicksAxis = "up",
    confine: Path | None = None,
) -> ParticleSet:
    """The particles of a .cs file or .csg group: names, optics, defocus, and where they are there poses, half sets, classes and places.

    3D alignments are taken where there are any, otherwise 2D ones (a turn in the plane); of alignments to several classes those of the likeliest class.
    Images are named as in a STAR file, `000001@path`; those with `blob/sign` −1 (dark on light) are turned over as they are read. `passthrough` are files
    of the same job that hold other fields; particles are matched by `uid`. `y_axis` tells from where cryoSPARC counted y of picks: "up", its rule,
    from the last row of the micrograph as RELION stores it; "down" where the motion correction turned the micrograph over.

    Raises
    ------
    InputError
        If this is no table of particles, a value is not finite, a particle is there twice or missing in a passthrough file, or a stack is not usable.
    SafetyRefusal
        If it holds pickled objects, or a stack lies outside `confine`.
    """
    path = Path(path)
    records = read_group_records(path) if path.suffix.lower() in GROUP_ENDINGS else read_records(path)
    records = merge_records(records, [(read_records(each), Path(each)) for each in passthrough], path=path)
    return particles_from_records(records, path=path, images=images, y_axis=y_axis, confine=confine)


def particles_from_records(
    records: NDArray[Any],
    *,
    path: Path,
    images: Literal["open", "ignore"] = "ignore",
    y_axis: PicksAxis = "up",
    confine: Path | None = None,
) -> ParticleSet:
    """The particles of these records; `path` is the file they came from.

    Raises
    ------
    InputError, SafetyRefusal
        As `read_cryosparc`.
    """
    names = set(names_of(records))
    if not len(records) or not {"blob/path", "blob/idx", "blob/psize_A"} <= names:
        raise InputError(
            "this is no table of particles",
            file=path,
            expected="records with blob/path, blob/idx and blob/psize_A",
            cause="a passthrough file, or micrographs" if "uid" in names else "",
            fix="name the particles.cs of the job, and give this one as a passthrough file" if "uid" in names else "",
        )
    check_types(records, path)
    check_identifiers(records, path=path)
    alignment = alignment_of(records, path)
    optics, optics_index, optics_used = optics_of(records, path)
    coordinates = coordinates_of(records, path, y_axis=y_axis)
    image_names = image_names_of(records)
    defocus = defocus_of(records, path)
    half, classes = _half(records, alignment, path), _classes(records, alignment, path)
    used = {"blob/path", "blob/idx", *optics_used, *(() if alignment is None else alignment.used)}
    used |= set() if coordinates is None else {X_FRACTION, Y_FRACTION, *(RELION + label for label in COORDINATES)}
    used |= {RELION + "rlnRandomSubset", RELION + "rlnClassNumber"} if alignment is None else set()
    used |= set() if defocus is None else {*DEFOCUS, "ctf/phase_shift_rad", "ctf/bfactor", "ctf/scale"}
    used |= {MICROGRAPH} | {field for field, label in EQUIVALENT.items() if RELION + label in names}
    fields = [name for name in names_of(records) if name not in used]
    return ParticleSet(
        optics=optics,
        optics_index=optics_index,
        images=None if images == "ignore" else _open(records, image_names, optics, path, confine=confine),
        pose=None if alignment is None else pose_of(alignment),
        defocus=defocus,
        half=half,
        class_number=classes,
        image_names=image_names,
        micrograph_names=texts_of_paths(records[MICROGRAPH]) if MICROGRAPH in names else (),
        coordinates=coordinates,
        extra=CryosparcColumns(records, fields, columns=_helical(records)),
        column_order=_order(records, alignment),
    )


def _classes(records: NDArray[Any], alignment: Alignment | None, path: Path) -> Int[Tensor, " n"] | None:
    """Classes from 1, where they are known."""
    if alignment is not None:
        return counted_from_one(alignment.class_index)
    told = relion_numbers(records, "rlnClassNumber", path)
    return None if told is None else torch.from_numpy(told.astype(np.int64))


def _half(records: NDArray[Any], alignment: Alignment | None, path: Path) -> Int[Tensor, " n"] | None:
    """Half sets from 1, where they are known."""
    if alignment is None:
        told = relion_numbers(records, "rlnRandomSubset", path)
        return None if told is None else torch.from_numpy(told.astype(np.int64))
    if alignment.split is None:
        return None
    if not bool(((alignment.split == 0) | (alignment.split == 1)).all()):
        raise InputError("a half set is neither 0 nor 1", file=path, expected=f"{alignment.kind}/split of 0 and 1")
    return counted_from_one(alignment.split)


def _helical(records: NDArray[Any]) -> dict[str, tuple[str, ...]]:
    """RELION's number of each particle's filament, by first appearance; cryoSPARC's own is too long for it."""
    if "filament/filament_uid" not in names_of(records) or RELION + "rlnHelicalTubeID" in names_of(records):
        return {}
    _, number = distinct(records["filament/filament_uid"])
    return {"rlnHelicalTubeID": tuple(map(str, (number + 1).tolist()))}


def _open(
    records: NDArray[Any], names: tuple[str, ...], optics: tuple[Optics, ...], path: Path, *, confine: Path | None
) -> ImageSource:
    """The images, those that are dark on light turned over as they are read."""
    source = open_images(StarBlock(name="particles"), names, star=path, confine=confine)
    check_against_stacks(optics, source, path, is_pixel_size_given=False)
    return signed(source, records[SIGN].astype(np.float32) if SIGN in names_of(records) else None)


def _order(records: NDArray[Any], alignment: Alignment | None) -> tuple[str, ...]:
    """The columns of a STAR file in the order of the fields."""
    labels = dict(LABELS)
    if alignment is not None:
        group = alignment.kind if alignment.used else "alignments3D"
        labels |= {f"{group}/pose": ANGLES, f"{group}/shift": ORIGINS, f"{group}/class": ("rlnClassNumber",)}
        labels |= {f"{group}/split": ("rlnRandomSubset",)}
    order = [label for name in names_of(records) for label in labels.get(name, (label_of(name, records.dtype[name]),))]
    hidden = {GROUP_NAME.removeprefix(RELION)}
    return tuple(dict.fromkeys(label for label in order if label not in hidden and f"{GROUP_EXTRA}" not in label))


def read_components(path: str | Path, *, passthrough: Sequence[str | Path] = ()) -> Float[Tensor, "n components"]:
    """The coordinates of each particle along the modes of a 3D variability analysis, as cryoSPARC stores them (`components_mode_K/value`).

    Raises
    ------
    InputError
        If the records hold none.
    """
    path = Path(path)
    records = read_group_records(path) if path.suffix.lower() in GROUP_ENDINGS else read_records(path)
    records = merge_records(records, [(read_records(each), Path(each)) for each in passthrough], path=path)
    check_types(records, path)
    modes = sorted(
        (int(parts[1].removesuffix("/value")), name)
        for name in names_of(records)
        if len(parts := name.split("components_mode_")) == 2
        and parts[1].removesuffix("/value").isdigit()
        and name.endswith("/value")
    )
    if not modes:
        raise InputError(
            "the records hold no components of a variability analysis", file=path, expected="fields components_mode_0/value …"
        )
    if [number for number, _ in modes] != list(range(len(modes))):
        warnings.warn(
            f"{printable(path)}: modes {', '.join(str(n) for n, _ in modes)} are there, not all", CryowalkWarning, stacklevel=2
        )
    return torch.from_numpy(np.stack([finite(records, name, path) for _, name in modes], axis=-1))
