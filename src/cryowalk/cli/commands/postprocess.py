"""`cryowalk postprocess`: two half maps to the final map, its resolution and its B-factor."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.validation.settings import PostProcessingSettings
from cryowalk.workflow.manifest import Manifest

if TYPE_CHECKING:
    from cryowalk.workflow.post_processing_stages import PostProcessingInputs


@dataclass(frozen=True, slots=True, kw_only=True)
class PostProcessFiles:
    """The half maps, the mask and the camera's curve, and where the results go."""

    first: Annotated[Path, "an unfiltered half map, such as run_half1_class001_unfil.mrc", "--i", "--i1"]
    output: Annotated[Path, "directory of the results"]
    second: Annotated[Path | None, "the other half map; unless given, found by its name (half1 → half2)", "--i2"] = None
    mask: Annotated[str, "auto, none, or a mask (MRC)", "--in_mask"] = "auto"
    mask_threshold: Annotated[
        float | None,
        "density at which an automatic mask is cut, in the values of the file; unless given, chosen from the map",
        "--inimask_threshold",
    ] = None
    mask_extend: Annotated[float, "voxels by which an automatic mask grows", "--extend_inimask", ("min", 0)] = 3.0
    mask_edge: Annotated[float, "width of its soft edge, voxels", "--width_mask_edge", ("min", 0)] = 6.0
    mtf: Annotated[Path | None, "STAR file with the camera's MTF, which amplitudes are divided by"] = None
    pixel_size: Annotated[float | None, "voxel size, Å, instead of that of the headers"] = None
    emdb_names: Annotated[str, "number of an EMDB entry: map, half maps, mask and curve are written as emd_NNNN… too"] = ""


def run(files: PostProcessFiles, settings: PostProcessingSettings, context: Context) -> None:
    """Nothing; the map, its tables and the report are in the output directory."""
    from cryowalk.workflow.post_processing_stages import post_process_files

    inputs = _inputs(files, context)
    more = {"second": inputs.second}
    if isinstance(inputs.mask, Path):
        more["mask_file"] = inputs.mask
    with context.job(files, settings, more_inputs=more) as job:
        result = post_process_files(job, inputs, settings, seed=context.seed)
        draw_again(job.directory, job.manifest)
    context.say(
        f"resolution {result.resolution:.2f} Å (FSC {settings.threshold:g}, "
        f"{'no mask' if result.mask is None else 'masked and corrected'}), B-factor {result.b_factor:.1f} Å²"
    )


def _inputs(files: PostProcessFiles, context: Context) -> "PostProcessingInputs":
    from cryowalk.core.errors import InputError
    from cryowalk.validation.settings import MaskSettings
    from cryowalk.workflow.post_processing_stages import PostProcessingInputs, check_emdb_number, second_half_of

    mask = files.mask if files.mask in ("auto", "none") else Path(files.mask)
    if isinstance(mask, Path) and not mask.is_file():
        raise InputError("there is no such file", file=mask, expected="--mask: auto, none, or a mask (MRC)")
    second = files.second or second_half_of(files.first)
    if second.resolve() == files.first.resolve():
        raise InputError(
            "both half maps are one and the same file: their correlation would be 1 in every shell",
            file=second,
            fix="name the two halves of one reconstruction",
        )
    return PostProcessingInputs(
        first=files.first,
        second=second,
        mask=mask,  # type: ignore[arg-type]  # a path or one of the two words
        mask_settings=MaskSettings(threshold=files.mask_threshold, extend=files.mask_extend, soft_edge=files.mask_edge),
        mtf=files.mtf,
        pixel_size=files.pixel_size,
        emdb_number=check_emdb_number(files.emdb_names),
        device=context.torch_device,
    )


def draw_again(directory: Path, manifest: Manifest) -> Path:
    """The path of the report of a finished job, drawn again."""
    from cryowalk.cli.post_processing_reports import write_post_processing_report

    return write_post_processing_report(directory, manifest)


COMMAND = Command(
    name="postprocess",
    summary="Mask, sharpen and measure two half maps.",
    run=run,
    files=PostProcessFiles,
    settings=PostProcessingSettings,
    details="Writes postprocess.mrc, postprocess_masked.mrc, postprocess.star (as RELION does) and postprocess_fsc.xml (for the EMDB).",
    report=draw_again,
)
