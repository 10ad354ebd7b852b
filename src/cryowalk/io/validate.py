"""The faults of a file: what would stop or spoil a computation (serious), and what is only against the letter of the format."""

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryowalk.core.errors import CryowalkError, CryowalkWarning, InputError, printable
from cryowalk.core.execution import ImageSource, batches
from cryowalk.data.particles import ParticleSet
from cryowalk.io.atoms import read_atoms
from cryowalk.io.eer import EerMovieReader
from cryowalk.io.hdf5_stacks import Hdf5StackReader
from cryowalk.io.inspect_movies import tell_mdoc, tell_table, tell_tem
from cryowalk.io.inspect_records import tell_cryosparc, tell_pickle
from cryowalk.io.kinds import KNOWN_IN_WORDS, foreign_words, kind_of
from cryowalk.io.micrographs import read_micrographs
from cryowalk.io.movies import open_movie
from cryowalk.io.mrc import LARGEST_VALUE, MrcStackReader, read_array
from cryowalk.io.mrc_header import MrcHeader, read_header
from cryowalk.io.relion import read_particles
from cryowalk.io.stacks import StackReader, find_stack
from cryowalk.io.star import StarFile, read_star
from cryowalk.io.star_kinds import NOT_WHOLE, star_kind
from cryowalk.io.table_checks import odd_labels, odd_values
from cryowalk.io.text_formats import STAR_FORMATS, text_format
from cryowalk.io.zarr_stacks import ZarrStackReader

BATCH_BYTES = 2**26
NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault of one file; a file is sound when it has no serious one."""

    path: Path
    what: str
    is_serious: bool = True

    def __str__(self) -> str:
        return f"{'fault' if self.is_serious else 'notice'}: {self.what}"


def faults(path: str | Path) -> list[Fault]:
    """All faults of a file: format, values, and the files it names; every pixel is looked at.

    It raises no error of ours: a file that cannot be read is a fault.
    """
    path = Path(path)
    found: list[Fault] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found += _faults_of_kind(path)
        except CryowalkError as error:
            found.append(Fault(path=path, what=str(error)))
    told = dict.fromkeys(str(warning.message) for warning in caught if issubclass(warning.category, CryowalkWarning))
    found += [Fault(path=path, what=text, is_serious=False) for text in told]
    return sorted(found, key=lambda fault: not fault.is_serious)


def is_sound(found: list[Fault]) -> bool:
    """Whether none of the faults is serious."""
    return not any(fault.is_serious for fault in found)


def _faults_of_kind(path: Path) -> list[Fault]:
    kind = kind_of(path)
    if kind == "mrc":
        return _mrc_faults(read_header(path))
    if kind == "star":
        return _star_faults(path)
    if kind == "tiff":
        return _movie_faults(path)
    if kind in ("hdf5", "zarr"):
        return _stack_faults(path, kind)
    if kind == "cryosparc":
        return _record_faults(path)
    readers: dict[str, Callable[[Path], object]] = {
        "structure": read_atoms, "mdoc": tell_mdoc, "tem": tell_tem, "pickle": tell_pickle, "text": lambda file: text_format(file).read(file),
    }  # fmt: skip
    if kind in readers:
        readers[kind](path)
        return []
    words = foreign_words(path)
    what = f"this is {words}" if words else "the file is of no kind known here"
    raise InputError(what, file=path, expected=KNOWN_IN_WORDS)


def _record_faults(path: Path) -> list[Fault]:
    """Faults of a table of cryoSPARC's; of particles also those of their images."""
    _, particles = tell_cryosparc(path)
    if particles is None:
        return []
    images = read_particles(path).images
    return [] if images is None else _image_faults(path, particles, images)


def _stack_faults(path: Path, kind: str) -> list[Fault]:
    """Faults of a stack in HDF5 or Zarr: its layout, its images, and its table where it has one."""
    stack = ZarrStackReader(path) if kind == "zarr" else Hdf5StackReader(path)
    found = [] if stack.pixel_size else [Fault(path=path, what="the file does not give the pixel size", is_serious=False)]
    values = _value_faults(path, _raw_images(stack))
    if not stack.has_particles or any(fault.is_serious for fault in values):
        return found + values
    particles = read_particles(path)
    if particles.images is not None and len(particles) != stack.count:
        found.append(Fault(path=path, what=f"{stack.count} images and {len(particles)} rows in the table of particles"))
    return found + values + _image_faults(path, particles, particles.images or stack)


def _movie_faults(path: Path) -> list[Fault]:
    """Faults of the frames of a TIFF or EER movie, one frame in memory at a time."""
    movie = open_movie(path)
    if isinstance(movie, EerMovieReader):
        movie = open_movie(path, raw_frames_per_frame=movie.raw_count)  # every raw frame once
    found = [] if movie.pixel_size else [Fault(path=path, what="the file does not give the pixel size", is_serious=False)]
    return found + _value_faults(path, ((number, movie.read([number])[0].numpy()) for number in range(movie.count)))


def _mrc_faults(header: MrcHeader) -> list[Fault]:
    """Faults of the header by `mrcfile`, and of the values by us: mrcfile calls a file full of NaN valid."""
    path = header.path
    found = [Fault(path=path, what=note, is_serious=False) for note in header.notes]
    if not all(header.voxel_sizes[:2]):
        found.append(Fault(path=path, what="the header does not give the pixel size", is_serious=False))
    elif not header.is_stack and header.size[2] > 1 and max(header.voxel_sizes) > min(header.voxel_sizes) * 1.001:
        sizes = " × ".join(f"{size:g}" for size in header.voxel_sizes)
        found.append(Fault(path=path, what=f"the voxels are not cubes: {sizes} Å", is_serious=False))
    if header.size[0] != header.size[1] and header.is_stack:
        found.append(
            Fault(path=path, what=f"the images are not square: {header.size[0]} × {header.size[1]} px", is_serious=False)
        )
    found += _conformity(path)
    if header.compression or header.axes != (1, 2, 3):
        flat = read_array(path)
        images = _value_faults(path, ((number, image) for number, image in enumerate(flat)))
    else:
        images = _value_faults(path, _raw_images(MrcStackReader(path, header=header)))
    is_map = not header.is_stack and header.size[2] > 1  # sections of a map may well be empty
    return found + [fault for fault in images if fault.is_serious or not is_map]


