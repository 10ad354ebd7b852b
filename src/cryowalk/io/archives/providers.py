"""The public archives: PDB, EMDB and EMPIAR, whose files lie on plain web servers."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from cryowalk.core.errors import EnvironmentFault, UsageError
from cryowalk.io.archives.archive import Existing, Fetched, RemoteFile
from cryowalk.io.archives.client import Client, NotThere
from cryowalk.io.archives.listing import beginning, remote_files, tree
from cryowalk.io.archives.store import Store, cache_folder
from cryowalk.io.archives.sync import download, verified_copies

EMDB_PARTS = {
    "map": ("map/emd_{0}.map.gz",),
    "half-maps": ("other/emd_{0}_half_map_1.map.gz", "other/emd_{0}_half_map_2.map.gz"),
    "header": ("header/emd-{0}.xml",),
    "fsc": ("fsc/emd_{0}_fsc.xml",),
}
PDB_FORMS = {"cif": "data/structures/divided/mmCIF/{1}/{0}.cif.gz", "pdb": "data/structures/divided/pdb/{1}/pdb{0}.ent.gz"}


def entry_name(archive: str, entry: str) -> str:
    """The entry as its archive writes it: 1abc, EMD-1234, EMPIAR-10017, abcde.

    Raises
    ------
    UsageError
        If no entry is called so.
    """
    forms = {
        "pdb": (r"(?:pdb_0000)?([0-9][a-z0-9]{3})", "{}", "four signs that begin with a digit, such as 3pqr"),
        "emdb": (r"(?:emd[-_])?([0-9]{4,6})", "EMD-{}", "a number such as EMD-1832"),
        "empiar": (r"(?:empiar-)?([0-9]{5,6})", "EMPIAR-{}", "a number such as EMPIAR-10017"),
        "osf": (r"(?:https://osf\.io/)?([a-z0-9]{5,24})/?", "{}", "the five signs at the end of the project's address"),
    }
    pattern, form, expected = forms[archive]
    found = re.fullmatch(pattern, entry.strip(), re.IGNORECASE)
    if found is None:
        raise UsageError(f"{entry!r} is no entry of {archive.upper()}", expected=expected)
    return form.format(found[1].lower())


def cache_of(archive: str, entry: str) -> Store:
    """The files of an entry in the user's cache."""
    return Store(cache_folder() / archive / entry_name(archive, entry))


@dataclass(frozen=True, slots=True)
class PdbArchive:
    """Structures of the Protein Data Bank, compressed; the patterns `cif` (unless told) and `pdb` choose the form."""

    client: Client

    def list(self, entry: str, patterns: Sequence[str] = ()) -> tuple[RemoteFile, ...]:
        """The files of the structure in the chosen forms; nothing is asked over the network.

        Raises
        ------
        UsageError
            If there is no such form.
        """
        name = entry_name("pdb", entry)
        unknown = [form for form in patterns if form not in PDB_FORMS]
        if unknown:
            raise UsageError(f"a structure has no form {unknown[0]!r}", expected=", ".join(PDB_FORMS))
        paths = [PDB_FORMS[form].format(name, name[1:3]) for form in patterns or ("cif",)]
        return _flat(remote_files(self.client.site.urls, paths))

    def download(
        self, entry: str, folder: Path, patterns: Sequence[str] = (), *, existing: Existing = "keep"
    ) -> tuple[Fetched, ...]:
        """The structure's files in this folder."""
        cache = cache_of("pdb", entry)
        return download(self.list(entry, patterns), Store(folder), self.client, cache=cache, existing=existing)

    def upload(
        self, entry: str, paths: Sequence[Path], *, folder: str = "", existing: Existing = "keep"
    ) -> tuple[RemoteFile, ...]:
        """Never returns.

        Raises
        ------
        UsageError
            Always: structures are deposited, not uploaded.
        """
        raise no_uploads(self.client, entry, paths, (folder, existing))


