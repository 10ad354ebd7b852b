"""Stacks of images in HDF5 files: read in batches, and written as a stream at the speed of the disk.

For plain images the library makes the file once, without them: one chunk an image, all chunks in a row. What it wrote before and after that row frames
the images, which are then written with ordinary writes. So the file grows like an MRC stack, a killed run can go on at any image, and HDF5 refuses the
file until it is whole. Packed images (gzip, lzf) go through the library.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.errors import EnvironmentFault, InputError, ShapeError, StateConflict
from cryowalk.io.atomic import move_into_place, partial_path, write_fault
from cryowalk.io.hdf5_guard import check_dataset, open_hdf5, read_attribute, reading
from cryowalk.io.hdf5_tables import FORMAT, IMAGES, PARTICLES, images_of, write_tables, write_text
from cryowalk.io.mrc import check_values, stored_values
from cryowalk.io.opening import require_places
from cryowalk.io.stack_settings import StackStorage
from cryowalk.io.star import StarBlock

if TYPE_CHECKING:
    import h5py

FORMAT_VERSION = 1
LIBRARY = "v110"  # files that HDF5 1.10 (2016) and all later versions read
ALIGNMENT = 4096  # bytes; the images begin at a page
CONVENTIONS = (
    "images [image, y, x], row 0 at the bottom as in MRC, protein bright; columns as in RELION's STAR files: angles ZYZ in degrees, origins in angstrom, "
    "defocus in angstrom with underfocus positive; image i belongs to row i of every column of particles"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StackContents:
    """What stands beside the images: tables, of which one has a row for each image, and where all came from."""

    tables: tuple[StarBlock, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)


class Hdf5StackReader:
    """The images of one HDF5 file, an `ImageSource` read in batches as float32; the file stays open between reads.

    Raises
    ------
    InputError
        If the file is damaged, was never written whole, or holds no stack of images.
    SafetyRefusal
        If it leads to other files or needs foreign code.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: h5py.File | None = None
        self._process = 0
        images = self._images()
        with reading(self.path):
            self._shape: tuple[int, int, int] = tuple(map(int, images.shape))  # type: ignore[assignment]
            size = read_attribute(images, "pixel_size", otherwise=read_attribute(images.file, "pixel_size"))
            self.sample_format = images.dtype.name
            beside = (images.file.get(name) for name in images.file)
            self.has_particles = any(_is_table(each, len(images)) for each in beside)
        self._pixel_size = float(size) if isinstance(size, int | float) and 0 < size < float("inf") else None

    def _images(self) -> "h5py.Dataset":
        """The dataset, opened once in each process."""
        if self._file is None or self._process != os.getpid():
            self._file, self._process = open_hdf5(self.path), os.getpid()
            with reading(self.path):
                self._dataset = self._checked(images_of(self._file))
        return self._dataset

    def _checked(self, images: "h5py.Dataset | None") -> "h5py.Dataset":
        if images is None:
            raise InputError(
                "the HDF5 file holds no stack of images",
                file=self.path,
                expected="a dataset “images” [image, y, x]",
                cause="another kind of file",
            )
        if images.dtype.kind not in "iuf" or 0 in images.shape:
            raise InputError(
                f"the images are {images.dtype} of shape {images.shape}", file=self.path, expected="numbers [image, y, x]"
            )
        check_dataset(images, self.path)
        return images

    @property
    def count(self) -> int:
        """How many images there are."""
        return self._shape[0]

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self._shape[1], self._shape[2]

    @property
    def pixel_size(self) -> float | None:
        """Pixel size in Å, or None where the file does not say."""
        return self._pixel_size

    def read(self, indices: Sequence[int]) -> Float[Tensor, "n h w"]:
        """The images at these positions, counted from 0.

        Raises
        ------
        InputError
            If a position is out of range, the file is damaged, or a value is not finite.
        """
        places = [int(index) for index in indices]
        require_places(places, self.count, self.path)
        images = torch.empty((len(places), *self.image_shape), dtype=torch.float32)
        if places:
            self.fill(images.numpy(), places)
            check_values(images, places, self.path)
        return images

    def fill(self, images: NDArray[np.float32], places: list[int]) -> None:
        """Put the images at these positions into an array, unchecked, each run of neighbours with one call."""
        dataset, first = self._images(), 0
        with reading(self.path):
            for place in range(1, len(places) + 1):
                if place < len(places) and places[place] == places[place - 1] + 1:
                    continue
                start, stop = places[first], places[place - 1] + 1
                if dataset.dtype == np.float32 and dataset.dtype.isnative:
                    dataset.read_direct(images, np.s_[start:stop], np.s_[first:place])
                else:
                    images[first:place] = dataset[start:stop]
                first = place

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file = None

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the open file."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_file", "_dataset")} | {"_file": None}


