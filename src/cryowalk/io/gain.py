"""Gain references, as factors that raw frames are multiplied with, whatever a file holds.

Three kinds of files are in use, and two of them look alike:

- a multiplier (SerialEM, DigitalMicrograph, MotionCor2, RELION for all movies but EER): corrected = raw × file;
- a divisor (what RELION expects for EER movies, and what averaging many movies gives): corrected = raw / file;
- Thermo Fisher's `.gain`, a TIFF: a multiplier whose rows lie as in the EER movie, not upside-down as in other TIFF files; its mean is brought to 1,
  as RELION does.

A factor of 0 marks a pixel that does not work.

Source: RELION's documentation of `--gainref` and `--eer_grouping`; its EER renderer (the tests compare with it).
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.errors import InputError, ShapeError
from cryowalk.io.mrc import MrcStackReader, write_array
from cryowalk.io.opening import open_file
from cryowalk.io.tiff import TIFF_ENDINGS, TIFF_MAGIC, TiffMovieReader, TiffMovieWriter

Meaning = Literal["multiplier", "divisor"]
GAIN_ENDINGS = {".gain"}
LARGEST_FACTOR = 1e6


def relion_meaning(gain: str | Path, *, movie: str | Path) -> Meaning:
    """What RELION takes a gain reference for: a divisor where the movie is EER and the reference is not Thermo Fisher's `.gain`, else a multiplier."""
    is_divisor = Path(movie).suffix.lower() in {".eer", ".ecc"} and Path(gain).suffix.lower() not in GAIN_ENDINGS
    return "divisor" if is_divisor else "multiplier"


def read_gain(path: str | Path, *, image_shape: tuple[int, int], stored_as: Meaning = "multiplier") -> Float[Tensor, "h w"]:
    """The factors that raw frames of this size are multiplied with; 0 where a pixel does not work.

    A reference of a camera whose movie is rendered 2 or 4 times finer is repeated; one that is so much finer than the movie is averaged (as a divisor,
    which is what a sum of frames is). `stored_as` tells what the file holds: see `relion_meaning`.

    Raises
    ------
    ShapeError
        If the reference does not fit the frames; the message says when a quarter turn would make it fit.
    InputError
        If the file is damaged, or a value is negative or not finite.
    """
    path = Path(path)
    stored = _stored(path)
    low, high = float(stored.min()), float(stored.max())
    if not (low >= 0 and 0 < high < LARGEST_FACTOR):
        raise InputError(
            f"the gain reference holds values from {low:g} to {high:g}",
            file=path,
            expected="positive numbers, and 0 for pixels that do not work",
            cause="another image, or a reference that is signed",
            fix="name the gain reference of this camera",
        )
    if path.suffix.lower() in GAIN_ENDINGS:
        stored = stored / stored.mean()
    divisor = _inverse(stored) if stored_as == "multiplier" else stored
    return torch.from_numpy(_inverse(_fitted(divisor, image_shape, path)).astype(np.float32))


def _stored(path: Path) -> NDArray[np.float64]:
    """The values as they are in the file, rows put in the order of the movies that they belong to."""
    with open_file(path) as stream:
        is_tiff = stream.read(4) in TIFF_MAGIC
    source = TiffMovieReader(path) if is_tiff else MrcStackReader(path)
    if source.count != 1:
        raise InputError(f"a gain reference is one image: this file has {source.count}", file=path, cause="a movie was named")
    values = source.read([0])[0].double().numpy()
    return np.ascontiguousarray(values[::-1]) if path.suffix.lower() in GAIN_ENDINGS and is_tiff else values


def _inverse(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """One over each value, 0 where it is 0."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)


def _fitted(divisor: NDArray[np.float64], shape: tuple[int, int], path: Path) -> NDArray[np.float64]:
    """The divisors on the grid of the frames."""
    for factor in (1, 2, 4):
        if tuple(side * factor for side in divisor.shape) == tuple(shape):
            return divisor.repeat(factor, 0).repeat(factor, 1)
        if divisor.shape == tuple(side * factor for side in shape):
            averaged: NDArray[np.float64] = divisor.reshape(shape[0], factor, shape[1], factor).mean((1, 3))
            return averaged
    height, width = divisor.shape
    is_turned = any((width * a, height * a) == tuple(side * b for side in shape) for a in (1, 2, 4) for b in (1, 2, 4))
    raise ShapeError(
        f"the gain reference is {height} × {width} px (height × width), the frames are {shape[0]} × {shape[1]}",
        file=path,
        cause="the reference is turned by 90°" if is_turned else "the reference of another camera, or of another binning",
        fix="turn it by 90° either way, or transpose it: these three bring it to the size of the frames, and a flip alone does not"
        if is_turned
        else "name the reference of this camera",
    )


def write_gain(factors: Float[Tensor, "h w"], path: str | Path, *, stored_as: Meaning = "multiplier") -> None:
    """Write the factors that raw frames are multiplied with, as an MRC, TIFF or `.gain` file; the inverse of `read_gain`.

    Raises
    ------
    InputError
        If a factor is negative or not finite, or a divisor is asked of a `.gain` file.
    """
    path, values = Path(path), factors.detach().cpu().double().numpy()
    if not (np.isfinite(values).all() and (values >= 0).all() and (values > 0).any()):
        raise InputError("gain factors must be finite, none negative and not all 0", file=path)
    ending = path.suffix.lower()
    if ending in GAIN_ENDINGS and stored_as == "divisor":
        raise InputError("a .gain file holds multipliers", file=path, fix="write an MRC or TIFF file")
    stored: Any = torch.from_numpy((values if stored_as == "multiplier" else _inverse(values)).astype(np.float32))
    if ending not in TIFF_ENDINGS | GAIN_ENDINGS:
        write_array(stored, path, voxel_size=0.0)
        return
    rows = stored.flip(0) if ending in GAIN_ENDINGS else stored  # the writer of TIFF turns them over
    with TiffMovieWriter(path, image_shape=tuple(rows.shape), pixel_size=0.0, frames=1) as writer:
        writer.write(rows)
