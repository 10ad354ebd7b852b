"""Where the helices and strands of the two-body molecule lie: a bundle of α-helices, and an α/β barrel with a β-sandwich.

Nothing is symmetric and every level is chiral: right-handed α-helices, twisted sheets, coiled packing, and the place of the bodies.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryowalk.microscope.peptide import CA_DISTANCE, HELIX_RISE, backbone_of_trace, helix

_HELIX_SPACING = 9.9  # Å between the axes of packed helices
_COILING = 0.014  # rad of tilt per Å from the axis of the bundle
_STRAND_SPACING = 4.85  # Å between strands of a sheet
_SHEET_SPACING = 10.2  # Å between packed sheets
_PLEAT = 0.87  # Å that Cα lie above and below a strand's line
_STRAND_RISE = math.sqrt(CA_DISTANCE**2 - 4 * _PLEAT**2)  # Å per residue
_BUNDLE_LENGTHS = (30, 38, 24, 35, 40, 33, 39, 26, 23, 36, 41, 34, 28, 31, 42, 30, 37, 27, 33)  # residues
_BUNDLE_COLUMNS = ((2, 4, 6), (7, 5, 3, 1, -1), (-2, 0, 2, 4, 6), (5, 3, 1, -1), (0, 2))  # half spacings, row by row
_BUNDLE_OFFSETS = (0, 3, -6, 2, 5, -3, 0, 8, 4, -4, -2, 4, -7, -9, 3, 2, 6, -5, 3)  # Å along the axis
_BODY_DISTANCE = 54.0  # Å between the middles of the bodies


class Segment(NamedTuple):
    """A piece of regular backbone `[residues, 4, 3]`, what it is, and the body (1 or 2) that it belongs to."""

    kind: str
    backbone: "NDArray[np.float64]"
    body: int


def _bundle() -> list[Segment]:
    """Body 1: helices on a hexagonal lattice, walked row by row, alternately up and down, coiled about the common axis."""
    sites = [
        np.array([column * _HELIX_SPACING / 2, row * _HELIX_SPACING * math.sqrt(0.75)])
        for row, columns in enumerate(_BUNDLE_COLUMNS)
        for column in columns
    ]
    middle_of_sites = np.mean(sites, axis=0)
    segments = []
    for number, (residues, offset) in enumerate(zip(_BUNDLE_LENGTHS, _BUNDLE_OFFSETS, strict=True)):
        x, y = sites[number] - middle_of_sites
        direction = np.array([-_COILING * y, _COILING * x, 1.0]) * (1 if number % 2 == 0 else -1)
        direction /= np.linalg.norm(direction)
        middle = np.array([x, y, float(offset)])
        start = middle - direction * HELIX_RISE * residues / 2
        segments.append(Segment("helix", helix(residues, start=start, direction=direction, turn=2.1 * number), 1))
    return segments


def _strand(
    line: "NDArray[np.float64]", normal: "NDArray[np.float64]", across: "NDArray[np.float64]", parity: int
) -> "NDArray[np.float64]":
    """Backbone of a strand along Cα places `line`, pleated along `normal`, with C=O alternating to both sides `across`."""
    sign = np.where((np.arange(len(line)) + parity) % 2 == 0, 1.0, -1.0)[:, None]
    return backbone_of_trace(line + _PLEAT * sign * normal, sign * across)


def _barrel() -> list[Segment]:
    """An eight-stranded parallel barrel (n = 8, shear 8) whose strands alternate with eight helices outside."""
    slope = math.atan2(_STRAND_RISE, _STRAND_SPACING)
    radius = 8 * _STRAND_SPACING / math.cos(slope) / (2 * math.pi)
    segments = []
    for number in range(8):
        steps = np.arange(-4, 5 - number % 2)
        angle = 2 * math.pi * number / 8 + steps * _STRAND_RISE * math.sin(slope) / radius
        radial = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
        around = np.stack([-np.sin(angle), np.cos(angle), 0 * angle], axis=1)
        up = np.array([0.0, 0.0, 1.0])
        line = radius * radial + up * (steps * _STRAND_RISE * math.cos(slope))[:, None]
        across = math.cos(slope) * around - math.sin(slope) * up
        segments.append(Segment("strand", _strand(line, radial, across, int(steps[0] + number) % 2), 2))
        angle_out = 2 * math.pi * (number + 0.5) / 8
        radial_out, around_out = (
            np.array([math.cos(angle_out), math.sin(angle_out), 0.0]),
            np.array([-math.sin(angle_out), math.cos(angle_out), 0]),
        )
        direction = -(math.cos(0.62) * up + math.sin(0.62) * around_out)
        residues = (15, 18, 13, 16, 19, 14, 17, 15)[number]
        start = (radius + 10.2) * radial_out - direction * HELIX_RISE * residues / 2
        segments.append(Segment("helix", helix(residues, start=start, direction=direction, turn=1.3 * number), 2))
    return segments


def _sandwich() -> list[Segment]:
    """Two packed antiparallel sheets of five twisted strands each, walked in meanders."""
    segments = []
    for sheet in (0, 1):
        for number in range(5):
            place = (number - 2) * (1 if sheet == 0 else -1)
            residues = (9, 11, 12, 10, 8)[number]
            # Neighbouring strands turn by −0.25 rad: the left-handed twist seen across the strands of natural sheets.
            turn = -0.25 * place
            direction = np.array([math.sin(turn), 0.0, math.cos(turn)])
            normal = np.array([math.cos(turn), 0.0, -math.sin(turn)])
            origin = np.array([(sheet - 0.5) * _SHEET_SPACING, place * _STRAND_SPACING, 0.0])
            steps = np.arange(residues) - residues // 2
            if number % 2:
                steps = -steps
            line = origin + direction * (steps * _STRAND_RISE)[:, None]
            sign = np.where(steps % 2 == 0, 1.0, -1.0)[:, None]
            # A peptide belongs to the step towards larger place, whichever way the chain runs.
            peptide = sign if number % 2 == 0 else -sign
            trace = line + _PLEAT * sign * normal
            strand = backbone_of_trace(trace, peptide * np.array([0.0, 1.0, 0.0]))
            segments.append(Segment("strand", strand @ _turned((-0.3 * sheet, 0.0, 0.0)).T, 2))
    return segments


def _turned(angles: tuple[float, float, float]) -> "NDArray[np.float64]":
    """The rotation matrix Rz Ry Rx of three angles (x, y, z), rad."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    product: NDArray[np.float64] = about_z @ about_y @ about_x
    return product


