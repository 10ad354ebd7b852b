"""`cryowalk denoise`: particles, half maps, pairs of micrographs, or micrographs with a CTF, made quieter, and what that costs."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.denoising.settings import DenoisingSettings
from cryowalk.workflow.manifest import Manifest
from cryowalk.workflow.usable_images import OnNan


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoisingFiles:
    """The images or maps, their other halves, and where the results go."""

    files: Annotated[tuple[Path, ...], "a STAR file of particles or micrographs, a half map, or sums of odd frames", "--i"]
    others: Annotated[
        tuple[Path, ...], "the other half map, or the sums of even frames; found by its name where it lies beside", "--i2"
    ] = ()
    output: Annotated[Path, "directory of the results"]
    pixel_size: Annotated[float | None, "pixel size of image files, Å, instead of that of the headers"] = None
    on_nan: OnNan = "drop"


def run(files: DenoisingFiles, settings: DenoisingSettings, context: Context) -> None:
    """Nothing; the denoised images or map, denoising.json and the report are in the output directory."""
    from cryowalk.cli.denoising_reports import write_denoising_report
    from cryowalk.workflow.batch import raise_failures
    from cryowalk.workflow.denoising_stages import NOT_DATA, denoise_files, denoising_inputs
    from cryowalk.workflow.usable_images import without_damaged

    inputs = denoising_inputs(files.files, files.others, pixel_size=files.pixel_size, device=context.torch_device)
    settings = inputs.with_method(settings)
    more = {"second half": inputs.paths[0][1]} if inputs.kind == "half maps" and not files.others else None
    with context.job(files, settings, more_inputs=more) as job:
        if inputs.particles is not None:
            sound = without_damaged(inputs.particles, on_nan=files.on_nan, progress=job.progress)
            inputs = replace(inputs, particles=sound)
        facts, failures = denoise_files(job, inputs, settings, seed=context.seed)
        if facts.get("count", 1):
            write_denoising_report(job.directory, job.manifest)
            context.say(_summary(files.output, facts))
            context.say(NOT_DATA)
        raise_failures(failures, total=len(inputs.names), output=files.output)


def _summary(output: Path, facts: dict[str, Any]) -> str:
    what = f"{output}: {facts['kind']} by {facts['method']}"
    if "rank" in facts:
        return f"{what}; {facts['count']} images, {facts['rank']} of {facts['functions']} components above the noise"
    if "ssnr_gain" in facts:
        gain = facts["ssnr_gain"]
        kept = (
            "no shell's correlation with the truth changed"
            if gain == 1.0
            else f"signal to noise × {gain:.2f} (median of the shells that the halves share)"
        )
        return f"{what}; {kept}"
    return f"{what}; {facts['count']} images"


def draw_again(directory: Path, manifest: Manifest) -> Path:
    """The path of the report of a finished job, drawn again."""
    from cryowalk.cli.denoising_reports import write_denoising_report

    return write_denoising_report(directory, manifest)


COMMAND = Command(
    name="denoise",
    summary="Make particles, micrographs or half maps quieter, and tell what it costs.",
    run=run,
    files=DenoisingFiles,
    settings=DenoisingSettings,
    details="Writes denoised.mrcs and denoised.star, denoised.mrc, or micrographs/; and denoising.json. Denoised is not data.",
    report=draw_again,
)
