"""What an archive is to the rest: a protocol, the files it lists, and what came of fetching them."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol, runtime_checkable

from cryowalk.core.errors import SafetyRefusal
from cryowalk.io.atomic import NAME_LIMIT

Existing = Literal["keep", "update"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file of an archive: its path within the entry, where it is (one address a mirror), and what the archive says of it.

    `bytes` is None where the archive does not tell; `checksums` are texts such as `sha256:9f86…` or `md5:d41d…`, the strongest first.
    """

    name: str
    urls: tuple[str, ...]
    bytes: int | None = None
    checksums: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A file that is here and whole: `transferred` bytes came over the network for it, `verified` says by what it is known to be whole."""

    name: str
    path: Path
    bytes: int
    transferred: int
    sha256: str
    verified: str


@runtime_checkable
class Archive(Protocol):
    """A place of entries with files. Entries are named as people name them: 1abc, EMD-1234, EMPIAR-10017, abcde."""

    def list(self, entry: str, patterns: Sequence[str] = ()) -> tuple[RemoteFile, ...]:
        """The files of an entry that fit one of the patterns (`*`, `?`; a text without them is a keyword), or those usually wanted."""

    def download(
        self, entry: str, folder: Path, patterns: Sequence[str] = (), *, existing: Existing = "keep"
    ) -> tuple[Fetched, ...]:
        """The files of an entry, whole, in this folder; those that are there already are not transferred again."""

    def upload(
        self, entry: str, paths: Sequence[Path], *, folder: str = "", existing: Existing = "keep"
    ) -> tuple[RemoteFile, ...]:
        """The files that were sent because they were missing in that folder of the entry (or, with `update`, were others there)."""


def fits(name: str, patterns: Sequence[str]) -> bool:
    """Whether a path fits one of the patterns, whole or by its last part; a pattern without a sign such as `*` is a keyword.

    >>> fits("data/a_0001.tif", ["*.tif"]), fits("data/a_0001.tif", ["A_00"]), fits("data/a_0001.tif", ["*.mrc"])
    (True, True, False)
    """
    if not patterns:
        return True
    last = name.rpartition("/")[2]
    for pattern in patterns:
        if any(sign in pattern for sign in "*?["):
            if fnmatchcase(name, pattern) or fnmatchcase(last, pattern):
                return True
        elif pattern.casefold() in name.casefold():
            return True
    return False


def safe_name(name: str) -> str:
    """The path within an entry, if it stays within the folder it will be written to.

    Raises
    ------
    SafetyRefusal
        If it is absolute, leads upwards, or holds a control character or a back-slash.
    """
    parts = PurePosixPath(name).parts
    leads_out = not parts or name.startswith("/") or ".." in parts
    if leads_out or not name.isprintable() or "\\" in name or any(part.startswith(".cryowalk") for part in parts):
        raise SafetyRefusal(
            "the archive names a file that would be written outside of its folder, or by a name that no file should have",
            file=name,
            expected="a relative path without .. and without control characters",
        )
    if any(len(part.encode("utf-8", "surrogateescape")) > NAME_LIMIT - 20 for part in parts):
        raise SafetyRefusal("the archive names a file by more bytes than a file system takes", file=f"{name[:60]}…")
    return "/".join(parts)
