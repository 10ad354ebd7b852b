"""`cryowalk chimerax`: a command script that shows maps, masks and models in ChimeraX."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context

STRUCTURES = {".pdb", ".ent", ".cif", ".mmcif"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewFiles:
    """What to show, and the script."""

    files: Annotated[tuple[Path, ...], "maps, masks (MRC) and models (PDB, mmCIF); the first map is seen at first", "FILE…"]
    output: Annotated[Path, "the script, such as view.cxc; it names the files relative to itself"] = Path("view.cxc")
    local_resolution: Annotated[Path | None, "map of local resolution (Å) that colours the first map", "--locres"] = None
    finest: Annotated[float | None, "resolution of the first colour, Å", ("above", 0)] = None
    coarsest: Annotated[float | None, "resolution of the last colour, Å", ("above", 0)] = None
    level: Annotated[float | None, "level of the surfaces, in the values of the file; found from each map unless given"] = None


def run(files: ViewFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the script is written.

    Raises
    ------
    UsageError
        If only one end of the colours is given, or there is no map for them.
    """
    from cryowalk.core.errors import UsageError
    from cryowalk.workflow.chimerax_views import View, is_mask, limits_of, write_view

    models = [path for path in files.files if path.suffix.lower() in STRUCTURES]
    volumes = [path for path in files.files if path not in models]
    masks = [path for path in volumes if is_mask(path)]
    halves = [path for path in volumes if path not in masks and "half" in path.name]
    maps = [path for path in volumes if path not in masks and path not in halves] or halves
    limits = None
    if files.local_resolution is not None:
        if not maps:
            raise UsageError("there is no map to colour", fix="name one before the options")
        low, high = limits_of(files.local_resolution)
        limits = (files.finest or low, files.coarsest or high)
        if limits[0] >= limits[1]:
            raise UsageError(
                f"the finest colour stands for {limits[0]:g} Å, the coarsest for {limits[1]:g} Å", fix="exchange them"
            )
    context.verify(*files.files, files.local_resolution)
    files.output.parent.mkdir(parents=True, exist_ok=True)
    view = View(
        maps=maps,
        half_maps=[] if maps is halves else halves,
        masks=masks,
        models=models,
        local_resolution=files.local_resolution,
        limits=limits,
        level=files.level,
    )
    write_view(view, files.output)
    context.say(f"{files.output}: {len(volumes)} maps, {len(models)} models; open it with: chimerax {files.output}")


COMMAND = Command(
    name="chimerax",
    summary="Write a ChimeraX script that shows maps, masks and models.",
    run=run,
    files=ViewFiles,
    details="Levels lie between solvent and specimen, half maps are hidden, masks transparent; --local-resolution colours the first map, with a key.",
)
