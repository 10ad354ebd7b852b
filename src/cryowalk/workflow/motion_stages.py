"""Motion correction of many movies, with files at both ends: aligned sums, each movie's motion, and RELION's table of micrographs."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from cryowalk.core.errors import InputError, naming, printable
from cryowalk.data.micrographs import MicrographSet
from cryowalk.data.optics import Optics
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.eer import EerMovieReader
from cryowalk.io.gain import read_gain, relion_meaning
from cryowalk.io.kinds import STAR_ENDINGS
from cryowalk.io.micrographs import read_micrographs, write_micrographs
from cryowalk.io.motion import MovieMotion, write_motion
from cryowalk.io.movies import open_movie
from cryowalk.io.mrc import write_array
from cryowalk.io.stacks import find_stack, stack_reference
from cryowalk.io.star_numbers import number_texts
from cryowalk.motion.correction import CorrectedSums, correct_motion, dose_for_weighting
from cryowalk.motion.estimate import MotionEstimate, estimate_motion
from cryowalk.motion.frames import CorrectedFrames, HeldFrames, find_flaws
from cryowalk.motion.settings import AlignmentSettings
from cryowalk.workflow.batch import Failure, stems, work_through
from cryowalk.workflow.job import Job

TABLE_NAME = "corrected_micrographs.star"
MICROGRAPHS = "micrographs"
_ACCUMULATED = {
    "rlnAccumMotionTotal": "total",
    "rlnAccumMotionEarly": "early",
    "rlnAccumMotionLate": "late",
    "cwMotionPrecision": "precision",
    "cwMotionContrast": "contrast",
    "cwMotionContrastBefore": "contrast_before",
}
_ENDINGS = {"unweighted": "_noDW", "odd": "_ODD", "even": "_EVN"}  # as RELION names them
_COLUMNS = {"unweighted": "rlnMicrographNameNoDW", "odd": "rlnMicrographNameOdd", "even": "rlnMicrographNameEven"}
_GAIN, _DOSE = "rlnMicrographGainName", "rlnMicrographDoseRate"  # as import writes them
_MOST_RAW_FRAMES = 200  # of an EER movie that may be aligned one by one
Sum = Literal["unweighted", "odd", "even"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MovieInputs:
    """The movies, where each one lies, the gain reference, how raw frames of EER movies are joined, which sums are written too, and the device."""

    movies: MicrographSet
    paths: tuple[Path | None, ...]
    gain: Path | None = None
    raw_frames_per_frame: int | None = None
    sums: tuple[Sum, ...] = ()
    device: torch.device | str = "cpu"


def movie_inputs(files: Sequence[Path], optics: Optics | None) -> MovieInputs:
    """The movies of one STAR file, or movie files that share the optics given.

    Raises
    ------
    InputError
        If a STAR file stands among several files, or movie files come without optics.
    """
    if len(files) == 1 and files[0].suffix.lower() in STAR_ENDINGS:
        movies = read_micrographs(files[0])
        if not movies.movie_names:
            raise InputError("the table names no movies", file=files[0], expected="a column rlnMicrographMovieName")
        paths: tuple[Path | None, ...] = tuple(find_stack(name, files[0]) for name in movies.movie_names)
    else:
        star = next((path for path in files if path.suffix.lower() in STAR_ENDINGS), None)
        if star is not None:
            raise InputError("a STAR file is taken alone", file=star, fix="give one STAR file, or movies only")
        if optics is None:
            raise InputError("the pixel size of the movies is not known", file=files[0], fix="state --pixel-size (Å)")
        movies = MicrographSet(
            optics=(optics,),
            optics_index=torch.zeros(len(files), dtype=torch.int64),
            movie_names=tuple(path.as_posix() for path in files),
        )
        paths = tuple(files)
    return MovieInputs(movies=movies, paths=paths, gain=_gain_of(movies, files[0]))


def _gain_of(movies: MicrographSet, star: Path) -> Path | None:
    """The gain reference that the table names for all movies, or None where it names none.

    Raises
    ------
    InputError
        If it names several, or one that is not there.
    """
    names = set(movies.extra.get(_GAIN, ()))
    if not names:
        return None
    if len(names) > 1:
        raise InputError(
            f"the movies have {len(names)} gain references", file=star, fix="correct the sessions one after the other"
        )
    name = names.pop()
    found = find_stack(name, star)
    if found is None:
        raise InputError(
            "there is no such gain reference", file=name, expected=f"the file that {star} names in {_GAIN}", fix="give --gainref"
        )
    return found


def correct_motion_files(job: Job, inputs: MovieInputs, settings: AlignmentSettings) -> tuple[MicrographSet, tuple[Failure, ...]]:
    """The micrographs that were made, and the movies that could not be used; corrected_micrographs.star holds the former.

    Each micrograph is weighted by dose where the dose of a frame is known; its motion lies beside it in a STAR file, and so do the further sums that
    were asked for. A movie whose results are there is not done again.
    """
    names = inputs.movies.movie_names
    short = stems(names)
    facts = [job.path(f"{MICROGRAPHS}/{stem}.json") for stem in short]
    settings = _with_dose(inputs.movies, settings)
    dose_for_weighting(settings)

    def work(index: int) -> None:
        path = inputs.paths[index]
        if path is None:
            raise InputError("there is no such movie", file=names[index], cause="it was moved, or the project was")
        optics = inputs.movies.optics_of(index)
        own = _own_settings(inputs.movies, index, settings)
        with naming(path):
            frames = _frames(path, inputs)
            estimate = estimate_motion(frames, own, pixel_size=optics.pixel_size)
            sums = correct_motion(
                frames,
                estimate.motion,
                own,
                pixel_size=optics.pixel_size,
                voltage_kv=optics.voltage_kv,
                left_out=estimate.left_out,
            )
        base = job.path(f"{MICROGRAPHS}/{short[index]}.mrc")
        _write_sums(base, sums, inputs.sums, pixel_size=optics.pixel_size)
        write_motion(_movie_motion(estimate, names[index], optics, own, size=sums.halves[0].shape), _beside(base, "_motion.star"))
        for doubt in estimate.doubts:
            job.progress.note(f"{names[index]}: {doubt}")
        atomic_write_text(facts[index], json.dumps(_facts(estimate), indent=1) + "\n")

    failures = work_through(job, names, work, what="correcting motion", is_done=lambda index: facts[index].is_file())
    failed = {failure.name for failure in failures}
    kept = [index for index, name in enumerate(names) if name not in failed]
    if not kept:
        return inputs.movies[:0], failures
    table = job.path(TABLE_NAME)
    found = _table(inputs.movies[kept], [short[index] for index in kept], job, sums=_written(inputs, settings))
    write_micrographs(found, table)
    return found, failures


def _own_settings(movies: MicrographSet, index: int, settings: AlignmentSettings) -> AlignmentSettings:
    """The settings with the dose that the table gives this movie before its first frame."""
    if movies.dose_before is None or settings.dose_before:
        return settings
    return replace(settings, dose_before=float(movies.dose_before[index]))


def _with_dose(movies: MicrographSet, settings: AlignmentSettings) -> AlignmentSettings:
    """The settings with the dose of a frame that the table gives the movies, unless one was stated.

    Raises
    ------
    InputError
        If the table gives several, or no number.
    """
    texts = sorted(set(movies.extra.get(_DOSE, ())))
    if settings.dose_per_frame is not None or not texts:
        return settings
    try:
        dose = float(texts[0])
    except ValueError:
        dose = 0.0
    if len(texts) > 1 or not 0 < dose < math.inf:
        raise InputError(
            f"{_DOSE} is {', '.join(f'“{printable(text)}”' for text in texts[:3])}",
            expected="one dose for all movies, e⁻/Å² a frame",
            fix="state --dose-per-frame, or correct sessions of different doses one after the other",
        )
    return replace(settings, dose_per_frame=dose)


def _frames(path: Path, inputs: MovieInputs) -> CorrectedFrames:
    """The movie's frames, unpacked once, with gain and flaws corrected."""
    movie = open_movie(path, raw_frames_per_frame=inputs.raw_frames_per_frame)
    if isinstance(movie, EerMovieReader) and movie.raw_frames_per_frame == 1 and movie.count > _MOST_RAW_FRAMES:
        raise InputError(
            f"the movie has {movie.count} raw frames, each with too few electrons to be aligned",
            file=path,
            fix="state how many make a frame: --eer-grouping",
        )
    gain = None
    if inputs.gain is not None:
        gain = read_gain(inputs.gain, image_shape=movie.image_shape, stored_as=relion_meaning(inputs.gain, movie=path))
        gain = gain.to(inputs.device)
    frames = CorrectedFrames(source=HeldFrames(movie, device=inputs.device), gain=gain)
    total: Tensor | None = None
    for index in range(frames.count):
        frame = frames.read([index])[0]
        total = frame if total is None else total.add_(frame)
    if total is None:
        return frames
    flaws = find_flaws(total)
    return replace(frames, flaws=flaws if gain is None else flaws | (gain == 0))


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.stem + ending)


