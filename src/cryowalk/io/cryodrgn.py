"""cryoDRGN's pickles of poses, CTF, indices and latents in our conventions, and back; read without running anything (`safe_pickle`).

Rotations are RELION's matrices, ours; translations are RELION's origins as fractions of the box: trans = −shift / (box · pixel size). A row of the CTF is
box (px), pixel size (Å), major and minor defocus (Å), azimuth (degrees), voltage (kV), Cs (mm), amplitude contrast, phase shift (degrees).
cryoDRGN's CTF is the negative of ours and it turns images over as it reads them (unless `--uninvert-data`), so that the parameters are the same.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.errors import InputError, printable
from cryowalk.core.units import DEGREE
from cryowalk.data.optics import Defocus, Optics
from cryowalk.data.particles import ParticleSet
from cryowalk.data.pose import Pose
from cryowalk.io.cryosparc_optics import combinations, shortest
from cryowalk.io.safe_pickle import read_numpy_pickles
from cryowalk.io.safe_pickle_writer import write_numpy_pickle, write_numpy_pickles

CRYODRGN_ENDINGS = {".pkl"}
CTF_COLUMNS = 9
SKEWNESS = 1e-3  # by how much RRᵀ may differ from 1
PickleKind = Literal["poses", "ctf", "indices", "latents", "other"]
_RANGES = (
    ("box", 1, 1e5), ("pixel size", 0.02, 1000), ("major defocus", -5e5, 5e5), ("minor defocus", -5e5, 5e5), ("defocus azimuth", -1e5, 1e5),
    ("voltage", 1, 4000), ("Cs", -100, 100), ("amplitude contrast", 0, 1), ("phase shift", -1e5, 1e5),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Latents:
    """Where each particle lies in a latent space: the mean, and the logarithm of the variance where it is known."""

    mean: Float[Tensor, "n dimensions"]
    log_variance: Float[Tensor, "n dimensions"] | None = None


def kind_of_pickle(things: tuple[Any, ...]) -> PickleKind:
    """What the pickles of a file hold, by their shapes."""
    first = things[0]
    if isinstance(first, tuple | list) and 1 <= len(first) <= 2 and _is_array(first[0], (None, 3, 3)):
        return "poses"
    if _is_array(first, (None, 3, 3)):
        return "poses"
    if not isinstance(first, np.ndarray):
        return "other"
    if first.ndim == 2 and first.shape[1] == CTF_COLUMNS and len(things) == 1 and bool((first[:, 0] >= 1).all()):
        return "ctf"
    if first.ndim == 1 and first.dtype.kind in "iu":
        return "indices"
    return "latents" if first.ndim == 2 and first.dtype.kind == "f" else "other"


def _is_array(thing: Any, shape: tuple[int | None, ...]) -> bool:
    return (
        isinstance(thing, np.ndarray)
        and thing.dtype.kind in "fiu"
        and thing.ndim == len(shape)
        and all(side in (None, there) for side, there in zip(shape, thing.shape, strict=True))
    )


def _numbers(values: NDArray[Any], what: str, path: Path) -> NDArray[np.float64]:
    """The values in double precision, a copy.

    Raises
    ------
    InputError
        If one is not finite.
    """
    found = np.array(values, dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(found).reshape(len(found), -1).all(axis=1))
    if len(wrong):
        raise InputError(f"the {what} of particle {int(wrong[0]) + 1} is not finite", file=path, fix="leave that particle out")
    return found


def read_cryodrgn_poses(path: str | Path, *, side: float | Float[Tensor, " n"]) -> Pose:
    """The poses of a cryoDRGN pickle; `side` is the side of the box in Å (box · pixel size), one number or one for each particle.

    Raises
    ------
    InputError
        If these are no rotations and translations.
    SafetyRefusal
        If the pickle holds more than arrays.
    """
    path = Path(path)
    things = read_numpy_pickles(path)
    if kind_of_pickle(things) != "poses":
        raise InputError(
            f"these are no poses, but {_in_words(things)}", file=path, expected="(rotations [N, 3, 3], translations [N, 2])"
        )
    parts = things[0] if isinstance(things[0], tuple | list) else (things[0],)
    rotations = _numbers(parts[0], "rotation", path)
    skew = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2), initial=0)
    wrong = np.flatnonzero((skew > SKEWNESS) | (np.linalg.det(rotations) < 0))
    if len(wrong):
        raise InputError(
            f"the matrix of particle {int(wrong[0]) + 1} is no rotation",
            file=path,
            expected="RRᵀ = 1 and determinant 1",
            fix="write the poses again",
        )
    if len(parts) == 1:
        return Pose(lab_from_particle=torch.from_numpy(rotations), shift=torch.zeros(len(rotations), 2, dtype=torch.float64))
    if not _is_array(parts[1], (len(rotations), 2)):
        raise InputError("the translations are not one pair a particle", file=path, expected=f"an array [{len(rotations)}, 2]")
    sides = torch.as_tensor(side, dtype=torch.float64)
    if sides.ndim == 1 and len(sides) != len(rotations):
        raise InputError(
            f"there are {len(rotations)} poses, the CTF has {len(sides)} rows", file=path, fix="give files of the same particles"
        )
    shift = -torch.from_numpy(_numbers(parts[1], "translation", path)) * (sides[:, None] if sides.ndim else sides)
    return Pose(lab_from_particle=torch.from_numpy(rotations), shift=shift + 0.0)


def read_cryodrgn_ctf(path: str | Path) -> ParticleSet:
    """The optics and the defocus of each particle in a cryoDRGN pickle; the box is the optics' `rlnImageSize`.

    Raises
    ------
    InputError
        If this is no table of nine columns, or a value cannot be meant.
    SafetyRefusal
        If the pickle holds more than arrays.
    """
    path = Path(path)
    things = read_numpy_pickles(path)
    table = things[0]
    if not _is_array(table, (None, CTF_COLUMNS)) or not len(table):
        raise InputError(f"this is no CTF, but {_in_words(things)}", file=path, expected=f"an array [N, {CTF_COLUMNS}]")
    values = _numbers(table, "CTF", path)
    for column, (name, low, high) in enumerate(_RANGES):
        wrong = np.flatnonzero(~((values[:, column] >= low) & (values[:, column] <= high)))
        if len(wrong):
            row = int(wrong[0])
            raise InputError(
                f"the {name} of particle {row + 1} is {values[row, column]:g}", file=path, expected=f"{low:g} to {high:g}"
            )
    index, firsts = combinations([table[:, column] for column in (0, 1, 5, 6, 7)], len(table))
    optics = tuple(_optics(table[row], f"opticsGroup{number}") for number, row in enumerate(firsts, start=1))
    major, minor, azimuth, phase = (torch.from_numpy(values[:, column].copy()) for column in (2, 3, 4, 8))
    return ParticleSet(
        optics=optics,
        optics_index=torch.from_numpy(index),
        defocus=Defocus(major=major, minor=minor, azimuth=azimuth * DEGREE, phase_shift=phase * DEGREE),
    )


def _optics(row: NDArray[Any], name: str) -> Optics:
    box, size, voltage, cs, contrast = (shortest(row[column]) for column in (0, 1, 5, 6, 7))
    return Optics(
        pixel_size=size,
        voltage_kv=voltage,
        spherical_aberration_mm=cs,
        amplitude_contrast=contrast,
        name=name,
        extra={"rlnImageSize": str(round(box))},
    )


def _in_words(things: tuple[Any, ...]) -> str:
    """What was found instead."""
    first = things[0]
    if isinstance(first, np.ndarray):
        return f"an array {list(first.shape)} of {first.dtype}"
    return f"{type(first).__name__} of {len(first)}" if isinstance(first, tuple | list | dict) else f"a {type(first).__name__}"


def read_cryodrgn(
    poses: str | Path | None = None, ctf: str | Path | None = None, *, box: int | None = None, pixel_size: float | None = None
) -> ParticleSet:
    """The particles of a pickle of poses, one of CTF, or both; box (px) and pixel size (Å) come from the CTF where they are not given.

    Raises
    ------
    InputError
        If neither is given, the sizes are not known, or the two are of different particles.
    SafetyRefusal
        If a pickle holds more than arrays.
    """
    told = None if ctf is None else read_cryodrgn_ctf(ctf)
    if poses is None:
        if told is None:
            raise InputError("neither poses nor CTF are given", expected="a .pkl file of cryoDRGN")
        return told
    path = Path(poses)
    if told is None:
        if box is None or pixel_size is None:
            raise InputError(
                "poses alone do not tell the size of the images", file=path, fix="give the CTF as well, or box and pixel size"
            )
        pose = read_cryodrgn_poses(path, side=box * pixel_size)
        optics = Optics(pixel_size=pixel_size, extra={"rlnImageSize": str(box)})
        return ParticleSet(optics=(optics,), optics_index=torch.zeros(len(pose), dtype=torch.long), pose=pose)
    sides = torch.tensor([float(group.extra["rlnImageSize"]) * group.pixel_size for group in told.optics], dtype=torch.float64)
    pose = read_cryodrgn_poses(path, side=sides[told.optics_index])
    if len(pose) != len(told):
        raise InputError(
            f"there are {len(pose)} poses, the CTF has {len(told)} rows", file=path, fix="give files of the same particles"
        )
    return replace(told, pose=pose)


def boxes_of(particles: ParticleSet, *, box: int | None = None) -> Float[Tensor, " n"]:
    """The box of each particle's image, px.

    Raises
    ------
    InputError
        If it is not known.
    """
    if box is not None:
        return torch.full((len(particles),), float(box), dtype=torch.float64)
    if particles.images is not None:
        return torch.full((len(particles),), float(particles.images.image_shape[-1]), dtype=torch.float64)
    sizes = [group.extra.get("rlnImageSize", "") for group in particles.optics]
    if not all(size.replace(".", "", 1).isdigit() for size in sizes):
        raise InputError(
            "the box of the images is not known",
            expected="rlnImageSize in the optics table, or images that can be opened",
            fix="state --box (px)",
        )
    return torch.tensor([float(size) for size in sizes], dtype=torch.float64)[particles.optics_index.cpu()]


def write_cryodrgn_poses(particles: ParticleSet, path: str | Path, *, box: int | None = None) -> None:
    """Write the poses as cryoDRGN's pickle: (rotations [N, 3, 3], translations [N, 2] as fractions of the box), single precision.

    Raises
    ------
    InputError
        If there are no poses, or the box is not known.
    """
    if particles.pose is None:
        raise InputError("the particles have no poses", fix="refine them first")
    sizes = torch.tensor([group.pixel_size for group in particles.optics], dtype=torch.float64)[particles.optics_index.cpu()]
    sides = boxes_of(particles, box=box) * sizes
    rotations = particles.pose.lab_from_particle.detach().cpu().double().numpy().astype(np.float32)
    translations = (-particles.pose.shift.detach().cpu().double() / sides[:, None] + 0.0).numpy().astype(np.float32)
    write_numpy_pickle((rotations, translations), path)


def write_cryodrgn_ctf(particles: ParticleSet, path: str | Path, *, box: int | None = None) -> None:
    """Write the CTF as cryoDRGN's pickle: nine columns a particle, single precision.

    Raises
    ------
    InputError
        If there is no defocus, or the box is not known.
    """
    defocus = particles.defocus
    if defocus is None:
        raise InputError("the particles have no defocus", fix="estimate the CTF first")
    index = particles.optics_index.cpu().numpy()
    table = np.empty((len(particles), CTF_COLUMNS), np.float64)
    table[:, 0] = boxes_of(particles, box=box).numpy()
    settings = [
        (group.pixel_size, group.voltage_kv, group.spherical_aberration_mm, group.amplitude_contrast)
        for group in particles.optics
    ]
    table[:, [1, 5, 6, 7]] = np.array(settings, dtype=np.float64)[index]
    columns = (defocus.major, defocus.minor, defocus.azimuth / DEGREE, defocus.phase_shift / DEGREE)
    for place, values in zip((2, 3, 4, 8), columns, strict=True):
        table[:, place] = values.detach().cpu().double().numpy()
    write_numpy_pickle(table.astype(np.float32), path)


def read_indices(path: str | Path) -> Int[Tensor, " m"]:
    """The indices (from 0) of particles that cryoDRGN's `ind.pkl` selects.

    Raises
    ------
    InputError
        If these are no whole numbers from 0.
    SafetyRefusal
        If the pickle holds more than arrays.
    """
    path = Path(path)
    things = read_numpy_pickles(path)
    is_list = isinstance(things[0], list | tuple) and all(isinstance(each, int | np.integer) for each in things[0])
    found = np.array([int(each) for each in things[0]], dtype=object) if is_list else things[0]
    if is_list and all(abs(int(each)) < 2**62 for each in things[0]):
        found = found.astype(np.int64)
    if not isinstance(found, np.ndarray) or found.ndim != 1 or found.dtype.kind not in "iu":
        raise InputError(f"these are no indices, but {_in_words(things)}", file=path, expected="a list of whole numbers from 0")
    if len(found) and (int(found.min()) < 0 or int(found.max()) > 2**62):
        raise InputError(f"an index is {printable(found.min())}", file=path, expected="whole numbers from 0")
    return torch.from_numpy(found.astype(np.int64))


def write_indices(indices: Int[Tensor, " m"], path: str | Path) -> None:
    """Write indices (from 0) as cryoDRGN's `ind.pkl`."""
    write_numpy_pickle(indices.cpu().numpy().astype(np.int64), path)


def read_latents(path: str | Path) -> Latents:
    """The latents of a `z.N.pkl` of cryoDRGN: the means, and where a second array follows the logarithms of the variances.

    Raises
    ------
    InputError
        If these are no latents.
    SafetyRefusal
        If the pickle holds more than arrays.
    """
    path = Path(path)
    things = read_numpy_pickles(path)
    if not _is_array(things[0], (None, None)):
        raise InputError(f"these are no latents, but {_in_words(things)}", file=path, expected="an array [N, dimensions]")
    mean = torch.from_numpy(_numbers(things[0], "latent", path))
    if len(things) == 1:
        return Latents(mean=mean)
    if not _is_array(things[1], things[0].shape):
        raise InputError("the second array has another shape than the first", file=path, expected="logarithms of variances")
    return Latents(mean=mean, log_variance=torch.from_numpy(_numbers(things[1], "variance", path)))


def write_latents(latents: Latents, path: str | Path) -> None:
    """Write latents as cryoDRGN does: one pickle of the means, one of the logarithms of the variances where they are known; single precision."""
    parts = [latents.mean, *([] if latents.log_variance is None else [latents.log_variance])]
    write_numpy_pickles(tuple(part.detach().cpu().numpy().astype(np.float32) for part in parts), path)
