"""Reports of motion correction: a table of all movies, and the paths of some."""

import json
from pathlib import Path
from typing import Any

from cryowalk.workflow.manifest import Manifest

SHOWN = 8  # movies; doubtful ones first
PICTURES = 2  # micrographs
LARGEST_TABLE = 500  # rows


def write_motion_report(directory: Path, manifest: Manifest) -> Path:
    """The path of the report that was written into the job's directory."""
    from cryowalk.view import Report, write_report
    from cryowalk.workflow.job import REPORT_NAME

    files = sorted((directory / "micrographs").glob("*.json"))
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}
    doubtful = [name for name, facts in results.items() if facts["doubts"]]
    summary = f"{len(results)} movies, {len(results) - len(doubtful)} without doubts."
    report = Report(title=f"cryowalk {manifest.command}", summary=summary, provenance=manifest.provenance())
    report = report.with_section("Movies", _table(results))
    for place, name in enumerate([*doubtful, *(name for name in results if name not in doubtful)][:SHOWN]):
        report = report.with_section(name, *_parts(directory / "micrographs", name, is_pictured=place < PICTURES))
    path: Path = write_report(report, directory / REPORT_NAME)
    return path


def _table(results: dict[str, dict[str, Any]]) -> Any:
    from cryowalk.view.report import Table

    rows = tuple(
        (
            name,
            round(facts["early"], 1),
            round(facts["late"], 1),
            round(facts["precision"], 2),
            round(facts["contrast_before"], 1),
            round(facts["contrast"], 1),
            "; ".join(facts["doubts"]) or "–",
        )
        for name, facts in list(results.items())[:LARGEST_TABLE]
    )
    heads = ("movie", "path to 4 e⁻/Å² (Å)", "path after (Å)", "precision (Å)", "agreement before (σ)", "and after (σ)", "doubts")
    more = f" The first {LARGEST_TABLE} of {len(results)}." if len(results) > LARGEST_TABLE else ""
    caption = "Agreement: how far a frame’s correlation with the sum of the others rises above that of unrelated noise." + more
    return Table(columns=heads, rows=rows, caption=caption)


def _parts(folder: Path, name: str, *, is_pictured: bool) -> list[Any]:
    from cryowalk.io.motion import read_movie_motion
    from cryowalk.io.pictures import read_micrograph
    from cryowalk.view.micrographs import micrograph, motion
    from cryowalk.view.report import Captioned

    moved = read_movie_motion(folder / f"{name}_motion.star").motion
    parts: list[Any] = [Captioned(figure=motion(moved), caption="How the specimen moved (RELION’s shifts are minus these).")]
    if is_pictured:
        parts.append(Captioned(figure=micrograph(read_micrograph(folder / f"{name}.mrc")), caption="The aligned sum."))
    return parts
