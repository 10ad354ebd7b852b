"""Optics groups in cryoSPARC's records, which repeat them in every row: one `Optics` for each combination, named by its exposure group.

`ctf/exp_group_id` counts from 0: group 22 is our “opticsGroup23”, unless the records carry the name of a STAR file. Lengths of `ctf/tilt_A` are
Cs · beam tilt; `ctf/anisomag` is the magnification matrix less 1. Trefoil and tetrafoil are carried and not interpreted.

Source: cryoSPARC forum, “Understanding values of beamtilt” (third-order term divided by Cs); `ctf/anisomag` of data without any is all zeros.
"""

import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.errors import CryowalkWarning, InputError, printable
from cryowalk.core.units import MILLIMETRE
from cryowalk.data.optics import Aberrations, Optics
from cryowalk.io.cryosparc_columns import RELION
from cryowalk.io.cryosparc_values import distinct, finite, names_of

GROUP_NAME = f"{RELION}rlnOpticsGroupName"
GROUP_EXTRA = "relion_optics/"  # before the label of a column that only a STAR file's optics table has
_PARTS = {
    "ctf/accel_kv": "voltage_kv",
    "ctf/cs_mm": "spherical_aberration_mm",
    "ctf/amp_contrast": "amplitude_contrast",
    "blob/psize_A": "pixel_size",
    "location/micrograph_psize_A": "micrograph_pixel_size",
}
RANGES = {"ctf/accel_kv": (1, 4000), "ctf/cs_mm": (-100, 100), "ctf/amp_contrast": (0, 1), "blob/psize_A": (0.02, 1000)}
_UNREAD = ("ctf/trefoil_A", "ctf/tetra_A")
_NUMBERED = re.compile(r"opticsGroup([1-9]\d{0,8})")


def optics_of(records: NDArray[Any], path: Path | None) -> tuple[tuple[Optics, ...], Int[Tensor, " n"], tuple[str, ...]]:
    """The distinct optics, those of each particle, and the fields they were taken from.

    Raises
    ------
    InputError
        If a value is not finite or cannot be meant, or two groups of one name differ.
    """
    names = names_of(records)
    used = [name for name in ("ctf/exp_group_id", *_PARTS, GROUP_NAME, "blob/shape") if name in names]
    used += [name for name in ("ctf/tilt_A", "ctf/anisomag") if name in names]
    used += [name for name in names if name.startswith(GROUP_EXTRA)]
    used = [name for name in used if name != "blob/shape" or _is_square(records)]
    index, firsts = combinations([records[name] for name in used], len(records))
    for name, (low, high) in RANGES.items():
        if name in names:
            _check_range(finite(records[firsts], name, path), name, path, (low, high))
    groups = [_group(records[row], used, path) for row in firsts]
    _tell_unread(records, path)
    return tuple(_with_names(groups, records[firsts], path)), torch.from_numpy(index), tuple(used)


def _is_square(records: NDArray[Any]) -> bool:
    shape = records["blob/shape"]
    return shape.ndim == 2 and shape.shape[1] == 2 and bool((shape[:, 0] == shape[:, 1]).all())


def _check_range(values: NDArray[np.float64], name: str, path: Path | None, limits: tuple[float, float]) -> None:
    wrong = np.flatnonzero(~((values >= limits[0]) & (values <= limits[1])))
    if len(wrong):
        raise InputError(
            f"{name} is {values[wrong[0]]:g}",
            file=path,
            expected=f"{limits[0]:g} to {limits[1]:g}",
            fix="export the particles again",
        )


def combinations(columns: list[NDArray[Any]], count: int) -> tuple[NDArray[np.int64], list[int]]:
    """The number of each row's combination of values, by first appearance, and the first row of each."""
    codes = np.zeros(count, np.int64)
    for column in columns:
        flat = column.reshape(count, -1)
        for part in range(flat.shape[1]):
            entries, place = distinct(np.ascontiguousarray(flat[:, part]))
            if len(entries) > 1:
                mixed = codes * len(entries) + place
                _, codes = distinct(mixed)
    _, firsts = np.unique(codes, return_index=True)
    return codes, firsts.tolist()


def shortest(value: Any) -> float:
    """The number with the fewest digits that is this one in its own precision: 2.95 for the single-precision 2.9500000477."""
    return float(str(value)) if isinstance(value, np.floating) else float(value)


