"""A folder of fetched files that remembers what each of them was when it was whole; the user's cache is one such folder."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from cryowalk.core.errors import EnvironmentFault, SafetyRefusal
from cryowalk.io.archives.archive import RemoteFile, safe_name
from cryowalk.io.archives.client import library
from cryowalk.io.atomic import write_fault

RECORD_NAME = ".cryowalk-files.jsonl"
CACHE_VARIABLE = "CRYOWALK_CACHE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a file was when it was whole: its length, SHA-256 and time of change, and how that was proven.

    `stated` is the sum that the archive stated, `etag` its name for that state of the file.
    """

    bytes: int
    sha256: str
    changed: int  # ns
    verified: str
    stated: str = ""
    etag: str = ""
    url: str = ""

    def is_that(self, remote: RemoteFile) -> bool:
        """Whether the archive's file is this one, as far as the archive tells."""
        strong = [stated for stated in remote.checksums if stated.startswith("sha256:")]
        if strong:
            return all(stated == f"sha256:{self.sha256}" for stated in strong)
        if remote.checksums:
            return self.stated in remote.checksums
        return remote.bytes in (None, self.bytes)


def cache_folder(environment: Mapping[str, str] | None = None) -> Path:
    """The folder that keeps what was fetched without `--o`: CRYOWALK_CACHE, else the user's cache folder."""
    library()
    import pooch

    environment = os.environ if environment is None else environment
    named = environment.get(CACHE_VARIABLE)
    return Path(named) if named else Path(pooch.os_cache("cryowalk"))


def checksum_of(path: Path, kind: str) -> str:
    """The sum of the file, such as `sha256:…`."""
    import pooch

    return f"{kind}:{pooch.file_hash(str(path), alg=kind)}"


class Store:
    """The files of one entry below a folder. Records are lines appended to one hidden file; the last line of a name counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known = _records(folder / RECORD_NAME)

    def path(self, name: str) -> Path:
        """Where the file of this name lies or will lie.

        Raises
        ------
        SafetyRefusal
            If that were outside of the folder, also through a link.
        """
        path = self.folder / safe_name(name)
        if not path.parent.resolve().is_relative_to(self.folder.resolve()):
            raise SafetyRefusal("a link in the folder leads out of it", file=path, fix="remove the link, or give another folder")
        return path

    def names(self) -> tuple[str, ...]:
        """The names of all files that were whole once."""
        return tuple(self._known)

    def known(self, name: str) -> Known | None:
        """What is remembered of a file, if it still is that file: by its length and time of change, else by its sum."""
        known, path = self._known.get(name), self.path(name)
        if known is None or not path.is_file() or path.is_symlink():
            return None
        facts = path.stat()
        if facts.st_size != known.bytes:
            return None
        if facts.st_mtime_ns == known.changed:
            return known
        return known if checksum_of(path, "sha256") == f"sha256:{known.sha256}" else None

    def adopt(self, name: str, remote: RemoteFile) -> Known | None:
        """What is known now of a file that lies here unrecorded, if its sum is what the archive states; None if it is another."""
        path = self.path(name)
        if not path.is_file() or path.is_symlink() or not remote.checksums:
            return None
        stated = remote.checksums[0]
        if remote.bytes not in (None, path.stat().st_size) or checksum_of(path, stated.partition(":")[0]) != stated:
            return None
        return self.record(name, path, verified=stated.partition(":")[0], stated=stated)

    def record(self, name: str, path: Path, **facts: str) -> Known:
        """What is remembered from now on of the whole file at `path`, which has or is about to get its place under this name.

        `facts` are the texts of `Known`: how it was verified, and what the archive said of it.
        """
        found = path.stat()
        kind, _, stated = facts.get("stated", "").lower().partition(":")  # it was checked against this sum
        sha256 = stated if kind == "sha256" else checksum_of(path, "sha256").partition(":")[2]
        known = Known(**{"bytes": found.st_size, "sha256": sha256, "changed": found.st_mtime_ns, "verified": "", **facts})  # type: ignore[arg-type]  # of their types
        self._known[name] = known
        line = json.dumps({"name": name, **asdict(known)}, ensure_ascii=True)
        self.prepare()
        try:
            with (self.folder / RECORD_NAME).open("a", encoding="ascii") as stream:
                stream.write(line + "\n")
        except OSError as error:
            raise write_fault(self.folder / RECORD_NAME, error) from error
        return known

    def prepare(self, name: str = "") -> None:
        """The folder, and that of the named file, exist.

        Raises
        ------
        EnvironmentFault
            If they cannot be made.
        """
        folder = self.path(name).parent if name else self.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentFault(
                f"the folder cannot be made: {error.strerror}", file=folder, fix=f"give another --o, or set {CACHE_VARIABLE}"
            ) from error


def _records(path: Path) -> dict[str, Known]:
    """The records of a folder; a line that is no record (cut off by a full disk) is passed over."""
    known: dict[str, Known] = {}
    if not path.is_file():
        return known
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        try:
            values = json.loads(line)
            name = values.pop("name")
            record = Known(**values)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        if isinstance(name, str) and isinstance(record.bytes, int) and isinstance(record.sha256, str):
            known[name] = record
    return known
