"""What EPU and SerialEM tell of an exposure: its place in the template of holes by the file's name, and its beam or image shift by the file beside it.

EPU: `FoilHole_H_Data_A_B_DATE_TIME.xml`, `microscopeData/optics/BeamShift`, without a unit. SerialEM: `MOVIE.mdoc`, `ImageShift`, μm.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from cryowalk.core.errors import InputError, printable
from cryowalk.io.mdoc import bare_name, read_mdoc
from cryowalk.io.safe_xml import XmlElement, read_xml

_EPU = re.compile(r"FoilHole_(\d+)_Data_(\d+)_(\d+)_(\d{8})_(\d{6})")
_SERIALEM = re.compile(r"(?:^|_)X([+-]?\d+)Y([+-]?\d+)(?:-(\d+))?(?=[_.]|$)")
_ENDINGS = re.compile(r"(?:_fractions|_eer|_frames|_movie|_dw|_nodw|_patch_aligned_doseweighted|_rigid_aligned)+$", re.IGNORECASE)
_LARGEST = 2**24  # bytes of an XML file of one exposure
_MOST_FILES = 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftFiles:
    """The files that tell shifts, by the exposure that they belong to."""

    epu: Mapping[str, Path]
    serialem: Mapping[str, Path]

    def __len__(self) -> int:
        return len(self.epu) + len(self.serialem)


def template_position(name: str) -> str | None:
    """The place in the template of holes that a name tells, such as `25467_25468` (EPU) or `X+1Y-1-2` (SerialEM); None where it tells none.

    >>> template_position("Movies/FoilHole_102_Data_25467_25468_20240110_120000_fractions.tiff")
    '25467_25468'
    >>> template_position("grid1_00012_X+1Y-1-2.tif")
    'X+1Y-1-2'
    >>> template_position("micrograph_0001.mrc") is None
    True
    """
    bare = bare_name(name)
    epu = _EPU.search(bare)
    if epu is not None:
        return f"{epu[2]}_{epu[3]}"
    found = _SERIALEM.search(bare)
    return None if found is None else found[0].lstrip("_")


def exposure_key(name: str) -> str:
    """What is the same in all files of one exposure: EPU's name without its ending, otherwise the bare name without endings."""
    bare = bare_name(name)
    epu = _EPU.search(bare)
    if epu is not None:
        return epu[0]
    stem = bare
    while (shorter := PureWindowsPath(stem).stem) != stem and len(stem) - len(shorter) <= 6:
        stem = shorter
    return _ENDINGS.sub("", stem)


def find_shift_files(folders: Iterable[Path]) -> ShiftFiles:
    """The XML files of EPU and the mdoc files of SerialEM below these folders; a file among the folders counts itself.

    Raises
    ------
    InputError
        If a folder is not there, or holds more than a million files.
    """
    epu: dict[str, Path] = {}
    serialem: dict[str, Path] = {}
    for folder in folders:
        if not folder.exists():
            raise InputError("there is no such folder", file=folder, expected="the folder of EPU's XML or SerialEM's mdoc files")
        for count, path in enumerate([folder] if folder.is_file() else sorted(folder.rglob("*"))):
            if count > _MOST_FILES:
                raise InputError(
                    "the folder holds more than a million files", file=folder, fix="name a folder nearer to the files"
                )
            ending = path.suffix.lower()
            if ending == ".xml" and _EPU.search(path.name):
                epu.setdefault(exposure_key(path.name), path)
            elif ending == ".mdoc":
                serialem.setdefault(exposure_key(path.name), path)
    return ShiftFiles(epu=epu, serialem=serialem)


def shifts_of(names: Sequence[str], files: ShiftFiles) -> list[tuple[float, float] | None]:
    """The shift (x, y) of each exposure by the name of its movie or micrograph; None where no file tells.

    Raises
    ------
    InputError
        If a file tells something else than two numbers, or both programs' files are there, whose units differ.
    """
    found: list[tuple[float, float] | None] = []
    kinds: set[str] = set()
    known: dict[str, tuple[float, float] | None] = {}
    for name in names:
        key = exposure_key(name)
        if key not in known:
            known[key] = None
            if key in files.epu:
                known[key] = read_epu_shift(files.epu[key])
                kinds.add("EPU's XML")
            elif key in files.serialem:
                known[key] = read_serialem_shift(files.serialem[key], movie=name)
                kinds |= {"SerialEM's mdoc"} if known[key] is not None else set()
        found.append(known[key])
    if len(kinds) > 1:
        raise InputError(
            "some shifts are told by EPU, others by SerialEM, in different units",
            fix="import the two sessions one after the other",
        )
    return found


def read_epu_shift(path: str | Path) -> tuple[float, float]:
    """The beam shift (x, y) in an XML file of EPU, in EPU's unit.

    Raises
    ------
    InputError
        If it is damaged or tells none.
    """
    path = Path(path)
    root, _ = read_xml(path, limit=_LARGEST)
    place: XmlElement | None = root
    for tag in ("microscopeData", "optics", "BeamShift"):
        place = None if place is None else _child(place, tag)
    texts = [None if place is None else _child(place, tag) for tag in ("_x", "_y")]
    values = [_number(None if one is None else one.text) for one in texts]
    if None in values:
        raise InputError(
            "the XML tells no beam shift",
            file=path,
            expected="microscopeData/optics/BeamShift with two numbers",
            cause="no image of EPU",
        )
    return (values[0] or 0.0, values[1] or 0.0)


def read_serialem_shift(path: str | Path, *, movie: str = "") -> tuple[float, float] | None:
    """The image shift (x, y) in μm that an mdoc file tells of a movie, or of its only frame set; None where it tells none.

    Raises
    ------
    InputError
        If the file is damaged or a shift is no pair of numbers.
    """
    mdoc = read_mdoc(path)
    sections = [section for section in mdoc.sections if section.get("ImageShift") is not None]
    own = [section for section in sections if exposure_key(section.get("SubFramePath") or "") == exposure_key(movie)]
    chosen = own or (sections if len(sections) == 1 else [])
    if not chosen:
        return None
    text = chosen[0].get("ImageShift") or ""
    values = [_number(word) for word in text.split()]
    if len(values) != 2 or None in values:
        raise InputError(f"ImageShift is “{printable(text)}”", file=path, row=chosen[0].line, expected="two numbers, μm")
    return (values[0] or 0.0, values[1] or 0.0)


def _child(element: XmlElement, tag: str) -> XmlElement | None:
    """The first child of this tag, in whatever name space."""
    return next((child for child in element.children if child.tag.rpartition(":")[2] == tag), None)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
