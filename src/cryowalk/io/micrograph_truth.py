"""The truth of a simulated micrograph or movie in a STAR file: a table of its particles that RELION reads as coordinates, and beside it all else that is known.

Numbers have all their digits. The first block is `data_particles`, because RELION reads the first block of a coordinate file. How a movie moved is in a file of its
own (`io.motion`), which is named here.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.core.units import DEGREE
from cryowalk.data.micrograph_truth import Contaminants, MicrographTruth
from cryowalk.data.optics import Defocus
from cryowalk.data.pose import Pose
from cryowalk.io.confinement import check_places
from cryowalk.io.motion import MovieMotion, read_motion, write_motion
from cryowalk.io.relion import ANGLES, relion_from_lab_from_particle, table_defocus, table_pose
from cryowalk.io.relion_optics import optics_block, read_optics_table
from cryowalk.io.star import StarBlock, StarFile, read_star, write_star
from cryowalk.io.star_numbers import column, exact_texts, integer_texts, integers, numbers

NAME, MOTION, HEIGHT, WIDTH = "cryowalkMicrographName", "cryowalkMotionFile", "cryowalkImageHeight", "cryowalkImageWidth"
EXTRA = "cryowalkTruth_"
_COLUMNS = {"conformation": "cryowalkConformation", "radius": "cryowalkRadius"}
_DEFOCUS = {"rlnDefocusU": "major", "rlnDefocusV": "minor"}


def write_micrograph_truth(truth: MicrographTruth, path: str | Path, *, motion_file: Path | None = None) -> None:
    """Write the truth to a STAR file, all or nothing; `motion_file` is where the motion was written (`write_true_motion`)."""
    path = Path(path)
    values = {NAME: truth.name, HEIGHT: str(truth.size[0]), WIDTH: str(truth.size[1]), **_defocus_values(truth.defocus)}
    if motion_file is not None:
        folder = Path(os.path.abspath(path)).parent  # noqa: PTH100  symbolic links stay as the user sees them
        values[MOTION] = Path(os.path.relpath(os.path.abspath(motion_file), folder)).as_posix()  # noqa: PTH100
    values |= {EXTRA + name: repr(float(number)) for name, number in truth.extra.items()}
    blocks = [
        *([StarBlock(name="particles", columns=_particle_columns(truth))] if len(truth) else []),
        StarBlock(name="truth", values=values),
        optics_block((truth.optics,), box=None),
    ]
    if truth.specimen_names:
        blocks.append(StarBlock(name="specimens", columns={"cryowalkSpecimenName": truth.specimen_names}))
    if truth.thickness is not None:
        blocks.append(_grid_block(truth.thickness))
    if truth.contaminants is not None and len(truth.contaminants):
        blocks.append(_contaminant_block(truth.contaminants, truth.optics.pixel_size))
    write_star(blocks, path)


def write_true_motion(truth: MicrographTruth, path: str | Path, *, movie_name: str, frames: int) -> None:
    """Write how a movie truly moved to a STAR file that RELION reads, with our exact displacements beside RELION's model.

    Raises
    ------
    InputError
        If the motion is not known.
    """
    if truth.motion is None:
        raise InputError("the truth of this movie holds no motion", file=path)
    movie = MovieMotion(
        motion=truth.motion,
        movie_name=movie_name,
        pixel_size=truth.optics.pixel_size,
        image_size=(truth.size[1], truth.size[0]),
        dose_per_frame=truth.extra["dose"] / frames if "dose" in truth.extra else None,
        dose_before=truth.extra.get("dose_before"),
        voltage_kv=truth.optics.voltage_kv,
    )
    write_motion(movie, path)


def read_micrograph_truth(path: str | Path) -> MicrographTruth:
    """The truth in a STAR file written by `write_micrograph_truth`, with the motion it names where that file is there.

    Raises
    ------
    InputError
        If the file is no truth of a micrograph, or a value is not usable.
    """
    path = Path(path)
    star = read_star(path)
    if "truth" not in star or NAME not in star["truth"].values:
        raise InputError(
            "the file holds no truth of a micrograph: no block data_truth with " + NAME,
            file=path,
            fix="name one of the files in the folder truth/ of a simulation",
        )
    values = star["truth"].values
    groups, _ = read_optics_table(star["optics"], path=path, pixel_size=None)
    table = star["particles"] if "particles" in star else StarBlock(name="particles")
    has_motion = MOTION in values and (path.parent / values[MOTION]).is_file()
    if has_motion:
        check_places([path.parent / values[MOTION]], named_in=path)
    return MicrographTruth(
        name=values[NAME],
        size=(int(_single(values, HEIGHT, path)), int(_single(values, WIDTH, path))),
        optics=groups[0],
        defocus=_read_defocus(values, path),
        specimen_names=column(star["specimens"], "cryowalkSpecimenName", path=path) if "specimens" in star else (),
        thickness=_read_grid(star["thickness"], path) if "thickness" in star else None,
        contaminants=_read_contaminants(star, groups[0].pixel_size, path),
        motion=read_motion(path.parent / values[MOTION]) if has_motion else None,
        extra={label.removeprefix(EXTRA): _single(values, label, path) for label in values if label.startswith(EXTRA)},
        **_read_particles(table, groups[0].pixel_size, path),
    )


def _particle_columns(truth: MicrographTruth) -> dict[str, tuple[str, ...]]:
    """One row a particle: places in pixels as RELION has them, heights and radii in Å."""
    place, angles = truth.coordinates, relion_from_lab_from_particle(truth.lab_from_particle.double())
    own = truth.particle_defocus
    columns = {
        "rlnCoordinateX": exact_texts(_plain(place[:, 0])),
        "rlnCoordinateY": exact_texts(_plain(place[:, 1])),
        **{label: exact_texts(_plain(angles[:, axis])) for axis, label in enumerate(ANGLES)},
        **{label: exact_texts(_plain(getattr(own, part))) for label, part in _DEFOCUS.items()},
        "rlnDefocusAngle": exact_texts(_plain(own.azimuth) / DEGREE),
        "rlnPhaseShift": exact_texts(_plain(own.phase_shift) / DEGREE),
    }
    if own.b_factor is not None:
        columns["rlnCtfBfactor"] = exact_texts(_plain(own.b_factor))
    return columns | {
        "rlnClassNumber": integer_texts(truth.specimen + 1),
        "cryowalkHeight": exact_texts(_plain(truth.positions[:, 2])),
        **{label: exact_texts(_plain(getattr(truth, part))) for part, label in _COLUMNS.items()},
        "cryowalkSide": integer_texts(truth.side),
    }


def _read_particles(table: StarBlock, pixel_size: float, path: Path) -> dict[str, Any]:
    """The parts of the truth that have one row a particle."""
    if not len(table):
        nothing = torch.zeros(0, dtype=torch.float64)
        return {
            "positions": torch.zeros(0, 3, dtype=torch.float64),
            "lab_from_particle": torch.zeros(0, 3, 3, dtype=torch.float64),
            "particle_defocus": Defocus(major=nothing, minor=nothing, azimuth=nothing, phase_shift=nothing),
            "specimen": nothing.long(),
            "conformation": nothing,
            "radius": nothing,
            "side": nothing.long(),
        }
    pose: Pose | None = table_pose(table, torch.ones(len(table), dtype=torch.float64), path, set())
    defocus = table_defocus(table, path, set())
    if pose is None or defocus is None:
        raise InputError("the particles of the truth lack poses or defocus", file=path, cause="a column was lost")

    def values(label: str) -> Tensor:
        return torch.from_numpy(np.array(numbers(table, label, path=path)))

    x, y = (values(f"rlnCoordinate{axis}") * pixel_size for axis in "XY")
    return {
        "positions": torch.stack([x, y, values("cryowalkHeight")], dim=1),
        "lab_from_particle": pose.lab_from_particle,
        "particle_defocus": defocus,
        "specimen": torch.from_numpy(integers(table, "rlnClassNumber", path=path, low=1)) - 1,
        "side": torch.from_numpy(integers(table, "cryowalkSide", path=path, low=-1, high=1)),
        **{part: values(label) for part, label in _COLUMNS.items()},
    }


def _defocus_values(defocus: Defocus) -> dict[str, str]:
    values = {label: repr(float(getattr(defocus, part))) for label, part in _DEFOCUS.items()}
    values["rlnDefocusAngle"] = repr(float(defocus.azimuth) / DEGREE)
    values["rlnPhaseShift"] = repr(float(defocus.phase_shift) / DEGREE)
    if defocus.b_factor is not None:
        values["rlnCtfBfactor"] = repr(float(defocus.b_factor))
    return values


def _read_defocus(values: Mapping[str, str], path: Path) -> Defocus:
    def number(label: str) -> Tensor:
        return torch.tensor(_single(values, label, path), dtype=torch.float64)

    return Defocus(
        major=number("rlnDefocusU"),
        minor=number("rlnDefocusV"),
        azimuth=number("rlnDefocusAngle") * DEGREE,
        phase_shift=number("rlnPhaseShift") * DEGREE,
        b_factor=number("rlnCtfBfactor") if "rlnCtfBfactor" in values else None,
    )


def _single(values: Mapping[str, str], label: str, path: Path) -> float:
    """One single value as a number."""
    if label not in values:
        raise InputError(f"data_truth has no {label}", file=path, cause="a line was lost")
    return float(numbers(StarBlock(name="truth", columns={label: (values[label],)}), label, path=path)[0])


def _grid_block(thickness: Float[Tensor, "rows columns"]) -> StarBlock:
    rows, columns = thickness.shape
    return StarBlock(
        name="thickness",
        columns={
            "cryowalkRow": integer_texts(torch.arange(rows).repeat_interleave(columns)),
            "cryowalkColumn": integer_texts(torch.arange(columns).repeat(rows)),
            "cryowalkThickness": exact_texts(_plain(thickness.reshape(-1))),
        },
    )


def _read_grid(block: StarBlock, path: Path) -> Float[Tensor, "rows columns"]:
    rows, columns = (int(integers(block, label, path=path, low=0).max()) + 1 for label in ("cryowalkRow", "cryowalkColumn"))
    if rows * columns != len(block):
        raise InputError(f"data_thickness has {len(block)} rows for {rows} × {columns} places", file=path, cause="rows were lost")
    return torch.from_numpy(np.array(numbers(block, "cryowalkThickness", path=path))).reshape(rows, columns)


def _contaminant_block(found: Contaminants, pixel_size: float) -> StarBlock:
    place = _plain(found.positions) / pixel_size
    return StarBlock(
        name="contaminants",
        columns={
            "cryowalkCoordinateX": exact_texts(place[:, 0]),
            "cryowalkCoordinateY": exact_texts(place[:, 1]),
            "cryowalkRadius": exact_texts(_plain(found.radius)),
            "cryowalkContaminant": found.kind,
        },
    )


def _read_contaminants(star: StarFile, pixel_size: float, path: Path) -> Contaminants | None:
    if "contaminants" not in star:
        return None
    block = star["contaminants"]
    place = np.stack([numbers(block, f"cryowalkCoordinate{axis}", path=path) for axis in "XY"], axis=-1) * pixel_size
    return Contaminants(
        positions=torch.from_numpy(place),
        radius=torch.from_numpy(np.array(numbers(block, "cryowalkRadius", path=path))),
        kind=column(block, "cryowalkContaminant", path=path),
    )


def _plain(values: Tensor) -> Any:
    return values.detach().cpu().double().numpy()
