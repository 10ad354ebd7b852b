"""What kind of file lies at a path, by its content; names decide only where content cannot."""

from pathlib import Path
from typing import Literal

from cryowalk.io.hdf5_guard import holds_signature
from cryowalk.io.opening import foreign_kind, open_content, read_up_to
from cryowalk.io.text_kinds import text_kind_of

Kind = Literal[
    "mrc", "star", "structure", "tiff", "mdoc", "tem", "hdf5", "zarr", "cryosparc", "pickle", "text", "foreign", "unknown"
]
MRC_ENDINGS = {".mrc", ".mrcs", ".map", ".ccp4", ".rec", ".st", ".ali", ".ctf"}
STAR_ENDINGS = {".star"}
STRUCTURE_ENDINGS = {".pdb", ".ent", ".cif", ".mmcif"}
MOVIE_ENDINGS = {".tif", ".tiff", ".eer", ".ecc", ".gain"}
MDOC_ENDINGS = {".mdoc"}
CRYOSPARC_NAMES, PICKLE_NAMES = {".cs", ".csg"}, {".pkl"}
KNOWN_IN_WORDS = (
    "an MRC, STAR, PDB, mmCIF, mdoc or TEM-simulator file, compressed or not, picks, a table of CTFs or a file of a tilt series, a TIFF or EER movie, a stack in HDF5 or Zarr, "
    "cryoSPARC's .cs or .csg, or a pickle of arrays"
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
    told = (
        _kind_of_bytes(start, endings) if not endings & (MRC_ENDINGS | STAR_ENDINGS | STRUCTURE_ENDINGS | MDOC_ENDINGS) else None
    )
    if told:
        return told
    if text_kind_of(start, path.name):
        return "text"
    if foreign_kind(start):
        return "foreign"
    if start[208:211] == b"MAP" or (b"\0" in start and endings & MRC_ENDINGS):
        return "mrc"
    return "unknown" if b"\0" in start else _kind_of_text(start, endings)


def _kind_of_bytes(start: bytes, endings: set[str]) -> Kind | None:
    """What the first bytes alone tell, of a file whose name says nothing else."""
    if start.startswith(TIFF_MAGIC):
        return "tiff"
    return "hdf5" if holds_signature(start) else _kind_of_arrays(start, endings)


def _kind_of_arrays(start: bytes, endings: set[str]) -> Kind | None:
    """Whether the file is one of cryoSPARC's tables, by the records it holds, or a pickle; one that is damaged is what its name says."""
    if endings & CRYOSPARC_NAMES or (start.startswith(b"\x93NUMPY") and b"'descr': [(" in start[:64]):
        return "cryosparc"
    return "pickle" if endings & PICKLE_NAMES or foreign_kind(start) == "a Python pickle" else None


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
        return foreign_kind(bytes(read_up_to(stream, 512, path=path)))
