"""cryoSPARC's .csg groups: a YAML list of which .cs file holds which group of fields; read with `safe_load` alone, written for “Import Result Group”."""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cryowalk.core.errors import CryowalkWarning, InputError, printable
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.confinement import check_places
from cryowalk.io.cryosparc_records import UID, merge_records, read_records
from cryowalk.io.cryosparc_values import names_of
from cryowalk.io.safe_yaml import read_yaml

GROUP_ENDINGS = {".csg"}
OLDEST, NEWEST = 2, 5  # major versions of cryoSPARC whose groups have this form
WRITTEN_AS = "v4.0.0"
_VERSION = re.compile(r"v?(\d+)\.(\d+)\S*|develop\S*")


@dataclass(frozen=True, slots=True, kw_only=True)
class CryosparcGroup:
    """A result group: its name and kind (“particle”), the file and number of items of each of its results, and the version that wrote it."""

    name: str
    kind: str
    version: str
    files: Mapping[str, Path]
    counts: Mapping[str, int]


def read_group(path: str | Path) -> CryosparcGroup:
    """What a .csg file lists; no .cs file is opened.

    Raises
    ------
    InputError
        If it is no such list, or of a version whose form is not known.
    """
    path = Path(path)
    told = read_yaml(path)
    if not isinstance(told.get("results"), dict) or not told["results"]:
        raise InputError("this is no .csg group", file=path, expected="a YAML mapping with results, each with a metafile")
    version = _checked_version(told.get("version"), path)
    files, counts = {}, {}
    for slot, result in told["results"].items():
        name = result.get("metafile") if isinstance(result, dict) else None
        if not isinstance(name, str) or not name.strip(">"):
            raise InputError(f"the result {printable(slot)} names no metafile", file=path, expected="metafile: '>particles.cs'")
        files[str(slot)] = path.parent / name.removeprefix(">")
        count = result.get("num_items")
        if isinstance(count, int):
            counts[str(slot)] = count
    check_places(files.values(), named_in=path)
    group: dict[str, Any] = told["group"] if isinstance(told.get("group"), dict) else {}
    return CryosparcGroup(
        name=str(group.get("name", path.stem)), kind=str(group.get("type", "")), version=version, files=files, counts=counts
    )


def _checked_version(version: object, path: Path) -> str:
    match = _VERSION.fullmatch(version) if isinstance(version, str) else None
    if match is None:
        raise InputError(
            f"the group tells of the version {printable(str(version)[:40])}",
            file=path,
            expected=f"v{OLDEST} to v{NEWEST} of cryoSPARC",
        )
    if match[1] is not None and not OLDEST <= int(match[1]) <= NEWEST:
        raise InputError(
            f"the group is of cryoSPARC {printable(version)}",
            file=path,
            expected=f"v{OLDEST} to v{NEWEST}",
            cause="another form of the file",
            fix="export the result group with another version, or name its .cs files",
        )
    return str(version)


def read_group_records(path: str | Path) -> NDArray[Any]:
    """The records of a group, the fields of each result taken from the file that the group names for it.

    Raises
    ------
    InputError
        If a file is missing, lacks particles, or holds another number of them than the group says.
    """
    path = Path(path)
    group = read_group(path)
    if group.kind not in ("", "particle"):
        raise InputError(f"the group holds {printable(group.kind)}s, not particles", file=path, fix="name the group of particles")
    opened = {file: read_records(file) for file in dict.fromkeys(group.files.values())}
    wrong = [slot for slot, file in group.files.items() if group.counts.get(slot, len(opened[file])) != len(opened[file])]
    if wrong:
        count, file = group.counts[wrong[0]], group.files[wrong[0]]
        told = f"{printable(path)}: {printable(wrong[0])} has {count} items by the group, {printable(file.name)} holds {len(opened[file])}"
        warnings.warn(told, CryowalkWarning, stacklevel=3)
    primary_file = group.files.get("blob", next(iter(group.files.values())))
    others = []
    for file, records in opened.items():
        slots = [slot for slot, place in group.files.items() if place == file]
        kept = [name for name in names_of(records) if name == UID or name.split("/")[0] in slots]
        others.append((records[kept], file))
    primary = next(records for records, file in others if file == primary_file)
    return merge_records(primary, [each for each in others if each[1] != primary_file], path=path)


def write_group(records: NDArray[Any], path: str | Path, *, metafile: str | Path) -> None:
    """Write the .csg group of records that stand in the file `metafile` beside it, all or nothing."""
    import yaml

    slots = dict.fromkeys(name.split("/")[0] for name in names_of(records) if "/" in name)
    results = {
        slot: {"metafile": f">{Path(metafile).name}", "num_items": len(records), "type": f"particle.{_type(slot)}"}
        for slot in slots
    }
    group = {"description": "Particles written by cryowalk", "name": "particles", "title": "Particles", "type": "particle"}
    told = {"created": _EPOCH, "group": group, "results": results, "version": WRITTEN_AS}
    atomic_write_text(path, yaml.safe_dump(told, sort_keys=True, allow_unicode=True))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)  # equal data give equal bytes: no file of ours tells the time


def _type(slot: str) -> str:
    """The type of a group of fields: alignments to class K are alignments in 3D."""
    return "alignments3D" if slot.startswith("alignments_class_") else slot
