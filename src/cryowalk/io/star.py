"""STAR tables, every value kept as the text it is: `007` stays `007`, blanks and quotes survive, columns keep their order.

One row a line, as all programs of the field write it. Lines may end in CR LF; comments, tabs and a byte-order mark are accepted.

Source: Hall, J. Chem. Inf. Comput. Sci. 31, 326 (1991); RELION's use of it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cryowalk.core.errors import InputError, printable
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.opening import read_text

_BLANK = " \t"
_END_OF_LOOP = re.compile(r"\n[ \t]*(?:data_|loop_|save_|global_|stop_|_[A-Za-z])", re.IGNORECASE)
# all that the fast path of a loop may meet: no quotes, comments or control characters
_PLAIN = bytes(range(33, 127)).translate(None, b"'\"#") + b" \t\n"
_TOKEN = re.compile(r"'(?:[^']|'(?=[^ \t]))*'(?=[ \t]|$)|\"(?:[^\"]|\"(?=[^ \t]))*\"(?=[ \t]|$)|[^ \t]+")
_NEEDS_QUOTES = re.compile(r"^$|[ \t]|^['\"#;_$]|^(?:data_|loop_|save_|global_|stop_)", re.IGNORECASE)
_RESERVED = ("\ndata_", "\nloop_", "\nsave_", "\nglobal_", "\nstop_")
_UNWRITABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


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
        return len(next(iter(self.columns.values()), ()))

    def line_of(self, row: int) -> int | None:
        """The line of the file on which this row (counted from 0) stands, or None for a table that was not read."""
        return self.row_lines[row] if row < len(self.row_lines) else None


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
    return parse_star(read_text(path), path=path)


def parse_star(text: str, *, path: Path | None = None) -> StarFile:
    """All blocks of the text of a STAR file; `path` is for error messages.

    Raises
    ------
    InputError
        If the text is not in the form of STAR.
    """
    return StarFile(blocks=_Parser(text.replace("\r\n", "\n").replace("\r", "\n"), path).blocks(), path=path)


class _Parser:
    """A walk over the text from the top, block by block; loops are cut out and split as a whole."""

    def __init__(self, text: str, path: Path | None) -> None:
        self.text, self.path, self.place, self.line = text, path, 0, 0
        self.comments: list[str] = []

    def blocks(self) -> tuple[StarBlock, ...]:
        """Every block."""
        found: list[StarBlock] = []
        line = self._next()
        while line is not None:
            if not line.lower().startswith("data_"):
                raise self._error(
                    f"a block must begin with data_: found {_shown(line)}", cause="this is no STAR file, or lines were lost"
                )
            block, line = self._block(line)
            found.append(block)
        if not found:
            raise InputError(
                "the file holds no data_ block", file=self.path, expected="a STAR file", cause="only comments, or another format"
            )
        return tuple(found)

    def _block(self, opening: str) -> tuple[StarBlock, str | None]:
        """The block that begins on this line, and the line after it."""
        name, *rest = self._tokens(opening)
        if rest:
            raise self._error(f"text follows the block's name: {_shown(rest[0])}")
        comments, self.comments = tuple(self.comments), []
        values: dict[str, str] = {}
        columns: dict[str, tuple[str, ...]] = {}
        row_lines: Sequence[int] = ()
        line = self._next()
        while line is not None and not line.lower().startswith("data_"):
            if line.lower().rstrip(_BLANK) == "loop_":
                if columns:
                    raise self._error("a second loop_ in one block", fix="give it a data_ block of its own")
                columns, row_lines = self._loop(values)
            elif line.startswith("_"):
                self._pair(line, values, columns)
            else:
                raise self._error(
                    f"neither a label, nor loop_, nor data_: {_shown(line)}", cause="a row outside a loop, or a lost label"
                )
            line = self._next()
        return StarBlock(name=name[5:], values=values, columns=columns, comments=comments, row_lines=row_lines), line

    def _pair(self, line: str, values: dict[str, str], columns: Mapping[str, tuple[str, ...]]) -> None:
        """Take one label and its value."""
        label, *value = self._tokens(line)
        at = self.line
        if not value:
            following = self._next()
            value = [self._text_field(following)] if following and following.startswith(";") else self._tokens(following or "")
        if len(value) != 1 or (value[0].startswith("_") and at != self.line):
            raise self._error(
                f"label {_shown(label)} has {len(value)} values",
                expected="one value",
                cause="a missing loop_, or blanks without quotes",
            )
        if label[1:] in values or label[1:] in columns:
            raise self._error(f"label {_shown(label)} stands twice", fix="remove one of them")
        values[label[1:]] = value[0]

    def _text_field(self, opening: str) -> str:
        """The text between two lines that begin with a semicolon."""
        lines = [opening[1:]]
        while True:
            end = self.text.find("\n", self.place)
            if self.place >= len(self.text):
                raise self._error("a text field (;) has no end")
            line = self.text[self.place :] if end < 0 else self.text[self.place : end]
            self.place, self.line = len(self.text) if end < 0 else end + 1, self.line + 1
            if line.startswith(";"):
                return "\n".join(lines)
            lines.append(line)

    def _loop(self, values: Mapping[str, str]) -> tuple[dict[str, tuple[str, ...]], Sequence[int]]:
        """The columns of the loop whose loop_ was just read, and the lines of its rows."""
        labels: list[str] = []
        mark = self.place, self.line
        line = self._next()
        while line is not None and line.startswith("_"):
            label = self._tokens(line)[0][1:]
            if label in labels or label in values:
                raise self._error(f"label _{_shown(label)} stands twice", fix="remove one of the columns")
            labels.append(label)
            mark = self.place, self.line
            line = self._next()
        if not labels:
            raise self._error("loop_ has no labels", cause="lost lines")
        self.place, first_line = mark[0], mark[1] + 1
        self.line = mark[1]
        end = _END_OF_LOOP.search(self.text, max(0, self.place - 1))
        stop = len(self.text) if end is None else max(self.place, end.start() + 1)
        body = self.text[self.place : stop]
        plain = body.encode("ascii") if body.isascii() else b"'"
        if not plain.translate(None, _PLAIN) and not body.startswith(";") and "\n;" not in body:
            tokens, row_lines = self._fast_rows(plain, len(labels), first_line)
        else:
            tokens, row_lines = self._careful_rows(body, len(labels), first_line)
        self.place, self.line = stop, self.line + body.count("\n")
        width = len(labels)
        return {label: tuple(tokens[column::width]) for column, label in enumerate(labels)}, row_lines

    def _fast_rows(self, body: bytes, width: int, first_line: int) -> tuple[list[str], Sequence[int]]:
        """All values of a plain loop row by row: split at once, the number of values in each line counted beside."""
        raw = np.frombuffer(body if body.endswith(b"\n") else body + b"\n", np.uint8)
        is_blank = raw <= 32
        begins = np.flatnonzero(is_blank[:-1] > is_blank[1:]) + 1  # a value begins where a blank ends
        if len(raw) and not is_blank[0]:
            begins = np.concatenate(([0], begins))
        counts = np.diff(np.searchsorted(begins, np.flatnonzero(raw == 10)), prepend=0)
        wrong = np.flatnonzero((counts != width) & (counts != 0))
        if len(wrong):
            self._refuse_row(int(counts[wrong[0]]), width, first_line + int(wrong[0]))
        lines = np.flatnonzero(counts) + first_line
        is_gapless = len(lines) > 0 and int(lines[-1] - lines[0]) == len(lines) - 1
        return body.decode("ascii").split(), range(int(lines[0]), int(lines[-1]) + 1) if is_gapless else tuple(lines.tolist())

    def _careful_rows(self, body: str, width: int, first_line: int) -> tuple[list[str], Sequence[int]]:
        """All values of a loop with quotes, comments or characters beyond ASCII, line by line."""
        tokens: list[str] = []
        row_lines: list[int] = []
        for number, line in enumerate(body.split("\n"), start=first_line):
            self.line = number
            if line.startswith(";"):
                raise self._error("a text field (;) in a loop is not supported", fix="put quotes around the value")
            row = self._tokens(line)
            if not row:
                continue
            if len(row) != width:
                self._refuse_row(len(row), width, number)
            tokens += row
            row_lines.append(number)
        self.line = first_line - 1
        return tokens, row_lines

    def _refuse_row(self, found: int, width: int, line: int) -> None:
        self.line = line
        what = f"the row has {found} value{'' if found == 1 else 's'}, the loop has {width} column{'' if width == 1 else 's'}"
        cause = (
            "the file was cut off here, or a value is missing"
            if found < width
            else "a column label is missing, or a value with blanks lacks its quotes"
        )
        raise self._error(what, cause=cause)

    def _next(self) -> str | None:
        """The next line that is neither blank nor a comment, without the blanks before it; None at the end."""
        while self.place < len(self.text):
            end = self.text.find("\n", self.place)
            end = len(self.text) if end < 0 else end
            raw = self.text[self.place : end]
            self.place, self.line = end + 1, self.line + 1
            line = raw if raw.startswith(";") else raw.strip(_BLANK)
            if line.startswith("#"):
                self.comments.append(line)
            elif line:
                return line
        return None

    def _tokens(self, line: str) -> list[str]:
        """The values in a line, without quotes and comments."""
        values = []
        for token in _TOKEN.findall(line):
            if token[0] == "#":
                break
            if token[0] in "'\"":
                if len(token) < 2 or token[-1] != token[0]:
                    raise self._error(
                        f"a quote is opened and not closed: {_shown(token)}", fix="close it, or quote the whole value"
                    )
                values.append(token[1:-1])
            else:
                values.append(token)
        return values

    def _error(self, what: str, *, expected: str = "", cause: str = "", fix: str = "") -> InputError:
        return InputError(what, file=self.path, row=self.line, expected=expected, cause=cause, fix=fix)


def _shown(text: str) -> str:
    """The text, printable and short enough for a message."""
    shown = printable(text)
    return f"“{shown if len(shown) <= 60 else shown[:57] + '…'}”"


def write_star(star: StarFile | Iterable[StarBlock], path: str | Path) -> None:
    """Write these blocks to a STAR file, all or nothing.

    Raises
    ------
    InputError
        If a value cannot be written in STAR (line ends, control characters, or quotes of both kinds before blanks) or columns differ in length.
    """
    atomic_write_text(path, format_star(star, path=Path(path)))


def format_star(star: StarFile | Iterable[StarBlock], *, path: Path | None = None) -> str:
    """The text of a STAR file with these blocks; `path` is for error messages.

    Raises
    ------
    InputError
        If a value cannot be written in STAR.
    """
    parts = []
    for block in star.blocks if isinstance(star, StarFile) else star:
        if re.search(r"[\s\x00-\x20]", block.name):
            raise InputError(f"a block cannot be named {_shown(block.name)}", file=path, fix="use a name without blanks")
        lines = ["", *block.comments, *([""] if block.comments else []), f"data_{block.name}", ""]
        labels = [*block.values, *block.columns]
        wrong = next((label for label in labels if not label or re.search(r"[\s\x00-\x20]", label)), None)
        if wrong is not None or len(set(labels)) != len(labels):
            raise InputError(
                f"labels must be words that differ: {_shown(' '.join(labels) if wrong is None else wrong)}", file=path
            )
        if block.values:
            width = max(map(len, block.values))
            texts = _quoted(tuple(block.values.values()), label="a single value", path=path)
            lines += [f"_{label:<{width}}  {text}" for label, text in zip(block.values, texts, strict=True)] + [""]
        if block.columns:
            lines += ["loop_", *(f"_{label} #{number}" for number, label in enumerate(block.columns, start=1))]
            lines += _rows(block, path)
            lines.append("")
        parts.append("\n".join(lines))
    return "\n".join(parts) + "\n"


def _rows(block: StarBlock, path: Path | None) -> list[str]:
    """The rows of the loop as lines."""
    lengths = {len(column) for column in block.columns.values()}
    if len(lengths) != 1:
        raise InputError(f"the columns of data_{block.name} differ in length: {sorted(lengths)} rows", file=path)
    columns = [_quoted(column, label=label, path=path) for label, column in block.columns.items()]
    return list(map(" ".join, zip(*columns, strict=True)))


def _quoted(column: Sequence[str], *, label: str, path: Path | None) -> Sequence[str]:
    """The values with quotes where STAR needs them."""
    joined = "\n" + "\n".join(column)
    is_plain = (
        joined.isascii() and not joined.encode("ascii").translate(None, _PLAIN) and " " not in joined and "\t" not in joined
    )
    if (
        is_plain
        and joined.count("\n") == len(column)
        and "\n\n" not in joined + "\n"
        and not any(f"\n{mark}" in joined for mark in ";_$")
    ):
        lowered = joined.lower() if "_" in joined else ""
        if not any(word in lowered for word in _RESERVED):
            return column
    return [_quote(value, label=label, row=row, path=path) for row, value in enumerate(column)]


def _quote(value: str, *, label: str, row: int, path: Path | None) -> str:
    """One value with quotes where STAR needs them."""
    if _UNWRITABLE.search(value):
        raise InputError(
            f"row {row + 1} of {label} holds a control character: {_shown(value)}", file=path, fix="rename the file it names"
        )
    if not _NEEDS_QUOTES.search(value):
        return value
    for mark in "\"'":
        if not re.search(f"{mark}[ \t]", value):
            return f"{mark}{value}{mark}"
    raise InputError(
        f"row {row + 1} of {label} holds quotes of both kinds before blanks: {_shown(value)}",
        file=path,
        fix="rename the file it names",
    )
