"""A stack of images written as a stream, under a partial name until it is whole, so that a killed run can go on at any image."""

from io import BufferedIOBase
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.errors import InputError, ShapeError, StateConflict
from cryowalk.io.atomic import move_into_place, write_fault
from cryowalk.io.mrc import SAMPLE_FORMATS, RunningStatistics, stored_values
from cryowalk.io.mrc_header import HEADER_BYTES, pack_header


class MrcStackWriter:
    """An `ImageSink` on an MRC stack: images go to `NAME.partial`, which gets its header and its final name when it is closed.

    With `resume_at=k` the first k images of an earlier, killed run are kept and writing goes on after them; the finished file is the same, byte for
    byte, as that of an uninterrupted run. Leaving a `with` block by an error keeps the partial file for such a resume.

    Raises
    ------
    StateConflict
        If the partial file holds fewer than `resume_at` images.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        image_shape: tuple[int, int],
        pixel_size: float,
        resume_at: int = 0,
        sample_format: Literal["float32", "float16"] = "float32",
        extended: tuple[bytes, str] | tuple[bytes, str, tuple[int, int]] = (b"", ""),
    ) -> None:
        self.path = Path(path)
        self.partial = self.path.with_name(self.path.name + ".partial")
        self.image_shape = image_shape
        self.pixel_size = pixel_size
        self.count = 0
        self._format, self._extended = sample_format, extended
        self._offset = HEADER_BYTES + len(extended[0])
        self._kind: np.dtype[Any] = np.dtype(sample_format).newbyteorder("<")
        self._statistics = RunningStatistics()
        try:
            self._stream: BufferedIOBase | None = self._reopen(resume_at) if resume_at else self.partial.open("wb")
            if not resume_at:
                self._stream.write(bytes(HEADER_BYTES) + extended[0])
        except OSError as error:
            raise write_fault(self.path, error) from error

    def _reopen(self, images: int) -> BufferedIOBase:
        """The partial file cut to so many images, open at its end, their statistics taken again."""
        wanted = self._offset + images * self._kind.itemsize * self.image_shape[0] * self.image_shape[1]
        if not self.partial.is_file() or self.partial.stat().st_size < wanted:
            raise StateConflict(
                f"cannot go on at image {images + 1}: the partial stack is missing or shorter",
                file=self.partial,
                cause="it was deleted or belongs to another run",
                fix="start again in an empty directory",
            )
        stream = self.partial.open("r+b")
        stream.truncate(wanted)
        stream.seek(self._offset)
        pixels = self.image_shape[0] * self.image_shape[1]
        for _ in range(images):
            self._statistics.add(np.frombuffer(stream.read(pixels * self._kind.itemsize), self._kind))
        self.count = images
        return stream

    def write(self, images: Float[Tensor, "n h w"]) -> None:
        """Append these images.

        Raises
        ------
        ShapeError
            If their size is not the stack's.
        InputError
            If a value is not finite.
        """
        if tuple(images.shape[-2:]) != tuple(self.image_shape):
            raise ShapeError(f"the stack holds images of {self.image_shape}, got {tuple(images.shape[-2:])}", file=self.path)
        if self._stream is None:
            raise StateConflict("the stack is closed", file=self.path)
        if images.shape[0] == 0:
            return
        stored = stored_values(images.detach().cpu().numpy(), self._format, self.path)
        for image in stored:
            self._statistics.add(image.reshape(-1))
        self._append(self._stream, stored)
        self.count += len(stored)

    def _append(self, stream: BufferedIOBase, stored: NDArray[Any]) -> None:
        try:
            stream.write(stored.data.cast("B"))
        except OSError as error:
            raise write_fault(self.path, error) from error

    def flush(self) -> None:
        """Make what was written so far durable; a checkpoint that says "k images are done" comes after this."""
        import os

        if self._stream is None:
            return
        try:
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise write_fault(self.path, error) from error

    def close(self) -> None:
        """Write the header and give the file its final name.

        Raises
        ------
        InputError
            If no image was written.
        """
        if self._stream is None:
            return
        if not self.count:
            self.abandon()
            raise InputError("no image was written to the stack", file=self.path)
        height, width = self.image_shape
        header = pack_header(
            size=(width, height, self.count),
            mode=SAMPLE_FORMATS[self._format],
            voxel_size=self.pixel_size,
            statistics=self._statistics.values(),
            space_group=0,
            extended=self._extended,
        )
        try:
            self._stream.seek(0)
            self._stream.write(header)
            self._stream.close()
        except OSError as error:
            raise write_fault(self.path, error) from error
        self._stream = None
        move_into_place(self.partial, self.path)

    def abandon(self) -> None:
        """Close and remove the partial file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self.partial.unlink(missing_ok=True)

    def __enter__(self) -> "MrcStackWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        elif self._stream is not None:
            self._stream.close()
            self._stream = None
