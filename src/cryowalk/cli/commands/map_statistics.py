"""`cryowalk map statistics`: the distribution of the values in maps, micrographs and stacks."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.core.errors import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsFiles:
    """What to look at."""

    files: Annotated[tuple[Path, ...], "maps, micrographs or stacks, MRC", "FILE…"]
    mask: Annotated[Path | None, "only voxels where this map is above 0.5"] = None
    json: Annotated[bool, "print JSON"] = False


def run(files: StatisticsFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the numbers are printed."""
    from cryowalk.workflow.map_stages import statistics_of

    found = {path: statistics_of(path, mask=files.mask) for path in files.files}
    facts = [{"file": printable(path), **asdict(one)} for path, one in found.items()]
    lines = []
    for path, one in found.items():
        lines.append(printable(path))
        for name, value in asdict(one).items():
            shown = ", ".join(f"{part:.4f}" for part in value) if isinstance(value, tuple) else f"{value:.8g}"
            lines.append(
                f"  {name.replace('_', ' '):<17} {shown}" + (" voxels from the origin voxel" if name == "centre" else "")
            )
    context.emit(facts, words=lambda: "\n".join(lines), as_json=files.json)


COMMAND = Command(
    name="map statistics",
    summary="Count the values of maps, micrographs and stacks.",
    run=run,
    files=StatisticsFiles,
    details="Extremes, mean, deviation, median, percentiles, sum, and where the density lies. Values are those of the file.",
)
