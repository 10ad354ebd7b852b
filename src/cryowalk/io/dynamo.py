"""Dynamo's tables of particles (`.tbl`): 26 to 42 columns of numbers, kept as the text they are, with positions, shifts and poses of ours.

Dynamo's angles (tdrot, tilt, narot) turn the particle onto the reference: about z by tdrot, then x by tilt, then z by narot, about fixed axes. So
specimen_from_particle = (Rz(narot) Rx(tilt) Rz(tdrot))ᵀ. Positions are voxels of the tomogram counted from 1, the shift is added to them.

Source: Castaño-Díez et al., J. Struct. Biol. 178, 139 (2012).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.core.units import DEGREE
from cryowalk.geometry.rotations import euler_from_matrix, matrix_from_euler
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.text_rows import number_table, text_lines

TABLE_ENDINGS = {".tbl"}
NAMES = (
    "tag", "aligned", "averaged", "dx", "dy", "dz", "tdrot", "tilt", "narot", "cc", "cc2", "cpu", "ftype", "ymintilt", "ymaxtilt", "xmintilt",
    "xmaxtilt", "fs1", "fs2", "tomo", "reg", "class", "annotation", "x", "y", "z", "dshift", "daxis", "dnarot", "dcc", "otag", "npar", "free33",
    "ref", "sref", "apix", "def", "free38", "free39", "eig1", "eig2", "free42",
)  # fmt: skip
FEWEST, MOST = 26, 42


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamoTable:
    """A table of Dynamo: its columns by name in their order, each number as the text it is."""

    columns: dict[str, tuple[str, ...]]
    path: Path | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, selection: "Sequence[int] | Int[Tensor, ' m']") -> "DynamoTable":
        """The chosen rows, in the order of the selection."""
        places = torch.as_tensor(selection).tolist()
        return replace(self, columns={name: tuple(column[i] for i in places) for name, column in self.columns.items()})

    def numbers(self, name: str) -> Float[Tensor, " n"]:
        """A column as numbers, as they stand in the file.

        Raises
        ------
        InputError
            If there is no such column.
        """
        if name not in self.columns:
            raise InputError(f"the table has no column {name}", file=self.path, expected=", ".join(self.columns))
        return torch.from_numpy(np.array(self.columns[name], dtype=np.float64))

    def _rows(self, *names: str) -> Float[Tensor, "n 3"]:
        return torch.stack([self.numbers(name) for name in names], dim=-1)

    @property
    def tomograms(self) -> Int[Tensor, " n"]:
        """The number of the tomogram of each particle."""
        return self.numbers("tomo").long()

    @property
    def positions(self) -> Float[Tensor, "n 3"]:
        """Positions (x, y, z) in voxels of the tomogram, counted from 0, the shifts added."""
        return self._rows("x", "y", "z") - 1 + self._rows("dx", "dy", "dz")

    @property
    def specimen_from_particle(self) -> Float[Tensor, "n 3 3"]:
        """How each particle is turned: x_specimen = specimen_from_particle · x_particle."""
        angles = self._rows("narot", "tilt", "tdrot") * DEGREE
        return matrix_from_euler(angles, order="ZXZ").transpose(-1, -2)

    @property
    def voxel_size(self) -> Float[Tensor, " n"] | None:
        """The voxel size of each particle, Å, where the table tells it."""
        sizes = self.numbers("apix") if "apix" in self.columns else torch.zeros(len(self))
        return sizes if bool((sizes > 0).all()) and len(self) else None

    def with_pose(self, specimen_from_particle: Float[Tensor, "n 3 3"], positions: Float[Tensor, "n 3"]) -> "DynamoTable":
        """The same particles with other poses and positions (voxels from 0); whole voxels go to x, y, z and the rest to the shifts.

        Raises
        ------
        InputError
            If they differ in number.
        """
        if not len(specimen_from_particle) == len(positions) == len(self):
            raise InputError(f"{len(specimen_from_particle)} poses are given for {len(self)} particles", file=self.path)
        narot, tilt, tdrot = (euler_from_matrix(specimen_from_particle.transpose(-1, -2), order="ZXZ") / DEGREE).unbind(-1)
        middle = torch.floor(positions + 0.5)
        new = {"tdrot": tdrot, "tilt": tilt, "narot": narot}
        new |= dict(zip("xyz", (middle + 1).unbind(-1), strict=True))
        new |= {f"d{name}": column for name, column in zip("xyz", (positions - middle).unbind(-1), strict=True)}
        return replace(self, columns={**self.columns, **{name: _texts(column) for name, column in new.items()}})


def _texts(values: Float[Tensor, " n"]) -> tuple[str, ...]:
    """Numbers as Dynamo writes them, with up to nine digits."""
    return tuple(f"{value + 0.0:.9g}" for value in values.detach().cpu().double().tolist())


def dynamo_table(
    specimen_from_particle: Float[Tensor, "n 3 3"],
    positions: Float[Tensor, "n 3"],
    *,
    tomograms: Int[Tensor, " n"],
    voxel_size: float = 0.0,
) -> DynamoTable:
    """A table of particles with these poses, positions (voxels from 0) and tomograms, aligned and averaged, other columns 0.

    `voxel_size` (Å) is kept where it is given.
    """
    count = len(positions)
    columns = dict.fromkeys(NAMES[: NAMES.index("apix") + 1], ("0",) * count)
    columns |= {"tag": tuple(str(row + 1) for row in range(count)), "aligned": ("1",) * count, "averaged": ("1",) * count}
    columns |= {"tomo": tuple(map(str, tomograms.tolist())), "apix": (f"{voxel_size:.9g}",) * count}
    return DynamoTable(columns=columns).with_pose(specimen_from_particle, positions)


def read_dynamo(path: str | Path) -> DynamoTable:
    """The particles of a table of Dynamo.

    Raises
    ------
    InputError
        If a row has another number of columns than the first, or a value is no number.
    """
    path = Path(path)
    rows = [(number, line.split()) for number, line in enumerate(text_lines(path), start=1) if line.strip()]
    if not rows or not FEWEST <= len(rows[0][1]) <= MOST:
        raise InputError(
            f"the first row has {len(rows[0][1]) if rows else 0} values", file=path, row=rows[0][0] if rows else 1,
            expected=f"{FEWEST} to {MOST}: a table of Dynamo",
        )  # fmt: skip
    count = len(rows[0][1])
    number_table(rows, columns=count, what="columns of a table of Dynamo", path=path)
    return DynamoTable(columns=dict(zip(NAMES, zip(*(row for _, row in rows), strict=True), strict=False)), path=path)


def write_dynamo(table: DynamoTable, path: str | Path) -> None:
    """Write a table of Dynamo, each number as the text it is, all or nothing.

    Raises
    ------
    InputError
        If there are no particles.
    """
    if not len(table):
        raise InputError("there are no particles to write", file=path)
    rows = zip(*table.columns.values(), strict=True)
    atomic_write_text(path, "".join(" ".join(row) + "\n" for row in rows))
