"""Reports of maps beside models: scores, the curve, residues along their chains, and the worst of them."""

import csv
import json
import math
from pathlib import Path

from cryowalk.workflow.manifest import Manifest

WORST = 25  # residues


def write_map_model_report(directory: Path, manifest: Manifest) -> Path:
    """The path of the report that was written into the job's directory."""
    import torch

    from cryowalk.validation import ShellCorrelation
    from cryowalk.view import Report, fsc, write_report
    from cryowalk.view.report import Captioned, Table
    from cryowalk.view.residues import scores_along_chains
    from cryowalk.workflow.job import REPORT_NAME
    from cryowalk.workflow.map_model_stages import CURVE_NAME, RESIDUES_NAME, SCORES_NAME, read_residues

    scores = json.loads((directory / SCORES_NAME).read_text(encoding="utf-8"))
    with (directory / CURVE_NAME).open(encoding="utf-8", newline="") as stream:
        rows = [(float(k), float(value)) for k, value in list(csv.reader(stream))[1:]]
    frequency, correlation = (torch.tensor(column) for column in zip(*rows, strict=True))
    curve = ShellCorrelation(frequency=frequency, correlation=correlation)
    residues = read_residues(directory / RESIDUES_NAME)
    known = sorted((one for one in residues if not math.isnan(one.q_score)), key=lambda one: one.q_score)
    words = f"Map and model agree to {scores['map_model_fsc_0.5_angstrom']:.2f} Å (FSC 0.5, soft mask about the model); mean Q-score {scores['q_score_mean']:.3f}."
    report = Report(title=f"cryowalk {manifest.command}", summary=words, provenance=manifest.provenance())
    report = report.with_section("Scores", scores)
    report = report.with_section("Resolution", fsc(curve, thresholds=(0.5,)))
    drawing = scores_along_chains([(one.chain, one.number, one.q_score) for one in known])
    worst = Table(
        columns=("chain", "number", "residue", "Q-score", "correlation"),
        rows=tuple((one.chain, one.number, one.name, one.q_score, one.correlation) for one in known[:WORST]),
        caption="The lowest Q-scores; all residues are in residues.csv.",
    )
    report = report.with_section(
        "Residues", Captioned(figure=drawing, caption="Mean Q-score of each residue's atoms along the chains."), worst
    )
    path: Path = write_report(report, directory / REPORT_NAME)
    return path
