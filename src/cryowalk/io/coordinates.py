"""Where particles are in micrographs: RELION's STAR file for each micrograph, EMAN's `.box`, crYOLO's `.cbox`, and tables with or without a heading.

Coordinates are pixels of the micrograph as it lies in memory: x along a row, y down the rows, (0, 0) the middle of the first pixel. Programs that draw
y upwards (EMAN, IMOD) number rows of MRC files in the same order, so nothing is turned over unless `y_axis="up"` says that a file counts y from the
last row; then y = height − 1 − y. Positions in a micrograph that was made smaller are multiplied by `scale` when they are read, divided when they
are written.
"""

import csv
import io
from collections.abc import Callable
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
from cryowalk.io.star import StarBlock, StarFile, read_star, write_star
from cryowalk.io.star_numbers import exact_texts, number_texts, numbers
from cryowalk.io.text_rows import SMALL, is_number, real, text_lines

X, Y, MERIT = "rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit"
YAxis = Literal["down", "up"]
HEADINGS = {
    "x": ("x", "x_coord", "x-coordinate", "rlncoordinatex"),
    "y": ("y", "y_coord", "y-coordinate", "rlncoordinatey"),
    "score": ("score", "fom", "density", "rlnautopickfigureofmerit"),  # codespell:ignore fom
}
LARGEST = 1e6  # px
MOST_COLUMNS = 1000
CBOX = "cryolo"
LOST = "<NA>"
PLAIN_ENDINGS, TABLE_ENDINGS = (".coord", ".coords", ".txt", ".xy"), (".csv", ".tsv")


def read_coordinates(path: str | Path, *, y_axis: YAxis = "down", height: int | None = None, scale: float = 1.0) -> Coordinates:
    """The positions in a `.star`, `.box`, `.cbox`, `.csv`, `.tsv`, `.txt` or `.coord` file of one micrograph.

    `height` (px of the file) of the micrograph is needed where `y_axis` is "up". `scale` is how many pixels of the micrograph one of the file is.

    Raises
    ------
    InputError
        If a row is not usable, or the file tells of several micrographs.
    UsageError
        If the name ends otherwise, the height is missing, or the scale is not positive.
    """
    path, ending = Path(path), Path(path).suffix.lower()
    readers: dict[str, Callable[[Path], Coordinates]] = {".star": _read_star, ".box": _read_box, ".cbox": _read_star}
    readers |= dict.fromkeys(TABLE_ENDINGS, read_table) | dict.fromkeys(PLAIN_ENDINGS, _read_plain)
    if ending not in readers:
        raise UsageError(f"positions are not read from “{path.name}”", expected="a name that ends in " + ", ".join(readers))
    _require_scale(scale)
    return _scaled(_turned(readers[ending](path), y_axis, height), scale)


