"""What lies between an MRC file's header and its pixels: recognised, told in words, and kept when the file is written anew.

SerialEM's words of each section are 16-bit integers chosen by flags; FEI's records are those that `mrcfile` describes; CCP4's are lines of 80 characters.

Source: Cheng et al., J. Struct. Biol. 192, 146 (2015); IMOD's documentation of the MRC format; `mrcfile.dtypes`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryowalk.core.errors import printable
from cryowalk.io.mrc_header import MrcHeader

KINDS = {
    "CCP4": "symmetry operators as text (CCP4)",
    "MRCO": "the old MRC format",
    "SERI": "SerialEM",
    "AGAR": "Agard's format",
    "FEI1": "Thermo Fisher (FEI), version 1",
    "FEI2": "Thermo Fisher (FEI), version 2",
    "HDF5": "metadata in HDF5",
}
SERIALEM_WORDS = (
    (1, 1, "tilt angles"),
    (2, 3, "places in a montage"),
    (4, 2, "stage positions"),
    (8, 1, "magnifications"),
    (16, 1, "intensities"),
    (32, 2, "doses"),
)  # flag, 16-bit words a section, what they are
_LINE = 80
_TOLD = 3


class ExtendedHeader(NamedTuple):
    """The bytes of an extended header, its four-letter type, and SerialEM's two words about it (bytes a section, flags)."""

    content: bytes = b""
    kind: str = ""
    section_words: tuple[int, int] = (0, 0)


def kept_extended(header: MrcHeader) -> tuple[ExtendedHeader, str]:
    """The extended header as it is written into a little-endian file, and why it was left out where it was.

    A type that the header does not tell is written as it was recognised, or as the old format's (MRCO). Numbers of big-endian files are turned round where their kind says where they are; a kind that is not known is then left out rather than scrambled.
    """
    kind = extended_kind(header)
    kept = ExtendedHeader(header.extended, kind or ("MRCO" if header.extended else ""), header.section_words)
    if not header.extended or header.byte_order == "<" or kind == "CCP4":
        return kept, ""
    widths = {"SERI": "i2", "AGAR": "i4"}
    if kind in widths:
        whole = len(header.extended) // 4 * 4
        turned = np.frombuffer(header.extended[:whole], ">" + widths[kind]).astype("<" + widths[kind]).tobytes()
        return kept._replace(content=turned + header.extended[whole:]), ""
    records = fei_records(header)
    if records is not None:
        turned = records.astype(records.dtype.newbyteorder("<")).tobytes()
        return kept._replace(content=turned + header.extended[len(turned) :]), ""
    what = f"{len(header.extended)} bytes of extended header, type “{printable(header.extended_type)}”"
    return ExtendedHeader(), f"{what}, are left out: the file is big-endian, and where numbers stand in them is not known"


def extended_kind(header: MrcHeader) -> str:
    """The type of the extended header: as the file says, or CCP4 where it says nothing and holds lines of text; SERI by SerialEM's own words."""
    if header.extended_type in KINDS:
        return header.extended_type
    content = header.extended
    if content and len(content) % _LINE == 0 and content.isascii() and content.replace(b"\0", b" ").decode("ascii").isprintable():
        return "CCP4"
    return "SERI" if content and _serialem_length(header) else header.extended_type


def _serialem_length(header: MrcHeader) -> int:
    """The bytes that SerialEM wrote for each section, or 0 where the words do not fit each other."""
    length, flags = header.section_words
    words = 2 * sum(count for flag, count, _ in SERIALEM_WORDS if flags & flag)
    return length if 0 < flags < 64 and words == length and length * header.size[2] <= len(header.extended) else 0


def serialem_tilts(header: MrcHeader) -> NDArray[np.float64] | None:
    """SerialEM's tilt angle of each section, degrees, or None where it did not write any."""
    length = _serialem_length(header)
    if extended_kind(header) != "SERI" or not length or not header.section_words[1] & 1:
        return None
    sections = np.frombuffer(header.extended[: length * header.size[2]], np.uint8).reshape(-1, length)
    return np.ascontiguousarray(sections[:, :2]).view(header.byte_order + "i2")[:, 0] / 100


def fei_records(header: MrcHeader) -> NDArray[Any] | None:
    """FEI's record of each section, or None where there are none of a length that is known."""
    if header.extended_type not in ("FEI1", "FEI2"):
        return None
    from mrcfile import dtypes

    kind = dtypes.get_ext_header_dtype(header.extended_type.encode("ascii"), header.byte_order)
    count = 0 if kind is None else len(header.extended) // kind.itemsize
    if not count:
        return None
    records = np.frombuffer(header.extended[: count * kind.itemsize], kind)
    return records if int(records[0]["Metadata size"]) == kind.itemsize else None


def extended_in_words(header: MrcHeader) -> tuple[list[str], dict[str, Any]]:
    """Sentences and facts about the extended header; nothing where there is none."""
    if not header.extended:
        return [], {}
    kind = extended_kind(header)
    known = KINDS.get(kind, f"type “{printable(kind)}”, not known here" if kind else "of a type that is not told")
    words = [f"{len(header.extended)} bytes of extended header: {known}"]
    facts: dict[str, Any] = {"extended_header_type": kind}
    if kind == "CCP4":
        lines = [line for line in _lines(header.extended) if line]
        words += [f"symmetry: {printable(line)}" for line in lines[:_TOLD]]
        words += [f"and {len(lines) - _TOLD} more operators"] if len(lines) > _TOLD else []
        facts["symmetry_operators"] = [printable(line) for line in lines]
    told = _fei_facts(header) if kind in ("FEI1", "FEI2") else _serialem_facts(header) if kind == "SERI" else {}
    return words + _ranges(told), facts | told


def _lines(content: bytes) -> list[str]:
    return [content[start : start + _LINE].decode("ascii", "replace").strip(" \0") for start in range(0, len(content), _LINE)]


def _serialem_facts(header: MrcHeader) -> dict[str, Any]:
    if not _serialem_length(header):
        return {}
    present = [what for flag, _, what in SERIALEM_WORDS if header.section_words[1] & flag]
    facts: dict[str, Any] = {"of_each_section": present}
    tilts = serialem_tilts(header)
    return facts if tilts is None else facts | {"tilt_angle_degrees": tilts.tolist()}


def _fei_facts(header: MrcHeader) -> dict[str, Any]:
    records = fei_records(header)
    if records is None:
        return {}
    return {
        "records": len(records),
        "microscope": printable(records[0]["Microscope type"].decode("ascii", "replace").strip("\0 ")),
        "voltage_kv": float(records[0]["HT"]) / 1e3,
        "tilt_angle_degrees": records["Alpha tilt"].tolist(),
        "defocus_angstrom": (records["Defocus"] * 1e10).tolist(),
        "pixel_size_angstrom_of_records": float(records[0]["Pixel size X"]) * 1e10,
    }


def _ranges(facts: Mapping[str, Any]) -> list[str]:
    """Each fact in words, lists of numbers by their ends."""
    words = []
    for name, value in facts.items():
        what = name.replace("_", " ")
        if isinstance(value, list) and value and isinstance(value[0], float):
            words.append(f"{what}: from {min(value):g} to {max(value):g}")
        elif isinstance(value, list):
            words.append(f"{what}: {', '.join(map(str, value))}")
        elif value not in ("", 0.0):
            words.append(f"{what}: {value:g}" if isinstance(value, float) else f"{what}: {value}")
    return words
