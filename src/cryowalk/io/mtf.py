"""Modulation transfer curves in STAR files (RELION's `mtf_*.star`) and our `Response`."""

from pathlib import Path

import numpy as np

from cryowalk.core.errors import InputError
from cryowalk.data.camera import Response
from cryowalk.io.star import StarBlock, read_star, write_star
from cryowalk.io.star_numbers import exact_texts, numbers

FREQUENCY, VALUE = "rlnResolutionInversePixel", "rlnMtfValue"
NYQUIST = 0.5  # cycles a pixel
LARGEST_VALUE = 1.5  # a curve is 1 at zero frequency; a few per cent above are noise of its measurement


def read_mtf(path: str | Path) -> Response:
    """The modulation transfer over frequency in cycles per camera pixel.

    Raises
    ------
    InputError
        If the file has other columns, frequencies that do not rise from 0 to about 0.5, or values that are no transfer.
    """
    path = Path(path)
    star = read_star(path)
    blocks = [block for block in star.blocks if {FREQUENCY, VALUE} & set(block.columns)]
    if len(blocks) != 1 or not {FREQUENCY, VALUE} <= set(blocks[0].columns):
        found = ", ".join(label for block in star.blocks for label in (*block.columns, *block.values)) or "no columns"
        raise InputError(
            f"this is no modulation transfer curve: the file has {found}",
            file=path,
            expected=f"one loop with the columns {FREQUENCY} and {VALUE}",
            fix="name the mtf_*.star of this camera and voltage",
        )
    block = blocks[0]
    frequency = numbers(block, FREQUENCY, path=path, low=0.0, high=1.0, hint="frequencies in 1/Å or in fractions of Nyquist?")
    value = numbers(block, VALUE, path=path, low=0.0, high=LARGEST_VALUE, hint="per cent in place of a fraction?")
    if len(frequency) < 2:
        raise InputError(f"the modulation transfer curve has {len(frequency)} points", file=path, expected="2 or more")
    falls = np.flatnonzero(np.diff(frequency) <= 0)
    if len(falls):
        raise InputError(
            f"{FREQUENCY} does not rise: {frequency[falls[0] + 1]:g} follows {frequency[falls[0]]:g}",
            file=path,
            row=block.line_of(int(falls[0]) + 1),
            cause="the columns are exchanged, or the rows out of order",
        )
    if value[0] < value[-1]:
        raise InputError(
            f"the modulation transfer rises from {value[0]:g} to {value[-1]:g}",
            file=path,
            cause="the columns are exchanged, or a noise spectrum",
        )
    return Response(frequency=tuple(frequency.tolist()), value=tuple(value.tolist()))


def write_mtf(response: Response, path: str | Path) -> None:
    """Write a modulation transfer curve as RELION reads it, all or nothing.

    Raises
    ------
    InputError
        If the curve has no points, or frequencies and values differ in number.
    """
    if not response.frequency or len(response.frequency) != len(response.value):
        raise InputError(
            f"a curve of {len(response.frequency)} frequencies and {len(response.value)} values cannot be written", file=path
        )
    columns = {FREQUENCY: exact_texts(response.frequency), VALUE: exact_texts(response.value)}
    write_star([StarBlock(columns=columns)], path)
