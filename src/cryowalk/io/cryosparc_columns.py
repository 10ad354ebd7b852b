"""Fields of cryoSPARC records that have no place in a `ParticleSet`, carried as they are, and their form as columns of a STAR file.

A field becomes a column `cryosparc/FIELD:TYPE`, such as `cryosparc/alignments3D/alpha:f4` or `cryosparc/ctf/tetra_A:f4x4`; a vector is one cell `[a,b]`.
The text gives the same bits back. The other way a column that only a STAR file has becomes a field of bytes `relion/LABEL`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.errors import InputError

FOREIGN = "cryosparc/"  # before the name of a field, as a column of a STAR file
RELION = "relion/"  # before the label of a STAR column, as a field of a .cs file
_LABEL = re.compile(r"cryosparc/([^\s:]+):([<>]?[biufSU?]\d*)((?:x\d+)*)")
_LONGEST = 2**16  # bytes of one text


class CryosparcColumns(Mapping[str, tuple[str, ...]]):
    """The columns that cryoSPARC's records add to a particle table, made text one by one when they are asked for.

    `records` are all fields, bit by bit; `fields` those without a place in a `ParticleSet`; `columns` text columns beside them.
    """

    __slots__ = ("_fields", "columns", "records")

    def __init__(
        self, records: NDArray[Any], fields: Sequence[str], *, columns: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        self.records = records
        self._fields = {label_of(name, records.dtype[name]): name for name in fields}
        self.columns = dict(columns or {})

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that are shown as columns."""
        return tuple(self._fields.values())

    def rows(self, indices: Tensor) -> "CryosparcColumns":
        """The same columns, of these rows alone."""
        chosen = indices.cpu().numpy()
        order = chosen.tolist()
        return CryosparcColumns(
            self.records[chosen],
            self.fields,
            columns={label: tuple(column[i] for i in order) for label, column in self.columns.items()},
        )

    def __getitem__(self, label: str) -> tuple[str, ...]:
        if label in self.columns:
            return self.columns[label]
        return texts_of(self.records[self._fields[label]])

    def __iter__(self) -> Iterator[str]:
        yield from self._fields
        yield from self.columns

    def __len__(self) -> int:
        return len(self._fields) + len(self.columns)


def label_of(name: str, dtype: "np.dtype[Any]") -> str:
    """The label of a field as a column of a STAR file; that of a column that came from a STAR file is its own again."""
    if name.startswith(RELION):
        return name.removeprefix(RELION)
    base = dtype.base
    order = ">" if base.byteorder == ">" else ""
    width = base.itemsize // 4 if base.kind == "U" else base.itemsize
    kind = "?" if base.kind == "b" else f"{base.kind}{width}"
    return f"{FOREIGN}{name}:{order}{kind}" + "".join(f"x{side}" for side in dtype.shape)


def field_of(label: str) -> tuple[str, "np.dtype[Any]"] | None:
    """The name and type of the field that this column of a STAR file came from, or None for a column of another kind."""
    match = _LABEL.fullmatch(label)
    if match is None:
        return None
    try:
        base = np.dtype(match[2])
        shape = tuple(int(side) for side in match[3].split("x")[1:])
        if base.itemsize > _LONGEST or int(np.prod(shape, dtype=object)) > _LONGEST:
            return None
        return match[1], np.dtype((base, shape)) if shape else base
    except (TypeError, ValueError):
        return None


def texts_of(values: NDArray[Any]) -> tuple[str, ...]:
    """Each entry of a field as text that gives the same value back."""
    if values.ndim > 1:
        cells = texts_of(values.reshape(-1))
        width = len(cells) // max(1, len(values))
        return tuple(f"[{','.join(cells[i : i + width])}]" for i in range(0, len(cells), max(1, width)))
    kind = values.dtype.kind
    if kind == "S":
        return tuple(_text(each) for each in values.tolist())
    if kind == "f" and values.dtype.itemsize < 8:
        return tuple(map(str, values))  # the shortest text that is this number in its own precision
    return tuple(map(str, values.astype(np.int8).tolist() if kind == "b" else values.tolist()))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def values_of(texts: Sequence[str], dtype: "np.dtype[Any]", *, label: str) -> NDArray[Any]:
    """The entries of a field from their texts.

    Raises
    ------
    InputError
        If a text is no value of that type.
    """
    base, shape = dtype.base, dtype.shape
    cells: list[str] = list(texts)
    if shape:
        cells = [cell for text in texts for cell in text.strip().removeprefix("[").removesuffix("]").split(",")]
    try:
        if base.kind == "S":
            flat = np.array([cell.encode("utf-8", "surrogateescape") for cell in cells], dtype=base)
        elif base.kind == "U":
            flat = np.array(cells, dtype=base)
        elif base.kind == "f":
            flat = np.fromiter(map(float, cells), np.float64, len(cells)).astype(base)
        else:
            flat = np.array(list(map(int, cells)), dtype=base)
        return flat.reshape((len(texts), *shape))
    except (ValueError, OverflowError) as error:
        raise InputError(f"a value of {label} is no {base.name}", cause=str(error)[:100], fix="correct that column") from error


def text_field(texts: Sequence[str]) -> NDArray[Any]:
    """Texts as a field of bytes, as wide as the longest; UTF-8."""
    encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
    return np.array(encoded, dtype=f"S{max(1, max(map(len, encoded), default=1))}")
