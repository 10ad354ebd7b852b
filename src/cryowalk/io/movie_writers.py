"""Movies written frame by frame: what the writers of all formats share, and the one of MRC.

A frame is converted and summed in one pass, so that no second copy of it in single or double precision is ever made.
"""

import math
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.errors import EnvironmentFault, InputError, ShapeError, StateConflict, UsageError
from cryowalk.io.atomic import move_into_place, partial_path, write_fault
from cryowalk.io.mrc import SAMPLE_FORMATS
from cryowalk.io.mrc_header import HEADER_BYTES, pack_header

SampleFormat = Literal["float32", "float16", "int8", "uint8", "int16", "uint16"]


@runtime_checkable
class MovieWriter(Protocol):
    """A movie that is being written, an `ImageSink`: frames go to a partial file, which gets the movie's name when it is closed.

    Leaving a `with` block well closes it; leaving it by an error leaves nothing, and a file that was there before stays.
    """

    @property
    def count(self) -> int:
        """How many frames were written."""

    def write(self, images: "Float[Tensor, '*frames h w']") -> None:
        """Append one frame `[h, w]`, or several."""

    def close(self) -> None:
        """Finish the file and give it its name."""

    def abandon(self) -> None:
        """Remove what was written."""

    def __enter__(self) -> "MovieWriter": ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class PartialFile:
    """A file under a hidden name beside its own, open for writing, which `finish` renames and `abandon` removes."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.temporary = partial_path(self.path)
        if self.path.is_dir():
            raise EnvironmentFault("cannot write a file over a folder", file=self.path, fix="choose another name")
        try:
            self._stream: BufferedIOBase | None = self.temporary.open("w+b")
        except OSError as error:
            raise write_fault(self.path, error) from error

    @property
    def stream(self) -> BufferedIOBase:
        """The open file.

        Raises
        ------
        StateConflict
            If it is closed.
        """
        if self._stream is None:
            raise StateConflict("the movie is closed", file=self.path, fix="write all frames before closing it")
        return self._stream

    @property
    def is_open(self) -> bool:
        """Whether it can still be written to."""
        return self._stream is not None

    def append(self, content: "bytes | memoryview") -> None:
        """Write these bytes."""
        try:
            self.stream.write(content)
        except OSError as error:
            raise write_fault(self.path, error) from error

    def rewrite(self, place: int, content: bytes) -> None:
        """Replace the bytes at this place and go back to the end."""
        try:
            self.stream.seek(place)
            self.stream.write(content)
            self.stream.seek(0, 2)
        except OSError as error:
            raise write_fault(self.path, error) from error

    def finish(self) -> None:
        """Flush the file to the disk and give it its name."""
        try:
            self.stream.close()
        except OSError as error:
            raise write_fault(self.path, error) from error
        self._stream = None
        try:
            move_into_place(self.temporary, self.path)
        finally:
            self.temporary.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Close and remove it."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
            self.temporary.unlink(missing_ok=True)


class FrameConverter:
    """Frames turned into the type they are stored in, rounded to the nearest whole number where that is an integer, their statistics kept."""

    def __init__(self, sample_format: SampleFormat, path: Path) -> None:
        self.kind = np.dtype(sample_format).newbyteorder("<")
        self._format, self._path = sample_format, path
        self._limits: Any = np.finfo(self.kind) if self.kind.kind == "f" else np.iinfo(self.kind)
        self._low, self._high, self._sum, self._squares, self._pixels = math.inf, -math.inf, 0.0, 0.0, 0
        self._pivot: float | None = None

    def convert(self, frame: Float[Tensor, "h w"], *, number: int) -> NDArray[Any]:
        """The frame (the `number`-th, counted from 1) as it is stored.

        Raises
        ------
        InputError
            If a value is not finite or does not fit.
        """
        from cryowalk.io.frame_samples import round_into, sums  # compiled code is loaded when it is needed

        values = frame.detach().cpu()
        low, high = (float(value) for value in torch.aminmax(values))
        if not (float(self._limits.min) <= low <= high <= float(self._limits.max)):  # false for NaN too
            raise InputError(
                f"frame {number} holds values from {low:g} to {high:g}, which cannot be written as {self._format}",
                file=self._path,
                fix="check what was computed, or choose another sample format",
            )
        self._low, self._high = min(self._low, low), max(self._high, high)
        self._pivot = float(values[0, 0]) if self._pivot is None else self._pivot
        if values.dtype not in (torch.float32, torch.float64):
            values = values.float()
        flat = values.contiguous().reshape(-1).numpy()
        if self.kind.kind == "f":
            stored = flat.astype(self.kind, copy=False)
            total, squares = sums(flat, self._pivot)
        else:
            stored = np.empty(flat.shape, self.kind)
            total, squares = round_into(flat, stored, self._pivot)
        self._sum += total
        self._squares += squares
        self._pixels += values.numel()
        return stored.reshape(tuple(values.shape))

    def statistics(self) -> tuple[float, float, float, float]:
        """Minimum, maximum, mean and standard deviation of all frames so far."""
        mean = self._sum / max(self._pixels, 1)
        variance = max(self._squares / max(self._pixels, 1) - mean**2, 0.0)
        return self._low, self._high, mean + (self._pivot or 0.0), math.sqrt(variance)


def single_frames(
    images: Float[Tensor, "*frames h w"], *, image_shape: tuple[int, int], path: Path
) -> Iterator[Float[Tensor, "h w"]]:
    """The frames one by one.

    Raises
    ------
    ShapeError
        If their size is not the movie's.
    """
    if images.ndim < 2 or tuple(images.shape[-2:]) != tuple(image_shape):
        raise ShapeError(
            f"the movie holds frames of {image_shape[0]} × {image_shape[1]} px (height × width): got {tuple(images.shape)}",
            file=path,
        )
    yield from images.reshape(-1, *image_shape)


class MrcMovieWriter:
    """A `MovieWriter` of MRC: mode 0 (int8), 1 (int16), 2 (float32), 6 (uint16) or 12 (float16); pixel size in Å."""

    def __init__(
        self, path: str | Path, *, image_shape: tuple[int, int], pixel_size: float, sample_format: SampleFormat = "float32"
    ) -> None:
        self.path, self.image_shape, self.pixel_size, self.count = Path(path), image_shape, pixel_size, 0
        if sample_format not in SAMPLE_FORMATS:
            raise UsageError(
                f"MRC has no mode for {sample_format}",
                file=path,
                expected=", ".join(SAMPLE_FORMATS),
                fix="use int8 or uint16, or TIFF",
            )
        self._mode = SAMPLE_FORMATS[sample_format]
        self._converter = FrameConverter(sample_format, self.path)
        self._file = PartialFile(path)
        self._file.append(bytes(HEADER_BYTES))

    def write(self, images: Float[Tensor, "*frames h w"]) -> None:
        """Append one frame `[h, w]`, or several.

        Raises
        ------
        ShapeError
            If their size is not the movie's.
        InputError
            If a value is not finite or does not fit the sample format.
        """
        for frame in single_frames(images, image_shape=self.image_shape, path=self.path):
            self._file.append(self._converter.convert(frame, number=self.count + 1).data.cast("B"))
            self.count += 1

    def close(self) -> None:
        """Write the header and give the file its name.

        Raises
        ------
        InputError
            If no frame was written.
        """
        if not self._file.is_open:
            return
        require_frames(self)
        header = pack_header(
            size=(self.image_shape[1], self.image_shape[0], self.count),
            mode=self._mode,
            voxel_size=self.pixel_size,
            statistics=self._converter.statistics(),
            space_group=0,
        )
        self._file.rewrite(0, header)
        self._file.finish()

    def abandon(self) -> None:
        """Remove what was written."""
        self._file.abandon()

    def __enter__(self) -> "MrcMovieWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        leave(self, kind)


def require_frames(writer: Any) -> None:
    """Abandon a movie without frames.

    Raises
    ------
    InputError
        If no frame was written.
    """
    if not writer.count:
        writer.abandon()
        raise InputError("no frame was written to the movie", file=writer.path)


def leave(writer: MovieWriter, kind: type[BaseException] | None) -> None:
    """Close a movie whose `with` block ended well, and remove one whose block was left by an error."""
    try:
        if kind is None:
            writer.close()
    finally:
        writer.abandon()  # nothing to do where it was closed