def write_coordinates(
    coordinates: Coordinates,
    path: str | Path,
    *,
    box: int = 0,
    y_axis: YAxis = "down",
    height: int | None = None,
    scale: float = 1.0,
) -> None:
    """Write positions of one micrograph in the form that the name ends in, all or nothing; `.box` and `.cbox` need boxes of `box` pixels.

    Corners in a `.box` are whole pixels; every other form keeps positions to a millionth of a pixel, scores with all digits. `height` and `box`
    are pixels of the file, `scale` how many pixels of the micrograph one of them is.

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
    _require_scale(scale)
    turned = _turned(_scaled(coordinates, 1 / scale), y_axis, height)
    if ending in (".box", ".cbox") and box < 1:
        raise UsageError(f"a {ending} file needs the size of the boxes", file=path, fix="give the box in pixels")
    if ending == ".star":
        write_star([StarBlock(columns=star_columns(turned), comments=(VERSION_COMMENT,))], path)
    elif ending == ".cbox":
        write_star(_cbox_blocks(turned, box), path)
    elif ending == ".csv":
        atomic_write_text(path, csv_text(_table_rows(turned)))
    elif ending in (".tsv", ".txt"):
        atomic_write_text(path, tab_text(_table_rows(turned)))
    elif ending in PLAIN_ENDINGS:
        atomic_write_text(path, "".join(f"{' '.join(row)}\n" for row in _table_rows(replace(turned, extra={}))[1:]))
    elif ending == ".box":
        atomic_write_text(path, _box_text(turned, box))
    else:
        known = ", ".join((".star", ".box", ".cbox", *TABLE_ENDINGS, *PLAIN_ENDINGS))
        raise UsageError(f"positions are not written to “{path.name}”", expected=f"a name that ends in {known}")


def _require_scale(scale: float) -> None:
    if not 1e-3 <= scale <= 1e3:
        raise UsageError(
            f"a scale of {scale:g} cannot be meant", expected="pixels of the micrograph in one of the file: 0.001 to 1000"
        )


def _scaled(coordinates: Coordinates, scale: float) -> Coordinates:
    """The positions in pixels of another size."""
    return coordinates if scale == 1 else replace(coordinates, positions=coordinates.positions * scale)


def _turned(coordinates: Coordinates, y_axis: YAxis, height: int | None) -> Coordinates:
    """The positions with y counted from the other end of the micrograph where that is asked for."""
    if y_axis == "down":
        return coordinates
    if height is None:
        raise UsageError("y can only be turned over where the height of the micrograph is known", fix="give the height in pixels")
    x, y = coordinates.positions.unbind(-1)
    return replace(coordinates, positions=torch.stack((x, height - 1 - y), dim=-1))


def holds_cbox(star: StarFile) -> bool:
    """Whether a STAR file is crYOLO's, with boxes by their corners."""
    return any({"CoordinateX", "CoordinateY", "Width", "Height"} <= set(block.columns) for block in star.blocks)


def _read_star(path: Path) -> Coordinates:
    """Positions of RELION's STAR file of one micrograph, or of crYOLO's boxes."""
    star = read_star(path)
    if holds_cbox(star):
        return _read_cbox(star, path)
    blocks = [block for block in star.blocks if {X, Y} <= set(block.columns)]
    if len(blocks) != 1:
        raise InputError(f"{len(blocks)} tables hold {X} and {Y}", file=path, expected="one, the STAR file of one micrograph")
    return coordinates_of(blocks[0], path)


def coordinates_of(block: StarBlock, path: Path) -> Coordinates:
    """The positions of a block with RELION's columns."""
    positions = np.stack([numbers(block, label, path=path, low=-LARGEST, high=LARGEST) for label in (X, Y)], axis=-1)
    merit = torch.from_numpy(numbers(block, MERIT, path=path)) if MERIT in block.columns else None
    extra = {label: column for label, column in block.columns.items() if label not in (X, Y, MERIT)}
    return Coordinates(positions=torch.from_numpy(positions), merit=merit, extra=extra, column_order=tuple(block.columns))


def star_columns(coordinates: Coordinates) -> dict[str, tuple[str, ...]]:
    """The columns for RELION."""
    columns = {X: number_texts(coordinates.positions[:, 0].cpu()), Y: number_texts(coordinates.positions[:, 1].cpu())}
    if coordinates.merit is not None:
        columns[MERIT] = number_texts(coordinates.merit.cpu())
    columns |= {label: column for label, column in coordinates.extra.items() if label not in columns}
    order = [label for label in coordinates.column_order if label in columns]
    return {label: columns[label] for label in [*order, *(label for label in columns if label not in order)]}


