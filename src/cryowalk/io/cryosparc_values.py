"""What fields of cryoSPARC's records mean in our conventions; the reader and the writer both ask here, so that what was not changed keeps its bits.

Poses are rotation vectors whose matrix is the transpose of our lab_from_particle; shifts are pixels of `psize_A` and point the other way; images,
classes and half sets count from 0; places in micrographs are fractions of its sides, y from the last row unless another rule is asked for.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.data.optics import Defocus
from cryowalk.data.pose import Pose
from cryowalk.geometry.rotations import matrix_about_axis, matrix_from_rotation_vector
from cryowalk.io.cryosparc_columns import RELION

PicksAxis = Literal["up", "down"]
X_FRACTION, Y_FRACTION, MICROGRAPH_SHAPE = "location/center_x_frac", "location/center_y_frac", "location/micrograph_shape"
DEFOCUS = ("ctf/df1_A", "ctf/df2_A", "ctf/df_angle_rad")
MICROGRAPH = "location/micrograph_path"
SIGN = "blob/sign"
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
ORIGINS = ("rlnOriginXAngst", "rlnOriginYAngst")
LABELS: dict[str, tuple[str, ...]] = {  # where a field stands among the columns of a STAR file
    "blob/path": ("rlnImageName",), MICROGRAPH: ("rlnMicrographName",), "ctf/exp_group_id": ("rlnOpticsGroup",),
    X_FRACTION: ("rlnCoordinateX",), Y_FRACTION: ("rlnCoordinateY",), "ctf/df1_A": ("rlnDefocusU",), "ctf/df2_A": ("rlnDefocusV",),
    "ctf/df_angle_rad": ("rlnDefocusAngle",), "ctf/phase_shift_rad": ("rlnPhaseShift",), "ctf/bfactor": ("rlnCtfBfactor",),
    "ctf/scale": ("rlnCtfScalefactor",),
}  # fmt: skip
EQUIVALENT = {  # numbers that RELION's users look for, beside the field itself
    "ctf/cross_corr_ctffind4": "rlnCtfFigureOfMerit",
    "ctf/ctf_fit_to_A": "rlnCtfMaxResolution",
    "pick_stats/ncc_score": "rlnAutopickFigureOfMerit",
}
_CLASS_GROUP = re.compile(r"(alignments_class_(\d+))/pose")
_MANY = "alignments3D_multi"
_MANY_IMAGES = 2**20  # in one stack; their numbers are made text once


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """Alignments as the records hold them: rotation vectors (or turns in the plane), shifts in pixels of `pixel_size`, class and half set from 0.

    `kind` is the group of fields they came from, `used` the fields.
    """

    kind: str
    pose: NDArray[np.float64]
    shift: NDArray[np.float64]
    pixel_size: NDArray[np.float64]
    split: NDArray[np.int64] | None
    class_index: NDArray[np.int64] | None
    used: tuple[str, ...]


def names_of(records: NDArray[Any]) -> tuple[str, ...]:
    """The names of the fields."""
    return records.dtype.names or ()


def finite(records: NDArray[Any], name: str, path: Path | None) -> NDArray[np.float64]:
    """The field in double precision.

    Raises
    ------
    InputError
        If a value is not finite, or the field holds no numbers.
    """
    if records.dtype[name].base.kind not in "iufb":
        raise InputError(f"{name} holds no numbers", file=path, fix="export the particles again")
    values = np.asarray(records[name], dtype=np.float64)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))[0])
        raise InputError(f"{name} of particle {row + 1} is not finite", file=path, fix="leave that particle out")
    return values


def alignment_of(records: NDArray[Any], path: Path | None) -> Alignment | None:
    """The alignments of 3D or else of 2D; where each class has its own, those of the class with the highest posterior; None where there are none."""
    names = set(names_of(records))
    for kind in ("alignments3D", "alignments2D"):
        if {f"{kind}/pose", f"{kind}/shift"} <= names:
            return _single(records, kind, path)
    if {f"{_MANY}/pose", f"{_MANY}/shift", f"{_MANY}/class_posterior"} <= names:
        return _best_of_stacked(records, path)
    kinds = sorted((int(match[2]), match[1]) for name in names if (match := _CLASS_GROUP.fullmatch(name)))
    kinds = [(number, kind) for number, kind in kinds if {f"{kind}/shift", f"{kind}/class_posterior"} <= names]
    return _best_of_groups(records, kinds, path) if kinds else None


def _single(records: NDArray[Any], kind: str, path: Path | None) -> Alignment:
    names = names_of(records)
    _check_shapes(records, kind, path)
    size = f"{kind}/psize_A" if f"{kind}/psize_A" in names else "blob/psize_A"
    used = [f"{kind}/{part}" for part in ("pose", "shift", "psize_A", "split", "class") if f"{kind}/{part}" in names]
    return Alignment(
        kind=kind,
        pose=finite(records, f"{kind}/pose", path),
        shift=finite(records, f"{kind}/shift", path),
        pixel_size=finite(records, size, path),
        split=_whole(records, f"{kind}/split"),
        class_index=_whole(records, f"{kind}/class"),
        used=tuple(used),
    )


def _check_shapes(records: NDArray[Any], kind: str, path: Path | None) -> None:
    """Raise an error unless poses are rotation vectors or turns, and shifts pairs."""
    pose, shift = records.dtype[f"{kind}/pose"].shape, records.dtype[f"{kind}/shift"].shape
    if pose not in ((3,), ()) or shift != (2,):
        raise InputError(
            f"{kind}/pose has {'×'.join(map(str, pose)) or '1'} values a particle, {kind}/shift {'×'.join(map(str, shift)) or '1'}",
            file=path,
            expected="3 (or 1 in the plane) and 2",
            fix="export the particles again",
        )


def _whole(records: NDArray[Any], name: str) -> NDArray[np.int64] | None:
    return records[name].astype(np.int64) if name in names_of(records) else None


def _best_of_stacked(records: NDArray[Any], path: Path | None) -> Alignment:
    """Of alignments to several classes, stacked in each field, those with the highest posterior."""
    posterior = finite(records, f"{_MANY}/class_posterior", path)
    pose, shift = finite(records, f"{_MANY}/pose", path), finite(records, f"{_MANY}/shift", path)
    if pose.ndim != 3 or pose.shape[2] != 3 or shift.shape != (*pose.shape[:2], 2) or posterior.shape != pose.shape[:2]:
        raise InputError(f"the fields {_MANY} differ in their number of classes", file=path, fix="export the particles again")
    rows, best = np.arange(len(records)), posterior.argmax(axis=1)
    size = finite(records, f"{_MANY}/psize_A" if f"{_MANY}/psize_A" in names_of(records) else "blob/psize_A", path)
    split = _whole(records, f"{_MANY}/split")
    return Alignment(
        kind=_MANY,
        pose=pose[rows, best],
        shift=shift[rows, best],
        pixel_size=size[rows, best] if size.ndim == 2 else size,
        split=split[rows, best] if split is not None and split.ndim == 2 else split,
        class_index=best.astype(np.int64),
        used=(),
    )


def _best_of_groups(records: NDArray[Any], kinds: list[tuple[int, str]], path: Path | None) -> Alignment:
    """Of alignments to several classes, each a group of fields, those with the highest posterior; the class is the group's number."""
    posterior = np.stack([finite(records, f"{kind}/class_posterior", path) for _, kind in kinds], axis=1)
    best = posterior.argmax(axis=1)
    parts = [_single(records, kind, path) for _, kind in kinds]
    rows = np.arange(len(records))

    def chosen(columns: list[NDArray[Any]]) -> NDArray[Any]:
        result: NDArray[Any] = np.stack(columns, axis=1)[rows, best]
        return result

    splits = [part.split for part in parts if part.split is not None]
    return Alignment(
        kind="alignments_class",
        pose=chosen([part.pose for part in parts]),
        shift=chosen([part.shift for part in parts]),
        pixel_size=chosen([part.pixel_size for part in parts]),
        split=chosen(splits).astype(np.int64) if len(splits) == len(parts) else None,
        class_index=np.array([number for number, _ in kinds], dtype=np.int64)[best],
        used=(),
    )