def _is_table(thing: Any, count: int) -> bool:
    """Whether this is our group of particles, or a column of another program's file with one value an image."""
    return thing is not None and (
        str(thing.name) == f"/{PARTICLES}" if hasattr(thing, "keys") else getattr(thing, "shape", None) == (count,)
    )


class Hdf5StackWriter:
    """An `ImageSink` on an HDF5 file of `count` images: they go to `NAME.partial`, which gets its final name when all are written and it is closed.

    With `resume_at=k` the first k images of an earlier, killed run are kept; `"found"` keeps as many whole images as there are, if the partial file was
    begun with the same tables and shapes (`count` tells how many). The finished file is the same, byte for byte. Packed images begin anew.

    Raises
    ------
    StateConflict
        If the partial file holds fewer than `resume_at` images, or was begun with other contents.
    EnvironmentFault
        If the disk has no room for the stack.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        shape: tuple[int, int, int],
        pixel_size: float,
        resume_at: int | Literal["found"] = 0,
        storage: StackStorage | None = None,
        contents: StackContents | None = None,
    ) -> None:
        self.path = Path(path)
        self.partial = self.path.with_name(self.path.name + ".partial")
        self.shape, self.pixel_size = shape, pixel_size
        self.count = 0
        self._storage, self._contents = storage or StackStorage(), contents or StackContents()
        self._kind = np.dtype(self._storage.sample_format).newbyteorder("<")
        self._stream: BufferedIOBase | None = None
        self._file: h5py.File | None = None
        if min(shape) < 1 or not 0 <= pixel_size < float("inf"):
            raise ShapeError(f"a stack of shape {shape} at {pixel_size} Å cannot be written", file=self.path)
        try:
            self._begin(resume_at)
        except OSError as error:
            raise write_fault(self.path, error) from error

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.shape[1], self.shape[2]

    @property
    def _image_bytes(self) -> int:
        return self.shape[1] * self.shape[2] * self._kind.itemsize

    def _begin(self, resume_at: int | Literal["found"]) -> None:
        """Lay down everything but the images, and stand where the next image goes."""
        self._require_space(self.shape[0] * self._image_bytes)
        if self._storage.compression != "none":
            if resume_at not in (0, "found"):
                raise StateConflict("a packed stack cannot be continued", file=self.partial, fix="start again without it")
            self._file = self._created(self.partial)
            return
        frame, self._tail = self._frame()
        self._offset = len(frame)
        self.count = self._kept(frame, resume_at)
        stream: Any = self.partial.open("r+b" if self.count else "wb")
        if self.count:
            stream.truncate(self._offset + self.count * self._image_bytes)
        else:
            stream.write(frame)
        stream.seek(self._offset + self.count * self._image_bytes)
        self._stream = stream

    def _require_space(self, size: int) -> None:
        there = self.partial.stat().st_size if self.partial.is_file() else 0
        free = shutil.disk_usage(self.path.absolute().parent).free + there
        if free < size:
            raise EnvironmentFault(
                f"the disk has {free / 1e9:.2f} GB left, the stack needs {size / 1e9:.2f} GB",
                file=self.path,
                fix="free some space",
            )

    def _frame(self) -> tuple[bytes, bytes]:
        """The file before its first image and after its last: all that HDF5 has to say about the images, which lie in order between."""
        template = partial_path(self.partial)
        try:
            self._created(template).close()
            import h5py

            with h5py.File(template, "r") as file:
                images = file[IMAGES].id
                first, last = (images.get_chunk_info_by_coord((place, 0, 0)).byte_offset for place in (0, self.shape[0] - 1))
            if last - first != (self.shape[0] - 1) * self._image_bytes:
                raise EnvironmentFault("this version of the HDF5 library does not lay images in a row", file=self.path)
            with template.open("rb") as stream:
                before = stream.read(first)
                stream.seek(last + self._image_bytes)
                return before, stream.read()
        finally:
            template.unlink(missing_ok=True)

    def _created(self, path: Path) -> "h5py.File":
        """A new file with all its tables and an empty stack, left open."""
        import h5py
        from h5py import h5d, h5p, h5s, h5t

        from cryowalk import __version__

        file = h5py.File(
            path,
            "w",
            libver=(LIBRARY, LIBRARY),
            alignment_threshold=max(ALIGNMENT, self._image_bytes),
            alignment_interval=ALIGNMENT,
        )
        try:
            write_text(file, "format", FORMAT)
            file.attrs["format_version"] = np.int64(FORMAT_VERSION)
            write_text(file, "creator", f"cryowalk {__version__}")
            write_text(file, "conventions", CONVENTIONS)
            file.attrs["pixel_size"] = np.float64(self.pixel_size)
            for name, text in self._contents.provenance.items():
                write_text(file.require_group("provenance"), name, text)
            write_tables(file, self._contents.tables)
            properties = h5p.create(h5p.DATASET_CREATE)
            properties.set_chunk((1, *self.image_shape))
            properties.set_obj_track_times(False)
            properties.set_fill_time(h5d.FILL_TIME_NEVER)
            if self._storage.compression == "none":
                properties.set_alloc_time(h5d.ALLOC_TIME_EARLY)
            else:
                properties.set_shuffle()
                if self._storage.compression == "gzip":
                    properties.set_deflate(1)
                else:
                    properties.set_filter(h5py.h5z.FILTER_LZF, h5py.h5z.FLAG_OPTIONAL)
            kind = h5t.py_create(self._kind)
            images = h5py.Dataset(h5d.create(file.id, IMAGES.encode(), kind, h5s.create_simple(self.shape), properties))
            images.attrs["pixel_size"] = np.float64(self.pixel_size)
            write_text(images, "pixel_size_units", "angstrom")
            write_text(images, "axes", "image, y, x")
        except BaseException:
            file.close()
            raise
        return file

    def _kept(self, frame: bytes, resume_at: int | Literal["found"]) -> int:
        """How many images of an earlier run stay."""
        if resume_at == 0:
            return 0
        length = self.partial.stat().st_size if self.partial.is_file() else 0
        there = max(0, length - len(frame)) // self._image_bytes
        is_same = False
        if there:
            with self.partial.open("rb") as stream:
                is_same = stream.read(len(frame)) == frame
        if resume_at == "found":
            return min(there, self.shape[0]) if is_same else 0
        if not is_same or there < resume_at:
            raise StateConflict(
                f"cannot go on at image {resume_at + 1}: the partial stack is missing, shorter, or was begun with other contents",
                file=self.partial,
                cause="it was deleted or belongs to another run",
                fix="start again in an empty directory",
            )
        return resume_at

    def write(self, images: Float[Tensor, "n h w"]) -> None:
        """Append these images.

        Raises
        ------
        ShapeError
            If their size is not the stack's, or there are more than it was made for.
        InputError
            If a value is not finite, or too large for the sample format.
        """
        if tuple(images.shape[-2:]) != self.image_shape:
            raise ShapeError(f"the stack holds images of {self.image_shape}, got {tuple(images.shape[-2:])}", file=self.path)
        if self._stream is None and self._file is None:
            raise StateConflict("the stack is closed", file=self.path)
        if self.count + len(images) > self.shape[0]:
            raise ShapeError(f"the stack was made for {self.shape[0]} images, {self.count + len(images)} came", file=self.path)
        if len(images) == 0:
            return
        stored = stored_values(images.detach().cpu().numpy(), self._storage.sample_format, self.path)
        try:
            if self._stream is not None:
                self._stream.write(stored.data.cast("B"))
            elif self._file is not None:
                self._file[IMAGES][self.count : self.count + len(stored)] = stored
        except OSError as error:
            raise write_fault(self.path, error) from error
        self.count += len(stored)

    def flush(self) -> None:
        """Make what was written so far durable; a checkpoint that says "k images are done" comes after this. Packed images cannot be continued anyway."""
        if self._stream is None:
            return
        try:
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise write_fault(self.path, error) from error

    def close(self) -> None:
        """Give the file its final name.

        Raises
        ------
        InputError
            If fewer images were written than it was made for.
        """
        if self._stream is None and self._file is None:
            return
        if self.count < self.shape[0]:
            count = self.count
            self.abandon()
            raise InputError(f"{count} of {self.shape[0]} images were written to the stack", file=self.path)
        try:
            if self._stream is not None:
                self._stream.write(self._tail)
            self._release()
        except OSError as error:
            raise write_fault(self.path, error) from error
        move_into_place(self.partial, self.path)

    def _release(self) -> None:
        stream, file, self._stream, self._file = self._stream, self._file, None, None
        for each in (stream, file):
            if each is not None:
                each.close()

    def leave(self) -> None:
        """Close the partial file and keep what is in it, for a later writer that goes on."""
        try:
            self._release()
        except OSError as error:
            raise write_fault(self.path, error) from error
        if self._storage.compression != "none":
            self.partial.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Close and remove the partial file."""
        try:
            self._release()
        finally:
            self.partial.unlink(missing_ok=True)

    def __enter__(self) -> "Hdf5StackWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.leave()
