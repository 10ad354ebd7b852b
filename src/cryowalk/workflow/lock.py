"""One process at a time in a job's directory, by a lock that the kernel drops when its holder dies."""

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryowalk.core.errors import StateConflict

LOCK_NAME = ".cryowalk.lock"
_NO_LOCKS_HERE = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


class DirectoryInUse(StateConflict):
    """A directory that another process is working in."""


@contextmanager
def directory_lock(directory: Path) -> Iterator[bool]:
    """True while this process alone holds the directory; False where the file system knows no locks.

    The lock is `flock` on a small file that names the holder; it is gone with the process, also after kill −9, and the file is removed at the end.

    Raises
    ------
    DirectoryInUse
        If another process holds it; the message names its process id and host.
    """
    path = directory / LOCK_NAME
    descriptor, locked = _acquire(path, directory)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        yield locked
    finally:
        # Removed while still held: whoever waits for this file notices that it is no longer the one in the directory.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: Path, directory: Path) -> tuple[int, bool]:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS_HERE:
                return descriptor, False
            holder = _holder(descriptor)
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise DirectoryInUse(
                f"another cryowalk process is working in this directory{holder}",
                file=directory,
                cause="the same command was started twice",
                fix="wait for it to end, or give another output directory",
            ) from None
        if _is_still(path, descriptor):
            return descriptor, True
        os.close(descriptor)  # the former holder removed this file while we waited for it


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _holder(descriptor: int) -> str:
    try:
        facts = json.loads(os.pread(descriptor, 4096, 0))
        return f" (process {facts['pid']} on {facts['host']})"
    except (ValueError, KeyError, TypeError):
        return ""
