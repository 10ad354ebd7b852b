"""SerialEM's `.mdoc` files: single values, titles, and one section for each image, every key and text kept as it is.

Angles are degrees, pixels Å, defocus μm (negative is underfocus), doses e⁻/Å²; paths are those of the camera's computer, usually with backslashes.

Source: SerialEM's help, "About .mdoc files"; file-conventions of this project.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PureWindowsPath

import numpy as np
import torch

from cryowalk.core.errors import InputError, printable
from cryowalk.core.units import DEGREE, MICROMETRE
from cryowalk.data.optics import Defocus, Optics
from cryowalk.data.tilt_series import TiltSeries
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.opening import read_text

MDOC_ENDINGS = {".mdoc"}
IMAGE, TITLE = "ZValue", "T"
_HEADING = re.compile(r"\[\s*([A-Za-z]\w*)\s*=(.*)\]\s*$")
_AXIS = re.compile(r"tilt axis angle\s*=\s*(-?[0-9.]+)", re.IGNORECASE)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TIMES = ("%d-%b-%Y  %H:%M:%S", "%d-%b-%y  %H:%M:%S", "%d-%b-%Y %H:%M:%S", "%d-%b-%y %H:%M:%S", "%Y-%m-%d %H:%M:%S")


@dataclass(frozen=True, slots=True, kw_only=True)
class MdocSection:
    """One section: its heading as kind and value (`[ZValue = 3]`), both empty for what stands before the first, and its entries in order."""

    kind: str = ""
    value: str = ""
    entries: tuple[tuple[str, str], ...] = ()
    line: int = 0

    def get(self, key: str) -> str | None:
        """The text of a key, the last one where it stands more than once, or None."""
        return next((text for name, text in reversed(self.entries) if name == key), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mdoc:
    """The sections of a file in their order."""

    sections: tuple[MdocSection, ...]
    path: Path | None = None

    @property
    def settings(self) -> Mapping[str, str]:
        """The single values that stand before the first section."""
        return dict(entry for section in self.sections if not section.kind for entry in section.entries)

    @property
    def titles(self) -> tuple[str, ...]:
        """The titles."""
        return tuple(section.value for section in self.sections if section.kind == TITLE)

    @property
    def images(self) -> tuple[MdocSection, ...]:
        """The sections of the images."""
        return tuple(section for section in self.sections if section.kind == IMAGE)

    def number(self, section: MdocSection, key: str) -> float | None:
        """The value of a key as a number, or None where it is not there.

        Raises
        ------
        InputError
            If it is no finite number.
        """
        text = section.get(key)
        if text is None:
            return None
        try:
            value = float(text.split()[0]) if text.split() else math.nan
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(
                f"{key} is “{printable(text)}”", file=self.path, row=f"[{section.kind} = {section.value}]", expected="a number"
            )
        return value


def read_mdoc(path: str | Path) -> Mdoc:
    """The sections of an mdoc file.

    Raises
    ------
    InputError
        If a line is neither a heading nor `key = value`; the message names it.
    """
    path = Path(path)
    return parse_mdoc(read_text(path), path=path)


def parse_mdoc(text: str, *, path: Path | None = None) -> Mdoc:
    """The sections of the text of an mdoc file; `path` is for error messages."""
    sections: list[MdocSection] = []
    heading, entries = ("", "", 1), list[tuple[str, str]]()

    def finish() -> None:
        if heading[0] or entries:
            sections.append(MdocSection(kind=heading[0], value=heading[1], entries=tuple(entries), line=heading[2]))
        entries.clear()

    for number, raw in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        line = raw.strip()
        if not line:
            continue
        found = _HEADING.match(line)
        key, equals, value = line.partition("=")
        if found is not None:
            finish()
            heading = (found[1], found[2].strip(), number)
        elif equals and key.strip() and not line.startswith("["):
            entries.append((key.strip(), value.strip()))
        else:
            raise InputError(
                f"neither a heading [key = value] nor key = value: “{printable(line[:60])}”",
                file=path,
                row=number,
                cause="this is no mdoc file, or lines were lost",
            )
    finish()
    if not sections:
        raise InputError("the file holds no sections", file=path, expected="an mdoc file of SerialEM")
    return Mdoc(sections=tuple(sections), path=path)


def write_mdoc(mdoc: Mdoc, path: str | Path) -> None:
    """Write these sections, all or nothing.

    Raises
    ------
    InputError
        If a key or a text cannot stand in a line.
    """
    atomic_write_text(path, format_mdoc(mdoc, path=Path(path)))


def format_mdoc(mdoc: Mdoc, *, path: Path | None = None) -> str:
    """The text of an mdoc file with these sections."""
    lines: list[str] = []
    for section in mdoc.sections:
        parts = (section.kind, section.value, *(text for entry in section.entries for text in entry))
        wrong = next((text for text in parts if re.search(r"[\r\n\0]", text) or text != text.strip()), None)
        wrong = next((key for key, _ in section.entries if not key or key.startswith("[") or "=" in key), wrong)
        if wrong is not None:
            raise InputError(
                f"“{printable(wrong)}” cannot stand in an mdoc file", file=path, fix="leave blanks and line ends out"
            )
        if section.kind:
            lines.append(f"[{section.kind} = {section.value}]")
        lines += [f"{key} = {text}" for key, text in section.entries]
        lines.append("")
    return "\n".join(lines) + ("\n" if lines and lines[-1] else "")


def bare_name(path: str) -> str:
    """The name of a file without its folders, whether they are divided by slashes or by backslashes."""
    return PureWindowsPath(path.strip()).name


def tilt_series_of_mdoc(mdoc: Mdoc, *, optics: Optics, name: str = "") -> TiltSeries:
    """The tilt series that an mdoc file tells of, its images in the order of the file; the pixel size of `optics` is that of the images.

    The dose before each image is the sum of those taken earlier, without its own (RELION's importer adds its own where the file tells doses). The
    order is that of the times where all are given, otherwise that of the sections. Defocus is the target where it was kept, in Å, underfocus
    positive. Names of movies are bare.

    Raises
    ------
    InputError
        If there are no images or one has no tilt angle.
    """
    images = mdoc.images
    if not images:
        raise InputError("the mdoc file tells of no images", file=mdoc.path, expected="sections [ZValue = n]")
    angles = [_required(mdoc, section, "TiltAngle") for section in images]
    order = _order(images)
    doses = [mdoc.number(section, "ExposureDose") for section in images]
    known = [dose for dose in doses if dose is not None]
    dose = torch.tensor(known, dtype=torch.float64) if len(known) == len(images) and any(known) else None
    defocus = [mdoc.number(section, "TargetDefocus") for section in images]
    defocus = defocus if None not in defocus else [mdoc.number(section, "Defocus") for section in images]
    movies = [section.get("SubFramePath") for section in images]
    return TiltSeries(
        name=name or (Path(mdoc.path.name.removesuffix(".mdoc")).stem if mdoc.path else "tilt_series"),
        optics=optics,
        tilt_angle=torch.tensor(angles, dtype=torch.float64) * DEGREE,
        defocus=None if None in defocus else _defocus([value for value in defocus if value is not None]),
        dose=dose,
        dose_before=None if dose is None else earlier_dose(dose, order),
        order=order,
        tilt_axis=_axis(mdoc),
        movie_names=tuple(bare_name(movie) for movie in movies if movie is not None) if None not in movies else (),
        settings=mdoc.settings,
    )


def _required(mdoc: Mdoc, section: MdocSection, key: str) -> float:
    value = mdoc.number(section, key)
    if value is None:
        raise InputError(f"the section [{section.kind} = {section.value}] has no {key}", file=mdoc.path, row=section.line)
    return value


def _defocus(micrometres: Sequence[float]) -> Defocus:
    """Defocus of SerialEM (μm, negative is underfocus) in Å, underfocus positive."""
    major = -torch.tensor(micrometres, dtype=torch.float64) * MICROMETRE + 0.0
    zeros = torch.zeros_like(major)
    return Defocus(major=major, minor=major, azimuth=zeros, phase_shift=zeros)


def _order(images: Sequence[MdocSection]) -> torch.Tensor:
    """The order in which the images were taken, from 0."""
    told = [section.get("cryowalkOrder") for section in images]
    times = [
        float(text) if text and text.isdigit() else _time(section.get("DateTime"))
        for text, section in zip(told, images, strict=True)
    ]
    known = [time for time in times if time is not None]
    keys = known if len(known) == len(images) and len(set(known)) == len(known) else list(range(len(images)))
    order = torch.empty(len(images), dtype=torch.long)
    order[torch.from_numpy(np.argsort(np.array(keys), kind="stable"))] = torch.arange(len(images))
    return order


def _time(text: str | None) -> float | None:
    """A time in s that later times are larger than, or None."""
    for form in _TIMES if text else ():
        try:
            return datetime.strptime(" ".join((text or "").split()), " ".join(form.split())).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    return None


def _time_of_order(number: int) -> str:
    """A time for the image that was taken as number so many, in SerialEM's form and in English whatever the locale."""
    time = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    return f"{time.day:02d}-{_MONTHS[time.month - 1]}-{time.year}  {time:%H:%M:%S}"


def _axis(mdoc: Mdoc) -> float | None:
    """The azimuth of the tilt axis, rad: SerialEM and IMOD count from +y, counter-clockwise."""
    found = next((match for title in mdoc.titles if (match := _AXIS.search(title))), None)
    return None if found is None else axis_azimuth(float(found[1]))


def axis_azimuth(degrees: float) -> float:
    """Our azimuth (rad, from +x towards +y) of a tilt axis that IMOD, SerialEM and RELION say to be so many degrees from +y, counter-clockwise."""
    return degrees * DEGREE + math.pi / 2


def axis_degrees(azimuth: float) -> float:
    """What IMOD, SerialEM and RELION call a tilt axis of this azimuth (rad): degrees from +y, counter-clockwise."""
    return (azimuth - math.pi / 2) / DEGREE


def earlier_dose(dose: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """The sum of the doses of all images taken before each."""
    sequence = torch.argsort(order)
    taken = dose[sequence]
    before = torch.empty_like(dose)
    before[sequence] = torch.cumsum(taken, 0) - taken
    return before


def mdoc_of_tilt_series(series: TiltSeries, *, image_size: tuple[int, int], stack: str = "") -> Mdoc:
    """An mdoc file that tells of a tilt series as SerialEM would, its images in the order they stand in; `image_size` is (width, height) in px.

    `tilt_series_of_mdoc` reads it back. Other programs tell the order of acquisition by the times: an image's is that many minutes after the first
    day of 2000, a time that nobody takes for a real one, since data files of ours hold none. `PriorRecordDose` is the dose before it.
    """
    optics = series.optics
    general = [
        ("PixelSpacing", repr(optics.pixel_size)),
        ("Voltage", f"{optics.voltage_kv:g}"),
        ("ImageFile", stack or f"{series.name}.mrc"),
        ("ImageSize", f"{image_size[0]} {image_size[1]}"),
    ]
    sections = [MdocSection(entries=tuple(general)), MdocSection(kind=TITLE, value="cryowalk: simulated tilt series")]
    if series.tilt_axis is not None:
        sections.append(
            MdocSection(kind=TITLE, value=f"    Tilt axis angle = {axis_degrees(series.tilt_axis):.6g}, binning = 1".strip())
        )
    for row in range(len(series)):
        entries = [("TiltAngle", f"{float(series.tilt_angle[row]) / DEGREE:.9g}"), ("PixelSpacing", repr(optics.pixel_size))]
        if series.dose is not None:
            entries.append(("ExposureDose", f"{float(series.dose[row]):.9g}"))
        if series.dose_before is not None:
            entries.append(("PriorRecordDose", f"{float(series.dose_before[row]):.9g}"))
        if series.defocus is not None:
            mean = float(series.defocus.major[row] + series.defocus.minor[row]) / 2
            entries.append(("TargetDefocus", f"{-mean / MICROMETRE + 0.0:.9g}"))
        if series.movie_names:
            entries.append(("SubFramePath", "X:\\" + series.movie_names[row].replace("/", "\\")))
        if series.order is not None:
            entries.append(("cryowalkOrder", str(int(series.order[row]))))
            entries.append(("DateTime", _time_of_order(int(series.order[row]))))
        sections.append(MdocSection(kind=IMAGE, value=str(row), entries=tuple(entries)))
    return Mdoc(sections=tuple(sections))
