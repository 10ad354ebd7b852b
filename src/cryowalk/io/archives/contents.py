"""Whether a file is what its name says: never an error page under a map's name, never a compressed file that ends early."""

import zlib
from pathlib import Path

from cryowalk.core.errors import EnvironmentFault, InputError
from cryowalk.io.kinds import MRC_ENDINGS
from cryowalk.io.mrc_header import HEADER_BYTES, read_header
from cryowalk.io.opening import BZIP2_MAGIC, CHUNK, GZIP_MAGIC, compression_of, foreign_kind, open_content

LOOKED_AT = 512  # bytes that tell a web page
WEB_ENDINGS = {".html", ".htm", ".xhtml"}
_MAGIC = {
    ".gz": (GZIP_MAGIC,),
    ".bz2": (BZIP2_MAGIC,),
    ".zip": (b"PK",),
    ".png": (b"\x89PNG",),
    ".pdf": (b"%PDF",),
    ".h5": (b"\x89HDF",),
    ".hdf5": (b"\x89HDF",),
    ".tif": (b"II", b"MM"),
    ".tiff": (b"II", b"MM"),
    ".npy": (b"\x93NUMPY",),
}


def require_start(start: bytes, name: str, content_type: str = "") -> None:
    """Nothing, if the first bytes may begin a file of this name.

    Raises
    ------
    EnvironmentFault
        If they begin a web page, or something else than the name says.
    """
    ending = Path(name).suffix.lower()
    if ending in WEB_ENDINGS:
        return
    kind = foreign_kind(start)
    if "HTML" in kind or ("text/html" in content_type.lower() and start.lstrip()[:1] == b"<"):
        raise EnvironmentFault(
            "the archive sent a web page instead of the file",
            file=name,
            cause="an error or log-in page, of the archive or of a proxy in between",
            fix="open the archive in a browser on this machine and look; nothing was kept",
        )
    expected = _MAGIC.get(ending)
    if expected and start and not start.startswith(expected):
        raise EnvironmentFault(
            f"what the archive sent is no {ending} file" + (f" but {kind}" if kind else ""),
            file=name,
            cause="an error message in place of the file, or a damaged file",
        )


def require_whole(path: Path, name: str) -> str:
    """How the content of the file proves that it is whole, in words; empty where its form proves nothing.

    A compressed file is inflated once, without keeping anything: its check sum and length stand at its end. The header of an MRC file says how long it is.

    Raises
    ------
    EnvironmentFault
        If it is not whole, or not of the form that its name says.
    """
    with path.open("rb") as stream:
        require_start(stream.read(LOOKED_AT), name)
    suffixes = [suffix.lower() for suffix in Path(name).suffixes[-2:]]
    is_map = bool(MRC_ENDINGS & set(suffixes))
    compression = compression_of(path)
    try:
        inflated = _inflated_length(path) if compression else path.stat().st_size
        if is_map and inflated < HEADER_BYTES:
            raise EnvironmentFault("this is no map: it is shorter than a map's header", file=name)
        if is_map:
            header = read_header(path)
            if compression and inflated < header.file_bytes:
                raise EnvironmentFault(
                    f"the map holds {inflated} of the {header.file_bytes} bytes that its header tells", file=name
                )
    except InputError as error:
        raise EnvironmentFault(f"what arrived is not whole: {error.what}", file=name, cause=error.cause) from None
    proofs = [f"{compression}'s own check" if compression else "", "the length in the map's header" if is_map else ""]
    return ", ".join(proof for proof in proofs if proof)


def _inflated_length(path: Path) -> int:
    length = 0
    try:
        with open_content(path) as stream:
            while piece := stream.read(CHUNK):
                length += len(piece)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise InputError(f"the compressed content is cut off or damaged ({error})") from None
    return length
