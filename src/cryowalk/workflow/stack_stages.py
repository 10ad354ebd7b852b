"""Image stacks put together: the images that a table names, or several stacks, in one file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from cryowalk.core.errors import InputError, UsageError, printable
from cryowalk.core.execution import ImageSource, Progress, batches
from cryowalk.io.mrc import MrcStackReader
from cryowalk.io.mrc_writer import MrcStackWriter
from cryowalk.io.relinking import Relinked, relinked
from cryowalk.io.stacks import image_names, open_images
from cryowalk.io.star_numbers import numbers
from cryowalk.io.tables import OPTICS, StarTable

IMAGE, ORIGINAL = "rlnImageName", "rlnImageOriginalName"
BATCH_BYTES = 2**26
NAMED = 5
SampleFormat = Literal["float32", "float16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackJob:
    """What is made: the STAR file and the stack beside it (None: images stay where they are)."""

    star: Path
    stack: Path | None
    sample_format: SampleFormat = "float32"
    pixel_size: float | None = None


def relink_table(
    table: StarTable, *, target: Path, rules: Sequence[tuple[str, str]], folders: Sequence[Path]
) -> tuple[StarTable, Relinked]:
    """The table with moved files found again, as seen from the folder of `target`, and what was changed.

    Raises
    ------
    InputError
        If images (or, in a table without images, any files) are still not found.
    """
    found = relinked(table.block, star=table.path, target=target, rules=rules, folders=folders)
    needed = {name.rpartition("@")[2] for name in found.block.columns.get(IMAGE, ())}
    lost = [name for name in found.missing if not needed or name in needed]
    if lost:
        shown = ", ".join(map(printable, lost[:NAMED])) + (" …" if len(lost) > NAMED else "")
        raise InputError(
            f"{len(lost)} files are not there: {shown}",
            file=table.path,
            fix="say where they are: --relink OLD=NEW, or --search FOLDER",
        )
    return replace(table.with_block(found.block), path=target), found


def stack_of_table(table: StarTable, job: StackJob, *, progress: Progress) -> StarTable:
    """The table that names the images of the new stack, which is written; what they were called stays in rlnImageOriginalName.

    Raises
    ------
    InputError
        If the table names no images, or one cannot be used.
    """
    if job.stack is None:
        return table
    if IMAGE not in table.block.columns:
        raise InputError("the table names no images", file=table.path, expected=f"the column {IMAGE}")
    old = table.block.columns[IMAGE]
    images = open_images(table.block, old, star=table.path)
    size = job.pixel_size or next((size for stack in images.stacks if (size := stack.pixel_size)), None) or _optics_size(table)
    _write(images, job.stack, size=size, sample_format=job.sample_format, progress=progress)
    columns = {IMAGE: image_names(job.stack, images.count, star=job.star)}
    if ORIGINAL not in table.block.columns:
        columns[ORIGINAL] = old
    return table.with_block(table.block.with_columns(columns))


def _optics_size(table: StarTable) -> float | None:
    """The pixel size of the first optics group, Å, where it is told."""
    if OPTICS not in table.star or "rlnImagePixelSize" not in table.star[OPTICS].columns:
        return None
    return float(numbers(table.star[OPTICS], "rlnImagePixelSize", path=table.path, low=0.02, high=1000.0)[0])


def stack_of_stacks(paths: Sequence[Path], job: StackJob, *, rows: NDArray[np.int64] | None, progress: Progress) -> int:
    """How many images the new stack holds: those of all stacks one after the other, or of these the given ones.

    Raises
    ------
    InputError
        If images differ in size, or pixel sizes by more than a thousandth.
    """
    readers = [MrcStackReader(path) for path in paths]
    sizes = [(reader.path, reader.pixel_size) for reader in readers if reader.pixel_size]
    for reader in readers[1:]:
        if reader.image_shape != readers[0].image_shape:
            raise InputError(
                f"the images are {reader.image_shape} px, those of {printable(readers[0].path)} {readers[0].image_shape} px",
                file=reader.path,
                expected="images of one size",
            )
    wrong = next(((path, size) for path, size in sizes if abs(size / sizes[0][1] - 1) > 1e-3), None)  # type: ignore[operator]
    if wrong is not None and job.pixel_size is None:
        raise InputError(
            f"the pixel size is {wrong[1]:g} Å, that of {printable(sizes[0][0])} {sizes[0][1]:g} Å",
            file=wrong[0],
            fix="give --pixel-size if they are the same all the same",
        )
    joined = _Joined(readers)
    if job.stack is None:
        raise UsageError("stacks without a table have no names to keep", fix="give --o NAME.mrcs")
    size = job.pixel_size or (sizes[0][1] if sizes else None)
    chosen = _Chosen(joined, np.arange(joined.count) if rows is None else rows)
    _write(chosen, job.stack, size=size, sample_format=job.sample_format, progress=progress)
    return chosen.count


class _Joined:
    """The images of several stacks, one stack after the other."""

    def __init__(self, readers: Sequence[MrcStackReader]) -> None:
        self.readers = readers
        self.edges = np.cumsum([0, *(reader.count for reader in readers)])
        self.count = int(self.edges[-1])
        self.image_shape = readers[0].image_shape

    def read(self, indices: Sequence[int]) -> torch.Tensor:
        """These images."""
        found = torch.empty(len(indices), *self.image_shape)
        stack = np.searchsorted(self.edges, np.asarray(indices), side="right") - 1
        for number in np.unique(stack).tolist():
            rows = np.flatnonzero(stack == number).tolist()
            found[rows] = self.readers[number].read([indices[row] - int(self.edges[number]) for row in rows])
        return found


class _Chosen:
    """Some images of a source."""

    def __init__(self, source: ImageSource, rows: NDArray[np.int64]) -> None:
        self.source, self.rows, self.count, self.image_shape = source, rows, len(rows), source.image_shape

    def read(self, indices: Sequence[int]) -> torch.Tensor:
        """These of the chosen images."""
        return self.source.read([int(self.rows[index]) for index in indices])


def _write(images: ImageSource, path: Path, *, size: float | None, sample_format: SampleFormat, progress: Progress) -> None:
    """Write the images to a stack, all or nothing."""
    if size is None:
        raise InputError("the pixel size is not known: neither header nor table tells it", file=path, fix="give --pixel-size (Å)")
    writer = MrcStackWriter(path, image_shape=images.image_shape, pixel_size=size, sample_format=sample_format)
    progress.start("writing the stack", images.count)
    try:
        for span in batches(images.count, max(1, BATCH_BYTES // (4 * images.image_shape[0] * images.image_shape[1]))):
            writer.write(images.read(span))
            progress.advance(len(span))
        writer.close()
    except BaseException:
        writer.abandon()
        raise