def pose_of(alignment: Alignment) -> Pose:
    """The poses of alignments."""
    turn = torch.from_numpy(alignment.pose)
    matrix = matrix_from_rotation_vector(turn) if turn.ndim == 2 else matrix_about_axis(turn, axis="z")
    shift = -torch.from_numpy(alignment.shift) * torch.from_numpy(alignment.pixel_size)[:, None]
    return Pose(lab_from_particle=matrix.transpose(-1, -2).contiguous(), shift=shift + 0.0)


def counted_from_one(index: NDArray[np.int64] | None) -> Int[Tensor, " n"] | None:
    """Numbers that count from 0, counted from 1."""
    return None if index is None else torch.from_numpy(index) + 1


def defocus_of(records: NDArray[Any], path: Path | None) -> Defocus | None:
    """The defocus of each particle, where the records hold one."""
    names = names_of(records)
    if not set(DEFOCUS) <= set(names):
        return None

    def values(name: str) -> Float[Tensor, " n"] | None:
        return torch.from_numpy(finite(records, name, path)) if name in names else None

    major, minor, azimuth = (torch.from_numpy(finite(records, name, path)) for name in DEFOCUS)
    phase = values("ctf/phase_shift_rad")
    return Defocus(
        major=major,
        minor=minor,
        azimuth=azimuth,
        phase_shift=torch.zeros_like(major) if phase is None else phase,
        b_factor=values("ctf/bfactor"),
        scale=values("ctf/scale"),
    )


