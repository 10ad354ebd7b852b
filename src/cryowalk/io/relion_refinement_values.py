"""Single values and columns of RELION's model, sampling and optimiser tables, read with errors that name the file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError, printable
from cryowalk.io.star import StarBlock
from cryowalk.io.star_numbers import column

DIGITS = 9  # enough for every single-precision number
NOT_KNOWN = -1.0  # RELION's word for a resolution that is not set


def texts(values: Any) -> tuple[str, ...]:
    """Each number with nine significant digits."""
    return tuple(f"{value:.{DIGITS}g}" for value in np.asarray(values, dtype=np.float64).reshape(-1).tolist())


def text(value: float) -> str:
    """A number with nine significant digits; infinity as RELION writes it."""
    return f"{value:.{DIGITS}g}"


def flag(is_set: object) -> str:
    """A yes or no as RELION writes it."""
    return str(int(bool(is_set)))


def read_value(block: StarBlock, label: str, *, path: Path | None, default: float | None = None) -> float:
    """The single value of this label as a number, infinity among them; `default` stands where the label is missing.

    Raises
    ------
    InputError
        If there is none, or it is no number.
    """
    if label not in block.values:
        if default is not None:
            return default
        raise InputError(
            f"data_{block.name} does not say {label}",
            file=path,
            cause="the file was cut off, or another program wrote it",
            fix="name the run_itNNN_optimiser.star of a whole iteration",
        )
    try:
        value = float(block.values[label])
    except ValueError:
        value = np.nan
    if np.isnan(value):
        raise InputError(f"{label} is “{printable(block.values[label])}”", file=path, expected="a number")
    return value


def read_name(block: StarBlock, label: str, *, path: Path | None) -> str:
    """The single value of this label as it is.

    Raises
    ------
    InputError
        If there is none.
    """
    if label not in block.values:
        raise InputError(f"data_{block.name} does not say {label}", file=path, expected="the name of a file")
    return block.values[label]


def read_column(block: StarBlock, label: str, *, path: Path | None) -> Float[Tensor, " rows"]:
    """A column of numbers, in double precision; infinite ones are allowed, as RELION writes them for a resolution it does not know.

    Raises
    ------
    InputError
        If the column is missing, or a value is no number.
    """
    given = column(block, label, path=path)
    try:
        values = np.array([float(entry) for entry in given], dtype=np.float64)
    except ValueError:
        values = np.array([np.nan])
    if np.isnan(values).any():
        raise InputError(f"a value of {label} in data_{block.name} is no number", file=path, expected="numbers")
    return torch.from_numpy(values)


def known_column(block: StarBlock, label: str, *, path: Path | None) -> Float[Tensor, " rows"] | None:
    """A column of numbers where the table has it; a NaN, which RELION writes where it divided nothing by nothing, is 0.

    Raises
    ------
    InputError
        If a value is no number.
    """
    if label not in block.columns:
        return None
    given = tuple("0" if entry.lower().lstrip("+-") == "nan" else entry for entry in block.columns[label])
    return read_column(replace(block, columns={label: given}), label, path=path)
