"""`cryowalk remove-duplicates`: one of each group of particles that lie on each other."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.cli.outputs import Overwrite, check_outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateFiles:
    """The particles, how near is too near, and where the kept ones go."""

    particles: Annotated[Path, "STAR file of particles with micrographs and coordinates", "--i"]
    min_distance: Annotated[
        float,
        "least distance between the refined places of two particles of a micrograph, Å",
        "--remove-duplicates",
        ("above", 0),
    ]
    output: Annotated[Path, "STAR file to write, such as unique.star"]
    overwrite: Overwrite = False


def run(files: DuplicateFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the STAR file is written."""
    from cryowalk.workflow.particle_stages import check_star_output, remove_duplicates_file

    check_star_output(files.output, files.particles)
    check_outputs([files.output], sources=[files.particles], overwrite=files.overwrite)
    context.verify(files.particles)
    found = remove_duplicates_file(files.particles, files.output, distance=files.min_distance)
    total = len(found.kept)
    by = f"the larger {found.merit}" if found.merit else "the earlier row"
    context.say(
        f"{files.output}: {total - found.removed} of {total} particles, {found.removed} duplicates removed; of two {by} stays"
    )


COMMAND = Command(
    name="remove-duplicates",
    summary="Keep one of particles that lie on each other.",
    run=run,
    files=DuplicateFiles,
    details="Places are coordinates corrected by the refined origins, micrograph by micrograph.",
    output_name="particles.star",
)
