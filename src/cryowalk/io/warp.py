"""Warp's and M's XML of a frame series (`<Movie>`) or a tilt series (`<TiltSeries>`): angles, dose, grids and CTF, and all else as it stands.

Warp's defocus is μm, underfocus positive; its DefocusDelta is the whole difference of the two axes, its phase shift counts π. The tilt axis is
IMOD's and RELION's angle: degrees from +y, counter-clockwise. A grid holds values at equal distances across x, y and the series (z), the first and
the last at its ends.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cryowalk.core.errors import InputError, printable
from cryowalk.core.units import DEGREE, MICROMETRE
from cryowalk.data.optics import Defocus, Optics
from cryowalk.data.tilt_series import TiltSeries
from cryowalk.io.atomic import atomic_write_bytes
from cryowalk.io.mdoc import axis_azimuth
from cryowalk.io.safe_xml import XmlElement, read_xml, xml_text
from cryowalk.io.text_rows import real, whole

WARP_ENDINGS = {".xml"}
ROOTS = {"TiltSeries": "tilt series", "Movie": "frame series"}
LARGEST_GRID = 10_000_000  # nodes
_EACH = {
    "Angles": "tilt angle",
    "Dose": "dose",
    "AxisAngle": "axis angle",
    "AxisOffsetX": "axis offset",
    "AxisOffsetY": "axis offset",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WarpGrid:
    """A grid of Warp: values by (w, z, y, x) as Warp writes them, and the margins left on each side along (x, y, z)."""

    values: Float[Tensor, "w z y x"]
    margins: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WarpSeries:
    """A frame or tilt series of Warp: the whole tree of the file, and what is in it with its units."""

    root: XmlElement
    encoding: str = "utf-8"
    path: Path | None = None

    @property
    def kind(self) -> Literal["tilt series", "frame series"]:
        """What the file tells of."""
        return "tilt series" if self.root.tag == "TiltSeries" else "frame series"

    def _column(self, tag: str, *, low: float = -1e9, high: float = 1e9) -> Float[Tensor, " n"] | None:
        element = self.root.find(tag)
        if element is None or not element.text.strip():
            return None
        return torch.tensor(
            [
                real(text.strip(), what=tag, path=self.path, line=element.line + row, low=low, high=high)
                for row, text in enumerate(element.text.strip().split("\n"))
            ],
            dtype=torch.float64,
        )

    @property
    def tilt_angle(self) -> Float[Tensor, " n"] | None:
        """Tilt angles, rad, as Warp gives them."""
        found = self._column("Angles", low=-180, high=180)
        return None if found is None else found * DEGREE

    @property
    def dose(self) -> Float[Tensor, " n"] | None:
        """Accumulated dose of each image, e⁻/Å²; Warp means the dose up to it, with or without its own as it was imported."""
        return self._column("Dose", low=0, high=1e6)

    @property
    def tilt_axis(self) -> Float[Tensor, " n"] | None:
        """Azimuth of the tilt axis in each image, rad, from +x towards +y."""
        found = self._column("AxisAngle", low=-1e4, high=1e4)
        return None if found is None else found * DEGREE + math.pi / 2

    @property
    def axis_offset(self) -> Float[Tensor, "n 2"] | None:
        """Offsets (x, y) of the tilt axis in each image, Å, as Warp gives them."""
        x, y = self._column("AxisOffsetX"), self._column("AxisOffsetY")
        if x is None or y is None:
            return None
        if len(x) != len(y):
            raise InputError(f"{len(x)} values of AxisOffsetX and {len(y)} of AxisOffsetY", file=self.path)
        return torch.stack((x, y), dim=-1)

    @property
    def is_used(self) -> Bool[Tensor, " n"] | None:
        """Whether each image is used."""
        element = self.root.find("UseTilt")
        if element is None or not element.text.strip():
            return None
        texts = [text.strip() for text in element.text.strip().split("\n")]
        wrong = next((row for row, text in enumerate(texts) if text not in ("True", "False")), None)
        if wrong is not None:
            raise InputError(
                f"UseTilt is “{printable(texts[wrong][:40])}”", file=self.path, row=element.line + wrong, expected="True or False"
            )
        return torch.tensor([text == "True" for text in texts])

    @property
    def movie_names(self) -> tuple[str, ...]:
        """The names of the movies of a tilt series."""
        element = self.root.find("MoviePath")
        return (
            ()
            if element is None or not element.text.strip()
            else tuple(line.strip() for line in element.text.strip().split("\n"))
        )

    def settings(self, tag: str) -> dict[str, str]:
        """The values by name of a list of `<Param>`, such as `CTF`, `OptionsCTF` or `OptionsMovement`; empty where it is not there."""
        element = self.root.find(tag)
        children = () if element is None else element.children
        return {one.attributes.get("Name", ""): one.attributes.get("Value", "") for one in children if one.tag == "Param"}

    def grid(self, tag: str) -> WarpGrid | None:
        """The grid of this name, such as `GridCTF` or `GridMovementX`, or None.

        Raises
        ------
        InputError
            If its nodes are not those of its size.
        """
        element = self.root.find(tag)
        return None if element is None else _grid(element, self.path)

    @property
    def optics(self) -> Optics | None:
        """Pixel size and lens as `<CTF>` gives them, or None."""
        found, line = self.settings("CTF"), self._line("CTF")
        if not {"PixelSize", "Voltage"} <= set(found):
            return None

        def value(name: str, otherwise: str) -> float:
            return real(found.get(name, otherwise), what=name, path=self.path, line=line, low=0, high=1e4)

        size, voltage = value("PixelSize", "0"), value("Voltage", "0")
        if not size or not voltage:
            raise InputError("PixelSize or Voltage is 0", file=self.path, row=line)
        return Optics(
            pixel_size=size,
            voltage_kv=voltage,
            spherical_aberration_mm=value("Cs", "2.7"),
            amplitude_contrast=value("Amplitude", "0.1"),
        )

    def _line(self, tag: str) -> int:
        element = self.root.find(tag)
        return 0 if element is None else element.line

    @property
    def defocus(self) -> Defocus | None:
        """The defocus of each image of a tilt series at its middle, or the one of a frame series; None where there is no CTF.

        A grid that has one value for each image gives them; where there is none, `<CTF>` gives one for all.
        """
        found, line = self.settings("CTF"), self._line("CTF")
        angles = self.tilt_angle
        count = 1 if angles is None or self.kind == "frame series" else len(angles)

        def column(grid: str, name: str) -> Float[Tensor, " n"] | None:
            values = self.grid(grid) if count > 1 else None
            if values is not None and values.values.shape == (1, count, 1, 1):
                return values.values.flatten()
            if name not in found:
                return None
            return torch.full((count,), real(found[name], what=name, path=self.path, line=line), dtype=torch.float64)

        mean = column("GridCTF", "Defocus")
        if mean is None:
            return None
        zeros = torch.zeros_like(mean)
        delta, azimuth, phase = (
            zeros if (values := column(grid, name)) is None else values
            for grid, name in (
                ("GridCTFDefocusDelta", "DefocusDelta"),
                ("GridCTFDefocusAngle", "DefocusAngle"),
                ("GridCTFPhase", "PhaseShift"),
            )
        )
        return Defocus(
            major=(mean + delta / 2) * MICROMETRE,
            minor=(mean - delta / 2) * MICROMETRE,
            azimuth=azimuth * DEGREE,
            phase_shift=phase * math.pi,
        )

    def tilt_series(self, *, optics: Optics | None = None, name: str = "") -> TiltSeries:
        """The tilt series that the file tells of; `optics` stands for what it does not say.

        The dose is Warp's, taken as that before each image. Offsets of the tilt axis are not made into poses.

        Raises
        ------
        InputError
            If the file is of a frame series, its columns differ in length, or it does not tell the pixel size and none is given.
        """
        angles, group = self.tilt_angle, optics or self.optics
        if self.kind != "tilt series" or angles is None:
            raise InputError("the file tells of no tilt series", file=self.path, expected="<TiltSeries> with <Angles>")
        if group is None:
            raise InputError("the file does not tell the pixel size", file=self.path, fix="state the optics")
        dose, axis, movies, defocus = self.dose, self.tilt_axis, self.movie_names, self.defocus
        wrong = next(
            (column for column in (dose, axis, movies) if column is not None and len(column) not in (0, len(angles))), None
        )
        if wrong is not None:
            raise InputError(f"{len(angles)} angles and a column of {len(wrong)} values", file=self.path)
        return TiltSeries(
            name=name or (self.path.stem if self.path else "tilt_series"),
            optics=group,
            tilt_angle=angles,
            defocus=defocus,
            dose_before=dose,
            tilt_axis=None if axis is None else axis_azimuth((float(axis[0]) - math.pi / 2) / DEGREE),
            movie_names=movies,
            settings=dict(self.root.attributes),
        )


def _grid(element: XmlElement, path: Path | None) -> WarpGrid:
    """The grid that an element holds."""

    def attribute(name: str, otherwise: str) -> str:
        return element.attributes.get(name, otherwise)

    sides = [
        whole(attribute(name, "1"), what=f"{name} of {element.tag}", path=path, line=element.line, low=1, high=LARGEST_GRID)
        for name in ("Width", "Height", "Depth", "Duration")
    ]
    if math.prod(sides) > LARGEST_GRID:
        raise InputError(
            f"{element.tag} has {math.prod(sides)} nodes", file=path, row=element.line, expected=f"at most {LARGEST_GRID}"
        )
    nodes = [child for child in element.children if child.tag == "Node"]
    if len(nodes) != math.prod(sides):
        raise InputError(
            f"{element.tag} has {len(nodes)} nodes",
            file=path,
            row=element.line,
            expected=" × ".join(map(str, sides)) + " of them",
        )
    values = torch.full(sides[::-1], math.nan, dtype=torch.float64)
    for node in nodes:
        place = [
            whole(node.attributes.get(name, "0"), what=f"{name} of a node", path=path, line=node.line, low=0, high=side - 1)
            for name, side in zip("XYZW", sides, strict=True)
        ]
        values[tuple(reversed(place))] = real(
            node.attributes.get("Value", ""), what=f"a value of {element.tag}", path=path, line=node.line
        )
    if bool(values.isnan().any()):
        raise InputError(f"two nodes of {element.tag} have one place", file=path, row=element.line)
    margins = [real(attribute(f"Margin{name}", "0"), what="a margin", path=path, line=element.line) for name in "XYZ"]
    return WarpGrid(values=values, margins=(margins[0], margins[1], margins[2]))


def read_warp(path: str | Path) -> WarpSeries:
    """A frame or tilt series of Warp or M; all that has a unit is looked at once, so that a damaged file is told of here.

    Raises
    ------
    InputError
        If the file is damaged, or no such file.
    SafetyRefusal
        If the XML defines a document type or entities.
    """
    path = Path(path)
    root, encoding = read_xml(path)
    if root.tag not in ROOTS:
        raise InputError(f"the XML holds <{printable(root.tag[:40])}>", file=path, expected="<TiltSeries> or <Movie> of Warp")
    series = WarpSeries(root=root, encoding=encoding, path=path)
    checks: tuple[Callable[[], object], ...] = (
        lambda: series.tilt_angle, lambda: series.dose, lambda: series.tilt_axis, lambda: series.axis_offset,
        lambda: series.is_used, lambda: series.optics, lambda: series.defocus,
    )  # fmt: skip
    for check in checks:
        check()
    for child in root.children:
        if child.tag.startswith("Grid"):
            _grid(child, path)
    return series


def write_warp(series: WarpSeries, path: str | Path) -> None:
    """Write the whole tree in the encoding it came in (UTF-8 or UTF-16), all or nothing; Warp reads it.

    Raises
    ------
    InputError
        If the encoding is another one.
    """
    name = series.encoding.lower()
    if name not in ("utf-8", "utf-16"):
        raise InputError(f"the encoding is {printable(series.encoding[:40])}", file=path, expected="utf-8 or utf-16")
    text = f'<?xml version="1.0" encoding="{name}"?>\n{xml_text(series.root)}'
    mark = b"\xff\xfe" if name == "utf-16" else b""
    atomic_write_bytes(path, mark + text.encode("utf-16-le" if mark else "utf-8"))
