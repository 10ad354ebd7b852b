"""Particle stacks in HDF5 and Zarr with files at both ends: from STAR and cryoSPARC tables, and back."""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError, ShapeError, StateConflict, UsageError, printable
from cryowalk.core.execution import ImageSource, Progress, batches
from cryowalk.data.images import SelectedImages
from cryowalk.io.cryosparc import read_cryosparc
from cryowalk.io.hdf5 import write_hdf5_particles, write_hdf5_stack
from cryowalk.io.hdf5_guard import HDF5_ENDINGS
from cryowalk.io.hdf5_stacks import Hdf5StackReader, StackContents
from cryowalk.io.hdf5_tables import PARTICLES, read_hdf5_tables, role_of
from cryowalk.io.kinds import is_zarr
from cryowalk.io.mrc_writer import MrcStackWriter
from cryowalk.io.relion import particle_block, read_particles
from cryowalk.io.relion_optics import optics_of_rows, read_optics_table, read_repeated_optics
from cryowalk.io.signed_images import all_bright, signed_by_column
from cryowalk.io.stack_settings import StackStorage
from cryowalk.io.stacks import find_stack, image_names, open_images
from cryowalk.io.star import StarBlock, StarFile, read_star, write_star
from cryowalk.io.table_merging import merge_tables
from cryowalk.io.table_rows import Choice, chosen_rows
from cryowalk.io.tables import StarTable, read_table
from cryowalk.io.zarr_stacks import ZARR_ENDINGS, ZarrStackReader, read_zarr_tables

STACK_ENDINGS = HDF5_ENDINGS | ZARR_ENDINGS
BATCH_BYTES = 2**24
EVERY = Choice()


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """How many particles of how many were written, their box in pixels, and how many optics groups they have."""

    count: int
    total: int
    box: int
    groups: int


@dataclass(frozen=True, slots=True)
class JoinedImages:
    """The images of several sources one after the other, an `ImageSource`."""

    sources: tuple[ImageSource, ...]

    @property
    def count(self) -> int:
        """How many images there are."""
        return sum(source.count for source in self.sources)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.sources[0].image_shape

    def read(self, indices: Sequence[int]) -> Float[Tensor, "n h w"]:
        """The images at these positions, each run within a source read at once."""
        ends = list(accumulate(source.count for source in self.sources))
        runs: list[tuple[int, list[int]]] = []
        for index in indices:
            place = bisect_right(ends, index)
            if not runs or runs[-1][0] != place:
                runs.append((place, []))
            runs[-1][1].append(index - (ends[place] - self.sources[place].count))
        parts = [self.sources[place].read(within) for place, within in runs]
        return torch.cat(parts) if parts else torch.empty((0, *self.image_shape))


def check_stack_output(output: Path, sources: Sequence[Path], *, overwrite: bool) -> None:
    """Nothing, if a stack may be written there; its folder is made.

    Raises
    ------
    UsageError
        If it is no name of an HDF5 file or Zarr store, or one of the sources.
    StateConflict
        If it is there already and was not to be overwritten.
    """
    if output.suffix.lower() not in STACK_ENDINGS:
        raise UsageError(f"--o {output} is no name of a stack with its table", expected="a name that ends in .h5 (HDF5) or .zarr")
    if output.exists() and any(output.samefile(source) for source in sources):
        raise UsageError("input and output are the same file", file=output, fix="give another --o")
    if output.exists() and not overwrite:
        raise StateConflict(
            "this file is there already; it is left as it is", file=output, fix="give another --o, or --overwrite to replace it"
        )
    output.parent.mkdir(parents=True, exist_ok=True)


