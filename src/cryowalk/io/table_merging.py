"""Several tables put into one: optics groups merged by name and numbered anew, columns matched by label, the same item twice told or left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryowalk.core.errors import InputError, printable
from cryowalk.io.cryosparc_records import UID
from cryowalk.io.relinking import seen_from
from cryowalk.io.star import StarBlock, StarFile, format_star
from cryowalk.io.star_columns import LargeColumns, concatenated
from cryowalk.io.star_numbers import is_number
from cryowalk.io.star_parser import Parser
from cryowalk.io.tables import OPTICS, RecordTable, StarTable, Table

GROUP, GROUP_NAME = "rlnOpticsGroup", "rlnOpticsGroupName"
# what makes two rows the same item: the first of these whose columns are all there
KEYS = (
    ("rlnImageName",),
    ("rlnTomoParticleName",),
    ("rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY"),
    ("rlnMicrographMovieName",),
    ("rlnMicrographName",),
    ("rlnTomoName",),
)
_TOLERANCE = 1e-6  # of two values that are the same in different digits
ColumnRule = Literal["same", "common"]
CopyRule = Literal["tell", "remove", "refuse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """One table of several: how many optics groups it has, which columns were left out, how many rows were the same item as an earlier one."""

    table: Table
    groups: int
    left_out: tuple[str, ...]
    copies: int


def merge_tables(tables: Sequence[Table], *, target: Path, columns: ColumnRule = "same", copies: CopyRule = "tell") -> Merged:
    """The rows of all tables one after the other, as they will stand in `target`.

    Tables with other columns are refused ("same"), or what is not in all of them is left out ("common"): no value is made up. Columns keep the order of
    the first table. An item that was there before stays ("tell"), is left out ("remove") or an error ("refuse").

    Raises
    ------
    InputError
        If tables are of different kinds, columns differ, or optics groups of one name hold different values.
    """
    if all(isinstance(table, RecordTable) for table in tables):
        return _merged_records([table for table in tables if isinstance(table, RecordTable)], target, columns, copies)
    stars = [table for table in tables if isinstance(table, StarTable)]
    if len(stars) != len(tables):
        raise InputError("STAR and .cs files cannot be merged", fix="convert one of them first: cryowalk convert")
    _check_kinds(stars)
    blocks = [seen_from(table.block, source=table.path, target=target) for table in stars]
    optics, blocks = _merged_optics(stars, blocks, columns)
    labels, left_out = _labels([(tuple(block.columns), table.path) for block, table in zip(blocks, stars, strict=True)], columns)
    block = _joined([block.only(labels) for block in blocks])
    others = [one for place, one in enumerate(stars[0].star.blocks) if place != stars[0].place and one.name != OPTICS]
    whole = [*others, *([] if optics is None else [optics]), block]
    merged = StarTable(star=StarFile(blocks=tuple(whole), path=target), place=len(whole) - 1, path=target)
    key = next((key for key in KEYS if set(key) <= set(labels)), None)
    keys = [] if key is None else list(zip(*(block.columns[label] for label in key), strict=True))
    kept, count = _first_of_each(keys, copies, target, " and ".join(key or ()))
    return Merged(
        table=merged if kept is None else merged.take(kept),
        groups=0 if optics is None else len(optics),
        left_out=left_out,
        copies=count,
    )


def _check_kinds(tables: Sequence[StarTable]) -> None:
    """Raise an error unless the tables hold the same kind of item and the same further blocks."""
    first = tables[0]
    for table in tables[1:]:
        if table.block.name != first.block.name:
            raise InputError(
                f"this is a table data_{printable(table.block.name)}, the first one data_{printable(first.block.name)}",
                file=table.path,
                fix="merge tables of one kind; cryowalk convert brings RELION 3.0 tables into today's form",
            )
        if (OPTICS in table.star) != (OPTICS in first.star):
            raise InputError(
                "one of the tables has optics groups and another has none",
                file=table.path if OPTICS not in table.star else first.path,
                fix="cryowalk convert brings RELION 3.0 tables into today's form",
            )
        ours, theirs = ([one for one in each.star.blocks if one.name not in (OPTICS, each.block.name)] for each in (first, table))
        if [(one.name, one.values, one.columns) for one in ours] != [(one.name, one.values, one.columns) for one in theirs]:
            raise InputError(
                "the further blocks of the file are not those of the first", file=table.path, fix="merge the tables alone"
            )


def _labels(found: Sequence[tuple[Sequence[str], Path]], rule: ColumnRule) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns that stay, in the order of the first table, and those that are left out."""
    shared = set[str].intersection(*(set(labels) for labels, _ in found))
    every = list(dict.fromkeys(label for labels, _ in found for label in labels))
    left_out = tuple(label for label in every if label not in shared)
    if left_out and rule == "same":
        label = left_out[0]
        lacking = next(path for labels, path in found if label not in labels)
        told = ", ".join(left_out[:8]) + (" …" if len(left_out) > 8 else "")
        raise InputError(
            f"the tables have different columns: {told}",
            file=lacking,
            expected=f"the column {label} of the other table",
            fix="--columns common leaves out what is not in all of them",
        )
    return tuple(label for label in every if label in shared), left_out


