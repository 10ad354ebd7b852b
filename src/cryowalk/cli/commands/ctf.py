"""`cryowalk ctf`: defocus, astigmatism and their quality, of many micrographs."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.cli.optics_options import optics_given
from cryowalk.ctf_estimation.settings import CtfSettings
from cryowalk.workflow.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class CtfFiles:
    """The micrographs, their optics where no STAR file tells them, and where the results go."""

    micrographs: Annotated[tuple[Path, ...], "a STAR file of micrographs, or images (MRC, TIFF, PNG, JPEG)", "--i"] = ()
    power_spectra: Annotated[tuple[Path, ...], "images of power spectra instead of micrographs"] = ()
    particles: Annotated[
        Path | None,
        "a STAR file of particles with micrographs and coordinates: each gets the defocus at its own place, in particles.star",
        "--coords",
    ] = None
    output: Annotated[Path, "directory of the results"]
    pixel_size: Annotated[float | None, "pixel size of image files, Å; for power spectra that of their Nyquist frequency"] = None
    voltage_kv: Annotated[float, "acceleration voltage of image files, kV", "--voltage", "--kv"] = 300.0
    spherical_aberration_mm: Annotated[float, "spherical aberration of image files, mm", "--cs", ("min", 0), ("max", 100)] = 2.7
    amplitude_contrast: Annotated[float, "amplitude contrast of image files", "--q0"] = 0.1

    def check(self) -> None:
        """Nothing, if there is one kind of input."""
        if bool(self.micrographs) == bool(self.power_spectra):
            raise ValueError("give either --i with micrographs or --power-spectra")
        if self.power_spectra and self.particles is not None:
            raise ValueError("--coords needs micrographs: the power spectrum of a whole one does not tell places apart")


def run(files: CtfFiles, settings: CtfSettings, context: Context) -> None:
    """Nothing; micrographs_ctf.star, each micrograph's numbers and pictures, and the report are in the output directory."""
    from cryowalk.workflow.batch import raise_failures
    from cryowalk.workflow.ctf_particles import placed_particles
    from cryowalk.workflow.ctf_stages import estimate_ctf_files, inputs_of

    optics = optics_given(files)
    inputs = inputs_of(files.micrographs or files.power_spectra, optics, are_spectra=bool(files.power_spectra))
    if files.particles is not None:
        inputs = replace(inputs, placed=placed_particles(files.particles, inputs.micrographs.names))
    with context.job(files, settings) as job:
        found, failures = estimate_ctf_files(job, inputs, settings)
        if len(found):
            from cryowalk.cli.ctf_reports import write_ctf_report

            write_ctf_report(job.directory, job.manifest)
            context.say(_summary(files.output, found))
        raise_failures(failures, total=len(inputs.paths), output=files.output)


def _summary(output: Path, found: object) -> str:
    from cryowalk.data.micrographs import MicrographSet

    if not isinstance(found, MicrographSet) or found.defocus is None:
        return ""
    good = sum(flag == "1" for flag in found.extra["cwGood"])
    mean = (found.defocus.major + found.defocus.minor) / 2
    return f"{output / 'micrographs_ctf.star'}: {len(found)} micrographs, {good} good; defocus {mean.min():.0f} to {mean.max():.0f} Å"


def draw_again(directory: Path, manifest: Manifest) -> Path:
    """The path of the report of a finished job, drawn again."""
    from cryowalk.cli.ctf_reports import write_ctf_report

    return write_ctf_report(directory, manifest)


COMMAND = Command(
    name="ctf",
    summary="Estimate the CTF of micrographs.",
    run=run,
    files=CtfFiles,
    settings=CtfSettings,
    details="Writes micrographs_ctf.star, which RELION opens, results/*.json and pictures/*.ctf; with --coords particles.star.",
    report=draw_again,
)
