"""Mutations of a valid file, told by a short program of bytes: the same program always makes the same file, for hypothesis and for atheris."""

import re

NUMBER = re.compile(rb"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")
EXTREME_NUMBERS = (
    b"0", b"-1", b"nan", b"inf", b"-inf", b"1e999", b"-1e308", b"1e-320", b"2147483648", b"-2147483649", b"18446744073709551616", b"9" * 400,
    b"1_0", b"0x10", b"1,5", b"", b"--1", b"1e", "²".encode(), "١".encode(), b"4294967295", b"1e18", b"0.0000001", b"99999999",
)  # fmt: skip
EXTREME_BYTES = tuple(
    value.to_bytes(size, order, signed=True)
    for size in (2, 4, 8)
    for value in (0, 1, -1, 2 ** (8 * size - 1) - 1, -(2 ** (8 * size - 1)), 101)
    for order in ("little", "big")
)
TOKENS = (
    b"\0", b"\n", b"\r", b"\t", b'"', b"'", b";", b"#", b"[", b"]", b"{", b"}", b"<!DOCTYPE x [", b"&a;", b"data_", b"loop_", b"_rlnX #1\n", b"\x1b[2J",
    b"\xff\xfe", b"\xef\xbb\xbf", b"@", b"../../../", b"/etc/passwd", b",", b"=", b"\x80\x04", b"\x1f\x8b\x08", b"BZh9", b"II*\0", b"\x89HDF\r\n\x1a\n",
    b"\x93NUMPY", b"PK\x03\x04", b"__import__('os')", b"\xed\xa0\x80", b"\n;\n", b"NaN", b"None", b"!!python/object", b"&x *x", b"\xc2\x85", b"\x0c", b" " * 300,
)  # fmt: skip
OPERATIONS = 11
STEP = 5  # bytes of one operation: which, where (three), and with what
LONGEST = 1 << 18  # bytes; files are kept small, so that many are tried


def mutated(seed: bytes, program: bytes) -> bytes:
    """The seed after the operations of the program; an empty program leaves it as it is."""
    content = bytearray(seed)
    for start in range(0, len(program) - STEP + 1, STEP):
        step = program[start : start + STEP]
        place = int.from_bytes(step[1:4], "little") % (len(content) + 1)
        _apply(content, step[0] % OPERATIONS, place, step[4])
        del content[LONGEST:]
    return bytes(content)


def _apply(content: bytearray, operation: int, place: int, argument: int) -> None:
    length = 1 + argument
    if operation == 0 and place < len(content):
        content[place] ^= argument or 255
    elif operation == 1:
        del content[place:]
    elif operation == 2:
        del content[place : place + length]
    elif operation == 3:
        content[place:place] = TOKENS[argument % len(TOKENS)]
    elif operation == 4:
        content[place:place] = content[place : place + length]
    elif operation in (5, 6):
        found = NUMBER.search(content, place) or NUMBER.search(content)
        if found:
            content[found.start() : found.end()] = EXTREME_NUMBERS[argument % len(EXTREME_NUMBERS)]
    elif operation == 7:
        new = EXTREME_BYTES[argument % len(EXTREME_BYTES)]
        content[place : place + len(new)] = new
    elif operation == 8:
        new = EXTREME_BYTES[argument % len(EXTREME_BYTES)]
        place = place % min(len(content) + 1, 1024) // 4 * 4  # in what is likely a header
        content[place : place + len(new)] = new
    elif operation == 9:
        _swap_lines(content, place, argument)
    elif operation == 10 and place < len(content):
        content[place : place + 1 + argument % 8] = bytes([argument]) * (1 + argument % 8)


def _swap_lines(content: bytearray, place: int, argument: int) -> None:
    lines = bytes(content).split(b"\n")
    if len(lines) < 2:
        return
    first, second = place % len(lines), argument % len(lines)
    lines[first], lines[second] = lines[second], lines[first]
    content[:] = b"\n".join(lines)
