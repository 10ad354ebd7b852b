"""The walk over the bytes of a STAR file from the top, block by block; loops are cut out and split as a whole."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from cryowalk.core.errors import InputError, printable
from cryowalk.io.star_columns import LargeColumns, RowLines, read_only

LARGE = 2**25  # bytes; a longer loop is split by compiled code, whose import takes as long as splitting one of this size
_BLANK = " \t"
_END_OF_LOOP = re.compile(rb"\n[ \t]*(?:data_|loop_|save_|global_|stop_|_[A-Za-z])", re.IGNORECASE)
# all that the fast path of a loop may meet: no quotes, comments or control characters
PLAIN = bytes(range(33, 127)).translate(None, b"'\"#") + b" \t\n"
_TOKEN = re.compile(r"'(?:[^']|'(?=[^ \t]))*'(?=[ \t]|$)|\"(?:[^\"]|\"(?=[^ \t]))*\"(?=[ \t]|$)|[^ \t]+")
_ROOM = 4096  # rows at first; four times more whenever that is not enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """One block: its name, single values, columns, comments before it, and the lines of its rows."""

    name: str
    values: Mapping[str, str]
    columns: Mapping[str, tuple[str, ...]]
    comments: tuple[str, ...]
    row_lines: Sequence[int]


class Parser:
    """The blocks of a text with line ends LF; `path` is for error messages."""

    def __init__(self, content: bytes | bytearray, path: Path | None, *, large: int | None = None) -> None:
        self.content, self.path, self.place, self.line = content, path, 0, 0
        self.large = LARGE if large is None else large
        self.comments: list[str] = []

    def blocks(self) -> tuple[Parsed, ...]:
        """Every block."""
        found: list[Parsed] = []
        line = self._next()
        while line is not None:
            if not line.lower().startswith("data_"):
                raise self._error(
                    f"a block must begin with data_: found {shown(line)}", cause="this is no STAR file, or lines were lost"
                )
            block, line = self._block(line)
            found.append(block)
        if not found:
            raise InputError(
                "the file holds no data_ block", file=self.path, expected="a STAR file", cause="only comments, or another format"
            )
        return tuple(found)

    def _block(self, opening: str) -> tuple[Parsed, str | None]:
        """The block that begins on this line, and the line after it."""
        name, *rest = self._tokens(opening)
        if rest:
            raise self._error(f"text follows the block's name: {shown(rest[0])}")
        comments, self.comments = tuple(self.comments), []
        values: dict[str, str] = {}
        columns: Mapping[str, tuple[str, ...]] = {}
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
                    f"neither a label, nor loop_, nor data_: {shown(line)}", cause="a row outside a loop, or a lost label"
                )
            line = self._next()
        return Parsed(name=name[5:], values=values, columns=columns, comments=comments, row_lines=row_lines), line

    def _pair(self, line: str, values: dict[str, str], columns: Mapping[str, tuple[str, ...]]) -> None:
        """Take one label and its value."""
        label, *value = self._tokens(line)
        at = self.line
        if not value:
            following = self._next()
            value = [self._text_field(following)] if following and following.startswith(";") else self._tokens(following or "")
        if len(value) != 1 or (value[0].startswith("_") and at != self.line):
            raise self._error(
                f"label {shown(label)} has {len(value)} values",
                expected="one value",
                cause="a missing loop_, or blanks without quotes",
            )
        if label[1:] in values or label[1:] in columns:
            raise self._error(f"label {shown(label)} stands twice", fix="remove one of them")
        values[label[1:]] = value[0]

    def _text_field(self, opening: str) -> str:
        """The text between two lines that begin with a semicolon."""
        lines = [opening[1:]]
        while True:
            if self.place >= len(self.content):
                raise self._error("a text field (;) has no end")
            line = self._line()
            if line.startswith(";"):
                return "\n".join(lines)
            lines.append(line)

    def _loop(self, values: Mapping[str, str]) -> tuple[Mapping[str, tuple[str, ...]], Sequence[int]]:
        """The columns of the loop whose loop_ was just read, and the lines of its rows."""
        labels: list[str] = []
        mark = self.place, self.line
        line = self._next()
        while line is not None and line.startswith("_"):
            label = self._tokens(line)[0][1:]
            if label in labels or label in values:
                raise self._error(f"label _{shown(label)} stands twice", fix="remove one of the columns")
            labels.append(label)
            mark = self.place, self.line
            line = self._next()
        if not labels:
            raise self._error("loop_ has no labels", cause="lost lines")
        self.place, self.line = mark
        return self._rows(labels)

    def _rows(self, labels: Sequence[str]) -> tuple[Mapping[str, tuple[str, ...]], Sequence[int]]:
        """The columns of the rows that begin here, and their lines."""
        start, first_line = max(0, self.place - 1), self.line + 1
        limit = self.place + self.large
        end = _END_OF_LOOP.search(self.content, start, min(len(self.content), limit + 64))
        if end is None and limit < len(self.content):
            return self._large_rows(labels)
        stop = len(self.content) if end is None else max(self.place, end.start() + 1)
        body = bytes(self.content[self.place : stop])
        if not body.translate(None, PLAIN) and not body.startswith(b";") and b"\n;" not in body:
            tokens, row_lines = self._fast_rows(body, len(labels), first_line)
        else:
            tokens, row_lines = self._careful_rows(body.decode("utf-8", "surrogateescape"), len(labels), first_line)
        self.place, self.line = stop, first_line - 1 + body.count(b"\n")
        width = len(labels)
        return {label: tuple(tokens[column::width]) for column, label in enumerate(labels)}, row_lines

    def _large_rows(self, labels: Sequence[str]) -> tuple[Mapping[str, tuple[str, ...]], Sequence[int]]:
        """The same for a loop whose values stay where they are."""
        from cryowalk.io.star_compiled import FULL, ODD_LINE, find_values

        raw, width = read_only(self.content), len(labels)
        begins, lines = np.empty((_ROOM, width), np.uint32), np.empty(_ROOM, np.int32)
        rows, line, reason, has_control = 0, self.line + 1, FULL, False
        while reason == FULL:
            if rows == len(begins):
                begins, lines = _larger(begins), _larger(lines)
            reason, found, self.place, line, odd = find_values(raw, self.place, begins[rows:], lines[rows:], line)
            rows, has_control = rows + found, has_control or odd
        self.line = line - 1
        if reason == ODD_LINE:
            self._refuse_line(self._line(), width)
        columns = LargeColumns(self.content, begins[:rows].copy(), {label: i for i, label in enumerate(labels)})
        if has_control:  # not to be written as it stands
            return {label: columns[label] for label in labels}, RowLines(lines[:rows].copy())
        return columns, RowLines(lines[:rows].copy())

    def _refuse_line(self, line: str, width: int) -> NoReturn:
        """Tell why a line is no row."""
        if line.startswith(";"):
            raise self._error("a text field (;) in a loop is not supported", fix="put quotes around the value")
        self._refuse_row(len(self._tokens(line)), width, self.line)

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
                self._refuse_line(line, width)
            row = self._tokens(line)
            if not row:
                continue
            if len(row) != width:
                self._refuse_row(len(row), width, number)
            tokens += row
            row_lines.append(number)
        return tokens, row_lines

    def _refuse_row(self, found: int, width: int, line: int) -> NoReturn:
        self.line = line
        what = f"the row has {found} value{'' if found == 1 else 's'}, the loop has {width} column{'' if width == 1 else 's'}"
        cause = (
            "the file was cut off here, or a value is missing"
            if found < width
            else "a column label is missing, or a value with blanks lacks its quotes"
        )
        raise self._error(what, cause=cause)

    def _line(self) -> str:
        """The next line as it stands."""
        end = self.content.find(b"\n", self.place)
        end = len(self.content) if end < 0 else end
        raw = self.content[self.place : end]
        self.place, self.line = min(end + 1, len(self.content)), self.line + 1
        return raw.decode("utf-8", "surrogateescape")

    def _next(self) -> str | None:
        """The next line that is neither blank nor a comment, without the blanks before it; None at the end."""
        while self.place < len(self.content):
            raw = self._line()
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
                        f"a quote is opened and not closed: {shown(token)}", fix="close it, or quote the whole value"
                    )
                values.append(token[1:-1])
            else:
                values.append(token)
        return values

    def _error(self, what: str, *, expected: str = "", cause: str = "", fix: str = "") -> InputError:
        return InputError(what, file=self.path, row=self.line, expected=expected, cause=cause, fix=fix)


def _larger(array: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]  # of any shape and kind
    """The array with room for four times as many rows."""
    grown = np.empty((4 * len(array), *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


def shown(text: str) -> str:
    """The text, printable and short enough for a message."""
    told = printable(text)
    return f"“{told if len(told) <= 60 else told[:57] + '…'}”"
