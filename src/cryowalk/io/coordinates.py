"""Where particles are in micrographs: RELION's STAR file for each micrograph, EMAN's `.box`, and tables in CSV.

Coordinates are pixels of the micrograph as it lies in memory: x along a row, y down the rows, (0, 0) the middle of the first pixel. Programs that draw
y upwards (EMAN, IMOD) number rows of MRC files in the same order, so nothing is turned over unless `y_axis="up"` says that a file counts y from the
last row; then y = height − 1 − y.
"""

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from cryowalk.core.errors import InputError, UsageError, printable
from cryowalk.data.coordinates import Coordinates
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.csv_text import csv_text
from cryowalk.io.opening import read_text
from cryowalk.io.relion import VERSION_COMMENT
from cryowalk.io.star import StarBlock, read_star, write_star
from cryowalk.io.star_numbers import number_texts, numbers

X, Y, MERIT = "rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit"
YAxis = Literal["down", "up"]
_CSV = {
    "x": ("x", "x_coord", "x-coordinate", "rlncoordinatex"),
    "y": ("y", "y_coord", "y-coordinate", "rlncoordinatey"),
    "score": ("score", "fom", "rlnautopickfigureofmerit"),  # codespell:ignore fom
}
LARGEST = 1e6  # px


def read_coordinates(path: str | Path, *, y_axis: YAxis = "down", height: int | None = None) -> Coordinates:
    """The positions in a `.star`, `.box` or `.csv` file; `height` (px) of the micrograph is needed where `y_axis` is "up".

    Raises
    ------
    InputError
        If a row is not usable.
    UsageError
        If the name ends otherwise, or the height is missing.
    """
    path, ending = Path(path), Path(path).suffix.lower()
    readers = {".star": _read_star, ".box": _read_box, ".csv": _read_csv}
    if ending not in readers:
        raise UsageError(f"positions are not read from “{path.name}”", expected="a name that ends in " + ", ".join(readers))
    return _turned(readers[ending](path), y_axis, height)


def write_coordinates(
    coordinates: Coordinates, path: str | Path, *, box: int = 0, y_axis: YAxis = "down", height: int | None = None
) -> None:
    """Write positions to a `.star`, `.box` (with boxes of `box` pixels) or `.csv` file, all or nothing.

    Raises
    ------
    InputError
        If a position is not finite.
    UsageError
        If the name ends otherwise, a box size is missing, or the height is.
    """
    path, ending = Path(path), Path(path).suffix.lower()
    if not bool(torch.isfinite(coordinates.positions).all()):
        raise InputError("a position is not finite", file=path)
    turned = _turned(coordinates, y_axis, height)
    if ending == ".star":
        write_star([StarBlock(columns=_star_columns(turned), comments=(VERSION_COMMENT,))], path)
    elif ending == ".csv":
        atomic_write_text(path, _csv_text(turned))
    elif ending == ".box":
        if box < 1:
            raise UsageError("a .box file needs the size of the boxes", file=path, fix="give the box in pixels")
        corners = np.rint(turned.positions.cpu().double().numpy()).astype(np.int64) - box // 2
        atomic_write_text(path, "".join(f"{x}\t{y}\t{box}\t{box}\n" for x, y in corners.tolist()))
    else:
        raise UsageError(f"positions are not written to “{path.name}”", expected="a name that ends in .star, .box or .csv")


def _turned(coordinates: Coordinates, y_axis: YAxis, height: int | None) -> Coordinates:
    """The positions with y counted from the other end of the micrograph where that is asked for."""
    if y_axis == "down":
        return coordinates
    if height is None:
        raise UsageError("y can only be turned over where the height of the micrograph is known", fix="give the height in pixels")
    x, y = coordinates.positions.unbind(-1)
    return replace(coordinates, positions=torch.stack((x, height - 1 - y), dim=-1))


