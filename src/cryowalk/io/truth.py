"""The truth of a simulation in a STAR file, so that results can be scored from files: numbers with all their digits, columns RELION can read."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.core.units import DEGREE
from cryowalk.data.truth import Truth
from cryowalk.io.atoms import read_atoms
from cryowalk.io.confinement import check_places
from cryowalk.io.maps import read_map
from cryowalk.io.relion import ANGLES, relion_from_lab_from_particle, table_defocus, table_pose
from cryowalk.io.star import StarBlock, read_star, write_star
from cryowalk.io.star_numbers import exact_texts, integer_texts, integers, numbers

SINGLE_NUMBERS = {"cryowalkSignalToNoise": "snr", "cryowalkDose": "dose"}
CONFORMATION = "cryowalkConformation"
JUNK = "cryowalkJunk"
CLASS_NUMBER = "rlnClassNumber"
FILES = {"cryowalkMap": "volume", "cryowalkStructure": "atoms"}


def write_truth(
    truth: Truth,
    path: str | Path,
    *,
    volume_file: Path | None = None,
    atoms_file: Path | None = None,
    class_files: Sequence[Path] = (),
) -> None:
    """Write what is known of the particles to a STAR file, all or nothing.

    Maps and atoms are named, not held: `volume_file`, `atoms_file` and, for `class_volumes`, `class_files` are where they were written.
    """
    path = Path(path)
    values = {"cryowalkSymmetry": truth.symmetry}
    for label, part in SINGLE_NUMBERS.items():
        number = getattr(truth, part)
        if number is not None:
            values[label] = repr(float(number))
    for label, file in zip(FILES, (volume_file, atoms_file), strict=True):
        if file is not None:
            values[label] = _from_folder_of(path, file)
    blocks = [StarBlock(name="truth", values=values)]
    if class_files:
        columns = {CLASS_NUMBER: integer_texts(range(1, len(class_files) + 1))}
        blocks.append(
            StarBlock(name="classes", columns={**columns, "cryowalkMap": tuple(_from_folder_of(path, f) for f in class_files)})
        )
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


def _from_folder_of(path: Path, file: Path) -> str:
    """The file's name as seen from the folder of `path`; symbolic links stay as the user sees them."""
    folder = Path(os.path.abspath(path)).parent  # noqa: PTH100
    return Path(os.path.relpath(os.path.abspath(file), folder)).as_posix()  # noqa: PTH100


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
        columns[CLASS_NUMBER] = integer_texts(truth.class_number.cpu())
    if truth.conformation is not None:
        columns[CONFORMATION] = exact_texts(_plain(truth.conformation))
    if truth.junk is not None:
        columns[JUNK] = integer_texts(truth.junk.cpu())
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
        parts |= _of_particles(star["particles"], path)
    if "noise" in star:
        parts["noise_power"] = torch.from_numpy(np.array(numbers(star["noise"], "cryowalkNoisePower", path=path, low=0.0)))
    readers: dict[str, Any] = {"volume": read_map, "atoms": read_atoms}
    for label, part in FILES.items():
        if label in values and (path.parent / values[label]).is_file():
            check_places([path.parent / values[label]], named_in=path)
            parts[part] = readers[part](path.parent / values[label])
    if "classes" in star and "cryowalkMap" in star["classes"].columns:
        files = [path.parent / name for name in star["classes"].columns["cryowalkMap"]]
        if all(file.is_file() for file in files):
            check_places(files, named_in=path)
            parts["class_volumes"] = tuple(read_map(file) for file in files)
    return Truth(**parts)


def _of_particles(table: StarBlock, path: Path) -> dict[str, Any]:
    """The parts of the truth that are one row a particle."""
    parts: dict[str, Any] = {
        "pose": table_pose(table, torch.ones(len(table), dtype=torch.float64), path, set()),
        "defocus": table_defocus(table, path, set()),
    }
    if CLASS_NUMBER in table.columns:
        parts["class_number"] = torch.from_numpy(integers(table, CLASS_NUMBER, path=path))
    if CONFORMATION in table.columns:
        parts["conformation"] = torch.from_numpy(numbers(table, CONFORMATION, path=path))
    if JUNK in table.columns:
        parts["junk"] = torch.from_numpy(integers(table, JUNK, path=path))
    return parts
