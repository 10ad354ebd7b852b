"""From atoms to electrostatic potential, with tabulated electron scattering factors; and the procedural molecule `hinge`.

Scattering factors: International Tables for Crystallography C (2006), table 4.3.2.2 (five Gaussians), as gemmi carries them.
"""

import math
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.checks import require_positive
from cryowalk.core.constants import ELECTRON_MASS, ELEMENTARY_CHARGE, METRE, PLANCK
from cryowalk.core.errors import InputError
from cryowalk.data.atoms import Atoms
from cryowalk.data.volume import Volume
from cryowalk.fourier.transform import to_real
from cryowalk.microscope.two_body import LARGEST_HINGE_ANGLE, hinge, hinge_axis

__all__ = [
    "LARGEST_HINGE_ANGLE",
    "VOLT_PER_SCATTERING_FACTOR",
    "centre_of_mass",
    "hinge",
    "hinge_axis",
    "needed_box",
    "potential",
    "scattering_factor",
]

VOLT_PER_SCATTERING_FACTOR = (
    PLANCK**2 / (2 * math.pi * ELECTRON_MASS * ELEMENTARY_CHARGE) * METRE**2
)  # V Å², times f in Å gives V Å³
_MARGIN = 3.0  # Å kept free between an atom and the wall of the box
_SAMPLES = 512  # of a form factor along k²
_B_NODES = 24  # B-factors from which the common functions are found
_ACCURACY = 1e-6  # of the factorised form factors and of the non-uniform transform, relative