def _read_star(path: Path) -> Coordinates:
    """Positions of RELION's STAR file of one micrograph."""
    star = read_star(path)
    blocks = [block for block in star.blocks if {X, Y} <= set(block.columns)]
    if len(blocks) != 1:
        raise InputError(f"{len(blocks)} tables hold {X} and {Y}", file=path, expected="one, the STAR file of one micrograph")
    block = blocks[0]
    positions = np.stack([numbers(block, label, path=path, low=-LARGEST, high=LARGEST) for label in (X, Y)], axis=-1)
    merit = torch.from_numpy(numbers(block, MERIT, path=path)) if MERIT in block.columns else None
    extra = {label: column for label, column in block.columns.items() if label not in (X, Y, MERIT)}
    return Coordinates(positions=torch.from_numpy(positions), merit=merit, extra=extra, column_order=tuple(block.columns))


def _star_columns(coordinates: Coordinates) -> dict[str, tuple[str, ...]]:
    """The columns for RELION."""
    columns = {X: number_texts(coordinates.positions[:, 0].cpu()), Y: number_texts(coordinates.positions[:, 1].cpu())}
    if coordinates.merit is not None:
        columns[MERIT] = number_texts(coordinates.merit.cpu())
    columns |= {label: column for label, column in coordinates.extra.items() if label not in columns}
    order = [label for label in coordinates.column_order if label in columns]
    return {label: columns[label] for label in [*order, *(label for label in columns if label not in order)]}


def _number(text: str, path: Path, line: int, *, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not -LARGEST <= value <= LARGEST:
        cause = "a decimal comma" if "," in text else ""
        raise InputError(f"{what} is “{printable(text[:40])}”", file=path, row=line, expected="a number", cause=cause)
    return value


def _read_box(path: Path) -> Coordinates:
    """The middles of EMAN's boxes: the corner plus half the box, rounded down as the box's origin pixel is."""
    positions = []
    for line, row in enumerate(read_text(path).splitlines(), start=1):
        fields = row.split()
        if not fields or fields[0].startswith("#"):
            continue
        if len(fields) < 4:
            raise InputError(
                f"the row has {len(fields)} values", file=path, row=line, expected="corner x, corner y, width, height"
            )
        x, y, width, height = (_number(text, path, line, what="a value") for text in fields[:4])
        if width < 1 or height < 1:
            raise InputError(f"the box is {width:g} × {height:g} px", file=path, row=line)
        positions.append((x + width // 2, y + height // 2))
    return Coordinates(positions=torch.tensor(positions, dtype=torch.float64).reshape(-1, 2))


def _read_csv(path: Path) -> Coordinates:
    """Positions of a table whose first line names its columns."""
    text = read_text(path)
    delimiter = "\t" if "\t" in text.split("\n", 1)[0] else ","
    rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    header = [name.strip() for name in rows[0]] if rows else []
    place = {part: next((i for i, name in enumerate(header) if name.lower() in names), None) for part, names in _CSV.items()}
    x, y, score = place["x"], place["y"], place["score"]
    if x is None or y is None:
        raise InputError(
            f"the first line names the columns {printable(', '.join(header)[:100])}",
            file=path,
            row=1,
            expected="x and y among them",
        )
    positions, merit, others = [], [], [i for i in range(len(header)) if i not in (x, y, score)]
    extra: dict[str, list[str]] = {header[i]: [] for i in others}
    for line, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            raise InputError(f"the row has {len(row)} values, the first line {len(header)} columns", file=path, row=line)
        positions.append([_number(row[i].strip(), path, line, what=header[i]) for i in (x, y)])
        if score is not None:
            merit.append(_number(row[score].strip(), path, line, what=header[score]))
        for i in others:
            extra[header[i]].append(row[i].strip())
    return Coordinates(
        positions=torch.tensor(positions, dtype=torch.float64).reshape(-1, 2),
        merit=None if score is None else torch.tensor(merit, dtype=torch.float64),
        extra={name: tuple(column) for name, column in extra.items()},
    )


def _csv_text(coordinates: Coordinates) -> str:
    """A table with the columns x, y, score where known, and what else there is."""
    columns = {"x": number_texts(coordinates.positions[:, 0].cpu()), "y": number_texts(coordinates.positions[:, 1].cpu())}
    if coordinates.merit is not None:
        columns["score"] = number_texts(coordinates.merit.cpu())
    columns |= {label: column for label, column in coordinates.extra.items() if label not in columns}
    return csv_text([tuple(columns), *zip(*columns.values(), strict=True)])
