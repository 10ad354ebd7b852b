"""Lists of sums as md5sum and sha256sum write them: for archives that state none themselves, but whose depositors do."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cryowalk.core.errors import InputError
from cryowalk.io.archives.archive import RemoteFile
from cryowalk.io.opening import read_text

_LINE = re.compile(r"([0-9a-fA-F]{32}|[0-9a-fA-F]{64}) [ *]?(.+)")


def read_sums(path: Path) -> dict[str, str]:
    """The sums of a list, such as `sha256:9f86…`, by the names in it.

    Raises
    ------
    InputError
        If a line is none of such a list, or two lines contradict each other.
    """
    sums: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line.rstrip())
        if found is None:
            raise InputError(
                "this line holds no sum", file=path, row=number, expected="lines as md5sum or sha256sum write them: SUM  NAME"
            )
        stated = f"{'md5' if len(found[1]) == 32 else 'sha256'}:{found[1].lower()}"
        name = found[2].strip().removeprefix("./")
        if sums.setdefault(name, stated) != stated and sums[name].partition(":")[0] == stated.partition(":")[0]:
            raise InputError(f"two lines state different sums for {name}", file=path, row=number)
        if stated.startswith("sha256"):
            sums[name] = stated
    return sums


def with_sums(remote: RemoteFile, sums: Mapping[str, str]) -> RemoteFile:
    """The file with the sum that a list states for its path, or for the last part of it where only that stands in the list."""
    stated = sums.get(remote.name) or sums.get(remote.name.rpartition("/")[2])
    if stated is None or stated in remote.checksums:
        return remote
    return replace(remote, checksums=(stated, *remote.checksums))
