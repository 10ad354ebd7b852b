"""Reading and writing whatever it is: the content of a file decides what it becomes, the kind of a thing how it is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from cryowalk.core.errors import InputError, UsageError
from cryowalk.data.atoms import Atoms
from cryowalk.data.camera import Response
from cryowalk.data.coordinates import Coordinates
from cryowalk.data.images import ImageStack, Micrograph, Movie
from cryowalk.data.micrographs import MicrographSet
from cryowalk.data.particles import ParticleSet
from cryowalk.data.tilt_series import TiltSeries
from cryowalk.data.truth import Truth
from cryowalk.data.volume import Volume
from cryowalk.io.atoms import read_atoms, write_atoms
from cryowalk.io.coordinates import read_coordinates
from cryowalk.io.cryodrgn import Latents, kind_of_pickle, read_cryodrgn_ctf, read_indices, read_latents, write_latents
from cryowalk.io.cryosparc import write_cryosparc
from cryowalk.io.eer import EerMovieReader
from cryowalk.io.hdf5 import write_hdf5_particles
from cryowalk.io.hdf5_guard import HDF5_ENDINGS
from cryowalk.io.hdf5_stacks import Hdf5StackReader
from cryowalk.io.kinds import (
    KNOWN_IN_WORDS,
    MDOC_ENDINGS,
    MRC_ENDINGS,
    PICKLE_NAMES,
    STAR_ENDINGS,
    STRUCTURE_ENDINGS,
    foreign_words,
    kind_of,
)
from cryowalk.io.maps import read_map, read_volumes, write_map, write_volumes
from cryowalk.io.mdoc import Mdoc, read_mdoc, write_mdoc
from cryowalk.io.micrographs import read_micrographs, write_micrographs
from cryowalk.io.motion import MovieMotion, read_movie_motion, write_motion
from cryowalk.io.movies import MOVIE_ENDINGS, open_movie, write_movie
from cryowalk.io.mrc import MrcStackReader, write_array
from cryowalk.io.mrc_header import MrcHeader, read_header
from cryowalk.io.mtf import read_mtf, write_mtf
from cryowalk.io.relion import read_particles, write_particles
from cryowalk.io.safe_pickle import read_numpy_pickles
from cryowalk.io.star import StarFile, read_star, write_star
from cryowalk.io.star_kinds import star_kind
from cryowalk.io.tem_simulator import read_tem_simulator, write_tem_simulator
from cryowalk.io.tem_simulator_settings import TemInput
from cryowalk.io.text_formats import STAR_FORMATS, TEXT_WRITERS, TextThing, text_format
from cryowalk.io.tiff import TiffMovieReader
from cryowalk.io.tilt_series_files import read_tilt_series, write_tilt_series
from cryowalk.io.tomograms import Tomogram, write_tomograms
from cryowalk.io.truth import read_truth, write_truth
from cryowalk.io.zarr_stacks import ZARR_ENDINGS, ZarrStackReader

Readable = (
    Atoms
    | Volume
    | ImageStack
    | Micrograph
    | ParticleSet
    | MicrographSet
    | Truth
    | MovieMotion
    | tuple[TiltSeries, ...]
    | tuple[Volume, ...]
    | Response
    | Coordinates
    | TiffMovieReader
    | EerMovieReader
    | Mdoc
    | TemInput
    | TextThing
    | StarFile
    | Latents
    | Tensor
)


def read(path: str | Path, *, pixel_size: float | None = None) -> Readable:
    """What a file holds: `Atoms`, a `Volume`, images, particles, micrographs, tilt series, a motion, a curve, settings, a `Truth`, or else a `StarFile`.

    `pixel_size` (Å) stands for that of a file that does not say. An `ImageStack` is in memory; `MrcStackReader` reads in batches instead. A movie in TIFF
    or EER is opened, and its frames are read when they are asked for (`open_movie` opens one in MRC, too).

    Raises
    ------
    InputError
        If the file is damaged or of no known kind.
    """
    path = Path(path)
    kind = kind_of(path)
    if kind == "structure":
        return read_atoms(path)
    if kind == "star":
        return _read_table(path, pixel_size)
    if kind == "mrc":
        return _read_mrc(read_header(path), pixel_size)
    if kind == "text":
        return text_format(path).read(path)  # type: ignore[no-any-return]
    if kind in ("hdf5", "zarr"):
        return _read_stack_with_tables(path, kind, pixel_size)
    readers: dict[str, Callable[[Path], Any]] = {
        "tiff": open_movie,
        "mdoc": read_mdoc,
        "tem": read_tem_simulator,
        "cryosparc": lambda file: read_particles(file, pixel_size=pixel_size),
        "pickle": _read_pickle,
    }
    if kind in readers:
        return readers[kind](path)  # type: ignore[no-any-return]
    words = foreign_words(path)
    raise InputError(
        f"this is {words}" if words else "the file is of no kind known here",
        file=path,
        expected=KNOWN_IN_WORDS,
        fix="convert it first" if words else "",
    )


def _read_stack_with_tables(path: Path, kind: str, pixel_size: float | None) -> Readable:
    """The particles of a stack in HDF5 or Zarr, or its images alone, in memory, where it holds no table of them."""
    source = Hdf5StackReader(path) if kind == "hdf5" else ZarrStackReader(path)
    if source.has_particles:
        return read_particles(path, pixel_size=pixel_size)
    size = pixel_size or source.pixel_size
    if size is None:
        raise InputError("the file does not give the pixel size", file=path, fix="state --pixel-size (Å)")
    return ImageStack(pixels=source.read(range(source.count)), pixel_size=size)


def _read_pickle(path: Path) -> Readable:
    """The CTF, latents or indices in a pickle of cryoDRGN's; poses alone do not say in which box they are fractions."""
    kind = kind_of_pickle(read_numpy_pickles(path))
    readers: dict[str, Callable[[Path], Readable]] = {"ctf": read_cryodrgn_ctf, "latents": read_latents, "indices": read_indices}
    if kind not in readers:
        raise InputError(
            "poses alone do not tell the size of the box" if kind == "poses" else "the arrays are none that is known here",
            file=path,
            expected="CTF, latents or indices of cryoDRGN",
            fix="cryowalk convert --i POSES.pkl --ctf CTF.pkl --images STACK.mrcs --o particles.star",
        )
    return readers[kind](path)


