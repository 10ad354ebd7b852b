"""`cryowalk map resample`: a map on finer or coarser voxels over the same field."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class ResampleFiles:
    """The map, its new grid, and where it goes."""

    map: Annotated[Path, "the map, MRC; a cube", "--i"]
    output: Annotated[Path, "the result, MRC"]
    voxel_size: Annotated[
        float | None, "wanted voxel size, Å; the nearest that divides the field into an even number of voxels is taken"
    ] = None
    box: Annotated[int | None, "or the number of voxels a side"] = None


def run(files: ResampleFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the result is written.

    Raises
    ------
    UsageError
        If neither a voxel size nor a box is given, or both.
    """
    from cryowalk.core.checks import require_cube
    from cryowalk.core.errors import UsageError, naming
    from cryowalk.io.maps import read_mask, write_mask
    from cryowalk.validation.map_grids import resampled
    from cryowalk.workflow.map_stages import in_words, refuse_overwriting

    if (files.voxel_size is None) == (files.box is None):
        raise UsageError("the new grid is given by one of two numbers", fix="give --voxel-size or --box")
    context.verify(files.map)
    refuse_overwriting(files.output, [files.map])
    volume = read_mask(files.map)
    with naming(files.map):
        side = require_cube("a map", tuple(volume.voxels.shape))
    box = files.box or 2 * max(1, round(side * volume.voxel_size / (files.voxel_size or 1.0) / 2))
    result = resampled(volume, (box, box, box))
    files.output.parent.mkdir(parents=True, exist_ok=True)
    write_mask(result, files.output)
    context.say(f"{files.output}: {in_words(result)}")


COMMAND = Command(
    name="map resample",
    summary="Put a map on finer or coarser voxels.",
    run=run,
    files=ResampleFiles,
    details="By cropping or padding the transform: values are kept and nothing is aliased.",
)
