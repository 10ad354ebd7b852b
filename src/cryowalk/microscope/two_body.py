"""A molecule of two bodies built by code, joined by a hinge: loops and side chains on the architecture of `architecture.py`.

It has no symmetry, and L-residues on top of a chiral architecture: every flip, transpose or inverse of it is a different map.
"""

import math
from functools import cache
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cryowalk.core.checks import require_between
from cryowalk.data.atoms import Atoms
from cryowalk.microscope.architecture import Segment, segments
from cryowalk.microscope.peptide import (
    BACKBONE_NAMES,
    CA_DISTANCE,
    beta_carbon,
    side_chain_candidates,
    side_chain_names,
)

LARGEST_HINGE_ANGLE = 0.3  # rad; beyond it the bodies would meet or the linker tear
_TETRAHEDRAL = math.radians(111.0)  # N–Cα–C
_SEED = 150  # any number: it only spreads residue types along the chain
_POOLS = {
    ("helix", "core"): ("LEU", "ILE", "LEU", "THR", "MET", "PHE", "LEU", "TRP", "SER", "TYR", "GLN", "VAL"),
    ("helix", "surface"): ("GLU", "LYS", "ASP", "GLN", "GLU", "SER", "LYS", "ASP", "ASN", "ARG", "GLU", "THR"),
    ("strand", "core"): ("VAL", "ILE", "PHE", "VAL", "LEU", "TYR", "ILE", "THR"),
    ("strand", "surface"): ("THR", "LYS", "GLU", "SER", "THR", "ARG", "TYR", "GLN", "VAL"),
    ("loop", "core"): ("GLY", "SER", "ASN", "ALA", "THR", "VAL", "LEU"),
    ("loop", "surface"): ("GLY", "SER", "ASP", "ASN", "LYS", "GLU", "THR", "GLY", "ARG", "HIS"),
}
_MASSES = {"C": 12.011, "N": 14.007, "O": 15.999, "S": 32.06}  # Da
_CLEAR = 2.8  # Å; backbones of different pieces keep this distance
_CLEAR_SIDE_CHAIN = 2.7  # Å; where no rotamer keeps it, a smaller residue is taken
_SMALL = ("ASP", "THR", "SER")  # what is tried where nothing larger fits
_CORE_NEIGHBOURS = 13  # Cβ within 10 Å, above which a residue counts as buried
_BULGES = (
    (0.0, 0.0),
    (6.0, 0.0),
    (3.0, 6.0),
    (3.0, -6.0),
    (14.0, 0.0),
    (9.0, 9.0),
    (9.0, -9.0),
    (24.0, 0.0),
    (0.0, 18.0),
    (0.0, -18.0),
)  # Å
_ELEMENTS = {"C": 6, "N": 7, "O": 8, "S": 16}


def _loop_curves(
    before: "NDArray[np.float64]", after: "NDArray[np.float64]", outward: "NDArray[np.float64]"
) -> list[NDArray[np.float64]]:
    """Candidate Cα traces (end points included) of a loop between two pieces of backbone, bulging `outward`; neighbours 3.8 Å apart."""
    start, end = before[-1, 1], after[0, 1]
    leaving, arriving = start - before[-4, 1], after[3, 1] - end
    leaving, arriving = leaving / np.linalg.norm(leaving), arriving / np.linalg.norm(arriving)
    sideways = np.cross(outward, end - start)
    sideways /= np.linalg.norm(sideways)
    time = np.linspace(0, 1, 80)[:, None]
    curves = []
    for reach, (bulge, aside) in product(np.arange(4.0, 28.0, 1.0), _BULGES):
        push = bulge * outward + aside * sideways
        first, second = start + reach * leaving + push, end - reach * arriving + push
        curve = (1 - time) ** 3 * start + 3 * time * (1 - time) ** 2 * first + 3 * time**2 * (1 - time) * second + time**3 * end
        length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
        steps = max(3, round(length[-1] / CA_DISTANCE))
        if abs(length[-1] / steps - CA_DISTANCE) < 0.1:
            marks = np.linspace(0, length[-1], steps + 1)
            curves.append(np.stack([np.interp(marks, length, curve[:, axis]) for axis in range(3)], axis=1))
    return curves


def _peptides(trace: "NDArray[np.float64]", ends: "NDArray[np.float64]", tree: Any) -> tuple[float, "NDArray[np.float64]"]:
    """How bad they are, and C, O and the next N `[peptides, 3, 3]` of planar trans peptides along a Cα trace.

    One after the other each peptide turns about its Cα–Cα axis so that N–Cα–C is near 111° and nothing in the `tree` is near. `ends` are the N
    before the first Cα and the C behind the last.
    """
    turns = np.linspace(0, 2 * math.pi, 24, endpoint=False)[:, None]
    amide, total, chosen = ends[0], 0.0, []
    for number, (here, there) in enumerate(pairwise(trace)):
        along = (there - here) / np.linalg.norm(there - here)
        first = np.cross(along, amide - here)
        first /= np.linalg.norm(first)
        side = np.cos(turns) * first + np.sin(turns) * np.cross(along, first)
        carbonyl = here + 1.425 * along + 0.544 * side
        atoms = np.stack([carbonyl, carbonyl + 0.205 * along + 1.214 * side, there - 1.409 * along - 0.375 * side], axis=1)
        cost = ((_angle(amide - here, carbonyl - here) - _TETRAHEDRAL) / 0.1) ** 2
        if number == len(trace) - 2:
            cost = cost + ((_angle(atoms[:, 2] - there, ends[1] - there) - _TETRAHEDRAL) / 0.1) ** 2
        cost = cost + 100 * (np.clip(_CLEAR - tree.query(atoms)[0], 0, None) ** 2).sum(axis=1)
        best = int(cost.argmin())
        total += float(cost[best])
        chosen.append(atoms[best])
        amide = atoms[best, 2]
    return total, np.array(chosen)