def _moved(segments: list[Segment], angles: tuple[float, float, float], shift: tuple[float, float, float]) -> list[Segment]:
    """The segments turned about x, y, z (rad) and then shifted (Å)."""
    matrix = _turned(angles)
    return [piece._replace(backbone=piece.backbone @ matrix.T + np.array(shift)) for piece in segments]


def _outer_helices() -> list[Segment]:
    """A second layer of helices on one side of the barrel."""
    segments = []
    for number, residues in enumerate((28, 24, 30, 22, 26, 29, 25, 28)):
        angle = 1.6 + 0.40 * number
        direction = np.array([0.25 * math.sin(angle), -0.25 * math.cos(angle), 1.0]) * (1 if number % 2 == 0 else -1)
        direction /= np.linalg.norm(direction)
        middle = np.array([27.5 * math.cos(angle), 27.5 * math.sin(angle), (1.0, -2.0, 3.0, -4.0, 0.0, 2.0, -3.0, 1.0)[number]])
        start = middle - direction * HELIX_RISE * residues / 2
        segments.append(Segment("helix", helix(residues, start=start, direction=direction, turn=0.9 * number), 2))
    return segments


def segments() -> list[Segment]:
    """All regular pieces in the order of the chain, body 1 about the origin, body 2 beside it."""
    second = _barrel() + _outer_helices() + _moved(_sandwich(), (0.0, 1.45, 0.6), (3.0, 2.0, 33.0))
    return _moved(_bundle(), (0.0, 0.0, -1.5), (0.0, 0.0, 0.0)) + _moved(second, (0.5, -0.35, 3.85), (_BODY_DISTANCE, 6.0, -7.0))
