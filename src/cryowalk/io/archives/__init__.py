"""Remote archives (PDB, EMDB, EMPIAR, OSF): files are fetched whole, verified and resumable, or not at all; needs the extra `cryowalk[data]`."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Archive": "archive",
        "Fetched": "archive",
        "RemoteFile": "archive",
        "cache_folder": "store",
        "configuration": "sites",
        "open_archive": "registry",
    },
)
