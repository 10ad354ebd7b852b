"""Polypeptides built from bond lengths, angles and dihedrals: backbones of helices, strands and loops, and the side chains on them.

Bond geometry: Engh & Huber, Acta Cryst. A47, 392 (1991), rounded. A backbone is an array `[residues, 4, 3]` of N, Cα, C, O in Å.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CA_DISTANCE = 3.80  # Å, between neighbouring Cα across a trans peptide
HELIX_RISE = 1.50  # Å per residue of an α-helix
BACKBONE_NAMES = ("N", "CA", "C", "O")

# Each atom: name, bonded atom, the two before it, bond length (Å), angle (degrees), dihedral: a number, or a χ with its offset (degrees).
_RING = "CG CB CA N 1.50 113.8 x1; CD1 CG CB CA 1.384 120.7 x2; CD2 CG CB CA 1.384 120.7 x2+180; CE1 CD1 CG CB 1.382 120.7 180; "
_RING += "CE2 CD2 CG CB 1.382 120.7 180; CZ CE1 CD1 CG 1.38 120 0"
_SIDE_CHAINS = {
    "GLY": "",
    "ALA": "",
    "SER": "OG CB CA N 1.417 110.8 x1",
    "CYS": "SG CB CA N 1.808 114.0 x1",
    "THR": "OG1 CB CA N 1.433 109.2 x1; CG2 CB CA N 1.521 111.1 x1-120",
    "VAL": "CG1 CB CA N 1.521 110.5 x1; CG2 CB CA N 1.521 110.5 x1+122",
    "LEU": "CG CB CA N 1.530 116.3 x1; CD1 CG CB CA 1.521 110.7 x2; CD2 CG CB CA 1.521 110.7 x2+122",
    "ILE": "CG1 CB CA N 1.530 110.4 x1; CG2 CB CA N 1.521 110.5 x1-122; CD1 CG1 CB CA 1.513 113.8 x2",
    "MET": "CG CB CA N 1.520 114.1 x1; SD CG CB CA 1.803 112.7 x2; CE SD CG CB 1.791 100.9 x3",
    "PHE": _RING,
    "TYR": _RING + "; OH CZ CE1 CD1 1.376 120 180",
    "TRP": "CG CB CA N 1.498 113.6 x1; CD1 CG CB CA 1.365 126.9 x2; CD2 CG CB CA 1.433 126.8 x2+180; NE1 CD1 CG CB 1.374 110.2 180; "
    "CE2 CD2 CG CB 1.409 107.2 180; CE3 CD2 CG CB 1.398 133.9 0; CZ2 CE2 CD2 CG 1.394 122.4 180; CZ3 CE3 CD2 CG 1.382 118.6 180; "
    "CH2 CZ2 CE2 CD2 1.368 117.5 0",
    "HIS": "CG CB CA N 1.497 113.8 x1; ND1 CG CB CA 1.378 122.7 x2; CD2 CG CB CA 1.354 131.2 x2+180; CE1 ND1 CG CB 1.321 109.0 180; "
    "NE2 CD2 CG CB 1.374 107.2 180",
    "ASP": "CG CB CA N 1.516 112.6 x1; OD1 CG CB CA 1.249 118.4 x2; OD2 CG CB CA 1.249 118.4 x2+180",
    "ASN": "CG CB CA N 1.516 112.6 x1; OD1 CG CB CA 1.231 120.8 x2; ND2 CG CB CA 1.328 116.4 x2+180",
    "GLU": "CG CB CA N 1.520 114.1 x1; CD CG CB CA 1.516 112.6 x2; OE1 CD CG CB 1.249 118.4 x3; OE2 CD CG CB 1.249 118.4 x3+180",
    "GLN": "CG CB CA N 1.520 114.1 x1; CD CG CB CA 1.516 112.6 x2; OE1 CD CG CB 1.231 120.8 x3; NE2 CD CG CB 1.328 116.4 x3+180",
    "LYS": "CG CB CA N 1.520 114.1 x1; CD CG CB CA 1.520 111.3 x2; CE CD CG CB 1.520 111.3 x3; NZ CE CD CG 1.489 111.9 x4",
    "ARG": "CG CB CA N 1.520 114.1 x1; CD CG CB CA 1.520 111.3 x2; NE CD CG CB 1.461 112.0 x3; CZ NE CD CG 1.329 124.2 x4; "
    "NH1 CZ NE CD 1.326 120.0 0; NH2 CZ NE CD 1.326 119.7 180",
}
_FLAT_CHI2 = {"PHE", "TYR", "TRP", "HIS", "ASP", "ASN"}


def place(
    first: "NDArray[np.float64]",
    second: "NDArray[np.float64]",
    bonded: "NDArray[np.float64]",
    *,
    internal: "tuple[float, float, float | NDArray[np.float64]]",
) -> "NDArray[np.float64]":
    """The position of an atom, Å, from three before it; `internal` is its bond length (Å), angle and dihedral (rad)."""
    length, angle, dihedral = internal
    along = bonded - second
    along = along / np.linalg.norm(along, axis=-1, keepdims=True)
    normal = np.cross(second - first, along)
    normal = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
    across = np.cross(normal, along)
    turned = np.asarray(dihedral)[..., None]
    direction = -math.cos(angle) * along + math.sin(angle) * (np.cos(turned) * across + np.sin(turned) * normal)
    position: NDArray[np.float64] = bonded + length * direction
    return position


@cache
def _ideal_helix(residues: int) -> "NDArray[np.float64]":
    """An α-helix along +z that starts at z = 0, its axis on x = y = 0, from φ, ψ = −57.8°, −47.0°."""
    phi, psi, omega = math.radians(-57.8), math.radians(-47.0), math.pi
    atoms = [np.array([0.0, 0.0, 0.0]), np.array([1.458, 0.0, 0.0]), np.array([2.0, 1.42, 0.0])]
    for _ in range(residues + 1):
        atoms.append(place(*atoms[-3:], internal=(1.329, math.radians(116.2), psi)))
        atoms.append(place(*atoms[-3:], internal=(1.458, math.radians(121.7), omega)))
        atoms.append(place(*atoms[-3:], internal=(1.525, math.radians(111.0), phi)))
    chain = np.array(atoms).reshape(-1, 3, 3)
    oxygen = place(chain[:-1, 0], chain[:-1, 1], chain[:-1, 2], internal=(1.231, math.radians(120.5), psi + math.pi))
    backbone = np.concatenate([chain[:-1], oxygen[:, None]], axis=1)[:residues]
    # The bisectors of successive Cα triplets point at the axis; two of them span the plane across it.
    alpha = chain[:, 1]
    inward = alpha[:-2] + alpha[2:] - 2 * alpha[1:-1]
    axis = np.cross(inward[:-1], inward[1:]).mean(axis=0)
    axis /= np.linalg.norm(axis)
    if axis @ (alpha[-1] - alpha[0]) < 0:
        axis = -axis
    across = inward[0] - (inward[0] @ axis) * axis
    across /= np.linalg.norm(across)
    centre = alpha[1] + 2.30 * across
    frame = np.stack([across, np.cross(axis, across), axis])
    turned: NDArray[np.float64] = (backbone - centre) @ frame.T
    turned[..., 2] -= turned[0, 1, 2]
    return turned


def helix(residues: int, *, start: "NDArray[np.float64]", direction: "NDArray[np.float64]", turn: float) -> "NDArray[np.float64]":
    """Backbone of a straight α-helix whose axis starts at `start` (Å) and runs along `direction`, turned about it by `turn` (rad)."""
    axis = direction / np.linalg.norm(direction)
    helper = np.eye(3)[np.argmin(np.abs(axis))]
    across = np.cross(helper, axis)
    across /= np.linalg.norm(across)
    across = math.cos(turn) * across + math.sin(turn) * np.cross(axis, across)
    frame = np.stack([across, np.cross(axis, across), axis], axis=1)
    backbone: NDArray[np.float64] = _ideal_helix(residues) @ frame.T + start
    return backbone


def backbone_of_trace(trace: "NDArray[np.float64]", oxygen_side: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Backbone through Cα positions `[residues, 3]` with planar trans peptides; each C=O points to its `oxygen_side` (a direction each)."""
    step = np.diff(trace, axis=0, append=trace[-1:] + (trace[-1:] - trace[-2:-1]))
    along = step / np.linalg.norm(step, axis=1, keepdims=True)
    side = oxygen_side - np.sum(oxygen_side * along, axis=1, keepdims=True) * along
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    carbonyl = trace + 1.425 * along + 0.544 * side
    oxygen = carbonyl + 0.205 * along + 1.214 * side
    amide = trace + step - 1.409 * along - 0.375 * side
    # The first residue has no peptide before it: continue its chain backwards.
    first = trace[:1] - 1.409 * along[:1] + 0.375 * side[:1]
    backbone: NDArray[np.float64] = np.stack([np.concatenate([first, amide[:-1]]), trace, carbonyl, oxygen], axis=1)
    return backbone


