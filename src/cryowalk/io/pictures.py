"""Micrographs from whatever file holds one: MRC, TIFF, PNG or JPEG."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.data.images import Micrograph
from cryowalk.io.kinds import MRC_ENDINGS
from cryowalk.io.movies import open_movie
from cryowalk.io.opening import open_file
from cryowalk.io.tiff import TIFF_ENDINGS

PICTURE_ENDINGS = {".png", ".jpg", ".jpeg"}


def read_micrograph(path: str | Path, *, pixel_size: float | None = None) -> Micrograph:
    """The one image in an MRC, TIFF, PNG or JPEG file, float32; its first row is the file's first (the last of a TIFF, as the field stores them).

    `pixel_size` (Å) stands for that of a file that does not say or says wrong.

    Raises
    ------
    InputError
        If the file is damaged, of no known kind, holds more than one image, or no pixel size is known.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending in PICTURE_ENDINGS:
        pixels, own = _picture(path), None
    elif ending in MRC_ENDINGS | TIFF_ENDINGS:
        pixels, own = _single_frame(path)
    else:
        endings = ", ".join(sorted(MRC_ENDINGS | TIFF_ENDINGS | PICTURE_ENDINGS))
        raise InputError("no micrograph is read from such a file", file=path, expected=f"a name that ends in {endings}")
    size = pixel_size or own
    if size is None:
        raise InputError("the file does not give the pixel size", file=path, fix="state --pixel-size (Å)")
    if not bool(torch.isfinite(pixels.sum())):
        raise InputError("the micrograph holds values that are not finite numbers", file=path, cause="a damaged file")
    return Micrograph(pixels=pixels, pixel_size=size, name=str(path))


def _single_frame(path: Path) -> tuple[Float[Tensor, "h w"], float | None]:
    source = open_movie(path)
    if source.count != 1:
        raise InputError(
            f"the file holds {source.count} images", file=path, expected="one micrograph", cause="a movie or a stack"
        )
    return source.read([0])[0], source.pixel_size


def _picture(path: Path) -> Float[Tensor, "h w"]:
    """The grey values of a PNG or JPEG; colours are averaged, transparency is left out."""
    import imagecodecs

    with open_file(path) as stream:
        content = stream.read()
    decode = imagecodecs.png_decode if path.suffix.lower() == ".png" else imagecodecs.jpeg_decode
    try:
        values = np.asarray(decode(content))
    except (RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"the picture cannot be read: {error}", file=path, cause="a damaged or mislabelled file") from None
    if values.ndim == 3:
        values = values[..., :3].mean(axis=-1) if values.shape[-1] > 2 else values[..., 0]
    if values.ndim != 2 or min(values.shape) < 2:
        raise InputError(f"the picture has the shape {values.shape}", file=path, expected="one image")
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