def _angle(first: "NDArray[np.float64]", second: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """The angle between vectors, rad."""
    cosine = (first * second).sum(axis=-1) / np.linalg.norm(first, axis=-1) / np.linalg.norm(second, axis=-1)
    angle: NDArray[np.float64] = np.arccos(cosine.clip(-1, 1))
    return angle


def _loop(before: Segment, after: Segment, placed: "NDArray[np.float64]") -> tuple[Segment, Segment, Segment]:
    """Two pieces and between them the loop that keeps clearest of the backbone `placed` so far, and of those the shortest."""
    from scipy.spatial import cKDTree

    tree = cKDTree(placed)
    outward = (before.backbone[-1, 1] + after.backbone[0, 1]) / 2 - placed.mean(axis=0)
    outward /= np.linalg.norm(outward)
    ranked: list[tuple[float, int, NDArray[np.float64]]] = []
    for trace in _loop_curves(before.backbone, after.backbone, outward):
        near = np.linalg.norm(trace[2:] - trace[:-2], axis=1)
        closeness = np.clip(5.0 - np.asarray(tree.query(trace[1:-1])[0])[1:-1], 0, None)
        uneven = np.linalg.norm(np.diff(trace, axis=0), axis=1) - CA_DISTANCE
        cost = (closeness**2).sum() + 4 * np.clip(5.2 - near, 0, None).sum() + 30 * (uneven**2).sum() + 0.15 * len(trace)
        ranked.append((float(cost), len(ranked), trace))
    joined = np.concatenate([before.backbone[-1], after.backbone[0]])
    tree = cKDTree(np.delete(placed, tree.query(joined)[1], axis=0))
    ends = np.stack([before.backbone[-1, 0], after.backbone[0, 2]])
    candidates = [(cost, number, trace, *_peptides(trace, ends, tree)) for cost, number, trace in sorted(ranked)[:10]]
    if not candidates:
        raise ValueError("two pieces of the molecule cannot be joined; the architecture is at fault")
    _, _, trace, _, peptides = min(candidates, key=lambda c: (c[0] + c[3], c[1]))
    residues = np.stack([peptides[:-1, 2], trace[1:-1], peptides[1:, 0], peptides[1:, 1]], axis=1)
    first, last = before.backbone.copy(), after.backbone.copy()
    first[-1, 2:], last[0, 0] = peptides[0, :2], peptides[-1, 2]
    loop = Segment("loop", residues, before.body if before.body == after.body else 0)
    return before._replace(backbone=first), loop, after._replace(backbone=last)


def _chain() -> list[Segment]:
    """Every piece of the chain in order, regular pieces and the loops between them."""
    chain = segments()
    for index in range(0, 2 * (len(chain) - 1), 2):
        placed = np.concatenate([piece.backbone.reshape(-1, 3) for piece in chain])
        chain[index : index + 2] = _loop(chain[index], chain[index + 1], placed)
    return chain


class _Molecule(NamedTuple):
    """The built molecule: per-atom positions (Å), names, residue numbers from 0 and B-factors (Å²); per-residue names and bodies."""

    positions: "NDArray[np.float64]"
    names: tuple[str, ...]
    residue: "NDArray[np.int64]"
    b_factors: "NDArray[np.float64]"
    residue_names: tuple[str, ...]
    body: "NDArray[np.int64]"


def _side_chain(
    options: tuple[str, ...], backbone: "NDArray[np.float64]", beta: "NDArray[np.float64]", near: "NDArray[np.float64]"
) -> tuple[str, "NDArray[np.float64]"]:
    """The first of the residue types that fits without a clash, with its atoms in the rotamer that fits best."""
    for residue in options:
        candidates = side_chain_candidates(residue, backbone, beta)
        if candidates.shape[1] == 0:
            return residue, candidates[0]
        flat = candidates.reshape(-1, 3)
        squared = (flat**2).sum(axis=1)[:, None] + (near**2).sum(axis=1) - 2 * flat @ near.T
        distance = np.sqrt(squared.min(axis=1).clip(0)).reshape(candidates.shape[:2])
        overlap = (np.clip(3.5 - distance, 0, None) ** 2).sum(axis=1)
        best = int(overlap.argmin())
        if distance[best].min() > _CLEAR_SIDE_CHAIN:
            return residue, candidates[best]
    return "ALA", np.zeros((0, 3))


@cache
def _molecule() -> _Molecule:
    """The molecule at hinge angle 0, centred at its centre of mass."""
    from scipy.spatial import cKDTree

    chain = _chain()
    backbone = np.concatenate([piece.backbone for piece in chain])
    kinds = [piece.kind for piece in chain for _ in range(len(piece.backbone))]
    body = np.concatenate([np.full(len(piece.backbone), piece.body) for piece in chain])
    body[body == 0] = np.where(np.arange((body == 0).sum()) < (body == 0).sum() // 2, 1, 2)
    beta = beta_carbon(backbone)
    crowd = np.array([len(n) for n in cKDTree(beta).query_ball_point(beta + 0.6 * (beta - backbone[:, 1]), 10.0)])
    random = np.random.default_rng(_SEED)
    occupied = np.concatenate([backbone.reshape(-1, 3), beta])
    owner = np.concatenate([np.repeat(np.arange(len(backbone)), 4), np.arange(len(backbone))])
    names: list[str] = []
    residue_names: list[str] = []
    positions: list[NDArray[np.float64]] = []
    for number, kind in enumerate(kinds):
        pool = _POOLS[kind, "core" if crowd[number] > _CORE_NEIGHBOURS else "surface"]
        options = tuple(pool[i] for i in random.integers(0, len(pool), 4)) + _SMALL
        near = (np.abs(occupied - beta[number]).max(axis=1) < 10.0) & (owner != number)
        if np.linalg.norm(occupied[near & (abs(owner - number) > 1)] - beta[number], axis=1).min() < _CLEAR_SIDE_CHAIN:
            options = ("GLY",)  # its Cβ would clash
        residue, atoms = _side_chain(options, backbone[number], beta[number], occupied[near])
        occupied = np.concatenate([occupied, atoms])
        owner = np.concatenate([owner, np.full(len(atoms), number)])
        residue_names.append(residue)
        with_beta = residue != "GLY"
        names += [*BACKBONE_NAMES, *(("CB",) if with_beta else ()), *side_chain_names(residue)]
        positions += [backbone[number], beta[number][None][: int(with_beta)], atoms]
    counts = [len(BACKBONE_NAMES) + (name != "GLY") + len(side_chain_names(name)) for name in residue_names]
    residue_of_atom = np.repeat(np.arange(len(residue_names)), counts)
    mobility = np.where([kind == "loop" for kind in kinds], 60.0, np.where(crowd > _CORE_NEIGHBOURS, 25.0, 40.0))
    everything = np.concatenate(positions)
    mass = np.array([_MASSES[name[0]] for name in names])
    centre = (mass[:, None] * everything).sum(axis=0) / mass.sum()
    return _Molecule(everything - centre, tuple(names), residue_of_atom, mobility[residue_of_atom], tuple(residue_names), body)


def hinge(*, angle: float = 0.0) -> Atoms:
    """A two-body protein of about 150 kDa without hydrogens, Å, its second body turned by `angle` (rad) about a hinge at the linker.

    Body 1 is a bundle of 19 α-helices, body 2 an eight-stranded α/β barrel with more helices and a β-sandwich. The frame is fixed to body 1, with the origin at the centre
    of mass for angle 0; body 2 turns rigidly about the axis `hinge_axis` through the middle of the linker.

    Raises
    ------
    UsageError
        If the angle is so large that the bodies would meet or the linker tear.
    """
    require_between("hinge angle (rad)", angle, -LARGEST_HINGE_ANGLE, LARGEST_HINGE_ANGLE)
    molecule = _molecule()
    pivot, axis = hinge_axis()
    moving = molecule.body[molecule.residue] == 2
    positions = molecule.positions.copy()
    arm = positions[moving] - pivot
    positions[moving] = (
        pivot
        + math.cos(angle) * arm
        + math.sin(angle) * np.cross(axis, arm)
        + (1 - math.cos(angle)) * (arm @ axis)[:, None] * axis
    )
    elements = torch.tensor([_ELEMENTS[name[0]] for name in molecule.names])
    return Atoms(
        positions=torch.from_numpy(positions),
        atomic_numbers=elements,
        b_factors=torch.from_numpy(molecule.b_factors),
        occupancies=torch.ones(len(elements), dtype=torch.float64),
        names=molecule.names,
        residue_names=tuple(molecule.residue_names[i] for i in molecule.residue),
        residue_numbers=tuple(int(i) + 1 for i in molecule.residue),
        chains=("A",) * len(elements),
    )


def hinge_axis() -> tuple["NDArray[np.float64]", "NDArray[np.float64]"]:
    """A point (Å) on the axis about which body 2 of `hinge` turns, the first Cα of the body, and the axis's direction."""
    molecule = _molecule()
    first = int(np.flatnonzero(molecule.body == 2)[0])
    index = np.flatnonzero((molecule.residue == first) & (np.array(molecule.names) == "CA"))[0]
    direction = np.array([0.0, -0.72, 0.70])
    return molecule.positions[index], direction / np.linalg.norm(direction)