class _SideAtom(NamedTuple):
    """One side-chain atom: its name, the indices of the three atoms before it, bond, angle (rad), χ index (−1: none) and offset (rad)."""

    name: str
    before: tuple[int, int, int]
    length: float
    angle: float
    chi: int
    offset: float


@cache
def _template(residue: str) -> tuple[_SideAtom, ...]:
    """The side chain of a residue; indices count N, Cα, C, Cβ and then the side chain's own atoms."""
    index = {"N": 0, "CA": 1, "C": 2, "CB": 3}
    atoms = []
    for entry in filter(None, _SIDE_CHAINS[residue].split("; ")):
        name, bonded, second, first, length, angle, dihedral = entry.split()
        chi, offset = (int(dihedral[1]) - 1, float(dihedral[2:] or 0)) if dihedral[0] == "x" else (-1, float(dihedral))
        atoms.append(
            _SideAtom(
                name,
                (index[first], index[second], index[bonded]),
                float(length),
                math.radians(float(angle)),
                chi,
                math.radians(offset),
            )
        )
        index[name] = len(index)
    return tuple(atoms)


def side_chain_names(residue: str) -> tuple[str, ...]:
    """Names of the side chain's atoms beyond Cβ."""
    return tuple(atom.name for atom in _template(residue))


