"""`cryowalk extract`: picks to particle stacks."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.cli.optics_options import optics_given
from cryowalk.picking.extraction_settings import ExtractionSettings
from cryowalk.workflow.manifest import Manifest

if TYPE_CHECKING:
    from cryowalk.workflow.extraction_stages import Extracted, ExtractionInputs


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionFiles:
    """The micrographs, the picks, whose defocus and middle is taken, and where the stacks go."""

    micrographs: Annotated[tuple[Path, ...], "a STAR file of micrographs, or images (MRC, TIFF, PNG, JPEG)", "--i"]
    coordinates: Annotated[
        tuple[Path, ...],
        "picks: one STAR file over all micrographs (coordinates, or particles to be cut out again), or a file for each (STAR, BOX, CSV)",
        "--coords",
    ]
    output: Annotated[Path, "directory of the particles"]
    recentre: Annotated[bool, "cut about where particles were refined to (rlnOriginXAngst, rlnOriginYAngst)", "--recenter"] = (
        False
    )
    centre: Annotated[
        tuple[float, float, float] | None,
        "point (x, y, z) of the refined particle that becomes the middle, Å; implies --recentre",
    ] = None
    ctf_of: Annotated[Literal["particles", "micrographs"], "whose defocus is taken where the particles bring their own too"] = (
        "particles"
    )
    pixel_size: Annotated[float | None, "pixel size of image files, Å"] = None
    voltage_kv: Annotated[float, "acceleration voltage of image files, kV", "--voltage", "--kv"] = 300.0
    spherical_aberration_mm: Annotated[float, "spherical aberration of image files, mm", "--cs", ("min", 0), ("max", 100)] = 2.7
    amplitude_contrast: Annotated[float, "amplitude contrast of image files", "--q0"] = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class _NamedMicrographs(ExtractionFiles):
    """The files as a job keeps them: micrographs by their names, so that one that was mended or came later is taken up by the same job."""

    micrographs: tuple[str, ...]  # type: ignore[assignment]  # names, not inputs whose content counts


def run(files: ExtractionFiles, settings: ExtractionSettings, context: Context) -> None:
    """Nothing; particles.star, the stacks and the report are in the output directory."""
    from cryowalk.core.errors import InputError
    from cryowalk.workflow.batch import raise_failures
    from cryowalk.workflow.extraction_stages import extract_particle_files

    inputs = _inputs(files, context)
    with context.job(_by_name(files), settings) as job:
        if inputs.picks.strangers:
            job.progress.note(f"{inputs.picks.strangers} picks lie in micrographs that are not in the table: left out")
        done = extract_particle_files(job, inputs, settings, seed=context.seed)
        if done.particles is not None:
            from cryowalk.cli.extraction_reports import write_extraction_report

            write_extraction_report(job.directory, job.manifest)
            context.say(_summary(files.output, done))
        raise_failures(done.failures, total=len(inputs.paths), output=files.output)
        if done.particles is None:
            raise InputError(
                f"no particle could be cut out: {done.at_edge} boxes stick out of their micrographs, {done.outside} picks lie outside them",
                file=files.coordinates[0],
                fix="give a smaller --box, or other picks",
            )


def _inputs(files: ExtractionFiles, context: Context) -> "ExtractionInputs":
    """The micrographs with the picks in them."""
    from cryowalk.core.errors import UsageError
    from cryowalk.workflow.ctf_stages import inputs_of
    from cryowalk.workflow.extraction_inputs import one_pixel_size, read_picks, recentred_picks, with_micrograph_facts
    from cryowalk.workflow.extraction_stages import ExtractionInputs

    if not files.coordinates:
        raise UsageError("there are no picks", fix="give --coords")
    found = inputs_of(files.micrographs, optics_given(files))
    pixel_size = one_pixel_size(found.micrographs, file=files.micrographs[0])
    picks = with_micrograph_facts(read_picks(files.coordinates, found.micrographs), found.micrographs, defocus_of=files.ctf_of)
    if files.recentre or files.centre is not None:
        point = files.centre or (0.0, 0.0, 0.0)
        picks = recentred_picks(picks, pixel_size=pixel_size, point=point, file=files.coordinates[0])
    return ExtractionInputs(micrographs=found.micrographs, paths=found.paths, picks=picks, device=context.torch_device)


def _by_name(files: ExtractionFiles) -> ExtractionFiles:
    if any(path.suffix.lower() == ".star" for path in files.micrographs):
        return files
    values = {each.name: getattr(files, each.name) for each in fields(files)}
    return _NamedMicrographs(**{**values, "micrographs": tuple(path.as_posix() for path in files.micrographs)})


def _summary(output: Path, done: "Extracted") -> str:
    if done.particles is None:
        return ""
    lost = [
        f"{count} {words}"
        for count, words in ((done.at_edge, "at edges"), (done.outside, "outside"), (done.flat, "without contrast"))
        if count
    ]
    side, size = done.particles.optics[0].extra["rlnImageSize"], done.particles.pixel_size
    left = f"; left out: {', '.join(lost)}" if lost else ""
    return f"{output / 'particles.star'}: {len(done.particles)} particles, {side} px of {size:.4g} Å{left}"


def draw_again(directory: Path, manifest: Manifest) -> Path:
    """The path of the report of a finished job, drawn again."""
    from cryowalk.cli.extraction_reports import write_extraction_report

    return write_extraction_report(directory, manifest)


COMMAND = Command(
    name="extract",
    summary="Cut particles out of micrographs.",
    run=run,
    files=ExtractionFiles,
    settings=ExtractionSettings,
    details="Writes particles.star, which RELION and cryoDRGN open, and in Extract/ a stack (.mrcs) for each micrograph.",
    report=draw_again,
)
