"""IMOD's transforms (`.xf`, `.prexf`, `.prexg`, `.tltxf`) and angles (`.tlt`, `.rawtlt`, `.xtilt`), and the poses that they give a tilt series.

A transform takes a raw image to the aligned one, whose tilt axis stands along y: X' = A X + D about the middle of the image, D in px of the raw image.
So the specimen's origin lies in the raw image at −A⁻¹D, and its tilt axis is turned by the angle whose rotation A undoes: RELION's rlnTomoZRot and
shifts. IMOD's middle is (n − 1)/2, ours and RELION's n // 2: half a pixel that RELION's import leaves out, and so do we.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.data.pose import Pose
from cryowalk.data.tilt_series import TiltSeries
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.text_rows import fixed, number_table, text_lines
from cryowalk.io.tilt_series_files import lab_from_specimen, read_angles, tilts_of, write_angles

TRANSFORM_ENDINGS = {".xf", ".prexf", ".prexg", ".tltxf", ".xg", ".rawxf"}
ANGLE_ENDINGS = {".tlt", ".rawtlt", ".xtilt"}
WORDS = "A11 A12 A21 A22 DX DY"
FLATTEST = 1e-6  # determinant below which a transform cannot be undone


@dataclass(frozen=True, slots=True, kw_only=True)
class Transforms:
    """Transforms of images, one each: x' = matrix · x + shift about the middle of the image, (x, y), the shift in px of the raw image."""

    matrices: Float[Tensor, "n 2 2"]
    shifts: Float[Tensor, "n 2"]

    def __len__(self) -> int:
        return self.shifts.shape[0]

    def __getitem__(self, selection: "Int[Tensor, ' m'] | Sequence[int] | slice") -> "Transforms":
        """The chosen ones, in the order of the selection."""
        chosen = selection if isinstance(selection, slice) else torch.as_tensor(selection)
        return Transforms(matrices=self.matrices[chosen], shifts=self.shifts[chosen])


@dataclass(frozen=True, slots=True, kw_only=True)
class AngleList:
    """Angles of the images of a tilt series, rad: about the tilt axis, or, in `.xtilt` files, about the x axis across it."""

    angles: Float[Tensor, " n"]
    about: Literal["tilt axis", "x"] = "tilt axis"

    def __len__(self) -> int:
        return self.angles.shape[0]


def read_transforms(path: str | Path) -> Transforms:
    """The transforms of an `.xf` file, in the order of the images.

    Raises
    ------
    InputError
        If a line does not hold six numbers, or a transform cannot be undone.
    """
    path = Path(path)
    rows = [(number, line.split()) for number, line in enumerate(text_lines(path), start=1) if line.strip()]
    values = torch.from_numpy(number_table(rows, columns=6, what=WORDS, path=path, largest=1e6))
    transforms = Transforms(matrices=values[:, :4].reshape(-1, 2, 2), shifts=values[:, 4:])
    flat = torch.nonzero(torch.linalg.det(transforms.matrices).abs() < FLATTEST).flatten()
    if len(flat):
        raise InputError("the transform cannot be undone: its determinant is 0", file=path, row=rows[int(flat[0])][0])
    return transforms


def write_transforms(transforms: Transforms, path: str | Path) -> None:
    """Write an `.xf` file as IMOD does (seven digits for matrices, three for shifts, more only where they are needed), all or nothing.

    Raises
    ------
    InputError
        If a number is not finite.
    """
    values = torch.cat((transforms.matrices.reshape(-1, 4), transforms.shifts), dim=1).detach().cpu().double()
    if not bool(torch.isfinite(values).all()):
        raise InputError("a transform is not finite", file=path)
    digits = (7, 7, 7, 7, 3, 3)
    rows = [
        "".join(fixed(value, digits=digit, width=12) for value, digit in zip(row, digits, strict=True)) for row in values.tolist()
    ]
    atomic_write_text(path, "".join(f"{row}\n" for row in rows))


