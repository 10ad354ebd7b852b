"""`cryowalk flip-hand`: maps of the other hand, and the poses that belong to them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.cli.outputs import Overwrite, check_outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipFiles:
    """Maps and particles, and where those of the other hand go."""

    inputs: Annotated[tuple[Path, ...], "maps (MRC), and STAR files of particles with poses", "--i"]
    output: Annotated[Path, "a file for a single input, or a directory: names are kept"]
    overwrite: Overwrite = False


def run(files: FlipFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the mirrored maps and the poses that belong to them are written."""
    from cryowalk.workflow.map_motion_stages import flip_file

    is_file = len(files.inputs) == 1 and bool(files.output.suffix) and not files.output.is_dir()
    targets = [files.output if is_file else files.output / path.name for path in files.inputs]
    check_outputs(targets, sources=files.inputs, overwrite=files.overwrite)
    context.verify(*files.inputs)
    for source, target in zip(files.inputs, targets, strict=True):
        flip_file(source, target)
        context.say(f"{target}: mirrored along z")


COMMAND = Command(
    name="flip-hand",
    summary="Mirror maps and turn the poses with them.",
    run=run,
    files=FlipFiles,
    details="Maps are mirrored along z about their middle voxel; the poses of a STAR file become those at which the mirrored map has the same images. "
    "Give half maps, map and STAR file together.",
)