@cache
def _gaussians(atomic_number: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Amplitudes (Å) and widths b (Å²) of the element's five Gaussians."""
    import gemmi

    if not 1 <= atomic_number <= 98:
        raise InputError(
            f"no electron scattering factor for atomic number {atomic_number}",
            expected="an element from hydrogen (1) to californium (98)",
            cause="an atom whose element is missing or unknown in the structure file",
        )
    coefficients = gemmi.Element(atomic_number).c4322
    return tuple(coefficients.a), tuple(coefficients.b)


def scattering_factor(atomic_number: int, frequency: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Electron scattering factor f of a free atom at rest, Å, at spatial frequencies k in 1/Å.

    f(k) = Σ a_i exp(−b_i k²/4): the tables' s is k/2. Fitted for k up to 4 Å⁻¹.

    Raises
    ------
    InputError
        If there is no such element in the tables.

    Source: International Tables for Crystallography C, table 4.3.2.2; Peng et al., Acta Cryst. A52, 257 (1996).
    """
    amplitudes, widths = _gaussians(atomic_number)
    squared = frequency**2 / 4
    total = torch.zeros_like(squared)
    for amplitude, width in zip(amplitudes, widths, strict=True):
        total = total + amplitude * torch.exp(-width * squared)
    return total


def centre_of_mass(atoms: Atoms) -> tuple[float, float, float]:
    """The centre of mass (x, y, z), Å."""
    import gemmi

    numbers = atoms.atomic_numbers.tolist()
    weight = {number: gemmi.Element(number).weight for number in set(numbers)}
    mass = torch.tensor([weight[number] for number in numbers], dtype=torch.float64) * atoms.occupancies.double()
    x, y, z = ((mass[:, None] * atoms.positions.double()).sum(dim=0) / mass.sum()).tolist()
    return x, y, z


def needed_box(atoms: Atoms, *, voxel_size: float, centre: tuple[float, float, float] | None = None) -> int:
    """The smallest even box, voxels, that holds the atoms in every orientation about `centre` (default: the centre of mass)."""
    middle = torch.tensor(centre or centre_of_mass(atoms), dtype=torch.float64)
    radius = float(torch.linalg.vector_norm(atoms.positions.double() - middle, dim=1).max()) + _MARGIN
    return 2 * math.ceil(radius / voxel_size) + 2


def potential(atoms: Atoms, *, box: int, voxel_size: float, centre: tuple[float, float, float] | None = None) -> Volume:
    """The electrostatic potential of the atoms in vacuum, V, on a cube of `box` voxels, `centre` (Å) at the origin voxel.

    V(k) = h²/(2π m e) Σ_atoms occupancy · f(k) · exp(−B k²/4) · e^(−2πi k·r): independent atoms, evaluated exactly (to 1e-6) at the frequencies of the box
    and zero beyond its Nyquist frequencies, so that nothing is aliased. Hydrogens count only where the atoms list them.
    `centre` is the centre of mass if not given; the volume's origin tells where voxel (0, 0, 0) lies in the frame of the atoms.

    Raises
    ------
    InputError
        If there are no atoms, a number is not finite, an element has no scattering factor, or the atoms do not fit into the box.

    Source: Kirkland, Advanced Computing in Electron Microscopy (2020), eq. 5.9 and C.15.
    """
    require_positive("voxel_size", voxel_size, unit="Å")
    positions, middle = _checked_positions(atoms, box=box, voxel_size=voxel_size, centre=centre)
    weights, squared, functions = _factorised(atoms, voxel_size=voxel_size)
    spectrum = _structure(positions, weights, functions, squared=squared, box=box, voxel_size=voxel_size)
    scale = VOLT_PER_SCATTERING_FACTOR / (box**1.5 * voxel_size**3)
    voxels = to_real(torch.from_numpy(spectrum) * scale, width=box, dimensions=3)
    x, y, z = (float(c) - box // 2 * voxel_size for c in middle)
    return Volume(voxels=voxels.float(), voxel_size=voxel_size, origin=(x, y, z))


def _checked_positions(
    atoms: Atoms, *, box: int, voxel_size: float, centre: tuple[float, float, float] | None
) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """Atom positions relative to the centre and the centre, Å, known to be finite and inside the box."""
    if len(atoms) == 0:
        raise InputError("the structure holds no atoms", fix="give a model with at least one atom")
    values = torch.cat([atoms.positions.double(), atoms.b_factors.double()[:, None], atoms.occupancies.double()[:, None]], dim=1)
    broken = torch.nonzero(~torch.isfinite(values).all(dim=1))
    if len(broken):
        raise InputError(f"atom {int(broken[0]) + 1} has a position, B-factor or occupancy that is not a finite number")
    if not bool((atoms.occupancies > 0).any()):
        raise InputError("none of the atoms scatters: every occupancy is 0", fix="set the occupancies to 1")
    middle = np.array(centre or centre_of_mass(atoms))
    positions = atoms.positions.double().cpu().numpy() - middle
    room = (box - 1) // 2 * voxel_size - _MARGIN
    reach = float(np.abs(positions).max())
    if reach > room:
        needed = 2 * math.ceil((reach + _MARGIN) / voxel_size) + 2
        raise InputError(
            f"the model reaches {reach:.1f} Å from its centre and does not fit into a box of {box} voxels of {voxel_size:g} Å",
            expected=f"a box of at least {needed} voxels",
            fix=f"use a box of {needed} or more, or larger voxels",
        )
    return positions, middle


def _factorised(atoms: Atoms, *, voxel_size: float) -> "tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]":
    """Weights `[atoms, rank]`, squared frequencies `[samples]` and functions `[samples, rank]` whose product is every atom's form factor.

    Form factors of atoms differ only by element and B-factor and are smooth in k²: a few common functions span them all to 1e-6.
    """
    keys = torch.stack([atoms.atomic_numbers.double(), atoms.b_factors.double()], dim=1).cpu()
    kinds, index = torch.unique(keys, dim=0, return_inverse=True)
    squared = torch.linspace(0, 3 * (0.5 / voxel_size) ** 2, _SAMPLES, dtype=torch.float64)
    elements, element = torch.unique(kinds[:, 0], return_inverse=True)
    at_rest = torch.stack([scattering_factor(int(number), torch.sqrt(squared)) for number in elements.tolist()])

    def factors(row: Tensor, b: Tensor) -> Tensor:
        return at_rest[row] * torch.exp(-b[:, None] * squared / 4)

    # Many different B-factors are spanned by a few between the smallest and the largest.
    low, high = kinds[:, 1].min(), kinds[:, 1].max()
    few = low + (high - low) * torch.linspace(0, 1, 1 if high == low else _B_NODES, dtype=torch.float64)
    rows = torch.arange(len(elements)).repeat_interleave(len(few))
    _, values, right = torch.linalg.svd(factors(rows, few.repeat(len(elements))), full_matrices=False)
    functions = right[: max(1, int((values > _ACCURACY * values[0] / 10).sum()))]
    weights = (factors(element, kinds[:, 1]) @ functions.T)[index.reshape(-1)] * atoms.occupancies.double().cpu()[:, None]
    return weights.numpy(), squared.numpy(), functions.T.numpy()


def _structure(
    positions: "NDArray[np.float64]",
    weights: "NDArray[np.float64]",
    functions: "NDArray[np.float64]",
    *,
    squared: "NDArray[np.float64]",
    box: int,
    voxel_size: float,
) -> "NDArray[np.complex128]":
    """Σ_atoms f(k) e^(−2πi k·r), Å, on the half spectrum of the box: one non-uniform transform for each pair of common functions."""
    import finufft
    from scipy.interpolate import CubicSpline

    side = box * voxel_size
    reach = box // 2
    modes = 2 * reach + 1  # an odd number: every mode has its Friedel mate, also at Nyquist
    x, y, z = (2 * math.pi / side * positions).T.copy()
    index = np.arange(-reach, reach + 1)
    half = np.arange(reach + 1)
    # k² is a whole number over side²: the common functions are needed at few places.
    table = CubicSpline(squared, functions)(np.minimum(np.arange(3 * reach**2 + 1) / side**2, squared[-1]))
    whole = (index**2)[:, None, None] + (index**2)[:, None] + half**2
    total = np.zeros((modes, modes, reach + 1), dtype=np.complex128)
    for first in range(0, weights.shape[1], 2):
        # Two sets of real weights travel as one complex set; Friedel symmetry parts them again.
        second = weights[:, first + 1] if first + 1 < weights.shape[1] else np.zeros(len(weights))
        both = finufft.nufft3d1(
            z,
            y,
            x,
            weights[:, first] + 1j * second,
            (modes, modes, modes),
            eps=_ACCURACY,
            isign=-1,
            nthreads=torch.get_num_threads(),
        )
        here, mate = both[:, :, reach:], np.conj(both[::-1, ::-1, reach::-1])
        total += table[whole, first] * (here + mate) / 2
        if first + 1 < weights.shape[1]:
            total += table[whole, first + 1] * (here - mate) / 2j
    for axis in (0, 1):
        total = _unshifted(total, box, axis=axis)
    return total


def _unshifted(spectrum: "NDArray[np.complex128]", box: int, *, axis: int) -> "NDArray[np.complex128]":
    """The spectrum with modes −n//2 … n//2 of one axis in the order 0, 1, …, −1; an even box's two Nyquist modes become their mean."""
    moved = np.moveaxis(spectrum, axis, 0)
    reach = box // 2
    positive, negative = moved[reach:], moved[:reach]
    if box % 2 == 0:
        positive, negative, nyquist = positive[:-1], negative[1:], (positive[-1:] + negative[:1]) / 2
        return np.moveaxis(np.concatenate([positive, nyquist, negative]), 0, axis)
    return np.moveaxis(np.concatenate([positive, negative]), 0, axis)
