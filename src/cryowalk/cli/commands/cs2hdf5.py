"""`cryowalk cs2hdf5`: particles of cryoSPARC with their images in one HDF5 file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.cli.outputs import Overwrite
from cryowalk.io.stack_settings import StackStorage


@dataclass(frozen=True, slots=True, kw_only=True)
class CryosparcStackFiles:
    """The table, which of its rows, and the file they become."""

    table: Annotated[Path, "cryoSPARC's .cs or .csg file of particles", "--i"]
    output: Annotated[Path, "file to write, NAME.h5 (or NAME.zarr)"]
    passthrough: Annotated[tuple[Path, ...], "passthrough files of the same job"] = ()
    where: Annotated[str | None, "condition on the fields of a .cs file, such as 'alignments3D/class == 1'"] = None
    first: Annotated[int | None, "of those the first so many only", ("min", 1)] = None
    overwrite: Overwrite = False


def run(files: CryosparcStackFiles, settings: StackStorage, context: Context) -> None:
    """Nothing; the stack is written."""
    from cryowalk.io.table_rows import Choice
    from cryowalk.workflow.hdf5_stages import check_stack_output, cryosparc_to_stack

    context.verify(files.table, *files.passthrough)
    check_stack_output(files.output, (files.table, *files.passthrough), overwrite=files.overwrite)
    made = cryosparc_to_stack(
        files.table,
        files.output,
        passthrough=files.passthrough,
        choice=Choice(where=() if files.where is None else (files.where,), first=files.first),
        storage=settings,
        progress=context.progress,
        generator=context.generator(),
    )
    context.progress.finish()
    of = "" if made.count == made.total else f" of {made.total}"
    context.say(f"{files.output}: {made.count}{of} particles of {made.box} px in {made.groups} optics groups")


COMMAND = Command(
    name="cs2hdf5",
    summary="Put cryoSPARC's particles and their images into one HDF5 file.",
    run=run,
    files=CryosparcStackFiles,
    settings=StackStorage,
    details="Columns are RELION's, images protein bright (blob/sign is applied), counted from row 0. Stacks are looked for from the current "
    "directory, the folder of the .cs file and the folders above it, as paths of a cryoSPARC project are written.",
)
