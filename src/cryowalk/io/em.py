"""The EM format of TOM and AV3: maps, and motive lists (20 numbers for each particle).

The header has 512 bytes: the machine, the type of the values, and the size along x, y, z. A motive list holds for each particle, among others, its
correlation, number, tomogram, position (voxels counted from 1), shift, and the angles (phi, psi, theta) in degrees that turn the reference onto the
particle: about z by phi, then x by theta, then z by psi, about fixed axes.

Source: Förster et al., Proc. Natl. Acad. Sci. USA 102, 4729 (2005); Nickell et al., J. Struct. Biol. 149, 227 (2005).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.core.units import DEGREE
from cryowalk.geometry.rotations import matrix_from_euler
from cryowalk.io.atomic import atomic_write_bytes
from cryowalk.io.opening import open_content, read_up_to

EM_ENDINGS = {".em"}
HEADER = 512  # bytes
TYPES = {1: "i1", 2: "i2", 4: "i4", 5: "f4", 9: "f8"}
ORDERS = {3: ">", 5: ">", 6: "<"}  # machines: 3 SGI, 5 Mac, 6 PC
LONGEST = 2**20  # voxels along an axis
LARGEST = 2**32  # bytes
ROWS = 20  # of a motive list


@dataclass(frozen=True, slots=True, kw_only=True)
class EmArray:
    """The values of an EM file, in the order z, y, x; the format keeps no pixel size."""

    values: Float[Tensor, "z y x"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MotiveList:
    """A motive list: 20 numbers for each particle, and what of them has a meaning."""

    values: Float[Tensor, "n 20"]

    def __len__(self) -> int:
        return self.values.shape[0]

    @property
    def merit(self) -> Float[Tensor, " n"]:
        """The correlation of each particle."""
        return self.values[:, 0]

    @property
    def tomograms(self) -> Int[Tensor, " n"]:
        """The number of the tomogram of each particle."""
        return self.values[:, 4].long()

    @property
    def positions(self) -> Float[Tensor, "n 3"]:
        """Positions (x, y, z) in voxels of the tomogram, counted from 0, the shifts added."""
        return self.values[:, 7:10] - 1 + self.values[:, 10:13]

    @property
    def specimen_from_particle(self) -> Float[Tensor, "n 3 3"]:
        """How each particle is turned: x_specimen = specimen_from_particle · x_particle."""
        phi, psi, theta = self.values[:, 16:19].unbind(-1)
        return matrix_from_euler(torch.stack((psi, theta, phi), dim=-1).double() * DEGREE, order="ZXZ")


def is_em(start: bytes) -> bool:
    """Whether these first bytes are the header of an EM file: machine, type and sizes that can be meant."""
    if len(start) < HEADER or start[0] not in ORDERS or start[3] not in TYPES:
        return False
    return all(1 <= side <= LONGEST for side in _sides(start))


def _sides(start: bytes) -> list[int]:
    return [int(side) for side in np.frombuffer(start[4:16], f"{ORDERS[start[0]]}i4")]


def read_em(path: str | Path) -> EmArray | MotiveList:
    """A map, or a motive list where the file holds 20 numbers for each of some particles.

    Raises
    ------
    InputError
        If the header cannot be meant, or the file is shorter than it says.
    """
    path = Path(path)
    with open_content(path) as stream:
        start = bytes(read_up_to(stream, HEADER, path=path))
        if not is_em(start):
            raise InputError(
                "the header is not that of an EM file", file=path, expected="machine 3, 5 or 6 and type 1, 2, 4, 5 or 9"
            )
        sides, kind = _sides(start), np.dtype(f"{ORDERS[start[0]]}{TYPES[start[3]]}")
        size = math.prod(sides) * kind.itemsize
        if size > LARGEST:
            raise InputError(f"the header tells of {size / 2**30:.0f} GiB", file=path, cause="a damaged header")
        content = read_up_to(stream, size + 1, path=path)
    if len(content) != size:
        what = "more" if len(content) > size else f"only {len(content)}"
        raise InputError(
            f"the header tells of {size} bytes of values, and there are {what}", file=path, cause="a file that was cut off"
        )
    values = np.frombuffer(content, kind).reshape(sides[::-1])
    array: NDArray[Any] = values.astype(np.float64 if kind.itemsize > 4 else np.float32)
    if not np.isfinite(array).all():
        raise InputError("the file holds values that are not finite", file=path)
    if sides[0] == ROWS and sides[2] == 1:
        return MotiveList(values=torch.from_numpy(array[0]))
    return EmArray(values=torch.from_numpy(array))


def write_em(thing: EmArray | MotiveList, path: str | Path) -> None:
    """Write a map or a motive list in single precision (double where the values are), little-endian, all or nothing.

    Raises
    ------
    InputError
        If a value is not finite.
    """
    values = thing.values[None] if isinstance(thing, MotiveList) else thing.values
    array = values.detach().cpu().numpy()
    if not np.isfinite(array).all() or not array.size:
        raise InputError("values that are not finite, or none, cannot be written", file=path)
    code = 9 if array.dtype == np.float64 else 5
    header = bytearray(HEADER)
    header[0], header[3] = 6, code
    header[4:16] = np.array(array.shape[::-1], "<i4").tobytes()
    atomic_write_bytes(path, bytes(header) + array.astype(f"<{TYPES[code]}").tobytes())
