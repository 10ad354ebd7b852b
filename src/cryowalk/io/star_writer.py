"""The text of STAR blocks, in pieces: values quoted where STAR needs it, rows of large tables put together in compiled loops."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryowalk.core.errors import InputError
from cryowalk.io.star_columns import LargeColumns
from cryowalk.io.star_parser import PLAIN, shown

_NEEDS_QUOTES = re.compile(r"^$|[ \t]|^['\"#;_$]|^(?:data_|loop_|save_|global_|stop_)", re.IGNORECASE)
_RESERVED = (b"\ndata_", b"\nloop_", b"\nsave_", b"\nglobal_", b"\nstop_")
_UNWRITABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_MANY = 2_000_000  # values; a larger table is put together by compiled code
_PIECE = 2**24  # bytes
_SPAN = 2**16  # rows


def block_pieces(
    *,
    name: str,
    comments: Sequence[str],
    values: Mapping[str, str],
    columns: Mapping[str, Sequence[str]],
    path: Path | None = None,
) -> Iterator[bytes]:
    """The text of one block; `path` is for error messages.

    Raises
    ------
    InputError
        If a name or a value cannot be written in STAR, or columns differ in length.
    """
    if re.search(r"[\s\x00-\x20]", name):
        raise InputError(f"a block cannot be named {shown(name)}", file=path, fix="use a name without blanks")
    lines = ["", *comments, *([""] if comments else []), f"data_{name}", ""]
    labels = [*values, *columns]
    wrong = next((label for label in labels if not label or re.search(r"[\s\x00-\x20]", label)), None)
    if wrong is not None or len(set(labels)) != len(labels):
        raise InputError(f"labels must be words that differ: {shown(' '.join(labels) if wrong is None else wrong)}", file=path)
    if values:
        width = max(map(len, values))
        texts = _quoted(tuple(values.values()), label="a single value", path=path)
        lines += [f"_{label:<{width}}  {text}" for label, text in zip(values, texts, strict=True)] + [""]
    if columns:
        lines += ["loop_", *(f"_{label} #{number}" for number, label in enumerate(columns, start=1))]
    yield _encoded(lines)
    if columns:
        yield from _rows(columns, name=name, path=path)
        yield b"\n"


def _encoded(lines: Sequence[str]) -> bytes:
    """The lines, each with its end."""
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def _rows(columns: Mapping[str, Sequence[str]], *, name: str, path: Path | None) -> Iterator[bytes]:
    """The rows of a loop."""
    if isinstance(columns, LargeColumns):
        yield from _untouched_rows(columns) if columns.is_untouched else _joined_rows(columns, path)
        return
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1:
        raise InputError(f"the columns of data_{name} differ in length: {sorted(lengths)} rows", file=path)
    rows = lengths.pop()
    if rows * len(columns) >= _MANY:
        given = {label: tuple(column) for label, column in columns.items()}
        yield from _joined_rows(LargeColumns(b"", np.empty((rows, 0), np.uint32), given), path)
        return
    quoted = [_quoted(column, label=label, path=path) for label, column in columns.items()]
    if rows:
        yield _encoded(list(map(" ".join, zip(*quoted, strict=True))))


def _untouched_rows(columns: LargeColumns) -> Iterator[bytes]:
    """The rows as the lines they stand on in their file."""
    from cryowalk.io.star_compiled import copy_lines

    raw, out, row = columns.raw, np.empty(_PIECE, np.uint8), 0
    while row < columns.rows:
        following, size = copy_lines(raw, columns.begins, row, out)
        if following == row:
            out = np.empty(2 * len(out), np.uint8)
        row = following
        yield out[:size].tobytes()


def _joined_rows(columns: LargeColumns, path: Path | None) -> Iterator[bytes]:
    """The rows put together value by value."""
    from cryowalk.io.star_compiled import join_rows

    given = {label: place for label, place in columns.order.items() if isinstance(place, tuple)}
    wrong = next((label for label, texts in given.items() if len(texts) != columns.rows), None)
    if wrong is not None:
        raise InputError(f"the columns differ in length: {len(given[wrong])} and {columns.rows} rows", file=path)
    order = np.array(
        [-1 - list(given).index(label) if isinstance(place, tuple) else place for label, place in columns.order.items()], np.int64
    )
    raw, out = columns.raw, np.empty(_PIECE, np.uint8)
    for start in range(0, columns.rows, _SPAN):
        row, stop = start, min(start + _SPAN, columns.rows)
        while row < stop:
            texts, places = _given_lines({label: column[row:stop] for label, column in given.items()}, row, path)
            following, size = join_rows(raw, columns.begins, texts, places, order, np.array([row, stop]), out)
            if following == row:
                out = np.empty(2 * len(out), np.uint8)
            row = following
            yield out[:size].tobytes()


def _given_lines(
    columns: Mapping[str, Sequence[str]], first: int, path: Path | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The texts of columns, quoted where it is needed, one a line, and where each begins: (rows, columns)."""
    rows = len(next(iter(columns.values()), ()))
    places: NDArray[Any] = np.zeros((rows, len(columns)), np.int64)
    parts: list[bytes] = []
    length = 0
    for k, (label, column) in enumerate(columns.items()):
        lines = _plain_lines(column)
        if lines is None:
            lines = _encoded([_quote(value, label=label, row=first + row, path=path) for row, value in enumerate(column)])
        places[1:, k] = np.flatnonzero(np.frombuffer(lines, np.uint8) == 10)[:-1] + 1
        places[:, k] += length
        parts.append(lines)
        length += len(lines)
    return np.frombuffer(b"".join(parts), np.uint8), places


def _quoted(column: Sequence[str], *, label: str, path: Path | None, first: int = 0) -> Sequence[str]:
    """The values with quotes where STAR needs them; `first` is the row of the first."""
    if _plain_lines(column) is not None:
        return column
    return [_quote(value, label=label, row=first + row, path=path) for row, value in enumerate(column)]


def _plain_lines(column: Sequence[str]) -> bytes | None:
    """The values, one a line, where none needs quotes or could not be written; None otherwise, and where only a closer look can tell."""
    text = "\n".join(column) + "\n"
    if not text.isascii():
        return None
    lines = text.encode("ascii")
    led = b"\n" + lines
    if lines.translate(None, PLAIN) or b" " in lines or b"\t" in lines or lines.count(b"\n") != len(column) or b"\n\n" in led:
        return None
    if any(mark in led for mark in (b"\n;", b"\n_", b"\n$")):
        return None
    lowered = led.lower() if b"_" in lines else b""
    return None if any(word in lowered for word in _RESERVED) else lines


def _quote(value: str, *, label: str, row: int, path: Path | None) -> str:
    """One value with quotes where STAR needs them."""
    if _UNWRITABLE.search(value):
        raise InputError(
            f"row {row + 1} of {label} holds a control character: {shown(value)}", file=path, fix="rename the file it names"
        )
    if not _NEEDS_QUOTES.search(value):
        return value
    for mark in "\"'":
        if not re.search(f"{mark}[ \t]", value):
            return f"{mark}{value}{mark}"
    raise InputError(
        f"row {row + 1} of {label} holds quotes of both kinds before blanks: {shown(value)}",
        file=path,
        fix="rename the file it names",
    )
