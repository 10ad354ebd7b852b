"""Reports of imports: how many exposures each optics group has, and their beam shifts."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from cryowalk.workflow.manifest import Manifest

LARGEST_TABLE = 200  # groups


def write_import_report(directory: Path, manifest: Manifest) -> Path:
    """The path of the report that was written into the job's directory."""
    import torch

    from cryowalk.view import Report, write_report
    from cryowalk.view.acquisition import beam_shifts
    from cryowalk.view.report import Captioned, Table
    from cryowalk.workflow.import_stages import FACTS_NAME
    from cryowalk.workflow.job import REPORT_NAME

    facts = json.loads((directory / FACTS_NAME).read_text(encoding="utf-8"))
    exposures = list(facts["exposures"].values())
    sizes = Counter(group for _, group in exposures)
    order = sorted(sizes)
    summary = f"{len(exposures)} exposures; {facts['words']}."
    report = Report(title=f"cryowalk {manifest.command}", summary=summary, provenance=manifest.provenance())
    parts: list[Any] = []
    if exposures and exposures[0][0] is not None:
        shifts = torch.tensor([shift for shift, _ in exposures], dtype=torch.float64)
        index = torch.tensor([order.index(group) for _, group in exposures])
        caption = "Each mark is an exposure at its beam shift, each number the row of its group in the table below."
        parts.append(Captioned(figure=beam_shifts(shifts, index, unit=facts["unit"]), caption=caption))
    rows = tuple((number, group, sizes[group]) for number, group in enumerate(order[:LARGEST_TABLE], start=1))
    more = f"The first {LARGEST_TABLE} of {len(order)}." if len(order) > LARGEST_TABLE else ""
    parts.append(Table(columns=("number", "optics group", "exposures"), rows=rows, caption=more))
    path: Path = write_report(report.with_section("Optics groups", *parts), directory / REPORT_NAME)
    return path
