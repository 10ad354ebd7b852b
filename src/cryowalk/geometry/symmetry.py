"""Point groups Cn, Dn, T, O and I in RELION's settings: their operators, asymmetric units, and distances that know them.

A symmetric map has V(S x) = V(x) for every operator S, so `lab_from_particle` and `lab_from_particle @ S` describe the same image.
The groups hold rotations only: a mirror would turn L-amino acids into D-amino acids.

Settings: Cn turns about z. Dn has a two-fold axis along x. T has three-folds along z and (0, −√8, 1)/3. O has four-folds along x, y and z. With the
golden ratio g, I2 (which is also "I") has two-folds along x, y, z and a five-fold along (1, 0, g); I1 is the same with the five-fold along
(g, 0, 1). I3 has five-folds along z and (−2, 0, 1), I4 along z and (2, 0, 1).
"""

import math
import re
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError, UsageError
from cryowalk.geometry.healpix import pixel_count, pixel_directions
from cryowalk.geometry.rotations import (
    geodesic_distance,
    matrix_from_axis_angle,
    mean_rotation,
    nearest_rotation,
    view_direction,
)

GOLDEN = (1 + math.sqrt(5)) / 2
TIE = 1e-9  # places closer than this to the border of an asymmetric unit are on it
HIGHEST_FOLD = 999
STARTS = 12

Axis = tuple[float, float, float]
Z_AXIS: Axis = (0.0, 0.0, 1.0)
GENERATORS: dict[str, tuple[tuple[Axis, int], ...]] = {
    "T": ((Z_AXIS, 3), ((0.0, -math.sqrt(8), 1.0), 3)),
    "O": ((Z_AXIS, 4), ((1.0, 1.0, 1.0), 3)),
    "I1": ((Z_AXIS, 2), ((GOLDEN, 0.0, 1.0), 5)),
    "I2": ((Z_AXIS, 2), ((1.0, 0.0, GOLDEN), 5)),
    "I3": ((Z_AXIS, 5), ((-2.0, 0.0, 1.0), 5)),
    "I4": ((Z_AXIS, 5), ((2.0, 0.0, 1.0), 5)),
}
SIZES = {"T": 12, "O": 24, "I1": 60, "I2": 60, "I3": 60, "I4": 60}
# the view about which the asymmetric unit lies: on a mirror plane of the axes, away from all of them
UNIT_MIDDLES: dict[str, Axis] = {
    "C": (1.0, 0.0, 0.0),
    "D": (1.0, 0.0, 1.0),
    "T": (0.0, -0.5, 1.0),
    "O": (0.25, 0.25, 1.0),
    "I1": (0.25, 0.0, 1.0),
    "I2": (0.0, 0.25, 1.0),
    "I3": (-0.3, 0.0, 1.0),
    "I4": (0.3, 0.0, 1.0),
}
BREAK_TIES: Axis = (0.0123, 0.0456, 0.00789)  # decides between the sides of a border; its digits mean nothing


def symmetry_name(symmetry: str) -> str:
    """The name of a point group as it is listed here: capitals, no leading zeros, I2 for I.

    Raises
    ------
    UsageError
        If there is no such group, or it holds mirrors.
    """
    name = symmetry.strip().upper()
    if name == "I":
        return "I2"
    if name in GENERATORS:
        return name
    match = re.fullmatch(r"([CD])0*([1-9][0-9]*)", name)
    if match and int(match[2]) <= HIGHEST_FOLD:
        return match[1] + match[2]
    has_mirrors = re.fullmatch(r"C[IS]|[CD][0-9]+[VHD]|S[0-9]+|T[DH]|OH|I[0-9]?H", name)
    raise UsageError(
        f"no symmetry is called {symmetry!r}",
        expected="C1, C2 …, D1, D2 …, T, O, I (the same as I2), I1, I2, I3 or I4",
        cause="this group holds mirrors, which molecules of one hand cannot have" if has_mirrors else "",
    )


