"""Reports of CTF refinement: optics groups with the phases of the lens, and the changes of defocus."""

import json
from pathlib import Path
from typing import Any

from cryowalk.workflow.manifest import Manifest

LARGEST_TABLE = 500  # rows
TITLES = ("odd, measured", "odd, fitted", "even, measured", "even, fitted")


def write_ctf_refine_report(directory: Path, manifest: Manifest) -> Path:
    """The path of the report that was written into the job's directory."""
    from cryowalk.view import Report, write_report
    from cryowalk.view.denoising import shell_curves
    from cryowalk.view.lens_phases import defocus_changes
    from cryowalk.view.report import Captioned
    from cryowalk.workflow.ctf_refine_stages import FACTS_NAME
    from cryowalk.workflow.job import REPORT_NAME

    facts = json.loads((directory / FACTS_NAME).read_text(encoding="utf-8"))
    report = Report(title=f"cryowalk {manifest.command}", summary=summary_of(facts), provenance=manifest.provenance())
    report = report.with_section("Optics groups", _groups(facts))
    for number, group in enumerate(facts["groups"], start=1):
        parts = _planes(directory, number)
        curve = shell_curves(
            {"scale": group["scale"]}, facts["frequency"], label="map’s signal seen in the images", reference=1.0
        )
        caption = "By how much the map’s own prediction is scaled to fit the images, in each shell: 0 where the fit uses nothing."
        report = report.with_section(group["name"], *parts, Captioned(figure=curve, caption=caption))
    if any(facts["changes"]):
        figure = defocus_changes(facts["changes"], deviation=facts["deviation_median"])
        report = report.with_section("Defocus", figure, _micrographs(facts))
    path: Path = write_report(report, directory / REPORT_NAME)
    return path


def summary_of(facts: dict[str, Any]) -> str:
    """What was found, in one line."""
    words = [f"{facts['particles']} particles"]
    if facts["deviation_median"] is not None:
        changes = facts["changes"]
        mean = sum(changes) / len(changes)
        spread = (sum((value - mean) ** 2 for value in changes) / len(changes)) ** 0.5
        words.append(f"defocus changed by {mean:.0f} ± {spread:.0f} Å (one fit’s uncertainty {facts['deviation_median']:.0f} Å)")
    for group in facts["groups"]:
        if "trefoil" in group:
            x, y = group["beam_tilt_mrad"]
            words.append(f"{group['name']}: beam tilt {x:.3f}, {y:.3f} mrad")
        if group["anisotropy_percent"] > 0:
            words.append(f"{group['name']}: magnification anisotropy {group['anisotropy_percent']:.2f} %")
    return "; ".join(words)


def _groups(facts: dict[str, Any]) -> Any:
    from cryowalk.view.report import Table

    def pair(values: Any) -> str:
        return "–" if not values or None in values else f"{values[0]:.3f}, {values[1]:.3f}"

    rows = []
    for group in facts["groups"]:
        change, deviation = group.get("spherical_aberration_change_mm"), group.get("spherical_aberration_deviation_mm")
        rows.append(
            (
                group["name"],
                pair(group["beam_tilt_mrad"]),
                pair(group.get("beam_tilt_deviation_mrad")),
                pair(group.get("trefoil")),
                "–" if deviation is None else f"{change:.3f} ± {deviation:.3f}",
                ", ".join(f"{value:.5f}" for value in group["magnification"]),
                f"{group['anisotropy_percent']:.3f}",
            )
        )
    heads = (
        "group",
        "beam tilt (mrad)",
        "its deviation",
        "trefoil",
        "change of Cs (mm)",
        "magnification matrix",
        "anisotropy (%)",
    )
    caption = "Deviations are those of the noise alone, with poses and map taken as right."
    return Table(columns=heads, rows=tuple(rows), caption=caption)


def _planes(directory: Path, number: int) -> list[Any]:
    from cryowalk.io.mrc import MrcStackReader
    from cryowalk.view.lens_phases import phase_planes
    from cryowalk.view.report import Captioned
    from cryowalk.workflow.ctf_refine_stages import PICTURE_NAME

    path = directory / PICTURE_NAME.format(number)
    if not path.is_file():
        return []
    stack = MrcStackReader(path)
    pairs = [range(first, min(first + 2, stack.count)) for first in range(0, stack.count, 2)]
    caption = "Changes of the lens’s phase over the plane of frequencies, as single coefficients tell them and as fitted."
    return [Captioned(figure=phase_planes(stack.read(pair), TITLES[pair.start : pair.stop]), caption=caption) for pair in pairs]


def _micrographs(facts: dict[str, Any]) -> Any:
    from cryowalk.view.report import Table

    rows = tuple(
        (row["name"], row["particles"], round(row["change"], 1), round(row["spread"], 1))
        for row in facts["micrographs"][:LARGEST_TABLE]
    )
    more = f"The first {LARGEST_TABLE} of {len(facts['micrographs'])}." if len(facts["micrographs"]) > LARGEST_TABLE else ""
    return Table(columns=("micrograph", "particles", "mean change (Å)", "spread (Å)"), rows=rows, caption=more)
