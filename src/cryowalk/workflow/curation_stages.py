"""Micrographs sorted by what is known of them: figures from the table and the images, limits, the kept and the rejected, thumbnails."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.ctf_estimation.spectrum import power_spectrum, tile_side
from cryowalk.data.micrographs import MicrographSet
from cryowalk.fourier.shells import shell_average, shell_frequency
from cryowalk.io.atomic import atomic_path, atomic_write_text
from cryowalk.io.csv_text import csv_text
from cryowalk.io.micrographs import write_micrographs
from cryowalk.io.pictures import read_micrograph
from cryowalk.io.stacks import find_stack, stack_reference
from cryowalk.io.star_numbers import number_texts
from cryowalk.workflow.batch import Failure, stems, work_through
from cryowalk.workflow.ctf_stages import CtfInputs
from cryowalk.workflow.curation_settings import CurationSettings
from cryowalk.workflow.job import Job

SELECTED, REJECTED, FIGURES = "micrographs.star", "rejected.star", "figures.csv"
RESULTS, THUMBNAILS = "results", "thumbnails"
REASON, ICE = "cwRejectedBecause", "cwIceRing"
_RING = (3.56, 3.78)  # Å; hexagonal and cubic ice have spacings of 3.67 and 3.66 Å
_BESIDE = ((3.30, 3.38), (4.05, 4.30))  # Å; no line of either ice
_BOX = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of a micrograph: its name (limits are min_NAME and max_NAME), what it is in words with its unit, and where it comes from.

    `label` is a column of the table. Where `zero_is_unknown`, a 0 says that nothing was found.
    """

    name: str
    words: str
    label: str = ""
    zero_is_unknown: bool = False
    fix: str = "run cryowalk ctf on them first"


