"""`cryowalk local-resolution`: the resolution at each place of a map, and the map filtered by it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.validation.local_resolution_settings import LocalResolutionSettings
from cryowalk.workflow.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalResolutionFiles:
    """The half maps and the mask, and where the results go."""

    first: Annotated[Path, "an unfiltered half map, such as run_half1_class001_unfil.mrc", "--i", "--i1"]
    output: Annotated[Path, "directory of the results"]
    second: Annotated[Path | None, "the other half map; unless given, found by its name (half1 → half2)", "--i2"] = None
    mask: Annotated[Path | None, "mask; outside of it the local resolution is written as 0", "--in_mask"] = None
    b_factor: Annotated[float, "B-factor of the filtered map, Å²; a negative one sharpens", "--adhoc_bfac"] = 0.0
    pixel_size: Annotated[float | None, "voxel size, Å, instead of that of the headers"] = None


def run(files: LocalResolutionFiles, settings: LocalResolutionSettings, context: Context) -> None:
    """Nothing; the maps, their percentiles and the report are in the output directory."""
    from cryowalk.core.errors import InputError, naming
    from cryowalk.workflow.local_resolution_stages import local_resolution_files
    from cryowalk.workflow.post_processing_stages import second_half_of

    second = files.second or second_half_of(files.first)
    if second.resolve() == files.first.resolve():
        raise InputError("both half maps are one and the same file", file=second, fix="name the two halves of one reconstruction")
    with context.job(files, settings, more_inputs={"second": second}) as job:
        with naming(files.first):
            _, scores = local_resolution_files(
                job, (files.first, second), settings, mask=files.mask, b_factor=files.b_factor, voxel_size=files.pixel_size
            )
        draw_again(job.directory, job.manifest)
    middle, *ends = (scores[f"local_resolution_{name}_angstrom"] for name in ("median", "percentile_10", "percentile_90"))
    context.say(f"local resolution: median {middle:.2f} Å, 80 % between {ends[0]:.2f} and {ends[1]:.2f} Å")


def draw_again(directory: Path, manifest: Manifest) -> Path:
    """The path of the report of a finished job, drawn again."""
    from cryowalk.cli.local_resolution_reports import write_local_resolution_report

    return write_local_resolution_report(directory, manifest)


COMMAND = Command(
    name="local-resolution",
    summary="Measure the resolution at each place of a map.",
    run=run,
    files=LocalResolutionFiles,
    settings=LocalResolutionSettings,
    details="Writes relion_locres.mrc (values in Å) and relion_locres_filtered.mrc, as RELION names them.",
    report=draw_again,
)
