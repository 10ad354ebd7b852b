"""Reports of refinements: the map, how the halves came to agree, how sure the poses are, and from where the particles were seen."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryowalk.workflow.manifest import Manifest

if TYPE_CHECKING:
    from cryowalk.data import ParticleSet

SHOWN_CURVES = 6


def write_refinement_report(directory: Path, manifest: Manifest) -> Path:
    """The path of the report that was written into the job's directory."""
    from cryowalk.io import read_map, read_particles
    from cryowalk.view import Report, isosurface, projections, slices, viewing_directions, write_report
    from cryowalk.workflow.job import REPORT_NAME
    from cryowalk.workflow.refine_stages import CURVES_NAME, DATA_NAME, NO_SIGNAL, read_scores
    from cryowalk.workflow.stages import MAP_NAME

    scores = read_scores(directory)
    curves = json.loads((directory / CURVES_NAME).read_text(encoding="utf-8"))
    particles = read_particles(directory / DATA_NAME, images="ignore")
    volume = read_map(directory / MAP_NAME)
    symmetry = str(manifest.settings.get("symmetry", "C1"))
    summary = "" if scores["signal_beyond_starting_model"] else f"{NO_SIGNAL[0].upper()}{NO_SIGNAL[1:]}."
    report = Report(title=f"cryowalk {manifest.command}", summary=summary, provenance=manifest.provenance())
    report = report.with_section("Scores", {name: value for name, value in scores.items() if name != "iterations"})
    surface = [isosurface(volume)] if bool(volume.voxels.max() > volume.voxels.min()) else []
    report = report.with_section("Map", *surface, slices({"map": volume}), projections({"map": volume}))
    report = report.with_section("Resolution", *_resolution(curves), _table(scores["iterations"]))
    report = report.with_section("Poses", viewing_directions(particles.pose, symmetry=symmetry), *_widths(particles))
    path: Path = write_report(report, directory / REPORT_NAME)
    return path


def _resolution(curves: dict[str, Any]) -> list[Any]:
    from cryowalk.view import fsc

    last = len(curves["masked"])
    shown = sorted({round(1 + step * (last - 1) / (SHOWN_CURVES - 1)) for step in range(SHOWN_CURVES)}) if last > 1 else [1]
    named = {f"iteration {number}": _curve(curves, curves["masked"][number - 1]) for number in shown[:-1]}
    final = {f"iteration {last}, inside the mask": curves["masked"][-1], "without a mask": curves["unmasked"]}
    return [fsc({**named, **{name: _curve(curves, values) for name, values in final.items()}}, thresholds=(0.143,))]


def _curve(curves: dict[str, Any], values: list[float]) -> Any:
    import torch

    from cryowalk.validation.shell_correlation import ShellCorrelation

    return ShellCorrelation(frequency=torch.tensor(curves["frequency"]), correlation=torch.tensor(values))


def _table(rows: list[dict[str, Any]]) -> Any:
    from cryowalk.view.report import Table

    heads = {
        "iteration": "iteration",
        "search": "search",
        "step_degrees": "step (°)",
        "accuracy_degrees": "accuracy (°)",
        "change_degrees": "change (°)",
        "shift_step_angstrom": "shift step (Å)",
        "accuracy_angstrom": "accuracy (Å)",
        "change_angstrom": "change (Å)",
        "resolution_masked_angstrom": "resolution, mask (Å)",
        "resolution_unmasked_angstrom": "no mask (Å)",
        "max_probability": "largest probability",
    }
    body = tuple(tuple(row[name] for name in heads) for row in rows)
    caption = (
        "Accuracies are least standard deviations about and along one axis (Cramér–Rao); the change of orientation is the median, that of places what "
        "nineteen of twenty particles stayed within."
    )
    return Table(columns=tuple(heads.values()), rows=body, caption=caption)


def _widths(particles: "ParticleSet") -> list[Any]:
    """How wide the posteriors of orientation and place are."""
    from cryowalk.view.canvas import new_drawing
    from cryowalk.view.report import Captioned

    drawing = new_drawing(7.2, 2.8, description="Widths of the posteriors")
    pairs = (("cwAngularWidth", "orientation (°, r.m.s.)"), ("cwShiftWidth", "place along one axis (Å)"))
    for number, (label, name) in enumerate(pairs, start=1):
        values = [float(text) for text in particles.extra.get(label, ())]
        axes = drawing.add_subplot(1, 2, number)
        finite = [value for value in values if math.isfinite(value)]
        axes.hist(finite, bins=40, color="#4c72b0")
        axes.set_xlabel(name)
        axes.set_ylabel("particles")
    caption = "How wide the posteriors of orientation and place are: what the images themselves say of how sure their poses are."
    return [Captioned(figure=drawing, caption=caption)]
