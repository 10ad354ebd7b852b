"""Movies written as electron events (EER), with an encoder of our own: the container, and counted frames turned into events."""

import struct
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.errors import InputError, UsageError
from cryowalk.io.eer import (
    FRAMES_ITEM,
    LAYOUT_TAGS,
    LAYOUTS,
    METADATA_TAG,
    VARIABLE,
    EerEvents,
    EerItem,
    EerLayout,
    format_metadata,
)
from cryowalk.io.movie_writers import PartialFile, leave, require_frames, single_frames

SPARE_BYTES = 16
_HEADER = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16)
_SHORT, _LONG, _LONG8, _UNDEFINED = (3, "H"), (4, "I"), (16, "Q"), (7, "Q")


def encode_frame(events: EerEvents, *, shape: tuple[int, int], layout: EerLayout = LAYOUTS[65001]) -> bytes:
    """The bytes of one raw frame with these electrons, which stand in raster order, at most one a pixel.

    Raises
    ------
    InputError
        If an electron lies outside the frame or its pixel, two share a pixel, or they are not in order.
    """
    from cryowalk.io.eer_compiled import encode_events  # compiled code is loaded when it is needed

    height, width = shape
    pixel, sub_pixel = events.pixel.cpu().numpy().astype(np.int64), events.sub_pixel.cpu().numpy().astype(np.int64)
    limits = np.array([width, height]), np.array([1 << layout.x_bits, 1 << layout.y_bits])
    if len(pixel) and not all(
        ((values >= 0) & (values < limit)).all() for values, limit in zip((pixel, sub_pixel), limits, strict=True)
    ):
        raise InputError(f"an electron lies outside the frame of {width} × {height} px, or outside its pixel")
    positions = pixel[:, 1] * width + pixel[:, 0]
    if (np.diff(positions) <= 0).any():
        raise InputError(
            "the electrons are not in raster order, or two share a pixel", fix="sort them, and spread them over more raw frames"
        )
    columns = [np.ascontiguousarray(column) for column in (positions, sub_pixel[:, 0], sub_pixel[:, 1])]
    return bytes(encode_events(*columns, height * width, layout.numbers))


