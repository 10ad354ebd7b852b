"""`cryowalk star2hdf5`: particles of STAR files with their images in one HDF5 file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.cli.outputs import Overwrite
from cryowalk.io.stack_settings import StackStorage


@dataclass(frozen=True, slots=True, kw_only=True)
class StarStackFiles:
    """The tables, which of their rows, and the file they become."""

    tables: Annotated[
        tuple[Path, ...], "STAR files of particles, one after the other; patterns such as 'Extract/job007/*_extract.star'", "--i"
    ]
    output: Annotated[Path, "file to write, NAME.h5 (or NAME.zarr)"]
    optics: Annotated[
        Path | None, "STAR file with the optics groups of tables that have none, such as a job's particles.star"
    ] = None
    where: Annotated[str | None, "condition on the columns, such as 'rlnAngleTilt > 60 and rlnAngleTilt < 120'"] = None
    first: Annotated[int | None, "of those the first so many only", ("min", 1)] = None
    overwrite: Overwrite = False


def run(files: StarStackFiles, settings: StackStorage, context: Context) -> None:
    """Nothing; the stack is written."""
    from cryowalk.io.table_rows import Choice
    from cryowalk.workflow.hdf5_stages import check_stack_output, star_to_stack

    context.verify(*files.tables)
    check_stack_output(files.output, files.tables, overwrite=files.overwrite)
    made = star_to_stack(
        files.tables,
        files.output,
        optics=files.optics,
        choice=Choice(where=() if files.where is None else (files.where,), first=files.first),
        storage=settings,
        progress=context.progress,
        generator=context.generator(),
    )
    context.progress.finish()
    of = "" if made.count == made.total else f" of {made.total}"
    context.say(f"{files.output}: {made.count}{of} particles of {made.box} px in {made.groups} optics groups")


COMMAND = Command(
    name="star2hdf5",
    summary="Put particles and their images into one HDF5 file.",
    run=run,
    files=StarStackFiles,
    settings=StackStorage,
    details="One dataset a column, /images beside them: readable by anything that reads HDF5. Every particle command takes the file as --i; "
    "cryowalk convert turns it back into the same STAR file, or into .mrcs. A stopped run goes on where it was.",
)
