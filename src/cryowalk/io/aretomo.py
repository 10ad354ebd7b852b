"""AreTomo's alignments (`.aln`): one row for each image that was kept, those left out, and the shifts of patches.

AreTomo moves a raw image by −(TX, TY) px and then turns it by −ROT: the specimen's origin lies at (TX, TY) in the raw image, and ROT is the angle of
the tilt axis from y, counter-clockwise, as IMOD and RELION count it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError, printable
from cryowalk.core.units import DEGREE
from cryowalk.data.pose import Pose
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.imod import Transforms
from cryowalk.io.text_rows import fixed, number_table, real, text_lines, whole
from cryowalk.io.tilt_series_files import lab_from_specimen

ALN_ENDINGS = {".aln"}
TITLE = "AreTomo Alignment"
_SETTING = re.compile(r"#\s*(\w+)\s*=\s*(.*)")
_HEADING = "# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     TILT"
_ROW, _LOCAL = "SEC ROT GMAG TX TY SMEAN SFIT SCALE BASE TILT", "section, patch, x, y, dx, dy, good"
_DIGITS = ((0, 5), (4, 11), (5, 11), (3, 11), (3, 11), (2, 9), (2, 9), (2, 9), (2, 9), (2, 10))


@dataclass(frozen=True, slots=True, kw_only=True)
class DarkImage:
    """An image that was left out: its number and section as AreTomo counts them, and its tilt angle, rad."""

    number: int
    section: int
    tilt_angle: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalShifts:
    """Shifts of patches: for each the image and the patch (from 0), where it is and how far it lies off (x, y, px), and whether it is good."""

    images: Int[Tensor, " m"]
    patches: Int[Tensor, " m"]
    positions: Float[Tensor, "m 2"]
    shifts: Float[Tensor, "m 2"]
    quality: Float[Tensor, " m"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AreTomoAlignment:
    """AreTomo's alignment: for each image that was kept its section, the azimuth of the tilt axis from y and the tilt angle in rad, and shifts in px.

    `shifts` (x, y) are where the specimen's origin lies in the raw image. `statistics` are SMEAN, SFIT, SCALE and BASE as they stand.
    `raw_size` is (width, height, images). `alpha_offset` and `beta_offset` are rad. `settings` are further values of the header, as text.
    """

    sections: Int[Tensor, " n"]
    rotation: Float[Tensor, " n"]
    magnification: Float[Tensor, " n"]
    shifts: Float[Tensor, "n 2"]
    statistics: Float[Tensor, "n 4"]
    tilt_angle: Float[Tensor, " n"]
    raw_size: tuple[int, int, int] = (0, 0, 0)
    patches: int = 0
    dark: tuple[DarkImage, ...] = ()
    alpha_offset: float | None = None
    beta_offset: float | None = None
    local: LocalShifts | None = None
    title: str = f"{TITLE} / Priims bprmMn"
    settings: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.sections.shape[0]

    def transforms(self) -> Transforms:
        """IMOD's transforms of the images that were kept."""
        cosine, sine = torch.cos(self.rotation), torch.sin(self.rotation)
        matrices = torch.stack((torch.stack((cosine, sine), dim=-1), torch.stack((-sine, cosine), dim=-1)), dim=-2)
        return Transforms(matrices=matrices, shifts=-(matrices @ self.shifts[..., None])[..., 0])

    def pose(self, *, pixel_size: float) -> Pose:
        """Poses (specimen to lab) of the images that were kept; `pixel_size` (Å) is that of the images that were aligned."""
        tilts = torch.stack((torch.zeros_like(self.tilt_angle), self.tilt_angle, self.rotation), dim=-1)
        return Pose(lab_from_particle=lab_from_specimen(tilts), shift=self.shifts * pixel_size)


def read_aretomo(path: str | Path) -> AreTomoAlignment:
    """The alignment in an `.aln` file of AreTomo 1, 2 or 3.

    Raises
    ------
    InputError
        If it holds none, or a row is damaged.
    """
    path = Path(path)
    settings: dict[str, tuple[int, str]] = {}
    dark: list[DarkImage] = []
    title, is_local = "", False
    rows: dict[bool, list[tuple[int, list[str]]]] = {False: [], True: []}
    for number, line in enumerate(text_lines(path), start=1):
        if not line.lstrip().startswith("#"):
            if line.strip():
                rows[is_local].append((number, line.split()))
            continue
        setting = _SETTING.match(line.strip())
        if TITLE.lower() in line.lower():
            title = line.strip().lstrip("# ")
        elif setting and setting[1] == "DarkFrame":
            dark.append(_dark(setting[2], path, number))
        elif setting:
            settings[setting[1]] = (number, setting[2].strip())
        is_local = is_local or "local alignment" in line.lower()
    if not title or not rows[False]:
        raise InputError("the file holds no alignment", file=path, expected="an .aln file of AreTomo with a row for each image")
    return _alignment(rows, path, settings=settings, dark=tuple(dark), title=title)


