"""Parts of files that are still arriving: NAME.part, a note beside it of what it is a part of, and a lock while a process writes it."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from cryowalk.core.errors import StateConflict
from cryowalk.core.execution import Progress
from cryowalk.io.atomic import atomic_write_text, write_fault


def part_path(path: Path) -> Path:
    """Where a file grows until it is whole."""
    return path.with_name(path.name + ".part")


def state_path(path: Path) -> Path:
    """Where it is written what the part is a part of."""
    return path.with_name(f".{path.name}.part.json")


def this_boot() -> str:
    """A name for the time since this machine was started; empty where it has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def read_state(path: Path, url: str, checksums: Sequence[str]) -> dict[str, Any]:
    """What the part of this file is known to be a part of; a part of something else, or of something unknown, counts as nothing."""
    fresh: dict[str, Any] = {"url": url, "etag": "", "modified": "", "total": None, "held": 0, "boot": ""}
    fresh["checksums"] = list(checksums)
    try:
        state = json.loads(state_path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return fresh
    numbers = isinstance(state, dict) and [state.get("held"), state.get("total") or 0]
    fits = numbers and all(isinstance(each, int) and each >= 0 for each in numbers)
    texts = fits and all(isinstance(state.get(name), str) for name in ("etag", "modified", "boot"))
    same = texts and state.keys() == fresh.keys() and (state["url"], state["checksums"]) == (url, list(checksums))
    # Without a name of its state or a sum, nobody could tell whether the rest belongs to the same file.
    return state if same and (state["etag"] or state["modified"] or checksums) else fresh


def trusted_length(path: Path, state: Mapping[str, Any]) -> int:
    """How many bytes of the part may be gone on from.

    What a killed process wrote is there as long as the machine runs; after a power cut only what was flushed to the disk.
    """
    size = part_path(path).stat().st_size
    held = size if state["boot"] and state["boot"] == this_boot() else min(int(state["held"]), size)
    return held if state["total"] is None or held <= state["total"] else 0


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Replace the note beside a part, all or nothing."""
    atomic_write_text(state_path(path), json.dumps(state, ensure_ascii=True))


@contextmanager
def held_part(path: Path, progress: Progress) -> Iterator[BinaryIO]:
    """The part, open for reading and writing, while no other process may write it; an empty one is removed at the end, with its state."""
    part = part_path(path)
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise write_fault(part, error) from error
    with os.fdopen(descriptor, "r+b") as stream:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateConflict(
                "another process is fetching this file", file=part, fix="wait until it has ended, or give another folder"
            ) from None
        except OSError as error:  # a file system without locks: length and sums still tell what is whole
            progress.note(f"{part}: no lock ({error.strerror}); do not start the same command twice")
        try:
            yield stream
        finally:
            stream.flush()
            if not part.exists() or part.stat().st_size == 0:
                part.unlink(missing_ok=True)
                state_path(path).unlink(missing_ok=True)
