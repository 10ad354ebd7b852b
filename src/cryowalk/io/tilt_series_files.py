"""Tilt series in RELION's STAR files (one table of all series, one table for each) and in IMOD's lists of angles.

RELION 5 turns the specimen by x_lab = Rz(rlnTomoZRot) Ry(rlnTomoYTilt) Rx(rlnTomoXTilt) x_specimen and then moves it by (rlnTomoXShiftAngst,
rlnTomoYShiftAngst): our pose. Its tilt-axis angle is IMOD's, degrees from +y counter-clockwise. The dose before an image does not hold its own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError, printable
from cryowalk.core.units import DEGREE
from cryowalk.data.optics import Optics
from cryowalk.data.pose import Pose
from cryowalk.data.tilt_series import TiltSeries
from cryowalk.geometry.rotations import euler_from_matrix, matrix_from_euler
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.mdoc import axis_azimuth, axis_degrees
from cryowalk.io.opening import read_text
from cryowalk.io.relion import defocus_columns, table_defocus
from cryowalk.io.relion_optics import in_range
from cryowalk.io.stacks import find_stack, stack_reference
from cryowalk.io.star import StarBlock, StarFile, read_star, write_star
from cryowalk.io.star_numbers import constant_texts, exact_texts, integers, number_texts, numbers

TILTS = ("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot")
SHIFTS = ("rlnTomoXShiftAngst", "rlnTomoYShiftAngst")
NOMINAL, AXIS, EARLIER, OWN = (
    "rlnTomoNominalStageTiltAngle",
    "rlnTomoNominalTiltAxisAngle",
    "rlnMicrographPreExposure",
    "cryowalkDose",
)
ORDER = "cryowalkAcquisitionOrder"
NAMES = {"rlnMicrographName": "image_names", "rlnMicrographMovieName": "movie_names"}
MOVIE_FILE = "rlnTomoTiltMovieFile"  # what RELION 4 called rlnMicrographMovieName at first
VERSION = "# version 50001"
_OPTICS = (
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
    "rlnMicrographOriginalPixelSize",
    "rlnTomoTiltSeriesPixelSize",
)
_GLOBAL = {"rlnTomoName", "rlnTomoTiltSeriesStarFile", "rlnOpticsGroupName", *_OPTICS}


def holds_tilt_series(star: StarFile) -> bool:
    """Whether a STAR file is a table of tilt series."""
    return "global" in star and "rlnTomoTiltSeriesStarFile" in star["global"].columns


def read_tilt_series(path: str | Path) -> tuple[TiltSeries, ...]:
    """All tilt series of a `tilt_series.star` (or `tomograms.star`) of RELION 4 or 5, numbers in double precision; no image is opened.

    Raises
    ------
    InputError
        If the file, one of those it names, or a value is not usable.
    """
    path = Path(path)
    star = read_star(path)
    if not holds_tilt_series(star):
        names = ", ".join(f"data_{block.name}" for block in star.blocks)
        raise InputError(
            f"this is no table of tilt series: it holds {names}", file=path, expected="data_global with rlnTomoTiltSeriesStarFile"
        )
    table = _with_optics(star["global"], star)
    if not len(table):
        raise InputError("the table holds no tilt series", file=path, cause="an earlier selection removed them all")
    if "rlnTomoName" not in table.columns:
        raise InputError("data_global has no column rlnTomoName", file=path)
    optics = _optics(table, path)
    return tuple(_series(table, row, optics[row], path) for row in range(len(table)))


def _with_optics(table: StarBlock, star: StarFile) -> StarBlock:
    """The table with the columns of data_optics, row by row, where the file has optics groups (RELION 4 before it kept them in the one table)."""
    number = "rlnOpticsGroup"
    if "optics" not in star or number not in table.columns or number not in star["optics"].columns:
        return table
    groups = star["optics"]
    place = {text: row for row, text in enumerate(groups.columns[number])}
    lost = next((row for row, text in enumerate(table.columns[number]) if text not in place), None)
    if lost is not None:
        raise InputError(
            f"{number} is {printable(table.columns[number][lost])}, and data_optics has no such group",
            file=star.path,
            row=table.line_of(lost),
        )
    rows = [place[text] for text in table.columns[number]]
    more = {label: tuple(column[row] for row in rows) for label, column in groups.columns.items() if label not in table.columns}
    own = {label: tuple(column) for label, column in table.columns.items() if label != number}
    return replace(table, columns={**own, **more})


def _optics(table: StarBlock, path: Path) -> list[Optics]:
    """The optics of each series."""
    rows = len(table)

    def values(label: str, otherwise: float) -> list[float]:
        return in_range(table, label, path=path).tolist() if label in table.columns else [otherwise] * rows

    original = values("rlnMicrographOriginalPixelSize", 0.0)
    label = "rlnTomoTiltSeriesPixelSize"
    sizes = numbers(table, label, path=path, low=0.02, high=1000.0).tolist() if label in table.columns else original
    if not all(sizes):
        raise InputError("no pixel size", file=path, expected="rlnTomoTiltSeriesPixelSize or rlnMicrographOriginalPixelSize")
    names = table.columns.get("rlnOpticsGroupName", ("opticsGroup1",) * rows)
    columns = zip(
        sizes,
        original,
        values("rlnVoltage", 300.0),
        values("rlnSphericalAberration", 2.7),
        values("rlnAmplitudeContrast", 0.1),
        strict=True,
    )
    return [
        Optics(
            pixel_size=size,
            micrograph_pixel_size=first or None,
            voltage_kv=voltage,
            spherical_aberration_mm=aberration,
            amplitude_contrast=contrast,
            name=name,
        )
        for (size, first, voltage, aberration, contrast), name in zip(columns, names, strict=True)
    ]


def _series(table: StarBlock, row: int, optics: Optics, path: Path) -> TiltSeries:
    """One series, from its own file."""
    name, written = table.columns["rlnTomoName"][row], table.columns["rlnTomoTiltSeriesStarFile"][row]
    file = find_stack(written, path) or find_stack(f"tilt_series/{PurePosixPath(written).name}", path)
    if file is None:
        raise InputError(
            f"the table of tilt series “{printable(name)}” is not there: {printable(written)}",
            file=path,
            row=table.line_of(row),
            fix="run from the project's folder, or put the files beside this one",
        )
    star = read_star(file)
    blocks = [block for block in star.blocks if block.name == name] or ([star.blocks[0]] if len(star.blocks) == 1 else [])
    if not blocks or not len(blocks[0]):
        raise InputError(
            f"no rows for the tilt series “{printable(name)}”", file=file, expected=f"a block data_{printable(name)}"
        )
    settings = {label: column[row] for label, column in table.columns.items() if label not in _GLOBAL}
    return _images(blocks[0], file, name=name, optics=optics, settings=settings)


def _images(block: StarBlock, file: Path, *, name: str, optics: Optics, settings: Mapping[str, str]) -> TiltSeries:
    """The series of a table with one row an image."""
    used = {NOMINAL, AXIS, EARLIER, OWN, ORDER, *NAMES, *TILTS, *SHIFTS}
    label = NOMINAL if NOMINAL in block.columns else TILTS[1]
    angle = numbers(block, label, path=file, low=-180.0, high=180.0, hint="radians, or another column?")
    axis = numbers(block, AXIS, path=file, low=-360.0, high=360.0) if AXIS in block.columns else None

    def tensor(label: str) -> Float[Tensor, " n"] | None:
        return torch.from_numpy(np.array(numbers(block, label, path=file, low=0.0, high=1e5))) if label in block.columns else None

    defocus = table_defocus(block, file, used)
    names = {part: tuple(block.columns.get(label, ())) for label, part in NAMES.items()}
    if not names["movie_names"] and MOVIE_FILE in block.columns:
        names["movie_names"] = tuple(block.columns[MOVIE_FILE])
        used.add(MOVIE_FILE)
    return TiltSeries(
        name=name,
        optics=optics,
        tilt_angle=torch.from_numpy(angle * DEGREE),
        pose=_pose(block, file),
        defocus=defocus,
        dose_before=tensor(EARLIER),
        dose=tensor(OWN),
        order=torch.from_numpy(integers(block, ORDER, path=file, low=0)) if ORDER in block.columns else _order(tensor(EARLIER)),
        tilt_axis=None if axis is None else axis_azimuth(float(axis[0])),
        **names,  # type: ignore[arg-type]
        extra={label: column for label, column in block.columns.items() if label not in used},
        settings=settings,
        column_order=tuple(block.columns),
    )


def _order(dose_before: Float[Tensor, " n"] | None) -> Tensor | None:
    """The order of acquisition by the dose before each image, where that tells."""
    if dose_before is None or len(set(dose_before.tolist())) < len(dose_before):
        return None
    return torch.argsort(torch.argsort(dose_before))


def _pose(block: StarBlock, file: Path) -> Pose | None:
    """The poses, where the images were aligned."""
    if not set(TILTS[1:]) <= set(block.columns):
        return None
    zeros = np.zeros(len(block))

    def column(label: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
        return numbers(block, label, path=file, low=-1e6, high=1e6) if label in block.columns else zeros

    x, y, z = (torch.from_numpy(column(label) * DEGREE) for label in TILTS)
    shift = torch.from_numpy(np.stack([column(label) for label in SHIFTS], axis=-1))
    return Pose(lab_from_particle=lab_from_specimen(torch.stack((x, y, z), dim=-1)), shift=shift)


def lab_from_specimen(tilts: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The matrices Rz(z) Ry(y) Rx(x) of RELION's tilts (x, y, z) in rad."""
    return matrix_from_euler(tilts.flip(-1), order="ZYX")


