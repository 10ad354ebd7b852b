"""`cryowalk stack`: one stack of many, or a table whose moved files are found again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.cli.outputs import Overwrite, check_outputs
from cryowalk.core.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class StackFiles:
    """The table or the stacks, which of the images are taken, and where they go."""

    inputs: Annotated[tuple[Path, ...], "a STAR file, or image stacks in MRC", "--i"]
    output: Annotated[Path, "STAR file to write, with the stack of the same name beside it; or the stack, NAME.mrcs"]
    images: Annotated[
        Literal["copy", "keep"], "copy them into one stack, or keep them where they are and write the names anew"
    ] = "copy"
    relink: Annotated[tuple[str, ...], "OLD=NEW beginnings of names of moved files"] = ()
    search: Annotated[Path | None, "folder in which lost files are looked for, at any depth"] = None
    indices: Annotated[Path | None, "rows counted from 0: a text file, a .npy array or cryoDRGN's ind.pkl", "--ind"] = None
    pixel_size: Annotated[float | None, "pixel size, Å, instead of the header's"] = None
    mode: Annotated[Literal["float32", "float16"], "how values are stored"] = "float32"
    overwrite: Overwrite = False


def run(files: StackFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the stack and the table are written.

    Raises
    ------
    UsageError
        If the output has no fitting ending, or options do not belong together.
    """
    from cryowalk.io.kinds import kind_of
    from cryowalk.io.relinking import rule_of

    rules = [rule_of(text) for text in files.relink]
    context.verify(*files.inputs)
    kinds = {kind_of(path) for path in files.inputs}
    if kinds == {"star"} and len(files.inputs) == 1:
        _table(files, context, rules)
    elif kinds == {"mrc"} and not rules and files.search is None:
        _stacks(files, context)
    else:
        raise UsageError(
            "the input is neither one STAR file nor stacks in MRC",
            expected="--i particles.star, or --i a.mrcs b.mrcs",
            fix="merge tables first",
        )


def _table(files: StackFiles, context: Context, rules: list[tuple[str, str]]) -> None:
    from cryowalk.io.table_rows import read_indices
    from cryowalk.io.tables import StarTable, read_table
    from cryowalk.workflow.stack_stages import StackJob, relink_table, stack_of_table

    if files.output.suffix.lower() not in (".star", ".mrcs"):
        raise UsageError(f"--o {files.output} is no name of a STAR file or stack", expected="a name that ends in .star or .mrcs")
    star, stack = files.output.with_suffix(".star"), files.output.with_suffix(".mrcs") if files.images == "copy" else None
    check_outputs([star, *([stack] if stack else [])], sources=[*files.inputs, files.indices], overwrite=files.overwrite)
    table = read_table(files.inputs[0])
    if not isinstance(table, StarTable):
        raise UsageError("the input is no STAR file", file=files.inputs[0])
    if files.indices is not None:
        table = table.take(read_indices(files.indices, count=len(table)))
    table, found = relink_table(table, target=star, rules=rules, folders=[files.search] if files.search else [])
    job = StackJob(star=star, stack=stack, sample_format=files.mode, pixel_size=files.pixel_size)
    stack_of_table(table, job, progress=context.progress).write(star)
    if found.missing:
        context.progress.note(f"{len(found.missing)} files other than images are not there, such as {found.missing[0]}")
    made = f", images in {stack}" if stack else ""
    context.say(f"{star}: {len(table)} rows, {found.changed} of {found.total} names of files written anew{made}")


def _stacks(files: StackFiles, context: Context) -> None:
    from cryowalk.io.mrc_header import read_header
    from cryowalk.io.table_rows import read_indices
    from cryowalk.workflow.stack_stages import StackJob, stack_of_stacks

    if files.output.suffix.lower() != ".mrcs" or files.images == "keep":
        raise UsageError(f"stacks without a table become a stack, not {files.output.name}", expected="--o NAME.mrcs")
    check_outputs([files.output], sources=[*files.inputs, files.indices], overwrite=files.overwrite)
    rows = None
    if files.indices is not None:
        total = sum(read_header(path).size[2] for path in files.inputs)
        rows = read_indices(files.indices, count=total)
    job = StackJob(
        star=files.output.with_suffix(".star"), stack=files.output, sample_format=files.mode, pixel_size=files.pixel_size
    )
    count = stack_of_stacks(files.inputs, job, rows=rows, progress=context.progress)
    context.say(f"{files.output}: {count} images of {len(files.inputs)} stacks")


COMMAND = Command(
    name="stack",
    summary="Make one stack of many, and find moved files again.",
    run=run,
    files=StackFiles,
    details="The images of a table are written in its order; what they were called stays in rlnImageOriginalName. With --images keep only names are written "
    "anew: by --relink, by --search, or as they are seen from the new folder.",
    output_name="particles.star",
)
