"""Files that appear whole or not at all: a temporary name beside the target, flushed to the disk, then renamed over it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryowalk.core.errors import EnvironmentFault

NAME_LIMIT = 255  # bytes of one file name on every common file system


def partial_path(path: Path) -> Path:
    """The hidden name beside `path` under which this process writes it."""
    tail = f".{os.getpid()}.partial"
    stem = path.name.encode("utf-8", "surrogateescape")[: NAME_LIMIT - len(tail) - 1].decode("utf-8", "ignore")
    return path.with_name(f".{stem}{tail}")


def write_fault(path: Path, error: OSError) -> EnvironmentFault:
    """The error that tells why `path` could not be written."""
    if isinstance(error, FileNotFoundError):
        return EnvironmentFault("the folder to write into does not exist", file=path, fix=f"create it: mkdir -p '{path.parent}'")
    return EnvironmentFault(
        f"cannot write: {error.strerror or error}",
        file=path,
        cause="the disk is full, or the folder may not be written to",
        fix="make room or choose another folder; a file that was there before is untouched",
    )


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder durable, where the file system can."""
    with suppress(OSError):  # some network file systems refuse to open or sync a folder; the rename itself has happened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def move_into_place(temporary: Path, path: Path) -> None:
    """Flush `temporary` to the disk and give it its final name in one step.

    Raises
    ------
    EnvironmentFault
        If the disk or the folder refuses.
    """
    try:
        handle = os.open(temporary, os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        temporary.replace(path)
    except OSError as error:
        raise write_fault(path, error) from error
    sync_folder(path.parent)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`; when the block ends well the file written there takes the final name, otherwise nothing is left.

    A file that was there before stays untouched until the rename. A symbolic link is replaced, never written through.

    Raises
    ------
    EnvironmentFault
        If the folder is missing or not writable, or the disk is full.
    """
    path = Path(path)
    if path.is_dir():
        raise EnvironmentFault("cannot write a file over a folder", file=path, fix="choose another name")
    temporary = partial_path(path)
    try:
        temporary.touch()
        yield temporary
        move_into_place(temporary, path)
    except OSError as error:
        raise write_fault(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def atomic_write_bytes(path: str | Path, content: bytes) -> None:
    """Write these bytes to `path`, all or nothing."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def atomic_write_text(path: str | Path, text: str) -> None:
    """Write this text to `path` in UTF-8 with the line ends it has, all or nothing."""
    atomic_write_bytes(path, text.encode("utf-8", "surrogateescape"))
