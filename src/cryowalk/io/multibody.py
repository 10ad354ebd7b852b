"""RELION's multi-body refinement: the bodies (`bodies.star`), and the modes and projections of its analysis (`analyse_*.dat`, `analyse_*.txt`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError, printable
from cryowalk.core.units import DEGREE
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.star import StarBlock, StarFile, read_star, write_star
from cryowalk.io.star_numbers import constant_texts, integers, numbers
from cryowalk.io.text_rows import is_number, number_table, text_lines

MASK, RELATIVE, ANGLES, OFFSET, REFERENCE = (
    "rlnBodyMaskName",
    "rlnBodyRotateRelativeTo",
    "rlnBodySigmaAngles",
    "rlnBodySigmaOffset",
    "rlnBodyReferenceName",
)
DOF = ("rot", "tilt", "psi", "x", "y", "z")  # of each body
LARGEST_MODES = 6 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """One body: its mask, the body that it turns against (from 1), deviations of its angles (rad) and offsets (px), its own reference if any.

    A deviation of 0 keeps it as it is. `extra` are further columns as text.
    """

    mask: str
    relative_to: int = 1
    angle_deviation: float = 0.0
    offset_deviation: float = 0.0
    reference: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bodies:
    """The bodies of a multi-body refinement, in their order."""

    bodies: tuple[Body, ...]

    def __len__(self) -> int:
        return len(self.bodies)


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyModes:
    """Modes of motion of bodies: row k of `vectors` is mode k over `labels` (`rot-body-1` … `z-body-1`, `rot-body-2` …).

    RELION's analysis scales angles and offsets to their deviations before, so components have no unit.
    """

    labels: tuple[str, ...]
    vectors: Float[Tensor, "modes components"]

    def __len__(self) -> int:
        return self.vectors.shape[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyProjections:
    """How far each particle lies along each mode, in deviations of the analysis; `names` where the file gives them."""

    values: Float[Tensor, "particles modes"]
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.values.shape[0]


def holds_bodies(star: StarFile) -> bool:
    """Whether a STAR file lists bodies."""
    return any(MASK in block.columns for block in star.blocks)


def read_bodies(path: str | Path) -> Bodies:
    """The bodies of a `bodies.star`.

    Raises
    ------
    InputError
        If there are none, or a value cannot be meant.
    """
    path = Path(path)
    star = read_star(path)
    block = next((block for block in star.blocks if MASK in block.columns), None)
    if block is None or not len(block):
        raise InputError("the file lists no bodies", file=path, expected=f"a table with {MASK}")
    count = len(block)

    def column(label: str, *, high: float) -> list[float]:
        return numbers(block, label, path=path, low=0.0, high=high).tolist() if label in block.columns else [0.0] * count

    relative = integers(block, RELATIVE, path=path, low=1, high=count).tolist() if RELATIVE in block.columns else [1] * count
    used = (MASK, RELATIVE, ANGLES, OFFSET, REFERENCE)
    extra = [{label: texts[row] for label, texts in block.columns.items() if label not in used} for row in range(count)]
    parts = zip(
        block.columns[MASK],
        relative,
        column(ANGLES, high=360.0),
        column(OFFSET, high=1e5),
        block.columns.get(REFERENCE, ("",) * count),
        extra,
        strict=True,
    )
    return Bodies(
        bodies=tuple(
            Body(
                mask=mask, relative_to=other, angle_deviation=angle * DEGREE, offset_deviation=offset, reference=name, extra=more
            )
            for mask, other, angle, offset, name, more in parts
        )
    )


def write_bodies(bodies: Bodies, path: str | Path) -> None:
    """Write a `bodies.star`, all or nothing.

    Raises
    ------
    InputError
        If there are none.
    """
    if not len(bodies):
        raise InputError("there are no bodies to write", file=path)
    every = bodies.bodies
    columns: dict[str, tuple[str, ...]] = {
        MASK: tuple(body.mask for body in every),
        RELATIVE: tuple(str(body.relative_to) for body in every),
        ANGLES: constant_texts([round(body.angle_deviation / DEGREE, 9) for body in every]),
        OFFSET: constant_texts([body.offset_deviation for body in every]),
    }
    if any(body.reference for body in every):
        columns[REFERENCE] = tuple(body.reference for body in every)
    for label in dict.fromkeys(label for body in every for label in body.extra):
        columns[label] = tuple(body.extra.get(label, "None") for body in every)
    write_star([StarBlock(columns=columns)], path)


def is_modes(first: str) -> bool:
    """Whether the first line of a file is that of the modes of bodies."""
    return first.split()[:1] == ["rot-body-1"]


def read_body_modes(path: str | Path) -> BodyModes:
    """The modes in `analyse_eigenvectors.dat`.

    Raises
    ------
    InputError
        If the first line does not name the components, or a row is not one of numbers for each.
    """
    path = Path(path)
    lines = text_lines(path)
    labels = tuple(lines[0].split())
    if not is_modes(lines[0]) or len(labels) % len(DOF) or len(labels) > LARGEST_MODES:
        raise InputError(f"the first line is “{printable(lines[0][:40])}”", file=path, row=1, expected="rot-body-1 tilt-body-1 …")
    expected = [f"{name}-body-{body + 1}" for body in range(len(labels) // len(DOF)) for name in DOF]
    wrong = next((pair for pair in zip(labels, expected, strict=True) if pair[0] != pair[1]), None)
    if wrong is not None:
        raise InputError(f"the first line names {printable(wrong[0][:40])}", file=path, row=1, expected=wrong[1])
    rows = [(number, line.split()) for number, line in enumerate(lines[1:], start=2) if line.strip()]
    if not rows:
        raise InputError("the file holds no modes", file=path)
    return BodyModes(
        labels=labels, vectors=torch.from_numpy(number_table(rows, columns=len(labels), what="components", path=path))
    )


def write_body_modes(modes: BodyModes, path: str | Path) -> None:
    """Write modes as RELION does, with seven digits, all or nothing.

    Raises
    ------
    InputError
        If a number is not finite.
    """
    _require_finite(modes.vectors, path)
    rows = [" ".join(f"{value:.6e}" for value in row) for row in modes.vectors.tolist()]
    atomic_write_text(path, "\n".join((" ".join(modes.labels) + " ", *rows)) + "\n")


def read_body_projections(path: str | Path) -> BodyProjections:
    """The projections of each particle in `analyse_projections_along_eigenvectors_all_particles.txt`, a row each; a name may stand first.

    Raises
    ------
    InputError
        If a row has another number of values than the first, or one is no number.
    """
    path = Path(path)
    rows = [(number, line.split()) for number, line in enumerate(text_lines(path), start=1) if line.strip()]
    has_names = bool(rows) and not is_number(rows[0][1][0])
    cells = [(number, row[1:] if has_names else row) for number, row in rows]
    if not cells or not cells[0][1]:
        raise InputError("the file holds no projections", file=path, row=1, expected="numbers, one for each mode")
    values = number_table(cells, columns=len(cells[0][1]), what="one for each mode", path=path)
    return BodyProjections(values=torch.from_numpy(values), names=tuple(row[0] for _, row in rows) if has_names else ())


def write_body_projections(projections: BodyProjections, path: str | Path) -> None:
    """Write projections, a row for each particle, with all their digits, all or nothing.

    Raises
    ------
    InputError
        If a number is not finite, or a name is none.
    """
    _require_finite(projections.values, path)
    names = projections.names
    if any(not name or len(name.split()) != 1 or is_number(name) for name in names) or len(names) not in (0, len(projections)):
        raise InputError("the names of the particles are not one word each", file=path)
    rows = [" ".join(map(repr, row)) for row in np.asarray(projections.values.cpu().double()).tolist()]
    atomic_write_text(path, "".join(f"{f'{names[i]} ' if names else ''}{row}\n" for i, row in enumerate(rows)))


def _require_finite(values: Float[Tensor, "n m"], path: str | Path) -> None:
    if not values.numel() or not bool(torch.isfinite(values).all()):
        raise InputError("numbers that are not finite, or none, cannot be written", file=path)