def _group(record: Any, used: list[str], path: Path | None) -> Optics:
    """The optics of one record."""
    told = {part: shortest(record[name]) for name, part in _PARTS.items() if name in used}
    for name, part in _PARTS.items():
        if part in told and not np.isfinite(told[part]):
            raise InputError(f"{name} is not finite", file=path, fix="export the particles again")
    cs = told.get("spherical_aberration_mm", 0.0) * MILLIMETRE
    tilt = tuple(float(each) for each in record["ctf/tilt_A"]) if "ctf/tilt_A" in used else (0.0, 0.0)
    if any(tilt) and cs == 0:
        _warn(path, "ctf/tilt_A is given, and Cs is 0: no beam tilt can be told from it")
        tilt = (0.0, 0.0)
    matrix = [float(each) for each in record["ctf/anisomag"]] if "ctf/anisomag" in used else [0.0] * 4
    if not np.isfinite([*tilt, *matrix]).all():
        raise InputError("an aberration is not finite", file=path, fix="export the particles again")
    extra = {
        name.removeprefix(GROUP_EXTRA): record[name].decode("utf-8", "surrogateescape")
        for name in used
        if name.startswith(GROUP_EXTRA)
    }
    if "blob/shape" in used:
        extra = {"rlnImageSize": str(int(record["blob/shape"][0])), **extra}
    return Optics(
        **cast("Any", {part: value for part, value in told.items() if part != "micrograph_pixel_size" or value > 0}),
        aberrations=Aberrations(
            beam_tilt=(tilt[0] / cs, tilt[1] / cs) if any(tilt) else (0.0, 0.0),
            magnification=(1.0 + matrix[0], matrix[1], matrix[2], 1.0 + matrix[3]),
        ),
        extra=extra,
    )


def _warn(path: Path | None, what: str) -> None:
    warnings.warn(f"{printable(path or 'the table')}: {what}", CryowalkWarning, stacklevel=5)


def _tell_unread(records: NDArray[Any], path: Path | None) -> None:
    """Tell of aberrations that are carried and not applied."""
    there = [name for name in _UNREAD if name in names_of(records) and bool(records[name].any())]
    if there:
        _warn(
            path,
            f"{' and '.join(there)} {'is' if len(there) == 1 else 'are'} carried, and not used: nobody has published what it means as a phase",
        )


def _with_names(groups: list[Optics], firsts: NDArray[Any], path: Path | None) -> list[Optics]:
    """The groups with their names; different groups of one exposure group are numbered further."""
    names = names_of(firsts)
    taken: dict[str, Optics] = {}
    result = []
    for number, (group, record) in enumerate(zip(groups, firsts, strict=True)):
        if GROUP_NAME in names and record[GROUP_NAME]:
            name = record[GROUP_NAME].decode("utf-8", "surrogateescape")
            if name in taken:
                raise InputError(
                    f"two optics groups are named “{printable(name)}” and differ",
                    file=path,
                    fix="give them exposure groups of their own",
                )
        else:
            stem = f"opticsGroup{int(record['ctf/exp_group_id']) + 1 if 'ctf/exp_group_id' in names else number + 1}"
            name = next(each for each in (stem, *(f"{stem}_{i}" for i in range(2, len(groups) + 2))) if each not in taken)
        taken[name] = group
        result.append(replace(group, name=name))
    return result


def optics_fields(groups: tuple[Optics, ...], index: NDArray[np.int64]) -> Mapping[str, NDArray[Any]]:
    """The fields of each particle's optics; group numbers are those of the names `opticsGroupN` where all are of that form."""
    numbers = [_NUMBERED.fullmatch(group.name) for group in groups]
    are_numbered = all(numbers) and len({group.name for group in groups}) == len(groups)
    identifiers = [int(match[1]) - 1 for match in numbers if match] if are_numbered else list(range(len(groups)))
    fields: dict[str, NDArray[Any]] = {"ctf/exp_group_id": np.array(identifiers, np.uint32)[index]}
    for name, part in _PARTS.items():
        values = [getattr(group, part) for group in groups]
        if any(value is not None for value in values):
            fields[name] = np.array([0.0 if value is None else value for value in values], np.float64)[index]
    tilts = [[each * group.spherical_aberration for each in group.aberrations.beam_tilt] for group in groups]
    fields["ctf/tilt_A"] = np.array(tilts, np.float64)[index]
    matrices = [np.subtract(group.aberrations.magnification, (1.0, 0.0, 0.0, 1.0)) for group in groups]
    fields["ctf/anisomag"] = np.array(matrices, np.float64)[index]
    sizes = [group.extra.get("rlnImageSize", "0") for group in groups]
    sides = [int(float(size)) if size.replace(".", "", 1).isdigit() else 0 for size in sizes]
    if any(sides):
        fields["blob/shape"] = np.repeat(np.array(sides, np.uint32)[:, None], 2, axis=1)[index]
    if not are_numbered:
        fields[GROUP_NAME] = _texts([group.name for group in groups])[index]
    labels = dict.fromkeys(label for group in groups for label in group.extra if label != "rlnImageSize")
    for label in labels:
        fields[GROUP_EXTRA + label] = _texts([group.extra.get(label, "") for group in groups])[index]
    return fields


def _texts(values: list[str]) -> NDArray[Any]:
    encoded = [value.encode("utf-8", "surrogateescape") for value in values]
    return np.array(encoded, dtype=f"S{max(1, *map(len, encoded))}")
