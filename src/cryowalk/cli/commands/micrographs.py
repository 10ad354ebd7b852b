"""`cryowalk micrographs`: look at micrographs, and keep the good ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.workflow.curation_settings import CurationSettings
from cryowalk.workflow.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class CurationFiles:
    """The micrographs, the picks in them, and where the selection goes."""

    micrographs: Annotated[Path, "STAR file of micrographs, of ctf or motion", "--i"]
    output: Annotated[Path, "directory of the selection"]
    coordinates: Annotated[tuple[Path, ...], "picks, which are counted: as extract takes them", "--coords"] = ()


def run(files: CurationFiles, settings: CurationSettings, context: Context) -> None:
    """Nothing; micrographs.star, rejected.star, figures.csv, thumbnails and the report are in the output directory."""
    from cryowalk.cli.curation_reports import write_curation_report
    from cryowalk.core.errors import InputError, UsageError
    from cryowalk.workflow.batch import raise_failures
    from cryowalk.workflow.ctf_stages import inputs_of
    from cryowalk.workflow.curation_stages import check_limits, curate_files
    from cryowalk.workflow.extraction_inputs import read_picks

    if files.micrographs.suffix.lower() != ".star":
        raise UsageError(
            "a table of micrographs is sorted, not an image", file=files.micrographs, fix="give the STAR file of ctf or motion"
        )
    inputs = inputs_of((files.micrographs,), None)
    counts: list[int] | None = None
    if files.coordinates:
        picks = read_picks(files.coordinates, inputs.micrographs)
        counts = picks.micrograph.bincount(minlength=len(inputs.micrographs)).tolist()
    check_limits(inputs.micrographs, settings, has_picks=counts is not None)
    with context.job(files, settings) as job:
        found = curate_files(job, inputs, settings, picks=counts)
        if len(found.micrographs):
            write_curation_report(job.directory, job.manifest)
            context.say(f"{files.output}: {found.kept} of {len(found.reasons)} micrographs kept")
        raise_failures(found.failures, total=len(inputs.paths), output=files.output)
        if not found.kept:
            raise InputError(
                "no micrograph is kept; rejected.star tells why", file=files.output, fix="loosen the limits, in another directory"
            )


def draw_again(directory: Path, manifest: Manifest) -> Path:
    """The path of the report of a finished job, drawn again."""
    from cryowalk.cli.curation_reports import write_curation_report

    return write_curation_report(directory, manifest)


COMMAND = Command(
    name="micrographs",
    summary="Look at micrographs and keep the good ones.",
    run=run,
    files=CurationFiles,
    settings=CurationSettings,
    details="Writes micrographs.star, rejected.star with the reasons, figures.csv and thumbnails/.",
    report=draw_again,
)
