"""A map and a model compared, with files at both ends."""

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path

from cryowalk.core.errors import InputError
from cryowalk.data import Atoms, Volume
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.atoms import read_atoms
from cryowalk.io.csv_text import csv_text
from cryowalk.io.maps import read_map, write_map
from cryowalk.validation.hand import WITHOUT_MODEL, check_hand
from cryowalk.validation.map_model import MapModelFit, as_cube, map_model_fit, model_density, model_mask
from cryowalk.validation.map_model_settings import MapModelSettings
from cryowalk.validation.pixel_calibration import calibrate_voxel_size
from cryowalk.validation.q_score import QScores, q_scores
from cryowalk.workflow.job import Job

SCORES_NAME, RESIDUES_NAME, CURVE_NAME, DENSITY_NAME = "scores.json", "residues.csv", "map_model_fsc.csv", "model.mrc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Residue:
    """One row of the table of residues."""

    chain: str
    number: int
    name: str
    q_score: float
    correlation: float


def map_model_files(
    job: Job, map_file: Path, model: Path | None, settings: MapModelSettings, *, voxel_size: float | None
) -> dict[str, float | str]:
    """The scores; scores.json, residues.csv, map_model_fsc.csv and model.mrc (the model's density on the map's grid) are written.

    Raises
    ------
    InputError
        If there is no model, or it does not lie in the map.
    """
    if model is None:
        raise InputError("there is no model to compare the map with", cause=WITHOUT_MODEL, fix="give one: --model FILE.pdb")
    volume, atoms = read_map(map_file, voxel_size=voxel_size), read_atoms(model)
    fit = map_model_fit(volume, atoms, resolution=settings.resolution)
    scored = q_scores(volume, atoms, sigma=settings.q_sigma, progress=job.progress)
    scores: dict[str, float | str] = {
        "map_model_fsc_0.5_angstrom": fit.curve.resolution(at=0.5),
        "map_model_fsc_0.143_angstrom": fit.curve.resolution(at=0.143),
        "correlation_in_mask": fit.correlation_in_mask,
        "correlation_in_box": fit.correlation_in_box,
        "q_score_mean": scored.mean,
        "compared_at_angstrom": fit.resolution,
    }
    scores |= _more(volume, atoms, settings, detail=fit.resolution, job=job)
    atomic_write_text(job.path(RESIDUES_NAME), _table_of_residues(fit, scored))
    rows = zip(fit.curve.frequency.tolist(), fit.curve.correlation.tolist(), strict=True)
    atomic_write_text(
        job.path(CURVE_NAME), "frequency_per_angstrom,fsc\n" + "".join(f"{k:.8g},{value:.6g}\n" for k, value in rows)
    )
    write_map(model_density(atoms, volume, resolution=max(fit.resolution, 2 * volume.voxel_size)), job.path(DENSITY_NAME))
    atomic_write_text(job.path(SCORES_NAME), json.dumps(scores, indent=1, ensure_ascii=False) + "\n")
    return scores


def _more(volume: Volume, atoms: Atoms, settings: MapModelSettings, *, detail: float, job: Job) -> dict[str, float | str]:
    """What is asked for beside: the hand and the voxel size."""
    scores: dict[str, float | str] = {}
    if settings.hand == "either":
        found = check_hand(volume, atoms, resolution=detail)
        scores |= {
            "hand": found.hand,
            "hand_correlation": found.correlation,
            "hand_correlation_mirrored": found.mirrored_correlation,
            "hand_standard_errors": found.standard_errors,
        }
        job.progress.note(f"the hand of the map: {found.hand} ({found.standard_errors:.1f} standard errors)")
    if settings.calibrate == "yes":
        cube = as_cube(volume)
        size = calibrate_voxel_size(
            cube, model_density(atoms, cube), resolution=detail, mask=model_mask(atoms, cube), progress=job.progress
        )
        scores |= {
            "voxel_size_angstrom": size.voxel_size,
            "voxel_size_error_angstrom": size.standard_error,
            "voxel_size_ratio": size.scale,
        }
    return scores


def _table_of_residues(fit: MapModelFit, scored: QScores) -> str:
    rows: list[tuple[object, ...]] = [("chain", "number", "name", "q_score", "correlation")]
    for (name, number, chain), q, correlation in zip(
        fit.residues, scored.by_residue().tolist(), fit.residue_correlation.tolist(), strict=True
    ):
        rows.append((chain, number, name, *("" if math.isnan(value) else f"{value:.4f}" for value in (q, correlation))))
    return csv_text(rows)


def read_residues(path: Path) -> list[Residue]:
    """The rows of residues.csv; a score that is not known is NaN."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [
            Residue(
                chain=row["chain"],
                number=int(row["number"]),
                name=row["name"],
                q_score=float(row["q_score"] or "nan"),
                correlation=float(row["correlation"] or "nan"),
            )
            for row in csv.DictReader(stream)
        ]
