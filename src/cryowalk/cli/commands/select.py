"""`cryowalk select`: the particles of good classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context

LEAST_SCORE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionFiles:
    """The classes, which of them are kept, and the STAR file of their particles."""

    classes_of: Annotated[Path, "directory of class2d, or one of its run_itNNN_data.star", "--i"]
    output: Annotated[Path, "STAR file to write, such as particles.star"]
    classes: Annotated[str, "auto (by their scores), or numbers and ranges such as 1,2,5-8"] = "auto"
    min_score: Annotated[float, "with auto: least score of a class", ("min", 0), ("max", 1)] = LEAST_SCORE
    min_particle_score: Annotated[float, "least score of a particle itself; 0 keeps all of a class", ("min", 0), ("max", 1)] = 0.0


def run(files: SelectionFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the STAR file is written.

    Raises
    ------
    UsageError
        If the output is no STAR file, or the table itself.
    """
    from cryowalk.core.errors import UsageError
    from cryowalk.io import write_particles
    from cryowalk.workflow.class2d_stages import latest_data, select_particles

    data = latest_data(files.classes_of)
    context.verify(data)
    if files.output.suffix.lower() != ".star":
        raise UsageError(f"--o {files.output} is no name of a STAR file", expected="a name that ends in .star")
    if files.output.exists() and files.output.samefile(data):
        raise UsageError("input and output are the same file", file=data, fix="give another --o")
    chosen = select_particles(
        data, classes=files.classes, least_score=files.min_score, least_particle_score=files.min_particle_score
    )
    files.output.parent.mkdir(parents=True, exist_ok=True)
    write_particles(chosen.particles, files.output)
    named = ", ".join(map(str, chosen.classes))
    context.say(f"{files.output}: {len(chosen.particles)} of {chosen.total} particles, classes {named}")


COMMAND = Command(
    name="select",
    summary="Keep the particles of good 2D classes.",
    run=run,
    files=SelectionFiles,
    details="Poses, classes and all other columns are kept; images stay where they are.",
)
