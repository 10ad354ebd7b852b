"""Reports of local resolution: percentiles, coloured slices and a histogram."""

import json
from pathlib import Path

from cryowalk.workflow.manifest import Manifest


def write_local_resolution_report(directory: Path, manifest: Manifest) -> Path:
    """The path of the report that was written into the job's directory."""
    import torch

    from cryowalk.data import Volume
    from cryowalk.io.maps import read_map
    from cryowalk.io.mrc import read_array
    from cryowalk.view import Report, write_report
    from cryowalk.view.local_resolution import resolution_histogram, resolution_slices
    from cryowalk.workflow.job import REPORT_NAME
    from cryowalk.workflow.local_resolution_stages import FILTERED_NAME, MAP_NAME, SCORES_NAME, molecule

    scores = json.loads((directory / SCORES_NAME).read_text(encoding="utf-8"))
    filtered = read_map(directory / FILTERED_NAME)
    values = torch.from_numpy(read_array(directory / MAP_NAME).copy())
    inside = values > 0
    if bool(inside.all()):
        inside = molecule(filtered)
    ends = (scores["local_resolution_percentile_10_angstrom"], scores["local_resolution_percentile_90_angstrom"])
    limits = (0.9 * ends[0], max(1.1 * ends[1], ends[0] * 1.2))
    local = Volume(voxels=torch.where(values > 0, values, limits[1]), voxel_size=filtered.voxel_size)
    words = (
        f"Half of the voxels are finer than {scores['local_resolution_median_angstrom']:.2f} Å. The window is a sphere "
        f"{scores['window_angstrom']:.0f} Å across: nothing smaller is told apart, and at the molecule's rim solvent counts too."
    )
    report = Report(title=f"cryowalk {manifest.command}", summary=words, provenance=manifest.provenance())
    report = report.with_section("Scores", scores)
    report = report.with_section("Where", resolution_slices(filtered, local, limits=limits))
    report = report.with_section("How much", resolution_histogram(values[inside].double().numpy()))
    path: Path = write_report(report, directory / REPORT_NAME)
    return path
