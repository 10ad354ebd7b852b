"""Movies in files: one way to open any of them, one frame in memory at a time, and one to write them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError, UsageError
from cryowalk.core.execution import ImageSource
from cryowalk.io.eer import EER_ENDINGS, EerMovieReader, is_eer
from cryowalk.io.eer_encoder import EerMovieWriter
from cryowalk.io.kinds import MRC_ENDINGS
from cryowalk.io.movie_writers import MovieWriter, MrcMovieWriter, SampleFormat
from cryowalk.io.mrc import MrcStackReader
from cryowalk.io.opening import open_file
from cryowalk.io.tiff import TIFF_ENDINGS, TIFF_MAGIC, Compression, TiffMovieReader, TiffMovieWriter
from cryowalk.io.write_behind import WriteBehind

MOVIE_ENDINGS = (MRC_ENDINGS - {".ctf", ".rec"}) | TIFF_ENDINGS | EER_ENDINGS


@runtime_checkable
class FrameSource(ImageSource, Protocol):
    """The frames of a movie, read as float32 in any order."""

    @property
    def pixel_size(self) -> float | None:
        """Pixel size in Å, or None where the file does not say."""


def open_movie(path: str | Path, *, raw_frames_per_frame: int | None = None, upsampling: Literal[1, 2, 4] = 1) -> FrameSource:
    """The frames of a movie in MRC (modes 0, 1, 2, 6, 12, 101), TIFF or EER, by its content; no pixel is read.

    Of an EER movie, `raw_frames_per_frame` are summed to a frame (a movie of ours knows how many) and its electrons put on a grid `upsampling` times
    finer than the camera.

    Raises
    ------
    InputError
        If the file is no movie or damaged.
    """
    path = Path(path)
    with open_file(path) as stream:
        start = stream.read(4)
    if is_eer(path):
        return EerMovieReader(path, raw_frames_per_frame=raw_frames_per_frame, upsampling=upsampling)
    if raw_frames_per_frame not in (None, 1) or upsampling != 1:
        raise UsageError("only EER movies are summed and rendered while they are read", file=path, cause="this is no EER file")
    return TiffMovieReader(path) if start in TIFF_MAGIC else MrcStackReader(path)


def open_movie_writer(
    path: str | Path,
    *,
    image_shape: tuple[int, int],
    pixel_size: float,
    sample_format: SampleFormat = "float32",
    compression: Compression = "lzw",
    frames: int | None = None,
    raw_frames_per_frame: int = 8,
) -> MovieWriter:
    """A writer for a movie in the format that its name asks for: MRC, TIFF or EER; pixel size in Å, `frames` the number expected.

    Sample format and compression are those of MRC and TIFF; an EER movie holds counts, each frame spread over `raw_frames_per_frame` raw ones
    (`EerMovieWriter` has more choices).

    Raises
    ------
    UsageError
        If the name ends like no movie, or the format has no such samples.
    """
    path, ending = Path(path), Path(path).suffix.lower()
    if ending in TIFF_ENDINGS:
        return TiffMovieWriter(
            path,
            image_shape=image_shape,
            pixel_size=pixel_size,
            sample_format=sample_format,
            compression=compression,
            frames=frames,
        )
    if ending in EER_ENDINGS:
        return EerMovieWriter(path, image_shape=image_shape, pixel_size=pixel_size, raw_frames_per_frame=raw_frames_per_frame)
    if ending in MOVIE_ENDINGS:
        return MrcMovieWriter(path, image_shape=image_shape, pixel_size=pixel_size, sample_format=sample_format)
    raise UsageError(
        f"a movie cannot be written to “{path.name}”", expected="a name that ends in " + ", ".join(sorted(MOVIE_ENDINGS))
    )


def write_movie(
    frames: "Iterable[Float[Tensor, 'h w']]",
    path: str | Path,
    *,
    pixel_size: float,
    sample_format: SampleFormat = "float32",
    compression: Compression = "lzw",
    count: int | None = None,
    raw_frames_per_frame: int = 8,
) -> None:
    """Write frames as they come, the one being written and the one being made in memory at a time; all or nothing.

    `count` is how many there will be, where it is known; a movie that ends before is an error. The name decides the format: see `open_movie_writer`.

    Raises
    ------
    InputError
        If there are no frames, or fewer or more than `count`, or a value is not finite.
    """
    coming = iter(frames)
    first = next(coming, None)
    if first is None:
        raise InputError("there are no frames to write", file=path)
    shape = (int(first.shape[-2]), int(first.shape[-1]))
    writer = open_movie_writer(
        path,
        image_shape=shape,
        pixel_size=pixel_size,
        sample_format=sample_format,
        compression=compression,
        frames=count,
        raw_frames_per_frame=raw_frames_per_frame,
    )
    with writer:
        with WriteBehind(writer) as behind:
            behind.write(first[None])
            del first
            for frame in coming:
                behind.write(frame[None])
        if count is not None and writer.count != count:
            raise InputError(f"{count} frames were announced and {writer.count} came", file=path)
