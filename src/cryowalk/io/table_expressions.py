"""Expressions over the columns of a table, such as `rlnDefocusU < 15000 and rlnClassNumber in (1, 3..5)`; read by a parser of our own, never run as code.

    expression = both ("or" both)*                       both       = negated ("and" negated)*
    negated    = "not" negated | comparison              comparison = sum (("<" | "<=" | ">" | ">=" | "==" | "=" | "!=") sum)*
                                                                    | sum ["not"] "in" "(" item ("," item)* ")"
                                                                    | sum ["not"] ("like" | "matches") text
    item       = number [".." number] | text             sum        = product (("+" | "-") product)*
    product    = signed (("*" | "/") signed)*            signed     = "-" signed | number | text | column | "abs" "(" sum ")" | "(" expression ")"

A column is its label (`rlnDefocusU`, `ctf/df1_A`, `alignments3D/shift[0]`); a text stands in quotes. `a..b` holds both ends. `like` takes the patterns of
file names (`*`, `?`, `[abc]`), `matches` a regular expression that may stand anywhere in the text. `/` is a division where blanks surround it.
"""

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NoReturn, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cryowalk.core.errors import UsageError, printable

LONGEST = 10_000  # characters
DEEPEST = 20  # brackets and signs within each other
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+(?:\.(?!\.)\d*)?|\.(?!\.)\d+)(?:[eE][+-]?\d+)?(?![\w]))"
    r"|(?P<text>\"[^\"]*\"|'[^']*')"
    r"|(?P<name>[A-Za-z_]\w*(?:[/.]\w+)*(?:\[\d+\])?)"
    r"|(?P<sign>\.\.|<=|>=|==|!=|[<>=(),+\-*/]))"
)
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "==": np.equal, "=": np.equal, "!=": np.not_equal,
}  # fmt: skip
_WORDS = ("and", "or", "not", "in", "like", "matches", "abs")


@runtime_checkable
class Columns(Protocol):
    """A table whose columns are asked for by label."""

    @property
    def labels(self) -> Sequence[str]:
        """The labels."""
        ...

    def numbers(self, label: str) -> NDArray[np.float64]:
        """The column as numbers; an error where a value is none."""
        ...

    def texts(self, label: str) -> Sequence[str]:
        """The column as texts."""
        ...

    def is_numeric(self, label: str) -> bool:
        """Whether the column holds numbers, by its first value."""
        ...


@dataclass(frozen=True, slots=True)
class _Column:
    label: str


def rows_where(expression: str, columns: Columns) -> NDArray[np.bool_]:
    """Whether each row of a table meets the expression.

    Raises
    ------
    UsageError
        If the expression cannot be read, names a column that is not there, or compares texts with numbers; the place is told.

    Examples
    --------
    >>> import numpy as np
    >>> class Table:
    ...     labels = ("size", "name")
    ...     def numbers(self, label): return np.array([1.0, 2.0, 3.0])
    ...     def texts(self, label): return ("a1", "b1", "a2")
    ...     def is_numeric(self, label): return label == "size"
    >>> rows_where("size in (2..3) and not name like 'b*'", Table()).tolist()
    [False, False, True]
    """
    reader = _Reader(expression, columns)
    found = reader.expression()
    reader.end()
    if not (isinstance(found, np.ndarray) and found.dtype == bool):
        raise UsageError(
            f"{_told(expression)} is a value, not a condition",
            expected="a comparison such as rlnDefocusU < 15000",
        )
    return found


