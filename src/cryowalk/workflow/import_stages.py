"""Import of movies, micrographs and particles into a project: headers looked at, optics groups found, one RELION 3.1 table; no image is copied."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from cryowalk.core.errors import InputError, UsageError
from cryowalk.data.micrographs import MicrographSet
from cryowalk.data.optics import Optics
from cryowalk.data.particles import ParticleSet
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.gain import read_gain, relion_meaning
from cryowalk.io.kinds import STAR_ENDINGS
from cryowalk.io.micrographs import write_micrographs
from cryowalk.io.movies import open_movie
from cryowalk.io.mrc import MrcStackReader
from cryowalk.io.opening import read_text
from cryowalk.io.relion import read_particles, write_particles
from cryowalk.io.stacks import image_names, lies_here, stack_reference
from cryowalk.io.star_numbers import exact_texts
from cryowalk.workflow.batch import Failure, stems
from cryowalk.workflow.import_settings import ImportSettings
from cryowalk.workflow.job import Job
from cryowalk.workflow.optics_groups import Acquisition, parts_of, split_optics

Kind = Literal["movies", "micrographs", "particles"]
TABLES: dict[Kind, str] = {"movies": "movies.star", "micrographs": "micrographs.star", "particles": "particles.star"}
FACTS_NAME = "acquisition.json"
LINKS = "links"
TOLERANCE = 0.01  # of pixel sizes told and in headers
_LISTS = {".txt", ".lst", ".list"}
_NO_PIXEL_SIZE = (None, 0.0, 1.0)  # what headers hold whose writer did not know it


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What a file's header tells: frames or images, height and width (pixels), and the pixel size (Å) where it tells one."""

    path: Path
    count: int
    shape: tuple[int, int]
    pixel_size: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Companions:
    """What belongs to the movies: gain reference, list of defects, transfer curve, and where files that tell shifts lie."""

    gain: Path | None = None
    defects: Path | None = None
    mtf: Path | None = None
    metadata: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What was imported: its kind, the table, what the acquisition tells, and the files that could not be used."""

    kind: Kind
    table: MicrographSet | ParticleSet
    acquisition: Acquisition
    failures: tuple[Failure, ...]


def files_named(given: Sequence[Path]) -> tuple[Path, ...]:
    """The files given, those of a list (a text file with a name on each line, .txt or .lst) in its place.

    Raises
    ------
    InputError
        If a list is empty, or a file is named twice.
    """
    found: list[Path] = []
    for path in given:
        if path.suffix.lower() not in _LISTS:
            found.append(path)
            continue
        names = [line.strip() for line in read_text(path).splitlines() if line.strip() and not line.lstrip().startswith("#")]
        if not names:
            raise InputError("the list names no files", file=path, expected="one name on each line")
        found += [Path(name) if Path(name).exists() else path.parent / name for name in names]
    stems([path.as_posix() for path in found])  # a file named twice is told
    return tuple(found)


def import_files(job: Job, given: Sequence[Path], settings: ImportSettings, companions: Companions) -> Imported:
    """What was imported; movies.star, micrographs.star or particles.star is written, and acquisition.json with shifts and groups.

    Files that cannot be read, or whose size differs from most others', are left out and told.

    Raises
    ------
    InputError
        If no file is usable, pixel sizes disagree, or shifts that are asked for are not told.
    """
    paths = files_named(given)
    if any(path.suffix.lower() in STAR_ENDINGS for path in paths):
        return _import_table(job, paths, settings, companions)
    looked, failures = _look(job, paths)
    kind = _kind(looked, settings)
    if kind == "particles":
        looked, failures = _square(looked, failures)
    pixel_size = _pixel_size(looked, settings.pixel_size)
    _check_companions(companions, looked)
    optics = Optics(
        pixel_size=pixel_size,
        voltage_kv=settings.voltage_kv,
        spherical_aberration_mm=settings.spherical_aberration_mm,
        amplitude_contrast=settings.amplitude_contrast,
        name=settings.group_name,
        extra=_optics_extra(companions, kind, looked),
    )
    star = job.path(TABLES[kind])
    names = _names(job, [one.path for one in looked], star=star, link=settings.link)
    acquisition = parts_of([one.path.name for one in looked], groups=settings.groups, folders=_folders(companions, looked))
    if kind == "particles":
        return _import_stacks(job, looked, optics, (acquisition, failures))
    table = MicrographSet(
        optics=(optics,),
        optics_index=torch.zeros(len(looked), dtype=torch.int64),
        extra=_row_extra(companions, settings, len(looked)) if kind == "movies" else {},
        **({"movie_names": names} if kind == "movies" else {"names": names}),  # type: ignore[arg-type]
    )
    table = split_optics(table, acquisition)
    write_micrographs(table, star)
    _write_facts(job, names, acquisition, [table.optics[index].name for index in table.optics_index.tolist()])
    return Imported(kind=kind, table=table, acquisition=acquisition, failures=failures)


def _look(job: Job, paths: Sequence[Path]) -> tuple[list[Looked], tuple[Failure, ...]]:
    """What the headers tell, and the files left out: unreadable ones, and those whose size is not that of most."""
    looked: list[Looked] = []
    failures: list[Failure] = []
    job.progress.start("looking at headers", len(paths))
    for path in paths:
        try:
            movie = open_movie(path)
            looked.append(Looked(path=path, count=movie.count, shape=movie.image_shape, pixel_size=movie.pixel_size))
        except InputError as error:
            failures.append(Failure(name=path.as_posix(), reason=str(error)))
        job.progress.advance()
    job.progress.finish()
    shapes = Counter(one.shape for one in looked)
    usual = shapes.most_common(1)[0][0] if shapes else (0, 0)
    for one in looked:
        if one.shape != usual:
            reason = f"{one.path}: {one.shape[1]} × {one.shape[0]} px (x × y), most others {usual[1]} × {usual[0]}"
            failures.append(Failure(name=one.path.as_posix(), reason=reason))
    kept = [one for one in looked if one.shape == usual]
    for failure in failures:
        job.progress.note(f"left out: {failure.reason}")
    if not kept:
        raise InputError(f"none of {len(paths)} files can be used: {failures[0].reason}")
    counts = Counter(one.count for one in kept)
    if len(counts) > 1:
        told = ", ".join(f"{number} files of {count} frames" for count, number in counts.most_common())
        job.progress.note(f"the files differ in their frames: {told}")
    return kept, tuple(failures)


def _kind(looked: Sequence[Looked], settings: ImportSettings) -> Kind:
    """What the files are."""
    if settings.kind != "auto":
        return settings.kind
    if all(one.count == 1 for one in looked):
        return "micrographs"
    is_square = looked[0].shape[0] == looked[0].shape[1]
    are_stacks = all(one.path.suffix.lower() == ".mrcs" for one in looked)
    return "particles" if is_square and are_stacks and looked[0].shape[0] <= 1024 else "movies"


def _square(looked: list[Looked], failures: tuple[Failure, ...]) -> tuple[list[Looked], tuple[Failure, ...]]:
    height, width = looked[0].shape
    if height != width:
        raise InputError(f"particle images must be square: these are {width} × {height} (x × y)", file=looked[0].path)
    return looked, failures


def _pixel_size(looked: Sequence[Looked], told: float | None) -> float:
    """The pixel size told, or that of the headers where they agree, Å."""
    known = {round(one.pixel_size, 4): one.path for one in looked if one.pixel_size not in _NO_PIXEL_SIZE and one.pixel_size}
    if told is None:
        if not known:
            raise UsageError("the headers tell no pixel size", file=looked[0].path, fix="state --pixel-size (Å)")
        told = min(known)
    wrong = next((size for size in known if abs(size / told - 1) > TOLERANCE), None)
    if wrong is not None:
        raise InputError(
            f"the header says {wrong:g} Å a pixel",
            file=known[wrong],
            expected=f"{told:g} Å, as --pixel-size or the other headers say",
            cause="binned or super-resolution movies, files of another session, or a header that was never set",
            fix="import sessions apart; where a header is wrong, mend it: cryowalk convert --i IN --o OUT --pixel-size …",
        )
    return told


def _check_companions(companions: Companions, looked: Sequence[Looked]) -> None:
    """Nothing, if the gain reference fits the movies."""
    if companions.gain is not None:
        first = looked[0]
        read_gain(companions.gain, image_shape=first.shape, stored_as=relion_meaning(companions.gain, movie=first.path))


def _optics_extra(companions: Companions, kind: Kind, looked: Sequence[Looked]) -> dict[str, str]:
    extra = {} if companions.mtf is None else {"rlnMtfFileName": companions.mtf.as_posix()}
    return {**extra, "rlnImageSize": str(looked[0].shape[0]), "rlnImageDimensionality": "2"} if kind == "particles" else extra


def _row_extra(companions: Companions, settings: ImportSettings, rows: int) -> dict[str, tuple[str, ...]]:
    """Columns of what belongs to each movie, under RELION's names."""
    values = {
        "rlnMicrographGainName": None if companions.gain is None else companions.gain.as_posix(),
        "rlnMicrographDefectFile": None if companions.defects is None else companions.defects.as_posix(),
        "rlnMicrographDoseRate": None if settings.dose_per_frame is None else exact_texts([settings.dose_per_frame])[0],
    }
    return {label: (value,) * rows for label, value in values.items() if value is not None}


