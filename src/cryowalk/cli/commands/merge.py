"""`cryowalk merge`: several tables in one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.cli.outputs import Overwrite, check_outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeFiles:
    """The tables, and where they go."""

    tables: Annotated[tuple[Path, ...], "STAR files, or .cs files", "--i"]
    output: Annotated[Path, "file to write, such as particles.star"]
    columns: Annotated[
        Literal["same", "common"], "all tables must have the same columns, or only those that all of them have are kept"
    ] = "same"
    copies: Annotated[Literal["tell", "remove", "refuse"], "an item that was there before: told, left out, or an error"] = "tell"
    overwrite: Overwrite = False


def run(files: MergeFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the merged table is written."""
    import warnings

    from cryowalk.core.errors import CryowalkWarning, UsageError
    from cryowalk.io.table_merging import merge_tables
    from cryowalk.io.tables import check_name, read_table

    if len(files.tables) < 2:
        raise UsageError("one table is nothing to merge", fix="give --i A.star B.star")
    context.verify(*files.tables)
    check_outputs([files.output], sources=files.tables, overwrite=files.overwrite)
    context.progress.start("reading", len(files.tables))
    tables = []
    for path in files.tables:
        tables.append(read_table(path))
        context.progress.advance()
    check_name(files.output, tables[0])
    merged = merge_tables(tables, target=files.output, columns=files.columns, copies=files.copies)
    context.progress.finish()
    if merged.left_out:
        warnings.warn(f"left out, not in every table: {', '.join(merged.left_out)}", CryowalkWarning, stacklevel=2)
    if merged.copies and files.copies == "tell":
        warnings.warn(
            f"{merged.copies} items are there twice, in {files.output}; --copies remove keeps the first of each",
            CryowalkWarning,
            stacklevel=2,
        )
    merged.table.write(files.output)
    groups = f", {merged.groups} optics groups" if merged.groups else ""
    removed = f", {merged.copies} copies left out" if merged.copies and files.copies == "remove" else ""
    context.say(f"{files.output}: {len(merged.table)} rows of {len(tables)} tables{groups}{removed}")


COMMAND = Command(
    name="merge",
    summary="Put several tables into one.",
    run=run,
    files=MergeFiles,
    details="Optics groups of one name are one group, and must hold the same values; numbers are given anew. Columns keep the order of the first table. "
    "Names of files that would lead elsewhere from the new folder are written anew.",
    output_name="particles.star",
)