def tilts_of(matrices: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """RELION's tilts (x, y, z) in rad of the matrices lab_from_specimen."""
    return euler_from_matrix(matrices, order="ZYX").flip(-1)


def write_tilt_series(series: Sequence[TiltSeries], path: str | Path) -> None:
    """Write a `tilt_series.star` and, in a folder `tilt_series` beside it, a table for each series; each file is written all or nothing, this one last.

    Raises
    ------
    InputError
        If there are none, two have one name, or a name cannot be that of a file.
    """
    path = Path(path)
    names = [one.name for one in series]
    if not names:
        raise InputError("there are no tilt series to write", file=path)
    wrong = next(
        (name for name in names if not name or names.count(name) > 1 or any(c in name for c in "/\\ \t\n\0") or name[0] == "."),
        None,
    )
    if wrong is not None:
        raise InputError(
            f"“{printable(wrong)}” cannot be the name of a tilt series", file=path, fix="give each a name of its own, a word"
        )
    folder = path.parent / "tilt_series"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.star" for name in names]
    for one, file in zip(series, files, strict=True):
        write_star([StarBlock(name=one.name, columns=_columns(one), comments=(VERSION,))], file)
    write_star([StarBlock(name="global", columns=_global(series, files, path), comments=(VERSION,))], path)


def _global(series: Sequence[TiltSeries], files: Sequence[Path], path: Path) -> dict[str, tuple[str, ...]]:
    """The columns of the table of all series."""
    optics = [one.optics for one in series]
    columns = {
        "rlnTomoName": tuple(one.name for one in series),
        "rlnTomoTiltSeriesStarFile": tuple(stack_reference(file, star=path) for file in files),
        "rlnVoltage": constant_texts([group.voltage_kv for group in optics]),
        "rlnSphericalAberration": constant_texts([group.spherical_aberration_mm for group in optics]),
        "rlnAmplitudeContrast": constant_texts([group.amplitude_contrast for group in optics]),
        "rlnMicrographOriginalPixelSize": constant_texts([group.micrograph_pixel_size or group.pixel_size for group in optics]),
        "rlnTomoTiltSeriesPixelSize": constant_texts([group.pixel_size for group in optics]),
        "rlnOpticsGroupName": tuple(group.name for group in optics),
    }
    told = dict.fromkeys(label for one in series for label in one.settings)
    usual = {**dict.fromkeys(told, "None"), "rlnTomoHand": "1"}
    return columns | {label: tuple(one.settings.get(label, usual[label]) for one in series) for label in usual}


def _columns(series: TiltSeries) -> dict[str, tuple[str, ...]]:
    """The columns of the table of one series."""
    columns = {label: getattr(series, part) for label, part in NAMES.items() if getattr(series, part)}
    columns[NOMINAL] = number_texts(series.tilt_angle.cpu().double() / DEGREE)
    if series.tilt_axis is not None:
        columns[AXIS] = number_texts([axis_degrees(series.tilt_axis)] * len(series))
    for label, values in ((EARLIER, series.dose_before), (OWN, series.dose)):
        if values is not None:
            columns[label] = number_texts(values.cpu())
    if series.order is not None:
        columns[ORDER] = tuple(map(str, series.order.tolist()))
    if series.pose is not None:
        tilts = tilts_of(series.pose.lab_from_particle.detach().cpu().double()) / DEGREE
        columns |= {label: number_texts(tilts[:, axis]) for axis, label in enumerate(TILTS)}
        columns |= {label: number_texts(series.pose.shift[:, axis].detach().cpu()) for axis, label in enumerate(SHIFTS)}
    if series.defocus is not None:
        columns |= defocus_columns(series.defocus, set(series.column_order))
    columns = {**columns, **{label: column for label, column in series.extra.items() if label not in columns}}
    wrong = sorted({len(column) for column in columns.values()} - {len(series)})
    if wrong:
        raise InputError(f"the columns of tilt series “{series.name}” differ in length: {len(series)} and {wrong} rows")
    order = [label for label in series.column_order if label in columns]
    return {label: columns[label] for label in [*order, *(label for label in columns if label not in order)]}


def read_angles(path: str | Path) -> Float[Tensor, " n"]:
    """The tilt angles of a `.tlt` or `.rawtlt` file, rad.

    Raises
    ------
    InputError
        If a line is no angle between −180 and 180 degrees.
    """
    path = Path(path)
    angles = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            angle = float(line)
        except ValueError:
            angle = math.nan
        if not -180 <= angle <= 180:
            raise InputError(
                f"“{printable(line.strip()[:40])}” is no tilt angle", file=path, row=number, expected="one angle a line, degrees"
            )
        angles.append(angle)
    if not angles:
        raise InputError("the file holds no angles", file=path)
    return torch.tensor(angles, dtype=torch.float64) * DEGREE


def write_angles(angles: Float[Tensor, " n"], path: str | Path) -> None:
    """Write tilt angles (rad) one a line in degrees, as IMOD reads them, all or nothing."""
    texts = exact_texts(np.round(angles.detach().cpu().double().numpy() / DEGREE, 9) + 0.0)
    atomic_write_text(path, "".join(f"{text}\n" for text in texts))


def with_angles(series: TiltSeries, angles: Float[Tensor, " n"]) -> TiltSeries:
    """The same series with other tilt angles (rad), such as refined ones of a `.tlt` file.

    Raises
    ------
    InputError
        If they differ in number.
    """
    if len(angles) != len(series):
        raise InputError(f"{len(angles)} angles are given for {len(series)} images of “{series.name}”")
    return replace(series, tilt_angle=angles.to(series.tilt_angle))
