"""CTF refinement with files at both ends: particles_ctf_refine.star, what was found as JSON, and pictures of the aberrations' phases."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.core.units import DEGREE, MILLIRADIAN
from cryowalk.data import ParticleSet, Volume
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.maps import read_half_maps, read_map
from cryowalk.io.mrc import write_array
from cryowalk.io.relion import write_particles
from cryowalk.poses.aberrations import SPHERICAL, GroupAberrations
from cryowalk.poses.defocus import micrograph_of
from cryowalk.poses.evidence import Band
from cryowalk.poses.refinement import CtfRefinement, refine_ctf
from cryowalk.poses.settings import CtfRefinementSettings
from cryowalk.refinement.starting_map import image_grid, whole_map
from cryowalk.workflow.job import Job

PARTICLES_NAME = "particles_ctf_refine.star"
FACTS_NAME = "ctf_refine.json"
PICTURE_NAME = "aberrations_group{:02d}.mrcs"
PICTURES = ("odd_measured", "odd_fitted", "even_measured", "even_fitted")
ANGSTROM_PER_MILLIMETRE = 1e7


def reference_files(reference: Path) -> tuple[Path, ...]:
    """The map, or both half maps where the name says that it is one of them (half1, half2)."""
    for mine, other in (("half1", "half2"), ("half2", "half1")):
        if mine in reference.name:
            pair = (reference, reference.with_name(reference.name.replace(mine, other)))
            if not pair[1].is_file():
                raise InputError(
                    "the other half map is not there",
                    file=pair[1],
                    fix="keep both half maps in one directory, or give one whole map",
                )
            return pair if mine == "half1" else (pair[1], pair[0])
    return (reference,)


def read_references(files: Sequence[Path]) -> tuple[Volume, ...]:
    """One map, or two half maps."""
    if len(files) == 1:
        return (read_map(files[0]),)
    halves = read_half_maps(files[0], files[1])
    return halves.first, halves.second


def refine_ctf_files(job: Job, particles: ParticleSet, maps: Sequence[Volume], settings: CtfRefinementSettings) -> dict[str, Any]:
    """What was found, as numbers; the particles are in particles_ctf_refine.star, the phases in aberrations_groupNN.mrcs."""
    if particles.images is None:
        raise InputError("the particles have no images", fix="give a STAR file with rlnImageName")
    if len(maps) == 2 and particles.half is None:
        raise InputError(
            "the particles are in no half sets (rlnRandomSubset), so none knows its half map",
            fix="give one whole map, or the STAR file of a refinement",
        )
    grid = image_grid(particles)
    maps = [whole_map(one, grid, progress=job.progress) for one in maps]
    result = refine_ctf(particles, maps, settings, progress=job.progress, checkpoint=job.checkpoint("ctf-refine"))
    if settings.defocus != "off" and not bool(torch.isfinite(result.deviation).any()):
        raise InputError(
            "no image says anything about its defocus",
            cause="images without contrast, or a map without detail at the resolutions that are compared",
            fix="look at both: cryowalk validate STACK.mrcs, cryowalk inspect MAP",
        )
    write_particles(result.particles, job.path(PARTICLES_NAME))
    facts = facts_of(particles, result)
    for group in result.aberrations:
        pictures = phase_pictures(group, result.band)
        if len(pictures):
            write_array(pictures, job.path(PICTURE_NAME.format(group.group + 1)), voxel_size=1.0, kind="images")
    atomic_write_text(job.path(FACTS_NAME), json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    return facts


def facts_of(before: ParticleSet, result: CtfRefinement) -> dict[str, Any]:
    """Numbers for the report: of each optics group, of each micrograph, and the spread of the particles' changes; mrad, mm and Å."""
    finite = torch.isfinite(result.deviation)
    micrograph = micrograph_of(before)
    names = before.micrograph_names or ("all",) * len(before)
    rows = []
    for number in range(int(micrograph.max()) + 1):
        members = (micrograph == number).nonzero().flatten()
        change = result.change[members]
        rows.append(
            {
                "name": names[int(members[0])],
                "particles": len(members),
                "change": float(change.mean()),
                "spread": float(change.std()) if len(members) > 1 else 0.0,
            }
        )
    return {
        "particles": len(before),
        "changes": [round(value, 1) for value in result.change.tolist()],
        "deviation_median": float(result.deviation[finite].median()) if bool(finite.any()) else None,
        "micrographs": rows,
        "groups": [_group_facts(result, group) for group in range(len(before.optics))],
        "frequency": [k / (result.band.disk.box * before.pixel_size) for k in range(result.band.shells)],
    }


def _group_facts(result: CtfRefinement, group: int) -> dict[str, Any]:
    optics = result.particles.optics[group]
    m00, m01, m10, m11 = optics.aberrations.magnification
    singular = torch.linalg.svdvals(torch.tensor([[m00, m01], [m10, m11]], dtype=torch.float64))
    facts: dict[str, Any] = {
        "name": optics.name,
        "beam_tilt_mrad": [value / MILLIRADIAN for value in optics.aberrations.beam_tilt],
        "magnification": list(optics.aberrations.magnification),
        "anisotropy_percent": float((singular[0] / singular[1] - 1) * 100),
        "scale": [round(value, 4) for value in result.scale[group].tolist()],
    }
    found = next((one for one in result.aberrations if one.group == group), None)
    if found is not None:
        facts |= {
            "beam_tilt_deviation_mrad": [_finite(value / MILLIRADIAN) for value in found.beam_tilt_deviation],
            "trefoil": list(found.trefoil),
            "even_zernike": list(found.even_zernike),
            "spherical_aberration_change_mm": found.spherical / ANGSTROM_PER_MILLIMETRE,
            "spherical_aberration_deviation_mm": _spherical_deviation(found, optics.wavelength),
            "log_likelihood_gain": found.odd_gain + found.even_gain,
        }
    if result.magnification_deviations:
        facts["magnification_deviation"] = [_finite(value) for value in result.magnification_deviations[group]]
    return facts


def _spherical_deviation(found: GroupAberrations, wavelength: float) -> float | None:
    if not found.even_deviation:
        return None
    return _finite(12 * found.even_deviation[SPHERICAL] / (math.pi * wavelength**3) / ANGSTROM_PER_MILLIMETRE)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def phase_pictures(group: GroupAberrations, band: Band) -> Float[Tensor, "pictures box box"]:
    """The phases over the plane of frequencies, the origin in the middle, degrees: odd as measured and fitted, then even, as far as they were asked for."""
    pictures = []
    for name in PICTURES:
        values = getattr(group, name)
        if values is not None:
            sign = -1.0 if name.startswith("odd") else 1.0
            pictures.append(_whole_plane(values, band, sign=sign) / DEGREE)
    box = band.disk.box
    return torch.stack(pictures).float() if pictures else torch.zeros(0, box, box)


def _whole_plane(values: Tensor, band: Band, *, sign: float) -> Tensor:
    """Values on the half disk and, with the sign, on their Friedel mates, as a centred image."""
    box, middle = band.disk.box, band.disk.box // 2
    picture = values.new_zeros(box, box)
    kx, ky = band.disk.kx[band.first : band.last], band.disk.ky[band.first : band.last]
    mates = (middle - ky, middle - kx)
    inside = (mates[0] < box) & (mates[1] < box)
    picture[mates[0][inside], mates[1][inside]] = sign * values[inside]
    picture[middle + ky, middle + kx] = values
    return picture
