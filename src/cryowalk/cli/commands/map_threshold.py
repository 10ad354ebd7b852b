"""`cryowalk map threshold`: the part of a map between two values, as a map or as a mask."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdFiles:
    """The map, the limits, and where the result goes."""

    map: Annotated[Path, "the map, MRC", "--i"]
    output: Annotated[Path, "the result, MRC"]
    above: Annotated[float | None, "keep values of at least this"] = None
    below: Annotated[float | None, "keep values of at most this"] = None
    outside: Annotated[float, "value of all other voxels"] = 0.0
    kind: Annotated[Literal["map", "mask"], "keep values, or write 1 where they are kept and 0 elsewhere"] = "map"


def run(files: ThresholdFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the result is written."""
    from dataclasses import replace

    import torch

    from cryowalk.io.maps import read_mask, write_mask
    from cryowalk.validation.map_algebra import selected
    from cryowalk.workflow.map_stages import refuse_overwriting

    context.verify(files.map)
    refuse_overwriting(files.output, [files.map])
    volume = read_mask(files.map)
    marked = selected(replace(volume, voxels=volume.voxels), above=files.above, below=files.below, outside=float("nan"))
    kept = marked.voxels.isfinite()
    if files.kind == "mask":
        result = kept.float()
    else:
        result = torch.where(kept, volume.voxels, torch.full_like(volume.voxels, files.outside))
    files.output.parent.mkdir(parents=True, exist_ok=True)
    write_mask(replace(volume, voxels=result), files.output)
    context.say(f"{files.output}: {int(kept.sum())} of {kept.numel()} voxels kept ({100 * float(kept.float().mean()):.2f} %)")


COMMAND = Command(
    name="map threshold",
    summary="Keep the part of a map between two values.",
    run=run,
    files=ThresholdFiles,
    details="Values are those of the file. For a soft mask with connected parts see cryowalk mask.",
)
