"""`cryowalk simulate tilt-series`: tilt series of a slab of ice with particles and gold beads, with their truth."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.microscope.tilt_settings import TiltSeriesSimulationSettings

if TYPE_CHECKING:
    from cryowalk.workflow.manifest import Manifest

DEFAULT_PIXEL_SIZE = 4.0  # Å
SHOWN_TILTS = 6
SHOWN_SIDE = 384  # pixels, about, of an image in the report


@dataclass(frozen=True, slots=True, kw_only=True)
class TiltSeriesFiles:
    """The specimens, the microscope, and where the series go."""

    output: Annotated[Path, "directory of the simulated tilt series"]
    structure: Annotated[
        tuple[Path, ...],
        "specimen: a PDB or mmCIF file, given several times for several specimens (--weights); without this and --map, the procedural molecule",
    ] = ()
    map: Annotated[Path | None, "specimen: a map in V, an MRC file"] = None
    pixel_size: Annotated[float | None, "pixel size, Å; unless given that of the map, or 4"] = None
    voltage_kv: Annotated[float, "acceleration voltage, kV", "--kv"] = 300.0
    spherical_aberration_mm: Annotated[float, "spherical aberration, mm", "--cs", ("min", 0), ("max", 100)] = 2.7
    amplitude_contrast: Annotated[float, "amplitude contrast", "--q0"] = 0.1


def run(files: TiltSeriesFiles, settings: TiltSeriesSimulationSettings, context: Context) -> None:
    """Nothing; tilt_series.star, the stacks in tilt_series/ and the truth in truth/ are in the output directory."""
    from cryowalk.data import Optics, Volume
    from cryowalk.microscope.simulate.tilt_series import check_settings
    from cryowalk.workflow.stages import read_specimens
    from cryowalk.workflow.tilt_stages import simulate_tilt_series_files

    check_settings(settings)
    with context.job(files, settings) as job:
        found = read_specimens(structures=files.structure, map_file=files.map)
        specimens = found if isinstance(found, list) else [found]
        first = specimens[0]
        pixel_size = files.pixel_size or (first.voxel_size if isinstance(first, Volume) else DEFAULT_PIXEL_SIZE)
        optics = Optics(
            pixel_size=pixel_size,
            voltage_kv=files.voltage_kv,
            spherical_aberration_mm=files.spherical_aberration_mm,
            amplitude_contrast=files.amplitude_contrast,
        )
        truths = simulate_tilt_series_files(job, specimens, optics, settings, seed=context.seed)
        draw_again(job.directory, job.manifest)
    tilts = len(truths[0].tilt_angle)
    context.say(
        f"{files.output / 'tilt_series.star'}: {settings.count} series of {tilts} tilts, "
        f"{settings.size[0]} × {settings.size[1]} px at {pixel_size:g} Å, {tilts * settings.dose:g} e⁻/Å² each"
    )


def draw_again(directory: Path, manifest: "Manifest") -> Path:
    """The path of the report: some tilts of the first series, evenly spread, and what is in the directory."""
    import torch

    from cryowalk.data import ImageStack
    from cryowalk.io.mrc import MrcStackReader
    from cryowalk.view import Report, images, write_report
    from cryowalk.workflow.job import REPORT_NAME

    names = [path.stem for path in sorted((directory / "tilt_series").glob("*.mrcs"))]
    reader = MrcStackReader(directory / "tilt_series" / f"{names[0]}.mrcs")
    chosen = torch.linspace(0, reader.count - 1, min(SHOWN_TILTS, reader.count)).round().long().tolist()
    pixels = reader.read(chosen)
    factor = max(1, min(pixels.shape[-2:]) // SHOWN_SIDE)
    small = torch.nn.functional.avg_pool2d(pixels[:, None], factor)[:, 0]
    report = Report(
        title="Simulated tilt series",
        summary=f"{len(names)} series of {reader.count} tilts; the truth is in truth/. Shown are tilts {', '.join(str(n + 1) for n in chosen)} of {names[0]}.",
        provenance=manifest.provenance(),
    ).with_section("Tilts", images(ImageStack(pixels=small, pixel_size=float(reader.pixel_size or 1.0) * factor)))
    write_report(report, directory / REPORT_NAME)
    return directory / REPORT_NAME


COMMAND = Command(
    name="simulate tilt-series",
    summary="Simulate tilt series with their truth.",
    run=run,
    files=TiltSeriesFiles,
    settings=TiltSeriesSimulationSettings,
    report=draw_again,
    details="Writes tilt_series.star, and for each series a stack, a table, an mdoc and a rawtlt, as RELION and IMOD read them; the truth is in truth/.",
)
