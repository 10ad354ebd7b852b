"""Which rows of a table are meant: by an expression, classes, an index file, chance or place; and how a table is split."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from cryowalk.core.errors import InputError, SafetyRefusal, UsageError, printable
from cryowalk.io.opening import open_file, read_text
from cryowalk.io.table_expressions import rows_where
from cryowalk.io.tables import StarTable, Table, class_column

if TYPE_CHECKING:
    import torch

INDEX_LIMIT = 2**30  # bytes of an index file
HALVES = ("rlnRandomSubset", "alignments3D/split", "alignments2D/split")
_LARGEST_PARTS = 10_000
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which rows are kept: those that meet all expressions, are in the classes and in the index file, each where given.

    Of these the first, the last or a random part are kept where that is asked for (`random` is a number of rows, or below 1 their share); with
    `is_inverse` all the others.
    """

    where: tuple[str, ...] = ()
    classes: Sequence[int] | None = None
    indices: Path | None = None
    first: int | None = None
    last: int | None = None
    random: float | None = None
    is_inverse: bool = False

    def is_empty(self) -> bool:
        """Whether nothing is asked for."""
        return not self.where and all(each is None for each in (self.classes, self.indices, self.first, self.last, self.random))


def chosen_rows(table: Table, choice: Choice, *, generator: "torch.Generator | None" = None) -> Indices:
    """The rows of the table that the choice keeps, in the order of the table.

    Raises
    ------
    UsageError
        If more than one of first, last and random is asked for, more rows than there are, or the expression is not understood.
    InputError
        If no row is kept, a column or an index is missing, or a file cannot be used.
    """
    keep = np.ones(len(table), np.bool_)
    for expression in choice.where:
        keep &= rows_where(expression, table)
    if choice.classes is not None:
        keep &= np.isin(table.numbers(class_column(table)), np.array(sorted(choice.classes), dtype=np.float64))
    if choice.indices is not None:
        listed = np.zeros(len(table), np.bool_)
        listed[read_indices(choice.indices, count=len(table))] = True
        keep &= listed
    rows = _part_of(np.flatnonzero(keep), choice, generator)
    if choice.is_inverse:
        left = np.ones(len(table), np.bool_)
        left[rows] = False
        rows = np.flatnonzero(left)
    if not len(rows):
        raise InputError(f"none of {len(table)} rows is left", file=table.path, fix="ask for less")
    return rows


def _part_of(rows: Indices, choice: Choice, generator: "torch.Generator | None") -> Indices:
    """The first, the last or a random part of the rows."""
    asked = [name for name in ("first", "last", "random") if getattr(choice, name) is not None]
    if len(asked) > 1:
        raise UsageError(f"--{asked[0]} and --{asked[1]} were both given", fix="give one of them, or select twice")
    if not asked:
        return rows
    number = getattr(choice, asked[0])
    count = round(number * len(rows)) if number < 1 else int(number)
    if number >= 1 and count != number:
        raise UsageError(f"--random {number:g} is neither a number of rows nor a share below 1")
    if count > len(rows):
        raise UsageError(f"--{asked[0]} {count} is more than there are: {len(rows)} rows")
    if asked[0] == "random":
        import torch

        return np.sort(rows[torch.randperm(len(rows), generator=generator)[:count].numpy()])
    return rows[:count] if asked[0] == "first" else rows[len(rows) - count :]


