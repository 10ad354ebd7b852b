"""The truth of a simulated tilt series in a STAR file: its geometry, tilt by tilt, its particles and its beads, with all digits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.core.units import DEGREE
from cryowalk.data.pose import Pose
from cryowalk.data.tilt_series_truth import TiltSeriesTruth
from cryowalk.io.relion import ANGLES, defocus_columns, relion_from_lab_from_particle, table_defocus, table_pose
from cryowalk.io.relion_optics import optics_block, read_optics_table
from cryowalk.io.star import StarBlock, StarFile, read_star, write_star
from cryowalk.io.star_numbers import exact_texts, integer_texts, integers, numbers
from cryowalk.io.tilt_series_files import NOMINAL, SHIFTS, TILTS, lab_from_specimen, tilts_of

_SINGLE = {
    "thickness": "cryowalkThickness",
    "tilt_axis": "cryowalkTiltAxis",
    "dose": "cryowalkDose",
    "bead_radius": "cryowalkBeadRadius",
}
_NAME, _HEIGHT, _WIDTH = "rlnTomoName", "cryowalkImageHeight", "cryowalkImageWidth"
_TRUE_TILT, _ORDER, _EARLIER = "cryowalkTrueTiltAngle", "cryowalkAcquisitionOrder", "rlnMicrographPreExposure"
_PLACES = ("rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateZAngst")
_MATRIX = "cryowalkProjection"  # and row and column; to pixels of the image from Å of the specimen
_SUBTOMOGRAM = {label: label.replace("rlnAngle", "rlnTomoSubtomogram") for label in ANGLES}
_KIND, _CONFORMATION, _KIND_NAME = "rlnClassNumber", "cryowalkConformation", "cryowalkSpecimenName"


def write_tilt_series_truth(truth: TiltSeriesTruth, path: str | Path) -> None:
    """Write the truth to a STAR file, all or nothing: blocks truth, optics, tilts, particles, beads and specimens."""
    values = {_NAME: truth.name, _HEIGHT: str(truth.size[0]), _WIDTH: str(truth.size[1])}
    values |= {label: repr(float(getattr(truth, part))) for part, label in _SINGLE.items()}
    blocks = [
        StarBlock(name="truth", values=values),
        optics_block((truth.optics,), box=None),
        StarBlock(name="tilts", columns=_tilt_columns(truth)),
    ]
    if len(truth.positions):
        blocks.append(StarBlock(name="particles", columns=_particle_columns(truth)))
    if len(truth.bead_positions):
        blocks.append(StarBlock(name="beads", columns=_place_columns(truth.bead_positions)))
    if truth.specimen_names:
        blocks.append(StarBlock(name="specimens", columns={_KIND_NAME: truth.specimen_names}))
    write_star(blocks, path)


def write_tomogram_particles(truths: Sequence[TiltSeriesTruth], path: str | Path) -> None:
    """Write the particles of all series as RELION 5 has them, in one table: centred places in Å, angles, the kind as class number.

    Raises
    ------
    InputError
        If there are none.
    """
    tables = [_particle_columns(truth) for truth in truths if len(truth.positions)]
    if not tables:
        raise InputError("there are no particles to write", file=path)
    columns = {label: tuple(text for table in tables for text in table[label]) for label in tables[0]}
    write_star([optics_block((truths[0].optics,), box=None), StarBlock(name="particles", columns=columns)], Path(path))


def _tilt_columns(truth: TiltSeriesTruth) -> dict[str, tuple[str, ...]]:
    """One row a tilt: angles and shifts as RELION has them, and the matrix that takes the specimen's Å to the image's pixels."""
    tilts = tilts_of(truth.lab_from_specimen) / DEGREE
    columns = {
        NOMINAL: exact_texts(_plain(truth.tilt_angle / DEGREE)),
        _TRUE_TILT: exact_texts(_plain(truth.true_tilt_angle / DEGREE)),
        _ORDER: integer_texts(truth.order),
        _EARLIER: exact_texts(_plain(truth.dose_before)),
        **{label: exact_texts(_plain(tilts[:, axis])) for axis, label in enumerate(TILTS)},
        **{label: exact_texts(_plain(truth.shift[:, axis])) for axis, label in enumerate(SHIFTS)},
        **defocus_columns(truth.defocus, set()),
    }
    matrices = truth.projection_matrices(centre=(0.0, 0.0, 0.0))
    matrices[:, :3, :3] /= truth.optics.pixel_size
    for row in range(3):
        for column in range(4):
            columns[f"{_MATRIX}{row}{column}"] = exact_texts(_plain(matrices[:, row, column]))
    return columns


def _particle_columns(truth: TiltSeriesTruth) -> dict[str, tuple[str, ...]]:
    angles = relion_from_lab_from_particle(truth.specimen_from_particle)
    return {
        _NAME: (truth.name,) * len(truth.positions),
        **_place_columns(truth.positions),
        **{label: exact_texts(_plain(angles[:, axis])) for axis, label in enumerate(_SUBTOMOGRAM.values())},
        _KIND: integer_texts(truth.specimen + 1),
        _CONFORMATION: exact_texts(_plain(truth.conformation)),
    }


def _place_columns(points: Tensor) -> dict[str, tuple[str, ...]]:
    return {label: exact_texts(_plain(points[:, axis])) for axis, label in enumerate(_PLACES)}


def _plain(values: Tensor | np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return torch.as_tensor(values).detach().cpu().double().numpy()


def read_tilt_series_truth(path: str | Path) -> TiltSeriesTruth:
    """The truth in a STAR file written by `write_tilt_series_truth`.

    Raises
    ------
    InputError
        If the file is no truth of a tilt series.
    """
    path = Path(path)
    star = read_star(path)
    if "truth" not in star or "tilts" not in star or _NAME not in star["truth"].values:
        raise InputError(
            "the file holds no truth of a tilt series: no blocks data_truth and data_tilts",
            file=path,
            fix="name one of the files in the folder truth/ of a simulation of tilt series",
        )
    values = star["truth"].values
    single = StarBlock(name="truth", columns={label: (text,) for label, text in values.items()})
    groups, _ = read_optics_table(star["optics"], path=path, pixel_size=None)
    table = star["tilts"]
    used: set[str] = set()
    defocus = table_defocus(table, path, used)
    if defocus is None:
        raise InputError("the tilts have no defocus", file=path)

    def column(label: str, block: StarBlock = table) -> Tensor:
        return torch.from_numpy(np.array(numbers(block, label, path=path)))

    parts: dict[str, Any] = {part: float(numbers(single, label, path=path)[0]) for part, label in _SINGLE.items()}
    return TiltSeriesTruth(
        name=values[_NAME],
        optics=groups[0],
        size=(int(integers(single, _HEIGHT, path=path)[0]), int(integers(single, _WIDTH, path=path)[0])),
        tilt_angle=column(NOMINAL) * DEGREE,
        true_tilt_angle=column(_TRUE_TILT) * DEGREE,
        lab_from_specimen=lab_from_specimen(torch.stack([column(label) for label in TILTS], dim=-1) * DEGREE),
        shift=torch.stack([column(label) for label in SHIFTS], dim=-1),
        defocus=defocus,
        dose_before=column(_EARLIER),
        order=torch.from_numpy(integers(table, _ORDER, path=path)),
        bead_positions=_places(star, "beads", path),
        specimen_names=star["specimens"].columns[_KIND_NAME] if "specimens" in star else (),
        **(parts | _particles(star, path)),
    )


def _places(star: StarFile, name: str, path: Path) -> Tensor:
    if name not in star:
        return torch.zeros(0, 3, dtype=torch.float64)
    return torch.from_numpy(np.stack([numbers(star[name], label, path=path) for label in _PLACES], axis=-1))


def _particles(star: StarFile, path: Path) -> dict[str, Tensor]:
    """Positions, orientations, kinds and conformations."""
    positions = _places(star, "particles", path)
    if not len(positions):
        none = torch.zeros(0, dtype=torch.float64)
        return {
            "positions": positions,
            "specimen_from_particle": torch.zeros(0, 3, 3, dtype=torch.float64),
            "specimen": none.long(),
            "conformation": none,
        }
    table = star["particles"]
    angles = StarBlock(name="particles", columns={label: table.columns[name] for label, name in _SUBTOMOGRAM.items()})
    pose: Pose | None = table_pose(angles, torch.ones(len(table), dtype=torch.float64), path, set())
    if pose is None:
        raise InputError("the particles have no angles", file=path)
    return {
        "positions": positions,
        "specimen_from_particle": pose.lab_from_particle,
        "specimen": torch.from_numpy(integers(table, _KIND, path=path)) - 1,
        "conformation": torch.from_numpy(np.array(numbers(table, _CONFORMATION, path=path))),
    }
