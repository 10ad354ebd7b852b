"""`cryowalk split`: one table in several."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.cli.outputs import Overwrite, check_outputs

if TYPE_CHECKING:
    from cryowalk.io.table_rows import Part
    from cryowalk.io.tables import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitFiles:
    """The table, how it is split, and what the parts are called."""

    table: Annotated[Path, "STAR or .cs file", "--i"]
    output: Annotated[Path, "name of the parts: particles.star gives particles_split1.star, particles_split2.star, …"]
    parts: Annotated[int | None, "into so many parts of one size, as far as it goes", "--nr-split", ("min", 1)] = None
    size: Annotated[int | None, "into parts of so many rows, the last one shorter", "--size-split", ("min", 1)] = None
    by: Annotated[str | None, "into one part for each value of this column, such as rlnMicrographName"] = None
    halves: Annotated[bool, "into the two half sets: particles_half1.star and particles_half2.star"] = False
    order: Annotated[Literal["keep", "random"], "which rows go into the parts: in order, or by chance (see --seed)"] = "keep"
    overwrite: Overwrite = False


def run(files: SplitFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the parts are written.

    Raises
    ------
    UsageError
        If it is not said how, or in two ways.
    """
    from cryowalk.core.errors import UsageError
    from cryowalk.io.tables import check_name, read_table

    asked = [
        name
        for name, value in (("parts", files.parts), ("size", files.size), ("by", files.by), ("halves", files.halves or None))
        if value is not None
    ]
    if len(asked) != 1:
        what = "--" + " and --".join(asked) + " were given" if asked else "it is not said how to split"
        raise UsageError(what, fix="give one of --parts, --size, --by and --halves")
    context.verify(files.table)
    table = read_table(files.table)
    check_name(files.output, table)
    parts = _parts(files, table, context)
    targets = [files.output.with_name(f"{files.output.stem}_{part.name}{files.output.suffix}") for part in parts]
    check_outputs(targets, sources=[files.table], overwrite=files.overwrite)
    context.progress.start("writing parts", len(parts))
    for part, target in zip(parts, targets, strict=True):
        table.take(part.rows).write(target)
        context.progress.advance()
    context.progress.finish()
    for part, target in zip(parts, targets, strict=True):
        context.say(f"{target}: {len(part.rows)} of {len(table)} rows")


def _parts(files: SplitFiles, table: "Table", context: Context) -> "tuple[Part, ...]":
    import torch

    from cryowalk.io.table_rows import half_sets, parts_by, parts_of

    if files.by is not None:
        return parts_by(table, files.by)
    if files.halves:
        return half_sets(table)
    order = torch.randperm(len(table), generator=context.generator()).numpy() if files.order == "random" else None
    return parts_of(len(table), parts=files.parts, size=files.size, order=order)


COMMAND = Command(
    name="split",
    summary="Split a table into several.",
    run=run,
    files=SplitFiles,
    details="Every row goes into one part, in the order of the table; all columns and the optics groups stay as they are.",
    output_name="particles.star",
)
