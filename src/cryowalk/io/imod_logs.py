"""What IMOD's tiltalign found (`align.log`, `taSolution.log`): a row for each view, and single values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.core.units import DEGREE, NANOMETRE
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.text_rows import number_table, real, text_lines

HEADER = re.compile(r"\s*view\s+rotation\s+tilt\s+deltilt\s+mag\s+dmag\s+skew\s+(?:mean )?resid(?P<unit>-nm)?\s*$", re.IGNORECASE)
_COLUMNS = 8
_VALUES = {
    "beam_tilt": re.compile(r"Beam tilt angle is\s+(\S+)\s+degrees"),
    "rotation_at_lowest_tilt": re.compile(r"At minimum tilt, rotation angle is\s+(\S+)"),
    "residual_mean": re.compile(r"Residual error mean and sd:\s+(\S+)\s+\S+\s+nm"),
    "residual_deviation": re.compile(r"Residual error mean and sd:\s+\S+\s+(\S+)\s+nm"),
}
_ENTRY = re.compile(r"\s\s([A-Za-z]\w*) = (.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentLog:
    """The solution of tiltalign for each view (counted from 1): rotation, tilt, its change and skew in rad, magnification, mean residual in Å.

    `residual` is None where the log gives pixels. `beam_tilt` and `rotation_at_lowest_tilt` are rad, `residual_mean` and `residual_deviation` Å. `entries` are the
    parameters that tiltalign was run with, as text.
    """

    views: Int[Tensor, " n"]
    rotation: Float[Tensor, " n"]
    tilt_angle: Float[Tensor, " n"]
    tilt_change: Float[Tensor, " n"]
    magnification: Float[Tensor, " n"]
    magnification_change: Float[Tensor, " n"]
    skew: Float[Tensor, " n"]
    residual: Float[Tensor, " n"] | None = None
    beam_tilt: float | None = None
    rotation_at_lowest_tilt: float | None = None
    residual_mean: float | None = None
    residual_deviation: float | None = None
    entries: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.views.shape[0]

    @property
    def angle_offset(self) -> float:
        """The AngleOffset that was added to all tilt angles, rad; RELION takes it off again."""
        text = self.entries.get("AngleOffset", "0")
        return real(text.split()[0] if text.split() else text, what="AngleOffset", path=None, line=None) * DEGREE


def read_alignment_log(path: str | Path) -> AlignmentLog:
    """The last solution that a log holds.

    Raises
    ------
    InputError
        If it holds none, or a row or value of it is damaged.
    """
    path = Path(path)
    lines = text_lines(path)
    starts = [(number, match) for number, line in enumerate(lines) if (match := HEADER.match(line))]
    if not starts:
        raise InputError(
            "the log holds no table of views",
            file=path,
            expected="align.log or taSolution.log of IMOD, with view, rotation, tilt …",
        )
    first, header = starts[-1]
    rows = []
    for number in range(first + 1, len(lines)):
        cells = lines[number].split()
        if not cells or not cells[0].isdigit():
            break
        rows.append((number + 1, cells))
    if not rows:
        raise InputError("the table of views is empty", file=path, row=first + 1)
    values = torch.from_numpy(number_table(rows, columns=_COLUMNS, what="view, rotation, tilt …, residual", path=path))
    residual = values[:, 7] * NANOMETRE if header["unit"] else None
    return AlignmentLog(
        views=values[:, 0].long(),
        rotation=values[:, 1] * DEGREE,
        tilt_angle=values[:, 2] * DEGREE,
        tilt_change=values[:, 3] * DEGREE,
        magnification=values[:, 4],
        magnification_change=values[:, 5],
        skew=values[:, 6] * DEGREE,
        residual=residual,
        entries=_entries(lines),
        **_single_values(lines, path),
    )


def _single_values(lines: list[str], path: Path) -> dict[str, float]:
    """The single values, the last of each."""
    scale = {"beam_tilt": DEGREE, "rotation_at_lowest_tilt": DEGREE, "residual_mean": NANOMETRE, "residual_deviation": NANOMETRE}
    found: dict[str, float] = {}
    for number, line in enumerate(lines, start=1):
        for name, pattern in _VALUES.items():
            match = pattern.search(line)
            if match:
                found[name] = real(match[1], what=name.replace("_", " "), path=path, line=number) * scale[name]
    return found


def _entries(lines: list[str]) -> dict[str, str]:
    """The parameters that tiltalign was run with."""
    is_inside, found = False, dict[str, str]()
    for line in lines:
        if line.startswith("*** Entries to program"):
            is_inside = line.split()[4:5] == ["tiltalign"]
        elif line.startswith("*** End of entries"):
            is_inside = False
        elif is_inside and (match := _ENTRY.fullmatch(line.rstrip())):
            found[match[1]] = match[2]
    return found


def write_alignment_log(log: AlignmentLog, path: str | Path) -> None:
    """Write a solution as `taSolution.log`, with the digits that IMOD gives (a tenth of a degree, a hundredth of a nm), all or nothing.

    Raises
    ------
    InputError
        If a number is not finite.
    """
    columns = (log.rotation, log.tilt_angle, log.tilt_change, log.magnification, log.magnification_change, log.skew)
    scale = (DEGREE, DEGREE, DEGREE, 1.0, 1.0, DEGREE)
    residual = torch.zeros_like(log.rotation) if log.residual is None else log.residual / NANOMETRE
    values = torch.stack([*(column / unit for column, unit in zip(columns, scale, strict=True)), residual], dim=1)
    if not bool(torch.isfinite(values).all()):
        raise InputError("a value of the solution is not finite", file=path)
    lines = []
    if log.beam_tilt is not None:
        lines += [f"Beam tilt angle is {log.beam_tilt / DEGREE:7.2f} degrees", ""]
    if log.rotation_at_lowest_tilt is not None:
        lines += [f"At minimum tilt, rotation angle is {log.rotation_at_lowest_tilt / DEGREE:7.2f}", ""]
    lines.append(
        f" view   rotation    tilt    deltilt     mag      dmag      skew    resid{'' if log.residual is None else '-nm'}"
    )
    for view, row in zip(log.views.tolist(), values.tolist(), strict=True):
        rotation, tilt, change, scale_, growth, skew, rest = row
        lines.append(f"{view:4d}{rotation:10.1f}{tilt:10.1f}{change:10.2f}{scale_:10.4f}{growth:10.4f}{skew:10.2f}{rest:10.2f}")
    if log.residual_mean is not None and log.residual_deviation is not None:
        mean, deviation = log.residual_mean / NANOMETRE, log.residual_deviation / NANOMETRE
        lines += ["", f" Residual error mean and sd: {mean:9.3f}{deviation:8.3f} nm"]
    if log.entries:
        entries = [f"  {key} = {text}" for key, text in log.entries.items()]
        lines += ["", "*** Entries to program tiltalign ***", *entries, "*** End of entries ***"]
    atomic_write_text(path, "\n".join(lines) + "\n")
