"""Scores of picking, of a CTF fit of micrographs and of motion correction against the truth: files in, flat numbers whose names carry their units out."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_positive
from cryowalk.core.errors import InputError, UsageError
from cryowalk.data.motion import Motion
from cryowalk.data.optics import Defocus
from cryowalk.data.truth import Truth
from cryowalk.io.coordinates import X, Y, read_coordinates
from cryowalk.io.micrographs import read_micrographs
from cryowalk.io.motion import read_motion
from cryowalk.io.relion import read_particles
from cryowalk.io.star import read_star
from cryowalk.io.star_numbers import numbers
from cryowalk.numerics.motion_model import spatial_terms
from cryowalk.picking.score import score_picks
from cryowalk.validation.scores import score

NAME = "rlnMicrographName"
_LIMIT = 1e6  # px
_NODES = 5  # places a side of the field at which motion is compared
_ENDING = "_motion"
Part = TypeVar("Part")


def pick_scores(result: Path, truth: Path, *, diameter: float, pixel_size: float | None) -> dict[str, float]:
    """Precision, recall and F1 of picks, and the root mean square distance of a pick from its particle, over all micrographs of the truth.

    A pick and a particle make a pair within half a `diameter` (Å), one to one. Both files are a STAR file over several micrographs, or the places in one
    micrograph (STAR, BOX, CSV). Picks in micrographs that the truth does not know count as wrong.

    Raises
    ------
    InputError
        If a file is not usable, or the two have no micrograph in common.
    UsageError
        If the pixel size is not known.
    """
    require_positive("diameter", diameter, unit="Å")
    size = pixel_size if pixel_size is not None else _pixel_size_of(truth)
    found, known = _places(result), _places(truth)
    if len(found) == len(known) == 1 and "" in (*found, *known):  # the places in one micrograph, which one side does not name
        found, known = ({"": places} for each in (found, known) for places in each.values())
    _require_common(found, known, result, truth)
    picks = particles = matches = 0
    squares = 0.0
    none = torch.zeros(0, 2, dtype=torch.float64)
    for name in sorted(found.keys() | known.keys()):
        scores = score_picks(found.get(name, none), known.get(name, none), tolerance=diameter / 2 / size)
        picks, particles, matches = picks + scores.picks, particles + scores.particles, matches + scores.matches
        squares += scores.matches * scores.offset**2 if scores.matches else 0.0
    return {
        "micrographs": float(len(known)),
        "picks": float(picks),
        "particles": float(particles),
        "precision": matches / picks if picks else math.nan,
        "recall": matches / particles if particles else math.nan,
        "f1": 2 * matches / (picks + particles) if picks + particles else math.nan,
        "centre_error_rms_angstrom": size * math.sqrt(squares / matches) if matches else math.nan,
    }


def micrograph_defocus_scores(result: Path, truth: Path) -> dict[str, float]:
    """Errors of the defocus, the astigmatism and its axis of micrographs that both tables hold, matched by their names.

    Raises
    ------
    InputError
        If a table has no defocus, or the two have no micrograph in common.
    """
    found, known = _defocus_by_name(result), _defocus_by_name(truth)
    names = _require_common(found, known, result, truth)
    ours, theirs = (_stacked([each[name] for name in names]) for each in (found, known))
    return {"micrographs": float(len(names)), **score(ours, Truth(defocus=theirs))}


def motion_scores(result: Path, truth: Path) -> dict[str, float]:
    """Root mean square errors of tracks, each less its mean over the frames: of the whole field, and at 5 × 5 places of it.

    Both are a file that tells how a movie moved, or directories with such files (`*_motion.star`), matched by their names.

    Raises
    ------
    InputError
        If a file is not usable, the numbers of frames differ, or there is no movie in common.
    """
    found, known = _motions(result), _motions(truth)
    if len(found) == len(known) == 1:
        found, known = ({"": motion} for each in (found, known) for motion in each.values())
    names = _require_common(found, known, result, truth)
    field, places = [], []
    for name in names:
        ours, theirs = found[name], known[name]
        frames = len(ours.global_displacement), len(theirs.global_displacement)
        if frames[0] != frames[1]:
            raise InputError(f"the movie has {frames[0]} frames in the result, {frames[1]} in the truth", file=result, row=name)
        tracks = [_tracks(motion) for motion in (ours, theirs)]
        apart = tracks[0] - tracks[1]
        places.append(apart - apart.mean(dim=0))
        middle = (ours.global_displacement - theirs.global_displacement).double()
        field.append(middle - middle.mean(dim=0))
    return {
        "movies": float(len(names)),
        "global_motion_error_rms_angstrom": _root_mean_square(field),
        "motion_error_rms_angstrom": _root_mean_square(places),
    }


def _root_mean_square(apart: list[Tensor]) -> float:
    squares = torch.cat([each.square().sum(dim=-1).flatten() for each in apart])
    return float(squares.mean().sqrt())


def _tracks(motion: Motion) -> Float[Tensor, "frames places 2"]:
    """The displacement (Å) of places evenly over the field, in each frame."""
    line = torch.linspace(-0.4, 0.4, _NODES, dtype=torch.float64)
    terms = spatial_terms(torch.cartesian_prod(line, line))
    whole = motion.global_displacement.double()[:, None, :]
    if motion.local is None:
        return whole.expand(-1, len(terms), -1)
    return whole + torch.einsum("fat,pt->fpa", motion.local.double(), terms)


def _places(path: Path) -> dict[str, Float[Tensor, "n 2"]]:
    """The places (x, y) in each micrograph of a table by its bare name; those of a file without names under the empty one."""
    if path.suffix.lower() == ".star":
        table = next((block for block in read_star(path).blocks if {NAME, X, Y} <= set(block.columns)), None)
        if table is not None:
            places = torch.from_numpy(
                np.stack([numbers(table, label, path=path, low=-_LIMIT, high=_LIMIT) for label in (X, Y)], axis=-1)
            )
            names = [Path(name).stem for name in table.columns[NAME]]
            rows: dict[str, list[int]] = {}
            for row, name in enumerate(names):
                rows.setdefault(name, []).append(row)
            return {name: places[chosen] for name, chosen in rows.items()}
    return {"": read_coordinates(path).positions.double()}


def _pixel_size_of(path: Path) -> float:
    """The pixel size of the micrographs that a table of particles counts, Å."""
    if path.suffix.lower() == ".star" and "optics" in read_star(path):
        optics = read_particles(path, images="ignore").optics[0]
        told = optics.extra.get("rlnMicrographPixelSize")
        return float(told) if told is not None else float(optics.pixel_size)
    raise UsageError("the truth does not tell the micrographs' pixel size", fix="state --pixel-size (Å)")


def _defocus_by_name(path: Path) -> dict[str, Defocus]:
    table = read_micrographs(path)
    if table.defocus is None:
        raise InputError("the micrographs have no defocus", file=path)
    return {Path(name).stem: table.defocus[row : row + 1] for row, name in enumerate(table.names or table.movie_names)}


def _stacked(parts: list[Defocus]) -> Defocus:
    major, minor, azimuth, phase = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("major", "minor", "azimuth", "phase_shift")
    )
    return Defocus(major=major, minor=minor, azimuth=azimuth, phase_shift=phase)


def _motions(path: Path) -> dict[str, Motion]:
    """The motion in a file, or in each such file under a directory by its movie's bare name."""
    files = sorted(path.rglob(f"*{_ENDING}.star")) if path.is_dir() else [path]
    if not files:
        raise InputError("no file tells how a movie moved", file=path, expected=f"files that end in {_ENDING}.star")
    return {file.stem.removesuffix(_ENDING): read_motion(file) for file in files}


def _require_common(found: Mapping[str, Part], known: Mapping[str, Part], result: Path, truth: Path) -> list[str]:
    """The names that both have.

    Raises
    ------
    InputError
        If there are none.
    """
    names = sorted(found.keys() & known.keys())
    if not names:
        raise InputError(
            "the result and the truth have no name in common",
            file=result,
            expected=f"names as in {truth.name}, such as {next(iter(known), '')!r}",
            cause="another data set",
        )
    return names
