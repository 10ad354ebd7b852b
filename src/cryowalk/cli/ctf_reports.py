"""Reports of CTF estimation: a table of all micrographs, and rings and fits of some."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cryowalk.workflow.manifest import Manifest

SHOWN = 6  # fits; doubtful ones first
LARGEST_TABLE = 500  # rows


def write_ctf_report(directory: Path, manifest: Manifest) -> Path:
    """The path of the report that was written into the job's directory."""
    from cryowalk.view import Report, write_report
    from cryowalk.workflow.job import REPORT_NAME

    files = sorted((directory / "results").glob("*.json"))
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}
    doubtful = [name for name, facts in results.items() if facts["doubts"]]
    summary = f"{len(results)} micrographs, {len(results) - len(doubtful)} without doubts; settings below."
    report = Report(title=f"cryowalk {manifest.command}", summary=summary, provenance=manifest.provenance())
    report = report.with_section("Micrographs", _table(results))
    for name in [*doubtful, *(name for name in results if name not in doubtful)][:SHOWN]:
        report = report.with_section(name, *_parts(directory, name, results[name]))
    path: Path = write_report(report, directory / REPORT_NAME)
    return path


def _table(results: dict[str, dict[str, Any]]) -> Any:
    from cryowalk.core.units import DEGREE
    from cryowalk.view.report import Table

    rows = tuple(
        (
            name,
            round(facts["major"]),
            round(facts["minor"]),
            round(facts["azimuth"] / DEGREE, 1),
            round(facts["resolution"], 2),
            round(facts["figure_of_merit"], 3),
            "; ".join(facts["doubts"]) or "–",
        )
        for name, facts in list(results.items())[:LARGEST_TABLE]
    )
    heads = ("micrograph", "defocus U (Å)", "defocus V (Å)", "azimuth (°)", "rings to (Å)", "figure of merit", "doubts")
    more = f"The first {LARGEST_TABLE} of {len(results)}." if len(results) > LARGEST_TABLE else ""
    return Table(columns=heads, rows=rows, caption=more)


def _parts(directory: Path, name: str, facts: dict[str, Any]) -> list[Any]:
    import torch

    from cryowalk.data import ImageStack
    from cryowalk.io.mrc import MrcStackReader
    from cryowalk.view import ctf_fit, images
    from cryowalk.view.report import Captioned

    average = SimpleNamespace(**{key: torch.tensor(values) for key, values in facts["average"].items()})
    picture = MrcStackReader(directory / "pictures" / f"{name}.ctf").read([0])
    shown = images(ImageStack(pixels=picture, pixel_size=1.0))
    caption = "Left half: the CTF² that was fitted. Right half: the power spectrum, flattened and smoothed."
    return [ctf_fit(average, resolution=facts["resolution"], name=name), Captioned(figure=shown, caption=caption)]
