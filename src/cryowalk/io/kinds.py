"""What kind of file lies at a path, by its content; names decide only where content cannot."""

from pathlib import Path
from typing import Literal

from cryowalk.io.hdf5_guard import holds_signature
from cryowalk.io.opening import foreign_kind, open_content, read_up_to

Kind = Literal["mrc", "star", "structure", "tiff", "mdoc", "tem", "hdf5", "zarr", "foreign", "unknown"]
MRC_ENDINGS = {".mrc", ".mrcs", ".map", ".ccp4", ".rec", ".st", ".ali", ".ctf"}
STAR_ENDINGS = {".star"}
STRUCTURE_ENDINGS = {".pdb", ".ent", ".cif", ".mmcif"}
MOVIE_ENDINGS = {".tif", ".tiff", ".eer", ".ecc", ".gain"}
MDOC_ENDINGS = {".mdoc"}
KNOWN_IN_WORDS = (
    "an MRC, STAR, PDB, mmCIF, mdoc or TEM-simulator file, compressed or not, a TIFF or EER movie, or a stack in HDF5 or Zarr"
)
TIFF_MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
PDB_RECORDS = (
    "HEADER",
    "TITLE ",
    "ATOM  ",
    "HETATM",
    "REMARK",
    "CRYST1",
    "MODEL ",
    "COMPND",
    "EXPDTA",
    "LINK  ",
    "SSBOND",
    "HELIX ",
    "SHEET ",
)
START = 65536  # bytes looked at


def kind_of(path: Path) -> Kind:
    """The kind of the file.

    Raises
    ------
    InputError
        If there is no such file.
    """
    if is_zarr(path):
        return "zarr"
    with open_content(path) as stream:
        start = bytes(read_up_to(stream, START, path=path))
    endings = {suffix.lower() for suffix in path.suffixes[-2:]}
    if start.startswith(TIFF_MAGIC) and not endings & (MRC_ENDINGS | STAR_ENDINGS | STRUCTURE_ENDINGS | MDOC_ENDINGS):
        return "tiff"
    if holds_signature(start) and not endings & (MRC_ENDINGS | STAR_ENDINGS | STRUCTURE_ENDINGS | MDOC_ENDINGS):
        return "hdf5"
    if foreign_kind(start):
        return "foreign"
    if start[208:211] == b"MAP" or (b"\0" in start and endings & MRC_ENDINGS):
        return "mrc"
    return "unknown" if b"\0" in start else _kind_of_text(start, endings)


def _kind_of_text(start: bytes, endings: set[str]) -> Kind:
    """The kind of a file that opens with text; one that is damaged is what its name says, so that the reader of that kind tells how."""
    lines = start.decode("utf-8-sig", "replace").splitlines()
    opening = next((line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")), "")
    if opening.lower().startswith("data_"):
        is_mmcif = any(line.lstrip().startswith(("_entry.id", "_atom_site.")) for line in lines)
        return "structure" if is_mmcif or endings & {".cif", ".mmcif"} else "star"
    if any(line.startswith(PDB_RECORDS) for line in lines):
        return "structure"
    if opening.startswith("=== "):
        return "tem"
    if any(line.startswith("[ZValue =") for line in lines):
        return "mdoc"
    by_name: tuple[tuple[Kind, set[str]], ...] = (
        ("mrc", MRC_ENDINGS),
        ("star", STAR_ENDINGS),
        ("structure", STRUCTURE_ENDINGS),
        ("mdoc", MDOC_ENDINGS),
    )
    return next((kind for kind, names in by_name if endings & names), "unknown")


def is_zarr(path: Path) -> bool:
    """Whether the path is a folder that holds a Zarr store of version 3."""
    try:
        return path.is_dir() and (path / "zarr.json").is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a null character
        return False


def foreign_words(path: Path) -> str:
    """What a file that is none of ours is, in words; empty where that is not known."""
    with open_content(path) as stream:
        return foreign_kind(bytes(read_up_to(stream, 64, path=path)))
