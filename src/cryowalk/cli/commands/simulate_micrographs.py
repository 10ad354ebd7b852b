"""`cryowalk simulate micrographs`: micrographs of a sample in ice, with their truth."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.microscope.micrograph_settings import MicrographSimulationSettings

if TYPE_CHECKING:
    from cryowalk.data import Camera, Optics
    from cryowalk.microscope.simulate.specimens import Source

PIXEL_SIZE = 1.2  # Å, unless a map or an option says so


@dataclass(frozen=True, slots=True, kw_only=True)
class MicrographFiles:
    """The specimens, the microscope, and where the images go."""

    output: Annotated[Path, "directory of the simulated data"]
    structure: Annotated[
        tuple[Path, ...],
        "specimen: a PDB or mmCIF file, given several times for several specimens (--weights); without this and --map, the procedural molecule",
    ] = ()
    map: Annotated[Path | None, "specimen: a map in V above the ice, an MRC file"] = None
    pixel_size: Annotated[float | None, f"pixel size, Å; unless given that of the map, or {PIXEL_SIZE}"] = None
    voltage_kv: Annotated[float, "acceleration voltage, kV", "--kv"] = 300.0
    spherical_aberration_mm: Annotated[float, "spherical aberration, mm", "--cs", ("min", 0), ("max", 100)] = 2.7
    amplitude_contrast: Annotated[float, "amplitude contrast", "--q0"] = 0.07
    mtf: Annotated[Path | None, "modulation transfer of the camera, a STAR file as RELION has it; replaces the preset's"] = None


def chosen_sample(files: MicrographFiles, weights: tuple[float, ...]) -> "tuple[tuple[Source, ...], Optics]":
    """The specimens with their weights, and the optics."""
    from cryowalk.data import Optics, Volume
    from cryowalk.workflow.microscope_stages import sources_of
    from cryowalk.workflow.stages import read_specimens

    specimen = read_specimens(structures=files.structure, map_file=files.map)
    names = [path.stem for path in files.structure] or [files.map.stem if files.map else "hinge"]
    pixel_size = files.pixel_size or (specimen.voxel_size if isinstance(specimen, Volume) else PIXEL_SIZE)
    optics = Optics(
        pixel_size=pixel_size,
        voltage_kv=files.voltage_kv,
        spherical_aberration_mm=files.spherical_aberration_mm,
        amplitude_contrast=files.amplitude_contrast,
    )
    return sources_of(specimen, names, weights), optics


def with_mtf(files: MicrographFiles, name: str) -> "Camera | None":
    """The preset of this name with the modulation transfer of the file, where one was given."""
    from dataclasses import replace

    from cryowalk.core.errors import UsageError
    from cryowalk.io.mtf import read_mtf
    from cryowalk.microscope.camera import CAMERAS

    if files.mtf is None:
        return None
    if name not in CAMERAS:
        raise UsageError(f"there is no camera {name!r}", expected=", ".join(CAMERAS))
    return replace(CAMERAS[name], mtf=read_mtf(files.mtf))


def run(files: MicrographFiles, settings: MicrographSimulationSettings, context: Context) -> None:
    """Nothing; micrographs.star, particles.star, the images and truth/ are in the output directory."""
    from cryowalk.cli.micrograph_reports import write_micrograph_report
    from cryowalk.microscope.simulate.drawing import check_settings
    from cryowalk.workflow.microscope_stages import simulate_micrograph_files

    check_settings(settings)
    with context.job(files, settings) as job:
        sources, optics = chosen_sample(files, settings.weights)
        camera = with_mtf(files, settings.camera)
        truths = simulate_micrograph_files(job, sources, optics, settings, seed=context.seed, camera=camera)
        write_micrograph_report(job.directory, job.manifest)
    particles = sum(map(len, truths))
    context.say(
        f"{files.output / 'micrographs.star'}: {len(truths)} micrographs with {particles} particles at {optics.pixel_size:g} Å"
    )


def draw_again(directory: Path, manifest: Any) -> Path:
    """The path of the report of a finished job, drawn again."""
    from cryowalk.cli.micrograph_reports import write_micrograph_report

    return write_micrograph_report(directory, manifest)


COMMAND = Command(
    name="simulate micrographs",
    summary="Simulate micrographs with their truth.",
    run=run,
    files=MicrographFiles,
    settings=MicrographSimulationSettings,
    details="Writes micrographs/*.mrc, micrographs.star, which RELION imports, particles.star with the true places, poses and defocus of all "
    "particles, and truth/: for each micrograph its particles, ice and contamination; truth.json; the potentials of the specimens.",
    report=draw_again,
)
