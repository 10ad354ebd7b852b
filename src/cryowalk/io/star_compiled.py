"""The bytes of large STAR tables in compiled loops: where values begin, columns as lines or numbers, rows put together.

Only the first byte of each value is remembered. A value ends before a blank or a line end; one that follows a quote mark ends before the same
mark with a blank or line end behind it (no unquoted value can follow a quote mark without a blank between).
"""

# Numba's functions carry no annotations (and checking them in tests would hide them from the compiler).
# ruff: noqa: ANN001, ANN201, ANN202, C901, PLR0911, PLR0912, PLR0915, PLR0917, PLR1714, SIM109

from typing import no_type_check

import numpy as np
from numba import njit

_TAB, _NEWLINE, _SPACE, _DOUBLE, _HASH, _SINGLE = 9, 10, 32, 34, 35, 39
_RESERVED = (b"data_", b"loop_", b"save_", b"global_", b"stop_")
ENDED, ODD_LINE, FULL = 0, 1, 2
_TEN = 10.0 ** np.arange(23)  # exact in double precision
_LARGEST = 1 << 53


@njit(nogil=True, cache=True)
@no_type_check
def _is_word(raw, at, word):
    """Whether the word (lower case) stands here, in letters of any case."""
    if at + len(word) > len(raw):
        return False
    for i in range(len(word)):
        letter = raw[at + i]
        if letter != word[i] and not (65 <= letter <= 90 and letter + 32 == word[i]):
            return False
    return True


@njit(nogil=True, cache=True)
@no_type_check
def _is_reserved(raw, at):
    """Whether a word of STAR's own stands here."""
    if raw[at] | 32 not in (100, 108, 115, 103):  # d l s g
        return False
    return (
        _is_word(raw, at, _RESERVED[0])
        or _is_word(raw, at, _RESERVED[1])
        or _is_word(raw, at, _RESERVED[2])
        or _is_word(raw, at, _RESERVED[3])
        or _is_word(raw, at, _RESERVED[4])
    )


@njit(nogil=True, cache=True)
@no_type_check
def _ends_loop(raw, at):
    """Whether a line whose first value is here is no row."""
    if raw[at] == 95:
        return at + 1 < len(raw) and 97 <= raw[at + 1] | 32 <= 122
    return _is_reserved(raw, at)


@njit(nogil=True, cache=True)
@no_type_check
def _closing(raw, at):
    """Where the quote that is opened here is closed, or -1."""
    mark = raw[at]
    for i in range(at + 1, len(raw)):
        byte = raw[i]
        if byte == _NEWLINE:
            return -1
        if byte == mark and (i + 1 == len(raw) or raw[i + 1] in (_SPACE, _TAB, _NEWLINE)):
            return i
    return -1


@njit(nogil=True, cache=True)
@no_type_check
def _end(raw, begin):
    """The place behind a value."""
    if begin > 0 and (raw[begin - 1] == _DOUBLE or raw[begin - 1] == _SINGLE):
        return _closing(raw, begin - 1)
    i = begin
    while i < len(raw) and raw[i] != _SPACE and raw[i] != _NEWLINE and raw[i] != _TAB:
        i += 1
    return i


@njit(nogil=True, cache=True)
@no_type_check
def find_values(raw, start, begins, lines, line):
    """Fill in where the values of rows begin, and the lines they stand on; (why it ended, rows, place, line, whether control characters were met).

    It ends at a line that is no row (ENDED), at one that cannot be a row (ODD_LINE), or when there is no more room (FULL); `place` is that line's.
    """
    width = begins.shape[1]
    row, here, has_control = 0, start, False
    size = len(raw)
    while here < size:
        i, column = here, 0
        while i < size and raw[i] != _NEWLINE:
            byte = raw[i]
            if byte == _SPACE or byte == _TAB:
                i += 1
                continue
            if byte == _HASH:
                while i < size and raw[i] != _NEWLINE:
                    i += 1
                break
            if column == 0:
                if i == here and byte == 59:
                    return ODD_LINE, row, here, line, has_control
                if _ends_loop(raw, i):
                    return ENDED, row, here, line, has_control
                if row == len(begins):
                    return FULL, row, here, line, has_control
            if column == width:
                return ODD_LINE, row, here, line, has_control
            if byte == _DOUBLE or byte == _SINGLE:
                close = _closing(raw, i)
                if close < 0:
                    return ODD_LINE, row, here, line, has_control
                begins[row, column] = i + 1
                for k in range(i, close):
                    has_control |= (raw[k] < 32 and raw[k] != _TAB) or raw[k] == 127
                i = close + 1
            else:
                begins[row, column] = i
                while i < size and raw[i] != _SPACE and raw[i] != _NEWLINE and raw[i] != _TAB:
                    has_control |= raw[i] < 32 or raw[i] == 127
                    i += 1
            column += 1
        if column:
            if column != width:
                return ODD_LINE, row, here, line, has_control
            lines[row] = line
            row += 1
        here = i + 1
        line += 1
    return ENDED, row, min(here, size), line, has_control


@njit(nogil=True, cache=True)
@no_type_check
def column_size(raw, begins):
    """How many bytes the values of a column take, each with a line end."""
    total = 0
    for begin in begins:
        total += _end(raw, np.int64(begin)) - np.int64(begin) + 1
    return total


