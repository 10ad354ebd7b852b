"""`cryowalk conventions kit`: files of an asymmetric phantom, for telling other programs' conventions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class KitFiles:
    """Where the kit goes, and how large it is."""

    output: Annotated[Path, "directory of the kit"]
    box: Annotated[int, "side of map and images, pixels", ("min", 32), ("max", 512)] = 64
    pixel_size: Annotated[float, "pixel size, Å; box times pixel size must be 150 Å or more", ("min", 0.5), ("max", 5)] = 2.5
    count: Annotated[int, "number of particles", ("min", 12), ("max", 10000)] = 24
    noise: Annotated[float, "white noise on the images, in standard deviations of their signal", ("min", 0), ("max", 20)] = 0.0

    def check(self) -> None:
        """Nothing, if the phantom fits into the box."""
        if self.box * self.pixel_size < 150:
            raise ValueError(f"the phantom is 150 Å across: {self.box} pixels of {self.pixel_size:g} Å are too small")


def run(files: KitFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the kit and its report are in the output directory."""
    from cryowalk.cli.reports import write_directory_report
    from cryowalk.validation.convention_kit import ConventionKit
    from cryowalk.workflow.convention_stages import write_kit

    kit = ConventionKit(box=files.box, pixel_size=files.pixel_size, count=files.count)
    with context.job(files) as job:
        names = write_kit(job, kit, noise=files.noise, seed=context.seed)
        write_directory_report(job.directory, job.manifest)
    context.say(f"{files.output}: {', '.join(names)}")
    context.say("let another program read and write one of these, then: cryowalk conventions check FILE…")


COMMAND = Command(
    name="conventions kit",
    summary="Write an asymmetric phantom for checking other programs' conventions.",
    run=run,
    files=KitFiles,
    details="A map, its images with poses, shifts and CTF as STAR and .cs, a micrograph with picks, and a README that says what to do with them.",
)
