"""Numbers in STAR columns: read with errors that name file, line and column, and written in the form RELION writes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryowalk.core.errors import InputError, printable
from cryowalk.io.star import StarBlock
from cryowalk.io.star_columns import LargeColumns

_MANY = 200_000  # numbers that are written by compiled code
_EXACT = 2.0**50  # whole numbers of units below this have the digits of the number itself


def numbers(
    block: StarBlock, label: str, *, path: Path | None, low: float = -1e12, high: float = 1e12, hint: str = ""
) -> NDArray[np.float64]:
    """The column as finite numbers within [low, high].

    Raises
    ------
    InputError
        If the column is missing, or a value is no number or out of range; `hint` is the likely cause then.
    """
    if isinstance(block.columns, LargeColumns) and label in block.columns:
        plain = block.columns.numbers(label)
        if plain is not None and bool(((plain >= low) & (plain <= high)).all()):  # false for NaN too: then as texts
            return plain
    texts = column(block, label, path=path)
    try:
        values = np.fromiter(map(float, texts), np.float64, len(texts))
        wrong = np.flatnonzero(~((values >= low) & (values <= high)))  # true for NaN too
        row = int(wrong[0]) if len(wrong) else None
        if row is None and "_" in "".join(texts):  # float() takes 1_0 for 10
            row = next(i for i, text in enumerate(texts) if "_" in text)
    except ValueError:
        row = next(i for i, text in enumerate(texts) if not is_number(text))
    if row is None:
        return values
    text = texts[row]
    expected = "a number" if low <= -1e12 else f"a number from {low:g} to {high:g}"
    cause = "a decimal comma" if is_number(text.replace(",", ".", 1)) and "," in text else hint
    fix = "write a decimal point" if cause == "a decimal comma" else "correct or remove that row"
    raise InputError(
        f"{label} is “{printable(text)}”", file=path, row=block.line_of(row), expected=expected, cause=cause, fix=fix
    )


def integers(block: StarBlock, label: str, *, path: Path | None, low: int = -(2**31), high: int = 2**31) -> NDArray[np.int64]:
    """The column as whole numbers within [low, high]; `1.000` is 1.

    Raises
    ------
    InputError
        If the column is missing, or a value is no whole number or out of range.
    """
    values = numbers(block, label, path=path, low=low, high=high)
    whole = values.astype(np.int64)
    wrong = np.flatnonzero(whole != values)
    if len(wrong):
        row = int(wrong[0])
        raise InputError(f"{label} is {block.columns[label][row]}", file=path, row=block.line_of(row), expected="a whole number")
    return whole


def column(block: StarBlock, label: str, *, path: Path | None) -> tuple[str, ...]:
    """The texts of a column.

    Raises
    ------
    InputError
        If the block has no such column.
    """
    if label not in block.columns:
        raise InputError(
            f"data_{block.name} has no column {label}",
            file=path,
            expected="the columns "
            + ", ".join(list(block.columns)[:12])
            + (" …" if len(block.columns) > 12 else "")
            + f" and {label}",
            fix="add the column, or name another file",
        )
    return block.columns[label]


def is_number(text: str) -> bool:
    """Whether the text is a number, `nan` and `inf` among them."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def number_texts(values: Any, *, digits: int = 6) -> tuple[str, ...]:
    """Each number with so many digits after the point, as RELION writes them; never a negative zero."""
    rounded = np.round(np.asarray(values, dtype=np.float64), digits) + 0.0
    if rounded.size >= _MANY and (texts := _fixed_texts(rounded, digits)) is not None:
        return texts
    return tuple((f"%.{digits}f " * rounded.size % tuple(rounded.tolist())).split())


def _fixed_texts(rounded: NDArray[Any], digits: int) -> tuple[str, ...] | None:
    """The same for many numbers, in compiled code; None where one is too large for its digits to be those of a whole number of units."""
    units = np.rint(rounded.reshape(-1) * 10.0**digits)
    if not bool((np.abs(units) < _EXACT).all()):  # nor where one is not finite
        return None
    from cryowalk.io.star_compiled import fixed_point

    out = np.empty(units.size * (digits + 20), np.uint8)
    size = fixed_point(units.astype(np.int64), digits, out)
    return tuple(out[:size].tobytes().decode("ascii").split("\n")[:-1])


def constant_texts(values: Any) -> tuple[str, ...]:
    """Each number with six digits after the point where these are all it has, otherwise with all its digits."""
    return tuple(
        text if abs(float(text) - value) <= 1e-12 else repr(value)
        for value, text in zip(map(float, values), number_texts(values), strict=True)
    )


def exact_texts(values: Any) -> tuple[str, ...]:
    """Each number as the shortest text that gives the same double-precision number back."""
    return tuple(map(repr, np.asarray(values, dtype=np.float64).tolist()))


def integer_texts(values: Any) -> tuple[str, ...]:
    """Each whole number as text."""
    return tuple(map(str, np.asarray(values).tolist()))


def vector_text(values: Sequence[float]) -> str:
    """A vector as RELION writes it in one cell: `[a,b,c]`."""
    return "[" + ",".join(map(repr, values)) + "]"


def vector(text: str, *, label: str, path: Path | None, row: int | None = None) -> tuple[float, ...]:
    """The numbers of a cell `[a,b,c]`.

    Raises
    ------
    InputError
        If the cell is not of that form.
    """
    inside = text.strip()
    parts = [part.strip() for part in inside[1:-1].split(",") if part.strip()]
    if not (inside.startswith("[") and inside.endswith("]") and all(map(is_number, parts))):
        raise InputError(f"{label} is “{printable(text)}”", file=path, row=row, expected="numbers as [a,b,c]")
    if not np.isfinite(list(map(float, parts))).all():
        raise InputError(f"{label} holds a value that is not finite", file=path, row=row)
    return tuple(map(float, parts))