@njit(nogil=True, cache=True)
@no_type_check
def column_lines(raw, begins, out):
    """Write the values of a column, each with a line end."""
    at = 0
    for begin in begins:
        first = np.int64(begin)
        last = _end(raw, first)
        for i in range(first, last):
            out[at] = raw[i]
            at += 1
        out[at] = _NEWLINE
        at += 1


@njit(nogil=True, cache=True)
@no_type_check
def column_numbers(raw, begins, out):
    """Write the column's numbers, NaN where a value is not a plain decimal number of at most 2⁵³ in its digits; whether there is one.

    Digits below 2⁵³ and a power of ten up to 10²² are exact in double precision, so that one product or quotient is rounded as the text asks for
    (Clinger, PLDI 1990).
    """
    is_odd = False
    for row in range(len(begins)):
        i = np.int64(begins[row])
        last = _end(raw, i)
        is_negative = raw[i] == 45 if i < last else False
        if i < last and (raw[i] == 45 or raw[i] == 43):
            i += 1
        digits, count, after, has_point, is_good = 0, 0, 0, False, True
        while i < last:
            byte = raw[i]
            if 48 <= byte <= 57:
                digits = digits * 10 + (byte - 48)
                count += 1
                after += has_point
                if digits > _LARGEST:
                    is_good = False
                    break
            elif byte == 46 and not has_point:
                has_point = True
            else:
                break
            i += 1
        power = 0
        if is_good and count and i < last and (raw[i] == 101 or raw[i] == 69):
            i += 1
            falls = i < last and raw[i] == 45
            if i < last and (raw[i] == 45 or raw[i] == 43):
                i += 1
            is_good = i < last
            while i < last and 48 <= raw[i] <= 57 and power < 1000:
                power = power * 10 + (raw[i] - 48)
                i += 1
            if falls:
                power = -power
        power -= after
        if not is_good or not count or i < last or power < -22 or power > 22:
            out[row] = np.nan
            is_odd = True
            continue
        value = float(digits)
        value = value * _TEN[power] if power >= 0 else value / _TEN[-power]
        out[row] = -value if is_negative else value
    return is_odd


@njit(nogil=True, cache=True)
@no_type_check
def copy_lines(raw, begins, row, out):
    """Write the lines on which rows stand, from this row on, as far as there is room; (the next row, bytes written)."""
    at = 0
    while row < len(begins):
        first = np.int64(begins[row, 0])
        while first > 0 and raw[first - 1] != _NEWLINE:
            first -= 1
        last = np.int64(begins[row, begins.shape[1] - 1])
        while last < len(raw) and raw[last] != _NEWLINE:
            last += 1
        if at + last - first + 1 > len(out):
            break
        for i in range(first, last):
            out[at] = raw[i]
            at += 1
        out[at] = _NEWLINE
        at += 1
        row += 1
    return row, at


@njit(nogil=True, cache=True)
@no_type_check
def join_rows(raw, begins, given, given_begins, order, span, out):
    """Write rows of `span` put together from the values of `raw` and lines of `given`, as far as there is room; (the next row, bytes written).

    `order` names the columns: k is column k of `begins`, −1 − k column k of `given_begins`, whose rows count from the beginning of the span.
    """
    at, row = 0, span[0]
    while row < span[1]:
        mark = at
        is_whole = True
        for k in order:
            if k >= 0:
                first = np.int64(begins[row, k])
                last = _end(raw, first)
                quote = raw[first - 1] if first > 0 and (raw[first - 1] == _DOUBLE or raw[first - 1] == _SINGLE) else 0
                if quote == 0 and (raw[first] == 59 or raw[first] == 95 or raw[first] == 36 or _is_reserved(raw, first)):
                    quote = _DOUBLE
                if at + last - first + 3 > len(out):
                    is_whole = False
                    break
                if quote:
                    out[at] = quote
                    at += 1
                for i in range(first, last):
                    out[at] = raw[i]
                    at += 1
                if quote:
                    out[at] = quote
                    at += 1
            else:
                first = given_begins[row - span[0], -1 - k]
                last = first
                while given[last] != _NEWLINE:
                    last += 1
                if at + last - first + 1 > len(out):
                    is_whole = False
                    break
                for i in range(first, last):
                    out[at] = given[i]
                    at += 1
            out[at] = _SPACE
            at += 1
        if not is_whole:
            at = mark
            break
        out[at - 1] = _NEWLINE
        row += 1
    return row, at


@njit(nogil=True, cache=True)
@no_type_check
def fixed_point(units, digits, out):
    """Write whole numbers of 10^−digits as decimal numbers, each with a line end; how many bytes."""
    at = 0
    for unit in units:
        value = unit
        if value < 0:
            out[at] = 45
            at += 1
            value = -value
        length = 1
        rest = value
        while rest >= 10:
            rest //= 10
            length += 1
        length = max(length, digits + 1)
        end = at + length + (1 if digits else 0)
        for i in range(length):
            place = end - 1 - i - (1 if digits and i >= digits else 0)
            out[place] = 48 + value % 10
            value //= 10
        if digits:
            out[end - 1 - digits] = 46
        out[end] = _NEWLINE
        at = end + 1
    return at
