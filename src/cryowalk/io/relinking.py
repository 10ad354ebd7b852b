"""Names of files in tables made to lead to the same files from another folder, or to files that were moved."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryowalk.core.errors import InputError, UsageError, printable
from cryowalk.io.star import StarBlock

# columns that name files; an image is INDEX@FILE, a spectrum FILE:mrc
FILE_COLUMNS = (
    "rlnImageName", "rlnReconstructImageName", "rlnImageOriginalName", "rlnMicrographName", "rlnMicrographNameNoDW", "rlnMicrographMovieName",
    "rlnMicrographMetadata", "rlnMicrographCoordinates", "rlnMicrographGainName", "rlnMicrographDefectFile", "rlnCtfImage", "rlnCtfPowerSpectrum",
    "rlnTomoTiltSeriesStarFile",
)  # fmt: skip
SEARCHED = 1_000_000  # files of a folder and those below it


@dataclass(frozen=True, slots=True, kw_only=True)
class Relinked:
    """A table with other names of files: how many names of how many differ now, and which lead to no file."""

    block: StarBlock
    changed: int
    total: int
    missing: tuple[str, ...]


def file_of(name: str) -> str:
    """The file in a cell: without the index of an image and the format of a spectrum."""
    return name.rpartition("@")[2].removesuffix(":mrc").removesuffix(":mrcs")


def files_in(block: StarBlock, *, columns: Sequence[str] = FILE_COLUMNS) -> dict[str, dict[str, None]]:
    """The distinct files that each column of the block names, in their order."""
    return {label: dict.fromkeys(map(file_of, block.columns[label])) for label in columns if label in block.columns}


def _renamed(block: StarBlock, label: str, anew: Mapping[str, str]) -> tuple[str, ...]:
    """The column with other names of files, index and format kept."""

    def cell(text: str) -> str:
        head, at, tail = text.rpartition("@")
        file = file_of(text)
        return f"{head}{at}{anew[file]}{tail[len(file) :]}" if file in anew else text

    return tuple(map(cell, block.columns[label]))


def seen_from(block: StarBlock, *, source: Path, target: Path) -> StarBlock:
    """The block with names of files that would lead to nothing or elsewhere from the folder of `target` written anew; lost files keep theirs."""
    if os.path.abspath(source.parent) == os.path.abspath(target.parent):  # noqa: PTH100  symbolic links stay as the user sees them
        return block
    from cryowalk.io.stacks import find_stack, lies_here, stack_reference

    first = (Path(),) if lies_here(target) else ()
    changed: dict[str, tuple[str, ...]] = {}
    for label, names in files_in(block).items():
        anew: dict[str, str] = {}
        for name in names:
            found = find_stack(name, source) if name else None
            if found is None:
                continue
            again = find_stack(name, target, first=first)
            if again is None or not again.samefile(found):
                anew[name] = stack_reference(found, star=target)
        if anew:
            changed[label] = _renamed(block, label, anew)
    return block.with_columns(changed) if changed else block


def relinked(
    block: StarBlock, *, star: Path, target: Path, rules: Sequence[tuple[str, str]] = (), folders: Sequence[Path] = ()
) -> Relinked:
    """The block with moved files found again: by the first of `rules` (old, new beginning of a name) that fits, then by searching `folders`.

    A file that is searched for must have the name of the lost one; of several the one that shares most of the last folders of the path.

    Raises
    ------
    InputError
        If several files fit a lost one equally well.
    """
    from cryowalk.io.stacks import find_stack, lies_here, stack_reference

    search = _searcher(folders)
    first = (Path(),) if lies_here(target) else ()
    changed: dict[str, tuple[str, ...]] = {}
    total, count, missing = 0, 0, dict[str, None]()
    for label, names in files_in(block).items():
        anew: dict[str, str] = {}
        for name in names:
            total += 1
            other = next((new + name.removeprefix(old) for old, new in rules if name.startswith(old)), name)
            place = find_stack(other, star) or find_stack(other, target) or search(name)
            if place is None:
                missing[other] = None
            else:
                again = find_stack(other, target, first=first)
                other = other if again is not None and again.samefile(place) else stack_reference(place, star=target)
            if other != name:
                anew[name] = other
        count += len(anew)
        if anew:
            changed[label] = _renamed(block, label, anew)
    told = block.with_columns(changed) if changed else block
    return Relinked(block=told, changed=count, total=total, missing=tuple(missing))


def _searcher(folders: Sequence[Path]) -> Callable[[str], Path | None]:
    """A function that finds a file of a name in the folders."""
    known: dict[str, list[Path]] = {}
    there = (Path(where) / file for folder in folders for where, _, files in os.walk(folder) for file in files)
    for count, path in enumerate(there):
        if count == SEARCHED:
            raise InputError(f"the folder holds more than {SEARCHED} files", file=folders[0], fix="name a folder further down")
        known.setdefault(path.name, []).append(path)

    def find(name: str) -> Path | None:
        parts = Path(name).parts
        found = known.get(parts[-1], []) if parts else []
        scores = [_shared(path.parts, parts) for path in found]
        best = [path for path, score in zip(found, scores, strict=True) if score == max(scores)]
        if len(best) > 1:
            raise InputError(
                f"{len(best)} files could be {printable(name)}: {printable(best[0])} and {printable(best[1])}",
                fix="name the folder of the right one, or give --relink OLD=NEW",
            )
        return best[0] if best else None

    return find


def _shared(one: Iterable[str], other: Iterable[str]) -> int:
    """How many of the last parts of two paths are the same."""
    count = 0
    for a, b in zip(reversed(tuple(one)), reversed(tuple(other)), strict=False):
        if a != b:
            break
        count += 1
    return count


def rule_of(text: str) -> tuple[str, str]:
    """The two sides of OLD=NEW.

    Raises
    ------
    UsageError
        If it is not of that form.

    Examples
    --------
    >>> rule_of("Extract/job007=/data/particles")
    ('Extract/job007', '/data/particles')
    """
    old, sign, new = text.partition("=")
    if not sign or not old:
        raise UsageError(f"--relink {text!r} is not understood", expected="OLD=NEW, beginnings of names in the table")
    return old, new
