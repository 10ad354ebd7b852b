"""Picks of many micrographs: one table for all (Topaz, a CSV, a STAR file), one file for each, and RELION's list of such files."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import torch

from cryowalk.core.errors import InputError, UsageError, printable
from cryowalk.data.coordinates import Coordinates
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.coordinates import (
    MERIT,
    X,
    Y,
    coordinates_of,
    read_coordinates,
    read_table,
    star_columns,
    tab_text,
    write_coordinates,
)
from cryowalk.io.csv_text import csv_text
from cryowalk.io.relion import VERSION_COMMENT
from cryowalk.io.stacks import find_stack, stack_reference
from cryowalk.io.star import StarBlock, StarFile, read_star, write_star
from cryowalk.io.star_numbers import exact_texts, number_texts

NAME, FILE = "rlnMicrographName", "rlnMicrographCoordinates"
NAME_HEADINGS = ("image_name", "micrograph", "micrograph_name", "rlnmicrographname")
TOPAZ = ("image_name", "x_coord", "y_coord", "score")


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinateTable:
    """Positions by micrograph, named as the table names it; Topaz leaves the ending of the file out."""

    micrographs: Mapping[str, Coordinates] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many positions there are in all."""
        return sum(map(len, self.micrographs.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinateFiles:
    """RELION's list of micrographs and the files of their picks (`autopick.star`, `manualpick.star`), as it is written."""

    micrographs: tuple[str, ...]
    files: tuple[str, ...]
    path: Path | None = None

    def __len__(self) -> int:
        return len(self.micrographs)


def holds_coordinate_files(star: StarFile) -> bool:
    """Whether a STAR file lists the files of picks."""
    return any({NAME, FILE} <= set(block.columns) for block in star.blocks)


def holds_coordinate_table(star: StarFile) -> bool:
    """Whether a STAR file holds positions of several micrographs and nothing of particles."""
    return any({NAME, X, Y} <= set(block.columns) and "rlnImageName" not in block.columns for block in star.blocks)


def read_coordinate_files(path: str | Path) -> CoordinateFiles:
    """The micrographs and files that RELION's list names; none is opened.

    Raises
    ------
    InputError
        If the file is no such list.
    """
    path = Path(path)
    star = read_star(path)
    block = next((block for block in star.blocks if {NAME, FILE} <= set(block.columns)), None)
    if block is None:
        raise InputError("this is no list of picks", file=path, expected=f"data_coordinate_files with {NAME} and {FILE}")
    return CoordinateFiles(micrographs=tuple(block.columns[NAME]), files=tuple(block.columns[FILE]), path=path)


def write_coordinate_files(files: CoordinateFiles, path: str | Path) -> None:
    """Write RELION's list of picks, all or nothing."""
    columns = {NAME: files.micrographs, FILE: files.files}
    write_star([StarBlock(name="coordinate_files", columns=columns, comments=("# version 50001",))], path)


def read_coordinate_table(path: str | Path, *, scale: float = 1.0) -> CoordinateTable:
    """The positions of every micrograph of a table, or of the files that RELION's list names.

    `scale` is how many pixels of the micrograph one of the table is, such as Topaz's down-sampling factor.

    Raises
    ------
    InputError
        If a row is not usable, no column names the micrographs, or a file of the list is not there.
    """
    path = Path(path)
    if path.suffix.lower() != ".star":
        return _grouped(_with_scale(read_table(path), scale), path)
    star = read_star(path)
    if holds_coordinate_files(star):
        return _followed(read_coordinate_files(path), scale=scale)
    block = next((block for block in star.blocks if {NAME, X, Y} <= set(block.columns)), None)
    if block is None:
        raise InputError("no table holds micrographs and positions", file=path, expected=f"{NAME}, {X} and {Y}")
    return _grouped(_with_scale(coordinates_of(block, path), scale), path)


def _with_scale(coordinates: Coordinates, scale: float) -> Coordinates:
    if not 1e-3 <= scale <= 1e3:
        raise UsageError(
            f"a scale of {scale:g} cannot be meant", expected="pixels of the micrograph in one of the file: 0.001 to 1000"
        )
    return Coordinates(
        positions=coordinates.positions * scale,
        merit=coordinates.merit,
        extra=coordinates.extra,
        column_order=coordinates.column_order,
    )


def _grouped(every: Coordinates, path: Path) -> CoordinateTable:
    """The positions by micrograph, in the order in which each is first named."""
    name = next((name for name in every.extra if name.lower() in NAME_HEADINGS), None)
    if name is None:
        raise InputError("no column names the micrographs", file=path, expected="a column " + " or ".join(NAME_HEADINGS))
    rows: dict[str, list[int]] = {}
    for row, micrograph in enumerate(every.extra[name]):
        rows.setdefault(micrograph, []).append(row)
    extra = {label: column for label, column in every.extra.items() if label != name}
    rest = Coordinates(positions=every.positions, merit=every.merit, extra=extra, column_order=every.column_order)
    return CoordinateTable(micrographs={micrograph: rest[chosen] for micrograph, chosen in rows.items()})


def _followed(listed: CoordinateFiles, *, scale: float) -> CoordinateTable:
    """The positions in the files of a list."""
    found: dict[str, Coordinates] = {}
    for row, (name, file) in enumerate(zip(listed.micrographs, listed.files, strict=True)):
        place = find_stack(file, listed.path or Path())
        if place is None:
            raise InputError(
                f"the picks of “{printable(name)}” are not there: {printable(file)}", file=listed.path, row=f"row {row + 1}",
                fix="run from the project's folder, or put the files beside the list",
            )  # fmt: skip
        found[name] = read_coordinates(place, scale=scale)
    return CoordinateTable(micrographs=found)


def is_of_many(coordinates: Coordinates) -> bool:
    """Whether a table names more than one micrograph."""
    return any(name.lower() in NAME_HEADINGS and len(set(column)) > 1 for name, column in coordinates.extra.items())


def write_coordinate_table(table: CoordinateTable, path: str | Path, *, scale: float = 1.0) -> None:
    """Write one table of all micrographs: Topaz's columns in `.txt` and `.tsv` (tabs) or `.csv`, RELION's in `.star`, all or nothing.

    `scale` is how many pixels of the micrograph one of the table is. A table has a score where every micrograph has.

    Raises
    ------
    UsageError
        If the name ends otherwise.
    """
    path = Path(path)
    every = _joined(table, 1 / scale)
    names = tuple(name for name, some in table.micrographs.items() for _ in range(len(some)))
    if path.suffix.lower() == ".star":
        columns = {NAME: names, **star_columns(every)}
        return write_star([StarBlock(columns=columns, comments=(VERSION_COMMENT,))], path)
    columns = {TOPAZ[0]: names}
    columns |= {label: number_texts(every.positions[:, axis]) for axis, label in enumerate(TOPAZ[1:3])}
    if every.merit is not None:
        columns[TOPAZ[3]] = exact_texts(every.merit)
    columns |= {label: column for label, column in every.extra.items() if label not in columns}
    rows = [tuple(columns), *zip(*columns.values(), strict=True)]
    if path.suffix.lower() == ".csv":
        return atomic_write_text(path, csv_text(rows))
    if path.suffix.lower() in (".txt", ".tsv"):
        return atomic_write_text(path, tab_text(rows))
    raise UsageError(
        f"a table of picks is not written to “{path.name}”", expected="a name that ends in .star, .csv, .tsv or .txt"
    )


def _joined(table: CoordinateTable, scale: float) -> Coordinates:
    """All positions of a table after one another, with the columns that every micrograph has."""
    parts = [part for part in table.micrographs.values() if len(part)]
    if not parts:
        return Coordinates(positions=torch.zeros(0, 2, dtype=torch.float64))
    merits = [part.merit.cpu().double() for part in parts if part.merit is not None]
    shared = [label for label in parts[0].extra if all(label in part.extra for part in parts)]
    return Coordinates(
        positions=torch.cat([part.positions.cpu().double() for part in parts]) * scale,
        merit=torch.cat(merits) if len(merits) == len(parts) else None,
        extra={
            label: tuple(text for part in parts for text in part.extra[label]) for label in shared if label not in (X, Y, MERIT)
        },
    )


def read_coordinates_each(paths: Iterable[str | Path], *, ending: str = "", scale: float = 1.0) -> CoordinateTable:
    """One table of one file for each micrograph, named by the file's name without its ending (`_autopick.star`, `.box`, …).

    Raises
    ------
    InputError
        If a file is not usable, or two have one name.
    """
    found: dict[str, Coordinates] = {}
    for path in map(Path, paths):
        name = path.name.removesuffix(ending) if ending else path.stem
        if name in found:
            raise InputError(f"two files are of one micrograph, “{printable(name)}”", file=path)
        found[name] = read_coordinates(path, scale=scale)
    return CoordinateTable(micrographs=found)


def write_coordinates_each(
    table: CoordinateTable, folder: str | Path, *, ending: str = "_autopick.star", box: int = 0, scale: float = 1.0
) -> CoordinateFiles:
    """Write one file for each micrograph into a folder, and give RELION's list of them, named from the current folder.

    Raises
    ------
    InputError
        If two micrographs would share a file.
    UsageError
        If the ending is none of those that are written, or a box size is missing.
    """
    folder = Path(folder)
    files = {name: folder / f"{_stem(name)}{ending}" for name in table.micrographs}
    taken: Sequence[Path] = list(files.values())
    if len(set(taken)) < len(taken):
        raise InputError(
            "two micrographs of the table have one name without their folders", file=folder, fix="give each a name of its own"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in files.items():
        write_coordinates(table.micrographs[name], file, box=box, scale=scale)
    names = tuple(stack_reference(file, star=folder / "autopick.star") for file in files.values())
    return CoordinateFiles(micrographs=tuple(files), files=names)


def _stem(name: str) -> str:
    """The name of a micrograph without folders and the ending of an image, as a file may be called."""
    bare = PurePosixPath(name.replace("\\", "/")).name
    stem = next((bare[: -len(one)] for one in (".mrcs", ".mrc", ".tiff", ".tif", ".eer") if bare.lower().endswith(one)), bare)
    if not stem or stem.startswith(".") or any(not character.isprintable() for character in stem):
        raise InputError(f"“{printable(name)}” cannot name a file of picks", fix="give the micrograph a plain name")
    return stem