def _folders(companions: Companions, looked: Sequence[Looked]) -> tuple[Path, ...]:
    """Where files that tell shifts are looked for: the folders named, or those of the movies, beyond symbolic links."""
    if companions.metadata:
        return companions.metadata
    return tuple(dict.fromkeys(folder for one in looked for folder in (one.path.parent, one.path.resolve().parent)))


def _names(job: Job, paths: Sequence[Path], *, star: Path, link: bool) -> tuple[str, ...]:
    """How the table names the files; where links are wanted, those in the job's directory."""
    if not link:
        if not all(lies_here(path) for path in paths):
            job.progress.note("some files lie outside this directory; RELION wants links in it: --link makes them")
        return tuple(stack_reference(path, star=star) for path in paths)
    names: list[str] = []
    for path, stem in zip(paths, stems([path.as_posix() for path in paths]), strict=True):
        place = job.path(f"{LINKS}/{stem}{path.suffix}")
        if not place.is_symlink():
            place.symlink_to(os.path.relpath(path.resolve(), place.parent.resolve()))
        names.append(stack_reference(place, star=star))
    return tuple(names)


def _import_stacks(
    job: Job, looked: Sequence[Looked], optics: Optics, found: tuple[Acquisition, tuple[Failure, ...]]
) -> Imported:
    """Particles of whole stacks, one after the other."""
    acquisition, failures = found
    star = job.path(TABLES["particles"])
    names = tuple(name for one in looked for name in image_names(one.path, one.count, star=star))
    counts = torch.tensor([one.count for one in looked])
    particles = ParticleSet(
        optics=(optics,),
        optics_index=torch.zeros(len(names), dtype=torch.int64),
        images=None if len(looked) > 1 else MrcStackReader(looked[0].path),
        image_names=names,
    )
    parted = replace(acquisition, part=acquisition.part.repeat_interleave(counts))
    particles = split_optics(particles, parted)
    write_particles(particles, star)
    firsts = (counts.cumsum(0) - counts).tolist()
    groups = [particles.optics[int(particles.optics_index[first])].name for first in firsts]
    _write_facts(job, [one.path.as_posix() for one in looked], acquisition, groups)
    return Imported(kind="particles", table=particles, acquisition=acquisition, failures=failures)


