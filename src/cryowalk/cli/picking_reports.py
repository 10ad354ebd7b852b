"""Reports of picking: how many particles each micrograph gave, and where they lie in some."""

from pathlib import Path
from typing import Any

from cryowalk.workflow.manifest import Manifest

SHOWN = 4  # micrographs
LARGEST_TABLE = 500  # rows


def write_picking_report(directory: Path, manifest: Manifest) -> Path:
    """The path of the report that was written into the job's directory."""
    from cryowalk.io.coordinates import read_coordinates
    from cryowalk.view import Report, write_report
    from cryowalk.workflow.job import REPORT_NAME
    from cryowalk.workflow.picking_stages import PICKS

    found = {path.stem.removesuffix("_pick"): read_coordinates(path) for path in sorted((directory / PICKS).glob("*_pick.star"))}
    summary = f"{sum(map(len, found.values()))} particles in {len(found)} micrographs; settings below."
    report = Report(title=f"cryowalk {manifest.command}", summary=summary, provenance=manifest.provenance())
    report = report.with_section("Micrographs", _table(found))
    for name, places in list(found.items())[:SHOWN]:
        report = report.with_section(name, _picture(directory, name, places, diameter=float(manifest.settings["diameter"])))
    path: Path = write_report(report, directory / REPORT_NAME)
    return path


def _table(found: dict[str, Any]) -> Any:
    from cryowalk.view.report import Table

    rows = tuple(
        (name, len(places), *(f"{float(value):.2f}" for value in _quartiles(places)))
        for name, places in list(found.items())[:LARGEST_TABLE]
    )
    heads = ("micrograph", "particles", "merit, lowest", "median", "highest")
    more = f"The first {LARGEST_TABLE} of {len(found)}." if len(found) > LARGEST_TABLE else ""
    return Table(columns=heads, rows=rows, caption=more)


def _quartiles(places: Any) -> tuple[float, float, float]:
    if places.merit is None or not len(places):
        return (float("nan"),) * 3
    return float(places.merit.min()), float(places.merit.median()), float(places.merit.max())


def _picture(directory: Path, name: str, places: Any, *, diameter: float) -> Any:
    import json

    from cryowalk.io.pictures import read_micrograph
    from cryowalk.view.picks import picks
    from cryowalk.view.report import Captioned
    from cryowalk.workflow.picking_stages import PICTURES

    image = read_micrograph(directory / PICTURES / f"{name}.mrc")
    facts = json.loads((directory / PICTURES / f"{name}.json").read_text(encoding="utf-8"))
    figure = picks(image, places, diameter=diameter, pixel_size=facts["pixel_size"])
    return Captioned(figure=figure, caption="Circles have the diameter that was asked for.")
