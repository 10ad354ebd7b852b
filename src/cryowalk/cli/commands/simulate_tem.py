"""`cryowalk simulate tem`: a parameter file of TEM-simulator, run unchanged by this microscope."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class TemFiles:
    """The parameter file, and where the images go."""

    parameters: Annotated[Path, "parameter file of TEM-simulator; files that it names are sought beside it", "FILE"]
    output: Annotated[Path, "directory of the simulated images"]


def run(files: TemFiles, _: None, context: Context) -> None:
    """Nothing; the images, micrographs.star and truth/ are in the output directory."""
    from cryowalk.cli.micrograph_reports import write_micrograph_report
    from cryowalk.io.confinement import check_places
    from cryowalk.io.tem_simulator import read_tem_simulator
    from cryowalk.workflow.tem_stages import simulate_tem_files

    made = read_tem_simulator(files.parameters)
    named = [one.coordinate_file for one in made.particle_sets] + [one.structure_file or one.map_file for one in made.particles]
    folder = files.parameters.parent
    inputs = {f"named.{place}": folder / name for place, name in enumerate(named) if name and (folder / name).is_file()}
    check_places(inputs.values(), named_in=files.parameters)
    with context.job(files, more_inputs=inputs) as job:
        truths = simulate_tem_files(job, made, folder=folder, seed=context.seed)
        write_micrograph_report(job.directory, job.manifest)
    context.say(f"{files.output}: {len(truths)} images with {sum(map(len, truths))} particles in view of their specimen")


def draw_again(directory: Path, manifest: Any) -> Path:
    """The path of the report of a finished job, drawn again."""
    from cryowalk.cli.micrograph_reports import write_micrograph_report

    return write_micrograph_report(directory, manifest)


COMMAND = Command(
    name="simulate tem",
    summary="Run a parameter file of TEM-simulator.",
    run=run,
    files=TemFiles,
    details="Particles from PDB or map files at the places of a coordinate file (or drawn), at every tilt, with the file's beam, lens and camera. "
    "Writes the images under the names that the file gives, micrographs.star, the particles' maps and truth/.",
    report=draw_again,
)
