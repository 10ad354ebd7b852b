"""Command scripts for ChimeraX (.cxc): maps, masks and models opened by relative path, at the right level, in colours that stay apart.

ChimeraX runs a script with the script's own folder as the working directory, and numbers what it opens from 1 in an empty session.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryowalk.core.errors import UsageError
from cryowalk.io.atomic import atomic_write_text

CXC_ENDINGS = {".cxc"}
# Okabe & Ito (2008): told apart with every kind of colour vision.
COLOURS = ("#7fa8c9", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
MODEL_COLOUR = "#d55e00"
MASK_COLOUR = "#999999"
BESIDE_MODEL = 0.5  # transparency of a map in which a model is to be seen
_VIRIDIS = ("#fde725", "#7ad151", "#22a884", "#2a788e", "#414487")  # fine to coarse, as in our reports


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownMap:
    """A map of a scene: its file, the level of its surface in the values of the file, colour, transparency (0 to 1), and whether it is seen at first."""

    path: Path
    level: float
    colour: str = COLOURS[0]
    transparency: float = 0.0
    is_shown: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalColours:
    """The first map's surface coloured by the values of another map (local resolution, Å), from `finest` (yellow) to `coarsest` (blue), with a key."""

    path: Path
    finest: float
    coarsest: float


def chimerax_script(
    maps: Sequence[ShownMap], *, directory: Path, models: Sequence[Path] = (), colours: LocalColours | None = None
) -> str:
    """The script that shows these maps and models, to be written into `directory`: paths are relative to it, one command a line.

    Raises
    ------
    UsageError
        If there is nothing to show, or the name of a file holds a control character, which could pass for another command.
    """
    if not maps and not models:
        raise UsageError("there is nothing to show", expected="a map, or a model")
    lines = ["# Written by cryowalk. Open it in an empty session: chimerax view.cxc", *_stage()]
    for number, one in enumerate(maps, start=1):
        lines += [f"open {quoted(one.path, directory=directory)}", *_looks(number, one)]
    count = len(maps)
    if colours is not None and maps:
        count += 1
        lines += [f"open {quoted(colours.path, directory=directory)}", f"volume #{count} hide", _coloured(count, colours)]
    for number, path in enumerate(models, start=count + 1):
        lines += [
            f"open {quoted(path, directory=directory)}",
            f"hide #{number} atoms",
            f"cartoon #{number}",
            f"color #{number} {MODEL_COLOUR}",
        ]
    if models and maps:
        lines.append(f"volume #1 transparency {BESIDE_MODEL:g}")
    return "\n".join([*lines, "view orient", "view"]) + "\n"


def _stage() -> list[str]:
    """Background, light and camera: parallel rays, so that a symmetric map looks symmetric along its axis."""
    return ["set bgColor white", "camera ortho", "lighting soft", "graphics silhouettes true"]


def _looks(number: int, one: ShownMap) -> list[str]:
    level = f"{one.level:.5g}"
    looks = [f"volume #{number} style surface level {level} step 1 color {one.colour}"]
    if one.transparency > 0:
        looks.append(f"volume #{number} transparency {one.transparency:g}")
    return looks if one.is_shown else [*looks, f"volume #{number} hide"]


def _coloured(number: int, colours: LocalColours) -> str:
    steps = len(_VIRIDIS) - 1
    span = colours.coarsest - colours.finest
    palette = ":".join(f"{colours.finest + place * span / steps:.4g},{colour}" for place, colour in enumerate(_VIRIDIS))
    return f"color sample #1 map #{number} palette {palette} key true"


def quoted(path: Path, *, directory: Path) -> str:
    """The path relative to the script's folder, in double quotes with ChimeraX's escapes.

    It begins with `./` or `../`, so that no name is taken for an option, a home directory or an entry of a database.

    Raises
    ------
    UsageError
        If it holds a control character.
    """
    relative = Path(os.path.relpath(path.absolute(), directory.absolute())).as_posix()
    if not relative.isprintable():
        raise UsageError(
            "the name holds a control character, which no script can name", file=path, fix="give the file another name"
        )
    named = relative if relative.startswith("../") else f"./{relative}"
    escaped = named.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def write_chimerax(
    maps: Sequence[ShownMap], path: str | Path, *, models: Sequence[Path] = (), colours: LocalColours | None = None
) -> None:
    """Write the script that shows these maps and models, all or nothing; the files are named relative to it.

    Raises
    ------
    UsageError
        As `chimerax_script`, or if the name does not end in .cxc.
    """
    path = Path(path)
    if path.suffix.lower() not in CXC_ENDINGS:
        raise UsageError(f"--o {path} is no name of a ChimeraX script", expected="a name that ends in .cxc")
    atomic_write_text(path, chimerax_script(maps, directory=path.parent, models=models, colours=colours))
