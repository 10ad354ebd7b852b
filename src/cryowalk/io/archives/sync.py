"""Several files of an entry into a folder: only what is missing, nothing of the user's written over, verified copies of the cache used."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from cryowalk.core.errors import EnvironmentFault, InputError, StateConflict
from cryowalk.io.archives.archive import Existing, Fetched, RemoteFile, fits
from cryowalk.io.archives.client import Client
from cryowalk.io.archives.store import Known, Store, checksum_of
from cryowalk.io.archives.sums import with_sums
from cryowalk.io.archives.transfer import arriving
from cryowalk.io.atomic import atomic_path, move_into_place

TOLD = 5


def download(
    files: Sequence[RemoteFile], store: Store, client: Client, *, cache: Store | None = None, existing: Existing = "keep"
) -> tuple[Fetched, ...]:
    """The files, whole, in the store; with `update` those that the archive has changed since are fetched anew.

    Raises
    ------
    StateConflict
        If another file lies under one of the names; nothing is fetched then.
    EnvironmentFault
        If a file cannot be fetched whole; those before it stay.
    """
    if not files:
        raise InputError("no file of this entry fits", fix="look at what there is: --list")
    doubled = (
        {remote.name for remote in files if sum(other.name == remote.name for other in files) > 1} if len(files) < 1000 else set()
    )
    if doubled:
        raise EnvironmentFault(f"the archive lists a file twice: {min(doubled)}")
    files = tuple(with_sums(remote, client.sums) for remote in files)
    unstated = [remote.name for remote in files if client.sums and not remote.checksums]
    if unstated:
        client.progress.note(f"{len(unstated)} files do not stand in the list of sums, such as {unstated[0]}")
    here = {remote.name: store.known(remote.name) or store.adopt(remote.name, remote) for remote in files}
    foreign = [name for name, known in here.items() if known is None and store.path(name).exists()]
    if existing == "keep":
        foreign += [remote.name for remote in files if _contradicts(here[remote.name], remote, store, client)]
    if foreign:
        listed = ", ".join(foreign[:TOLD]) + (f" and {len(foreign) - TOLD} more" if len(foreign) > TOLD else "")
        raise StateConflict(
            f"other files lie where the archive's would: {listed}",
            file=store.folder,
            expected="files as they were fetched",
            fix="move them away, or give another --o",
        )
    return tuple(_one(remote, here[remote.name], (store, cache), client=client, existing=existing) for remote in files)


def _contradicts(known: Known | None, remote: RemoteFile, store: Store, client: Client) -> bool:
    """Whether the file that is here is another than the user's list of sums says."""
    if known is None or with_sums(RemoteFile(name=remote.name, urls=()), client.sums).checksums == ():
        return False
    stated = remote.checksums[0]
    return known.stated != stated and checksum_of(store.path(remote.name), stated.partition(":")[0]) != stated


def _one(
    remote: RemoteFile, known: Known | None, stores: tuple[Store, Store | None], *, client: Client, existing: Existing
) -> Fetched:
    store, cache = stores
    if known is not None and existing == "keep":
        if not known.is_that(remote):
            client.progress.note(f"{remote.name}: the archive has another version; --update fetches it")
        return _fetched(remote.name, known, store)
    if known is not None and remote.checksums and known.is_that(remote):
        return _fetched(remote.name, known, store)
    if cache is not None and existing == "keep" and cache.folder != store.folder:
        copied = _from_cache(remote, store, cache)
        if copied is not None:
            return _fetched(remote.name, copied, store)
    store.prepare(remote.name)
    path = store.path(remote.name)
    with arriving(client, remote, path, unless=known.etag if known is not None else "") as arrival:
        if arrival is None:
            return _fetched(remote.name, _still(known), store)
        stated = remote.checksums[0] if remote.checksums else ""
        known = store.record(
            remote.name, arrival.part, verified=arrival.verified, stated=stated, etag=arrival.etag, url=arrival.url
        )
        move_into_place(arrival.part, path)
    return _fetched(remote.name, known, store, transferred=arrival.transferred)


def _still(known: Known | None) -> Known:
    if known is None:
        raise EnvironmentFault("the archive says that nothing has changed where nothing was", cause="a proxy's cache")
    return known


def _from_cache(remote: RemoteFile, store: Store, cache: Store) -> Known | None:
    """What is known of the file, copied from the cache, if the cache has it."""
    known = cache.known(remote.name)
    if known is None or not known.is_that(remote):
        return None
    store.prepare(remote.name)
    path = store.path(remote.name)
    with atomic_path(path) as temporary:
        shutil.copyfile(cache.path(remote.name), temporary)
        if checksum_of(temporary, "sha256") != f"sha256:{known.sha256}":
            raise EnvironmentFault("a file of the cache is damaged", file=cache.path(remote.name), fix="remove it")
    return store.record(remote.name, path, verified=known.verified, stated=known.stated, etag=known.etag, url=known.url)


def verified_copies(store: Store, patterns: Sequence[str]) -> tuple[Fetched, ...]:
    """The files of a folder that fit and still are what they were when they were whole."""
    found = ((name, store.known(name)) for name in store.names() if fits(name, patterns))
    return tuple(_fetched(name, known, store) for name, known in found if known is not None)


def _fetched(name: str, known: Known, store: Store, *, transferred: int = 0) -> Fetched:
    path: Path = store.path(name)
    return Fetched(name=name, path=path, bytes=known.bytes, transferred=transferred, sha256=known.sha256, verified=known.verified)
