"""Tables of items as they are worked on: rows of a STAR file or records of a .cs file, their columns asked for one by one, rows kept as they stand."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryowalk.core.errors import InputError, UsageError, printable
from cryowalk.io.cryosparc_records import read_records, write_records
from cryowalk.io.hdf5_guard import is_hdf5
from cryowalk.io.relinking import seen_from
from cryowalk.io.relion_labels import kind_of_label
from cryowalk.io.star import StarBlock, StarFile, read_star, write_star
from cryowalk.io.star_columns import LargeColumns, Rows
from cryowalk.io.star_numbers import is_number

ITEMS = ("particles", "micrographs", "movies", "images", "coordinate_files")
OPTICS = "optics"
CLASSES = ("rlnClassNumber", "alignments3D/class", "alignments2D/class")


@dataclass(frozen=True, kw_only=True)
class StarTable:
    """The table of items in a STAR file: block `place` of `star`; the other blocks travel with it."""

    star: StarFile
    place: int
    path: Path

    @property
    def block(self) -> StarBlock:
        """The block whose rows are the items."""
        return self.star.blocks[self.place]

    def __len__(self) -> int:
        return len(self.block)

    @property
    def labels(self) -> Sequence[str]:
        """The labels of the columns."""
        return tuple(self.block.columns)

    def is_numeric(self, label: str) -> bool:
        """Whether the column holds numbers: by RELION's type of the label, and for others by the first value."""
        kind = kind_of_label(label)
        if kind is not None:
            return kind != "string"
        columns = self.block.columns
        first = columns.text_of(label, 0) if isinstance(columns, LargeColumns) and len(self) else next(iter(columns[label]), "0")
        return is_number(first)

    def texts(self, label: str) -> Sequence[str]:
        """The column as texts."""
        return self.block.columns[label]

    def numbers(self, label: str) -> NDArray[np.float64]:
        """The column as numbers, `nan` and `inf` among them.

        Raises
        ------
        InputError
            If a value is no number; the line is told.
        """
        columns = self.block.columns
        plain = columns.numbers(label) if isinstance(columns, LargeColumns) else None
        if plain is not None and not np.isnan(plain).any():
            return plain
        texts = columns[label]
        try:
            values = np.fromiter(map(float, texts), np.float64, len(texts))
            wrong = next((row for row, text in enumerate(texts) if "_" in text), None)  # float() takes 1_0 for 10
        except ValueError:
            wrong = next(row for row, text in enumerate(texts) if not is_number(text))
        if wrong is None:
            return values
        raise InputError(
            f"{label} is “{printable(texts[wrong])}”", file=self.path, row=self.block.line_of(wrong), expected="a number"
        )

    def take(self, rows: Rows) -> "StarTable":
        """The table with these rows only, in the order given."""
        return self.with_block(self.block.take(rows))

    def with_block(self, block: StarBlock) -> "StarTable":
        """The table with another block of items."""
        blocks = (*self.star.blocks[: self.place], block, *self.star.blocks[self.place + 1 :])
        return replace(self, star=replace(self.star, blocks=blocks))

    def write(self, path: Path) -> None:
        """Write the table, all or nothing; names of files that would lead elsewhere from the new folder are written anew."""
        write_star(self.with_block(seen_from(self.block, source=self.path, target=path)).star, path)


