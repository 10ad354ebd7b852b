"""Reports of particle extraction: what became of the picks, what the particles look like, and their mean."""

import json
from pathlib import Path
from typing import Any

from cryowalk.workflow.manifest import Manifest

SHOWN = 24  # particles
AVERAGED = 1000  # particles
LARGEST_TABLE = 500  # rows


def write_extraction_report(directory: Path, manifest: Manifest) -> Path:
    """The path of the report that was written into the job's directory."""
    from cryowalk.io import read_particles
    from cryowalk.view import Report, write_report
    from cryowalk.workflow.job import REPORT_NAME

    files = sorted((directory / "Extract").glob("*.json"))
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}
    particles = read_particles(directory / "particles.star")
    picked = sum(facts["picks"] for facts in results.values())
    summary = f"{len(particles)} particles of {picked} picks in {len(results)} micrographs; seed {manifest.seed}."
    report = Report(title=f"cryowalk {manifest.command}", summary=summary, provenance=manifest.provenance())
    report = report.with_section("Particles", *_pictures(particles))
    report = report.with_section("Micrographs", _table(results))
    path: Path = write_report(report, directory / REPORT_NAME)
    return path


def _table(results: dict[str, dict[str, Any]]) -> Any:
    from cryowalk.view.report import Table

    rows = tuple(
        (name, facts["picks"], len(facts["kept"]), facts["at_edge"], facts["outside"], facts["flat"])
        for name, facts in list(results.items())[:LARGEST_TABLE]
    )
    heads = ("micrograph", "picks", "particles", "box sticks out", "outside", "without contrast")
    more = f"The first {LARGEST_TABLE} of {len(results)}." if len(results) > LARGEST_TABLE else ""
    return Table(columns=heads, rows=rows, caption=more)


def _pictures(particles: Any) -> list[Any]:
    """Some particles from all over the set, and the mean of many as they lie, which is a round blob where the picks are centred."""
    import torch

    from cryowalk.core.execution import batches
    from cryowalk.data import ImageStack
    from cryowalk.view import images
    from cryowalk.view.report import Captioned

    source = particles.images
    chosen = torch.linspace(0, source.count - 1, min(SHOWN, source.count)).round().long().tolist()
    many = torch.linspace(0, source.count - 1, min(AVERAGED, source.count)).round().long().tolist()
    total = torch.zeros(source.image_shape, dtype=torch.float64)
    for batch in batches(len(many), 100):
        total += source.read([many[i] for i in batch]).double().sum(dim=0)
    size = particles.optics[0].pixel_size
    mean = ImageStack(pixels=(total / len(many)).float()[None], pixel_size=size)
    return [
        Captioned(
            figure=images(ImageStack(pixels=source.read(chosen), pixel_size=size)), caption="Particles from all over the set."
        ),
        Captioned(
            figure=images(mean),
            caption=f"The mean of {len(many)} particles as they lie: a blob in the middle where picks are centred.",
        ),
    ]
