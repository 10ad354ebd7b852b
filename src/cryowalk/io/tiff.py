"""Movies in TIFF files, with the one place that knows that the field stores them upside-down.

RELION, MotionCor2 and IMOD take the first row of a TIFF image for the top of the picture and that of an MRC image for its bottom, whatever the
orientation tag says. So the rows of a file are put in reverse order (along the slow axis, y) when a frame is read or written here: a movie in memory
is the same whether it came from MRC or TIFF, and coordinates mean the same in both.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.errors import CryowalkError, InputError, UsageError, printable
from cryowalk.io.atomic import write_fault
from cryowalk.io.movie_writers import FrameConverter, PartialFile, SampleFormat, leave, require_frames, single_frames
from cryowalk.io.mrc import check_values
from cryowalk.io.mrc_header import decimal
from cryowalk.io.opening import open_file, require_places

TIFF_ENDINGS = {".tif", ".tiff"}
TIFF_MAGIC = {b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"}
Compression = Literal["none", "lzw", "deflate", "zstd"]
ANGSTROM_PER_CENTIMETRE = 1e8
LARGEST_RATIO = 1100  # pixels a byte: deflate packs at most 1032 bytes into one
LARGEST_CLASSIC = 2**32 - 2**26  # bytes; beyond it offsets no longer fit in the 32 bits of classic TIFF
STRIP_BYTES = 2**18
_CODES = {"none": 1, "lzw": 5, "deflate": 8, "zstd": 50000}
_READABLE = {1: "none", 5: "LZW", 8: "deflate", 32946: "deflate", 50000: "zstd", 32773: "PackBits"}


def upside_down(rows: NDArray[Any]) -> NDArray[Any]:
    """The image with its rows in reverse order: how TIFF files of the field lie against memory, in both directions."""
    return rows[..., ::-1, :]


class TiffMovieWriter:
    """A `MovieWriter` of TIFF, a page a frame; pixel size in Å, kept as resolution per centimetre.

    `frames`, the number expected, decides between classic TIFF and BigTIFF; a file that is not known to fit in 4 GiB becomes a BigTIFF.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        image_shape: tuple[int, int],
        pixel_size: float,
        sample_format: SampleFormat = "float32",
        compression: Compression = "lzw",
        frames: int | None = None,
    ) -> None:
        import tifffile

        if compression not in _CODES:
            raise UsageError(f"TIFF files are not written with {compression}", file=path, expected=", ".join(_CODES))
        self.path, self.image_shape, self.pixel_size, self.count = Path(path), image_shape, pixel_size, 0
        self._converter = FrameConverter(sample_format, self.path)
        row_bytes = image_shape[1] * self._converter.kind.itemsize
        expected = row_bytes * image_shape[0] * (frames or 0) * 1.4  # LZW makes noise longer, not shorter
        self._options: dict[str, Any] = {
            "compression": _CODES[compression],
            "photometric": "minisblack",
            "rowsperstrip": max(1, STRIP_BYTES // row_bytes),
            "metadata": None,
            "software": "cryowalk",
            "contiguous": False,
            "resolution": _resolution(pixel_size),
            "resolutionunit": "CENTIMETER",
        }
        self._file = PartialFile(path)
        stream: Any = self._file.stream
        self._tiff = tifffile.TiffWriter(stream, bigtiff=frames is None or expected > LARGEST_CLASSIC, byteorder="<")

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
            stored = self._converter.convert(frame, number=self.count + 1)
            _ = self._file.stream  # tells of a closed movie
            try:
                self._tiff.write(np.ascontiguousarray(upside_down(stored)), **self._options)
            except OSError as error:
                raise write_fault(self.path, error) from error
            self.count += 1

    def close(self) -> None:
        """Finish the file and give it its name.

        Raises
        ------
        InputError
            If no frame was written.
        """
        if not self._file.is_open:
            return
        require_frames(self)
        try:
            self._tiff.close()
        except OSError as error:
            raise write_fault(self.path, error) from error
        self._file.finish()

    def abandon(self) -> None:
        """Remove what was written."""
        self._file.abandon()

    def __enter__(self) -> "TiffMovieWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        leave(self, kind)


def _resolution(pixel_size: float) -> tuple[tuple[int, int], tuple[int, int]]:
    """Pixels per centimetre along x and y as fractions of 32-bit numbers; 0/1 where the pixel size is not known."""
    if not pixel_size > 0:
        return (0, 1), (0, 1)
    per_centimetre = ANGSTROM_PER_CENTIMETRE / pixel_size
    denominator = 1
    while per_centimetre * denominator * 10 < 2**32 and denominator < 10**6:
        denominator *= 10
    fraction = (round(per_centimetre * denominator), denominator)
    return fraction, fraction


class _Complaints(logging.Handler):
    """What tifffile logs instead of raising: a chain of pages that leads nowhere is the sign of a file that was cut off."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self.told.append(record.getMessage())


@contextmanager
def open_tiff(path: Path) -> Iterator[Any]:
    """A TIFF file opened by tifffile, whose troubles of any kind, raised or logged, end in one error of ours.

    Raises
    ------
    InputError
        If the file is missing, damaged, or no TIFF.
    """
    import tifffile

    open_file(path).close()  # the errors of files that are not there
    complaints, logger = _Complaints(), logging.getLogger("tifffile")
    was_propagated, logger.propagate = logger.propagate, False
    logger.addHandler(complaints)
    try:
        with tifffile.TiffFile(path) as tiff:
            yield tiff
    except CryowalkError:
        raise
    except Exception as error:  # tifffile and its codecs raise whatever they stumble over
        raise _damaged(path, str(error)) from error
    finally:
        logger.removeHandler(complaints)
        logger.propagate = was_propagated
    if complaints.told:
        raise _damaged(path, complaints.told[0])


class TiffMovieReader:
    """The frames of a TIFF movie, an `ImageSource` read as float32, rows put in our order; one page is inflated at a time."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with open_tiff(self.path) as tiff:
            pages = list(tiff.pages)
            first: Any = pages[0] if pages else None
            self.count = len(pages)
            shapes = {page.shape for page in pages}
            self._pixel_size = None if first is None else _pixel_size(first)
            self.sample_type = None if first is None else first.dtype
            self.compression = 1 if first is None else int(first.compression)
        if not self.count:
            raise InputError("the TIFF file holds no image", file=self.path, cause="an interrupted writing", fix="fetch it again")
        self.image_shape = _common_shape(shapes, self.path)
        height, width = self.image_shape
        if height * width > LARGEST_RATIO * self.path.stat().st_size:
            raise InputError(
                f"the file claims frames of {height} × {width} px, more than its {self.path.stat().st_size} bytes can hold",
                file=self.path,
                cause="a damaged header, or a decompression bomb",
                fix="fetch the file again",
            )
        if self.sample_type is None or self.sample_type.kind not in "iuf":
            raise InputError(f"the pixels are of type {self.sample_type}", file=self.path, expected="whole or real numbers")
        if self.compression not in _READABLE:
            raise InputError(
                f"the compression {self.compression} is not read here",
                file=self.path,
                expected=", ".join(sorted({*_READABLE.values()})),
            )

    @property
    def pixel_size(self) -> float | None:
        """Pixel size in Å, or None where the file does not say."""
        return self._pixel_size

    @property
    def compression_name(self) -> str:
        """How the pages are compressed."""
        return _READABLE[self.compression]

    def read(self, indices: Sequence[int]) -> Float[Tensor, "n h w"]:
        """The frames at these positions, counted from 0.

        Raises
        ------
        InputError
            If a position is out of range, a page is damaged, or a value is not finite.
        """
        places = [int(index) for index in indices]
        require_places(places, self.count, self.path, what="frame")
        frames = torch.empty((len(places), *self.image_shape), dtype=torch.float32)
        with open_tiff(self.path) as tiff:
            for target, place in zip(frames, places, strict=True):
                target.numpy()[...] = upside_down(_pixels(tiff, place))
        if places:
            check_values(frames, places, self.path, what="frame")
        return frames

    def read_bytes(self, index: int) -> UInt8[Tensor, "h w"] | None:
        """The frame at this position as it is stored, where that is in bytes; None where it is not.

        Raises
        ------
        InputError
            If the position is out of range or the page is damaged.
        """
        if self.sample_type != np.uint8:
            return None
        require_places([index], self.count, self.path, what="frame")
        with open_tiff(self.path) as tiff:
            return torch.from_numpy(np.ascontiguousarray(upside_down(_pixels(tiff, index))))


def _pixels(tiff: Any, place: int) -> NDArray[Any]:
    """A page's pixels; its strips are inflated by as many threads as torch has."""
    try:
        pixels: NDArray[Any] = tiff.pages[place].asarray(maxworkers=torch.get_num_threads())
    except Exception as error:
        raise ValueError(f"frame {place + 1} of {len(tiff.pages)}: {error}") from error
    return pixels


def _common_shape(shapes: set[tuple[Any, ...]], path: Path) -> tuple[int, int]:
    """The size that all pages share."""
    shape = next(iter(shapes))
    if len(shapes) != 1 or len(shape) != 2 or not all(isinstance(side, int) and side > 0 for side in shape):
        shown = ", ".join(sorted(" × ".join(map(str, shape)) for shape in shapes)[:3])
        raise InputError(
            f"the pages are not grey images of one size: {shown}",
            file=path,
            cause="a picture, or a file with previews",
            fix="name a movie",
        )
    return shape[0], shape[1]


def _pixel_size(page: Any) -> float | None:
    """The pixel size of a page from its resolution tags, Å; None where they say nothing that can be meant."""
    try:
        (numerator, denominator), unit = page.tags["XResolution"].value, int(page.tags["ResolutionUnit"].value)
    except (KeyError, TypeError, ValueError):
        return None
    per_unit = {3: ANGSTROM_PER_CENTIMETRE, 2: 2.54 * ANGSTROM_PER_CENTIMETRE}.get(unit)
    if per_unit is None or numerator <= 0 or denominator <= 0:
        return None
    size = decimal(per_unit * denominator / numerator)
    return size if 0.02 <= size <= 1000 else None  # 72 dots per inch is no pixel size


def _damaged(path: Path, trouble: str) -> InputError:
    return InputError(
        f"the TIFF file cannot be read: {printable(trouble)}",
        file=path,
        cause="an interrupted copy, a full disk, or another format under this name",
        fix="fetch or write the file again",
    )
