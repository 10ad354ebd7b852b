"""Local resolution with files at both ends, under RELION's names."""

import json
from pathlib import Path

import torch

from cryowalk.core.errors import InputError
from cryowalk.data import Volume
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.maps import read_half_maps, read_mask, write_map
from cryowalk.io.mrc import write_array
from cryowalk.validation.local_filter import locally_filtered
from cryowalk.validation.local_resolution import LocalResolution, local_resolution
from cryowalk.validation.local_resolution_settings import LocalResolutionSettings
from cryowalk.workflow.chimerax_views import VIEW_NAME, View, write_view
from cryowalk.workflow.job import Job

MAP_NAME, FILTERED_NAME, SCORES_NAME = "relion_locres.mrc", "relion_locres_filtered.mrc", "scores.json"
SHOWN_DENSITY = 3.0  # standard deviations: where a map without a mask counts as molecule


def local_resolution_files(
    job: Job,
    halves: tuple[Path, Path],
    settings: LocalResolutionSettings,
    *,
    mask: Path | None,
    b_factor: float,
    voxel_size: float | None,
) -> tuple[LocalResolution, dict[str, float]]:
    """The local resolution and its percentiles; relion_locres.mrc (Å; 0 outside of a mask), relion_locres_filtered.mrc and scores.json are written."""
    maps = read_half_maps(*halves, voxel_size=voxel_size)
    inside = None if mask is None else read_mask(mask, voxel_size=voxel_size).voxels > 0.5
    if inside is not None and inside.shape != maps.first.voxels.shape:
        raise InputError(
            "the mask has not the size of the half maps", file=mask, expected=f"{tuple(maps.first.voxels.shape)} voxels"
        )
    if inside is not None and not bool(inside.any()):
        raise InputError(
            "the mask holds no voxel above 0.5", file=mask, expected="1 inside, 0 in the solvent", fix="make one: cryowalk mask"
        )
    found = local_resolution(maps, settings, progress=job.progress)
    average = maps.average()
    filtered = locally_filtered(average, found.resolution, b_factor=b_factor)
    shown = found.resolution.voxels if inside is None else torch.where(inside, found.resolution.voxels, 0.0)
    write_array(shown, job.path(MAP_NAME), voxel_size=average.voxel_size, origin=average.origin)
    write_map(filtered, job.path(FILTERED_NAME))
    write_view(View(maps=[job.path(FILTERED_NAME)], local_resolution=job.path(MAP_NAME)), job.path(VIEW_NAME))
    scores = percentiles(found.resolution.voxels[molecule(filtered) if inside is None else inside])
    scores["window_angstrom"] = found.window
    atomic_write_text(job.path(SCORES_NAME), json.dumps(scores, indent=1) + "\n")
    return found, scores


def molecule(filtered: Volume) -> torch.Tensor:
    """Where a map stands out of its noise: the voxels that a histogram without a mask counts."""
    voxels = filtered.voxels
    inside = voxels > voxels.mean() + SHOWN_DENSITY * voxels.std()
    return inside if bool(inside.any()) else torch.ones_like(inside)


def percentiles(values: torch.Tensor) -> dict[str, float]:
    """The spread of local resolutions, Å."""
    ordered = values.double().sort().values
    if not len(ordered):
        raise InputError("the mask holds no voxel", fix="look at it: cryowalk inspect FILE")
    names = {
        "finest_angstrom": 0.0,
        "percentile_10_angstrom": 0.1,
        "median_angstrom": 0.5,
        "percentile_90_angstrom": 0.9,
        "coarsest_angstrom": 1.0,
    }
    return {f"local_resolution_{name}": float(ordered[round(share * (len(ordered) - 1))]) for name, share in names.items()}
