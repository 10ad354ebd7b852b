"""Where files may lead: paths that tables name are followed for reading with one notice, or refused outside one folder; none is ever written to.

Absolute paths and `../` are common in the field, so they are read; a folder of files from strangers is best looked at under `--confine`.
"""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryowalk.core.errors import CryowalkWarning, SafetyRefusal, printable

ABOVE = 2  # folders above that of a table that are taken for its project too


@dataclass(slots=True)
class _Run:
    """What holds while a command runs: the folder that reading is confined to, and whether a path outside the project was told of."""

    root: Path | None
    told: bool = False


_RUNS: list[_Run] = []  # the innermost last; of the whole process, since threads read files too


@contextmanager
def reading_rules(*, confine: Path | None) -> Iterator[None]:
    """Within the block, paths in files are refused outside the folder `confine`, or, where it is None, told once when they leave the project."""
    run = _Run(root=None if confine is None else confine.resolve())
    _RUNS.append(run)
    try:
        yield
    finally:
        _RUNS.remove(run)


def check_places(paths: Iterable[Path], *, named_in: Path, confine: Path | None = None) -> None:
    """Nothing, or a notice, for files that another file names; symbolic links are resolved first.

    Raises
    ------
    SafetyRefusal
        If reading is confined, by `confine` or by the run, and a file lies outside that folder.
    """
    run = _RUNS[-1] if _RUNS else None
    root = confine.resolve() if confine is not None else run.root if run is not None else None
    if root is None and run is not None and run.told:
        return
    folder = named_in.resolve().parent
    roots = (
        [root]
        if root is not None
        else [each for each in (Path.cwd(), folder, *list(folder.parents)[:ABOVE]) if each.parent != each]
    )
    outside = next((path for path in paths if not any(path.resolve().is_relative_to(each) for each in roots)), None)
    if outside is None:
        return
    if root is not None:
        raise SafetyRefusal(
            f"names {printable(outside)}, which lies outside the folder that reading is confined to",
            file=named_in,
            expected=f"a path in {root}",
            cause="a table of another project, or one that wants to be read where it should not",
            fix="put the file into the project, run from the project's folder, or leave out --confine",
        )
    if run is not None:
        run.told = True
    warnings.warn(
        f"{printable(outside)}: a file outside the project is read, named in {printable(named_in)}", CryowalkWarning, stacklevel=3
    )
