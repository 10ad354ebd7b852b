"""The small formats of other programs in one list: how each is called, read and written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryowalk.core.errors import InputError
from cryowalk.data.coordinates import Coordinates
from cryowalk.io.aretomo import ALN_ENDINGS, AreTomoAlignment, read_aretomo, write_aretomo
from cryowalk.io.coordinate_tables import (
    CoordinateFiles,
    CoordinateTable,
    is_of_many,
    read_coordinate_files,
    read_coordinate_table,
    write_coordinate_files,
    write_coordinate_table,
)
from cryowalk.io.coordinates import PLAIN_ENDINGS, TABLE_ENDINGS, read_coordinates, read_table, write_coordinates
from cryowalk.io.ctf_tables import (
    CtfProfiles,
    CtfTable,
    read_ctffind,
    read_ctffind_profiles,
    write_ctffind,
    write_ctffind_profiles,
)
from cryowalk.io.dynamo import TABLE_ENDINGS as DYNAMO_ENDINGS
from cryowalk.io.dynamo import DynamoTable, read_dynamo, write_dynamo
from cryowalk.io.em import EM_ENDINGS, EmArray, MotiveList, read_em, write_em
from cryowalk.io.fsc_xml import FscCurve, read_fsc_curve, write_fsc_curve
from cryowalk.io.gctf import read_gctf_log, read_gctf_profile, write_gctf_log, write_gctf_profile
from cryowalk.io.imod import (
    ANGLE_ENDINGS,
    TRANSFORM_ENDINGS,
    AngleList,
    Transforms,
    read_angle_list,
    read_transforms,
    write_angle_list,
    write_transforms,
)
from cryowalk.io.imod_com import COM_ENDINGS, ComFile, read_com, write_com
from cryowalk.io.imod_logs import AlignmentLog, read_alignment_log, write_alignment_log
from cryowalk.io.multibody import (
    Bodies,
    BodyModes,
    BodyProjections,
    read_bodies,
    read_body_modes,
    read_body_projections,
    write_bodies,
    write_body_modes,
    write_body_projections,
)
from cryowalk.io.opening import open_content, read_up_to
from cryowalk.io.relion_pipeline import RelionJob, RelionPipeline, read_job, read_pipeline, write_job
from cryowalk.io.tem_coordinates import TemCoordinates, read_tem_coordinates, write_tem_coordinates
from cryowalk.io.text_kinds import TextKind, text_kind_of
from cryowalk.io.tomogram_particles import (
    OptimisationSet,
    TomogramParticles,
    read_optimisation_set,
    read_tomogram_particles,
    write_optimisation_set,
    write_tomogram_particles,
)
from cryowalk.io.tomograms import Tomogram, Trajectories, read_tomograms, read_trajectories, write_trajectories
from cryowalk.io.warp import WARP_ENDINGS, WarpSeries, read_warp, write_warp

START = 65536  # bytes looked at
TextThing = (
    Coordinates
    | CoordinateTable
    | CoordinateFiles
    | CtfTable
    | CtfProfiles
    | Transforms
    | AngleList
    | ComFile
    | AlignmentLog
    | AreTomoAlignment
    | WarpSeries
    | DynamoTable
    | EmArray
    | MotiveList
    | FscCurve
    | BodyModes
    | BodyProjections
    | Bodies
    | RelionPipeline
    | RelionJob
    | TemCoordinates
    | TomogramParticles
    | tuple[Tomogram, ...]
    | OptimisationSet
    | Trajectories
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFormat:
    """A format: what a person calls it, and the function from a path to the thing in it, which raises nothing but our errors."""

    words: str
    read: Callable[[Path], Any]


def _read_picks(path: Path) -> Coordinates | CoordinateTable:
    """The positions of one micrograph, or of each that a table names."""
    is_table = path.suffix.lower() in (*TABLE_ENDINGS, ".txt")
    return read_coordinate_table(path) if is_table and is_of_many(read_table(path)) else read_coordinates(path)


TEXT_FORMATS: dict[TextKind, TextFormat] = {
    "coordinates": TextFormat(words="picks", read=_read_picks),
    "ctffind": TextFormat(words="CTFs (CTFFIND)", read=read_ctffind),
    "ctffind profiles": TextFormat(words="radial profiles (CTFFIND)", read=read_ctffind_profiles),
    "gctf log": TextFormat(words="CTF (log of Gctf)", read=read_gctf_log),
    "gctf profile": TextFormat(words="radial profile (Gctf)", read=read_gctf_profile),
    "transforms": TextFormat(words="transforms of images (IMOD)", read=read_transforms),
    "angles": TextFormat(words="tilt angles (IMOD)", read=read_angle_list),
    "com": TextFormat(words="commands (IMOD)", read=read_com),
    "alignment log": TextFormat(words="alignment of a tilt series (log of IMOD)", read=read_alignment_log),
    "aretomo": TextFormat(words="alignment of a tilt series (AreTomo)", read=read_aretomo),
    "warp": TextFormat(words="series of images (Warp XML)", read=read_warp),
    "dynamo": TextFormat(words="particles of tomograms (Dynamo)", read=read_dynamo),
    "em": TextFormat(words="map or motive list (EM)", read=read_em),
    "fsc xml": TextFormat(words="Fourier shell correlation (EMDB XML)", read=read_fsc_curve),
    "body modes": TextFormat(words="modes of bodies (RELION)", read=read_body_modes),
    "body projections": TextFormat(words="particles along modes of bodies (RELION)", read=read_body_projections),
    "tem coordinates": TextFormat(words="coordinates of TEM-simulator", read=read_tem_coordinates),
}
STAR_FORMATS: dict[str, TextFormat] = {
    "bodies": TextFormat(words="bodies (RELION STAR)", read=read_bodies),
    "pipeline": TextFormat(words="RELION pipeline (STAR)", read=read_pipeline),
    "job": TextFormat(words="RELION job options (STAR)", read=read_job),
    "coordinate files": TextFormat(words="list of picks (RELION STAR)", read=read_coordinate_files),
    "coordinate table": TextFormat(words="picks (RELION STAR)", read=read_coordinate_table),
    "tomograms": TextFormat(words="tomograms (RELION STAR)", read=read_tomograms),
    "tomogram particles": TextFormat(words="particles of tomograms (RELION STAR)", read=read_tomogram_particles),
    "optimisation set": TextFormat(words="optimisation set (RELION STAR)", read=read_optimisation_set),
    "trajectories": TextFormat(words="motion of particles of tomograms (RELION STAR)", read=read_trajectories),
}
STAR = {".star"}
TEXT_WRITERS: tuple[tuple[type, set[str], Callable[..., None]], ...] = (
    (Coordinates, {*STAR, *TABLE_ENDINGS, *PLAIN_ENDINGS, ".box", ".cbox"}, write_coordinates),
    (CoordinateTable, {*STAR, *TABLE_ENDINGS, ".txt"}, write_coordinate_table),
    (CoordinateFiles, STAR, write_coordinate_files),
    (CtfTable, {".txt", ".log"}, lambda table, path: (write_gctf_log if _is_log(path) else write_ctffind)(table, path)),
    (
        CtfProfiles,
        {".txt", ".log"},
        lambda profiles, path: (write_gctf_profile if _is_log(path) else write_ctffind_profiles)(profiles, path),
    ),
    (Transforms, TRANSFORM_ENDINGS, write_transforms),
    (AngleList, ANGLE_ENDINGS, write_angle_list),
    (ComFile, COM_ENDINGS, write_com),
    (AlignmentLog, {".log"}, write_alignment_log),
    (AreTomoAlignment, ALN_ENDINGS, write_aretomo),
    (WarpSeries, WARP_ENDINGS, write_warp),
    (DynamoTable, DYNAMO_ENDINGS, write_dynamo),
    (EmArray, EM_ENDINGS, write_em),
    (MotiveList, EM_ENDINGS, write_em),
    (FscCurve, {".xml"}, write_fsc_curve),
    (BodyModes, {".dat"}, write_body_modes),
    (BodyProjections, {".dat", ".txt"}, write_body_projections),
    (Bodies, STAR, write_bodies),
    (RelionJob, STAR, write_job),
    (TemCoordinates, {".txt"}, write_tem_coordinates),
    (TomogramParticles, STAR, write_tomogram_particles),
    (OptimisationSet, STAR, write_optimisation_set),
    (Trajectories, STAR, write_trajectories),
)


def _is_log(path: Path) -> bool:
    return path.suffix.lower() == ".log"


def text_format(path: Path) -> TextFormat:
    """The format of a file that is in one of these.

    Raises
    ------
    InputError
        If it is in none.
    """
    with open_content(path) as stream:
        kind = text_kind_of(bytes(read_up_to(stream, START, path=path)), path.name)
    if kind is None:
        raise InputError("the file is of no kind known here", file=path)
    return TEXT_FORMATS[kind]
