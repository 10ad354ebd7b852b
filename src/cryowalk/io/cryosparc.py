"""Particles in cryoSPARC's .cs tables: poses, defocus, half sets and classes in our conventions. Nothing is written here, and no pickled object is read.

A .cs file is one NumPy array of records. Poses are rotation vectors whose matrix is the transpose of our lab_from_particle; shifts are pixels of
`psize_A` and point the other way; images, classes and half sets count from 0.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.errors import InputError, SafetyRefusal
from cryowalk.data.optics import Defocus, Optics
from cryowalk.data.particles import ParticleSet
from cryowalk.data.pose import Pose
from cryowalk.geometry.rotations import matrix_about_axis, matrix_from_rotation_vector

CRYOSPARC_ENDINGS = {".cs"}
LONGEST_HEADER = 1_000_000  # bytes; a job with many results has some 10,000
_OPTICS = ("ctf/exp_group_id", "ctf/accel_kv", "ctf/cs_mm", "ctf/amp_contrast", "blob/psize_A")


def read_cryosparc(path: str | Path) -> ParticleSet:
    """The particles of a .cs file without their images: names, optics, defocus, and where they are there poses, half sets and classes.

    3D alignments are taken where there are any, otherwise 2D ones (a turn in the plane). Images are named as in a STAR file, `000001@path`.

    Raises
    ------
    InputError
        If this is no .cs table of particles, or a value is not finite.
    SafetyRefusal
        If it holds pickled objects.
    """
    path = Path(path)
    table = _records(path)
    names = set(table.dtype.names or ())
    if not len(table) or not {"blob/path", "blob/idx", "blob/psize_A"} <= names:
        raise InputError("this is no table of particles", file=path, expected="records with blob/path, blob/idx and blob/psize_A")
    kind = next((kind for kind in ("alignments3D", "alignments2D") if f"{kind}/pose" in names), None)
    optics, optics_index = _optics(table, names, path)
    stacks = [_text(name).removeprefix(">") for name in table["blob/path"]]
    return ParticleSet(
        optics=optics,
        optics_index=optics_index,
        pose=None if kind is None else _pose(table, kind, path),
        defocus=_defocus(table, path) if {"ctf/df1_A", "ctf/df2_A", "ctf/df_angle_rad"} <= names else None,
        half=_counted(table, f"{kind}/split") if f"{kind}/split" in names else None,
        class_number=_counted(table, f"{kind}/class") if f"{kind}/class" in names else None,
        image_names=tuple(f"{int(index) + 1:06d}@{stack}" for index, stack in zip(table["blob/idx"], stacks, strict=True)),
        micrograph_names=tuple(map(_text, table["location/micrograph_path"])) if "location/micrograph_path" in names else (),
    )


def _records(path: Path) -> NDArray[Any]:
    """The records in the file."""
    try:
        table = np.load(path, allow_pickle=False, max_header_size=LONGEST_HEADER)
    except FileNotFoundError as error:
        raise InputError("the file does not exist", file=path) from error
    except ValueError as error:
        if "pickle" in str(error).lower() or "object" in str(error).lower():
            raise SafetyRefusal("the file holds pickled objects, which could run code", file=path) from error
        raise InputError("this is no .cs file", file=path, cause=str(error), fix="export the particles again") from error
    except (EOFError, OSError) as error:
        raise InputError(
            "the file is damaged or cut off", file=path, cause=str(error), fix="export the particles again"
        ) from error
    if not isinstance(table, np.ndarray) or table.dtype.names is None or table.ndim != 1:
        raise InputError("this is no .cs file", file=path, expected="one array of records")
    return table


def _text(name: object) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def _finite(table: NDArray[Any], name: str, path: Path) -> Float[Tensor, "*shape"]:
    """The field in double precision."""
    values = np.asarray(table[name], dtype=np.float64)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))[0])
        raise InputError(f"{name} of particle {row + 1} is not finite", file=path, fix="leave that particle out")
    return torch.from_numpy(values)


def _counted(table: NDArray[Any], name: str) -> Int[Tensor, " n"]:
    """A field that counts from 0, counted from 1."""
    return torch.from_numpy(table[name].astype(np.int64)) + 1


def _optics(table: NDArray[Any], names: set[str], path: Path) -> tuple[tuple[Optics, ...], Int[Tensor, " n"]]:
    """The distinct optics and those of each particle."""
    columns = [_finite(table, name, path).numpy() if name in names else np.full(len(table), math.nan) for name in _OPTICS]
    rows, index = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True, equal_nan=True)
    groups = []
    for number, (_, voltage, spherical, contrast, size) in enumerate(rows.tolist()):
        told = {"voltage_kv": voltage, "spherical_aberration_mm": spherical, "amplitude_contrast": contrast}
        known = {name: value for name, value in told.items() if not math.isnan(value)}
        groups.append(Optics(pixel_size=size, name=f"opticsGroup{number + 1}", **known))
    return tuple(groups), torch.from_numpy(index.reshape(-1).astype(np.int64))


def _pose(table: NDArray[Any], kind: str, path: Path) -> Pose:
    """The poses of 3D or 2D alignments."""
    turn = _finite(table, f"{kind}/pose", path)
    size = f"{kind}/psize_A" if f"{kind}/psize_A" in (table.dtype.names or ()) else "blob/psize_A"
    matrix = matrix_from_rotation_vector(turn) if turn.ndim == 2 else matrix_about_axis(turn, axis="z")
    shift = -_finite(table, f"{kind}/shift", path) * _finite(table, size, path)[:, None]
    return Pose(lab_from_particle=matrix.transpose(-1, -2), shift=shift + 0.0)


def _defocus(table: NDArray[Any], path: Path) -> Defocus:
    """The defocus of each particle."""
    major, minor, azimuth = (_finite(table, f"ctf/{name}", path) for name in ("df1_A", "df2_A", "df_angle_rad"))
    names = table.dtype.names or ()
    phase = _finite(table, "ctf/phase_shift_rad", path) if "ctf/phase_shift_rad" in names else torch.zeros_like(major)
    return Defocus(major=major, minor=minor, azimuth=azimuth, phase_shift=phase)
