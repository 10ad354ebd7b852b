"""`cryowalk simulate particles`: particle images of a specimen, with their truth."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.microscope.settings import ParticleSimulationSettings

if TYPE_CHECKING:
    from cryowalk.workflow.stages import Specimen


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationFiles:
    """The specimen, the microscope, and where the images go."""

    output: Annotated[Path, "directory of the simulated particles"]
    structure: Annotated[
        tuple[Path, ...],
        "specimen: a PDB or mmCIF file, given several times for several specimens (--weights); without this and --map, the procedural molecule",
    ] = ()
    map: Annotated[Path | None, "specimen: a map in V, an MRC file"] = None
    pixel_size: Annotated[
        float | None,
        "pixel size, Å; unless given that of the map, or one that gives a molecule a box of 1.5 times its diameter",
    ] = None
    voltage_kv: Annotated[float, "acceleration voltage, kV", "--kv"] = 300.0
    spherical_aberration_mm: Annotated[float, "spherical aberration, mm", "--cs", ("min", 0), ("max", 100)] = 2.7
    amplitude_contrast: Annotated[float, "amplitude contrast", "--q0"] = 0.1


def run(files: SimulationFiles, settings: ParticleSimulationSettings, context: Context) -> None:
    """Nothing; particles.star, particles.mrcs, truth.star and truth_map.mrc are in the output directory."""
    from cryowalk.cli.reports import write_directory_report
    from cryowalk.data import Optics
    from cryowalk.microscope.simulate.parameters import check_settings
    from cryowalk.workflow.stages import read_specimens, simulate_particle_files

    check_settings(settings)
    with context.job(files, settings) as job:
        specimen = read_specimens(structures=files.structure, map_file=files.map)
        pixel_size = files.pixel_size or _pixel_size(specimen, box=settings.box)
        optics = Optics(
            pixel_size=pixel_size,
            voltage_kv=files.voltage_kv,
            spherical_aberration_mm=files.spherical_aberration_mm,
            amplitude_contrast=files.amplitude_contrast,
        )
        simulate_particle_files(job, specimen, optics, settings, seed=context.seed)
        write_directory_report(job.directory, job.manifest)
    context.say(f"{files.output / 'particles.star'}: {settings.count} particles of {settings.box} px at {pixel_size:g} Å")


def _pixel_size(specimen: "Specimen | list[Specimen]", *, box: int) -> float:
    """The pixel size of a map, or one that the largest of the molecules fits, Å."""
    from cryowalk.data import Atoms, Volume
    from cryowalk.workflow.walk import fitting_pixel_size

    if isinstance(specimen, Volume):
        return float(specimen.voxel_size)
    several = specimen if isinstance(specimen, list) else [specimen]
    molecules = [each if isinstance(each, Atoms) else each(angle=0.0) for each in several if not isinstance(each, Volume)]
    return float(max(fitting_pixel_size(atoms, box=box) for atoms in molecules))


COMMAND = Command(
    name="simulate particles",
    summary="Simulate particle images with their truth.",
    run=run,
    files=SimulationFiles,
    settings=ParticleSimulationSettings,
    details="Writes particles.star, particles.mrcs, truth.star and truth_map.mrc, which RELION opens.",
)
