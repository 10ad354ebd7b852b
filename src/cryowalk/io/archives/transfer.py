"""One file over the network: into NAME.part, resumed where it broke off if it is still the same file, verified, and only then given its name."""

import math
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cryowalk.core.errors import EnvironmentFault, SafetyRefusal
from cryowalk.io.archives.archive import RemoteFile
from cryowalk.io.archives.client import Client, Interrupted, NotThere, failure, place
from cryowalk.io.archives.contents import LOOKED_AT, require_start, require_whole
from cryowalk.io.archives.parts import held_part, part_path, read_state, state_path, this_boot, trusted_length, write_state
from cryowalk.io.archives.store import checksum_of
from cryowalk.io.archives.waiting import pieces
from cryowalk.io.atomic import write_fault

if TYPE_CHECKING:
    import requests

PIECE = 2**18  # bytes asked for at once
SAFE_EVERY = 2**26  # bytes after which what has arrived is flushed to the disk and may be resumed from, also after a power cut
SMALL = 2**20  # bytes; a part of so small a file is not worth a state on the disk unless the transfer breaks off
A_STEP = 2**20  # bytes that count as progress between two failures
MEGABYTE = 10**6
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A whole file that still lies under its temporary name, with what is known of it."""

    part: Path
    transferred: int
    verified: str
    etag: str
    url: str


@contextmanager
def arriving(client: Client, remote: RemoteFile, path: Path, *, unless: str = "") -> Iterator[Arrival | None]:
    """The file, whole and verified, under its temporary name; None if it still is in the state called `unless` (an ETag). Mirrors are tried in turn.

    Raises
    ------
    EnvironmentFault
        If it cannot be fetched whole: what has arrived stays beside `path` and the next call goes on from there.
    StateConflict
        If another process is fetching it.
    """
    with held_part(path, client.progress) as stream:
        transferred = 0
        for number, url in enumerate(remote.urls, 1):
            download = _Download(client, remote, url=url, path=path, stream=stream)
            try:
                arrival = download.whole(unless)
                break
            except (EnvironmentFault, NotThere) as error:
                transferred += download.transferred
                if number == len(remote.urls):
                    raise
                client.progress.note(f"{error.what}; trying the mirror {place(remote.urls[number])}")
        if arrival is None:
            yield None
            return
        yield Arrival(
            part=arrival.part,
            transferred=transferred + arrival.transferred,
            verified=arrival.verified,
            etag=arrival.etag,
            url=arrival.url,
        )


class _Download:
    """One file from one address."""

    def __init__(self, client: Client, remote: RemoteFile, *, url: str, path: Path, stream: BinaryIO) -> None:
        self.client = client
        self.remote = remote
        self.url = url
        self.path = path
        self.stream = stream
        self.transferred = 0
        self.is_pieced = False  # whether what is held came in more than one answer
        self.is_bounded = True  # whether the answer said where the file ends
        self._bar = self._began_at = self._told = 0  # megabytes of this answer, bytes before it, megabytes told of it
        self.state = read_state(path, url, remote.checksums)
        self.held = trusted_length(path, self.state)

    def whole(self, unless: str) -> Arrival | None:
        """The verified part, or None if the archive's file is unchanged; a part that was pieced together wrongly is fetched once more from its start."""
        for again in (True, False):
            if not self._run(unless):
                return None
            try:
                verified = self._verified()
                break
            except EnvironmentFault as error:
                self._restart()
                if not (again and self.is_pieced):
                    raise
                self.is_pieced = False
                self.client.progress.note(f"{self.remote.name}: {error.what}; fetching it again from its start")
        return Arrival(
            part=part_path(self.path),
            transferred=self.transferred,
            verified=verified,
            etag=str(self.state["etag"]),
            url=place(self.url),
        )

    def _run(self, unless: str) -> bool:
        """Whether the archive has another file than `unless`; it is held completely then."""
        failures = 0
        while True:
            before = self.held
            try:
                return self._once(unless)
            except Interrupted as interruption:
                self._keep()
                failures = 1 if self.held - before >= A_STEP else failures + 1
                self.client.pause(interruption, failures, self.remote.name)
            except OSError as error:
                raise write_fault(part_path(self.path), error) from error
            except BaseException:
                with suppress(OSError):  # the error itself is what must be heard of
                    self._keep()
                raise

    def _once(self, unless: str) -> bool:
        if self.held and self.held == self.state["total"]:
            self.is_pieced = True
            return True
        headers = self._conditions() if self.held else ({"If-None-Match": unless} if unless else {})
        response = self.client.open(self.url, headers=headers, expected=frozenset({200, 206, 304, 416}))
        if response.status_code == 304:
            response.close()
            return False
        try:
            self._begin(response)
        except BaseException:
            response.close()
            raise
        self._read(response)
        return True

    def _conditions(self) -> dict[str, str]:
        etag, modified = str(self.state["etag"]), str(self.state["modified"])
        validator = etag if etag and not etag.startswith("W/") else modified
        return {"Range": f"bytes={self.held}-", **({"If-Range": validator} if validator else {})}

    def _begin(self, response: "requests.Response") -> None:
        """The part is set to where this answer goes on, and the state says of what."""
        told = response.headers
        encoding = told.get("Content-Encoding", "identity").lower()
        if encoding not in ("", "identity") and not self.remote.name.lower().endswith((".gz", ".bz2")):
            raise EnvironmentFault(
                f"{place(self.url)}: the archive compresses the file although it was asked not to ({encoding})"
            )
        length = told.get("Content-Length", "")
        length = length if length.isdigit() and "chunked" not in told.get("Transfer-Encoding", "").lower() else ""
        etag, modified = told.get("ETag", ""), told.get("Last-Modified", "")
        if response.status_code == 206:
            total = self._continued(told.get("Content-Range", ""), etag)
            self.is_pieced = True
        elif response.status_code == 416:
            self._restart()
            raise Interrupted("the archive's file is shorter than what is here of it")
        else:
            if self.held:
                self.client.progress.note(f"{self.remote.name}: it cannot be continued or was changed; from its start")
            self._restart()
            total = int(length) if length else None
            self.state |= {"etag": etag, "modified": modified}
        self.is_bounded = bool(length) or "chunked" in told.get("Transfer-Encoding", "").lower() or total is not None
        self._require_size(total)
        self.state["total"] = total
        if total is None or total >= SMALL:
            self._keep()
        self._bar = math.ceil(((total if total is not None else self.held) - self.held) / MEGABYTE)
        self._began_at, self._told = self.transferred, 0
        self.client.progress.start(f"{self.remote.name} (MB)", self._bar)

    def _continued(self, content_range: str, etag: str) -> int | None:
        """The length of the whole file, of which the answer is the rest."""
        found = _RANGE.fullmatch(content_range.strip())
        total = int(found[3]) if found and found[3] != "*" else None
        is_changed = (etag and self.state["etag"] and etag != self.state["etag"]) or (
            None not in (total, self.state["total"]) and total != self.state["total"]
        )
        if found is None or int(found[1]) != self.held or is_changed:
            self._restart()
            raise Interrupted(
                "the archive's file was changed meanwhile" if is_changed else "the archive sent another part than asked for"
            )
        return total if total is not None else self.state["total"]

    def _require_size(self, total: int | None) -> None:
        limit, stated = self.client.settings.largest_file, self.remote.bytes
        if total is None:
            return
        if stated is not None and total != stated:
            raise EnvironmentFault(
                f"the archive's list says {stated} bytes, its server offers {total}",
                file=self.remote.name,
                cause="the file is being changed, or an error page stands in its place",
                fix="start the command again later",
            )
        if total > limit:
            raise EnvironmentFault(
                f"the file has {total / 1e9:.3g} GB, more than the limit of {limit / 1e9:.3g} GB",
                file=self.remote.name,
                fix="raise --largest if it is meant",
            )
        free = shutil.disk_usage(self.path.parent).free
        if free < total - self.held:
            raise EnvironmentFault(
                f"the disk has {free / 1e9:.3g} GB left, the rest of the file needs {(total - self.held) / 1e9:.3g} GB",
                file=self.path,
                fix="make room, or give another --o",
            )

    def _read(self, response: "requests.Response") -> None:
        import urllib3

        raw, most = response.raw, self._most()
        began, came = time.monotonic(), 0
        safe = self.held
        self.stream.seek(self.held)
        self.stream.truncate()
        arriving_pieces = pieces(
            lambda: raw.read1(PIECE, decode_content=False), (raw.shutdown, response.close), self.client.progress
        )
        try:
            for piece in arriving_pieces:
                if self.held + len(piece) > most:
                    raise SafetyRefusal(
                        f"the archive sends more than the {most} bytes that the file may have",
                        file=self.remote.name,
                        cause="an endless answer, or an error of the server's",
                    )
                self.stream.write(piece)
                if self.held < LOOKED_AT and not self.remote.checksums:
                    self._look(response)
                self.held += len(piece)
                self.transferred += len(piece)
                came += len(piece)
                if self.held - safe >= SAFE_EVERY:
                    self._keep()
                    safe = self.held
                self._tell(whole=(self.transferred - self._began_at) // MEGABYTE)
                began, came = self._paced(began, came)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
                raise
            reason = failure(error, self.url)
            raise (reason if isinstance(reason, Interrupted) else Interrupted("the answer broke off")) from None
        finally:
            arriving_pieces.close()
        total = self.state["total"]
        if total is not None and self.held < total:
            raise Interrupted(f"the answer ended after {self.held} of {total} bytes")
        self.state["total"] = self.held
        if self.held >= SMALL:
            self._keep()
        self._tell(whole=self._bar)

    def _most(self) -> int:
        known = [size for size in (self.state["total"], self.remote.bytes) if size is not None]
        return min([*known, self.client.settings.largest_file])

    def _look(self, response: "requests.Response") -> None:
        """Look at the first bytes of the file, so that a web page is known before it is long."""
        position = self.stream.tell()
        self.stream.seek(0)
        start = self.stream.read(LOOKED_AT)
        self.stream.seek(position)
        try:
            require_start(start, self.remote.name, response.headers.get("Content-Type", ""))
        except EnvironmentFault:
            self._restart()
            raise

    def _tell(self, *, whole: int) -> None:
        """Tell the progress how many megabytes of this answer are here."""
        self.client.progress.advance(max(0, whole - self._told))
        self._told = max(self._told, whole)

    def _paced(self, began: float, came: int) -> tuple[float, int]:
        settings, now = self.client.settings, time.monotonic()
        if now - began < settings.stall_timeout:
            return began, came
        if came < settings.slowest_rate * (now - began):
            raise Interrupted(f"the archive sends less than {settings.slowest_rate:g} bytes a second")
        return now, 0

    def _restart(self) -> None:
        """Nothing is held any more."""
        state_path(self.path).unlink(missing_ok=True)
        self.stream.seek(0)
        self.stream.truncate()
        self.held = 0
        self.state |= {"held": 0, "etag": "", "modified": "", "total": None}

    def _keep(self) -> None:
        """What has arrived is on the disk, and the state says how much of it."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.state |= {"held": self.held, "boot": this_boot()}
        write_state(self.path, self.state)

    def _verified(self) -> str:
        """By what the file is known to be whole, in words."""
        self.stream.flush()
        part, name = part_path(self.path), self.remote.name
        if self.remote.bytes is not None and self.held != self.remote.bytes:
            raise EnvironmentFault(f"{self.held} bytes arrived, the archive's list says {self.remote.bytes}", file=name)
        for stated in self.remote.checksums[:1]:
            kind = stated.partition(":")[0]
            found = checksum_of(part, kind)
            if found != stated.lower():
                with part.open("rb") as stream:
                    require_start(stream.read(LOOKED_AT), name)
                raise EnvironmentFault(
                    f"what arrived is not what the archive states: {kind} {found.partition(':')[2][:16]}… instead of "
                    f"{stated.partition(':')[2][:16]}…",
                    file=name,
                    cause="a fault of the server's or of a proxy, or the file was changed",
                    fix="start the command again later; a file with a wrong sum is never kept",
                )
            return kind
        proof = require_whole(part, name)
        if not (proof or self.is_bounded or self.remote.bytes is not None):
            raise EnvironmentFault(
                "nothing tells whether the file is whole: the archive gives neither its length nor a sum",
                file=name,
                fix="use a mirror",
            )
        return ", ".join(text for text in ("length" if self.is_bounded or self.remote.bytes is not None else "", proof) if text)