def _read_cbox(star: StarFile, path: Path) -> Coordinates:
    """The middles of crYOLO's boxes: the corner plus half the box."""
    block = next(block for block in star.blocks if "CoordinateX" in block.columns)
    sides = [numbers(block, label, path=path, low=1.0, high=LARGEST) for label in ("Width", "Height")]
    corners = [numbers(block, label, path=path, low=-LARGEST, high=LARGEST) for label in ("CoordinateX", "CoordinateY")]
    positions = np.stack([corner + side / 2 for corner, side in zip(corners, sides, strict=True)], axis=-1)
    merit = None
    if "Confidence" in block.columns and LOST not in block.columns["Confidence"]:
        merit = torch.from_numpy(numbers(block, "Confidence", path=path))
    used = {"CoordinateX", "CoordinateY", "Width", "Height", *(("Confidence",) if merit is not None else ())}
    extra = {label: column for label, column in block.columns.items() if label not in used}
    return Coordinates(positions=torch.from_numpy(positions), merit=merit, extra=extra)


def _cbox_blocks(coordinates: Coordinates, box: int) -> list[StarBlock]:
    """The blocks of crYOLO's file, version 1.0; what is not known is <NA>."""
    count = len(coordinates)
    corners = coordinates.positions.cpu().double() - box / 2
    merit = (LOST,) * count if coordinates.merit is None else exact_texts(coordinates.merit.cpu())
    columns: dict[str, tuple[str, ...]] = {
        "CoordinateX": number_texts(corners[:, 0]),
        "CoordinateY": number_texts(corners[:, 1]),
        "CoordinateZ": (LOST,) * count,
        "Width": (f"{float(box)}",) * count,
        "Height": (f"{float(box)}",) * count,
        "Depth": (LOST,) * count,
        "EstWidth": (LOST,) * count,
        "EstHeight": (LOST,) * count,
        "Confidence": merit,
        "NumBoxes": ("0.0",) * count,
        "Angle": (LOST,) * count,
    }
    columns |= {
        label: column for label, column in coordinates.extra.items() if label in columns and label not in ("Width", "Height")
    }
    return [
        StarBlock(name="global", values={"cbox_format_version": "1.0"}),
        StarBlock(name=CBOX, columns=columns),
        StarBlock(name="cryolo_include", columns={"slice_index": ()}),
    ]


def _lines(path: Path) -> list[str]:
    """The lines of a file of boxes or positions; one that is there and empty holds none, as a picker writes that found nothing."""
    return [] if path.is_file() and not path.stat().st_size else text_lines(path)