def _write_sums(path: Path, sums: CorrectedSums, further: Sequence[Sum], *, pixel_size: float) -> None:
    """Write the micrograph and the further sums that are asked for."""
    pixels = {"unweighted": lambda: sums.plain, "odd": lambda: sums.odd, "even": lambda: sums.even}
    for name in further:
        if name != "unweighted" or sums.weighted is not None:
            write_array(pixels[name](), _beside(path, f"{_ENDINGS[name]}.mrc"), voxel_size=pixel_size, kind="images")
    write_array(sums.plain if sums.weighted is None else sums.weighted, path, voxel_size=pixel_size, kind="images")


def _written(inputs: MovieInputs, settings: AlignmentSettings) -> tuple[Sum, ...]:
    """The further sums that are written: an unweighted one only where the micrograph is weighted."""
    is_weighted = dose_for_weighting(settings) is not None
    return tuple(name for name in inputs.sums if name != "unweighted" or is_weighted)


def _movie_motion(
    estimate: MotionEstimate, name: str, optics: Optics, settings: AlignmentSettings, *, size: Sequence[int]
) -> MovieMotion:
    return MovieMotion(
        motion=estimate.motion,
        movie_name=name,
        pixel_size=optics.pixel_size,
        image_size=(size[1], size[0]),
        dose_per_frame=settings.dose_per_frame,
        dose_before=settings.dose_before,
        voltage_kv=optics.voltage_kv,
        extra={"cwFramesLeftOut": _numbers(estimate)} if estimate.left_out else {},
    )


