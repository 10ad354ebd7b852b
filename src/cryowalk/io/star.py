"""STAR tables, every value kept as the text it is: `007` stays `007`, blanks and quotes survive, columns keep their order.

One row a line, as all programs of the field write it. Lines may end in CR LF; comments, tabs and a byte-order mark are accepted. The rows of a large
table stay the bytes of the file until a column is asked for, and untouched rows are written as the lines they were.

Source: Hall, J. Chem. Inf. Comput. Sci. 31, 326 (1991); RELION's use of it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cryowalk.core.errors import InputError
from cryowalk.io.atomic import atomic_path
from cryowalk.io.opening import read_content
from cryowalk.io.star_columns import LargeColumns, RowLines, Rows
from cryowalk.io.star_parser import Parser
from cryowalk.io.star_writer import block_pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class StarBlock:
    """One block of a STAR file: single values, or the columns of a loop, by label without the leading underscore.

    `row_lines` are the lines of the file that the rows stand on; `comments` the comment lines before the block.
    """

    name: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    comments: tuple[str, ...] = ()
    row_lines: Sequence[int] = ()

    def __len__(self) -> int:
        """How many rows the loop has."""
        if isinstance(self.columns, LargeColumns):
            return self.columns.rows
        return len(next(iter(self.columns.values()), ()))

    def line_of(self, row: int) -> int | None:
        """The line of the file on which this row (counted from 0) stands, or None for a table that was not read."""
        return self.row_lines[row] if row < len(self.row_lines) else None

    def take(self, rows: Rows) -> "StarBlock":
        """The block with these rows (counted from 0) only, in the order given."""
        lines: Sequence[int] = ()
        if len(self.row_lines):
            held = self.row_lines if isinstance(self.row_lines, RowLines) else RowLines(np.asarray(self.row_lines, np.int32))
            lines = held.take(rows)
        if isinstance(self.columns, LargeColumns):
            return replace(self, columns=self.columns.take(rows), row_lines=lines)
        chosen = rows.tolist()
        columns = {label: tuple([column[row] for row in chosen]) for label, column in self.columns.items()}
        return replace(self, columns=columns, row_lines=lines)

    def with_columns(self, columns: Mapping[str, Sequence[str]]) -> "StarBlock":
        """The block with these columns in place of those of the same labels, new ones at the end."""
        if isinstance(self.columns, LargeColumns):
            return replace(self, columns=self.columns.with_columns(columns))
        return replace(self, columns={**self.columns, **{label: tuple(texts) for label, texts in columns.items()}})

    def only(self, labels: Iterable[str]) -> "StarBlock":
        """The block with these columns alone, in this order."""
        if isinstance(self.columns, LargeColumns):
            return replace(self, columns=self.columns.only(labels))
        return replace(self, columns={label: self.columns[label] for label in labels})


@dataclass(frozen=True, slots=True, kw_only=True)
class StarFile:
    """The blocks of a STAR file in their order."""

    blocks: tuple[StarBlock, ...]
    path: Path | None = None

    def __contains__(self, name: str) -> bool:
        return any(block.name == name for block in self.blocks)

    def __getitem__(self, name: str) -> StarBlock:
        """The block of this name.

        Raises
        ------
        InputError
            If there is none, or more than one.
        """
        found = [block for block in self.blocks if block.name == name]
        if len(found) != 1:
            names = ", ".join(f"data_{block.name}" for block in self.blocks) or "nothing"
            raise InputError(
                f"{'no block' if not found else 'more than one block'} named data_{name}",
                file=self.path,
                expected=f"one; the file holds {names}",
            )
        return found[0]


def read_star(path: str | Path) -> StarFile:
    """All blocks of a STAR file, compressed or not.

    Raises
    ------
    InputError
        If the file is missing, empty, binary, or not in the form of STAR; the message names the line.
    """
    path = Path(path)
    return _parsed(read_content(path), path)


def parse_star(text: str, *, path: Path | None = None) -> StarFile:
    """All blocks of the text of a STAR file; `path` is for error messages.

    Raises
    ------
    InputError
        If the text is not in the form of STAR.
    """
    return _parsed(text.encode("utf-8", "surrogateescape"), path)


def _parsed(content: bytes | bytearray, path: Path | None) -> StarFile:
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    blocks = [
        StarBlock(name=one.name, values=one.values, columns=one.columns, comments=one.comments, row_lines=one.row_lines)
        for one in Parser(content, path).blocks()
    ]
    return StarFile(blocks=tuple(blocks), path=path)


def write_star(star: StarFile | Iterable[StarBlock], path: str | Path) -> None:
    """Write these blocks to a STAR file, all or nothing.

    Raises
    ------
    InputError
        If a value cannot be written in STAR (line ends, control characters, or quotes of both kinds before blanks) or columns differ in length.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        for piece in _pieces(star, Path(path)):
            stream.write(piece)


def format_star(star: StarFile | Iterable[StarBlock], *, path: Path | None = None) -> str:
    """The text of a STAR file with these blocks; `path` is for error messages.

    Raises
    ------
    InputError
        If a value cannot be written in STAR.
    """
    return b"".join(_pieces(star, path)).decode("utf-8", "surrogateescape")


def _pieces(star: StarFile | Iterable[StarBlock], path: Path | None) -> Iterator[bytes]:
    """The bytes of the file, piece by piece."""
    for block in star.blocks if isinstance(star, StarFile) else star:
        yield from block_pieces(name=block.name, comments=block.comments, values=block.values, columns=block.columns, path=path)