def _alignment(
    rows: Mapping[bool, list[tuple[int, list[str]]]],
    path: Path,
    *,
    settings: dict[str, tuple[int, str]],
    dark: tuple[DarkImage, ...],
    title: str,
) -> AreTomoAlignment:
    """The alignment of these rows and values."""
    values = torch.from_numpy(number_table(rows[False], columns=10, what=_ROW, path=path, largest=1e6))

    def angle(key: str) -> float | None:
        number, text = settings.pop(key, (0, ""))
        return real(text, what=key, path=path, line=number, low=-360, high=360) * DEGREE if number else None

    line, text = settings.pop("RawSize", (0, "0 0 0"))
    size = [whole(one, what="RawSize", path=path, line=line, low=0) for one in text.split()]
    if len(size) != 3:
        raise InputError(f"RawSize is “{printable(text[:40])}”", file=path, row=line, expected="width, height, images")
    line, text = settings.pop("NumPatches", (0, "0"))
    return AreTomoAlignment(
        sections=values[:, 0].long(),
        rotation=values[:, 1] * DEGREE,
        magnification=values[:, 2],
        shifts=values[:, 3:5],
        statistics=values[:, 5:9],
        tilt_angle=values[:, 9] * DEGREE,
        raw_size=(size[0], size[1], size[2]),
        patches=whole(text, what="NumPatches", path=path, line=line, low=0),
        dark=dark,
        alpha_offset=angle("AlphaOffset"),
        beta_offset=angle("BetaOffset"),
        local=_local(rows[True], path),
        title=title,
        settings={key: value for key, (_, value) in settings.items()},
    )


def _dark(text: str, path: Path, line: int) -> DarkImage:
    """The image that a line DarkFrame tells of."""
    cells = text.split()
    if len(cells) != 3:
        raise InputError(f"DarkFrame has {len(cells)} values", file=path, row=line, expected="number, section, tilt angle")
    number, section = (whole(cell, what="DarkFrame", path=path, line=line) for cell in cells[:2])
    angle = real(cells[2], what="the tilt angle of DarkFrame", path=path, line=line, low=-180, high=180)
    return DarkImage(number=number, section=section, tilt_angle=angle * DEGREE)


def _local(rows: list[tuple[int, list[str]]], path: Path) -> LocalShifts | None:
    """The shifts of patches."""
    if not rows:
        return None
    values = torch.from_numpy(number_table(rows, columns=7, what=_LOCAL, path=path, largest=1e6))
    return LocalShifts(
        images=values[:, 0].long(),
        patches=values[:, 1].long(),
        positions=values[:, 2:4],
        shifts=values[:, 4:6],
        quality=values[:, 6],
    )


def write_aretomo(alignment: AreTomoAlignment, path: str | Path) -> None:
    """Write an `.aln` file, all or nothing; numbers with AreTomo's digits, more only where they are needed.

    Raises
    ------
    InputError
        If a number is not finite.
    """
    angles = (torch.rad2deg(alignment.rotation.double()), torch.rad2deg(alignment.tilt_angle.double()))
    columns = (
        alignment.sections,
        angles[0],
        alignment.magnification,
        *alignment.shifts.unbind(1),
        *alignment.statistics.unbind(1),
    )
    values = torch.stack([column.detach().cpu().double() for column in (*columns, angles[1])], dim=1)
    if not bool(torch.isfinite(values).all()):
        raise InputError("a value of the alignment is not finite", file=path)
    lines = [
        f"# {alignment.title}",
        "# RawSize = " + " ".join(map(str, alignment.raw_size)),
        f"# NumPatches = {alignment.patches}",
    ]
    lines += [
        f"# DarkFrame = {one.number:5d} {one.section:4d} {fixed(round(one.tilt_angle / DEGREE, 9), digits=2, width=8)}"
        for one in alignment.dark
    ]
    for key, offset in (("AlphaOffset", alignment.alpha_offset), ("BetaOffset", alignment.beta_offset)):
        if offset is not None:
            lines.append(f"# {key} = {fixed(round(offset / DEGREE, 9), digits=2, width=8)}")
    lines += [f"# {key} = {text}" for key, text in alignment.settings.items()]
    lines.append(_HEADING)
    lines += [_row_text(row) for row in values.tolist()]
    lines += _local_lines(alignment.local)
    atomic_write_text(path, "\n".join(lines) + "\n")


def _row_text(row: list[float]) -> str:
    """One row of the table of images."""
    return "".join(
        fixed(round(value, 9), digits=digits, width=width) if digits else f"{int(value):{width}d}"
        for value, (digits, width) in zip(row, _DIGITS, strict=True)
    )


def _local_lines(local: LocalShifts | None) -> list[str]:
    """The rows of the shifts of patches."""
    if local is None:
        return []
    lines = ["# Local Alignment"]
    numbers = torch.cat((local.positions, local.shifts), dim=1).tolist()
    for image, patch, four, quality in zip(
        local.images.tolist(), local.patches.tolist(), numbers, local.quality.tolist(), strict=True
    ):
        places = " ".join(fixed(value, digits=2, width=width) for value, width in zip(four, (8, 9, 9, 9), strict=True))
        lines.append(f"{image:4d}{patch:4d} {places} {fixed(quality, digits=1, width=5)}")
    return lines
