"""The columns of a large STAR table, whose rows stay the bytes of the file: a column becomes texts, or numbers, when it is asked for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.integer[Any]]


class RowLines(Sequence[int]):
    """The lines of a file that rows stand on."""

    def __init__(self, lines: NDArray[np.integer[Any]]) -> None:
        self._lines = lines

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, row: int) -> int: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[int]: ...
    def __getitem__(self, row: int | slice) -> int | Sequence[int]:
        """The line of a row, or the lines of some."""
        return RowLines(self._lines[row]) if isinstance(row, slice) else int(self._lines[row])

    def take(self, rows: Rows) -> "RowLines":
        """The lines of these rows."""
        return RowLines(self._lines[rows])


class LargeColumns(Mapping[str, tuple[str, ...]]):
    """Columns by label: those of a file as places in its bytes, and columns of texts given instead or beside.

    `begins` (rows, columns of the file) is where each value begins in `content`, behind its quote mark if it has one. `order` maps each label to its
    column of `begins`, or to the texts given.
    """

    def __init__(
        self, content: bytes | bytearray, begins: NDArray[np.unsignedinteger[Any]], order: Mapping[str, int | tuple[str, ...]]
    ) -> None:
        self.content, self.begins, self.order = content, begins, dict(order)
        self._texts: dict[str, tuple[str, ...]] = {}

    def __getitem__(self, label: str) -> tuple[str, ...]:
        place = self.order[label]
        if isinstance(place, tuple):
            return place
        if label not in self._texts:
            self._texts[label] = tuple(self.lines(label).decode("utf-8", "surrogateescape").split("\n")[:-1])
        return self._texts[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.order)

    def __contains__(self, label: object) -> bool:
        return label in self.order

    @property
    def raw(self) -> NDArray[np.uint8]:
        """The bytes that values lie in."""
        return read_only(self.content)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.begins)

    @property
    def is_untouched(self) -> bool:
        """Whether the columns are those of the file in its order, so that rows can be written as the lines they stand on."""
        return list(self.order.values()) == list(range(self.begins.shape[1]))

    def lines(self, label: str) -> bytes:
        """The values of a column of the file, each with a line end."""
        from cryowalk.io.star_compiled import column_lines, column_size

        begins = np.ascontiguousarray(self.begins[:, self._place(label)])
        out = np.empty(column_size(self.raw, begins), np.uint8)
        column_lines(self.raw, begins, out)
        return out.tobytes()

    def numbers(self, label: str) -> NDArray[np.float64] | None:
        """The column as numbers, NaN where a value is not a plain decimal number; None for texts that were given."""
        if isinstance(self.order[label], tuple):
            return None
        from cryowalk.io.star_compiled import column_numbers

        out = np.empty(self.rows, np.float64)
        column_numbers(self.raw, np.ascontiguousarray(self.begins[:, self._place(label)]), out)
        return out

    def text_of(self, label: str, row: int) -> str:
        """One value."""
        return self.take(np.array([row]))[label][0]

    def take(self, rows: Rows) -> "LargeColumns":
        """The columns with these rows only, in the order given."""
        order = {
            label: tuple([place[row] for row in rows]) if isinstance(place, tuple) else place
            for label, place in self.order.items()
        }
        return LargeColumns(self.content, self.begins[rows], order)

    def with_columns(self, columns: Mapping[str, Sequence[str]]) -> "LargeColumns":
        """The same with these columns in place of those of the same labels, new ones at the end."""
        return LargeColumns(
            self.content, self.begins, {**self.order, **{label: tuple(texts) for label, texts in columns.items()}}
        )

    def only(self, labels: Iterable[str]) -> "LargeColumns":
        """The same with these columns alone, in this order."""
        return LargeColumns(self.content, self.begins, {label: self.order[label] for label in labels})

    def _place(self, label: str) -> int:
        place = self.order[label]
        if isinstance(place, tuple):
            raise TypeError(f"{label} was given as texts")
        return place


def read_only(content: bytes | bytearray) -> NDArray[np.uint8]:
    """The bytes as numbers; compiled code is made for arrays that are not written to."""
    raw = np.frombuffer(content, np.uint8)
    raw.flags.writeable = False
    return raw


def concatenated(parts: Sequence[LargeColumns]) -> LargeColumns:
    """The rows of all parts, one after the other; they must have the same labels, and keep the order of the first."""
    first = parts[0]
    from_files = [label for label in first.order if all(isinstance(part.order[label], int) for part in parts)]
    length = sum(len(part.content) + 1 for part in parts)
    kind = np.uint32 if length < 2**32 else np.int64
    begins = np.empty((sum(part.rows for part in parts), max(1, len(from_files))), kind)
    row = start = 0
    for part in parts:
        places = [place for label in from_files if isinstance(place := part.order[label], int)]
        begins[row : row + part.rows, : len(places)] = part.begins[:, places]
        begins[row : row + part.rows] += kind(start)
        row, start = row + part.rows, start + len(part.content) + 1
    order: dict[str, int | tuple[str, ...]] = {
        label: from_files.index(label) if label in from_files else tuple(text for part in parts for text in part[label])
        for label in first.order
    }
    return LargeColumns(b"\n".join(bytes(part.content) for part in parts), begins, order)