def _read_table(path: Path, pixel_size: float | None) -> Readable:
    star = read_star(path)
    readers: dict[str, Callable[[Path], Readable]] = {
        "truth": read_truth,
        "particles": lambda file: read_particles(file, pixel_size=pixel_size),
        "micrographs": lambda file: read_micrographs(file, pixel_size=pixel_size),
        "motion": read_movie_motion,
        "tilt series": read_tilt_series,
        "mtf": read_mtf,
        "coordinates": read_coordinates,
    }
    readers |= {kind: one.read for kind, one in STAR_FORMATS.items()}
    kind = star_kind(star)
    return readers[kind](path) if kind in readers else star


def _read_mrc(header: MrcHeader, pixel_size: float | None) -> Readable:
    if not header.is_stack and header.volumes > 1:
        return read_volumes(header.path, voxel_size=pixel_size)
    if not header.is_stack and header.size[2] > 1:
        return read_map(header.path, voxel_size=pixel_size)
    stack = MrcStackReader(header.path)
    size = pixel_size or stack.pixel_size
    if size is None:
        raise InputError("the header does not give the pixel size", file=header.path, fix="state --pixel-size (Å)")
    pixels = stack.read(range(stack.count))
    if stack.count == 1 and not header.is_stack:
        return Micrograph(pixels=pixels[0], pixel_size=size, name=header.path.name)
    return ImageStack(pixels=pixels, pixel_size=size)


def write(thing: object, path: str | Path) -> None:
    """Write a thing in the format that everyone reads it in: maps and images as MRC, tables as STAR, atoms as PDB or mmCIF; all or nothing.

    A movie becomes MRC, TIFF or EER by its name; several tilt series are given as a tuple.

    Raises
    ------
    UsageError
        If there is no format for such a thing, or the name ends like one of another format.
    """
    path = Path(path)
    if isinstance(thing, tuple) and thing and all(isinstance(one, TiltSeries) for one in thing):
        return write_tilt_series(thing, path)
    if isinstance(thing, tuple) and thing and all(isinstance(one, Tomogram) for one in thing):
        return write_tomograms(thing, path)
    if isinstance(thing, tuple) and thing and all(isinstance(one, Volume) for one in thing):
        return write_volumes(thing, path)
    writers: tuple[tuple[type, set[str], Callable[..., None]], ...] = (
        (Atoms, STRUCTURE_ENDINGS, write_atoms),
        (Volume, MRC_ENDINGS, write_map),
        (ParticleSet, STAR_ENDINGS | HDF5_ENDINGS | ZARR_ENDINGS | {".cs"}, _write_particles),
        (MicrographSet, STAR_ENDINGS, write_micrographs),
        (MovieMotion, STAR_ENDINGS, write_motion),
        (Response, STAR_ENDINGS, write_mtf),
        (TiltSeries, STAR_ENDINGS, lambda series, file: write_tilt_series([series], file)),
        (Movie, MOVIE_ENDINGS, _write_movie),
        (Mdoc, MDOC_ENDINGS, write_mdoc),
        (TemInput, {".txt", ".inp", ".in"}, write_tem_simulator),
        (Truth, STAR_ENDINGS, write_truth),
        (Latents, PICKLE_NAMES, write_latents),
        (StarFile, STAR_ENDINGS, write_star),
        (ImageStack, MRC_ENDINGS, _write_images),
        (Micrograph, MRC_ENDINGS, _write_images),
        *TEXT_WRITERS,
    )
    for kind, endings, writer in writers:
        if isinstance(thing, kind):
            if path.suffix.lower() not in endings:
                raise UsageError(
                    f"{kind.__name__} cannot be written to “{path.name}”",
                    expected="a name that ends in " + ", ".join(sorted(endings)),
                )
            return writer(thing, path)
    hint = "write its parts: .first and .second, or .average()" if hasattr(thing, "first") else ""
    raise UsageError(f"there is no file format for {type(thing).__name__}", fix=hint)


def _write_particles(particles: ParticleSet, path: Path) -> None:
    writers: dict[str, Callable[..., object]] = {".star": write_particles, ".cs": write_cryosparc}
    writers.get(path.suffix.lower(), write_hdf5_particles)(particles, path)


def _write_movie(movie: Movie, path: Path) -> None:
    write_movie(movie.frames, path, pixel_size=movie.pixel_size, count=len(movie.frames))


def _write_images(images: Any, path: Path) -> None:
    write_array(images.pixels.float(), path, voxel_size=images.pixel_size, kind="images")
