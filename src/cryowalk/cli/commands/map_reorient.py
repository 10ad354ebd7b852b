"""`cryowalk map reorient`: a map in another order of axes, flipped or moved."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class ReorientFiles:
    """The map, what is done to it, and where it goes."""

    map: Annotated[Path, "the map, MRC", "--i"]
    output: Annotated[Path, "the result, MRC"]
    axes: Annotated[str, "what x, y and z of the result hold, such as z,y,-x"] = "x,y,z"
    move: Annotated[tuple[float, ...], "move by so many voxels along x, y, z first, such as 1,0,0"] = (0.0, 0.0, 0.0)


def run(files: ReorientFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the result is written.

    Raises
    ------
    UsageError
        If the axes or the move cannot be meant.
    """
    from cryowalk.core.errors import UsageError
    from cryowalk.io.maps import read_mask, write_mask
    from cryowalk.validation.convention_maps import axis_order
    from cryowalk.validation.map_grids import Reorientation, put_right
    from cryowalk.workflow.map_stages import refuse_overwriting

    if len(files.move) != 3:
        raise UsageError(f"--move has {len(files.move)} numbers", expected="three: along x, y and z")
    order = axis_order(files.axes)
    context.verify(files.map)
    refuse_overwriting(files.output, [files.map])
    x, y, z = files.move
    result = put_right(read_mask(files.map), Reorientation(order=order, move=(x, y, z)))
    files.output.parent.mkdir(parents=True, exist_ok=True)
    write_mask(result, files.output)
    context.say(f"{files.output}: {order.name}")


COMMAND = Command(
    name="map reorient",
    summary="Permute, flip or move a map's axes.",
    run=run,
    files=ReorientFiles,
    details="The map is moved first, then its axes are permuted and flipped about the origin voxel n // 2. conventions check says which a foreign map needs.",
)
