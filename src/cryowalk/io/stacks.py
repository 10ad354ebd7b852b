"""Particle images named by a STAR file: `000012@stack.mrcs`, found beside it, checked before anything is computed, read in batches."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.errors import CryowalkWarning, InputError, ShapeError, printable
from cryowalk.io.confinement import check_places
from cryowalk.io.hdf5_guard import is_hdf5
from cryowalk.io.hdf5_stacks import Hdf5StackReader
from cryowalk.io.kinds import is_zarr
from cryowalk.io.mrc import MrcStackReader
from cryowalk.io.mrc_header import read_header
from cryowalk.io.star import StarBlock
from cryowalk.io.zarr_stacks import ZarrStackReader

NAMED_IN_ERRORS = 5
DIGITS = 20  # of an index
LARGEST_INDEX = 2**62  # of the numbers that an array holds; no stack comes near

StackReader = MrcStackReader | Hdf5StackReader | ZarrStackReader


class ParticleImages:
    """The images of particles that lie in many stacks, an `ImageSource`; each stack is opened only while it is read."""

    def __init__(self, stacks: Sequence[StackReader], stack_of: NDArray[np.int64], image_of: NDArray[np.int64]) -> None:
        self._stacks = tuple(stacks)
        self._stack_of, self._image_of = stack_of, image_of

    @property
    def count(self) -> int:
        """How many images there are."""
        return len(self._stack_of)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self._stacks[0].image_shape

    @property
    def stacks(self) -> tuple[StackReader, ...]:
        """The stacks."""
        return self._stacks

    def path_of(self, index: int) -> Path:
        """The stack that holds this image."""
        return self._stacks[int(self._stack_of[index])].path

    def read(self, indices: Sequence[int]) -> Float[Tensor, "n h w"]:
        """The images at these positions, counted from 0."""
        wanted = np.asarray(list(indices), dtype=np.int64)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < self.count):
            raise InputError(
                f"an image between {wanted.min() + 1} and {wanted.max() + 1} is asked for", expected=f"1 to {self.count}"
            )
        stacks = self._stack_of[wanted]
        if wanted.size and (stacks == stacks[0]).all():
            return self._stacks[int(stacks[0])].read(self._image_of[wanted].tolist())
        images = torch.empty((len(wanted), *self.image_shape), dtype=torch.float32)
        for stack in np.unique(stacks).tolist():
            places = np.flatnonzero(stacks == stack)
            images[torch.from_numpy(places)] = self._stacks[stack].read(self._image_of[wanted[places]].tolist())
        return images


def split_names(
    block: StarBlock, names: Sequence[str], *, path: Path | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
    """For each image name the number of its stack and its place in it (from 0), and the names of the stacks.

    Raises
    ------
    InputError
        If an index is not a whole number from 1.
    """
    numbers: dict[str, int] = {}
    stack_of, image_of = np.empty(len(names), np.int64), np.empty(len(names), np.int64)
    for row, name in enumerate(names):
        index, at, stack = name.rpartition("@") if "@" in name else ("1", "@", name)
        if not (
            index.isascii() and index.isdigit() and len(index) <= DIGITS and 1 <= int(index) <= LARGEST_INDEX and stack and at
        ):
            raise InputError(
                f"rlnImageName is “{printable(name)}”",
                file=path,
                row=block.line_of(row),
                expected="INDEX@STACK.mrcs with an index from 1",
                fix="correct that row; RELION counts images from 1",
            )
        stack_of[row] = numbers.setdefault(stack, len(numbers))
        image_of[row] = int(index) - 1
    return stack_of, image_of, tuple(numbers)


def find_stack(name: str, star: Path, *, first: Sequence[Path] = (Path(),)) -> Path | None:
    """The file a STAR file means by this name, or None.

    It is looked for from the folders in `first` (the current directory, RELION's project), the STAR's folder, the folders above it (where the name has a
    folder of its own), and by its bare name beside the STAR. A STAR file outside those folders belongs to another project, which may hold files of
    the same names: then `first` comes last. A file outside the project is told, or refused where reading is confined.

    Raises
    ------
    SafetyRefusal
        If the file lies outside the folder that reading is confined to.
    """
    found = stack_place(name, star, first)
    if found is not None:
        check_places((found,), named_in=star)
    return found


def stack_place(name: str, star: Path, first: Sequence[Path] = (Path(),)) -> Path | None:
    """The file that `find_stack` means, wherever it lies; nothing is told."""
    folder = Path(os.path.abspath(star)).parent  # noqa: PTH100  symbolic links stay as the user sees them
    is_inside = any(folder.is_relative_to(os.path.abspath(start)) for start in first)  # noqa: PTH100
    for spelling in dict.fromkeys((name, name.removeprefix(">"), name.removesuffix(":mrcs").removesuffix(":mrc"))):
        written = Path(spelling)
        above = folder.parents if len(written.parts) > 1 else ()
        own = (*(start / written for start in (folder, *above)), folder / written.name)
        project = tuple(start / written for start in first)
        for candidate in (*project, *own) if is_inside else (*own, *project):
            try:
                if candidate.is_file() or is_zarr(candidate):
                    return candidate
            except (OSError, ValueError):  # a name that is too long or holds a null character is a name that is not there
                continue
    return None


def open_images(block: StarBlock, names: Sequence[str], *, star: Path, confine: Path | None = None) -> ParticleImages:
    """The images with these names, every stack found and its header checked; no pixel is read.

    Raises
    ------
    InputError
        If a stack is missing, an index is beyond its end, images are not square, or boxes differ.
    SafetyRefusal
        If `confine` is given and a stack lies outside that folder.
    """
    stack_of, image_of, stacks = split_names(block, names, path=star)
    found = [stack_place(stack, star, (Path(),)) for stack in stacks]
    missing = [stack for stack, place in zip(stacks, found, strict=True) if place is None]
    if missing:
        row = int(np.flatnonzero(stack_of == stacks.index(missing[0]))[0])
        shown = ", ".join(missing[:NAMED_IN_ERRORS]) + (" …" if len(missing) > NAMED_IN_ERRORS else "")
        raise InputError(
            f"{len(missing)} of {len(stacks)} image stacks are not there: {shown if len(shown) < 600 else shown[:600] + '…'}",
            file=star,
            row=block.line_of(row),
            cause="the STAR file was moved away from its project, or the stacks were",
            fix="run from the project's folder, or put the stacks beside the STAR file",
        )
    paths = [path for path in found if path is not None]
    check_places(paths, named_in=star, confine=confine)
    readers = _readers(paths)
    _check_sizes(readers)
    counts = np.array([reader.count for reader in readers])
    beyond = np.flatnonzero(image_of >= counts[stack_of])
    if len(beyond):
        row = int(beyond[0])
        stack = readers[stack_of[row]]
        raise InputError(
            f"image {image_of[row] + 1} of {printable(stack.path)} is named, the stack holds {stack.count}",
            file=star,
            row=block.line_of(row),
            cause="the stack was written again, or the rows belong to another one",
            fix="use the STAR file that was written with the stack",
        )
    bare = next((row for row, name in enumerate(names) if "@" not in name and counts[stack_of[row]] > 1), None)
    if bare is not None:
        raise InputError(
            f"rlnImageName is “{printable(names[bare])}”, a stack of {counts[stack_of[bare]]} images, and does not say which",
            file=star,
            row=block.line_of(bare),
            expected="INDEX@STACK.mrcs",
            fix="write the number of the image, counted from 1, before the name",
        )
    return ParticleImages(readers, stack_of, image_of)


def _readers(paths: Sequence[Path]) -> list[StackReader]:
    """A reader for each stack; surprises in their headers are told once each, not once a stack."""
    packed = {
        path: ZarrStackReader(path) if is_zarr(path) else Hdf5StackReader(path)
        for path in dict.fromkeys(paths)
        if is_zarr(path) or is_hdf5(path)
    }
    headers = [read_header(path) for path in paths if path not in packed]
    told: dict[str, list[Path]] = {}
    for header in headers:
        if header.notes:
            told.setdefault("; ".join(header.notes), []).append(header.path)
    for note, where in told.items():
        others = f" (and {len(where) - 1} other stacks)" if len(where) > 1 else ""
        warnings.warn(f"{printable(where[0])}{others}: {note}", CryowalkWarning, stacklevel=4)
    plain = {header.path: MrcStackReader(header.path, header=header) for header in headers}
    return [packed[path] if path in packed else plain[path] for path in paths]


def _check_sizes(readers: Sequence[StackReader]) -> None:
    """Raise an error unless all images are square and of one size."""
    for reader in readers:
        height, width = reader.image_shape
        if height != width:
            raise ShapeError(
                f"particle images must be square: these are {height} × {width} (height × width)",
                file=reader.path,
                fix="crop or pad them first",
            )
        if reader.image_shape != readers[0].image_shape:
            raise ShapeError(
                f"the images are {height} px, those of {printable(readers[0].path)} {readers[0].image_shape[0]} px",
                file=reader.path,
                expected="one box size",
                fix="extract them again at one box and pixel size, or process the groups apart: "
                "cryowalk extract --i MICROGRAPHS.star --coords PARTICLES.star --box … --scale …",
            )


def lies_here(path: str | Path) -> bool:
    """Whether the path lies in the current directory, which RELION takes as the root of the project."""
    return Path(os.path.abspath(path)).is_relative_to(Path.cwd())  # noqa: PTH100


def stack_reference(stack: str | Path, *, star: str | Path) -> str:
    """How a STAR file names a stack: from the current directory when both lie in it (RELION's rule), otherwise from the STAR's folder."""
    start = Path.cwd() if lies_here(stack) and lies_here(star) else Path(os.path.abspath(star)).parent  # noqa: PTH100
    return Path(os.path.relpath(os.path.abspath(stack), start)).as_posix()  # noqa: PTH100


def image_names(stack: str | Path, count: int, *, star: str | Path) -> tuple[str, ...]:
    """The names of all images of a stack for a STAR file: `000001@stack.mrcs` and so on."""
    reference = stack_reference(stack, star=star)
    return tuple(f"{number:06d}@{reference}" for number in range(1, count + 1))