@cache
def _rotamers(residue: str) -> tuple[tuple[float, ...], ...]:
    """The χ angles (rad) that a residue may take, likeliest first."""
    if not _SIDE_CHAINS[residue]:
        return ((),)
    second = (90.0, -30.0, 30.0) if residue in _FLAT_CHI2 else (180.0, 65.0, -65.0)
    has_second = any(atom.chi == 1 for atom in _template(residue))
    choices = [
        (one, two) for one in (-65.0, 180.0, 62.0, -80.0, -50.0, 165.0, -165.0) for two in (second if has_second else second[:1])
    ]
    return tuple((math.radians(one), math.radians(two), math.pi, math.pi) for one, two in choices)


def beta_carbon(backbone: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Cβ positions `[residues, 3]` of L-amino acids, Å."""
    return place(backbone[:, 2], backbone[:, 0], backbone[:, 1], internal=(1.530, math.radians(110.5), math.radians(-122.6)))


def side_chain_candidates(residue: str, backbone: "NDArray[np.float64]", beta: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Side chains beyond Cβ in every rotamer, `[rotamers, atoms, 3]`, Å, on one residue's backbone `[4, 3]`."""
    angles = np.array(_rotamers(residue))
    atoms = [np.broadcast_to(atom, (len(angles), 3)) for atom in (backbone[0], backbone[1], backbone[2], beta)]
    for atom in _template(residue):
        dihedral = atom.offset + (angles[:, atom.chi] if atom.chi >= 0 else np.zeros(len(angles)))
        first, second, bonded = (atoms[i] for i in atom.before)
        atoms.append(place(first, second, bonded, internal=(atom.length, atom.angle, dihedral)))
    return np.stack(atoms[4:], axis=1) if len(atoms) > 4 else np.zeros((len(angles), 0, 3))
