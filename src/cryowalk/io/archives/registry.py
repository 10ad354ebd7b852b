"""Which archives there are, by name."""

from collections.abc import Callable, Mapping

from cryowalk.core.execution import Progress
from cryowalk.io.archives.archive import Archive
from cryowalk.io.archives.client import Client
from cryowalk.io.archives.credentials import find_token
from cryowalk.io.archives.osf import OsfArchive
from cryowalk.io.archives.providers import EmdbArchive, EmpiarArchive, PdbArchive
from cryowalk.io.archives.settings import TransferSettings
from cryowalk.io.archives.sites import Configuration, configuration

KINDS: dict[str, Callable[[Client], Archive]] = {
    "pdb": PdbArchive,
    "emdb": EmdbArchive,
    "empiar": EmpiarArchive,
    "osf": OsfArchive,
}


def open_archive(
    name: str,
    *,
    settings: TransferSettings | None = None,
    table: Configuration | None = None,
    progress: Progress | None = None,
    sums: Mapping[str, str] | None = None,
) -> Archive:
    """The archive of this name (pdb, emdb, empiar or osf), with the user's mirrors, proxy and token.

    `sums` are sums of files, such as `sha256:9f86…`, by name (`sums.read_sums`); they are checked beside those that the archive states.

    Raises
    ------
    UsageError
        If there is no such archive.
    EnvironmentFault
        If the extra `cryowalk[data]` is not installed.
    """
    table = table or configuration()
    site = table.site(name)
    client = Client(site, table, token=find_token(site), sums=sums, settings=settings, progress=progress)
    return KINDS[name](client)