def coordinates_of(records: NDArray[Any], path: Path | None, *, y_axis: PicksAxis) -> Float[Tensor, "n 2"] | None:
    """The places in the micrographs (x, y), pixels, where fractions and the micrographs' shapes (y, x) are there.

    x = fraction · width; y = (1 − fraction) · height where y counts "up" from the last row, fraction · height where it counts "down".
    """
    if not {X_FRACTION, Y_FRACTION, MICROGRAPH_SHAPE} <= set(names_of(records)):
        parts = [relion_numbers(records, f"rlnCoordinate{letter}", path) for letter in "XY"]
        return None if parts[0] is None or parts[1] is None else torch.from_numpy(np.stack((parts[0], parts[1]), axis=-1))
    shape = finite(records, MICROGRAPH_SHAPE, path)
    if shape.ndim != 2 or shape.shape[1] != 2:
        raise InputError(f"{MICROGRAPH_SHAPE} has not 2 values a particle", file=path, fix="export the particles again")
    x, y = finite(records, X_FRACTION, path), finite(records, Y_FRACTION, path)
    return torch.from_numpy(np.stack((x * shape[:, 1], ((1 - y) if y_axis == "up" else y) * shape[:, 0]), axis=-1))


def relion_numbers(records: NDArray[Any], label: str, path: Path | None) -> NDArray[np.float64] | None:
    """The numbers of a column that only a STAR file has, where the records carry it.

    Raises
    ------
    InputError
        If a value is no finite number.
    """
    if RELION + label not in names_of(records):
        return None
    try:
        values = records[RELION + label].astype(np.float64)
    except (ValueError, TypeError) as error:
        raise InputError(f"a value of {RELION}{label} is no number", file=path, cause=str(error)[:80]) from error
    if not np.isfinite(values).all():
        raise InputError(f"a value of {RELION}{label} is not finite", file=path)
    return values  # type: ignore[no-any-return]


def image_names_of(records: NDArray[Any]) -> tuple[str, ...]:
    """The images as STAR files name them, `000001@path`, counted from 1 and without the mark `>` of exported paths."""
    stacks, stack_of = distinct(records["blob/path"])
    named = np.array([f"@{_text(stack).removeprefix('>')}" for stack in stacks], dtype=object)[stack_of]
    index = records["blob/idx"].astype(np.int64)
    if int(index.min(initial=0)) >= 0 and int(index.max(initial=0)) < _MANY_IMAGES:
        numbers = np.array([f"{number:06d}" for number in range(1, int(index.max(initial=0)) + 2)], dtype=object)
        return tuple((numbers[index] + named).tolist())
    return tuple(f"{number:06d}{stack}" for number, stack in zip((index + 1).tolist(), named.tolist(), strict=True))


def texts_of_paths(column: NDArray[Any]) -> tuple[str, ...]:
    """A field of paths as texts; equal ones share one text."""
    paths, place = distinct(column)
    return tuple(np.array([_text(path) for path in paths], dtype=object)[place].tolist())


def distinct(column: NDArray[Any]) -> tuple[list[Any], NDArray[np.int64]]:
    """The distinct entries of a column in the order of their first appearance, and which of them each row is; rows that follow each other are cheap."""
    if not len(column):
        return [], np.zeros(0, np.int64)
    starts = np.flatnonzero(np.concatenate(([True], column[1:] != column[:-1])))
    heads = column[starts].tolist()
    numbers: dict[Any, int] = {}
    codes = np.array([numbers.setdefault(head, len(numbers)) for head in heads], dtype=np.int64)
    return list(numbers), np.repeat(codes, np.diff(np.append(starts, len(column))))


def _text(name: object) -> str:
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name)
