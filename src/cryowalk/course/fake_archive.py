"""A small archive on this machine alone, for lessons and tests: OSF's interface and plain index pages over files in memory, on the loopback address.

    with FakeArchive({"maps/a.mrc": b"..."}, token="secret") as archive:
        archive.api        # what CRYOWALK_OSF_URL would be
        archive.url        # index pages begin at archive.url + "/files/"
        archive.requests   # what was asked, and how many bytes of files were sent for it

`archive.misbehaviour["maps/a.mrc"] = [broken_off(0.5)]` makes the next answer for that file misbehave.
"""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

NODE = "abcde"
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(slots=True)
class Asked:
    """One request: its method and path, what it said, the answer's number, and how many bytes of a file were sent for it."""

    method: str
    path: str
    headers: Mapping[str, str]
    status: int = 0
    sent: int = 0


Misbehaviour = Callable[["Answer", bytes], None]


@dataclass(slots=True)
class _Contents:
    """The files and the folders (each with a stroke at its end) of the project."""

    files: dict[str, bytes]
    folders: set[str] = field(default_factory=set)

    def all_folders(self) -> list[str]:
        """Every folder, also those that only files imply, the one without a name first."""
        found = {"", *self.folders}
        for name in [*self.files, *self.folders]:
            parts = name.rstrip("/").split("/")[:-1]
            found |= {"/".join(parts[:depth]) + "/" for depth in range(1, len(parts) + 1)}
        return sorted(found)


class _Server(ThreadingHTTPServer):
    """A server that is silent about clients that go away."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing; a client that breaks off is part of the lesson."""


class FakeArchive:
    """An archive that serves while the `with` block runs; it refuses everything after `limit` requests, so that no loop goes on for ever."""

    def __init__(self, files: Mapping[str, bytes], *, token: str = "", page: int = 10, limit: int = 500) -> None:
        self.contents = _Contents(dict(files))
        self.token = token
        self.page = page
        self.limit = limit
        self.requests: list[Asked] = []
        self.misbehaviour: dict[str, list[Misbehaviour]] = {}
        self.states: dict[str, str] = {}  # ETags that differ from those of the content
        archive = self

        class Handler(Answer):
            """An answer of this archive."""

            def setup(self) -> None:
                """Know the archive."""
                self.archive = archive
                super().setup()

        self.server = _Server(("127.0.0.1", 0), Handler)

    @property
    def files(self) -> dict[str, bytes]:
        """The files by their paths; they may be changed at any time."""
        return self.contents.files

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def api(self) -> str:
        """The address of the interface."""
        return f"{self.url}/v2"

    @property
    def transferred(self) -> int:
        """Bytes of files that were sent so far."""
        return sum(asked.sent for asked in self.requests)

    def start(self) -> "FakeArchive":
        """The archive, which serves from now on; a `with` block does it, too."""
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self) -> None:
        """Serve no longer."""
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self) -> "FakeArchive":
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


