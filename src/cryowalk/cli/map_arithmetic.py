"""What `map add`, `map subtract`, `map multiply` and `map divide` share: they differ in one word."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context

if TYPE_CHECKING:
    from cryowalk.validation.map_algebra import Operation

_WORDS = {
    "add": ("Add maps, or a number to a map.", "The sum of all maps and of --by."),
    "subtract": ("Subtract maps, or a number, from a map.", "The first map less the others and less --by."),
    "multiply": (
        "Multiply maps, or a map by a number.",
        "The product of all maps and of --by: a map times a mask, or --by -1 for the other contrast.",
    ),
    "divide": (
        "Divide a map by others, or by a number.",
        "The first map over the others and over --by; zero where a divisor is zero.",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArithmeticFiles:
    """The maps, the number, and where the result goes."""

    inputs: Annotated[tuple[Path, ...], "maps on one grid, MRC, or one stack of images with --by", "--i"]
    output: Annotated[Path, "the result, MRC"]
    by: Annotated[float | None, "a number, after the maps"] = None


def arithmetic(operation: "Operation") -> Command:
    """The command of this operation."""

    def run(files: ArithmeticFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
        """Nothing; the result is written."""
        from cryowalk.core.errors import naming
        from cryowalk.workflow.map_stages import combine_files

        context.verify(*files.inputs)
        with naming(files.inputs[0]):
            combine_files(files.inputs, files.output, operation, by=files.by, progress=context.progress)
        number = "" if files.by is None else f" and {files.by:g}"
        context.say(f"{files.output}: {operation} of {len(files.inputs)} file{'s' if len(files.inputs) > 1 else ''}{number}")

    summary, details = _WORDS[operation]
    return Command(
        name=f"map {operation}",
        summary=summary,
        run=run,
        files=ArithmeticFiles,
        details=details + " Values are those of the file.",
    )
