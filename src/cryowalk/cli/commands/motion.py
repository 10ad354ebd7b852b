"""`cryowalk motion`: movies to micrographs."""

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.cli.optics_options import optics_given
from cryowalk.core.lazy import loaded_meanwhile
from cryowalk.motion.settings import AlignmentSettings
from cryowalk.workflow.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionFiles:
    """The movies, the gain reference, their optics where no STAR file tells them, and where the results go."""

    movies: Annotated[tuple[Path, ...], "a STAR file of movies, or movies (MRC, TIFF, EER)", "--i"]
    output: Annotated[Path, "directory of the micrographs"]
    gain: Annotated[Path | None, "gain reference of the camera", "--gainref"] = None
    pixel_size: Annotated[float | None, "pixel size of movie files, Å"] = None
    voltage_kv: Annotated[float, "acceleration voltage of movie files, kV", "--voltage", "--kv"] = 300.0
    spherical_aberration_mm: Annotated[float, "spherical aberration of movie files, mm", "--cs", ("min", 0), ("max", 100)] = 2.7
    amplitude_contrast: Annotated[float, "amplitude contrast of movie files", "--q0"] = 0.1
    eer_grouping: Annotated[int | None, "raw frames of an EER movie that are summed to a frame", ("min", 1)] = None
    unweighted: Annotated[Literal["yes", "no"], "whether plain sums are written beside those weighted by dose"] = "no"
    halves: Annotated[Literal["yes", "no"], "whether sums of odd and even frames are written too, for denoisers"] = "no"


def run(files: MotionFiles, settings: AlignmentSettings, context: Context) -> None:
    """Nothing; the micrographs, their motion and corrected_micrographs.star are in the output directory."""
    # Read by torch at its first large array: with huge pages a movie's arrays cost a third of the system time (where the kernel offers them).
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    from cryowalk.workflow.batch import raise_failures
    from cryowalk.workflow.motion_stages import Sum, correct_motion_files, movie_inputs

    optics = optics_given(files)
    sums: list[Sum] = ["unweighted"] if files.unweighted == "yes" else []
    sums += ["odd", "even"] if files.halves == "yes" else []
    found_movies = movie_inputs(files.movies, optics)
    inputs = replace(
        found_movies,
        gain=files.gain or found_movies.gain,
        raw_frames_per_frame=files.eer_grouping,
        sums=tuple(sums),
        device=context.torch_device,
    )
    with context.job(_by_name(files), settings) as job:
        with loaded_meanwhile("cryowalk.view.micrographs"):
            found, failures = correct_motion_files(job, inputs, settings)
        if len(found):
            from cryowalk.cli.motion_reports import write_motion_report

            write_motion_report(job.directory, job.manifest)
            totals = [float(text) for text in found.extra["rlnAccumMotionTotal"]]
            context.say(
                f"{files.output / 'corrected_micrographs.star'}: {len(found)} micrographs; motion {min(totals):.1f} to {max(totals):.1f} Å"
            )
        raise_failures(failures, total=len(inputs.paths), output=files.output)


@dataclass(frozen=True, slots=True, kw_only=True)
class _NamedMovies(MotionFiles):
    """The same, as a job keeps them: movies by their names, not their contents, so that one that was mended is taken up by the same job."""

    movies: tuple[str, ...]  # type: ignore[assignment]


def _by_name(files: MotionFiles) -> MotionFiles:
    if any(path.suffix.lower() == ".star" for path in files.movies):
        return files
    values = {each.name: getattr(files, each.name) for each in fields(files)}
    return _NamedMovies(**{**values, "movies": tuple(path.as_posix() for path in files.movies)})


def draw_again(directory: Path, manifest: Manifest) -> Path:
    """The path of the report of a finished job, drawn again."""
    from cryowalk.cli.motion_reports import write_motion_report

    return write_motion_report(directory, manifest)


COMMAND = Command(
    name="motion",
    summary="Align and sum the frames of movies.",
    run=run,
    files=MotionFiles,
    settings=AlignmentSettings,
    details="Writes corrected_micrographs.star, and in micrographs/ for each movie its sum (.mrc) and its motion (_motion.star).",
    report=draw_again,
)
