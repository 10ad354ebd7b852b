"""How a movie moved, in the STAR file that RELION keeps beside each micrograph, and our `Motion`.

RELION tells by how many pixels of the movie each frame must be shifted to lie on the first: its shift is minus our displacement. Its local model is a
polynomial of third order in time and second in space, a fit; our `Motion` has a course of its own for each term in space. So a file of ours holds both:
the fit, for RELION, and in a block that RELION passes over every number as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data.motion import Motion
from cryowalk.io.relion import VERSION_COMMENT
from cryowalk.io.star import StarBlock, StarFile, read_star, write_star
from cryowalk.io.star_numbers import exact_texts, integer_texts, integers, number_texts, numbers
from cryowalk.numerics.motion_model import fit_relion_model, motion_of_relion_model

COEFFICIENTS = 36  # 2 axes × 6 terms in space × 3 powers of time
NOT_OBSERVED = -9999.0  # what RELION writes where it found no shift
LARGEST_SHIFT = 1e5  # px
PATCHES = (5, 5)  # across x and y, where local shifts are told
_OURS = "cryowalk_motion"
_LOCAL = tuple(f"cryowalkLocal{axis}{term}" for axis in "XY" for term in ("U", "UU", "V", "VV", "UV"))


@dataclass(frozen=True, slots=True, kw_only=True)
class MovieMotion:
    """The motion of one movie, and what its file tells beside it: pixel size (Å), size (width, height) in px, dose a frame and before (e⁻/Å²).

    `patch_positions` (x, y; px) and `patch_shifts` (RELION's, px) are the local shifts that were found, one row for each frame and patch;
    `patch_frames` counts from 0. `extra` are the single values that are not known here, as text.
    """

    motion: Motion
    movie_name: str
    pixel_size: float
    image_size: tuple[int, int]
    binning: float = 1.0
    dose_per_frame: float | None = None
    dose_before: float | None = None
    voltage_kv: float | None = None
    first_frame: int = 1
    patch_frames: Int[Tensor, " n"] | None = None
    patch_positions: Float[Tensor, "n 2"] | None = None
    patch_shifts: Float[Tensor, "n 2"] | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


_SIZES = ("rlnImageSizeX", "rlnImageSizeY", "rlnImageSizeZ")
_SINGLE = {
    "rlnMicrographBinning": "binning",
    "rlnMicrographDoseRate": "dose_per_frame",
    "rlnMicrographPreExposure": "dose_before",
    "rlnVoltage": "voltage_kv",
}
_KNOWN = {
    *_SIZES,
    *_SINGLE,
    "rlnMicrographMovieName",
    "rlnMicrographOriginalPixelSize",
    "rlnMicrographStartFrame",
    "rlnMotionModelVersion",
}


def read_motion(path: str | Path) -> Motion:
    """The motion in a file of RELION's or ours, Å.

    Raises
    ------
    InputError
        If the file does not tell how a movie moved, or a value is not usable.
    """
    return read_movie_motion(path).motion


def read_movie_motion(path: str | Path) -> MovieMotion:
    """The motion in a file of RELION's or ours, and what the file tells beside it.

    Raises
    ------
    InputError
        If the file does not tell how a movie moved, or a value is not usable.
    """
    path = Path(path)
    star = read_star(path)
    if "general" not in star or "global_shift" not in star:
        names = ", ".join(f"data_{block.name}" for block in star.blocks)
        raise InputError(
            f"the file does not tell how a movie moved: it holds {names}",
            file=path,
            expected="data_general and data_global_shift",
            fix="name the STAR file that stands beside a motion-corrected micrograph (rlnMicrographMetadata)",
        )
    general = star["general"]
    pixel_size = _single(general, "rlnMicrographOriginalPixelSize", path, low=0.02, high=1000.0)
    width, height, frames = (int(_single(general, label, path, low=1.0, high=1e6)) for label in _SIZES)
    first_frame = int(_single(general, "rlnMicrographStartFrame", path)) if "rlnMicrographStartFrame" in general.values else 1
    parts = {part: _single(general, label, path, low=0.0, high=1e7) for label, part in _SINGLE.items() if label in general.values}
    extent = (width * pixel_size, height * pixel_size)
    patches = _patches(star["local_shift"], path, first_frame) if "local_shift" in star else (None, None, None)
    return MovieMotion(
        motion=_exact(star[_OURS], extent, path) if _OURS in star else _by_relion(star, extent, pixel_size, frames),
        movie_name=general.values.get("rlnMicrographMovieName", ""),
        pixel_size=pixel_size,
        image_size=(width, height),
        first_frame=first_frame,
        patch_frames=patches[0],
        patch_positions=patches[1],
        patch_shifts=patches[2],
        extra={label: text for label, text in general.values.items() if label not in _KNOWN},
        **parts,  # type: ignore[arg-type]
    )


def _single(block: StarBlock, label: str, path: Path, *, low: float = -1e7, high: float = 1e7) -> float:
    """One single value as a number."""
    if label not in block.values:
        raise InputError(f"data_{block.name} has no {label}", file=path, cause="not a file of RELION's motion correction")
    column = StarBlock(name=block.name, columns={label: (block.values[label],)})
    return float(numbers(column, label, path=path, low=low, high=high)[0])


def _by_relion(star: StarFile, extent: tuple[float, float], pixel_size: float, frames: int) -> Motion:
    """The motion by RELION's own blocks: the shifts of the frames, and its local model where there is one."""
    path, shifts = star.path, star["global_shift"]
    found = np.stack([_shifts(shifts, f"rlnMicrographShift{axis}", path) for axis in "XY"], axis=-1)
    if not len(found):
        raise InputError("data_global_shift has no rows", file=path, cause="the motion correction failed")
    if len(found) > frames:
        raise InputError(f"data_global_shift has {len(found)} rows, the movie {frames} frames", file=path)
    number = integers(shifts, "rlnMicrographFrameNumber", path=path) if "rlnMicrographFrameNumber" in shifts.columns else None
    if number is not None and (np.diff(number) != 1).any():
        raise InputError("the frames of data_global_shift are not numbered one after the other", file=path)
    displacement = torch.from_numpy(-(found - found[0]) * pixel_size) + 0.0
    if "local_motion_model" not in star or not len(star["local_motion_model"]):
        return Motion(global_displacement=displacement, field=extent)
    model = star["local_motion_model"]
    place = integers(model, "rlnMotionModelCoeffsIdx", path=path, low=0, high=COEFFICIENTS - 1)
    if sorted(place.tolist()) != list(range(COEFFICIENTS)):
        raise InputError(
            f"the local motion model has {len(place)} coefficients",
            file=path,
            expected=f"{COEFFICIENTS}: the polynomial of third order",
            cause="another version of the model",
        )
    values = np.empty(COEFFICIENTS)
    values[place] = numbers(model, "rlnMotionModelCoeff", path=path)
    coefficients = torch.from_numpy(-values * pixel_size).reshape(2, COEFFICIENTS // 2) + 0.0
    return motion_of_relion_model(coefficients, global_displacement=displacement, field=extent)


def _shifts(block: StarBlock, label: str, path: Path | None) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """A column of shifts, px."""
    values = numbers(block, label, path=path, low=-LARGEST_SHIFT, high=LARGEST_SHIFT, hint="the alignment of this frame failed")
    lost = np.flatnonzero(values == NOT_OBSERVED)
    if len(lost):
        raise InputError(
            f"{label} is {NOT_OBSERVED:g}",
            file=path,
            row=block.line_of(int(lost[0])),
            cause="RELION found no shift for this frame",
        )
    return values


def _patches(block: StarBlock, path: Path, first_frame: int) -> tuple[Tensor, Tensor, Tensor]:
    """Frame, position and shift of each row of the local shifts."""
    frame = torch.from_numpy(integers(block, "rlnMicrographFrameNumber", path=path)) - first_frame
    position = np.stack([numbers(block, f"rlnCoordinate{axis}", path=path) for axis in "XY"], axis=-1)
    shift = np.stack([_shifts(block, f"rlnMicrographShift{axis}", path) for axis in "XY"], axis=-1)
    return frame, torch.from_numpy(position), torch.from_numpy(shift)


def _exact(block: StarBlock, extent: tuple[float, float], path: Path) -> Motion:
    """The motion as we wrote it."""

    def values(label: str) -> Tensor:
        return torch.from_numpy(np.array(numbers(block, label, path=path)))

    local = None
    if _LOCAL[0] in block.columns:
        local = torch.stack([values(label) for label in _LOCAL], dim=-1).reshape(len(block), 2, len(_LOCAL) // 2)
    if "cryowalkFieldX" in block.columns and len(block):
        extent = (float(values("cryowalkFieldX")[0]), float(values("cryowalkFieldY")[0]))
    whole = torch.stack([values(f"cryowalkDisplacement{axis}") for axis in "XY"], dim=-1)
    return Motion(global_displacement=whole, local=local, field=extent)


def write_motion(movie: MovieMotion, path: str | Path) -> None:
    """Write how a movie moved to a STAR file that RELION reads, all or nothing.

    Patch shifts that are not given are those of the motion, at the middles of 5 × 5 patches.

    Raises
    ------
    ShapeError
        If the motion does not belong to a field of this size.
    InputError
        If a value is not finite.
    """
    motion, size = movie.motion, movie.pixel_size
    if not size > 0:
        raise UsageError(f"a pixel size of {size} Å cannot be meant", file=path)
    width, height = (side * size for side in movie.image_size)
    if abs(motion.field[0] / width - 1) > 1e-3 or abs(motion.field[1] / height - 1) > 1e-3:
        raise ShapeError(
            f"the motion is that of a field of {motion.field[0]:g} × {motion.field[1]:g} Å, the movie covers {width:g} × {height:g} Å",
            file=path,
        )
    if not bool(torch.isfinite(motion.global_displacement).all()) or (
        motion.local is not None and not bool(torch.isfinite(motion.local).all())
    ):
        raise InputError("the motion holds values that are not finite", file=path)
    blocks = [_general(movie), _global_shift(movie)]
    if motion.local is not None:
        blocks.append(_local_model(movie))
    if motion.local is not None or movie.patch_shifts is not None:
        blocks.append(_local_shift(movie))
    write_star([*blocks, _exact_block(motion)], path)


def _general(movie: MovieMotion) -> StarBlock:
    """The single values of a movie."""
    frames = movie.motion.global_displacement.shape[0]
    values = dict(zip(_SIZES, map(str, (*movie.image_size, frames)), strict=True))
    values["rlnMicrographMovieName"] = movie.movie_name
    values["rlnMicrographBinning"] = exact_texts([movie.binning])[0]
    values["rlnMicrographOriginalPixelSize"] = exact_texts([movie.pixel_size])[0]
    for label, part in list(_SINGLE.items())[1:]:
        number = getattr(movie, part)
        if number is not None:
            values[label] = exact_texts([number])[0]
    values["rlnMicrographStartFrame"] = str(movie.first_frame)
    values["rlnMotionModelVersion"] = "0" if movie.motion.local is None else "1"
    return StarBlock(name="general", values={**values, **movie.extra}, comments=(VERSION_COMMENT,))


def _pixels(displacement: Float[Tensor, "*n"], movie: MovieMotion) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """RELION's shifts, px, of displacements in Å."""
    shifts: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = (
        -displacement.detach().cpu().double().numpy() / movie.pixel_size + 0.0
    )
    return shifts


def _global_shift(movie: MovieMotion) -> StarBlock:
    """The shift of each frame."""
    shifts = _pixels(movie.motion.global_displacement, movie)
    return StarBlock(
        name="global_shift",
        columns={
            "rlnMicrographFrameNumber": integer_texts(range(movie.first_frame, movie.first_frame + len(shifts))),
            "rlnMicrographShiftX": number_texts(shifts[:, 0]),
            "rlnMicrographShiftY": number_texts(shifts[:, 1]),
        },
        comments=(VERSION_COMMENT,),
    )


def _local_model(movie: MovieMotion) -> StarBlock:
    """RELION's polynomial, fitted."""
    coefficients = _pixels(fit_relion_model(movie.motion), movie).reshape(-1)
    return StarBlock(
        name="local_motion_model",
        columns={
            "rlnMotionModelCoeffsIdx": integer_texts(range(COEFFICIENTS)),
            "rlnMotionModelCoeff": tuple(f"{value:.9g}" for value in coefficients),
        },
        comments=(VERSION_COMMENT,),
    )


def _local_shift(movie: MovieMotion) -> StarBlock:
    """The local shifts of patches."""
    frame, position, shift = movie.patch_frames, movie.patch_positions, movie.patch_shifts
    if frame is None or position is None or shift is None:
        frame, position, shift = _patches_of(movie)
    return StarBlock(
        name="local_shift",
        columns={
            "rlnMicrographFrameNumber": integer_texts(frame.cpu() + movie.first_frame),
            "rlnCoordinateX": number_texts(position[:, 0].cpu()),
            "rlnCoordinateY": number_texts(position[:, 1].cpu()),
            "rlnMicrographShiftX": number_texts(shift[:, 0].cpu()),
            "rlnMicrographShiftY": number_texts(shift[:, 1].cpu()),
        },
        comments=(VERSION_COMMENT,),
    )


def _patches_of(movie: MovieMotion) -> tuple[Tensor, Tensor, Tensor]:
    """Frame, position and local shift at the middles of patches, patch by patch."""
    motion, (width, height) = movie.motion, movie.image_size
    local = torch.zeros(len(motion.global_displacement), 2, 5) if motion.local is None else motion.local.detach().cpu()
    x, y = (((torch.arange(count) + 0.5) / count).double() for count in PATCHES)
    v, u = (axis.reshape(-1) - 0.5 for axis in torch.meshgrid(y, x, indexing="ij"))
    basis = torch.stack((u, u**2, v, v**2, u * v), dim=-1)
    shifts = torch.from_numpy(_pixels(torch.einsum("fdj,pj->pfd", local.double(), basis), movie))
    places = torch.stack(((u + 0.5) * width, (v + 0.5) * height), dim=-1)
    frames = len(local)
    return torch.arange(frames).repeat(len(places)), places.repeat_interleave(frames, 0), shifts.reshape(-1, 2)


def _exact_block(motion: Motion) -> StarBlock:
    """Every number of a motion as it is."""
    whole = motion.global_displacement.detach().cpu().double().numpy()
    columns = {
        "rlnMicrographFrameNumber": integer_texts(range(1, len(whole) + 1)),
        "cryowalkFieldX": exact_texts([motion.field[0]] * len(whole)),
        "cryowalkFieldY": exact_texts([motion.field[1]] * len(whole)),
        "cryowalkDisplacementX": exact_texts(whole[:, 0]),
        "cryowalkDisplacementY": exact_texts(whole[:, 1]),
    }
    if motion.local is not None:
        local = motion.local.detach().cpu().double().numpy().reshape(len(whole), -1)
        columns |= {label: exact_texts(local[:, i]) for i, label in enumerate(_LOCAL)}
    return StarBlock(name=_OURS, columns=columns, comments=("# the motion of the specimen in Å; RELION passes over this block",))
