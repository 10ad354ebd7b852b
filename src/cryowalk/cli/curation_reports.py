"""Reports of the selection of micrographs: every figure's distribution with its limits, figures against each other, thumbnails, the table."""

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryowalk.workflow.manifest import Manifest

if TYPE_CHECKING:
    from cryowalk.view.canvas import Drawing

SHOWN = 24  # thumbnails of each kind
LARGEST_TABLE = 500  # rows
_COLUMNS = 3  # panels in a row
_PAIRS = (
    ("defocus", "resolution"),
    ("motion", "resolution"),
    ("thickness", "resolution"),
    ("ice", "resolution"),
    ("picks", "resolution"),
)

Rows = list[dict[str, str]]


def write_curation_report(directory: Path, manifest: Manifest) -> Path:
    """The path of the report that was written into the job's directory."""
    from cryowalk.view import Report, write_report
    from cryowalk.workflow.curation_stages import FIGURES, KNOWN
    from cryowalk.workflow.job import REPORT_NAME

    with (directory / FIGURES).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    kept = sum(row["kept"] == "1" for row in rows)
    words = {figure.name: figure.words for figure in KNOWN if rows and figure.name in rows[0]}
    report = Report(
        title=f"cryowalk {manifest.command}", summary=f"{kept} of {len(rows)} micrographs kept.", provenance=manifest.provenance()
    )
    drawn = [part for part in (_histograms(rows, words, manifest.settings), _scatters(rows, words)) if part is not None]
    if drawn:
        report = report.with_section("Figures", *drawn)
    for heading, flag in (("Rejected", "0"), ("Kept", "1")):
        pictures = _thumbnails(directory, [row for row in rows if row["kept"] == flag])
        if pictures is not None:
            report = report.with_section(heading, pictures)
    report = report.with_section("Micrographs", _table(rows, words))
    path: Path = write_report(report, directory / REPORT_NAME)
    return path


def _values(rows: Rows, name: str, *, kept: str) -> list[float]:
    return [float(row[name]) if row[name] else math.nan for row in rows if row["kept"] == kept]


def _histograms(rows: Rows, words: dict[str, str], settings: Any) -> "Drawing | None":
    """The distribution of each figure, kept on rejected, with the limits as lines."""
    import numpy as np

    from cryowalk.view.canvas import COLOURS, house_style, new_drawing

    shown = [name for name in words if any(row[name] for row in rows)]
    if not shown:
        return None
    lines = -(-len(shown) // _COLUMNS)
    with house_style():
        drawing = new_drawing(9.2, 2.3 * lines, description="Distribution of each figure; lines are limits")
        for place, name in enumerate(shown):
            axes = drawing.add_subplot(lines, _COLUMNS, place + 1)
            good, bad = ([v for v in _values(rows, name, kept=kept) if math.isfinite(v)] for kept in ("1", "0"))
            low, high = min(good + bad), max(good + bad)
            edges = np.linspace(low, high if high > low else low + 1, 31)
            axes.hist([good, bad], bins=list(edges), stacked=True, color=[COLOURS[0], COLOURS[1]], label=["kept", "rejected"])
            for limit in (settings.get(f"min_{name}"), settings.get(f"max_{name}")):
                if limit is not None:
                    axes.axvline(float(limit), color="black", linestyle="--", linewidth=1)
            axes.set_xlabel(words[name])
            if place == 0:
                axes.set_ylabel("micrographs")
                axes.legend()
    return drawing


def _scatters(rows: Rows, words: dict[str, str]) -> "Drawing | None":
    """Figures against the resolution, as far as they are known."""
    from cryowalk.view.canvas import COLOURS, house_style, new_drawing

    pairs = [pair for pair in _PAIRS if all(name in words and any(row[name] for row in rows) for name in pair)]
    if not pairs:
        return None
    lines = -(-len(pairs) // _COLUMNS)
    with house_style():
        drawing = new_drawing(
            9.2, 2.8 * lines, description="Figures against the resolution of the CTF; each point is a micrograph"
        )
        for place, (x, y) in enumerate(pairs):
            axes = drawing.add_subplot(lines, _COLUMNS, place + 1)
            for kept, label, colour, marker in (("1", "kept", COLOURS[0], "o"), ("0", "rejected", COLOURS[1], "x")):
                axes.scatter(
                    _values(rows, x, kept=kept), _values(rows, y, kept=kept), s=12, color=colour, marker=marker, label=label,
                    rasterized=len(rows) > LARGEST_TABLE,
                )  # fmt: skip
            axes.set_xlabel(words[x])
            axes.set_ylabel(words[y])
            if place == 0:
                axes.legend()
    return drawing


def _thumbnails(directory: Path, rows: Rows) -> Any:
    """Thumbnails of some micrographs, evenly from the table, each with its name."""
    import imagecodecs
    import torch

    from cryowalk.data import ImageStack
    from cryowalk.view import images
    from cryowalk.view.report import Captioned
    from cryowalk.workflow.curation_stages import THUMBNAILS

    stems = _thumbnail_names(directory, rows)
    chosen = (
        [stems[i] for i in torch.linspace(0, len(stems) - 1, min(SHOWN, len(stems))).round().long().tolist()] if stems else []
    )
    if not chosen:
        return None
    pictures = [
        torch.from_numpy(imagecodecs.png_decode((directory / THUMBNAILS / f"{stem}.png").read_bytes()).copy()).flip(0).float()
        for stem, _ in chosen
    ]
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    stack = torch.full((len(pictures), height, width), 255.0)
    for place, picture in enumerate(pictures):
        stack[place, : picture.shape[0], : picture.shape[1]] = picture
    drawing = images(ImageStack(pixels=stack, pixel_size=1.0), labels=[stem for stem, _ in chosen], columns=6)
    for axes in drawing.axes:  # the bar of a gallery is in Å, thumbnails have no one scale
        for drawn in [*axes.lines, *axes.texts]:
            drawn.remove()
    why = "; ".join(f"{stem}: {reason}" for stem, reason in chosen if reason)
    return Captioned(figure=drawing, caption=why or "Thumbnails, y upwards, each with greys of its own.")


def _thumbnail_names(directory: Path, rows: Rows) -> list[tuple[str, str]]:
    """The names of the thumbnails that are there, with the reasons."""
    from cryowalk.workflow.curation_stages import THUMBNAILS

    there = {path.stem for path in (directory / THUMBNAILS).glob("*.png")} if (directory / THUMBNAILS).is_dir() else set()
    found = []
    for row in rows:
        path = Path(row["micrograph"]).with_suffix("")
        joined = "_".join(part for part in path.parts if part not in ("/", "..", "."))
        stem = path.name if path.name in there else joined
        if stem in there:
            found.append((stem, row["reason"]))
    return found


def _table(rows: Rows, words: dict[str, str]) -> Any:
    from cryowalk.view.report import Table

    def cell(text: str) -> object:
        return float(text) if text else None

    shown = tuple(
        (Path(row["micrograph"]).name, *(cell(row[name]) for name in words), row["reason"] or "kept")
        for row in rows[:LARGEST_TABLE]
    )
    more = f"The first {LARGEST_TABLE} of {len(rows)}; figures.csv has all." if len(rows) > LARGEST_TABLE else ""
    return Table(columns=("micrograph", *words.values(), "verdict"), rows=shown, caption=more)