class Answer(BaseHTTPRequestHandler):
    """The answer to one request."""

    archive: FakeArchive
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name that http.server uses
        """Keep silent; `archive.requests` tells what was asked."""

    def do_GET(self) -> None:
        """Send a file, a list or a page."""
        self._answer()

    def do_PUT(self) -> None:
        """Take a file or make a folder."""
        self._answer()

    def _answer(self) -> None:
        asked = Asked(self.command, self.path, dict(self.headers.items()))
        self.asked = asked
        self.archive.requests.append(asked)
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), {name: values[0] for name, values in parse_qs(parts.query).items()}
        if len(self.archive.requests) > self.archive.limit:
            self.close_connection = True
            return self.say(429, b"that is enough", "text/plain")
        if path.startswith("/v") and self.archive.token and self.headers.get("Authorization") != f"Bearer {self.archive.token}":
            return self.say(401, b'{"errors": [{"detail": "Authentication credentials were not provided."}]}')
        if self.command == "PUT":
            return self._receive(path, query)
        if path.startswith("/files/"):
            return self._page_or_file(path.removeprefix("/files/"))
        if path.startswith("/v1/"):
            return self.send(path.partition("/providers/osfstorage/")[2])
        if path.startswith(f"/v2/nodes/{NODE}/files/"):
            return self._list(path.removeprefix(f"/v2/nodes/{NODE}/files/"), int(query.get("page", "1")))
        return self.say(404, b'{"errors": [{"detail": "Not found."}]}')

    def say(self, status: int, body: bytes, kind: str = "application/json", **headers: str) -> None:
        """A whole answer that is no file."""
        self.asked.status = status
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def send(self, name: str) -> None:
        """A file, or the part of it that was asked for."""
        content = self.archive.files.get(name)
        queue = self.archive.misbehaviour.get(name, [])
        if queue:
            return queue.pop(0)(self, content or b"")
        if content is None:
            return self.say(404, b"Not found", "text/plain")
        etag = self.etag(name)
        if self.headers.get("If-None-Match") == etag:
            self.asked.status = 304
            self.send_response(304)
            return self.end_headers()
        start = 0
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        if wanted and self.headers.get("If-Range", etag) == etag:
            start = int(wanted[1])
            if start >= len(content):
                return self.say(416, b"", "text/plain", Content_Range=f"bytes */{len(content)}")
        rest = content[start:]
        self.begin(206 if start else 200, len(rest), ETag=etag, **self.range_of(start, content))
        return self.body(rest)

    def range_of(self, start: int, content: bytes) -> dict[str, str]:
        """The header that tells which part follows, if it is a part."""
        return {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}

    def etag(self, name: str) -> str:
        """The name of the state that a file is in."""
        sums = hashlib.md5(self.archive.files.get(name, b""), usedforsecurity=False).hexdigest()
        return self.archive.states.get(name, f'"{sums}"')

    def begin(self, status: int, length: int | None, **headers: str) -> None:
        """The head of an answer that is a file."""
        self.asked.status = status
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream")
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def body(self, content: bytes) -> None:
        """Bytes of a file."""
        self.asked.sent += len(content)  # before: whoever has read it all may look at once
        try:
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _page_or_file(self, name: str) -> None:
        if name in self.archive.files or name in self.archive.misbehaviour:
            return self.send(name)
        folder = name if name.endswith("/") or not name else name + "/"
        if folder not in self.archive.contents.all_folders():
            return self.say(404, b"<html><body>Not Found</body></html>", "text/html")
        folders, files = self._children(folder)
        links = "".join(f'<a href="{quote(each)}">{escape(each)}</a>\n' for each in ["../", *folders, *files])
        return self.say(200, f"<html><h1>Index</h1><a href='?C=M'>date</a>\n{links}</html>".encode(), "text/html")

    def _children(self, folder: str) -> tuple[list[str], list[str]]:
        """The names of folders (with a stroke) and files that lie in a folder."""
        inside = [
            each.removeprefix(folder)
            for each in self.archive.contents.all_folders()
            if each.startswith(folder) and each != folder
        ]
        files = [each.removeprefix(folder) for each in sorted(self.archive.files) if each.startswith(folder)]
        return [each for each in inside if each.count("/") == 1], [each for each in files if "/" not in each]

    def _list(self, rest: str, page: int) -> None:
        if not rest:
            return self._documents([self._folder_document("osfstorage", "")], 1)
        folder = rest.removeprefix("osfstorage/")
        if folder not in self.archive.contents.all_folders():
            return self.say(404, b'{"errors": [{"detail": "Not found."}]}')
        folders, files = self._children(folder)
        documents = [self._folder_document(each.rstrip("/"), folder + each) for each in folders]
        return self._documents(documents + [self._file_document(folder + each) for each in files], page)

    def _documents(self, documents: list[dict[str, Any]], page: int) -> None:
        last = page * self.archive.page
        address = f"{self.archive.url}{urlsplit(self.path).path}?page={page + 1}"
        links = {"next": address if last < len(documents) else None, "meta": {"total": len(documents)}}
        self.say(200, json.dumps({"data": documents[last - self.archive.page : last], "links": links}).encode())

    def _folder_document(self, name: str, path: str) -> dict[str, Any]:
        store = f"{self.archive.url}/v1/resources/{NODE}/providers/osfstorage/{quote(path)}"
        lists = f"{self.archive.api}/nodes/{NODE}/files/osfstorage/{quote(path)}"
        return {
            "id": path or "osfstorage",
            "type": "files",
            "attributes": {"kind": "folder", "name": name, "provider": "osfstorage", "path": "/" + path},
            "relationships": {"files": {"links": {"related": {"href": lists}}}},
            "links": {"upload": store, "new_folder": store + "?kind=folder"},
        }

    def _file_document(self, path: str) -> dict[str, Any]:
        content = self.archive.files[path]
        address = f"{self.archive.url}/v1/resources/{NODE}/providers/osfstorage/{quote(path)}"
        sums = {"md5": hashlib.md5(content, usedforsecurity=False).hexdigest(), "sha256": hashlib.sha256(content).hexdigest()}
        return {
            "id": path,
            "type": "files",
            "attributes": {"kind": "file", "name": path.rpartition("/")[2], "size": len(content), "extra": {"hashes": sums}},
            "links": {"download": address, "upload": address},
        }

    def _receive(self, path: str, query: Mapping[str, str]) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        place = path.partition("/providers/osfstorage/")[2]
        files, folders = self.archive.files, self.archive.contents.folders
        queue = self.archive.misbehaviour.get("PUT " + place + query.get("name", ""), [])
        if queue:
            return queue.pop(0)(self, content)
        if query.get("kind") == "folder":
            new = place + query["name"] + "/"
            if new in self.archive.contents.all_folders():
                return self.say(409, b'{"message": "exists"}')
            folders.add(new)
            return self.say(201, json.dumps({"data": self._folder_document(query["name"], new)}).encode())
        name = place + query["name"] if "name" in query else place
        if "name" in query and name in files:
            return self.say(409, b'{"message": "exists"}')
        status = 200 if name in files else 201
        files[name] = content
        return self.say(status, json.dumps({"data": self._file_document(name)}).encode())


def broken_off(share: float) -> Misbehaviour:
    """An answer that promises the whole file, or the rest that was asked for, and ends after this share of it."""

    def misbehave(answer: Answer, content: bytes) -> None:
        wanted = _RANGE.fullmatch(answer.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        rest = content[start:]
        name = urlsplit(unquote(answer.path)).path.partition("/providers/osfstorage/")[2] or unquote(answer.path).removeprefix(
            "/files/"
        )
        answer.begin(206 if start else 200, len(rest), ETag=answer.etag(name), **answer.range_of(start, content))
        answer.body(rest[: int(share * len(rest))])
        answer.close_connection = True

    return misbehave