_MOTION = "run cryowalk motion first, and ctf on its corrected_micrographs.star"
KNOWN: tuple[Figure, ...] = (
    Figure(name="defocus", words="defocus (Å)"),
    Figure(name="astigmatism", words="astigmatism (Å)"),
    Figure(name="resolution", words="rings to (Å)", label="rlnCtfMaxResolution"),
    Figure(name="figure_of_merit", words="figure of merit", label="rlnCtfFigureOfMerit"),
    Figure(name="defocus_deviation", words="defocus error (Å)", label="cwDefocusDeviation"),
    Figure(name="tilt", words="tilt (°)", label="cwTilt", fix="run cryowalk ctf --tilt fit first"),
    Figure(
        name="thickness",
        words="thickness (Å)",
        label="cwThickness",
        zero_is_unknown=True,
        fix="run cryowalk ctf --thickness fit first",
    ),
    Figure(name="ice", words="ice ring", label=ICE, fix="leave --ice measure; pixels must be finer than 1.65 Å"),
    Figure(name="motion", words="motion (Å)", label="rlnAccumMotionTotal", fix=_MOTION),
    Figure(name="early_motion", words="early motion (Å)", label="rlnAccumMotionEarly", fix=_MOTION),
    Figure(name="precision", words="motion error (Å)", label="cwMotionPrecision", fix=_MOTION),
    Figure(name="picks", words="picks", fix="give --coords"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curated:
    """The figures of all usable micrographs by name, why each is rejected (nothing: it is kept), and the files that could not be used."""

    micrographs: MicrographSet
    figures: dict[str, Float[Tensor, " n"]]
    reasons: tuple[str, ...]
    failures: tuple[Failure, ...]

    @property
    def kept(self) -> int:
        """How many are kept."""
        return sum(not reason for reason in self.reasons)


def curate_files(job: Job, inputs: CtfInputs, settings: CurationSettings, *, picks: Sequence[int] | None = None) -> Curated:
    """The micrographs with their figures and verdicts; micrographs.star holds the kept ones, rejected.star the others with the reasons, figures.csv all.

    `picks` is the number of picks in each. Images are read for thumbnails and the ring of ice; what is done is not done again.
    """
    check_limits(inputs.micrographs, settings, has_picks=picks is not None)
    names = inputs.micrographs.names
    short = stems(names)
    results = [job.path(f"{RESULTS}/{stem}.json") for stem in short]

    def work(index: int) -> None:
        path = inputs.paths[index]
        if path is None:
            raise InputError("there is no such micrograph", file=names[index], cause="it was moved, or the project was")
        ice = math.nan
        if settings.thumbnails or settings.ice == "measure":
            optics = inputs.micrographs.optics_of(index)
            image = read_micrograph(path, pixel_size=optics.pixel_size)
            if settings.thumbnails:
                write_thumbnail(image.pixels, job.path(f"{THUMBNAILS}/{short[index]}.png"), side=settings.thumbnails)
            if settings.ice == "measure":
                ice = _ice_ring_of_file(image.pixels, optics.pixel_size, path)
        atomic_write_text(results[index], json.dumps({"ice": None if math.isnan(ice) else ice}) + "\n")

    failures = work_through(job, names, work, what="looking at micrographs", is_done=lambda index: results[index].is_file())
    failed = {failure.name for failure in failures}
    usable = [index for index, name in enumerate(names) if name not in failed]
    micrographs = _with_ice(inputs.micrographs[torch.tensor(usable, dtype=torch.int64)], [results[index] for index in usable])
    chosen = None if picks is None else [picks[index] for index in usable]
    figures = figures_of(micrographs, picks=chosen)
    reasons = verdicts(micrographs, figures, settings)
    named = replace(micrographs, names=_seen_from(job, [inputs.paths[index] for index in usable], micrographs.names))
    found = Curated(micrographs=named, figures=figures, reasons=reasons, failures=failures)
    if usable:
        _write(job, found)
    return found


def check_limits(micrographs: MicrographSet, settings: CurationSettings, *, has_picks: bool) -> None:
    """Nothing, if every limit that is set is on a figure that the table has.

    Raises
    ------
    InputError
        Otherwise; it names the command that finds the figure.
    """
    there = {figure.name for figure in KNOWN if figure.label in micrographs.extra}
    there |= {"defocus", "astigmatism"} if micrographs.defocus is not None else set()
    there |= {"picks"} if has_picks else set()
    there |= {"ice"} if settings.ice == "measure" else set()
    for figure in KNOWN:
        low, high = limits_of(settings, figure.name)
        if (low is not None or high is not None) and figure.name not in there:
            where = f"no column {figure.label}" if figure.label else "it is not known"
            raise InputError(f"there is a limit on {figure.name.replace('_', ' ')}, and the table has {where}", fix=figure.fix)


def limits_of(settings: CurationSettings, name: str) -> tuple[float | None, float | None]:
    """The smallest and the largest value of a figure that are accepted."""
    return getattr(settings, f"min_{name}", None), getattr(settings, f"max_{name}", None)


def figures_of(micrographs: MicrographSet, *, picks: Sequence[int] | None = None) -> dict[str, Float[Tensor, " n"]]:
    """What is known of the micrographs, by name; a figure that is not known of one is NaN."""
    figures: dict[str, Tensor] = {}
    if micrographs.defocus is not None:
        figures["defocus"] = (micrographs.defocus.major + micrographs.defocus.minor).double() / 2
        figures["astigmatism"] = (micrographs.defocus.major - micrographs.defocus.minor).double().abs()
    for figure in KNOWN:
        if figure.label in micrographs.extra:
            values = torch.tensor([_number(text) for text in micrographs.extra[figure.label]], dtype=torch.float64)
            figures[figure.name] = torch.where(values == 0, math.nan, values) if figure.zero_is_unknown else values
    if picks is not None:
        figures["picks"] = torch.tensor(list(picks), dtype=torch.float64)
    return {figure.name: figures[figure.name] for figure in KNOWN if figure.name in figures}


def verdicts(micrographs: MicrographSet, figures: dict[str, Float[Tensor, " n"]], settings: CurationSettings) -> tuple[str, ...]:
    """Why each micrograph is rejected, in words, or nothing where it is kept."""
    reasons: list[list[str]] = [[] for _ in range(len(micrographs))]
    if settings.doubtful == "reject":
        for row, flag in enumerate(micrographs.extra.get("cwGood", ())):
            if _number(flag) == 0:
                reasons[row].append("CTF doubtful")
    for name, values in figures.items():
        low, high = limits_of(settings, name)
        for row, value in enumerate(values.tolist()):
            if low is not None and value < low:
                reasons[row].append(f"{name.replace('_', ' ')} {value:.5g} < {low:g}")
            if high is not None and value > high:
                reasons[row].append(f"{name.replace('_', ' ')} {value:.5g} > {high:g}")
    return tuple("; ".join(each) for each in reasons)


def ice_ring(pixels: Float[Tensor, "h w"], *, pixel_size: float) -> float:
    """The mean power at 3.56 to 3.78 Å over that at 3.30 to 3.38 and 4.05 to 4.30 Å; 1 for white noise, NaN where the image does not reach so far.

    Crystals have their lines there; vitreous ice has a broad peak about 3.7 Å too, so that thick ice rises a little above 1.
    """
    if 2 * pixel_size > _BESIDE[0][0]:
        return math.nan
    largest = int(min(_BOX, min(pixels.shape) * _BOX / tile_side(_BOX, pixel_size)))
    spectrum = power_spectrum(pixels, pixel_size=pixel_size, box=largest // 2 * 2)
    average = shell_average(spectrum.power, size=(spectrum.side, spectrum.side))
    frequency = shell_frequency(spectrum.side, pixel_size=spectrum.pixel_size)

    def mean(finest: float, coarsest: float) -> Tensor:
        return average[(frequency >= 1 / coarsest) & (frequency <= 1 / finest)].mean()

    return float(mean(*_RING) / ((mean(*_BESIDE[0]) + mean(*_BESIDE[1])) / 2))


def _ice_ring_of_file(pixels: Float[Tensor, "h w"], pixel_size: float, path: Path) -> float:
    try:
        return ice_ring(pixels, pixel_size=pixel_size)
    except InputError as error:
        raise InputError(error.what, file=path, cause=error.cause) from None


def write_thumbnail(pixels: Float[Tensor, "h w"], path: Path, *, side: int) -> None:
    """Write a small picture, its longer side at most `side` pixels, y upwards as the reports show micrographs, greys from the 0.5th to the 99.5th percentile."""
    import imagecodecs

    height, width = pixels.shape
    factor = max(1, -(-max(height, width) // side))
    small = torch.nn.functional.avg_pool2d(pixels.float()[None, None], factor)[0, 0].flip(0).cpu()
    low, high = torch.quantile(small.flatten()[:: max(1, small.numel() // 100_000)], torch.tensor([0.005, 0.995])).tolist()
    grey = ((small - low) / max(high - low, 1e-30) * 255).clamp(0, 255).to(torch.uint8)
    with atomic_path(path) as temporary:
        temporary.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(grey.numpy())))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _with_ice(micrographs: MicrographSet, results: Sequence[Path]) -> MicrographSet:
    """The table with a column of the ice rings, where any was measured; 0 where it was not."""
    values = [json.loads(path.read_text(encoding="utf-8"))["ice"] for path in results]
    if all(value is None for value in values):
        return micrographs
    return replace(micrographs, extra={**micrographs.extra, ICE: number_texts([value or 0.0 for value in values], digits=4)})


def _seen_from(job: Job, paths: Sequence[Path | None], names: Sequence[str]) -> tuple[str, ...]:
    """The names of the micrographs, those that would not be found from the new table written anew."""
    star = job.path(SELECTED)

    def name_of(name: str, path: Path | None) -> str:
        if path is None:
            return name
        found = find_stack(name, star)
        return name if found is not None and found.samefile(path) else stack_reference(path, star=star)

    return tuple(name_of(name, path) for name, path in zip(names, paths, strict=True))


def _write(job: Job, found: Curated) -> None:
    """Write the tables; one that would be empty is not there."""
    kept = [row for row, reason in enumerate(found.reasons) if not reason]
    rejected = [row for row, reason in enumerate(found.reasons) if reason]
    for name, rows in ((SELECTED, kept), (REJECTED, rejected)):
        path = job.path(name)
        path.unlink(missing_ok=True)  # of an earlier run that saw fewer micrographs
        if rows:
            chosen = found.micrographs[rows]
            reasons = {REASON: tuple(found.reasons[row] for row in rows)} if name == REJECTED else {}
            write_micrographs(replace(chosen, extra={**chosen.extra, **reasons}), path)
    table: list[list[object]] = [["micrograph", *found.figures, "kept", "reason"]]
    columns = [[f"{value:.6g}" if math.isfinite(value) else "" for value in values.tolist()] for values in found.figures.values()]
    for row, name in enumerate(found.micrographs.names):
        table.append([name, *(column[row] for column in columns), int(not found.reasons[row]), found.reasons[row]])
    atomic_write_text(job.path(FIGURES), csv_text(table))
