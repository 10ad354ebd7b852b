"""The learner's progress: one JSON file in the user's data folder, safe against crashes, damage and a second process."""

import json
import os
import secrets
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryowalk.core.errors import CryowalkWarning, EnvironmentFault
from cryowalk.io.atomic import atomic_write_text

DIRECTORY_VARIABLE = "CRYOWALK_COURSE_DIRECTORY"
SEED_VARIABLE = "CRYOWALK_COURSE_SEED"
_SECTIONS = ("exercises", "predictions", "explanations", "answers")

Record = dict[str, Any]

_unwritable: Record | None = None  # the record of a session whose folder cannot be written


def directory() -> Path:
    """The folder of the learner's files: $CRYOWALK_COURSE_DIRECTORY, else cryowalk/ in the user's data folder (XDG)."""
    chosen = os.environ.get(DIRECTORY_VARIABLE)
    if chosen:
        return Path(chosen)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "cryowalk"


def file() -> Path:
    """The path of the progress file."""
    return directory() / "progress.json"


def now() -> str:
    """The present time in UTC, as the progress file writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read() -> Record:
    """The learner's record; a fresh one where there is none or where the file is damaged (which is then kept aside)."""
    if _unwritable is not None:
        return _unwritable
    path = file()
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return _fresh()
    except (OSError, ValueError) as error:
        return _set_aside(path, reason=str(error))
    if not isinstance(record, dict) or not isinstance(record.get("seed"), int):
        return _set_aside(path, reason="it is not a progress record")
    for section in _SECTIONS:
        if not isinstance(record.setdefault(section, {}), dict):
            return _set_aside(path, reason=f"its part {section!r} is not a table")
    return record


def update(change: Callable[[Record], None]) -> Record:
    """The record after `change` was applied to it and stored; where nothing can be written, the change lasts for the session."""
    global _unwritable
    if _unwritable is not None:
        change(_unwritable)
        return _unwritable
    try:
        directory().mkdir(parents=True, exist_ok=True)
        with _lock():
            record = read()
            change(record)
            atomic_write_text(file(), json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    except (OSError, EnvironmentFault) as error:
        warnings.warn(
            f"Your progress cannot be stored in {directory()} ({error}). It is kept until this session ends; "
            f"set {DIRECTORY_VARIABLE} to a folder you may write to.",
            CryowalkWarning,
            stacklevel=2,
        )
        record = _unwritable = read()
        change(record)
    return record


def learner_seed() -> int:
    """The seed from which the learner's own numbers are drawn: $CRYOWALK_COURSE_SEED, else the one in the progress file."""
    override = os.environ.get(SEED_VARIABLE)
    if override:
        return int(override)
    record = read() if file().is_file() else update(lambda record: None)
    return int(record["seed"])


def reset(name: str | None = None) -> None:
    """Nothing; forgets one exercise, one unit, or (name None) every attempt; the learner's seed stays."""

    def forget(record: Record) -> None:
        for section in _SECTIONS:
            kept = {key: value for key, value in record[section].items() if name is not None and not _belongs(key, name)}
            record[section] = kept

    update(forget)


def _belongs(key: str, name: str) -> bool:
    return key == name or key.startswith(f"{name}.")


def _fresh() -> Record:
    return {"version": 1, "seed": secrets.randbelow(2**31), **{section: {} for section in _SECTIONS}}


def _set_aside(path: Path, *, reason: str) -> Record:
    number = 1
    while (kept := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    try:
        path.rename(kept)
        place = f"It is kept as {kept}, and a new one begins."
    except OSError:
        place = "It stays where it is, and this session begins a new one."
    warnings.warn(f"The progress file {path} cannot be read ({reason}). {place}", CryowalkWarning, stacklevel=3)
    return _fresh()


@contextmanager
def _lock() -> Iterator[None]:
    """Hold the lock file, so that two processes change the record one after the other."""
    with (directory() / ".progress.lock").open("a") as handle:
        try:
            import fcntl
        except ImportError:  # Windows: without the lock, the atomic replacement still never leaves a broken file
            yield
            return
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)