def read_indices(path: str | Path, *, count: int) -> Indices:
    """The rows that an index file names, counted from 0, sorted, each once: a list of numbers in text, a .npy array, or cryoDRGN's ind.pkl.

    Of a .npy array or pickle of `count` truth values those that are true are meant. No object in it is built, no code run.

    Raises
    ------
    InputError
        If the file holds no whole numbers, or one beyond the table.
    SafetyRefusal
        If it holds pickled objects.
    """
    path = Path(path)
    with open_file(path) as stream:
        start = stream.read(8)
    values: NDArray[Any]
    if start.startswith(npy.MAGIC_PREFIX):
        values = _array(path)
    elif path.suffix.lower() == ".pkl" or (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05"):
        from cryowalk.io.safe_pickle import read_numpy_pickle

        values = _numbers_of(read_numpy_pickle(path), path)
    else:
        values = _listed(path)
    if values.dtype == bool:
        if values.shape != (count,):
            raise InputError(f"the file holds {values.size} truth values, the table {count} rows", file=path)
        return np.flatnonzero(values)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise InputError(
            f"the file holds values of kind {values.dtype} in {values.ndim} dimensions",
            file=path,
            expected="a list of whole numbers",
        )
    wrong = values[(values < 0) | (values >= count)]
    if len(wrong):
        raise InputError(
            f"row {wrong[0]} is named, the table has rows 0 to {count - 1}",
            file=path,
            cause="an index file of another table" if wrong[0] != count else "rows counted from 1 (here they count from 0)",
        )
    return np.unique(values.astype(np.int64))


def _numbers_of(thing: Any, path: Path) -> NDArray[Any]:
    """What a pickle holds, as an array."""
    try:
        return np.asarray(thing)
    except (ValueError, OverflowError, TypeError) as error:
        raise InputError(f"the file holds no list of rows: {printable(str(error)[:200])}", file=path) from error


def _array(path: Path) -> NDArray[Any]:
    """The array of a .npy file, its header compared with the length of the file by memory mapping."""
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if values.nbytes > INDEX_LIMIT:
            raise InputError(f"the file holds {values.nbytes} bytes of numbers", file=path, expected="a list of rows")
        return np.array(values)
    except ValueError as error:
        if "allow_pickle" in str(error) or "object" in str(error).lower():
            raise SafetyRefusal(
                "the file holds pickled objects, which could run code", file=path, fix="save whole numbers"
            ) from error
        raise InputError(f"the file cannot be read: {printable(str(error)[:200])}", file=path, expected="a .npy array") from error
    except (OSError, EOFError, OverflowError, MemoryError, SyntaxError, TypeError, RecursionError) as error:
        raise InputError(f"the file cannot be read: {printable(str(error)[:200])}", file=path, expected="a .npy array") from error


def _listed(path: Path) -> NDArray[np.int64]:
    """The numbers of a text file, with blanks, commas or line ends between; what follows # is a comment."""
    found: list[str] = []
    for number, line in enumerate(read_text(path, limit=INDEX_LIMIT).splitlines(), start=1):
        words = line.partition("#")[0].replace(",", " ").split()
        wrong = next((word for word in words if not (word.isascii() and word.lstrip("-").isdigit() and len(word) < 18)), None)
        if wrong is not None:
            raise InputError(
                f"“{printable(wrong[:40])}” is no row", file=path, row=number, expected="whole numbers, counted from 0"
            )
        found += words
    return np.array(found, dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a table: what its file is called after, and its rows."""

    name: str
    rows: Indices


def parts_of(count: int, *, parts: int | None = None, size: int | None = None, order: Indices | None = None) -> tuple[Part, ...]:
    """So many rows in equal parts (the first ones longer by one where they must be), or in parts of a size (the last shorter), in order or in another.

    Raises
    ------
    UsageError
        If there would be more parts than rows, or more than 10,000.
    """
    order = np.arange(count) if order is None else order
    number = parts if parts is not None else -(-count // size) if size is not None else 1
    if not 1 <= number <= min(count, _LARGEST_PARTS):
        raise UsageError(f"{count} rows cannot be split into {number} parts", expected=f"1 to {min(count, _LARGEST_PARTS)} parts")
    lengths = [count // number + (k < count % number) for k in range(number)] if size is None else [size] * (number - 1)
    edges = [*np.cumsum([0, *lengths]).tolist(), count][: number + 1]
    rows = [np.sort(order[a:b]) for a, b in pairwise(edges)]
    return tuple(Part(name=f"split{k}", rows=each) for k, each in enumerate(rows, start=1))


def parts_by(table: Table, label: str) -> tuple[Part, ...]:
    """The rows with each value of a column, in the order in which the values appear.

    Raises
    ------
    UsageError
        If there is no such column.
    InputError
        If it holds more than 10,000 values.
    """
    if label not in table.labels:
        raise UsageError(
            f"--by {label}: no such column", expected=", ".join(table.labels[:12]) + (" …" if len(table.labels) > 12 else "")
        )
    texts = table.texts(label)
    first: dict[str, int] = {}
    which = np.fromiter((first.setdefault(text, len(first)) for text in texts), np.int64, len(texts))
    if len(first) > _LARGEST_PARTS:
        raise InputError(f"{label} has {len(first)} values", file=table.path, expected=f"at most {_LARGEST_PARTS}")
    order = np.argsort(which, kind="stable")
    edges = np.searchsorted(which[order], np.arange(len(first) + 1))
    names = _file_names(first)
    return tuple(Part(name=name, rows=order[edges[k] : edges[k + 1]]) for k, name in enumerate(names))


def _file_names(values: Sequence[str] | dict[str, int]) -> Iterator[str]:
    """A name that a file can have for each value, all different in letters of any case."""
    seen: set[str] = set()
    for value in values:
        plain = re.sub(r"[^\w.+-]+", "_", value).strip("._")[:80] or "empty"
        name, again = plain, 1
        while name.lower() in seen:
            again += 1
            name = f"{plain}_{again}"
        seen.add(name.lower())
        yield name


def half_sets(table: Table) -> tuple[Part, ...]:
    """The rows of the two half sets.

    Raises
    ------
    InputError
        If the table has none, or a row is in neither.
    """
    label = next((label for label in HALVES if label in table.labels), None)
    if label is None:
        raise InputError("the table has no half sets", file=table.path, expected=" or ".join(HALVES), fix="refine first")
    values = table.numbers(label)
    low = 1 if isinstance(table, StarTable) else 0  # cryoSPARC counts from 0
    found = tuple(Part(name=f"half{k + 1}", rows=np.flatnonzero(values == low + k)) for k in range(2))
    lost = len(values) - sum(len(part.rows) for part in found)
    if lost or not all(len(part.rows) for part in found):
        raise InputError(
            f"{label}: {len(found[0].rows)} rows in the first half, {len(found[1].rows)} in the second, {lost} in neither",
            file=table.path,
            expected="every row in one of two halves",
        )
    return found
