"""What CTFFIND 4 and 5 say of micrographs: the summary (`*.txt`) and the radial profiles (`*_avrot.txt`).

Defocus is in Å, underfocus positive, in both; the azimuth of the larger defocus is from +x towards +y. CTFFIND's phase shifts are rad.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.core.units import DEGREE
from cryowalk.data.optics import Defocus, Optics
from cryowalk.data.tilt_series import TiltSeries
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.text_rows import fixed, is_number, number_table, real, text_lines

TITLE = "CTFFind"
SUMMARY_MARK, PROFILE_MARK = "micrograph number", "lines per micrograph"
_OPTICS = {
    "pixel_size": re.compile(r"Pixel size:\s*(\S+)\s*Angstroms"),
    "voltage_kv": re.compile(r"acceleration voltage:\s*(\S+)\s*keV"),
    "spherical_aberration_mm": re.compile(r"spherical aberration:\s*(\S+)\s*mm"),
    "amplitude_contrast": re.compile(r"amplitude contrast:\s*([0-9.eE+-]+)"),
}
_WORDS = "number, defocus 1, defocus 2, azimuth, phase shift, cross correlation, fitted to"
_COLUMNS = "#1 - micrograph number; #2 - defocus 1 [Angstroms]; #3 - defocus 2; #4 - azimuth of astigmatism; #5 - additional phase shift [radians]; #6 - cross correlation; #7 - spacing (in Angstroms) up to which CTF rings were fit successfully"
_MORE_COLUMNS = "; #8 - Estimated tilt axis angle; #9 - Estimated tilt angle ; #10 Estimated sample thickness (in Angstroms)"
_PROFILES = "6 lines per micrograph: #1 - spatial frequency (1/Angstroms); #2 - 1D rotational average of spectrum (assuming no astigmatism); #3 - 1D rotational average of spectrum; #4 - CTF fit; #5 - cross-correlation between spectrum and CTF fit; #6 - 2sigma of expected cross correlation of noise"
LINES = 6  # of a micrograph in a file of profiles
OLD, NEW = 7, 10  # columns of CTFFIND 4 and of CTFFIND 5
LARGEST_DEFOCUS = 1e6  # Å


@dataclass(frozen=True, slots=True, kw_only=True)
class CtfTable:
    """The CTF of each micrograph or tilt image: its number or name, defocus, figure of merit, and the spacing up to which the fit held, Å.

    An infinite spacing says that none did. `optics` is what the program was told. The tilt of the specimen (rad) and its thickness (Å) are there
    where CTFFIND 5 looked for them. `comments` are the lines of the header.
    """

    names: tuple[str, ...]
    defocus: Defocus
    merit: Float[Tensor, " n"]
    fitted_to: Float[Tensor, " n"]
    optics: Optics | None = None
    tilt_axis: Float[Tensor, " n"] | None = None
    tilt_angle: Float[Tensor, " n"] | None = None
    thickness: Float[Tensor, " n"] | None = None
    comments: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class CtfProfile:
    """Radial profiles of one micrograph: frequency in 1/Å, and curves by name (`spectrum`, `spectrum_on_rings`, `fit`, `agreement`, `noise`).

    `spectrum` is averaged over circles, `spectrum_on_rings` over lines of equal defocus; `agreement` is the correlation of spectrum and fit,
    `noise` twice the deviation expected of it.
    """

    frequency: Float[Tensor, " k"]
    curves: Mapping[str, Float[Tensor, " k"]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CtfProfiles:
    """The radial profiles of one or more micrographs, the settings of the program, and the lines of the header."""

    profiles: tuple[CtfProfile, ...]
    optics: Optics | None = None
    comments: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.profiles)


def _split(path: Path) -> tuple[tuple[str, ...], list[tuple[int, list[str]]]]:
    """The lines of the header without their `#`, and the rows of numbers."""
    comments, rows = [], []
    for number, line in enumerate(text_lines(path), start=1):
        if line.lstrip().startswith("#"):
            comments.append(line.strip().lstrip("#").strip())
        elif line.strip():
            rows.append((number, line.split()))
    return tuple(comments), rows


def _optics(comments: tuple[str, ...], path: Path) -> Optics | None:
    """What the program was told, where the header says all of it."""
    text = "\n".join(comments)
    found = {name: match[1] for name, pattern in _OPTICS.items() if (match := pattern.search(text))}
    if set(found) != set(_OPTICS):
        return None
    line = next(number for number, comment in enumerate(comments, start=1) if "Pixel size" in comment)
    values = {
        name: real(text, what=name.replace("_", " "), path=path, line=line, low=0.0, high=1e4) for name, text in found.items()
    }
    if not values["pixel_size"] or not values["voltage_kv"]:
        raise InputError("the pixel size or the voltage is 0", file=path, row=line)
    return Optics(**values)  # type: ignore[arg-type]


def read_ctffind(path: str | Path) -> CtfTable:
    """The CTFs of a summary of CTFFIND 4 or 5, or of AreTomo, which writes the same columns.

    Raises
    ------
    InputError
        If the file is no such summary, or a row of it is damaged.
    """
    path = Path(path)
    comments, rows = _split(path)
    if not any(SUMMARY_MARK in comment for comment in comments) or not rows:
        raise InputError(
            "the file holds no table of CTFs", file=path, expected="a summary of CTFFIND with a row for each micrograph"
        )
    count = NEW if len(rows[0][1]) == NEW else OLD
    # a spacing may be inf where no ring was fitted, and columns 6 to 10 nan where nothing was looked for
    cells = [
        (line, [text if place < 5 or is_number(text) else _lost(text, place) for place, text in enumerate(row)])
        for line, row in rows
    ]
    values = torch.from_numpy(number_table(cells, columns=count, what=_WORDS, path=path))
    values = torch.where(values.abs() >= 1e11, torch.full_like(values, torch.inf), values)
    if bool((values[:, 1:3].abs() > LARGEST_DEFOCUS).any()):
        row = int(torch.nonzero((values[:, 1:3].abs() > LARGEST_DEFOCUS).any(1))[0])
        raise InputError(f"the defocus is {rows[row][1][1]} and {rows[row][1][2]} Å", file=path, row=rows[row][0])
    defocus = Defocus(major=values[:, 1], minor=values[:, 2], azimuth=values[:, 3] * DEGREE, phase_shift=values[:, 4])
    table = CtfTable(
        names=tuple(str(int(number)) for number in values[:, 0].tolist()),
        defocus=defocus,
        merit=values[:, 5],
        fitted_to=values[:, 6],
        optics=_optics(comments, path),
        comments=comments,
    )
    if count == OLD:
        return table
    return replace(table, tilt_axis=values[:, 7] * DEGREE, tilt_angle=values[:, 8] * DEGREE, thickness=values[:, 9])


def _lost(text: str, place: int) -> str:
    """A number in place of inf or nan: a huge spacing, a merit of 0; anything else is left to be told of."""
    if text.lower().lstrip("+-") not in ("inf", "nan", "infinity"):
        return text
    return "1e12" if place == OLD - 1 else "0"


def write_ctffind(table: CtfTable, path: str | Path) -> None:
    """Write a summary as CTFFIND does, all or nothing; numbers with six digits, more only where they are needed.

    Rows are numbered from 1; names that are no numbers are not kept, since the format has no place for them.

    Raises
    ------
    InputError
        If there are no micrographs, or a defocus is not finite.
    """
    if not len(table):
        raise InputError("there are no CTFs to write", file=path)
    defocus = table.defocus
    numbers = [float(name) if name.isdigit() else float(row + 1) for row, name in enumerate(table.names)]
    columns = [torch.tensor(numbers), defocus.major, defocus.minor, defocus.azimuth / DEGREE, defocus.phase_shift, table.merit]
    columns.append(table.fitted_to)
    if table.tilt_axis is not None and table.tilt_angle is not None and table.thickness is not None:
        columns += [table.tilt_axis / DEGREE, table.tilt_angle / DEGREE, table.thickness]
    values = torch.stack([column.detach().cpu().double() for column in columns], dim=1)
    if not bool(torch.isfinite(values[:, :6]).all()):
        raise InputError("a value of the CTF is not finite", file=path)
    header = table.comments or _header(
        table.optics, f"{_COLUMNS}{_MORE_COLUMNS if len(columns) == NEW else ''}", count=len(table)
    )
    rows = (" ".join(fixed(round(value, 9), digits=6) for value in row) for row in values.tolist())
    atomic_write_text(path, "".join(f"{line}\n" for line in (*(f"# {comment}" for comment in header), *rows)))


def _header(optics: Optics | None, columns: str, *, count: int) -> tuple[str, ...]:
    """The lines before the rows."""
    lines = [f"Output in the form of {TITLE} version 4, written by cryowalk", f"Input file: ; Number of micrographs: {count}"]
    if optics is not None:
        lines.append(
            f"Pixel size: {optics.pixel_size!r} Angstroms ; acceleration voltage: {optics.voltage_kv!r} keV ; spherical aberration: "
            f"{optics.spherical_aberration_mm!r} mm ; amplitude contrast: {optics.amplitude_contrast!r}"
        )
    lines.append(columns if columns.startswith(str(LINES)) else f"Columns: {columns}")
    return tuple(lines)


CURVES = ("spectrum", "spectrum_on_rings", "fit", "agreement", "noise")


def read_ctffind_profiles(path: str | Path) -> CtfProfiles:
    """The radial profiles of CTFFIND's `*_avrot.txt`.

    Raises
    ------
    InputError
        If the file is no such file, or a line of it is damaged.
    """
    path = Path(path)
    comments, rows = _split(path)
    if not any(PROFILE_MARK in comment for comment in comments) or not rows or len(rows) % LINES:
        raise InputError(
            f"{len(rows)} lines of numbers are no profiles of CTFFIND",
            file=path,
            expected=f"a header that says so and {LINES} lines for each micrograph",
        )
    profiles = []
    for first in range(0, len(rows), LINES):
        block = rows[first : first + LINES]
        cells = [(line, [text if is_number(text) else _lost(text, 0) for text in row]) for line, row in block]
        values = torch.from_numpy(number_table(cells, columns=len(block[0][1]), what="values of a profile", path=path))
        profiles.append(CtfProfile(frequency=values[0], curves=dict(zip(CURVES, values[1:], strict=True))))
    return CtfProfiles(profiles=tuple(profiles), optics=_optics(comments, path), comments=comments)


def write_ctffind_profiles(profiles: CtfProfiles, path: str | Path) -> None:
    """Write profiles as CTFFIND's `*_avrot.txt`, all or nothing; curves that are not there are 0.

    Raises
    ------
    InputError
        If there are none, or a value is not finite.
    """
    lines = [f"# {comment}" for comment in profiles.comments or _header(profiles.optics, _PROFILES, count=len(profiles))]
    for profile in profiles.profiles:
        curves = [profile.curves.get(name, torch.zeros_like(profile.frequency)) for name in CURVES]
        values = torch.stack([profile.frequency, *curves]).detach().cpu().double()
        if not bool(torch.isfinite(values).all()):
            raise InputError("a profile holds values that are not finite", file=path)
        lines += [" ".join(fixed(value, digits=6) for value in row) for row in values.tolist()]
    if not profiles.profiles:
        raise InputError("there are no profiles to write", file=path)
    atomic_write_text(path, "".join(f"{line}\n" for line in lines))


def with_ctf(series: TiltSeries, table: CtfTable) -> TiltSeries:
    """The tilt series with the defocus that a table gives its images, row for image in their order.

    Raises
    ------
    InputError
        If they differ in number.
    """
    if len(table) != len(series):
        raise InputError(f"{len(table)} CTFs are given for {len(series)} images of “{series.name}”")
    return replace(series, defocus=table.defocus)
