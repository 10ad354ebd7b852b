"""`cryowalk pick`: particles in many micrographs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.picking.settings import PickingSettings
from cryowalk.workflow.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class PickFiles:
    """The micrographs, views of the particle, and where the results go."""

    micrographs: Annotated[tuple[Path, ...], "a STAR file of micrographs, or images (MRC, TIFF, PNG, JPEG)", "--i"]
    output: Annotated[Path, "directory of the results"]
    pixel_size: Annotated[float | None, "pixel size of image files, Å"] = None
    contrast: Annotated[Literal["dark", "bright"], "how particles look in the micrographs"] = "dark"
    templates: Annotated[
        Path | None, "views of the particle, protein bright: a stack such as 2D classes, or a map, which is projected", "--ref"
    ] = None
    templates_pixel_size: Annotated[
        float | None, "pixel size of the templates where their file does not tell it, Å", "--ref-pixel-size", ("above", 0)
    ] = None
    network: Annotated[Path | None, "network of an earlier picking (its network.state), instead of training one"] = None
    picks: Annotated[
        tuple[Path, ...],
        "picks that the network learns from: one STAR file over all micrographs, or a file for each (STAR, BOX, CSV)",
    ] = ()


def run(files: PickFiles, settings: PickingSettings, context: Context) -> None:
    """Nothing; coordinates.star, each micrograph's places and the report are in the output directory."""
    from cryowalk.core.errors import UsageError
    from cryowalk.workflow.batch import raise_failures
    from cryowalk.workflow.picking_stages import (
        TABLE_NAME,
        network_for,
        pick_files,
        picking_inputs,
        read_network,
        read_templates,
    )

    for flag, is_given in (("--network", files.network is not None), ("--picks", bool(files.picks))):
        if is_given and settings.method != "network":
            raise UsageError(f"{flag} is given, but --method {settings.method} has no network", fix="add --method network")
    if files.templates is not None and settings.method != "template":
        raise UsageError(f"--ref is given, but --method {settings.method} takes no templates", fix="add --method template")
    templates = None
    if files.templates is not None:
        templates = read_templates(files.templates, pixel_size=files.templates_pixel_size)
    given = None if files.network is None else read_network(files.network)
    inputs = picking_inputs(
        files.micrographs,
        pixel_size=files.pixel_size,
        contrast=files.contrast,
        templates=templates,
        device=context.torch_device,
    )
    with context.job(files, settings) as job:
        network = None
        if settings.method == "network":
            network = network_for(job, inputs, settings, given=given, picks=files.picks, seed=context.seed)
        found, failures = pick_files(job, inputs, settings, network=network)
        if found:
            from cryowalk.cli.picking_reports import write_picking_report

            write_picking_report(job.directory, job.manifest)
            count = sum(map(len, found.values()))
            context.say(f"{files.output / TABLE_NAME}: {count} particles in {len(found)} micrographs")
        raise_failures(failures, total=len(inputs.paths), output=files.output)


def draw_again(directory: Path, manifest: Manifest) -> Path:
    """The path of the report of a finished job, drawn again."""
    from cryowalk.cli.picking_reports import write_picking_report

    return write_picking_report(directory, manifest)


COMMAND = Command(
    name="pick",
    summary="Find particles in micrographs.",
    run=run,
    files=PickFiles,
    settings=PickingSettings,
    details="Writes picks/MICROGRAPH_pick.star for each micrograph and coordinates.star of all, as RELION reads them.",
    report=draw_again,
)