def read_angle_list(path: str | Path) -> AngleList:
    """The angles of a `.tlt`, `.rawtlt` or `.xtilt` file, with the axis that its name tells.

    Raises
    ------
    InputError
        If a line is no angle between −180 and 180 degrees.
    """
    path = Path(path)
    is_across = ".xtilt" in [suffix.lower() for suffix in path.suffixes]
    return AngleList(angles=read_angles(path), about="x" if is_across else "tilt axis")


def write_angle_list(angles: AngleList, path: str | Path) -> None:
    """Write angles one a line in degrees, as IMOD reads them, all or nothing."""
    write_angles(angles.angles, path)


def tilt_axes(transforms: Transforms) -> Float[Tensor, " n"]:
    """RELION's rlnTomoZRot of each image, rad: how far the tilt axis is turned from y, counter-clockwise.

    θ = atan2(A12 − A21, A11 + A22), the rotation nearest to A⁻¹; for a pure rotation ± acos(A11), with the sign that A itself has.
    """
    (a11, a12), (a21, a22) = transforms.matrices.permute(1, 2, 0)
    return torch.atan2(a12 - a21, a11 + a22)


def pose_from_transforms(
    transforms: Transforms, tilt_angle: Float[Tensor, " n"], *, pixel_size: float, x_tilt: Float[Tensor, " n"] | None = None
) -> Pose:
    """Poses (specimen to lab) of aligned images: lab_from_specimen = Rz(θ) Ry(tilt) Rx(x tilt), shift = −A⁻¹D · pixel size, Å.

    `tilt_angle` are those of the `.tlt` file, rad. `pixel_size` is that of the images the transforms are for, Å.

    Raises
    ------
    InputError
        If transforms and angles differ in number.

    Source: RELION 5, src/align_tiltseries_runner.cpp (the import of IMOD's alignment).
    """
    if len(tilt_angle) != len(transforms) or (x_tilt is not None and len(x_tilt) != len(transforms)):
        raise InputError(f"{len(transforms)} transforms, and {len(tilt_angle)} tilt angles", expected="one of each for an image")
    x = torch.zeros_like(tilt_angle) if x_tilt is None else x_tilt
    tilts = torch.stack((x, tilt_angle, tilt_axes(transforms).to(tilt_angle)), dim=-1)
    shift = -torch.linalg.solve(transforms.matrices, transforms.shifts) * pixel_size
    return Pose(lab_from_particle=lab_from_specimen(tilts), shift=shift)


def transforms_from_pose(pose: Pose, *, pixel_size: float) -> Transforms:
    """IMOD's transforms of poses, pure rotations: A = R(−θ), D = −A · shift / pixel size."""
    angle = tilts_of(pose.lab_from_particle)[..., 2]
    cosine, sine = torch.cos(angle), torch.sin(angle)
    matrices = torch.stack((torch.stack((cosine, sine), dim=-1), torch.stack((-sine, cosine), dim=-1)), dim=-2)
    shifts = -(matrices @ pose.shift.to(matrices)[..., None])[..., 0] / pixel_size
    return Transforms(matrices=matrices, shifts=shifts)


def tilts_from_pose(pose: Pose) -> tuple[AngleList, AngleList]:
    """What `.tlt` and `.xtilt` files hold for these poses."""
    x, tilt, _ = tilts_of(pose.lab_from_particle).unbind(-1)
    return AngleList(angles=tilt), AngleList(angles=x, about="x")


def with_alignment(
    series: TiltSeries, transforms: Transforms, *, tilt_angle: Float[Tensor, " n"] | None = None, x_tilt: AngleList | None = None
) -> TiltSeries:
    """The series with the poses that IMOD's alignment gives its images; `tilt_angle` (rad) are refined ones of a `.tlt` file.

    Raises
    ------
    InputError
        If transforms, angles and images differ in number.
    """
    if len(transforms) != len(series):
        raise InputError(f"{len(transforms)} transforms are given for {len(series)} images of “{series.name}”")
    angles = series.tilt_angle if tilt_angle is None else tilt_angle
    pose = pose_from_transforms(
        transforms, angles, pixel_size=series.optics.pixel_size, x_tilt=None if x_tilt is None else x_tilt.angles
    )
    return replace(series, pose=pose)
