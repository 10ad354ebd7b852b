"""Which of the small formats of other programs a file is in, by its first bytes; by its name only where the content cannot tell."""

import re
from collections.abc import Callable
from typing import Literal

from cryowalk.io.text_rows import is_number

TextKind = Literal[
    "coordinates", "ctffind", "ctffind profiles", "gctf log", "gctf profile", "transforms", "angles", "com", "alignment log", "aretomo", "warp",
    "dynamo", "em", "fsc xml", "body modes", "body projections", "tem coordinates",
]  # fmt: skip

_TRANSFORMS = {".xf", ".prexf", ".prexg", ".tltxf", ".xg", ".rawxf"}
_ANGLES = {".tlt", ".rawtlt", ".xtilt"}
_PICKS = {".box", ".coord", ".coords"}
_BY_NAME: tuple[tuple[TextKind, set[str]], ...] = (
    ("transforms", _TRANSFORMS), ("angles", _ANGLES), ("coordinates", _PICKS), ("com", {".com"}), ("aretomo", {".aln"}), ("dynamo", {".tbl"}),
)  # fmt: skip
_X, _Y = {"x", "x_coord", "x-coordinate", "rlncoordinatex"}, {"y", "y_coord", "y-coordinate", "rlncoordinatey"}
_ELEMENT = re.compile(r"<([A-Za-z_][\w.]{0,40})")
_ROOTS: dict[str, TextKind] = {"TiltSeries": "warp", "Movie": "warp", "fsc": "fsc xml"}
_VIEWS = re.compile(r"^\s{0,20}view\s+rotation\s+tilt\s+deltilt\s", re.IGNORECASE | re.MULTILINE)
_DYNAMO_FEWEST = 26
LOOKED_AT = 4096  # characters at the beginning of the text, where only that is looked at


def text_kind_of(start: bytes, name: str) -> TextKind | None:
    """The format that these first bytes of a file of this name are in, or None.

    A file that is damaged or empty is what its name says, so that the reader of that kind tells how.
    """
    ending = _ending(name)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") or start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<?xml"):
        return _kind_of_xml(start)
    if ending == ".em" and (b"\0" in start or not start):
        return "em"
    if b"\0" in start:
        return None
    text = start.decode("utf-8-sig", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    bare = next((line for line in lines if not line.startswith("#")), "")
    if bare.lower().startswith(("data_", "[", "===")):
        return None
    found = next((kind for kind, is_met in _RULES if is_met(text, lines, bare)), None)
    return found or _by_name(ending, name) or _kind_of_xml(start)


def _ending(name: str) -> str:
    """The ending that tells the format, beneath that of compression."""
    base = name.lower().removesuffix(".gz").removesuffix(".bz2")
    return base[base.rfind(".") :] if "." in base else ""


def _kind_of_xml(start: bytes) -> TextKind | None:
    encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = start[: 2 * LOOKED_AT].decode(encoding, "replace")
    first = _ELEMENT.search(text) if text.lstrip().startswith("<") else None
    return _ROOTS.get(first[1]) if first else None


def _is_ctffind(text: str, *_: object) -> bool:
    return "micrograph number" in text[:LOOKED_AT] and text.lstrip().startswith("#")


def _are_profiles(text: str, *_: object) -> bool:
    return "lines per micrograph" in text[:LOOKED_AT] and text.lstrip().startswith("#")


def _is_gctf_log(text: str, *_: object) -> bool:
    return "Defocus_U" in text and "CCC" in text and "data_" not in text


def _is_gctf_profile(_: str, lines: list[str], __: str) -> bool:
    return any("Resolution" in line and "EPA" in line for line in lines[:4])


def _is_aretomo(text: str, *_: object) -> bool:
    return "aretomo alignment" in text[:LOOKED_AT].lower()


def _is_com(_: str, __: list[str], bare: str) -> bool:
    return re.match(r"\$(?:setenv|tilt|newst|newstack|tiltalign|xfproduct|blendmont|tiltxcorr|if)\b", bare) is not None


def _is_alignment_log(text: str, *_: object) -> bool:
    return _VIEWS.search(text) is not None


def _are_modes(_: str, __: list[str], bare: str) -> bool:
    return bare.split()[:1] == ["rot-body-1"]


def _is_dynamo(_: str, __: list[str], bare: str) -> bool:
    cells = bare.split()
    return _DYNAMO_FEWEST <= len(cells) <= 42 and all(map(is_number, cells))


def _are_picks(_: str, __: list[str], bare: str) -> bool:
    """Whether the first line names columns, x and y among them."""
    for delimiter in ("\t", ",", None):
        names = {cell.strip().strip('"').lower() for cell in bare[:LOOKED_AT].split(delimiter)}
        if names & _X and names & _Y and not any(map(is_number, names)):
            return True
    return False


def _are_tem_coordinates(_: str, lines: list[str], bare: str) -> bool:
    """Whether the first numbers are a count and 6, and each row after them has six."""
    rows = [line.split() for line in lines if not line.startswith("#")][:3]
    return (
        bare.split()[1:] == ["6"]
        and bare.split()[0].isdigit()
        and len(rows) > 1
        and all(len(row) == 6 and all(map(is_number, row)) for row in rows[1:])
    )


_RULES: tuple[tuple[TextKind, Callable[[str, list[str], str], bool]], ...] = (
    ("ctffind profiles", _are_profiles),
    ("ctffind", _is_ctffind),
    ("aretomo", _is_aretomo),
    ("alignment log", _is_alignment_log),
    ("gctf log", _is_gctf_log),
    ("gctf profile", _is_gctf_profile),
    ("com", _is_com),
    ("body modes", _are_modes),
    ("dynamo", _is_dynamo),
    ("coordinates", _are_picks),
    ("tem coordinates", _are_tem_coordinates),
)


def _by_name(ending: str, name: str) -> TextKind | None:
    """What the name says, where the content does not tell or is damaged."""
    base = name.lower()
    if base.startswith("analyse_projections") or "_projections_along_eigenvectors" in base:
        return "body projections"
    if ending == ".log" and base in ("align.log", "tasolution.log"):
        return "alignment log"
    if base.endswith("_gctf.log"):
        return "gctf log"
    return next((kind for kind, endings in _BY_NAME if ending in endings), None)
