"""What Gctf says of a micrograph: the final values in `*_gctf.log`, and the radial profile in `*_EPA.log`.

Its STAR files are RELION 3.0's tables of micrographs and are read as such (`read_micrographs`). Phase shifts are degrees there.
"""

import re
from pathlib import Path

import torch

from cryowalk.core.errors import InputError
from cryowalk.core.units import DEGREE
from cryowalk.data.optics import Defocus, Optics
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.ctf_tables import CtfProfile, CtfProfiles, CtfTable
from cryowalk.io.text_rows import fixed, is_number, number_table, real, text_lines

FINAL, PROFILE = "Final Values", "EPA"
_NAMES = {
    "Defocus_U": "defocus U", "Defocus_V": "defocus V", "Angle": "angle", "Phase_shift": "phase shift", "CCC": "CCC",
}  # fmt: skip
_LIMIT = re.compile(r"RES_LIMIT\s+(\S+)")
_OPTICS = {
    "pixel_size": re.compile(r"--?apix\s+(\S+)"),
    "voltage_kv": re.compile(r"--?kV\s+(\S+)", re.IGNORECASE),
    "spherical_aberration_mm": re.compile(r"--?cs\s+(\S+)", re.IGNORECASE),
    "amplitude_contrast": re.compile(r"--?ac\s+(\S+)", re.IGNORECASE),
}
CURVES = ("fit", "spectrum", "spectrum_on_rings", "agreement")
FINEST, COARSEST = 0.1, 1e5  # Å


def read_gctf_log(path: str | Path) -> CtfTable:
    """The CTF of each micrograph of a log of Gctf, in the order of the log.

    Raises
    ------
    InputError
        If there is none, or a value is no number.
    """
    path = Path(path)
    lines = text_lines(path)
    names: list[str] = []
    rows: list[tuple[float, ...]] = []
    columns: list[str] = []
    limits: list[float] = []
    name = ""
    for number, line in enumerate(lines, start=1):
        cells = line.split()
        name = next((cell for cell in cells if _is_image(cell)), name)
        if {"Defocus_U", "Defocus_V", "Angle"} <= set(cells):
            columns = cells
        elif line.rstrip().endswith(FINAL):
            rows.append(_final_values(cells[:-2], columns, path, number))
            names.append(name or str(len(rows)))
            limits.append(torch.inf)
        elif rows and (match := _LIMIT.search(line)):
            limits[-1] = real(match[1], what="RES_LIMIT", path=path, line=number, low=FINEST, high=COARSEST)
    if not rows:
        raise InputError("the log holds no final values", file=path, expected=f"a log of Gctf with a line that ends in {FINAL}")
    values = torch.tensor(rows, dtype=torch.float64)
    return CtfTable(
        names=tuple(names),
        defocus=Defocus(major=values[:, 0], minor=values[:, 1], azimuth=values[:, 2] * DEGREE, phase_shift=values[:, 3] * DEGREE),
        merit=values[:, 4],
        fitted_to=torch.tensor(limits, dtype=torch.float64),
        optics=_optics(lines, path),
    )


def _is_image(cell: str) -> bool:
    """Whether a word is the name of an image."""
    return cell.endswith((".mrc", ".mrcs"))


def _final_values(cells: list[str], columns: list[str], path: Path, line: int) -> tuple[float, ...]:
    """Defocus U and V in Å, angle and phase shift in degrees, and the correlation."""
    columns = columns or [name for name in _NAMES if name != "Phase_shift" or len(cells) == len(_NAMES)]
    if len(cells) != len(columns):
        raise InputError(f"the row has {len(cells)} values, the heading {len(columns)}", file=path, row=line)
    found = dict(zip(columns, cells, strict=True))
    absent = [name for name in ("Defocus_U", "Defocus_V", "Angle", "CCC") if name not in found]
    if absent:
        raise InputError(f"the final values lack {', '.join(absent)}", file=path, row=line)
    return tuple(real(found.get(name, "0"), what=what, path=path, line=line, low=-1e6, high=1e6) for name, what in _NAMES.items())