def star_to_stack(
    sources: Sequence[Path],
    output: Path,
    *,
    optics: Path | None = None,
    choice: Choice = EVERY,
    storage: StackStorage | None = None,
    progress: Progress | None = None,
    generator: torch.Generator,
) -> Made:
    """What was written: the particles of STAR files, one after the other, with their images; of one file every block and text as it stands.

    `optics` is a STAR file whose optics groups stand for those of tables without any, such as RELION's `…_extract.star` of single micrographs.

    Raises
    ------
    InputError
        If a table or stack is not usable, or tables do not fit each other.
    """
    tables = [read_table(path) for path in sources]
    stars = [table for table in tables if isinstance(table, StarTable)]
    if len(stars) < len(tables):
        raise UsageError("a .cs file among STAR files", fix="use cryowalk cs2hdf5 for cryoSPARC's files")
    if optics is not None:
        stars = [_with_optics(table, read_star(optics)["optics"]) for table in stars]
    images = _joined([_images(table, is_checked=optics is not None) for table in stars], sources)
    merged = stars[0] if len(stars) == 1 else merge_tables(stars, target=output).table
    if not isinstance(merged, StarTable):
        raise TypeError("tables of STAR files were merged into something else")
    total = len(merged)
    if not choice.is_empty():
        rows = chosen_rows(merged, choice, generator=generator)
        merged, images = merged.take(rows), SelectedImages(source=images, indices=tuple(rows.tolist()))
    size = _pixel_size(merged)
    contents = StackContents(tables=merged.star.blocks, provenance=_provenance(sources, choice))
    write_hdf5_stack(images, output, pixel_size=size, contents=contents, storage=storage, progress=progress)
    groups = len(merged.star["optics"]) if "optics" in merged.star else 1
    return Made(count=len(merged), total=total, box=images.image_shape[0], groups=groups)


def cryosparc_to_stack(
    source: Path,
    output: Path,
    *,
    passthrough: Sequence[Path] = (),
    choice: Choice = EVERY,
    storage: StackStorage | None = None,
    progress: Progress | None = None,
    generator: torch.Generator,
) -> Made:
    """What was written: the particles of a .cs or .csg file with their images, in RELION's columns, protein bright.

    Raises
    ------
    InputError
        If the table or a stack is not usable.
    """
    particles = read_cryosparc(source, passthrough, images="open")
    if particles.images is None:
        raise InputError("the particles have no images", file=source, fix="give the file with blob/path and blob/idx")
    total, box = len(particles), particles.images.image_shape[0]
    if not choice.is_empty():
        particles = particles[chosen_rows(read_table(source), choice, generator=generator).tolist()]
    write_hdf5_particles(
        particles, output, storage=storage, provenance=_provenance([source, *passthrough], choice), progress=progress
    )
    return Made(count=len(particles), total=total, box=box, groups=len(particles.optics))


def _with_optics(table: StarTable, optics: StarBlock) -> StarTable:
    """The table with these optics groups.

    Raises
    ------
    UsageError
        If it has some already.
    """
    if "optics" in table.star:
        raise UsageError("the table has optics groups of its own", file=table.path, fix="leave --optics out")
    star = StarFile(blocks=(optics, *table.star.blocks), path=table.path)
    groups, place = read_optics_table(optics, path=table.path, pixel_size=None)
    optics_of_rows(table.block, groups, place, path=table.path)
    return StarTable(star=star, place=table.place + 1, path=table.path)


def _images(table: StarTable, *, is_checked: bool) -> ImageSource | None:
    """The images that the table names; a table whose optics are its own is read whole, so that nothing unreadable is kept."""
    block = particle_block(table.star)
    if not is_checked:
        return read_particles(table.path).images
    source = open_images(block, block.columns.get("rlnImageName", ()), star=table.path)
    return signed_by_column(source, block.columns)


def _pixel_size(table: StarTable) -> float:
    """The pixel size of the first optics group, Å."""
    if "optics" in table.star:
        return read_optics_table(table.star["optics"], path=table.path, pixel_size=None)[0][0].pixel_size
    return read_repeated_optics(table.block, path=table.path, pixel_size=None)[0][0].pixel_size