def _merged_optics(
    tables: Sequence[StarTable], blocks: Sequence[StarBlock], rule: ColumnRule
) -> tuple[StarBlock | None, list[StarBlock]]:
    """One optics table for all, and the tables with its numbers."""
    if OPTICS not in tables[0].star:
        return None, list(blocks)
    optics = [_named(table.star[OPTICS], table.path) for table in tables]
    labels, _ = _labels([(tuple(one.columns), table.path) for one, table in zip(optics, tables, strict=True)], rule)
    rows: dict[str, dict[str, str]] = {}
    numbered: list[StarBlock] = []
    for one, table, block in zip(optics, tables, blocks, strict=True):
        place: dict[str, str] = {}
        for row in range(len(one)):
            values = {label: one.columns[label][row] for label in labels}
            name = values[GROUP_NAME]
            known = rows.get(name)
            if known is None:
                rows[name] = {**values, GROUP: str(len(rows) + 1)}
            else:
                _check_same(known, values, name=name, table=table, line=one.line_of(row))
            if place.setdefault(values[GROUP], rows[name][GROUP]) != rows[name][GROUP]:
                raise InputError(f"optics group {values[GROUP]} is defined twice", file=table.path, row=one.line_of(row))
        numbered.append(_renumbered(block, place, table))
    columns = {label: tuple(values[label] for values in rows.values()) for label in labels}
    return replace(tables[0].star[OPTICS], columns=columns, row_lines=()), numbered


def _named(optics: StarBlock, path: Path) -> StarBlock:
    """The optics table with names and numbers."""
    if not len(optics):
        raise InputError("the optics table has no rows", file=path)
    if GROUP not in optics.columns:
        raise InputError(f"the optics table numbers no groups: no column {GROUP}", file=path, fix="add the column")
    if GROUP_NAME in optics.columns:
        return optics
    return optics.with_columns({GROUP_NAME: [f"opticsGroup{number}" for number in optics.columns[GROUP]]})


def _check_same(known: Mapping[str, str], values: Mapping[str, str], *, name: str, table: StarTable, line: int | None) -> None:
    """Raise an error where two groups of one name differ."""
    for label, value in values.items():
        if label != GROUP and not _is_same(known[label], value):
            raise InputError(
                f"optics group “{printable(name)}” has {label} {printable(value)} here and {printable(known[label])} in an earlier table",
                file=table.path,
                row=line,
                cause="two microscopes or pixel sizes under one name",
                fix=f"rename one of them in its data_optics ({GROUP_NAME})",
            )


def _is_same(one: str, other: str) -> bool:
    if one == other:
        return True
    if not (is_number(one) and is_number(other)):
        return False
    return abs(float(one) - float(other)) <= _TOLERANCE * max(abs(float(one)), abs(float(other)))


