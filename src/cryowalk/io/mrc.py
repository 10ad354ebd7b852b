"""Arrays and image stacks in MRC files: whole, by mapping, image by image, and written as a stream.

Stacks are read with positioned reads rather than through a mapping: a file that shrinks meanwhile gives an error instead of killing the process, and
the pages read do not count as this process's memory. `map_array` is there for those who want the mapping.
"""

import warnings
from collections.abc import Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.errors import (
    CryowalkWarning,
    DamagedImageError,
    EnvironmentFault,
    InputError,
    ShapeError,
    UsageError,
    printable,
)
from cryowalk.io.atomic import atomic_path
from cryowalk.io.mrc_header import MrcHeader, pack_header, read_header
from cryowalk.io.opening import open_content, open_file, read_up_to, require_places

LARGEST_VALUE = 1e18  # a value beyond it overflows single precision when squared
SAMPLE_FORMATS = {"float32": 2, "float16": 12, "int8": 0, "int16": 1, "uint16": 6}
SPACE_GROUPS = {"volume": 1, "images": 0, "volumes": 401}


def warn_of(header: MrcHeader) -> MrcHeader:
    """The header, after warning of the surprises noted in it."""
    if header.notes:
        warnings.warn(f"{printable(header.path)}: {'; '.join(header.notes)}", CryowalkWarning, stacklevel=3)
    return header


def read_array(path: str | Path, *, header: MrcHeader | None = None) -> NDArray[Any]:
    """The stored values `[z, y, x]` in the type they are stored in (native byte order), axes put in order.

    `header` is that of the file where it was read before, changed perhaps by `with_bytes`.

    Raises
    ------
    InputError
        If the file is not a whole, supported MRC file.
    """
    header = warn_of(read_header(path)) if header is None else header
    return in_axis_order(_values(_content(header), header, header.size[2]), header.axes)


def _content(header: MrcHeader) -> bytearray:
    """All bytes after the header, as many as it describes."""
    wanted = header.file_bytes - header.data_offset
    with open_content(header.path) as stream:
        if header.compression:
            read_up_to(stream, header.data_offset, path=header.path)
            content = read_up_to(stream, wanted + 1, path=header.path)
        else:
            stream.seek(header.data_offset)
            content = bytearray(wanted)  # the length of the file was checked with the header
            del content[stream.readinto(content) :]
    if len(content) < wanted:
        raise InputError(
            f"the file ends after {header.data_offset + len(content)} of {header.file_bytes} bytes",
            file=header.path,
            cause="an interrupted copy, or a damaged header",
            fix="fetch or write the file again",
        )
    if header.compression and len(content) > wanted:
        raise InputError(
            f"inflates to more than the {header.file_bytes} bytes that its header describes",
            file=header.path,
            cause="a damaged header, or a decompression bomb",
            fix="fetch the file again",
        )
    return content


def map_array(path: str | Path) -> NDArray[Any]:
    """The stored values as a read-only memory mapping in the order and byte order of the file.

    Raises
    ------
    InputError
        If the file is compressed, 4-bit, or not a whole MRC file.
    """
    header = warn_of(read_header(path))
    if header.compression or header.mode == 101:
        raise InputError(
            "cannot be mapped: it is compressed or 4-bit", file=header.path, fix="read it whole, or inflate it first"
        )
    return np.memmap(header.path, dtype=header.sample_type, mode="r", offset=header.data_offset, shape=header.size[::-1])


def in_axis_order(stored: NDArray[Any], axes: tuple[int, int, int]) -> NDArray[Any]:
    """The array `[z, y, x]` of one stored as `[section, row, column]` whose columns, rows and sections lie along `axes` (1, 2, 3 = X, Y, Z)."""
    place = {axis: 2 - position for position, axis in enumerate(axes)}
    return np.ascontiguousarray(stored.transpose(place[3], place[2], place[1]))