class _Reader:
    """The expression read from left to right, each part evaluated on all rows as soon as it is read."""

    def __init__(self, text: str, columns: Columns) -> None:
        self.text, self.columns, self.depth = text, columns, 0
        if len(text) > LONGEST:
            raise UsageError(f"the expression has {len(text)} characters", expected=f"at most {LONGEST}")
        self.tokens = self._split()
        self.at = 0

    def _split(self) -> list[tuple[str, str, int]]:
        """Kind, text and place of each word, number, quoted text and sign."""
        found, place = [], 0
        while self.text[place:].strip():
            match = _TOKEN.match(self.text, place)
            if match is None or match.lastgroup is None:
                blanks = len(self.text[place:]) - len(self.text[place:].lstrip())
                self._fail(place + blanks, "is not understood", "= and == compare, texts stand in quotes")
            kind = match.lastgroup
            word = match.group(kind)
            found.append(("word" if kind == "name" and word.lower() in _WORDS else kind, word, match.start(kind)))
            place = match.end()
        return found

    def _fail(self, place: int, what: str, expected: str = "") -> NoReturn:
        rest = self.text[place:].strip()
        where = f"“{printable(rest[:40])}{'…' if len(rest) > 40 else ''}”" if rest else "the end"
        raise UsageError(f"{_told(self.text)}: {where} (character {place + 1}) {what}", expected=expected)

    def _peek(self) -> tuple[str, str, int]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "", len(self.text))

    def _took(self, *words: str) -> str:
        """The next word or sign, in lower case, if it is one of these; nothing otherwise."""
        kind, word, _ = self._peek()
        if kind in ("word", "sign") and word.lower() in words:
            self.at += 1
            return word.lower()
        return ""

    def _require(self, sign: str) -> None:
        if not self._took(sign):
            self._fail(self._peek()[2], f"stands where “{sign}” should")

    def end(self) -> None:
        """Raise an error unless all was read."""
        if self.at < len(self.tokens):
            self._fail(self._peek()[2], "follows a whole expression", "and, or, or the end")

    def expression(self) -> Any:
        """The value of alternatives."""
        found = self._both()
        while place := self._here("or"):
            other = self._both()
            found = self._condition(found, place) | self._condition(other, place)
        return found

    def _both(self) -> Any:
        found = self._negated()
        while place := self._here("and"):
            other = self._negated()
            found = self._condition(found, place) & self._condition(other, place)
        return found

    def _here(self, word: str) -> int:
        """The place behind the word if it is next, otherwise 0."""
        place = self._peek()[2]
        return place + 1 if self._took(word) else 0

    def _negated(self) -> Any:
        place = self._peek()[2]
        if self._took("not"):
            self._deeper(place)
            found = ~self._condition(self._negated(), place + 1)
            self.depth -= 1
            return found
        return self._comparison()

    def _condition(self, value: Any, place: int) -> NDArray[np.bool_]:
        if not (isinstance(value, np.ndarray) and value.dtype == bool):
            self._fail(place - 1, "needs conditions on both sides", "a comparison such as a < 3")
        return value

    def _comparison(self) -> Any:
        place = self._peek()[2]
        left = self._sum()
        is_negative = bool(self._peek()[1].lower() == "not" and self._took("not"))
        if self._took("in"):
            found = self._member(left, place)
        elif sign := self._took("like", "matches"):
            found = self._match(left, sign, place)
        elif is_negative:
            self._fail(self._peek()[2], "stands where in, like or matches should")
        else:
            return self._chain(left, place)
        return ~found if is_negative else found

    def _chain(self, left: Any, place: int) -> Any:
        """Comparisons one after the other, such as 1 < a <= 5; the value itself where there is none."""
        found = None
        while sign := self._took(*_COMPARE):
            right = self._sum()
            one = self._compare(left, sign, right, place)
            found = one if found is None else found & one
            left = right
        return left if found is None else found

    def _compare(self, left: Any, sign: str, right: Any, place: int) -> NDArray[np.bool_]:
        if self._is_text(left) or self._is_text(right):
            if sign not in ("=", "==", "!="):
                self._fail(place, "orders texts", "= or != for texts")
            ours, theirs = self._texts(left, place), self._texts(right, place)
            if isinstance(ours, str):
                ours, theirs = theirs, ours
            if isinstance(ours, str):
                self._fail(place, "compares two texts and no column")
            pairs = ((text, theirs) for text in ours) if isinstance(theirs, str) else zip(ours, theirs, strict=True)
            found = np.fromiter((one == other for one, other in pairs), np.bool_, len(ours))
            return ~found if sign == "!=" else found
        one, other = self._numbers(left, place), self._numbers(right, place)
        compared = _COMPARE[sign](one, other)
        if np.ndim(compared) == 0:
            self._fail(place, "compares two numbers and no column")
        result: NDArray[np.bool_] = compared
        return result

    def _member(self, left: Any, place: int) -> NDArray[np.bool_]:
        """Whether each value is in a list of numbers, ranges of numbers and texts."""
        self._require("(")
        ranges: list[tuple[float, float]] = []
        texts: set[str] = set()
        while True:
            kind, word, at = self._peek()
            if kind == "text":
                self.at += 1
                texts.add(word[1:-1])
            else:
                low = self._number(at)
                ranges.append((low, self._number(self._peek()[2]) if self._took("..") else low))
            if not self._took(","):
                break
        self._require(")")
        if texts and ranges:
            self._fail(place, "is looked for among texts and numbers together", "one or the other")
        if texts:
            values = self._column_texts(left, place)
            return np.fromiter((value in texts for value in values), np.bool_, len(values))
        numbers = np.asarray(self._numbers(left, place))
        if numbers.ndim == 0:
            self._fail(place, "is no column")
        singles = np.array([low for low, high in ranges if low == high])
        found: NDArray[np.bool_] = np.isin(numbers, singles)
        for low, high in ranges:
            if low != high:
                found |= (numbers >= low) & (numbers <= high)
        return found

    def _number(self, place: int) -> float:
        """A number that is written out, with its sign."""
        sign = -1.0 if self._took("-") else 1.0
        kind, word, _ = self._peek()
        if kind != "number":
            self._fail(self._peek()[2], "stands where a number should", "numbers, ranges 1..5, or texts in quotes")
        self.at += 1
        return sign * self._finite(word, place)

    def _finite(self, word: str, place: int) -> float:
        value = float(word)
        if not np.isfinite(value):
            self._fail(place, "is too large a number")
        return value

    def _match(self, left: Any, sign: str, place: int) -> NDArray[np.bool_]:
        kind, word, at = self._peek()
        if kind != "text":
            self._fail(at, f"stands where the text of {sign} should", "a text in quotes")
        self.at += 1
        try:
            test = re.compile(fnmatch.translate(word[1:-1]) if sign == "like" else word[1:-1]).search
        except (re.error, OverflowError, RecursionError) as error:
            self._fail(at, f"is no regular expression: {error}")
        values = self._column_texts(left, place)
        return np.fromiter((test(value) is not None for value in values), np.bool_, len(values))

    def _sum(self) -> Any:
        place = self._peek()[2]
        value = self._product()
        while sign := self._took("+", "-"):
            other = self._numbers(self._product(), place)
            value = self._numbers(value, place)
            with np.errstate(all="ignore"):
                value = value + other if sign == "+" else value - other
        return value

    def _product(self) -> Any:
        place = self._peek()[2]
        value = self._signed()
        while sign := self._took("*", "/"):
            other = self._numbers(self._signed(), place)
            value = self._numbers(value, place)
            with np.errstate(all="ignore"):  # what is divided by nothing is no number, and meets no comparison
                value = value * other if sign == "*" else np.where(np.equal(other, 0), np.nan, np.divide(value, other))
        return value

    def _deeper(self, place: int) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            self._fail(place, "stands in too many brackets and signs")

    def _signed(self) -> Any:
        kind, word, place = self._peek()
        self._deeper(place)
        if self._took("-"):
            value = -self._numbers(self._signed(), place)
        elif self._took("("):
            value = self.expression()
            self._require(")")
        elif self._took("abs"):
            self._require("(")
            value = np.abs(self._numbers(self._sum(), place))
            self._require(")")
        elif kind in ("number", "text", "name"):
            self.at += 1
            value = self._finite(word, place) if kind == "number" else word[1:-1] if kind == "text" else self._column(word, place)
        else:
            self._fail(place, "stands where a column, number or text should")
        self.depth -= 1
        return value

    def _column(self, word: str, place: int) -> _Column:
        label = word.removeprefix("_")
        if label not in self.columns.labels:
            near = get_close_matches(label, list(self.columns.labels), n=1, cutoff=0.5)
            hint = f"{near[0]}, which is the nearest column; " if near else ""
            self._fail(place, "is no column of the table", hint + "texts stand in quotes")
        return _Column(label)

    def _is_text(self, value: Any) -> bool:
        return isinstance(value, str) or (isinstance(value, _Column) and not self.columns.is_numeric(value.label))

    def _texts(self, value: Any, place: int) -> Any:
        """The texts of a column, or one text."""
        if isinstance(value, _Column):
            return self.columns.texts(value.label)
        if not isinstance(value, str):
            self._fail(place, "compares a number with texts", "quotes about the text, or a column of numbers")
        return value

    def _column_texts(self, value: Any, place: int) -> Any:
        values = self._texts(value, place)
        if isinstance(values, str):
            self._fail(place, "is no column")
        return values

    def _numbers(self, value: Any, place: int) -> Any:
        """The numbers of a column, or one number."""
        if isinstance(value, _Column) and self.columns.is_numeric(value.label):
            return self.columns.numbers(value.label)
        if isinstance(value, (str, _Column)) or (isinstance(value, np.ndarray) and value.dtype == bool):
            self._fail(place, "is no number")
        return value


def _told(text: str) -> str:
    shown = printable(text)
    return f"“{shown if len(shown) <= 80 else shown[:77] + '…'}”"
