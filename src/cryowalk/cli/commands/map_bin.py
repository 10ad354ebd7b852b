"""`cryowalk map bin`: maps and stacks with larger pixels, without aliasing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class BinFiles:
    """What is binned, and where it goes."""

    input: Annotated[Path, "a map, a micrograph or a stack, MRC", "--i"]
    output: Annotated[Path, "the result, MRC"]
    factor: Annotated[int, "how many pixels of a side become one", ("min", 1), ("max", 64)] = 2


def run(files: BinFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the result is written."""
    from cryowalk.core.errors import naming
    from cryowalk.workflow.map_stages import bin_file

    context.verify(files.input)
    with naming(files.input):
        words = bin_file(files.input, files.output, files.factor, progress=context.progress)
    context.say(f"{files.output}: {words}")


COMMAND = Command(
    name="map bin",
    summary="Bin a map or the images of a stack, without aliasing.",
    run=run,
    files=BinFiles,
    details="What does not fill whole pixels is cut off about the origin pixel; the rest is cropped in Fourier space, which keeps the mean of every pixel's signal.",
)