def _conformity(path: Path) -> list[Fault]:
    """What `mrcfile` finds against the letter of MRC2014; notices, since most programs write files that it finds fault with."""
    import mrcfile

    report = io.StringIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mrcfile.validate(path, print_file=report)
    except (ValueError, OSError, RuntimeError, EOFError, IndexError, ZeroDivisionError) as error:
        report.write(f"mrcfile cannot check the file: {error}\n")
    lines = [line.strip() for line in report.getvalue().splitlines()]
    boring = ("Checking if", "File appears", "File does not appear")
    return [Fault(path=path, what=printable(line), is_serious=False) for line in lines if line and not line.startswith(boring)]


def _raw_images(stack: StackReader) -> "Iterator[tuple[int, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]]":
    """Each image with its number, unchecked."""
    size = 4 * stack.image_shape[0] * stack.image_shape[1]
    for batch in batches(stack.count, max(1, BATCH_BYTES // size)):
        images = np.empty((len(batch), *stack.image_shape), np.float32)
        stack.fill(images, list(batch))
        yield from zip(batch, images, strict=True)


def _value_faults(path: Path, images: "Iterator[tuple[int, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]]") -> list[Fault]:
    """Images with values that are not finite or too large, and images without contrast."""
    lost, huge, flat, count = [], [], [], 0
    for number, image in images:
        count += 1
        low, high = float(image.min()), float(image.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            lost.append(number + 1)
        elif max(-low, high) >= LARGEST_VALUE:
            huge.append(number + 1)
        elif low == high:
            flat.append(number + 1)
    found = [
        Fault(path=path, what=f"{what} in {_listed(numbers)}")
        for numbers, what in ((lost, "values that are not finite"), (huge, "outliers"))
        if numbers
    ]
    if flat:
        found.append(Fault(path=path, what=f"no contrast in {_listed(flat)} of {count}", is_serious=len(flat) == count))
    return found


def _listed(numbers: list[int]) -> str:
    """The first few section numbers."""
    shown = ", ".join(map(str, numbers[:NAMED]))
    return f"section {shown}" if len(numbers) == 1 else f"{len(numbers)} sections ({shown}{' …' if len(numbers) > NAMED else ''})"


def _star_faults(path: Path) -> list[Fault]:
    """Faults of a table by RELION's names and types, and those that its reader finds."""
    star = read_star(path)
    odd = [*odd_labels(star), *odd_values(star)]
    try:
        found = _table_faults(path, star)
    except CryowalkError as error:
        found = [Fault(path=path, what=str(error))]
        odd = [each for each in odd if f"{each.label} is " not in str(error)]
    return [*found, *(Fault(path=path, what=each.what, is_serious=each.is_serious) for each in odd)]


def _table_faults(path: Path, star: StarFile) -> list[Fault]:
    """Faults that the reader of a table finds; of particles also those of their images."""
    kind = star_kind(star)
    if kind in ("micrographs", "motion", "tilt series", "mtf", "coordinates"):
        tell_table(kind, path)
        return _missing(path) if kind == "micrographs" else []
    if kind in STAR_FORMATS:
        STAR_FORMATS[kind].read(path)
        return []
    if kind in NOT_WHOLE or not any("rlnImageName" in block.columns for block in star.blocks):
        return []
    particles = read_particles(path)
    if particles.images is None:
        return []
    return _image_faults(path, particles, particles.images)


def _missing(path: Path) -> list[Fault]:
    """Movies or micrographs that are named and not there."""
    micrographs = read_micrographs(path)
    names = list(dict.fromkeys(micrographs.names or micrographs.movie_names))
    lost = [name for name in names if find_stack(name, path) is None]
    shown = ", ".join(map(printable, lost[:NAMED])) + (" …" if len(lost) > NAMED else "")
    return [Fault(path=path, what=f"{len(lost)} of {len(names)} files are not there: {shown}")] if lost else []


def _image_faults(path: Path, particles: ParticleSet, images: ImageSource) -> list[Fault]:
    """Images that cannot be used, and images that are there twice; a copy in the other half set would feign resolution."""
    first: dict[bytes, int] = {}
    copies, crossing, flat = [], [], []
    size = 4 * images.image_shape[0] * images.image_shape[1]
    for batch in batches(images.count, max(1, BATCH_BYTES // size)):
        for row, image in zip(batch, images.read(batch).numpy(), strict=True):
            if float(image.min()) == float(image.max()):
                flat.append(row)
            key = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
            other = first.setdefault(key, row)
            if other != row:
                copies.append(row)
                if particles.half is not None and int(particles.half[row]) != int(particles.half[other]):
                    crossing.append(row)
    found = []
    if flat:
        found.append(
            Fault(
                path=path,
                what=f"{len(flat)} particles have no contrast, the first in row {flat[0] + 1}",
                is_serious=len(flat) == images.count,
            )
        )
    if crossing:
        found.append(Fault(path=path, what=f"{len(crossing)} images are in both half sets, the first in row {crossing[0] + 1}"))
    elif copies:
        found.append(
            Fault(path=path, what=f"{len(copies)} images are there twice, the first in row {copies[0] + 1}", is_serious=False)
        )
    return found
