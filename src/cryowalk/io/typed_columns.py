"""Columns of STAR text as numbers and back, exactly: a number is kept with the form it was written in, and with its text where no form gives it again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cryowalk.core.errors import InputError

Form = Literal["integer", "fixed", "shortest", "as written", "text"]
MOST_DECIMALS = 17
LARGEST_TEXTS = 2**31  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedColumn:
    """One column: `values` are int64, float64 or bytes (UTF-8), and `form` says how they are written.

    "fixed" has so many `decimals`; "shortest" is the shortest text that gives the same number; "as written" has the texts beside it in `written`.
    """

    label: str
    values: NDArray[Any]
    form: Form
    decimals: int = 0
    written: NDArray[Any] | None = None


def typed_column(label: str, texts: Sequence[str]) -> TypedColumn:
    """The column as numbers where every text is one, as bytes otherwise.

    Raises
    ------
    InputError
        If one text is so long that a column of its width would not fit into memory.

    >>> typed_column("rlnDefocusU", ("10300.500000", "-0.250000")).form
    'fixed'
    >>> column_texts(typed_column("rlnGroupName", ("007", "1e3")))
    ('007', '1e3')
    """
    texts = tuple(texts)
    whole = _integers(texts)
    if whole is not None:
        return TypedColumn(label=label, values=whole, form="integer")
    try:
        values = np.fromiter(map(float, texts), np.float64, len(texts))
    except (ValueError, OverflowError):
        return TypedColumn(label=label, values=_bytes(texts), form="text")
    decimals = len(texts[0].rpartition(".")[2]) if texts and "." in texts[0] else 0
    if decimals <= MOST_DECIMALS and _fixed(values, decimals) == texts:
        return TypedColumn(label=label, values=values, form="fixed", decimals=decimals)
    if _shortest(values) == texts:
        return TypedColumn(label=label, values=values, form="shortest")
    return TypedColumn(label=label, values=values, form="as written", written=_bytes(texts))


def column_texts(column: TypedColumn) -> tuple[str, ...]:
    """The texts of a column; numbers that were changed since they were written give their own text."""
    values = column.values
    if column.form == "text":
        return _texts(values)
    if column.form == "integer":
        return tuple(map(str, values.tolist()))
    if column.form == "fixed":
        return _fixed(values, column.decimals)
    own = _shortest(values)
    if column.written is None:
        return own
    written = _texts(column.written)
    return tuple(text if _is(text, value) else mine for text, value, mine in zip(written, values.tolist(), own, strict=True))


def _integers(texts: tuple[str, ...]) -> NDArray[Any] | None:
    """The column as whole numbers, where these give the same texts again."""
    try:
        values = np.fromiter(map(int, texts), np.int64, len(texts))
    except (ValueError, OverflowError):
        return None
    return values if tuple(map(str, values.tolist())) == texts else None


def _fixed(values: NDArray[Any], decimals: int) -> tuple[str, ...]:
    if not len(values):
        return ()
    return tuple((f"%.{decimals}f\n" * len(values) % tuple(values.tolist())).split("\n")[:-1])


def _shortest(values: NDArray[Any]) -> tuple[str, ...]:
    return tuple(map(repr, values.tolist()))


def _is(text: str, value: float) -> bool:
    """Whether the text is this number (two that are not a number are the same here)."""
    try:
        number = float(text)
    except ValueError:
        return False
    return number == value or (number != number and value != value)


def _bytes(texts: Sequence[str]) -> NDArray[Any]:
    encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
    longest = max(1, max(map(len, encoded), default=1))
    if longest * len(encoded) > LARGEST_TEXTS:
        raise InputError(
            f"a text of {longest} characters stands in a column of {len(encoded)} rows",
            expected=f"at most {LARGEST_TEXTS // 2**30} GiB when all are as long",
            fix="shorten it",
        )
    return np.array(encoded, dtype=f"S{longest}")


def _texts(values: NDArray[Any]) -> tuple[str, ...]:
    joined = b"\n".join(values.tolist())
    if joined.count(b"\n") == max(0, len(values) - 1):
        return tuple(joined.decode("utf-8", "surrogateescape").split("\n")) if len(values) else ()
    return tuple(value.decode("utf-8", "surrogateescape") for value in values.tolist())