class EerMovieWriter:
    """A `MovieWriter` of EER: each frame of counted electrons is spread over `raw_frames_per_frame` raw frames, whose sum is that frame again.

    Frames are whole numbers of electrons on the grid of the camera, or on one 2 or 4 times finer (`upsampling`). The electrons of one pixel go to
    different raw frames, because a raw frame holds at most one a pixel; which ones, and where in its pixel an electron was (as far as the frame does
    not tell), is decided by a hash of `seed`, frame and pixel. Pixel size (Å) is that of the frames.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        image_shape: tuple[int, int],
        pixel_size: float,
        raw_frames_per_frame: int = 8,
        upsampling: Literal[1, 2, 4] = 1,
        compression: Literal[65000, 65001, 65002] = 65001,
        seed: int = 0,
    ) -> None:
        self.path, self.image_shape, self.count = Path(path), image_shape, 0
        if upsampling not in (1, 2, 4) or image_shape[0] % upsampling or image_shape[1] % upsampling:
            raise UsageError(f"frames of {image_shape} cannot be {upsampling} times finer than the camera", file=path)
        if raw_frames_per_frame < 1:
            raise UsageError(f"{raw_frames_per_frame} raw frames cannot make a frame", file=path, expected="1 or more")
        self.raw_frames_per_frame, self.upsampling, self._seed = raw_frames_per_frame, upsampling, seed
        self._layout = LAYOUTS.get(compression, EerLayout(run_bits=9))
        self._camera = EerContainer(
            path,
            shape=(image_shape[0] // upsampling, image_shape[1] // upsampling),
            pixel_size=pixel_size * upsampling,
            compression=compression,
            layout=self._layout,
        )

    def write(self, images: Float[Tensor, "*frames h w"]) -> None:
        """Append one frame `[h, w]`, or several.

        Raises
        ------
        ShapeError
            If their size is not the movie's.
        InputError
            If a value is no count, or a pixel holds more electrons than there are raw frames.
        """
        from cryowalk.io.eer_compiled import count_raw, encode_counts, mixed

        for frame in single_frames(images, image_shape=self.image_shape, path=self.path):
            counts = self._counts(frame)
            seed = np.uint64(mixed(np.uint64(self._seed % 2**64), np.uint64(self.count)))
            events, most = count_raw(counts, self.upsampling, self.raw_frames_per_frame, seed)
            if most > self.raw_frames_per_frame:
                raise InputError(
                    f"frame {self.count + 1} has {most} electrons in one pixel of the camera, and a raw frame holds one",
                    file=self.path,
                    fix=f"spread each frame over at least {most} raw frames",
                )
            code = self._layout.run_bits + self._layout.x_bits + self._layout.y_bits
            runs = counts.size // (self.upsampling**2 * ((1 << self._layout.run_bits) - 1)) + 2
            rows = np.zeros((self.raw_frames_per_frame, (int(events.max()) + runs) * code // 8 + SPARE_BYTES), np.uint8)
            lengths = encode_counts(counts, self.upsampling, rows, seed, self._layout.numbers)
            for row, length in zip(rows, lengths, strict=True):
                self._camera.append(row[:length].tobytes())
            self._camera.electrons += int(events.sum())
            self.count += 1

    def _counts(self, frame: Float[Tensor, "h w"]) -> NDArray[np.uint16]:
        """The frame as whole numbers of electrons."""
        values = frame.detach().cpu()
        low, high = (float(value) for value in torch.aminmax(values))
        counts = values.to(torch.int32) if 0 <= low <= high < 2**16 else None  # false for NaN too
        if counts is None or not torch.equal(counts.to(values.dtype), values):
            raise InputError(
                f"frame {self.count + 1} holds values that are no counts of electrons (from {low:g} to {high:g})",
                file=self.path,
                expected="whole numbers from 0",
                fix="write a movie of another kind, or count electrons without gain",
            )
        return counts.numpy().astype(np.uint16)

    def close(self) -> None:
        """Write the metadata and give the file its name.

        Raises
        ------
        InputError
            If no frame was written.
        """
        if not self._camera.is_open:
            return
        require_frames(self)
        self._camera.close({FRAMES_ITEM: EerItem(text=str(self.raw_frames_per_frame))})

    def abandon(self) -> None:
        """Remove what was written."""
        self._camera.abandon()

    def __enter__(self) -> "EerMovieWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        leave(self, kind)


class EerContainer:
    """The BigTIFF of an EER movie, written raw frame by raw frame; pixel size (of the camera, at the specimen) in Å."""

    def __init__(
        self,
        path: str | Path,
        *,
        shape: tuple[int, int],
        pixel_size: float,
        compression: int = 65001,
        layout: EerLayout = LAYOUTS[65001],
    ) -> None:
        if compression not in {*LAYOUTS, VARIABLE}:
            raise UsageError(f"there is no EER compression {compression}", file=path, expected="65000, 65001 or 65002")
        self.shape, self.pixel_size, self.electrons, self.raw_count = shape, pixel_size, 0, 0
        self._compression, self._layout = compression, layout
        self._file = PartialFile(path)
        self._file.append(_HEADER)
        self._place, self._last_link, self._metadata_entry = len(_HEADER), 8, 0

    @property
    def is_open(self) -> bool:
        """Whether it can still be written to."""
        return self._file.is_open

    def append(self, content: bytes) -> None:
        """Append one encoded raw frame."""
        tags: list[tuple[int, tuple[int, str], int, int]] = [
            (256, _LONG, 1, self.shape[1]),
            (257, _LONG, 1, self.shape[0]),
            (259, _SHORT, 1, self._compression),
            (262, _SHORT, 1, 1),
            (273, _LONG8, 1, 0),
            (277, _SHORT, 1, 1),
            (278, _LONG, 1, self.shape[0]),
            (279, _LONG8, 1, len(content)),
        ]
        if self.raw_count == 0:
            tags.append((METADATA_TAG, _UNDEFINED, 1, 0))
        if self._compression == VARIABLE:
            tags += [(tag, _SHORT, 1, getattr(self._layout, name)) for tag, name in LAYOUT_TAGS.items()]
        size = 8 + 20 * len(tags) + 8
        padded = content + bytes(-(size + len(content)) % 8)
        entries = []
        for number, (tag, (kind, letter), count, value) in enumerate(tags):
            if tag == METADATA_TAG:
                self._metadata_entry = self._place + 8 + 20 * number
            shown = self._place + size if tag == 273 else value
            entries.append(struct.pack("<HHQ", tag, kind, count) + struct.pack(f"<{letter}", shown).ljust(8, b"\0"))
        following = self._place + size + len(padded)
        self._last_link = self._place + size - 8
        self._file.append(struct.pack("<Q", len(tags)) + b"".join(entries) + struct.pack("<Q", following))
        self._file.append(padded)
        self._place = following
        self.raw_count += 1

    def close(self, items: Mapping[str, EerItem]) -> None:
        """Write the acquisition metadata with these further items, end the chain of pages, and give the file its name."""
        pixels = self.shape[0] * self.shape[1]
        text = format_metadata(
            {
                "commercialName": EerItem(text="cryowalk"),
                "numberOfFrames": EerItem(text=str(self.raw_count)),
                "sensorImageWidth": EerItem(text=str(self.shape[1]), unit="pixel"),
                "sensorImageHeight": EerItem(text=str(self.shape[0]), unit="pixel"),
                "sensorPixelSize.width": EerItem(text=f"{self.pixel_size * 1e-10:.9g}", unit="m"),
                "sensorPixelSize.height": EerItem(text=f"{self.pixel_size * 1e-10:.9g}", unit="m"),
                "totalDose": EerItem(text=f"{self.electrons / pixels:.9g}", unit="e/pixel"),
                **items,
            }
        )
        self._file.append(text)
        self._file.rewrite(self._last_link, bytes(8))
        self._file.rewrite(self._metadata_entry, struct.pack("<HHQQ", METADATA_TAG, _UNDEFINED[0], len(text), self._place))
        self._file.finish()

    def abandon(self) -> None:
        """Remove what was written."""
        self._file.abandon()