def symmetry_operators(
    symmetry: str, *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Float[Tensor, "operators 3 3"]:
    """All rotations S of a point group in RELION's setting, the identity first.

    Raises
    ------
    UsageError
        If there is no such group, or it holds mirrors.
    """
    return _operators(symmetry_name(symmetry)).to(dtype=dtype, device=device, copy=True)


def symmetry_order(symmetry: str) -> int:
    """The number of operators of a point group: n for Cn, 2n for Dn, 12, 24, 60 for T, O, I."""
    name = symmetry_name(symmetry)
    return SIZES[name] if name in SIZES else int(name[1:]) * (1 if name[0] == "C" else 2)


def equivalent_rotations(lab_from_particle: Float[Tensor, "*batch 3 3"], symmetry: str) -> Float[Tensor, "*batch operators 3 3"]:
    """All orientations R S that give the same image of a symmetric particle, R itself first."""
    return lab_from_particle[..., None, :, :] @ _like(lab_from_particle, symmetry)


def distance_modulo_symmetry(
    a: Float[Tensor, "*#batch 3 3"], b: Float[Tensor, "*#batch 3 3"], symmetry: str
) -> Float[Tensor, "*batch"]:
    """Smallest geodesic distances of a to any of the orientations equivalent to b, rad."""
    return geodesic_distance(a, nearest_equivalent(b, to=a, symmetry=symmetry))


def nearest_equivalent(
    lab_from_particle: Float[Tensor, "*#batch 3 3"], *, to: Float[Tensor, "*#batch 3 3"], symmetry: str
) -> Float[Tensor, "*batch 3 3"]:
    """For each orientation the equivalent one that lies nearest to a given one.

    The distance falls with the trace of (toᵀ R) S, so one matrix product ranks all operators.
    """
    operators = _like(lab_from_particle, symmetry)
    between = to.mT @ lab_from_particle
    best = (between.mT.flatten(-2) @ operators.flatten(1).T).argmax(dim=-1)
    return lab_from_particle @ operators[best]


def to_asymmetric_unit(lab_from_particle: Float[Tensor, "*batch 3 3"], symmetry: str) -> Float[Tensor, "*batch 3 3"]:
    """For each orientation the equivalent one whose view direction lies in the asymmetric unit; equivalent orientations give the same."""
    operators = _like(lab_from_particle, symmetry)
    return lab_from_particle @ operators[_operator_into_unit(view_direction(lab_from_particle), symmetry)]


def is_in_asymmetric_unit(directions: Float[Tensor, "*batch 3"], symmetry: str) -> Bool[Tensor, "*batch"]:
    """Whether view directions (particle frame) lie in the asymmetric unit: of each set of equivalent directions one does.

    The unit holds the directions that are nearer to its middle than to any equivalent of the middle, a convex patch of area 4π / operators: for Cn
    |azimuth| ≤ 180°/n, for Dn the northern half of it, for T, O and I patches between the axes. Of its border, half
    belongs to it.
    """
    return _operator_into_unit(directions, symmetry) == 0


def asymmetric_unit_pixels(order: int, symmetry: str) -> Int[Tensor, " pixels"]:
    """The HEALPix pixels (NESTED) whose centres lie in the asymmetric unit; exactly 1/operators of all for C1, C2, C4, D1, D2 and D4."""
    pixels = torch.arange(pixel_count(order))
    return pixels[is_in_asymmetric_unit(pixel_directions(order, pixels), symmetry)]


def frame_rotation(
    estimated: Float[Tensor, "n 3 3"], truth: Float[Tensor, "n 3 3"], *, symmetry: str = "C1"
) -> Float[Tensor, "3 3"]:
    """The rotation G between the frames of two maps of one particle, for which estimated @ G is nearest to truth (in its symmetry).

    Each orientation chooses its nearest equivalent and G becomes the mean over those within three median distances, in turns until it rests; so
    plainly wrong orientations do not pull. The first few particles each give one start, and the end with the smallest median distance is kept.

    Raises
    ------
    InputError
        If there is no orientation.
    """
    if len(truth) == 0:
        raise InputError("no orientations from which to find the turn between two frames")
    ends = [
        _settled_frame(estimated[i].T @ truth[i], estimated, truth, symmetry=symmetry) for i in range(min(len(truth), STARTS))
    ]
    spreads = [float(distance_modulo_symmetry(estimated @ frame, truth, symmetry).median()) for frame in ends]
    return ends[spreads.index(min(spreads))]


def _settled_frame(
    frame: Float[Tensor, "3 3"], estimated: Float[Tensor, "n 3 3"], truth: Float[Tensor, "n 3 3"], *, symmetry: str
) -> Float[Tensor, "3 3"]:
    """The frame rotation that one start leads to."""
    for _ in range(30):
        chosen = nearest_equivalent(truth, to=estimated @ frame, symmetry=symmetry)
        distance = geodesic_distance(estimated @ frame, chosen)
        is_trusted = distance <= 3 * distance.median() + TIE
        updated = mean_rotation((estimated.mT @ chosen)[is_trusted], metric="chordal")
        is_settled = bool(geodesic_distance(updated, frame) < 1e-9)
        frame = updated
        if is_settled:
            break
    return frame


@lru_cache(maxsize=64)
def _operators(name: str) -> Float[Tensor, "operators 3 3"]:
    """The operators of a group by its listed name, float64, not to be changed."""
    if name in GENERATORS:
        return _closure(GENERATORS[name], size=SIZES[name])
    fold = int(name[1:])
    angles = torch.arange(fold, dtype=torch.float64) * (2 * math.pi / fold)
    turns = nearest_rotation(matrix_from_axis_angle(torch.tensor(Z_AXIS, dtype=torch.float64), angles))
    if name[0] == "C":
        return turns
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    return torch.cat([turns, turns @ flip])


def _closure(generators: tuple[tuple[Axis, int], ...], *, size: int) -> Float[Tensor, "operators 3 3"]:
    """All products of rotations by 360°/fold about axes."""
    steps = torch.stack(
        [
            matrix_from_axis_angle(torch.tensor(axis, dtype=torch.float64), torch.tensor(2 * math.pi / fold, dtype=torch.float64))
            for axis, fold in generators
        ]
    )
    group = torch.eye(3, dtype=torch.float64)[None]
    while len(group) < size:
        products = (steps[:, None] @ group[None]).flatten(0, 1)
        for product in products:
            if float((group - product).abs().amax(dim=(1, 2)).min()) > 1e-6:
                group = torch.cat([group, nearest_rotation(product)[None]])
    return group


def _like(matrices: Float[Tensor, "*batch 3 3"], symmetry: str) -> Float[Tensor, "operators 3 3"]:
    return symmetry_operators(symmetry, dtype=matrices.dtype, device=matrices.device)


def _operator_into_unit(directions: Float[Tensor, "*batch 3"], symmetry: str) -> Int[Tensor, "*batch"]:
    """The number of the operator S for which Sᵀ d lies in the asymmetric unit; 0 (the identity) where d lies there already."""
    name = symmetry_name(symmetry)
    operators = symmetry_operators(symmetry, device=directions.device)
    middle = torch.tensor(UNIT_MIDDLES.get(name, UNIT_MIDDLES.get(name[0])), dtype=torch.float64, device=directions.device)
    tie_breaker = torch.tensor(BREAK_TIES, dtype=torch.float64, device=directions.device)
    unit = directions.double()
    nearness = unit @ (operators @ (middle / torch.linalg.vector_norm(middle))).T
    is_nearest = nearness >= nearness.amax(dim=-1, keepdim=True) - TIE
    ranking = unit @ (operators @ tie_breaker).T
    return torch.where(is_nearest, ranking, -math.inf).argmax(dim=-1)