def _renumbered(block: StarBlock, place: Mapping[str, str], table: StarTable) -> StarBlock:
    """The table with the numbers of the merged groups."""
    if GROUP not in block.columns:
        if len(place) > 1:
            raise InputError(f"the table names no optics group: no column {GROUP}", file=table.path, fix="add the column")
        return block.with_columns({GROUP: next(iter(place.values()), "1") and [next(iter(place.values()))] * len(block)})
    texts = block.columns[GROUP]
    if all(old == new for old, new in place.items()) and set(texts) <= set(place):
        return block
    unknown = next((row for row, text in enumerate(texts) if text not in place), None)
    if unknown is not None:
        raise InputError(
            f"optics group {printable(texts[unknown])} is not in the optics table",
            file=table.path,
            row=block.line_of(unknown),
            expected="one of " + ", ".join(place),
        )
    return block.with_columns({GROUP: [place[text] for text in texts]})


def _joined(blocks: Sequence[StarBlock]) -> StarBlock:
    """The rows of all blocks, whose columns are the same."""
    if not any(isinstance(block.columns, LargeColumns) for block in blocks):
        columns = {label: tuple(text for block in blocks for text in block.columns[label]) for label in blocks[0].columns}
        return replace(blocks[0], columns=columns, row_lines=())
    return replace(blocks[0], columns=concatenated([_as_large(block) for block in blocks]), row_lines=())


def _as_large(block: StarBlock) -> LargeColumns:
    """The columns of the block as bytes."""
    if isinstance(block.columns, LargeColumns):
        return block.columns
    columns = Parser(format_star([block]).encode("utf-8", "surrogateescape"), None, large=-64).blocks()[0].columns
    if not isinstance(columns, LargeColumns):
        return LargeColumns(b"", np.empty((len(block), 0), np.uint32), dict(columns))
    return columns


def _first_of_each(keys: Sequence[object], rule: CopyRule, path: Path, what: str) -> tuple[NDArray[np.int64] | None, int]:
    """The rows to keep, or None for all, and how many were there before."""
    count = len(keys) - len(set(keys))
    if not count:
        return None, 0
    first: dict[object, int] = {}
    kept = np.array([first.setdefault(key, row) == row for row, key in enumerate(keys)])
    if rule == "refuse":
        row = int(np.flatnonzero(~kept)[0])
        shown = keys[row]
        told = " ".join(map(str, shown)) if isinstance(shown, tuple) else str(shown)
        raise InputError(
            f"{count} items are there twice (the same {what}), the first {printable(told)}",
            file=path,
            fix="--copies remove keeps the first of each",
        )
    return (np.flatnonzero(kept) if rule == "remove" else None), count


def _merged_records(tables: Sequence[RecordTable], target: Path, columns: ColumnRule, copies: CopyRule) -> Merged:
    """The same for records of .cs files; a field must have one type."""
    names, left_out = _labels([(table.records.dtype.names or (), table.path) for table in tables], columns)
    for table in tables[1:]:
        for name in names:
            ours, theirs = tables[0].records.dtype[name], table.records.dtype[name]
            if ours != theirs and not (ours.kind == theirs.kind and ours.kind in "SU"):
                raise InputError(f"{name} is of type {theirs} here and {ours} in the first file", file=table.path)
    kinds = [(name, max((table.records.dtype[name] for table in tables), key=lambda kind: kind.itemsize)) for name in names]
    records = np.empty(sum(len(table) for table in tables), dtype=kinds)
    row = 0
    for table in tables:
        for name in names:
            records[name][row : row + len(table)] = table.records[name]
        row += len(table)
    keys = records[UID].tolist() if UID in names else []
    kept, count = _first_of_each(keys, copies, target, UID)
    return Merged(
        table=RecordTable(records=records if kept is None else records[kept], path=target),
        groups=0,
        left_out=left_out,
        copies=count,
    )
