"""Opening files of others: plain, gzip or bzip2 by their first bytes, never by their names; guarded against truncation and bombs."""

import bz2
import gzip
import zlib
from collections.abc import Sequence
from io import BufferedIOBase
from pathlib import Path

from cryowalk.core.errors import EnvironmentFault, InputError

GZIP_MAGIC = b"\x1f\x8b"
BZIP2_MAGIC = b"BZh"
TEXT_LIMIT = 2**31  # bytes of inflated text; a larger one is a bomb or no table
CHUNK = 2**22  # bytes

_FOREIGN = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"II+\x00", "a TIFF or EER movie"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array or cryoSPARC .cs table"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
)


def foreign_kind(start: bytes) -> str:
    """What the first bytes of a file say it is, in words, when it is plainly none of the formats read here; otherwise empty."""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml", b"<!doctype")):
        return "an XML file" if text.startswith(b"<?xml") else "an HTML page (the error page of a download?)"
    if (
        start[:1] == b"\x80" and start[2:4] == b"\0\0"
    ):  # an MRC file 640, 896, 1152 or 1408 px wide; a pickle goes on with an instruction
        return ""
    if start[257:262] == b"ustar" and b"\0" not in start[:8]:
        return "a tar archive"
    return next((words for magic, words in _FOREIGN if start.startswith(magic)), "")


def open_file(path: Path) -> BufferedIOBase:
    """The file, open for reading.

    Raises
    ------
    InputError
        If there is no such file, or it is a folder.
    EnvironmentFault
        If it may not be read.
    """
    try:
        return path.open("rb")
    except PermissionError as error:
        raise EnvironmentFault(
            "may not be read: permission denied", file=path, fix="ask its owner for read permission"
        ) from error
    except IsADirectoryError as error:
        raise InputError("is a folder, not a file", file=path, fix="name a file in it") from error
    except FileNotFoundError as error:
        raise InputError("there is no such file", file=path, fix="check the name and the folder you are in") from error
    except (OSError, ValueError) as error:  # a name that is too long, or holds a null character
        raise InputError(f"cannot be opened: {getattr(error, 'strerror', None) or error}", file=path) from error


def compression_of(path: Path) -> str:
    """`gzip`, `bzip2` or empty, by the first bytes of the file."""
    with open_file(path) as stream:
        start = stream.read(4)
    if start.startswith(GZIP_MAGIC):
        return "gzip"
    return "bzip2" if start.startswith(BZIP2_MAGIC) and start[3:4].isdigit() else ""


def open_content(path: Path) -> BufferedIOBase:
    """The content of the file, inflated while it is read if it is compressed.

    Raises
    ------
    InputError
        If there is no such file.
    """
    compression = compression_of(path)
    if compression == "gzip":
        return gzip.GzipFile(path, "rb")
    if compression == "bzip2":
        return bz2.BZ2File(path, "rb")
    return open_file(path)


def read_up_to(stream: BufferedIOBase, size: int, *, path: Path) -> bytearray:
    """At most `size` bytes; memory grows with what the file really holds, not with what a header claims.

    Raises
    ------
    InputError
        If the compressed content is cut off or damaged.
    """
    content = bytearray()
    try:
        while len(content) < size:
            chunk = stream.read(min(CHUNK, size - len(content)))
            if not chunk:
                break
            content += chunk
    except EOFError as error:
        raise InputError(
            "the compressed file is cut off",
            file=path,
            cause="an interrupted download or a full disk",
            fix="fetch it again",
        ) from error
    except (zlib.error, gzip.BadGzipFile, OSError, ValueError) as error:
        raise InputError(
            f"the file cannot be read to its end: {error}", file=path, cause="damaged content", fix="fetch it again"
        ) from error
    return content


def read_text(path: Path, *, limit: int = TEXT_LIMIT) -> str:
    """The text of a file (UTF-8, a byte-order mark dropped, compressed or not); bytes that are no UTF-8 survive a round trip.

    No more than `limit` bytes of text are taken in.

    Raises
    ------
    InputError
        If it is missing, empty, binary, or inflates without bound.
    """
    return read_content(path, limit=limit).decode("utf-8", "surrogateescape")


def read_content(path: Path, *, limit: int = TEXT_LIMIT) -> bytearray:
    """The bytes of a text file, a byte-order mark dropped, inflated if it is compressed; no more than `limit` are taken in.

    Raises
    ------
    InputError
        If it is missing, empty, binary, or inflates without bound.
    """
    with open_content(path) as stream:
        content = read_up_to(stream, limit + 1, path=path)
    if len(content) > limit:
        size = f"{limit // 2**30} GiB" if limit >= 2**30 else f"{limit // 2**20} MiB"
        raise InputError(f"inflates to more than {size} of text", file=path, cause="not a table, or a decompression bomb")
    kind = foreign_kind(bytes(content[:512]))
    if kind:
        raise InputError(f"this is {kind}", file=path, expected="a text file")
    if not content[:64].strip() and not content.strip():
        raise InputError("the file is empty", file=path, cause="the program that wrote it failed, or the disk was full")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError("the text is UTF-16", file=path, expected="UTF-8", fix="save it as UTF-8")
    if b"\0" in content:
        what = "an MRC file (a map or images)" if content[208:211] == b"MAP" else "a binary file"
        raise InputError(f"this is {what}", file=path, expected="a text file")
    if content.startswith(b"\xef\xbb\xbf"):
        del content[:3]
    return content


def require_places(places: Sequence[int], count: int, path: Path, *, what: str = "image") -> None:
    """Refuse images or frames that a file does not have, counted from 0 here and from 1 in the message.

    Raises
    ------
    InputError
        If there is one.
    """
    wrong = next((place for place in places if not 0 <= place < count), None)
    if wrong is not None:
        raise InputError(
            f"{what} {wrong + 1} is asked for",
            file=path,
            expected=f"1 to {count}",
            fix="check the index in the table that names it",
        )