def _joined(found: Sequence[ImageSource | None], sources: Sequence[Path]) -> ImageSource:
    """The images of all tables; their boxes must be the same."""
    images: list[ImageSource] = []
    for source, path in zip(found, sources, strict=True):
        if source is None:
            raise InputError("the particles have no images", file=path, fix="give a STAR file with rlnImageName")
        if images and source.image_shape != images[0].image_shape:
            raise ShapeError(
                f"the images are {source.image_shape[0]} px, those of {printable(sources[0])} {images[0].image_shape[0]} px",
                file=path,
            )
        images.append(source)
    return images[0] if len(images) == 1 else JoinedImages(tuple(images))


def _provenance(sources: Sequence[Path], choice: Choice) -> dict[str, str]:
    """The tables that went in, by name and sha256, and which rows of them; no time, so that equal input gives equal bytes."""
    from cryowalk import __version__

    told = {"written_by": f"cryowalk {__version__}", "tables": json.dumps([path.name for path in sources])}
    told["sha256_of_tables"] = json.dumps([hashlib.sha256(path.read_bytes()).hexdigest() for path in sources])
    return told if choice.is_empty() else told | {"choice": str(choice)}


def open_stack(path: Path) -> Hdf5StackReader | ZarrStackReader:
    """The images of a stack in HDF5 or Zarr."""
    return ZarrStackReader(path) if is_zarr(path) else Hdf5StackReader(path)


def read_stack_tables(path: Path) -> StarFile:
    """The tables of a stack in HDF5 or Zarr as the STAR file they came from."""
    return read_zarr_tables(path) if is_zarr(path) else read_hdf5_tables(path)


def stack_to_star(source: Path, output: Path) -> tuple[int, tuple[str, ...]]:
    """How many particles were written, and which of the stacks that they name are not there; the table is the one that the stack was made from."""
    star = read_stack_tables(source)
    write_star(star, output)
    block = next((one for one in star.blocks if role_of(one) == PARTICLES), star.blocks[0])
    stacks = dict.fromkeys(name.rpartition("@")[2] for name in block.columns.get("rlnImageName", ()))
    return len(block), tuple(stack for stack in stacks if find_stack(stack, output) is None)


def stack_to_mrc(
    source: Path, output: Path, *, sample_format: str, pixel_size: float | None, progress: Progress
) -> tuple[int, Path | None]:
    """How many images were written, and the STAR file beside them, where the stack has a table and no file of that name was there.

    Raises
    ------
    InputError
        If the pixel size is not known.
    """
    stack = open_stack(source)
    size = pixel_size or stack.pixel_size
    if not size:
        raise InputError("the file does not give the pixel size", file=source, fix="give --pixel-size (Å)")
    writer = MrcStackWriter(output, image_shape=stack.image_shape, pixel_size=size, sample_format=sample_format)  # type: ignore[arg-type]
    progress.start("converting", stack.count)
    try:
        for batch in batches(stack.count, max(1, BATCH_BYTES // (4 * stack.image_shape[0] * stack.image_shape[1]))):
            writer.write(stack.read(batch))
            progress.advance(len(batch))
        writer.close()
    except BaseException:
        writer.abandon()
        raise
    table = output.with_suffix(".star")
    if not stack.has_particles or table.exists() or output.suffix.lower() != ".mrcs":
        return stack.count, None
    star = read_stack_tables(source)
    names = image_names(output, stack.count, star=table)
    blocks = tuple(
        one.with_columns({**all_bright(one.columns), "rlnImageName": names}) if role_of(one) == PARTICLES else one
        for one in star.blocks
    )
    write_star(blocks, table)
    return stack.count, table


def stack_to_stack(source: Path, output: Path, *, storage: StackStorage, pixel_size: float | None, progress: Progress) -> int:
    """How many images were written to another stack in HDF5 or Zarr, with the same tables."""
    stack = open_stack(source)
    tables = read_stack_tables(source).blocks if stack.has_particles else ()
    contents = StackContents(tables=tables, provenance={"converted_from": source.name})
    size = pixel_size or stack.pixel_size or 0.0
    write_hdf5_stack(stack, output, pixel_size=size, contents=contents, storage=storage, progress=progress)
    return stack.count