@dataclass(frozen=True, slots=True)
class EmdbArchive:
    """Maps of the Electron Microscopy Data Bank. The patterns `map` (unless told), `half-maps`, `header` and `fsc` name known files; others are looked up."""

    client: Client

    def list(self, entry: str, patterns: Sequence[str] = ()) -> tuple[RemoteFile, ...]:
        """The files of the entry; the network is asked only if a pattern is not the name of a part."""
        number = entry_name("emdb", entry).removeprefix("EMD-")
        urls = [f"{url}/structures/EMD-{number}" for url in self.client.site.urls]
        known = [path.format(number) for part in patterns or ("map",) for path in EMDB_PARTS.get(part, ())]
        others = [pattern for pattern in patterns if pattern not in EMDB_PARTS]
        looked_up = _tree_of(self.client, urls, others) if others else ()
        return _flat(remote_files(urls, tuple(dict.fromkeys([*known, *looked_up]))))

    def download(
        self, entry: str, folder: Path, patterns: Sequence[str] = (), *, existing: Existing = "keep"
    ) -> tuple[Fetched, ...]:
        """The entry's files in this folder, side by side."""
        listed = partial(self.list, entry, patterns)
        return listed_and_fetched(listed, cache_of("emdb", entry), folder, self.client, patterns=patterns, existing=existing)

    def upload(
        self, entry: str, paths: Sequence[Path], *, folder: str = "", existing: Existing = "keep"
    ) -> tuple[RemoteFile, ...]:
        """Never returns.

        Raises
        ------
        UsageError
            Always: maps are deposited, not uploaded.
        """
        raise no_uploads(self.client, entry, paths, (folder, existing))


@dataclass(frozen=True, slots=True)
class EmpiarArchive:
    """Raw images of EMPIAR, found by the index pages of its server; folders are kept."""

    client: Client

    def list(self, entry: str, patterns: Sequence[str] = ()) -> tuple[RemoteFile, ...]:
        """The files of the entry that fit; folders that cannot hold one are not opened."""
        number = entry_name("empiar", entry).removeprefix("EMPIAR-")
        urls = [f"{url}/{number}" for url in self.client.site.urls]
        return remote_files(urls, _tree_of(self.client, urls, patterns))

    def download(
        self, entry: str, folder: Path, patterns: Sequence[str] = (), *, existing: Existing = "keep"
    ) -> tuple[Fetched, ...]:
        """The fitting files of the entry in this folder.

        Raises
        ------
        UsageError
            If no pattern is given: an entry may hold terabytes.
        """
        if not patterns:
            raise UsageError(
                "an entry of EMPIAR may hold terabytes: say which files are wanted",
                fix="look at them with --list, then give --pattern 'data/*.mrc', or --pattern '*' for all",
            )
        listed = partial(self.list, entry, patterns)
        return listed_and_fetched(listed, cache_of("empiar", entry), folder, self.client, patterns=patterns, existing=existing)

    def upload(
        self, entry: str, paths: Sequence[Path], *, folder: str = "", existing: Existing = "keep"
    ) -> tuple[RemoteFile, ...]:
        """Never returns.

        Raises
        ------
        UsageError
            Always: images are deposited, not uploaded.
        """
        raise no_uploads(self.client, entry, paths, (folder, existing))


def _tree_of(client: Client, urls: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """The paths that fit, from the first mirror that shows them."""
    for number, url in enumerate(urls, 1):
        try:
            return tree(client, url, patterns, start=beginning(patterns))
        except (EnvironmentFault, NotThere) as error:
            if number == len(urls):
                raise
            client.progress.note(f"{error.what}; asking a mirror")
    raise AssertionError("a site has an address")


def _flat(files: Sequence[RemoteFile]) -> tuple[RemoteFile, ...]:
    """The files without the folders of the archive's own order."""
    return tuple(replace(remote, name=remote.name.rpartition("/")[2]) for remote in files)


def listed_and_fetched(
    listed: Callable[[], Sequence[RemoteFile]],
    cache: Store,
    folder: Path,
    client: Client,
    *,
    patterns: Sequence[str],
    existing: Existing,
) -> tuple[Fetched, ...]:
    """The files that the archive lists, in this folder; where it cannot be asked, the verified ones that are here."""
    try:
        files = listed()
    except EnvironmentFault as error:
        return _offline(error, Store(folder), cache, (client, patterns))
    return download(files, Store(folder), client, cache=cache, existing=existing)


def _offline(error: EnvironmentFault, store: Store, cache: Store, asked: tuple[Client, Sequence[str]]) -> tuple[Fetched, ...]:
    """The verified files that are here, where the archive cannot be asked what it has.

    Raises
    ------
    EnvironmentFault
        That of the network, if there is none.
    """
    client, patterns = asked
    found = verified_copies(store, patterns)
    if not found and cache.folder != store.folder:
        wanted = [RemoteFile(name=copy.name, urls=()) for copy in verified_copies(cache, patterns)]
        found = download(wanted, store, client, cache=cache) if wanted else ()
    if not found:
        raise error
    client.progress.note(f"{error.what}; {len(found)} verified files are here from before")
    return found


def no_uploads(client: Client, *_: object) -> UsageError:
    """The error that tells that an archive takes deposits, not uploads."""
    return UsageError(
        f"{client.site.title} takes depositions through its web site, not uploads",
        fix="upload to OSF, or write another Archive (docs/guide/archives.md)",
    )
