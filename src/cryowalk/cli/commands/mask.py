"""`cryowalk mask`: a soft mask from a map, a sphere or a molecule."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.cli.outputs import Overwrite, check_outputs
from cryowalk.validation.settings import MaskSettings
from cryowalk.workflow.manifest import Manifest

if TYPE_CHECKING:
    from cryowalk.validation.masks import AutomaticMask

ENDINGS = (".mrc", ".map", ".ccp4")


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskFiles:
    """The map, what gives the mask its shape, and where the mask goes."""

    map: Annotated[Path, "map that is masked, MRC", "--i", "--in_3dref"]
    output: Annotated[Path, "the mask, MRC, or a directory: mask.mrc and a report are written there"]
    radius: Annotated[
        float | None, "a sphere of this radius about the origin voxel, Å, instead of the map's shape", ("above", 0)
    ] = None
    atoms: Annotated[Path | None, "a structure file whose shape the mask takes: --extend voxels about each atom"] = None
    pixel_size: Annotated[float | None, "voxel size, Å, instead of the header's"] = None
    overwrite: Overwrite = False


def run(files: MaskFiles, settings: MaskSettings, context: Context) -> None:
    """Nothing; the mask is written.

    Raises
    ------
    UsageError
        If both a radius and a structure are given.
    """
    from cryowalk.core.errors import UsageError
    from cryowalk.workflow.post_processing_stages import ONLY_MASK_NAME, make_mask_file

    if files.radius is not None and files.atoms is not None:
        raise UsageError("both a radius and a structure were given", fix="give --radius or --atoms, not both")
    shape = files.radius if files.atoms is None else files.atoms
    if files.output.suffix.lower() in ENDINGS:
        context.verify(files.map, files.atoms)
        check_outputs([files.output], sources=[files.map, files.atoms], overwrite=files.overwrite)
        found = make_mask_file(files.map, files.output, settings, shape=shape, pixel_size=files.pixel_size)
        context.say(f"{files.output}: {in_words(found)}")
        return
    with context.job(files, settings) as job:
        found = make_mask_file(files.map, job.path(ONLY_MASK_NAME), settings, shape=shape, pixel_size=files.pixel_size)
        draw_again(job.directory, job.manifest)
    context.say(f"{files.output / ONLY_MASK_NAME}: {in_words(found)}")


def in_words(found: "AutomaticMask") -> str:
    """Threshold, parts and size."""
    share = f"{100 * float(found.mask.voxels.mean()):.1f} % of the box"
    if math.isnan(found.threshold):
        return share
    parts = f"{found.parts_kept} of {found.parts_found} connected parts"
    return f"threshold {found.threshold:.4g}, {parts}, {share}"


def draw_again(directory: Path, manifest: Manifest) -> Path:
    """The path of the report of a mask, drawn again."""
    from cryowalk.cli.post_processing_reports import write_mask_report

    return write_mask_report(directory, manifest)


COMMAND = Command(
    name="mask",
    summary="Make a soft mask of a map, a sphere or a molecule.",
    run=run,
    files=MaskFiles,
    settings=MaskSettings,
    details="Low pass, threshold, connected parts, extension and soft edge, in this order. Without --threshold it is chosen from the map.",
    report=draw_again,
)