def _values(content: bytes | bytearray, header: MrcHeader, sections: int) -> NDArray[Any]:
    """The values of so many whole sections in native byte order."""
    columns, rows, _ = header.size
    kind = header.sample_type
    if header.mode == 101:
        packed = np.frombuffer(content, np.uint8, header.section_bytes * sections)
        pairs = np.stack((packed & 15, packed >> 4), axis=-1).astype(np.int8)  # the low half comes first
        return pairs.reshape(sections, rows, -1)[:, :, :columns]
    values = np.frombuffer(content, kind, columns * rows * sections).reshape(sections, rows, columns)
    return values.astype(kind.newbyteorder("="), copy=False)


def check_values(images: Float[Tensor, "n h w"], places: Sequence[int], path: Path, *, what: str = "image") -> None:
    """Raise an error naming the first image (or section) with a value that is not finite, or too large to be squared in single precision."""
    low, high = torch.aminmax(images)
    if low > -LARGEST_VALUE and high < LARGEST_VALUE:  # false for NaN too
        return
    extremes = images.abs().amax(dim=(-2, -1))
    worst = int((~(extremes < LARGEST_VALUE)).nonzero()[0, 0])
    value = float(extremes[worst])
    kind = "an outlier of magnitude" if np.isfinite(value) else "a value that is not finite:"
    raise DamagedImageError(
        f"{what} {places[worst] + 1} holds {kind} {value:g}",
        file=path,
        cause="a failed earlier step (division by a zero variance, a bad gain reference)",
        fix="leave that image out, or make it again" if what == "image" else "make the file again",
    )


class MrcStackReader:
    """The images of one MRC file, an `ImageSource` read in batches as float32; compressed files are inflated into memory once."""

    def __init__(self, path: str | Path, *, header: MrcHeader | None = None) -> None:
        self.header = warn_of(read_header(path)) if header is None else header
        self.path = self.header.path
        if self.header.axes != (1, 2, 3):
            raise InputError(
                "a stack whose axes are not x, y, section", file=self.path, fix="rewrite it with its axes in the usual order"
            )
        self._inflated: NDArray[Any] | None = read_array(self.path) if self.header.compression else None

    @property
    def count(self) -> int:
        """How many images there are."""
        return self.header.size[2]

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.header.size[1], self.header.size[0]

    @property
    def pixel_size(self) -> float | None:
        """Pixel size in Å, or None where the header does not say."""
        return self.header.pixel_size

    def read(self, indices: Sequence[int]) -> Float[Tensor, "n h w"]:
        """The images at these positions, counted from 0.

        Raises
        ------
        InputError
            If a position is out of range, the file was cut meanwhile, or a value is not finite.
        """
        places = [int(index) for index in indices]
        require_places(places, self.count, self.path)
        images = torch.empty((len(places), *self.image_shape), dtype=torch.float32)
        if not places:
            return images
        if self._inflated is not None:
            images.copy_(torch.from_numpy(self._inflated[places].astype(np.float32)))
        else:
            self.fill(images.numpy(), places)
        check_values(images, places, self.path)
        return images

    def fill(self, images: NDArray[np.float32], places: list[int]) -> None:
        """Put the images at these positions into an array, unchecked, each run of neighbours with one call."""
        first = 0
        with open_file(self.path) as stream:
            for place in range(1, len(places) + 1):
                if place < len(places) and places[place] == places[place - 1] + 1:
                    continue
                self._fill_run(images[first:place], places[first], stream)
                first = place

    def _fill_run(self, images: NDArray[np.float32], start: int, stream: BufferedIOBase) -> None:
        header = self.header
        stream.seek(header.data_offset + start * header.section_bytes)
        if header.sample_type == np.dtype("<f4") and np.dtype("=f4") == np.dtype("<f4"):
            wanted, got = images.nbytes, stream.readinto(images.data.cast("B"))  # type: ignore[attr-defined]
            content = b""
        else:
            wanted = header.section_bytes * len(images)
            content = stream.read(wanted)
            got = len(content)
        if got != wanted:
            raise EnvironmentFault(
                f"the file ended inside image {start + got // header.section_bytes + 1} of {self.count}",
                file=self.path,
                cause="it was changed or cut while it was being read",
                fix="start again when the program that writes it has finished",
            )
        if content:
            images[...] = _values(content, header, len(images))


