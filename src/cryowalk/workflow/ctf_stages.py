"""The CTF of many micrographs, with files at both ends: each one's result is kept beside, and the table at the end is RELION's."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from cryowalk.core.errors import InputError, naming
from cryowalk.ctf_estimation.estimate import CtfEstimate, estimate_ctf
from cryowalk.ctf_estimation.local import estimate_local_defocus, estimate_tilt
from cryowalk.ctf_estimation.quality import flattened_picture
from cryowalk.ctf_estimation.settings import CtfSettings
from cryowalk.ctf_estimation.spectrum import PowerSpectrum, power_spectrum, spectrum_of_picture
from cryowalk.ctf_estimation.thickness import estimate_thickness
from cryowalk.data.micrographs import MicrographSet
from cryowalk.data.optics import Defocus, Optics
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.kinds import STAR_ENDINGS
from cryowalk.io.micrographs import read_micrographs, write_micrographs
from cryowalk.io.mrc import write_array
from cryowalk.io.pictures import read_micrograph
from cryowalk.io.stacks import find_stack
from cryowalk.io.star_numbers import integer_texts, number_texts
from cryowalk.workflow.batch import Failure, stems, work_through
from cryowalk.workflow.ctf_particles import PARTICLES_NAME, PlacedParticles, write_particle_defocus
from cryowalk.workflow.job import Job

TABLE_NAME = "micrographs_ctf.star"
RESULTS = "results"  # folder of each micrograph's numbers
PICTURES = "pictures"  # folder of the diagnostic images
_DECIMALS = 4  # kept of each number: the last bits of a fit depend on where arrays lie in memory
_COLUMNS = {
    "rlnCtfAstigmatism": "astigmatism",
    "rlnCtfFigureOfMerit": "figure_of_merit",
    "rlnCtfMaxResolution": "resolution",
    "cwDefocusDeviation": "deviation",
    "cwTilt": "tilt",
    "cwTiltAxis": "tilt_axis",
    "cwTiltSignificance": "tilt_significance",
    "cwThickness": "thickness",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CtfInputs:
    """What is looked at: the micrographs, where each one lies, whether the files are pictures of power spectra, and particles that want their own defocus."""

    micrographs: MicrographSet
    paths: tuple[Path | None, ...]
    are_spectra: bool = False
    placed: PlacedParticles | None = None


def micrographs_of_files(files: Sequence[Path], optics: Optics) -> MicrographSet:
    """A table of these files, all of one optics group."""
    return MicrographSet(
        optics=(optics,),
        optics_index=torch.zeros(len(files), dtype=torch.int64),
        names=tuple(path.as_posix() for path in files),
    )


def inputs_of(files: Sequence[Path], optics: Optics | None, *, are_spectra: bool = False) -> CtfInputs:
    """The micrographs of one STAR file, or image files that share the optics given.

    Raises
    ------
    InputError
        If a STAR file stands among several files, or image files come without optics.
    """
    if len(files) == 1 and files[0].suffix.lower() in STAR_ENDINGS and not are_spectra:
        micrographs = read_micrographs(files[0])
        if not micrographs.names:
            raise InputError(
                "the table names movies, not micrographs", file=files[0], fix="sum them first: cryowalk motion --i MOVIES.star"
            )
        return CtfInputs(micrographs=micrographs, paths=tuple(find_stack(name, files[0]) for name in micrographs.names))
    star = next((path for path in files if path.suffix.lower() in STAR_ENDINGS), None)
    if star is not None:
        raise InputError("a STAR file is taken alone", file=star, fix="give one STAR file, or images only")
    if optics is None:
        raise InputError("the pixel size of image files is not known", file=files[0], fix="state --pixel-size (Å)")
    return CtfInputs(micrographs=micrographs_of_files(files, optics), paths=tuple(files), are_spectra=are_spectra)


def estimate_ctf_files(job: Job, inputs: CtfInputs, settings: CtfSettings) -> tuple[MicrographSet, tuple[Failure, ...]]:
    """The micrographs whose CTF was found, and the files that could not be used; micrographs_ctf.star holds the former.

    Each micrograph's numbers go to results/ and its diagnostic image to pictures/; one whose numbers are there is not done again. Particles, where given, go to
    particles.star with the defocus at their own places.
    """
    micrographs = inputs.micrographs
    short = stems(micrographs.names)
    results = [job.path(f"{RESULTS}/{stem}.json") for stem in short]

    def work(index: int) -> None:
        path = inputs.paths[index]
        if path is None:
            raise InputError(
                "there is no such micrograph", file=micrographs.names[index], cause="it was moved, or the project was"
            )
        optics = micrographs.optics_of(index)
        spectrum, pixels = _spectrum(path, optics, settings, are_spectra=inputs.are_spectra)
        estimate = estimate_ctf(spectrum, optics, settings)
        facts = _facts(estimate, optics, settings)
        if pixels is not None:
            positions = None if inputs.placed is None else inputs.placed.positions(index, optics.pixel_size)
            facts |= _field_facts(pixels, optics, estimate, settings, positions=positions)
        picture = flattened_picture(spectrum, optics, estimate.defocus, finest=settings.finest_resolution)
        write_array(picture, job.path(f"{PICTURES}/{short[index]}.ctf"), voxel_size=1.0, kind="images")
        atomic_write_text(results[index], json.dumps(facts, indent=1) + "\n")

    failures = work_through(job, micrographs.names, work, what="estimating CTFs", is_done=lambda index: results[index].is_file())
    failed = {failure.name for failure in failures}
    kept = [index for index, name in enumerate(micrographs.names) if name not in failed]
    if not kept:
        return micrographs[:0], failures
    facts = [json.loads(results[index].read_text(encoding="utf-8")) for index in kept]
    found = _with_columns(micrographs[kept], facts, [f"{PICTURES}/{short[index]}.ctf" for index in kept], job.directory)
    write_micrographs(found, job.path(TABLE_NAME))
    if inputs.placed is not None:
        write_particle_defocus(inputs.placed, {index: results[index] for index in kept}, job.path(PARTICLES_NAME))
    return found, failures


def _spectrum(path: Path, optics: Optics, settings: CtfSettings, *, are_spectra: bool) -> tuple[PowerSpectrum, Tensor | None]:
    """The power spectrum of a file, and the micrograph's pixels where it is one."""
    image = read_micrograph(path, pixel_size=optics.pixel_size)
    with naming(path):
        if are_spectra:
            return spectrum_of_picture(image.pixels, pixel_size=optics.pixel_size), None
        return power_spectrum(image.pixels, pixel_size=optics.pixel_size, box=settings.box, tapers=settings.tapers), image.pixels