def _import_table(job: Job, paths: Sequence[Path], settings: ImportSettings, companions: Companions) -> Imported:
    """Particles of one STAR file of any RELION version, their images found and checked."""
    if len(paths) > 1:
        raise InputError("a STAR file is taken alone", file=paths[0], fix="give one STAR file, or join them: cryowalk merge")
    if settings.kind not in ("auto", "particles"):
        raise UsageError(
            "a STAR file is imported as particles",
            file=paths[0],
            fix="tables of movies and micrographs are taken as they are by motion and ctf",
        )
    particles = read_particles(paths[0], pixel_size=settings.pixel_size)
    names = particles.micrograph_names or tuple(name.rpartition("@")[2] for name in particles.image_names)
    groups = "one" if settings.groups == "auto" and not companions.metadata and len(particles.optics) > 1 else settings.groups
    acquisition = acquisition_of_rows(names, groups=groups, folders=companions.metadata)
    particles = split_optics(particles, acquisition)
    write_particles(particles, job.path(TABLES["particles"]))
    _write_facts(job, names, acquisition, [particles.optics[index].name for index in particles.optics_index.tolist()])
    return Imported(kind="particles", table=particles, acquisition=acquisition, failures=())


def acquisition_of_rows(names: Sequence[str], *, groups: str, folders: Sequence[Path]) -> Acquisition:
    """The part of the acquisition of each row of a table by its micrograph's name; each micrograph counts once when shifts are grouped.

    Raises
    ------
    InputError
        As `parts_of`.
    """
    different = list(dict.fromkeys(names))
    place = {name: number for number, name in enumerate(different)}
    found = parts_of(different, groups=groups, folders=folders)
    rows = torch.tensor([place[name] for name in names], dtype=torch.int64)
    return replace(found, part=found.part[rows], shifts=None if found.shifts is None else found.shifts[rows])


def _write_facts(job: Job, names: Sequence[str], acquisition: Acquisition, groups: Sequence[str]) -> None:
    """Write the shift and the group of each exposure, for the report."""
    shifts = [None] * len(names) if acquisition.shifts is None else acquisition.shifts.tolist()
    rows = {name: [shift, group] for name, shift, group in zip(names, shifts, groups, strict=True)}
    facts = {"words": acquisition.words, "unit": acquisition.unit, "exposures": rows}
    atomic_write_text(job.path(FACTS_NAME), json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
