"""`cryowalk expand-symmetry`: each particle once for every operator of a point group."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.cli.outputs import Overwrite, check_outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpansionFiles:
    """The particles, the group, and where the copies go."""

    particles: Annotated[Path, "STAR file of particles with poses", "--i"]
    symmetry: Annotated[str, "point group of the refined map, such as C4, D2, T, O or I", "--sym"]
    output: Annotated[Path, "STAR file to write, such as expanded.star"]
    overwrite: Overwrite = False


def run(files: ExpansionFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the STAR file is written."""
    from cryowalk.geometry.symmetry import symmetry_operators
    from cryowalk.workflow.particle_stages import check_star_output, expand_file

    symmetry_operators(files.symmetry)
    check_star_output(files.output, files.particles)
    check_outputs([files.output], sources=[files.particles], overwrite=files.overwrite)
    context.verify(files.particles)
    before, after = expand_file(files.particles, files.output, symmetry=files.symmetry)
    context.say(f"{files.output}: {before} particles, {after} copies ({files.symmetry}); images stay where they are")


COMMAND = Command(
    name="expand-symmetry",
    summary="Copy particles into all orientations that a symmetry makes equal.",
    run=run,
    files=ExpansionFiles,
    details="Orientation R becomes R S for each operator S. The columns cwExpandedFrom and cwSymmetryOperator lead back. Copies are no new data: refine them locally or "
    "classify them with their poses kept, never search their poses everywhere.",
    output_name="particles.star",
)
