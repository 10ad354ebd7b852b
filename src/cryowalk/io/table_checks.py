"""What is odd in a STAR table by RELION's own names: labels it does not know, values of the wrong type, values that cannot be meant."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cryowalk.core.errors import InputError, printable
from cryowalk.io.relion_labels import kind_of_label, label_of_any_case, nearest_label
from cryowalk.io.star import StarBlock, StarFile
from cryowalk.io.star_columns import LargeColumns
from cryowalk.io.star_numbers import is_number, vector

_ANY = 1e12
# what values of a label can be: from, to, and what is likely meant by others
SENSIBLE: dict[str, tuple[float, float, str]] = {
    "rlnVoltage": (1, 4000, "volts in place of kilovolts?"),
    "rlnSphericalAberration": (-20, 100, "Å in place of millimetres?"),
    "rlnAmplitudeContrast": (0, 1, "per cent in place of a fraction?"),
    "rlnImagePixelSize": (0.02, 1000, "nanometres or metres in place of Å?"),
    "rlnMicrographOriginalPixelSize": (0.02, 1000, "nanometres or metres in place of Å?"),
    "rlnMicrographPixelSize": (0.02, 1000, "nanometres or metres in place of Å?"),
    "rlnPixelSize": (0.02, 1000, "nanometres or metres in place of Å?"),
    "rlnTomoTiltSeriesPixelSize": (0.02, 1000, "nanometres or metres in place of Å?"),
    "rlnDetectorPixelSize": (0.1, 1000, "it is the pixel of the detector, in μm"),
    "rlnMagnification": (1, 1e8, ""),
    "rlnDefocusU": (-5e5, 5e5, "nm or m in place of Å?"),
    "rlnDefocusV": (-5e5, 5e5, "nm or m in place of Å?"),
    "rlnDefocusAngle": (-720, 720, "it is in degrees"),
    "rlnPhaseShift": (-720, 720, "it is in degrees"),
    "rlnCtfScalefactor": (-100, 100, ""),
    "rlnAngleRot": (-1e5, 1e5, "it is in degrees"),
    "rlnAngleTilt": (-1e5, 1e5, "it is in degrees"),
    "rlnAnglePsi": (-1e5, 1e5, "it is in degrees"),
    "rlnOriginXAngst": (-1e5, 1e5, ""),
    "rlnOriginYAngst": (-1e5, 1e5, ""),
    "rlnOriginX": (-1e5, 1e5, ""),
    "rlnOriginY": (-1e5, 1e5, ""),
    "rlnBeamTiltX": (-500, 500, "rad or degrees in place of mrad?"),
    "rlnBeamTiltY": (-500, 500, "rad or degrees in place of mrad?"),
    "rlnRandomSubset": (0, 2, "half sets are 1 and 2"),
    "rlnClassNumber": (-999, 1e6, ""),  # −999: not known
    "rlnOpticsGroup": (1, 1e6, "groups count from 1"),
    "rlnImageSize": (1, 1e6, ""),
    "rlnImageDimensionality": (2, 3, ""),
    "rlnCtfDataAreCtfPremultiplied": (0, 1, ""),
    "rlnMaxValueProbDistribution": (0, 1.001, "it is a probability"),
    "rlnNormCorrection": (0, 1e6, ""),
    "rlnTomoHand": (-1, 1, ""),
    "rlnMicrographPreExposure": (0, 1e5, "it is in e⁻/Å²"),
    "rlnGroupNumber": (0, 1e9, ""),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """One thing that is odd, serious where RELION or we would compute something else than was meant."""

    label: str
    what: str
    is_serious: bool


def odd_labels(star: StarFile) -> list[Oddity]:
    """Labels of RELION's tables that begin as its own and are not, and those that lack the rln, with the name that was likely meant."""
    found: dict[str, Oddity] = {}
    for block in star.blocks:
        labels = [*block.values, *block.columns]
        if not any(kind_of_label(label) for label in labels):
            continue
        for label in labels:
            if kind_of_label(label) is not None or label in found:
                continue
            near = nearest_label(label) or (label_of_any_case(f"rln{label}") if not label.startswith("rln") else "")
            if label.startswith("rln") or near:
                hint = f"; the nearest is {near}" if near else ""
                what = f"data_{printable(block.name)}: {printable(label)} is no label of RELION{hint}"
                found[label] = Oddity(label=label, what=what, is_serious=False)
    return list(found.values())


def odd_values(star: StarFile) -> Iterator[Oddity]:
    """Values of RELION's labels that are not of its type, or cannot be meant; the first of each column, with its line, and how many."""
    for block in star.blocks:
        for label in block.columns:
            yield from _odd_column(block, label)
        for label, text in block.values.items():
            yield from _odd_column(StarBlock(name=block.name, columns={label: (text,)}), label)


def _odd_column(block: StarBlock, label: str) -> Iterator[Oddity]:
    kind = kind_of_label(label)
    if kind is None or kind == "string" or not len(block):
        return
    if kind == "vector":
        yield from _odd_vectors(block, label)
        return
    plain = block.columns.numbers(label) if isinstance(block.columns, LargeColumns) else None
    if plain is None or np.isnan(plain).any():
        texts = block.columns[label]
        no_number = [row for row, text in enumerate(texts) if text and not is_number(text)]
        if no_number:
            yield _told(block, label, no_number, why="a number is expected", is_serious=True)
            return
        empty = [row for row, text in enumerate(texts) if not text]
        if empty:
            yield _told(block, label, empty, why="nothing stands where a number is expected", is_serious=False)
        plain = np.fromiter((float(text or 0) for text in texts), np.float64, len(texts))
    lost = np.flatnonzero(~np.isfinite(plain))
    if len(lost):
        yield _told(block, label, lost.tolist(), why="it is not finite", is_serious=False)
    known = np.where(np.isfinite(plain), plain, 0.0)
    broken = np.flatnonzero(known != np.round(known))
    if kind in ("int", "bool") and len(broken):
        yield _told(block, label, broken.tolist(), why="a whole number is expected", is_serious=True)
    low, high, hint = SENSIBLE.get(label, (-_ANY, _ANY, ""))
    out = np.flatnonzero(np.isfinite(plain) & ((plain < low) | (plain > high)))
    if len(out):
        told = f"{low:g} to {high:g} is expected" if label in SENSIBLE else "it is far from anything that can be meant"
        yield _told(block, label, out.tolist(), why=told + (f"; {hint}" if hint else ""), is_serious=label in SENSIBLE)


def _odd_vectors(block: StarBlock, label: str) -> Iterator[Oddity]:
    wrong = []
    for row, text in enumerate(block.columns[label]):
        try:
            vector(text, label=label, path=None)
        except InputError:
            wrong.append(row)
    if wrong:
        yield _told(block, label, wrong, why="numbers as [a,b,c] are expected", is_serious=True)


def _told(block: StarBlock, label: str, rows: Sequence[int], *, why: str, is_serious: bool) -> Oddity:
    row, count = int(rows[0]), len(rows)
    line = block.line_of(row)
    place = f"line {line}, " if line is not None else ""
    more = f" (and {count - 1} more)" if count > 1 else ""
    text = printable(block.columns[label][row])
    shown = text if len(text) <= 40 else text[:37] + "…"
    return Oddity(
        label=label, what=f"{place}data_{printable(block.name)}: {label} is “{shown}”{more}: {why}", is_serious=is_serious
    )
