"""Reports of masks and post-processed maps: what the numbers rest on, and what the map looks like."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryowalk.workflow.manifest import Manifest

if TYPE_CHECKING:
    from cryowalk.data import Volume
    from cryowalk.io.post_processing import PostProcessTable


def write_mask_report(directory: Path, manifest: Manifest) -> Path:
    """The path of the report of a mask that was written into the job's directory."""
    from cryowalk.io import read_map, read_mask
    from cryowalk.view import Report, isosurface, write_report
    from cryowalk.view.post_processing import masked_slices
    from cryowalk.view.report import Captioned
    from cryowalk.workflow.job import REPORT_NAME
    from cryowalk.workflow.post_processing_stages import ONLY_MASK_NAME

    mask = read_mask(directory / ONLY_MASK_NAME)
    summary = f"The mask fills {100 * float(mask.voxels.mean()):.1f} % of the box."
    report = Report(title=f"cryowalk {manifest.command}", summary=summary, provenance=manifest.provenance())
    source = _input(manifest, "map")
    parts: list[Any] = []
    if source is not None:
        figure = masked_slices(read_map(source, voxel_size=mask.voxel_size), mask)
        parts.append(Captioned(figure=figure, caption="The map with the mask: ½ (line) and its end (dots)."))
    report = report.with_section("Mask", *parts, isosurface(mask))
    path: Path = write_report(report, directory / REPORT_NAME)
    return path


def write_post_processing_report(directory: Path, manifest: Manifest) -> Path:
    """The path of the report of a post-processed map that was written into the job's directory."""
    from cryowalk.io import read_map, read_postprocess
    from cryowalk.view import Report, isosurface, slices, write_report
    from cryowalk.workflow.job import REPORT_NAME
    from cryowalk.workflow.post_processing_stages import DOUBTS_NAME, MAP_NAME, MASKED_NAME, SCORES_NAME, TABLE_NAME

    table = read_postprocess(directory / TABLE_NAME)
    scores = json.loads((directory / SCORES_NAME).read_text(encoding="utf-8"))
    doubts = json.loads((directory / DOUBTS_NAME).read_text(encoding="utf-8"))
    volume, mask = read_map(directory / MAP_NAME), _mask(directory, table)
    summary = f"Resolution {table.resolution:.2f} Å; B-factor {table.b_factor:.0f} Å²."
    report = Report(title=f"cryowalk {manifest.command}", summary=summary, provenance=manifest.provenance())
    told = ["What to doubt:\n\n" + "\n\n".join(doubts)] if doubts else []
    report = report.with_section("Resolution", *told, scores, *_curves(table, mask))
    report = report.with_section("Amplitudes", *_amplitudes(table))
    shown = directory / (MAP_NAME if mask is None else MASKED_NAME)
    report = report.with_section("Map", isosurface(read_map(shown)), *_pictures(volume, mask), slices({"final map": volume}))
    path: Path = write_report(report, directory / REPORT_NAME)
    return path


def _input(manifest: Manifest, name: str) -> Path | None:
    """The file of an input as the job named it, if it still is there."""
    facts = manifest.inputs.get(name, {})
    path = Path(str(facts.get("path", "")))
    return path if facts and path.is_file() else None


def _mask(directory: Path, table: "PostProcessTable") -> "Volume | None":
    from cryowalk.io import read_mask
    from cryowalk.workflow.post_processing_stages import MASK_NAME

    own = directory / MASK_NAME
    given = Path(table.names.get("rlnMaskName", ""))
    path = own if own.is_file() else given
    return read_mask(path) if path.is_file() else None


def _curves(table: "PostProcessTable", mask: "Volume | None") -> list[Any]:
    from cryowalk.validation import ShellCorrelation
    from cryowalk.validation.masks import independent_fraction
    from cryowalk.validation.thresholds import information_curve, shell_sizes, sigma_curve
    from cryowalk.view import fsc
    from cryowalk.view.post_processing import fsc_against
    from cryowalk.view.report import Captioned

    words = {"corrected": "corrected", "unmasked": "no mask", "masked": "masked", "randomised": "masked, random phases"}
    names = words if mask is not None else {"unmasked": "no mask"}
    curves = {label: ShellCorrelation(frequency=table.frequency, correlation=table.curves[name]) for name, label in names.items()}
    caption = "The correlation of the half maps. Random phases show what the mask adds; the corrected curve is without it."
    parts: list[Any] = [Captioned(figure=fsc(curves), caption=caption)]
    if mask is not None:
        counts, fraction = shell_sizes(mask.voxels.shape[-1]), independent_fraction(mask)
        levels = {
            "half a bit": information_curve(counts, independent_fraction=fraction),
            "3 σ of noise": sigma_curve(counts, independent_fraction=fraction),
        }
        caption = f"The masked curve against thresholds that count coefficients; {100 * fraction:.0f} % of them are independent under the mask."
        parts.append(Captioned(figure=fsc_against(curves["masked"], levels), caption=caption))
    return parts


def _amplitudes(table: "PostProcessTable") -> list[Any]:
    from cryowalk.view.post_processing import guinier_plot
    from cryowalk.view.report import Captioned

    words = {
        "original": "average",
        "mtf_corrected": "divided by the MTF",
        "weighted": "weighted by FSC",
        "sharpened": "final map",
    }
    curves = {label: table.logarithms[name] for name, label in words.items() if name in table.logarithms}
    has_line = table.slope is not None and table.intercept is not None
    line = (table.intercept, table.slope) if has_line else None
    label = f"B = {-4 * table.slope:.0f} Å²" if table.slope is not None else ""
    figure = guinier_plot(table.frequency, curves, line=line, resolution=table.resolution, label=label)  # type: ignore[arg-type]  # both or none
    caption = "Guinier plot. The line is fitted to the weighted amplitudes beyond 10 Å, up to the resolution (grey)."
    return [Captioned(figure=figure, caption=caption)]


def _pictures(volume: "Volume", mask: "Volume | None") -> list[Any]:
    from cryowalk.view.post_processing import masked_slices
    from cryowalk.view.report import Captioned

    if mask is None:
        return []
    return [Captioned(figure=masked_slices(volume, mask), caption="The final map with the mask: ½ (line) and its end (dots).")]