def _optics(lines: list[str], path: Path) -> Optics | None:
    """What Gctf was told on its command line, where the log holds all of it."""
    found: dict[str, float] = {}
    for number, line in enumerate(lines, start=1):
        for name, pattern in _OPTICS.items():
            match = pattern.search(line) if name not in found else None
            if match and is_number(match[1]):
                found[name] = real(match[1], what=name, path=path, line=number, low=0.0, high=1e4)
    if set(found) != set(_OPTICS) or not found["pixel_size"] or not found["voltage_kv"]:
        return None
    return Optics(**found)  # type: ignore[arg-type]


def write_gctf_log(table: CtfTable, path: str | Path) -> None:
    """Write final values as Gctf's log gives them, all or nothing.

    Raises
    ------
    InputError
        If there are none, or one is not finite.
    """
    defocus = table.defocus
    columns = (defocus.major, defocus.minor, defocus.azimuth / DEGREE, defocus.phase_shift / DEGREE, table.merit)
    values = torch.stack([column.detach().cpu().double() for column in columns], dim=1)
    if not len(table) or not bool(torch.isfinite(values).all()):
        raise InputError("a value of the CTF is not finite, or there are none", file=path)
    lines = []
    if table.optics is not None:
        group = table.optics
        lines.append(
            f"Gctf --apix {group.pixel_size!r} --kV {group.voltage_kv!r} --cs {group.spherical_aberration_mm!r} --ac {group.amplitude_contrast!r}"
        )
    for name, row, limit in zip(table.names, values.tolist(), table.fitted_to.tolist(), strict=True):
        texts = [fixed(round(value, 9), digits=6, width=14) for value in row]
        lines += [
            f"Opening {name} ..." if _is_image(name) else "",
            "".join(f"{label:>14}" for label in _NAMES),
            f"{''.join(texts)}  {FINAL}",
        ]
        if limit < torch.inf:
            lines.append(f"Resolution limit estimated by EPA: RES_LIMIT {limit!r}")
    atomic_write_text(path, "\n".join(lines) + "\n")


def read_gctf_profile(path: str | Path) -> CtfProfiles:
    """The radial profile of an `*_EPA.log`: resolution in Å becomes frequency in 1/Å.

    Raises
    ------
    InputError
        If the file is no such profile.
    """
    path = Path(path)
    lines = text_lines(path)
    first = next((number for number, line in enumerate(lines) if "Resolution" in line and PROFILE in line), None)
    if first is None:
        raise InputError("the file holds no profile of Gctf", file=path, expected="a heading Resolution … EPA … CCC")
    rows = [(number + 1, lines[number].split()) for number in range(first + 1, len(lines)) if lines[number].strip()]
    values = torch.from_numpy(number_table(rows, columns=5, what="resolution, CTF, EPA, EPA less background, CCC", path=path))
    wrong = torch.nonzero((values[:, 0] < FINEST) | (values[:, 0] > COARSEST)).flatten()
    if len(wrong) or not rows:
        line = rows[int(wrong[0])][0] if len(wrong) else first + 1
        raise InputError("the profile is empty, or a resolution is none", file=path, row=line, expected="Å from 0.1")
    return CtfProfiles(
        profiles=(CtfProfile(frequency=1 / values[:, 0], curves=dict(zip(CURVES, values[:, 1:].unbind(1), strict=True))),)
    )


def write_gctf_profile(profiles: CtfProfiles, path: str | Path) -> None:
    """Write the profile of one micrograph as `*_EPA.log`, all or nothing; a frequency of 0 is left out, since it has no resolution.

    Raises
    ------
    InputError
        If there is not exactly one, or a value is not finite.
    """
    if len(profiles) != 1:
        raise InputError(f"{len(profiles)} profiles cannot stand in one EPA log", file=path, expected="one")
    profile = profiles.profiles[0]
    curves = [profile.curves.get(name, torch.zeros_like(profile.frequency)) for name in CURVES]
    values = torch.stack([profile.frequency, *curves], dim=1).detach().cpu().double()
    values = values[values[:, 0] > 0]
    if not bool(torch.isfinite(values).all()):
        raise InputError("a profile holds values that are not finite", file=path)
    lines = ["Resolution       |CTF|sim    EPA(Ln|F|)  EPA(Ln|F|-Bg)           CCC"]
    for frequency, *rest in values.tolist():
        lines.append("".join(fixed(round(value, 9), digits=6, width=14) for value in (1 / frequency, *rest)))
    atomic_write_text(path, "\n".join(lines) + "\n")