def _read_box(path: Path) -> Coordinates:
    """The middles of EMAN's boxes: the corner plus half the box, rounded down as the box's origin pixel is; a fifth number is the score."""
    positions, scores = [], list[str]()
    for line, row in enumerate(_lines(path), start=1):
        fields = row.split()
        if not fields or fields[0].startswith("#"):
            continue
        if len(fields) < 4:
            raise InputError(
                f"the row has {len(fields)} values", file=path, row=line, expected="corner x, corner y, width, height"
            )
        x, y, width, height = (_place(text, path, line, what="a value") for text in fields[:4])
        if width < 1 or height < 1:
            raise InputError(f"the box is {width:g} × {height:g} px", file=path, row=line)
        positions.append((x + width // 2, y + height // 2))
        scores += fields[4:5]
    has_merit = len(scores) == len(positions) and all(map(is_number, scores)) and any("." in text for text in scores)
    return Coordinates(
        positions=torch.tensor(positions, dtype=torch.float64).reshape(-1, 2),
        merit=torch.tensor([float(text) for text in scores], dtype=torch.float64) if has_merit else None,
    )


def _box_text(coordinates: Coordinates, box: int) -> str:
    """EMAN's rows, with the score after the box where it is known."""
    corners = np.rint(coordinates.positions.cpu().double().numpy()).astype(np.int64) - box // 2
    scores = (
        [""] * len(coordinates) if coordinates.merit is None else [f"\t{text}" for text in exact_texts(coordinates.merit.cpu())]
    )
    return "".join(f"{x}\t{y}\t{box}\t{box}{score}\n" for (x, y), score in zip(corners.tolist(), scores, strict=True))


def _place(text: str, path: Path, line: int, *, what: str) -> float:
    return real(text, what=what, path=path, line=line, low=-LARGEST, high=LARGEST)


def _read_plain(path: Path) -> Coordinates:
    """Rows of x and y and at most a score, as RELION imports them from `.coord` files; a first line that names columns makes it a table."""
    positions, scores, first = [], list[float](), True
    for line, row in enumerate(_lines(path), start=1):
        fields = row.replace(",", " ").split()
        if not fields or fields[0].startswith("#"):
            continue
        if first and not any(map(is_number, fields)):
            return read_table(path)
        first = False
        if len(fields) < 2:
            raise InputError(f"the row has {len(fields)} values", file=path, row=line, expected="x, y")
        positions.append([_place(text, path, line, what=what) for text, what in zip(fields[:2], "xy", strict=True)])
        scores += [_place(fields[2], path, line, what="the score")] if len(fields) > 2 else []
    return Coordinates(
        positions=torch.tensor(positions, dtype=torch.float64).reshape(-1, 2),
        merit=torch.tensor(scores, dtype=torch.float64) if scores and len(scores) == len(positions) else None,
    )


def table_cells(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The headings of a table and its rows with their lines; divided by tabs, commas or, where there are neither, blanks.

    Raises
    ------
    InputError
        If a row has another number of cells than the heading.
    """
    text = read_text(path, limit=SMALL)
    opening = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = next((one for one in ("\t", ",") if one in opening), " ")
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=delimiter == " ")
    rows: list[tuple[int, list[str]]] = []
    try:
        for cells in reader:
            bare = [cell.strip() for cell in cells]
            if delimiter == " ":
                bare = [cell for cell in bare if cell]
            if any(bare):
                rows.append((reader.line_num, bare))
    except csv.Error as error:
        raise InputError(f"the table is damaged: {error}", file=path, row=reader.line_num) from None
    header = rows[0][1] if rows else []
    twice = next((name for name in header if name and header.count(name) > 1), None) if len(header) < MOST_COLUMNS else header[0]
    if twice is not None:
        raise InputError(f"the column {printable(twice)[:40]} stands twice, or there are too many", file=path, row=rows[0][0])
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            raise InputError(f"the row has {len(cells)} values, the first line {len(header)} columns", file=path, row=line)
    return header, rows[1:]


def read_table(path: Path) -> Coordinates:
    """Positions of a table whose first line names its columns."""
    header, rows = table_cells(path)
    place = {part: next((i for i, name in enumerate(header) if name.lower() in names), None) for part, names in HEADINGS.items()}
    x, y, score = place["x"], place["y"], place["score"]
    if x is None or y is None:
        raise InputError(
            f"the first line names the columns {printable(', '.join(header)[:100])}",
            file=path,
            row=1,
            expected="x and y among them",
        )
    positions = [[_place(cells[i], path, line, what=header[i]) for i in (x, y)] for line, cells in rows]
    merit = None
    if score is not None:
        values = [real(cells[score], what=header[score], path=path, line=line) for line, cells in rows]
        merit = torch.tensor(values, dtype=torch.float64)
    return Coordinates(
        positions=torch.tensor(positions, dtype=torch.float64).reshape(-1, 2),
        merit=merit,
        extra={name: tuple(cells[i] for _, cells in rows) for i, name in enumerate(header) if i not in (x, y, score)},
    )


def _table_rows(coordinates: Coordinates) -> list[tuple[str, ...]]:
    """A table with the columns x, y, score where known, and what else there is; the names first."""
    columns = {"x": number_texts(coordinates.positions[:, 0].cpu()), "y": number_texts(coordinates.positions[:, 1].cpu())}
    if coordinates.merit is not None:
        columns["score"] = exact_texts(coordinates.merit.cpu())
    columns |= {label: column for label, column in coordinates.extra.items() if label not in columns}
    return [tuple(columns), *zip(*columns.values(), strict=True)]


def tab_text(rows: list[tuple[str, ...]]) -> str:
    """A table whose cells are divided by tabs."""
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(rows)
    return text.getvalue()
