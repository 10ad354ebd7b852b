"""Reports of jobs: what a finished directory shows when nothing more particular is known about its command."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryowalk.workflow.manifest import Manifest

if TYPE_CHECKING:
    from cryowalk.view import Report

SHOWN_IMAGES = 12
LARGEST_TABLE = 10**6  # rows of a STAR file that is read for a report


def directory_report(directory: Path, manifest: Manifest) -> "Report":
    """The report of a job's directory: scores, maps, half maps and particles, as far as they are there."""
    from cryowalk.view import Report

    names = list(manifest.outputs) or [
        path.relative_to(directory).as_posix() for path in sorted(directory.rglob("*")) if path.is_file()
    ]
    report = Report(title=f"cryowalk {manifest.command}", summary=_summary(manifest), provenance=manifest.provenance())
    for heading, parts in (("Scores", _scores), ("Maps", _maps), ("Resolution", _resolution), ("Particles", _particles)):
        shown = parts(directory, names)
        if shown:
            report = report.with_section(heading, *shown)
    return report


def _summary(manifest: Manifest) -> str:
    if not manifest.outputs:  # drawn while the job still runs
        return f"Seed {manifest.seed}."
    counts = [f"{name}: {facts['rows']} rows" for name, facts in manifest.outputs.items() if "rows" in facts]
    return f"{len(manifest.outputs)} outputs" + (f" ({', '.join(counts[:6])})" if counts else "") + f"; seed {manifest.seed}."


def _scores(directory: Path, names: list[str]) -> list[Any]:
    return [
        dict(json.loads((directory / name).read_text(encoding="utf-8"))) for name in names if Path(name).name == "scores.json"
    ]


def _maps(directory: Path, names: list[str]) -> list[Any]:
    from cryowalk.io import read_header, read_map
    from cryowalk.view import isosurface, projections, slices

    named = [name for name in names if name.endswith(".mrc") and "half" not in name and "mask" not in name]
    headers = {name: read_header(directory / name) for name in named}
    chosen = [name for name, header in headers.items() if header.size[2] > 1 and not header.is_stack]
    maps = {Path(name).stem: read_map(directory / name) for name in chosen[:4]}
    if not maps:
        return []
    first = next(iter(maps.values()))
    has_surface = bool(first.voxels.min() < first.voxels.max())
    return [*([isosurface(first)] if has_surface else []), slices(maps), projections(maps)]


def _resolution(directory: Path, names: list[str]) -> list[Any]:
    from cryowalk.io import read_half_maps
    from cryowalk.validation import fourier_shell_correlation
    from cryowalk.view import fsc

    curves = {}
    for name in names:
        other = name.replace("half1", "half2")
        if name.endswith(".mrc") and "half1" in name and other in names:
            place = Path(name).parent.as_posix()
            curves["half maps" if place == "." else f"half maps of {place}"] = fourier_shell_correlation(
                read_half_maps(directory / name, directory / other)
            )
    return [fsc(curves)] if curves else []


def _particles(directory: Path, names: list[str]) -> list[Any]:
    from cryowalk.data import ImageStack
    from cryowalk.io import read_particles
    from cryowalk.view import images, viewing_directions

    name = next((name for name in names if Path(name).name in ("particles.star", "run_data.star")), None)
    if name is None:
        return []
    particles = read_particles(directory / name)
    parts: list[Any] = []
    if particles.images is not None:
        first = particles.images.read(range(min(SHOWN_IMAGES, particles.images.count)))
        parts.append(images(ImageStack(pixels=first, pixel_size=particles.optics[0].pixel_size)))
    if particles.pose is not None:
        parts.append(viewing_directions(particles.pose))
    return parts


def write_directory_report(directory: Path, manifest: Manifest) -> Path:
    """The path of the report that was written into the job's directory."""
    from cryowalk.view import write_report
    from cryowalk.workflow.job import REPORT_NAME

    path: Path = write_report(directory_report(directory, manifest), directory / REPORT_NAME)
    return path
