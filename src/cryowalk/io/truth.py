"""The truth of a simulation in a STAR file, so that results can be scored from files: numbers with all their digits, columns RELION can read."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.core.units import DEGREE
from cryowalk.data.truth import Truth
from cryowalk.io.atoms import read_atoms
from cryowalk.io.maps import read_map
from cryowalk.io.relion import ANGLES, relion_from_lab_from_particle, table_defocus, table_pose
from cryowalk.io.star import StarBlock, read_star, write_star
from cryowalk.io.star_numbers import exact_texts, integer_texts, integers, numbers

SINGLE_NUMBERS = {"cryowalkSignalToNoise": "snr", "cryowalkDose": "dose"}
CONFORMATION = "cryowalkConformation"
FILES = {"cryowalkMap": "volume", "cryowalkStructure": "atoms"}


def write_truth(truth: Truth, path: str | Path, *, volume_file: Path | None = None, atoms_file: Path | None = None) -> None:
    """Write what is known of the particles to a STAR file, all or nothing.

    Map and atoms are named, not held: `volume_file` and `atoms_file` are where they were written.
    """
    path = Path(path)
    values = {"cryowalkSymmetry": truth.symmetry}
    for label, part in SINGLE_NUMBERS.items():
        number = getattr(truth, part)
        if number is not None:
            values[label] = repr(float(number))
    folder = Path(os.path.abspath(path)).parent  # noqa: PTH100  symbolic links stay as the user sees them
    for label, file in zip(FILES, (volume_file, atoms_file), strict=True):
        if file is not None:
            values[label] = Path(os.path.relpath(os.path.abspath(file), folder)).as_posix()  # noqa: PTH100
    blocks = [StarBlock(name="truth", values=values)]
    columns = _columns(truth)
    if columns:
        blocks.append(StarBlock(name="particles", columns=columns))
    if truth.noise_power is not None:
        power = _plain(truth.noise_power)
        blocks.append(
            StarBlock(
                name="noise",
                columns={"cryowalkShell": integer_texts(range(len(power))), "cryowalkNoisePower": exact_texts(power)},
            )
        )
    write_star(blocks, path)


def _plain(values: Tensor) -> Any:
    return values.detach().cpu().double().numpy()


def _columns(truth: Truth) -> dict[str, tuple[str, ...]]:
    """The columns of what is known of each particle."""
    columns: dict[str, tuple[str, ...]] = {}
    if truth.pose is not None:
        angles = relion_from_lab_from_particle(truth.pose.lab_from_particle.detach().cpu().double())
        columns |= {label: exact_texts(angles[:, i]) for i, label in enumerate(ANGLES)}
        columns |= {
            f"rlnOrigin{letter}Angst": exact_texts(-_plain(truth.pose.shift[:, axis]) + 0.0) for axis, letter in enumerate("XY")
        }
    if truth.defocus is not None:
        defocus = truth.defocus
        columns["rlnDefocusU"], columns["rlnDefocusV"] = exact_texts(_plain(defocus.major)), exact_texts(_plain(defocus.minor))
        columns["rlnDefocusAngle"] = exact_texts(_plain(defocus.azimuth) / DEGREE)
        columns["rlnPhaseShift"] = exact_texts(_plain(defocus.phase_shift) / DEGREE)
        if defocus.b_factor is not None:
            columns["rlnCtfBfactor"] = exact_texts(_plain(defocus.b_factor))
        if defocus.scale is not None:
            columns["rlnCtfScalefactor"] = exact_texts(_plain(defocus.scale))
    if truth.class_number is not None:
        columns["rlnClassNumber"] = integer_texts(truth.class_number.cpu())
    if truth.conformation is not None:
        columns[CONFORMATION] = exact_texts(_plain(truth.conformation))
    return columns


def read_truth(path: str | Path) -> Truth:
    """The truth in a STAR file written by `write_truth`, with the map and atoms it names where they are there.

    Raises
    ------
    InputError
        If the file is no truth file.
    """
    path = Path(path)
    star = read_star(path)
    if "truth" not in star:
        raise InputError(
            "the file holds no truth: no block data_truth", file=path, fix="name the truth.star that the simulation wrote"
        )
    values = star["truth"].values
    parts: dict[str, Any] = {"symmetry": values.get("cryowalkSymmetry", "C1")}
    single = StarBlock(name="truth", columns={label: (text,) for label, text in values.items()})
    parts |= {part: float(numbers(single, label, path=path)[0]) for label, part in SINGLE_NUMBERS.items() if label in values}
    if "particles" in star:
        table = star["particles"]
        parts["pose"] = table_pose(table, torch.ones(len(table), dtype=torch.float64), path, set())
        parts["defocus"] = table_defocus(table, path, set())
        if "rlnClassNumber" in table.columns:
            parts["class_number"] = torch.from_numpy(integers(table, "rlnClassNumber", path=path))
        if CONFORMATION in table.columns:
            parts["conformation"] = torch.from_numpy(numbers(table, CONFORMATION, path=path))
    if "noise" in star:
        parts["noise_power"] = torch.from_numpy(np.array(numbers(star["noise"], "cryowalkNoisePower", path=path, low=0.0)))
    readers: dict[str, Any] = {"volume": read_map, "atoms": read_atoms}
    for label, part in FILES.items():
        if label in values and (path.parent / values[label]).is_file():
            parts[part] = readers[part](path.parent / values[label])
    return Truth(**parts)