def _facts(estimate: CtfEstimate, optics: Optics, settings: CtfSettings) -> dict[str, object]:
    """The numbers that are kept of one micrograph: Å and degrees, as the table has them."""
    defocus = estimate.defocus
    numbers = {
        "major": float(defocus.major),
        "minor": float(defocus.minor),
        "azimuth": float(defocus.azimuth),
        "phase_shift": float(defocus.phase_shift),
        "astigmatism": estimate.astigmatism,
        "figure_of_merit": estimate.figure_of_merit,
        "resolution": min(estimate.resolution, 999.0),
        "deviation": estimate.deviation,
    }
    facts: dict[str, object] = {
        **{name: round(value, _DECIMALS) for name, value in numbers.items()},
        "doubts": list(estimate.doubts),
        "average": {
            part: [round(value, 5) for value in getattr(estimate.average, part).tolist()]
            for part in ("frequency", "measured", "model", "agreement")
        },
    }
    if settings.thickness == "fit":
        thickness = estimate_thickness(estimate, optics, finest=settings.finest_resolution).thickness
        facts["thickness"] = 0.0 if math.isnan(thickness) else thickness
    return facts


def _field_facts(
    pixels: Tensor, optics: Optics, estimate: CtfEstimate, settings: CtfSettings, *, positions: Tensor | None
) -> dict[str, object]:
    """The numbers that are kept of how the defocus changes over one micrograph."""
    facts: dict[str, object] = {}
    if settings.tilt == "none" and positions is None:
        return facts
    tilt = estimate_tilt(pixels, optics, estimate, settings)
    if settings.tilt == "fit":
        degrees = {"tilt": math.degrees(tilt.angle), "tilt_axis": math.degrees(tilt.axis)}
        facts |= {name: round(value, _DECIMALS) for name, value in degrees.items()}
        facts["gradient"] = [round(slope, 2 * _DECIMALS) for slope in tilt.gradient]
        facts["tilt_significance"] = round(tilt.significance, _DECIMALS)
    if positions is not None:
        found = estimate_local_defocus(pixels, optics, estimate, positions=positions, tilt=tilt, settings=settings)
        facts["local"] = [round(value, 2) for value in found.tolist()]
    return facts


def _with_columns(
    micrographs: MicrographSet, facts: Sequence[dict[str, object]], pictures: Sequence[str], directory: Path
) -> MicrographSet:
    def column(name: str) -> Tensor:
        return torch.tensor([float(str(one[name])) for one in facts], dtype=torch.float64)

    defocus = Defocus(major=column("major"), minor=column("minor"), azimuth=column("azimuth"), phase_shift=column("phase_shift"))
    extra = dict(micrographs.extra)
    for label, name in _COLUMNS.items():
        if name in facts[0]:
            extra[label] = number_texts(column(name))
    extra["cwGood"] = integer_texts([int(not one["doubts"]) for one in facts])
    extra["rlnCtfImage"] = tuple((directory / picture).as_posix() + ":mrc" for picture in pictures)
    return replace(micrographs, defocus=defocus, extra=extra)