def _numbers(estimate: MotionEstimate) -> str:
    """The frames that are left out, counted from 1."""
    return ",".join(str(index + 1) for index in estimate.left_out)


def _facts(estimate: MotionEstimate) -> dict[str, object]:
    return {
        "total": estimate.total,
        "early": estimate.early,
        "late": estimate.late,
        "precision": float(estimate.precision.median()),
        "contrast": estimate.contrast,
        "contrast_before": estimate.contrast_before,
        "doubts": list(estimate.doubts),
        "left_out": len(estimate.left_out),
    }


def _table(movies: MicrographSet, stems_: Sequence[str], job: Job, *, sums: Sequence[Sum]) -> MicrographSet:
    facts = [json.loads(job.path(f"{MICROGRAPHS}/{stem}.json").read_text(encoding="utf-8")) for stem in stems_]
    star, extra = job.path(TABLE_NAME), dict(movies.extra)

    def named(ending: str) -> tuple[str, ...]:
        return tuple(stack_reference(job.path(f"{MICROGRAPHS}/{stem}{ending}"), star=star) for stem in stems_)

    for name in sums:
        extra[_COLUMNS[name]] = named(f"{_ENDINGS[name]}.mrc")
    for label, fact in _ACCUMULATED.items():
        extra[label] = number_texts(torch.tensor([float(one[fact]) for one in facts], dtype=torch.float64))
    extra["cwFramesLeftOut"] = tuple(str(one["left_out"]) for one in facts)
    return replace(movies, names=named(".mrc"), metadata_names=named("_motion.star"), extra=extra)