def write_array(
    array: NDArray[Any] | Tensor,
    path: str | Path,
    *,
    voxel_size: float,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    kind: Literal["volume", "images", "volumes"] = "volume",
    sample_format: Literal["float32", "float16", "int8", "int16", "uint16"] = "float32",
    extended: tuple[bytes, str] | tuple[bytes, str, tuple[int, int]] = (b"", ""),
) -> None:
    """Write `[z, y, x]` (or `[image, y, x]`, one image `[y, x]`, or volumes `[volume, z, y, x]`) to an MRC file as it is, all or nothing.

    Voxel size and origin in Å; `extended` is an extended header, its four-letter type, and SerialEM's words about it. Equal input gives equal bytes: there is no time stamp.

    Raises
    ------
    InputError
        If a value is not finite or does not fit the sample format.
    UsageError
        If the name asks for compression, or the voxel size is no length (0 stands for one that is not known).
    """
    path = Path(path)
    if path.suffix.lower() in (".gz", ".bz2"):
        raise UsageError("a compressed file cannot be written", file=path, fix="write it plain and compress it afterwards")
    if not 0 <= voxel_size < float("inf"):
        raise UsageError(
            f"a voxel size of {voxel_size} Å cannot be written", file=path, expected="a length, or 0 where it is not known"
        )
    values = np.asarray(array.detach().cpu() if isinstance(array, Tensor) else array)
    if values.ndim == 2:
        values, kind = values[None], "images"
    depth = values.shape[1] if values.ndim == 4 else None
    if values.ndim == 4:
        values, kind = values.reshape(-1, *values.shape[2:]), "volumes"
    if values.ndim != 3 or values.size == 0:
        raise ShapeError(f"an MRC file holds 3D arrays that are not empty: got shape {values.shape}", file=path)
    stored = stored_values(values, sample_format, path)
    header = pack_header(
        size=stored.shape[::-1] if depth is None else (*stored.shape[::-1], depth),  # type: ignore[arg-type]
        mode=SAMPLE_FORMATS[sample_format],
        voxel_size=voxel_size,
        statistics=_statistics(stored),
        origin=origin,
        space_group=SPACE_GROUPS[kind],
        extended=extended,
    )
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(header)
        stream.write(extended[0])
        stored.tofile(stream)


def stored_values(values: NDArray[Any], sample_format: str, path: Path) -> NDArray[Any]:
    """The values in the type they are stored in, little-endian.

    Raises
    ------
    InputError
        If they do not fit it.
    """
    kind = np.dtype(sample_format).newbyteorder("<")
    low, high = float(values.min()), float(values.max())
    limits = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    if not (float(limits.min) <= low <= high <= float(limits.max)):  # false for NaN too
        raise InputError(
            f"values from {low:g} to {high:g} cannot be written as {sample_format}", file=path, fix="check what was computed"
        )
    return np.ascontiguousarray(values.astype(kind, copy=False))


def _statistics(stored: NDArray[Any]) -> tuple[float, float, float, float]:
    """Minimum, maximum, mean and standard deviation, summed section by section in double precision."""
    running = RunningStatistics()
    for section in stored:
        running.add(section)
    return running.values()


class RunningStatistics:
    """Minimum, maximum, mean and standard deviation of images that come one by one; independent of how they are batched."""

    def __init__(self) -> None:
        self._low, self._high, self._mean, self._squares, self._count = np.inf, -np.inf, 0.0, 0.0, 0

    def add(self, image: NDArray[Any]) -> None:
        """Take one image in (pairwise update of Chan, Golub and LeVeque 1979)."""
        values = image.astype(np.float64)
        count, mean = values.size, float(values.mean())
        squares = float(np.square(values - mean).sum())
        difference, total = mean - self._mean, self._count + count
        self._mean += difference * count / total
        self._squares += squares + difference**2 * self._count * count / total
        self._count = total
        self._low, self._high = min(self._low, float(values.min())), max(self._high, float(values.max()))

    def values(self) -> tuple[float, float, float, float]:
        """Minimum, maximum, mean, standard deviation."""
        return self._low, self._high, self._mean, float(np.sqrt(self._squares / max(self._count, 1)))
