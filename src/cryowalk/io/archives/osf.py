"""The Open Science Framework (OSF) by its REST interface, version 2: projects hold stores, stores hold folders and files.

Source: the interface's own description (JSON:API documents; files are sent by PUT to the addresses that the documents give under `links`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from cryowalk.core.errors import EnvironmentFault, InputError, StateConflict, UsageError
from cryowalk.io.archives.archive import Existing, Fetched, RemoteFile, fits, safe_name
from cryowalk.io.archives.client import Client, Interrupted, NotThere, json_object, place
from cryowalk.io.archives.listing import DEPTH_LIMIT, FILES_LIMIT, FOLDERS_LIMIT
from cryowalk.io.archives.providers import cache_of, entry_name, listed_and_fetched
from cryowalk.io.archives.store import checksum_of
from cryowalk.io.archives.sync import TOLD
from cryowalk.io.archives.transfer import MEGABYTE, PIECE

SUMS = {"sha256": 64, "md5": 32}  # digits of the sums that OSF states, the stronger first
CREATED = frozenset({200, 201, 409})


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder of a project: where its list is, where files and folders are sent to; the store itself is the folder without a name."""

    name: str
    list_url: str
    upload_url: str
    new_folder_url: str


@dataclass(slots=True)
class Tree:
    """What a project holds: folders by path (with a stroke at the end), files by path, and where a file's new content is sent to."""

    folders: dict[str, Folder] = field(default_factory=dict)
    files: dict[str, RemoteFile] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OsfArchive:
    """Projects of OSF, and of anything that speaks its interface; `provider` is the store within the project."""

    client: Client
    provider: str = "osfstorage"

    def list(self, entry: str, patterns: Sequence[str] = ()) -> tuple[RemoteFile, ...]:
        """The files of the project that fit, with their lengths and sums."""
        files = self.tree(entry).files
        return tuple(files[name] for name in sorted(files) if fits(name, patterns))

    def download(
        self, entry: str, folder: Path, patterns: Sequence[str] = (), *, existing: Existing = "keep"
    ) -> tuple[Fetched, ...]:
        """The fitting files of the project in this folder, folders kept."""
        listed = partial(self.list, entry, patterns)
        return listed_and_fetched(listed, cache_of("osf", entry), folder, self.client, patterns=patterns, existing=existing)

    def upload(
        self, entry: str, paths: Sequence[Path], *, folder: str = "", existing: Existing = "keep"
    ) -> tuple[RemoteFile, ...]:
        """The files that were sent: those of these paths (folders with all that is in them) that the project's folder lacks.

        Raises
        ------
        StateConflict
            If another file has the name there and `update` was not asked for; nothing is sent then.
        EnvironmentFault
            If the archive does not confirm the length and the sum of what it received.
        """
        inside = safe_name(folder.strip("/")) + "/" if folder.strip("/") else ""
        local = {inside + name: path for name, path in local_files(paths).items()}
        tree = self.tree(entry)
        missing = [name for name in local if name not in tree.files]
        changed = [name for name in local if name in tree.files and not is_same(local[name], tree.files[name])]
        if changed and existing == "keep":
            listed = ", ".join(changed[:TOLD]) + (f" and {len(changed) - TOLD} more" if len(changed) > TOLD else "")
            raise StateConflict(
                f"the project holds other files of these names: {listed}",
                fix="--update sends them as new versions; --to names another folder",
            )
        return tuple(self._send(tree, name, local[name]) for name in sorted(missing + changed))

    def tree(self, entry: str) -> Tree:
        """Everything in the project's store.

        Raises
        ------
        NotThere, EnvironmentFault
            If there is no such project, or it may not be read.
        """
        found = Tree()
        root = self._root(entry_name("osf", entry))
        found.folders[""] = root
        waiting = [("", root.list_url)]
        while waiting:
            inside, url = waiting.pop()
            if len(found.folders) > FOLDERS_LIMIT or len(found.files) > FILES_LIMIT or inside.count("/") > DEPTH_LIMIT:
                raise EnvironmentFault("more files or folders than a project has", cause="a loop in the project's tree")
            for item in self._items(url):
                attributes, links = _part(item, "attributes"), _part(item, "links")
                path = safe_name(inside + str(attributes.get("name", "")))
                if attributes.get("kind") == "folder":
                    found.folders[path + "/"] = one = folder_of(item)
                    waiting.append((path + "/", one.list_url))
                elif attributes.get("kind") == "file":
                    found.files[path] = file_of(path, attributes, links)
                    found.addresses[path] = str(links.get("upload", ""))
        return found

    def _root(self, node: str) -> Folder:
        api = self.client.site.urls[0]
        try:
            stores = list(self._items(f"{api}/nodes/{quote(node)}/files/"))
        except NotThere as error:  # it may be a registration, a project that was frozen
            try:
                stores = list(self._items(f"{api}/registrations/{quote(node)}/files/"))
            except NotThere:
                raise error from None
        for item in stores:
            if self.provider in (_part(item, "attributes").get("provider"), _part(item, "attributes").get("name")):
                return folder_of(item)
        names = ", ".join(str(_part(item, "attributes").get("name")) for item in stores)
        raise NotThere(f"the project {node} has no store {self.provider!r}", expected=names or "a store")

    def _items(self, url: str) -> Iterator[Mapping[str, Any]]:
        """The items of a list over all its pages."""
        seen: set[str] = set()
        while url:
            if url in seen or len(seen) > FOLDERS_LIMIT:
                raise EnvironmentFault(f"{place(url)}: the pages of the list lead in a circle")
            seen.add(url)
            page = self.client.json(url)
            items = page.get("data")
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise EnvironmentFault(
                    f"{place(url)}: this is no list of files", cause="another interface, or an error of the server's"
                )
            yield from items
            following = _part(page, "links").get("next")
            url = str(following) if following else ""
            if url and not self.client.sees_token(url):
                raise EnvironmentFault(f"the next page of the list lies on another host: {place(url)}")

    def _send(self, tree: Tree, name: str, path: Path) -> RemoteFile:
        """The file as the archive has it now."""
        parent = self._folder(tree, name.rpartition("/")[0] + "/" if "/" in name else "")
        size = path.stat().st_size
        sums = tuple(checksum_of(path, kind) for kind in SUMS)
        self.client.progress.start(f"sending {name} (MB)", max(1, size // MEGABYTE))
        failures = 0
        while True:
            known = tree.files.get(name)
            if known is not None and is_same(path, known, sums=sums):
                return known
            address = (
                tree.addresses.get(name)
                or f"{parent.upload_url}{_joint(parent.upload_url)}{urlencode({'kind': 'file', 'name': name.rpartition('/')[2]})}"
            )
            address = address if "kind=" in address else f"{address}{_joint(address)}kind=file"
            try:
                received = self._put(address, path)
            except Interrupted as interruption:
                failures += 1
                self.client.pause(interruption, failures, name)
                received = None
            if received is not None:
                return confirmed(received, name, (size, sums))
            self._look_again(tree, parent, name)

    def _put(self, address: str, path: Path) -> Mapping[str, Any] | None:
        """What the archive says of the file that it received; None if it had one of this name already."""
        if path.stat().st_size == 0:
            response = self.client.open(address, method="PUT", body=b"", expected=CREATED)
        else:
            with path.open("rb") as stream:
                response = self.client.open(address, method="PUT", body=_Body(stream, self.client), expected=CREATED)
        with response:
            if response.status_code == 409:
                return None
            return json_object(response.content, address)

    def _look_again(self, tree: Tree, parent: Folder, name: str) -> None:
        """What the archive has under this name now, after an attempt of which nobody knows how it ended."""
        for item in self._items(parent.list_url):
            attributes, links = _part(item, "attributes"), _part(item, "links")
            if attributes.get("name") == name.rpartition("/")[2] and attributes.get("kind") == "file":
                tree.files[name] = file_of(name, attributes, links)
                tree.addresses[name] = str(links.get("upload", ""))

    def _folder(self, tree: Tree, path: str) -> Folder:
        """The folder of this path, made with those above it where they are missing."""
        if path in tree.folders:
            return tree.folders[path]
        above, _, name = path.rstrip("/").rpartition("/")
        parent = self._folder(tree, above + "/" if above else "")
        address = f"{parent.new_folder_url}{_joint(parent.new_folder_url)}{urlencode({'name': name})}"
        address = address if "kind=" in address else f"{address}&kind=folder"

        def make() -> Mapping[str, Any]:
            content = self.client.document(address, method="PUT", expected=CREATED)
            return json_object(content, address)

        self.client.patient(make, f"making the folder {path}")
        for item in self._items(parent.list_url):  # also where another had made it meanwhile
            if _part(item, "attributes").get("name") == name and _part(item, "attributes").get("kind") == "folder":
                tree.folders[path] = folder_of(item)
                return tree.folders[path]
        raise EnvironmentFault(f"the archive did not make the folder {path}", fix="try again later")


class _Body:
    """A file that is read as it is sent; reading it is a safe point to stop at."""

    def __init__(self, stream: Any, client: Client) -> None:
        self._stream = stream
        self._client = client
        self._sent = 0
        self.len = Path(stream.name).stat().st_size  # what requests looks at for the Content-Length

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        piece: bytes = self._stream.read(PIECE if size is None or size < 0 else size)
        before, self._sent = self._sent // MEGABYTE, self._sent + len(piece)
        self._client.progress.advance(self._sent // MEGABYTE - before)
        return piece


def _joint(url: str) -> str:
    return "&" if urlsplit(url).query else "?"


def _part(item: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """A part of a document, which is an object or counts as empty."""
    value: Any = item
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def folder_of(item: Mapping[str, Any]) -> Folder:
    """The folder that a document describes.

    Raises
    ------
    EnvironmentFault
        If it does not say where its list is.
    """
    links, attributes = _part(item, "links"), _part(item, "attributes")
    related = _part(item, "relationships", "files", "links", "related").get("href")
    name = str(attributes.get("name", ""))
    if not isinstance(related, str):
        raise EnvironmentFault(f"the archive does not say where the list of the folder {name!r} is")
    return Folder(
        name=name,
        list_url=related,
        upload_url=str(links.get("upload", "")),
        new_folder_url=str(links.get("new_folder", "")),
    )


def file_of(path: str, attributes: Mapping[str, Any], links: Mapping[str, Any]) -> RemoteFile:
    """The file that a document describes."""
    hashes = _part(attributes, "extra", "hashes")
    size = attributes.get("size")
    sums = tuple(
        f"{kind}:{value.lower()}"
        for kind, digits in SUMS.items()
        if isinstance(value := hashes.get(kind), str) and len(value) == digits
    )
    address = links.get("download")
    if not isinstance(address, str):
        raise EnvironmentFault("the archive does not say where the file is", file=path)
    return RemoteFile(name=path, urls=(address,), bytes=size if isinstance(size, int) else None, checksums=sums)


def is_same(path: Path, remote: RemoteFile, *, sums: tuple[str, ...] = ()) -> bool:
    """Whether the local file is what the archive holds, by length and the strongest sum that it states."""
    if remote.bytes is not None and path.stat().st_size != remote.bytes:
        return False
    if not remote.checksums:
        return remote.bytes is not None
    return remote.checksums[0] in (sums or (checksum_of(path, remote.checksums[0].partition(":")[0]),))


def confirmed(document: Mapping[str, Any], name: str, sent: tuple[int, tuple[str, ...]]) -> RemoteFile:
    """The file that the archive says it received, if it is the one that was sent.

    Raises
    ------
    EnvironmentFault
        If its length or sum is another.
    """
    attributes, links = _part(document, "data", "attributes"), _part(document, "data", "links")
    received = file_of(name, attributes, {"download": "", **links})
    size, sums = sent
    if received.bytes not in (None, size) or (received.checksums and received.checksums[0] not in sums):
        raise EnvironmentFault(
            "the archive received another file than was sent", file=name, fix="start the command again with --update"
        )
    return received


def local_files(paths: Sequence[Path]) -> dict[str, Path]:
    """The files to send by their paths in the archive: a file by its own name, a folder with everything below it but hidden files.

    Raises
    ------
    InputError
        If there is nothing to send, a link leads out of a folder, or two files would have one name.
    """
    found: dict[str, Path] = {}
    for top in paths:
        inside = [top] if top.is_file() else sorted(path for path in top.rglob("*") if path.is_file())
        for path in inside:
            relative = path.relative_to(top.parent) if top.is_file() else Path(top.resolve().name) / path.relative_to(top)
            if any(part.startswith(".") for part in relative.parts) or path.name.endswith((".part", ".partial")):
                continue
            if not path.resolve().is_relative_to(top.resolve()):
                raise InputError("a link in the folder leads out of it", file=path, fix="remove the link, or name its target")
            name = safe_name(relative.as_posix())
            if name in found:
                raise UsageError(f"two files would be called {name}", file=path)
            found[name] = path
    if not found:
        raise InputError("there is nothing to send: no file, or only hidden ones", file=paths[0] if paths else None)
    return found