@dataclass(frozen=True, kw_only=True)
class RecordTable:
    """The records of a .cs file; an element of a vector is a column `field[k]`."""

    records: NDArray[Any]
    path: Path
    _texts: dict[str, Sequence[str]] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def _fields(self) -> dict[str, tuple[str, int | None]]:
        """Field and element of each label."""
        found: dict[str, tuple[str, int | None]] = {}
        for name in self.records.dtype.names or ():
            kind = self.records.dtype[name]
            if not kind.shape:
                found[name] = (name, None)
            found |= {f"{name}[{k}]": (name, k) for k in range(int(np.prod(kind.shape)) if kind.shape else 0)}
        return found

    @property
    def labels(self) -> Sequence[str]:
        """The names of fields, and of each element of those that are vectors."""
        return tuple(self._fields)

    def _values(self, label: str) -> NDArray[Any]:
        name, element = self._fields[label]
        values = self.records[name]
        return values if element is None else values.reshape(len(values), -1)[:, element]

    def is_numeric(self, label: str) -> bool:
        """Whether the field holds numbers."""
        return self._values(label).dtype.kind in "biuf"

    def texts(self, label: str) -> Sequence[str]:
        """The field as texts."""
        if label not in self._texts:
            values = self._values(label)
            listed = values.tolist()
            self._texts[label] = (
                [value.decode("utf-8", "surrogateescape") for value in listed]
                if values.dtype.kind == "S"
                else list(map(str, listed))
            )
        return self._texts[label]

    def numbers(self, label: str) -> NDArray[np.float64]:
        """The field as numbers.

        Raises
        ------
        InputError
            If it holds texts.
        """
        if not self.is_numeric(label):
            raise InputError(f"{label} holds texts", file=self.path, expected="numbers")
        return self._values(label).astype(np.float64)

    def take(self, rows: Rows) -> "RecordTable":
        """The table with these records only, in the order given."""
        return RecordTable(records=self.records[rows], path=self.path)

    def write(self, path: Path) -> None:
        """Write the records as they are, all or nothing."""
        write_records(self.records, path)


Table = StarTable | RecordTable


def read_table(path: str | Path) -> Table:
    """The table of particles, micrographs, movies or other items in a STAR, .cs or HDF5 file; nothing but its form is checked.

    Raises
    ------
    InputError
        If there is none, or more than one.
    """
    path = Path(path)
    if path.suffix.lower() == ".cs":
        return RecordTable(records=read_records(path), path=path)
    star = _hdf5_tables(path) if is_hdf5(path) else read_star(path)
    return StarTable(star=star, place=_place_of_items(star), path=path)


def _hdf5_tables(path: Path) -> StarFile:
    """The tables in an HDF5 stack, their images named."""
    from cryowalk.io.hdf5_names import with_own_names  # takes torch, whose import is the larger part of a small selection
    from cryowalk.io.hdf5_tables import read_hdf5_tables

    return with_own_names(read_hdf5_tables(path), path)


def _place_of_items(star: StarFile) -> int:
    """Which block holds the items."""
    loops = [place for place, block in enumerate(star.blocks) if block.columns and block.name != OPTICS]
    named = [place for place in loops if star.blocks[place].name in ITEMS]
    found = named or loops
    if len(found) != 1:
        names = ", ".join(f"data_{printable(block.name)}" for block in star.blocks)
        raise InputError(
            f"{'more than one table' if found else 'no table'} whose rows could be meant",
            file=star.path,
            expected=f"one table, as data_particles, data_micrographs or data_movies; found {names[:400]}",
        )
    return found[0]


def class_column(table: Table) -> str:
    """The label of the column of classes.

    Raises
    ------
    InputError
        If there is none.
    """
    label = next((label for label in CLASSES if label in table.labels), None)
    if label is None:
        raise InputError("the items have no classes", file=table.path, expected=" or ".join(CLASSES), fix="classify them first")
    return label


def check_name(output: Path, table: Table) -> None:
    """Nothing, if a file of this name can hold the table.

    Raises
    ------
    UsageError
        If its ending is that of another format.
    """
    ending = ".star" if isinstance(table, StarTable) else ".cs"
    if output.suffix.lower() != ending:
        raise UsageError(
            f"--o {output} is no name of a {ending[1:].upper() if ending == '.star' else ending} file",
            expected=f"a name that ends in {ending}",
            fix="cryowalk convert makes the one of the other" if output.suffix.lower() in (".star", ".cs") else "",
        )
