"""One self-contained page per job: text, scores with units, figures and 3D views, and the command that makes it again.

The page needs no network and loads nothing: styles are inlined, figures are data URIs, and plotly.js is inlined once, only where a 3D view is.
Every text is escaped, and a content security policy lets nothing run but the page's own scripts, whose hashes it names.
"""

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from cryowalk.core.errors import UsageError
from cryowalk.data import Provenance

LARGEST_SVG = 400_000  # bytes; a figure with more strokes than that is smaller and faster as pixels

_UNITS = {
    "angstrom": "Å",
    "degrees": "°",
    "radians": "rad",
    "pixels": "px",
    "percent": "%",
    "seconds": "s",
    "minutes": "min",
    "gib": "GiB",
    "mib": "MiB",
    "megabytes": "MB",
    "images_per_second": "images/s",
    "per_second": "1/s",
    "kv": "kV",
    "electrons_per_square_angstrom": "e⁻/Å²",
    "square_angstrom": "Å²",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of a report: the column heads (with units) and the rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Captioned:
    """A matplotlib figure or plotly view with the sentence below it; without one the figure's own description is used."""

    figure: Any
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chooser:
    """Pictures that a reader clicks on and off; the command below them names those that are chosen.

    `pictures` are PNG files as bytes, `numbers` how the command names them, `words` what stands under each. `command` holds {chosen} where the numbers go.
    """

    pictures: tuple[bytes, ...]
    numbers: tuple[int, ...]
    words: tuple[str, ...]
    chosen: tuple[int, ...]
    command: str
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One section of a report.

    Each part is a text (its paragraphs parted by empty lines), a mapping of flat keys to numbers (a table of scores with units), a `Table`,
    a matplotlib figure, a plotly view, one of the last two `Captioned`, or a `Chooser`.
    """

    heading: str
    parts: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a job has to show: `Report(title="…").with_section("Resolution", "Two halves …", fsc(curve), scores)`."""

    title: str
    summary: str = ""
    sections: tuple[Section, ...] = ()
    provenance: Provenance | None = None

    def with_section(self, heading: str, *parts: Any) -> "Report":
        """The same report with one more section at its end."""
        return replace(self, sections=(*self.sections, Section(heading=heading, parts=parts)))


def write_report(report: Report, path: str | Path) -> Path:
    """The path of the finished page; the file appears whole or not at all.

    Raises
    ------
    UsageError
        If a part of a section is none of the things a report can show.
    """
    from cryowalk.io.atomic import atomic_write_text

    target = Path(path)
    atomic_write_text(target, render(report))
    return target


def render(report: Report) -> str:
    """The page as text; the same report gives the same characters."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    sections: list[dict[str, Any]] = [
        {"heading": section.heading, "parts": [_part(part) for part in section.parts]} for section in report.sections
    ]
    has_views = any(part["kind"] == "view" for section in sections for part in section["parts"])
    has_choosers = any(part["kind"] == "chooser" for section in sections for part in section["parts"])
    scripts = ((_plotly_script(), _starter_script()) if has_views else ()) + ((_asset("chooser.js"),) if has_choosers else ())
    environment = Environment(
        loader=PackageLoader("cryowalk.view"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html").render(
        report=report,
        sections=sections,
        policy=_policy(scripts),
        style=_asset("report.css"),
        scripts=scripts,
        command=report.provenance.command if report.provenance else "",
        settings=_settings_rows(report.provenance),
    )


def score_rows(scores: Mapping[str, object]) -> list[dict[str, str]]:
    """One row a score: its key as it stands in scores.json, the number, and the unit that the key names."""
    return [{"key": key, "value": format_value(value), "unit": unit_of(key)} for key, value in scores.items()]


def unit_of(key: str) -> str:
    """The unit that a flat key names (`half_fsc_0.143_angstrom` → Å), or nothing."""
    padded = f"_{key}_"
    found = [name for name in _UNITS if f"_{name}_" in padded]
    return _UNITS[max(found, key=len)] if found else ""


def format_value(value: object) -> str:
    """A number to four significant digits; other things as they are written; a dash for what is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "—"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return str(value)


def _part(part: Any) -> dict[str, Any]:
    caption = ""
    if isinstance(part, Captioned):
        part, caption = part.figure, part.caption
    if isinstance(part, str):
        return {"kind": "text", "paragraphs": [text.strip() for text in part.split("\n\n") if text.strip()]}
    if isinstance(part, Mapping):
        return {"kind": "scores", "rows": score_rows(part)}
    if isinstance(part, Table):
        rows = [[format_value(cell) for cell in row] for row in part.rows]
        return {"kind": "table", "columns": part.columns, "rows": rows, "caption": part.caption}
    if isinstance(part, Chooser):
        return _chooser(part)
    if hasattr(part, "to_plotly_json"):
        return {"kind": "view", "data": _view_data(part), "caption": caption or (part.layout.meta or {}).get("description", "")}
    if hasattr(part, "savefig"):
        description = str(part.get_label() or "figure")
        caption = caption or description.partition(";")[0]  # what follows repeats the legend, for those who cannot see it
        return {"kind": "figure", "address": _figure_address(part), "description": description, "caption": caption}
    raise UsageError(
        f"a report cannot show a {type(part).__name__}",
        expected="a text, a mapping of scores, a Table, a Chooser, a matplotlib figure or a plotly view",
    )


def _chooser(part: Chooser) -> dict[str, Any]:
    tiles = [
        {
            "number": number,
            "address": "data:image/png;base64," + base64.b64encode(picture).decode("ascii"),
            "words": words,
            "is_chosen": number in part.chosen,
        }
        for picture, number, words in zip(part.pictures, part.numbers, part.words, strict=True)
    ]
    shown = part.command.replace("{chosen}", ",".join(str(number) for number in sorted(part.chosen)))
    return {"kind": "chooser", "tiles": tiles, "command": part.command, "shown": shown, "caption": part.caption}


def _figure_address(figure: Any) -> str:
    """The figure as a data URI: lines as SVG, pictures as PNG."""
    from cryowalk.view.canvas import png_bytes, svg_bytes

    has_pixels = any(axes.images or any(drawn.get_rasterized() for drawn in axes.collections) for axes in figure.axes)
    drawing = b"" if has_pixels else svg_bytes(figure)
    if drawing and len(drawing) <= LARGEST_SVG:
        return "data:image/svg+xml;base64," + base64.b64encode(drawing).decode("ascii")
    return "data:image/png;base64," + base64.b64encode(png_bytes(figure)).decode("ascii")


def _view_data(view: Any) -> str:
    """The view as JSON that cannot end the script element around it: no character of it can open or close a tag."""
    return str(view.to_json()).replace("<", "\\u003c")


def _policy(scripts: tuple[str, ...]) -> str:
    """The content security policy: nothing is loaded, and only these scripts run."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii") for script in scripts]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes) or "'none'"
    return f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src {allowed}; base-uri 'none'; form-action 'none'"


def _settings_rows(provenance: Provenance | None) -> list[tuple[str, str]]:
    if provenance is None:
        return []
    return [
        (key, value if isinstance(value, str) else json.dumps(value, default=str)) for key, value in provenance.settings.items()
    ]


def _plotly_script() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _starter_script() -> str:
    return _asset("views.js")


@cache
def _asset(name: str) -> str:
    return (resources.files("cryowalk.view") / "assets" / name).read_text(encoding="utf-8")
