"""Rows of small text tables and the numbers in them, with errors that name file, line and value."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryowalk.core.errors import InputError, printable
from cryowalk.io.opening import read_text

SMALL = 2**28  # bytes of a text of this kind; the largest real ones have some ten MiB
_LINE_ENDS = re.compile(r"\r\n|\n|\r")


def text_lines(path: Path) -> list[str]:
    """The lines of a text file, without their ends; the line numbers of errors count them from 1.

    Raises
    ------
    InputError
        If the file is missing, empty, binary or larger than such files are.
    """
    lines = _LINE_ENDS.split(read_text(path, limit=SMALL))
    return lines[:-1] if lines and not lines[-1] else lines


def real(text: str, *, what: str, path: Path | None, line: int | None, low: float = -1e12, high: float = 1e12) -> float:
    """The number that a text is, within [low, high].

    Raises
    ------
    InputError
        If it is none, or lies elsewhere.
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high or "_" in text:
        expected = "a number" if low <= -1e12 else f"a number from {low:g} to {high:g}"
        cause = "a decimal comma" if "," in text and text.replace(",", "", 1).replace(".", "").lstrip("+-").isdigit() else ""
        raise InputError(f"{what} is “{printable(text[:40])}”", file=path, row=line, expected=expected, cause=cause)
    return value


def whole(text: str, *, what: str, path: Path | None, line: int | None, low: int = -(2**31), high: int = 2**31) -> int:
    """The whole number that a text is, within [low, high]; `1.000` is 1.

    Raises
    ------
    InputError
        If it is none, or lies elsewhere.
    """
    value = real(text, what=what, path=path, line=line, low=low, high=high)
    if value != int(value):
        raise InputError(f"{what} is “{printable(text[:40])}”", file=path, row=line, expected="a whole number")
    return int(value)


def is_number(text: str) -> bool:
    """Whether a text is a number as programs write them; `nan` and `inf` are not meant here."""
    try:
        return bool(np.isfinite(float(text))) and "_" not in text
    except ValueError:
        return False


def number_table(
    rows: Sequence[tuple[int, Sequence[str]]], *, columns: int, what: str, path: Path | None, largest: float = 1e12
) -> NDArray[np.float64]:
    """Rows (line, cells) of so many numbers each, as an array.

    Raises
    ------
    InputError
        If a row has another number of cells, or a cell is no number of at most that size.
    """
    for line, cells in rows:
        if len(cells) != columns:
            raise InputError(f"the row has {len(cells)} values", file=path, row=line, expected=f"{columns}: {what}")
    try:
        values = np.array([cells for _, cells in rows], dtype=np.float64).reshape(len(rows), columns)
        sound = bool((np.abs(values) <= largest).all()) and not any("_" in cell for _, cells in rows for cell in cells)
    except (ValueError, OverflowError):
        sound = False
    if sound:
        return values
    exact = [[real(cell, what=what, path=path, line=line, low=-largest, high=largest) for cell in cells] for line, cells in rows]
    return np.array(exact, dtype=np.float64).reshape(len(rows), columns)


def fixed(value: float, *, digits: int, width: int = 0) -> str:
    """A number with so many digits after the point where that is all it has, otherwise with as many as give it back.

    In a column of a `width` it never touches the one before it.
    """
    text = f"{value + 0.0:{width}.{digits}f}"
    text = text if float(text) == value else f"{value!r:>{width}}"
    return text if not width or text[0] == " " else f" {text}"
