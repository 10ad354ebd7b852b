"""`cryowalk optics`: optics groups of a table parted by the acquisition, or made one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.core.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class OpticsFiles:
    """The table, what is done to its optics groups, and where the new table goes."""

    table: Annotated[Path, "STAR file of particles, micrographs or movies", "--i"]
    output: Annotated[Path, "STAR file to write"]
    split: Annotated[
        str | None,
        "part each group: by shifts (of files in --metadata), by names (positions in the template of holes), or into N groups of shifts",
    ] = None
    merge: Annotated[str | None, "make groups one: all, or names with commas between"] = None
    metadata: Annotated[tuple[Path, ...], "folders of EPU's XML or SerialEM's mdoc files"] = ()

    def check(self) -> None:
        """Nothing, if one of both is asked for.

        Raises
        ------
        UsageError
            Otherwise.
        """
        if (self.split is None) == (self.merge is None):
            raise UsageError("say what shall be done to the optics groups", expected="either --split or --merge")
        if self.split is not None and self.split not in ("shifts", "names") and not (self.split.isdigit() and int(self.split)):
            raise UsageError(f"--split cannot be {self.split!r}", expected="shifts, names, or a number such as 25")


def run(files: OpticsFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the table is written."""
    from cryowalk.workflow.optics_tables import regroup_file
    from cryowalk.workflow.particle_stages import check_star_output

    check_star_output(files.output, files.table)
    context.verify(files.table)
    merged = (
        None if files.merge is None else tuple(name.strip() for name in files.merge.split(",")) if files.merge != "all" else ()
    )
    before, after, words = regroup_file(files.table, files.output, split=files.split, merged=merged, folders=files.metadata)
    context.say(f"{files.output}: {before} optics groups before, {after} now; {words}")


COMMAND = Command(
    name="optics",
    summary="Part or join the optics groups of a table.",
    run=run,
    files=OpticsFiles,
    details="Particles are grouped by the names of their micrographs. All other columns are kept; images stay where they are.",
    output_name="particles.star",
)
