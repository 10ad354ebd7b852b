"""The index pages of a web server, as file archives show them, read as a tree of names."""

from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from urllib.parse import quote, unquote, urlsplit

from cryowalk.core.errors import EnvironmentFault
from cryowalk.io.archives.archive import RemoteFile, fits, safe_name
from cryowalk.io.archives.client import Client, place

FILES_LIMIT = 500_000
FOLDERS_LIMIT = 20_000
DEPTH_LIMIT = 16


class _Links(HTMLParser):
    """The targets of the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.targets += [value for name, value in attrs if name == "href" and value]


def names_in(page: str) -> list[str]:
    """The names of the files and folders (with a stroke at their end) in an index page; links that lead elsewhere are left out.

    >>> names_in('<a href="?C=M">Date</a> <a href="../">up</a> <a href="movies/">movies</a> <a href="a%20b.mrc">a b</a>')
    ['movies/', 'a b.mrc']
    """
    links = _Links()
    links.feed(page)
    found = []
    for target in links.targets:
        parts = urlsplit(target)
        name = unquote(parts.path).removeprefix("./")
        if parts.scheme or parts.netloc or parts.query or name.startswith("/") or name in ("", ".", "..", "../"):
            continue
        if "/" not in name.rstrip("/"):
            found.append(name)
    return list(dict.fromkeys(found))


def tree(client: Client, url: str, patterns: Sequence[str], *, start: str = "") -> tuple[str, ...]:
    """The paths below the address of all files that fit, in order of their names; folders that no pattern can fit are not opened.

    Raises
    ------
    EnvironmentFault
        If the tree is deeper or larger than any entry.
    NotThere
        If there is no such address.
    """
    found: list[str] = []
    folders = 0
    waiting = [start]
    while waiting:
        folder = waiting.pop()
        folders += 1
        if folders > FOLDERS_LIMIT or len(found) > FILES_LIMIT or folder.count("/") > DEPTH_LIMIT:
            raise EnvironmentFault(f"{place(url)}: more files or folders than an entry has", cause="a loop in the server's tree")
        for name in sorted(_page(client, f"{url}/{quote(folder)}"), reverse=True):
            path = safe_name(folder + name)
            if name.endswith("/"):
                waiting.append(path + "/")
            elif fits(path, patterns):
                found.append(path)
        client.progress.advance(0)
    return tuple(sorted(found))


def _page(client: Client, url: str) -> list[str]:
    content = client.patient(lambda: client.document(url), place(url))
    return names_in(content.decode("utf-8", "replace"))


def beginning(patterns: Sequence[str]) -> str:
    """The folder, with a stroke at its end, below which everything lies that one of the patterns could fit; empty if that is everywhere.

    >>> beginning(["data/movies/*.tif", "data/movies/gain.mrc*"]), beginning(["*.mrc", "data/x*"])
    ('data/movies/', '')
    """
    folders = []
    for pattern in patterns:
        plain = next(_before_signs(pattern))
        folders.append(plain.rpartition("/")[0] + "/" if "/" in plain and plain != pattern else "")
    return folders[0] if folders and all(folder == folders[0] for folder in folders) else ""


def _before_signs(pattern: str) -> Iterator[str]:
    yield pattern[: min((pattern.find(sign) for sign in "*?[" if sign in pattern), default=len(pattern))]


def remote_files(urls: Sequence[str], paths: Sequence[str]) -> tuple[RemoteFile, ...]:
    """The files of these paths below the mirrors of one entry."""
    return tuple(RemoteFile(name=path, urls=tuple(f"{url}/{quote(path)}" for url in urls)) for path in paths)
