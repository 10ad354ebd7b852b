"""TEM-simulator's coordinate files: where particles are and how they are turned.

Each row is x, y, z (nm, from the middle of the field and of the specimen, z along the beam) and three angles φ, θ, ψ in degrees: the particle is turned by
φ about z, then by θ about x, then by ψ about z, about axes that stay where they are and by the right-hand rule. So
lab_from_particle = Rz(ψ) Rx(θ) Rz(φ). `#` begins a comment; the first line of numbers is the number of rows and 6.

Source: the reference manual of version 1.3 (Rullgård & Öfverstedt, 2011) and its example file, whose comments say in words how each copy is turned.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError, printable
from cryowalk.core.units import DEGREE, NANOMETRE
from cryowalk.geometry.rotations import euler_from_matrix, matrix_from_euler
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.opening import read_text

ROW = 6  # x, y, z, φ, θ, ψ


@dataclass(frozen=True, slots=True, kw_only=True)
class TemCoordinates:
    """Particles of a coordinate file: positions (x, y, z) in Å from the middle of the field and of the specimen, and how they are turned."""

    positions: Float[Tensor, "n 3"]
    lab_from_particle: Float[Tensor, "n 3 3"]

    def __len__(self) -> int:
        return self.positions.shape[0]


def read_tem_coordinates(path: str | Path) -> TemCoordinates:
    """The particles of a coordinate file.

    Raises
    ------
    InputError
        If a row is not usable, or there are fewer rows than the file says.
    """
    path = Path(path)
    rows: list[list[float]] = []
    wanted: int | None = None
    for number, raw in enumerate(read_text(path).splitlines(), start=1):
        line = raw.partition("#")[0].split()
        if not line or (wanted is not None and len(rows) == wanted):
            continue
        values = [_coordinate(text, path, number) for text in line]
        if wanted is None:
            wanted = _size_of(values, path, number)
        elif len(values) < ROW:
            raise InputError(f"the row has {len(values)} values", file=path, row=number, expected="x, y, z, phi, theta, psi")
        else:
            rows.append(values[:ROW])
    if wanted is None or len(rows) < wanted:
        raise InputError(
            f"the file has {len(rows)} rows of {wanted if wanted is not None else 'an unknown number'}",
            file=path,
            cause="it was cut off",
        )
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, ROW)
    return TemCoordinates(positions=table[:, :3] * NANOMETRE, lab_from_particle=lab_from_particle_of_tem(table[:, 3:]))


def _coordinate(text: str, path: Path, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"a value is “{printable(text[:40])}”", file=path, row=line, expected="a number")
    return value


def _size_of(values: Sequence[float], path: Path, line: int) -> int:
    """How many rows the first line announces."""
    if len(values) != 2 or values[1] != ROW or values[0] != int(values[0]) or values[0] < 0:
        raise InputError(
            f"the first line is {' '.join(f'{value:g}' for value in values)}",
            file=path,
            row=line,
            expected="the number of particles, then 6",
        )
    return int(values[0])


def write_tem_coordinates(particles: TemCoordinates, path: str | Path) -> None:
    """Write a coordinate file that TEM-simulator reads, all or nothing.

    Raises
    ------
    InputError
        If a value is not finite.
    """
    angles = tem_of_lab_from_particle(particles.lab_from_particle.detach().cpu().double())
    table = torch.cat((particles.positions.detach().cpu().double() / NANOMETRE, angles), dim=-1).numpy()
    if not np.isfinite(table).all():
        raise InputError("a position or a rotation is not finite", file=path)
    head = ["# positions in nm, then phi, theta, psi in degrees", f"{len(table)}  {ROW}", "#  x  y  z  phi  theta  psi"]
    atomic_write_text(path, "\n".join([*head, *("  ".join(f"{value + 0.0:.9f}" for value in row) for row in table)]) + "\n")


def lab_from_particle_of_tem(angles: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Our lab_from_particle matrices Rz(ψ) Rx(θ) Rz(φ) of TEM-simulator's (φ, θ, ψ) in degrees."""
    return matrix_from_euler(angles.flip(-1) * DEGREE, order="ZXZ")


def tem_of_lab_from_particle(matrices: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """TEM-simulator's (φ, θ, ψ) in degrees of our lab_from_particle matrices."""
    return euler_from_matrix(matrices, order="ZXZ").flip(-1) / DEGREE
