"""`cryowalk select`: some rows of a table of particles, micrographs or movies, or the particles of good classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.cli.outputs import Overwrite, check_outputs

if TYPE_CHECKING:
    from cryowalk.io.table_rows import Choice
    from cryowalk.io.tables import Table

LEAST_SCORE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionFiles:
    """The table, which of its rows are kept, and the file they are written to."""

    table: Annotated[Path, "STAR or .cs file, or the directory of class2d", "--i"]
    output: Annotated[Path, "file to write, such as particles.star"]
    where: Annotated[str | None, "condition on the columns, such as 'rlnDefocusU < 15000 and rlnClassNumber in (1, 3..5)'"] = None
    classes: Annotated[
        str | None,
        "numbers and ranges such as 1,2,5-8, or auto (by the scores of class2d, the default where nothing is asked for)",
    ] = None
    indices: Annotated[Path | None, "rows counted from 0: a text file, a .npy array or cryoDRGN's ind.pkl", "--ind"] = None
    first: Annotated[int | None, "of those the first rows only", ("min", 1)] = None
    last: Annotated[int | None, "of those the last rows only", ("min", 1)] = None
    random: Annotated[float | None, "of those so many by chance (see --seed), or below 1 their share", ("above", 0)] = None
    invert: Annotated[bool, "keep all other rows instead"] = False
    min_score: Annotated[float, "with auto: least score of a class", ("min", 0), ("max", 1)] = LEAST_SCORE
    min_particle_score: Annotated[float, "least score of a particle itself; 0 keeps all of a class", ("min", 0), ("max", 1)] = 0.0
    overwrite: Overwrite = False


def run(files: SelectionFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the kept rows are written.

    Raises
    ------
    UsageError
        If the output has the ending of another format, or is the table itself.
    """
    from cryowalk.io.table_rows import chosen_rows
    from cryowalk.io.tables import check_name, read_table

    data = _data(files.table)
    context.verify(data)
    check_outputs([files.output], sources=[data, files.indices], overwrite=files.overwrite)
    table = read_table(data)
    check_name(files.output, table)
    choice, told = _choice(files, data, table)
    rows = chosen_rows(table, choice, generator=None if choice.random is None else context.generator())
    table.take(rows).write(files.output)
    context.say(f"{files.output}: {len(rows)} of {len(table)} rows{told}")


def _data(path: Path) -> Path:
    """The table of the last iteration in a directory of class2d, or the file itself."""
    if not path.is_dir():
        return path
    from cryowalk.workflow.class2d_stages import latest_data

    return latest_data(path)


def _choice(files: SelectionFiles, data: Path, table: "Table") -> "tuple[Choice, str]":
    """Which rows are asked for, and the classes among it in words; nothing asked for means the good classes."""
    from dataclasses import replace

    from cryowalk.io.table_rows import Choice

    choice = Choice(
        where=() if files.where is None else (files.where,),
        indices=files.indices,
        first=files.first,
        last=files.last,
        random=files.random,
        is_inverse=files.invert,
    )
    told = ""
    wanted = files.classes or ("auto" if choice.is_empty() else None)
    if wanted is not None:
        from cryowalk.workflow.class2d_stages import chosen_classes

        classes = chosen_classes(table, data, classes=wanted, least_score=files.min_score)
        choice = replace(choice, classes=classes)
        told = f", {'but ' if files.invert else ''}classes {', '.join(map(str, classes)) or 'none'}"
    if files.min_particle_score > 0:
        from cryowalk.workflow.class2d_stages import SCORE, check_scores

        check_scores(table, data)
        choice = replace(choice, where=(*choice.where, f"{SCORE} >= {files.min_particle_score!r}"))
    return choice, told


COMMAND = Command(
    name="select",
    summary="Keep some rows of a table, or the particles of good 2D classes.",
    run=run,
    files=SelectionFiles,
    details="Rows that meet --where, --classes and --indices together are kept, of these the --first, --last or --random ones; --invert keeps the others. "
    "All columns stay as they are, in their order; images stay where they are.",
    output_name="particles.star",
)
