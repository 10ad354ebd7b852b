"""Reports of maps found from images alone: the maps, the likelihoods of the beginnings, and from where the particles were seen."""

import json
from pathlib import Path

from cryowalk.workflow.manifest import Manifest


def write_ab_initio_report(directory: Path, manifest: Manifest) -> Path:
    """The path of the report that was written into the job's directory."""
    from cryowalk.io import read_map, read_particles
    from cryowalk.view import Report, isosurface, projections, slices, viewing_directions, write_report
    from cryowalk.workflow.ab_initio_stages import DATA_NAME, SCORES_NAME, map_name
    from cryowalk.workflow.job import REPORT_NAME

    scores = json.loads((directory / SCORES_NAME).read_text(encoding="utf-8"))
    particles = read_particles(directory / DATA_NAME, images="ignore")
    shares = scores["particles_of_classes"]
    maps = {f"class {k + 1}": read_map(directory / map_name(k + 1)) for k in range(len(shares))}
    summary = "The hand of these maps is one of two that images cannot tell apart. They are starting maps: refine them before anything is read off."
    report = Report(title=f"cryowalk {manifest.command}", summary=summary, provenance=manifest.provenance())
    report = report.with_section("Scores", {name: _text(value) for name, value in scores.items()})
    for name, volume in maps.items():
        surface = [isosurface(volume)] if bool(volume.voxels.max() > volume.voxels.min()) else []
        report = report.with_section(name.capitalize(), *surface, slices({name: volume}), projections({name: volume}))
    symmetry = str(manifest.settings.get("symmetry", "C1"))
    report = report.with_section("Poses", viewing_directions(particles.pose, symmetry=symmetry))
    path: Path = write_report(report, directory / REPORT_NAME)
    return path


def _text(value: object) -> object:
    return ", ".join(str(item) for item in value) if isinstance(value, list) else value
