"""`cryowalk map crop`: a map cropped or padded, each voxel staying where it is in space."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class CropFiles:
    """The map, its new box, and where it goes."""

    map: Annotated[Path, "the map, MRC", "--i"]
    output: Annotated[Path, "the result, MRC"]
    box: Annotated[int | None, "side of the new box, voxels, larger or smaller"] = None
    size: Annotated[tuple[int, int, int] | None, "or its sides along x, y and z", ("min", 1), ("max", 8192)] = None
    centre: Annotated[tuple[int, int, int], "middle of the new box (x y z), voxels from the old origin voxel"] = (0, 0, 0)
    value: Annotated[float, "value of voxels that the old box did not have"] = 0.0


def run(files: CropFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the result is written.

    Raises
    ------
    UsageError
        If neither a box nor a size is given, or both.
    """
    from cryowalk.core.errors import UsageError
    from cryowalk.io.maps import read_mask, write_mask
    from cryowalk.validation.map_grids import resized
    from cryowalk.workflow.map_stages import in_words, refuse_overwriting

    if (files.box is None) == (files.size is None):
        raise UsageError("the new box is given by one of two options", fix="give --box N or --size X Y Z")
    context.verify(files.map)
    refuse_overwriting(files.output, [files.map])
    side = files.box or 1
    result = resized(read_mask(files.map), files.size or (side, side, side), centre=files.centre, value=files.value)
    files.output.parent.mkdir(parents=True, exist_ok=True)
    write_mask(result, files.output)
    context.say(f"{files.output}: {in_words(result)}")


COMMAND = Command(
    name="map crop",
    summary="Crop or pad a map; its origin follows.",
    run=run,
    files=CropFiles,
    details="The header's origin and start indices move with the first voxel, so that ChimeraX shows the result where the map was.",
)
