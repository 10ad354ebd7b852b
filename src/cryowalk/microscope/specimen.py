"""From atoms to electrostatic potential, in space or projected, with tabulated electron scattering factors; and the procedural molecule `hinge`."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.checks import require_positive
from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.data.atoms import Atoms
from cryowalk.data.volume import Volume
from cryowalk.fourier.grids import frequency_grid, radius_of
from cryowalk.fourier.transform import to_real
from cryowalk.microscope.form_factors import (
    VOLT_PER_SCATTERING_FACTOR,
    FormFactors,
    bonded_hydrogen,
    projected_atom,
    scattering_factor,
)
from cryowalk.microscope.hydrogens import BOND_LENGTHS, implicit_hydrogens
from cryowalk.microscope.two_body import LARGEST_HINGE_ANGLE, hinge, hinge_axis

__all__ = [
    "LARGEST_HINGE_ANGLE",
    "VOLT_PER_SCATTERING_FACTOR",
    "centre_of_mass",
    "hinge",
    "hinge_axis",
    "needed_box",
    "potential",
    "projected_atom",
    "projected_potential",
    "projected_potential_by_sum",
    "projected_slices",
    "scattering_factor",
]

_MARGIN = 3.0  # Å kept free between an atom and the wall of the box
_SAMPLES = 512  # of a form factor along k
_FINE_SAMPLES = 2**16  # of the common functions where they are looked up for each pixel
_KINDS = 128  # of atoms, up to which each kind's own form factor enters the search for common functions
_B_NODES = 32  # B-factors from which the common functions are found
_ACCURACY = 1e-6  # of the factorised form factors and of the non-uniform transform, relative
_LARGE = 1024  # pixels a side, above which the non-uniform transform works on a smaller grid with a wider kernel


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


def potential(
    atoms: Atoms,
    *,
    box: int,
    voxel_size: float,
    centre: tuple[float, float, float] | None = None,
    form_factors: FormFactors = "peng",
) -> Volume:
    """The electrostatic potential of the atoms in vacuum, V, on a cube of `box` voxels, `centre` (Å) at the origin voxel.

    V(k) = h²/(2π m e) Σ_atoms occupancy · f(k) · exp(−B k²/4) · e^(−2πi k·r): independent atoms, evaluated exactly (to 1e-6) at the frequencies of the box
    and zero beyond its Nyquist frequencies, so that nothing is aliased. Hydrogens count only where the atoms list them, or with the form
    factors `bonded`, which give each atom of a protein or nucleic acid those that are bonded to it (`form_factors.bonded_hydrogen`).
    `centre` is the centre of mass if not given; the volume's origin tells where voxel (0, 0, 0) lies in the frame of the atoms.

    Raises
    ------
    InputError
        If there are no atoms, a number is not finite, an element has no scattering factor, or the atoms do not fit into the box.

    Source: Kirkland, Advanced Computing in Electron Microscopy (2020), eq. 5.9 and C.15.
    """
    require_positive("voxel_size", voxel_size, unit="Å")
    positions, middle = _checked_positions(atoms, box=box, voxel_size=voxel_size, centre=centre)
    weights, squared, functions = _factorised(atoms, largest=3 * (0.5 / voxel_size) ** 2, form_factors=form_factors)
    spectrum = _structure(positions, weights, functions, squared=squared, box=box, voxel_size=voxel_size)
    scale = VOLT_PER_SCATTERING_FACTOR / (box**1.5 * voxel_size**3)
    voxels = to_real(torch.from_numpy(spectrum) * scale, width=box, dimensions=3)
    x, y, z = (float(c) - box // 2 * voxel_size for c in middle)
    return Volume(voxels=voxels.float(), voxel_size=voxel_size, origin=(x, y, z))


def _checked_positions(
    atoms: Atoms, *, box: int, voxel_size: float, centre: tuple[float, float, float] | None
) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """Atom positions relative to the centre and the centre, Å, known to be finite and inside the box."""
    _require_atoms(atoms)
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


def _require_atoms(atoms: Atoms) -> None:
    """Raise `InputError` unless there are atoms, with finite numbers, and some of them scatter."""
    if len(atoms) == 0:
        raise InputError("the structure holds no atoms", fix="give a model with at least one atom")
    values = torch.cat([atoms.positions.double(), atoms.b_factors.double()[:, None], atoms.occupancies.double()[:, None]], dim=1)
    broken = torch.nonzero(~torch.isfinite(values).all(dim=1))
    if len(broken):
        raise InputError(f"atom {int(broken[0]) + 1} has a position, B-factor or occupancy that is not a finite number")
    if not bool((atoms.occupancies > 0).any()):
        raise InputError("none of the atoms scatters: every occupancy is 0", fix="set the occupancies to 1")


def _species(atoms: Atoms, form_factors: FormFactors) -> tuple[list[tuple[int, int]], Tensor]:
    """The kinds of scatterers (element, hydrogens bonded to it) among the atoms, and which of them each atom is."""
    hydrogens = implicit_hydrogens(atoms) if form_factors == "bonded" else torch.zeros(len(atoms), dtype=torch.int64)
    pairs = torch.stack([atoms.atomic_numbers.long().cpu(), hydrogens], dim=1)
    kinds, index = torch.unique(pairs, dim=0, return_inverse=True)
    return [(int(number), int(count)) for number, count in kinds.tolist()], index.reshape(-1)


def _at_rest(species: tuple[int, int], frequency: Tensor, *, form_factors: FormFactors) -> Tensor:
    """The scattering factor of an atom with the hydrogens bonded to it, without a B-factor, Å."""
    number, hydrogens = species
    factor = scattering_factor(number, frequency, form_factors=form_factors)
    return factor + hydrogens * bonded_hydrogen(frequency, bond_length=BOND_LENGTHS[number]) if hydrogens else factor


def _factorised(
    atoms: Atoms, *, largest: float, form_factors: FormFactors
) -> "tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]":
    """Weights `[atoms, rank]`, squared frequencies `[samples]` and functions `[samples, rank]` whose product is every atom's form factor.

    Form factors of atoms differ only by element and B-factor and are smooth in k²: a few common functions span them all to 1e-6 up to k² = `largest`.
    """
    species, kind = _species(atoms, form_factors)
    keys = torch.stack([kind.double(), atoms.b_factors.detach().double().cpu()], dim=1)
    kinds, index = torch.unique(keys, dim=0, return_inverse=True)
    squared = torch.linspace(0, math.sqrt(largest), _SAMPLES, dtype=torch.float64) ** 2
    at_rest = torch.stack([_at_rest(one, torch.sqrt(squared), form_factors=form_factors) for one in species])

    def factors(row: Tensor, b: Tensor) -> Tensor:
        return at_rest[row] * torch.exp(-b[:, None] * squared / 4)

    rows, few = kinds[:, 0].long(), kinds[:, 1]
    if len(kinds) > _KINDS:
        # Many different B-factors are spanned by a few, close together where they are small and reach far out.
        low, high = few.min(), few.max()
        nodes = low + (high - low) * torch.linspace(0, 1, _B_NODES, dtype=torch.float64) ** 2
        rows, few = torch.arange(len(species)).repeat_interleave(_B_NODES), nodes.repeat(len(species))
    _, values, right = torch.linalg.svd(factors(rows, few), full_matrices=False)
    functions = right[: max(1, int((values > _ACCURACY * values[0] / 10).sum()))]
    weights = (factors(kinds[:, 0].long(), kinds[:, 1]) @ functions.T)[index.reshape(-1)]
    weights = weights * atoms.occupancies.detach().double().cpu()[:, None]
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


class _Scatterers(NamedTuple):
    """Atoms ready to be summed on a field: places (x, y) in rad over the field, weights `[atoms, rank]`, and the common functions on the half spectrum."""

    places: "NDArray[np.float64]"
    weights: "NDArray[np.float64]"
    functions: "list[NDArray[np.float32]]"


def projected_potential(
    atoms: Atoms, *, size: tuple[int, int], pixel_size: float, form_factors: FormFactors = "peng"
) -> Float[Tensor, "h w"]:
    """The projected potential ∫ V dz of the atoms in vacuum on a field of any size, V Å; positions (Å) count from the field's origin pixel.

    Exact (to 1e-6) at the frequencies of the field and zero beyond its Nyquist frequencies, as `potential`. The field is periodic: an
    atom beyond one border appears at the other. Worked out on the CPU; no gradients (`projected_potential_by_sum` has them).

    Raises
    ------
    InputError
        If there are no atoms, a number is not finite, or an element has no scattering factor.
    """
    scatterers = _scatterers(atoms, size=size, pixel_size=pixel_size, form_factors=form_factors)
    everything = np.ones(len(atoms), dtype=bool)
    return _projected(scatterers, everything, size=size, pixel_size=pixel_size).to(atoms.positions)


def projected_slices(
    atoms: Atoms,
    *,
    size: tuple[int, int],
    pixel_size: float,
    edges: Sequence[float],
    form_factors: FormFactors = "peng",
) -> Iterator[Float[Tensor, "h w"]]:
    """One after the other the projected potentials (V Å) of slices whose `edges` (Å, rising) are given: each atom counts whole in the slice of its centre.

    Atoms below the first edge or from the last edge on count in none. They add up to `projected_potential` of the atoms within.

    Raises
    ------
    UsageError
        If the edges do not rise.
    """
    borders = np.asarray(edges, dtype=np.float64)
    if len(borders) < 2 or not (np.diff(borders) > 0).all():
        raise UsageError("the edges of slices are two or more rising heights in Å", cause="an unsorted or empty list")
    scatterers = _scatterers(atoms, size=size, pixel_size=pixel_size, form_factors=form_factors)
    within = np.searchsorted(borders, atoms.positions.detach().double().cpu().numpy()[:, 2], side="right") - 1
    for number in range(len(borders) - 1):
        yield _projected(scatterers, within == number, size=size, pixel_size=pixel_size).to(atoms.positions)


def projected_potential_by_sum(
    atoms: Atoms, *, size: tuple[int, int], pixel_size: float, form_factors: FormFactors = "peng"
) -> Float[Tensor, "h w"]:
    """What `projected_potential` is, written out as a sum over the atoms, V Å: for a few atoms, with gradients to positions, B-factors and occupancies."""
    _require_atoms(atoms)
    height, width = _require_field(size, pixel_size)
    kx, ky = frequency_grid((height, width), pixel_size=pixel_size, like=atoms.positions)
    radius = radius_of(kx, ky)
    species, kind = _species(atoms, form_factors)
    factors = [_at_rest(one, radius, form_factors=form_factors) for one in species]
    total = torch.zeros_like(radius, dtype=radius.dtype.to_complex())
    for atom, which in enumerate(kind.tolist()):
        x, y, _ = atoms.positions[atom]
        wave = _wave(ky * y, length=height) * _wave(kx * x, length=width)
        total = total + atoms.occupancies[atom] * factors[which] * torch.exp(-atoms.b_factors[atom] * radius**2 / 4) * wave
    scale = VOLT_PER_SCATTERING_FACTOR / (math.sqrt(height * width) * pixel_size**2)
    return to_real(total * scale, width=width)


def _wave(turns: Tensor, *, length: int) -> Tensor:
    """e^(−2πi · turns) along an axis of a spectrum; an even axis's Nyquist component is the mean of both signs."""
    flat = turns.reshape(-1)
    sine = -torch.sin(2 * math.pi * flat)
    if length % 2 == 0:
        sine = torch.where(torch.arange(len(flat), device=flat.device) == length // 2, 0.0, sine)
    return torch.complex(torch.cos(2 * math.pi * flat), sine).reshape(turns.shape)


def _require_field(size: tuple[int, int], pixel_size: float) -> tuple[int, int]:
    """The height and width of a field, known to be at least one pixel each, with a pixel size that can be."""
    require_positive("pixel_size", pixel_size, unit="Å")
    if min(size) < 1:
        raise ShapeError(f"a field has at least one pixel: got {size[0]} × {size[1]}")
    return size


def _scatterers(atoms: Atoms, *, size: tuple[int, int], pixel_size: float, form_factors: FormFactors) -> _Scatterers:
    """The atoms with their form factors in common functions, for a field."""
    from scipy.interpolate import CubicSpline

    _require_atoms(atoms)
    height, width = _require_field(size, pixel_size)
    largest = 2 * (0.5 / pixel_size) ** 2
    weights, squared, functions = _factorised(atoms, largest=largest, form_factors=form_factors)
    ky = torch.arange(-(height // 2), height // 2 + 1, dtype=torch.float64) / (height * pixel_size)
    kx = torch.arange(width // 2 + 1, dtype=torch.float64) / (width * pixel_size)
    # Linear steps between so many samples are as good as the spline, and are found by their number instead of by search.
    place = torch.sqrt((ky**2)[:, None] + kx**2) * ((_FINE_SAMPLES - 1) / math.sqrt(largest))
    below = place.to(torch.int32).clamp_(max=_FINE_SAMPLES - 2)
    part = (place - below).float()
    table = CubicSpline(squared, functions)(np.linspace(0, math.sqrt(largest), _FINE_SAMPLES) ** 2)
    on_grid = []
    for rank in range(weights.shape[1]):
        values = torch.from_numpy(table[:, rank].astype(np.float32))
        on_grid.append(torch.lerp(values[below], values[below + 1], part).numpy())
    places = 2 * math.pi * atoms.positions.detach().double().cpu().numpy()[:, :2] / (np.array([width, height]) * pixel_size)
    return _Scatterers(places, weights, on_grid)


def _projected(
    scatterers: _Scatterers, chosen: "NDArray[np.bool_]", *, size: tuple[int, int], pixel_size: float
) -> Float[Tensor, "h w"]:
    """The projected potential of the chosen atoms, V Å: one non-uniform transform for each pair of common functions."""
    import finufft

    height, width = size
    if not chosen.any():
        return torch.zeros(size, dtype=torch.float64)
    x, y = (np.ascontiguousarray(scatterers.places[chosen, axis]) for axis in (0, 1))
    weights = scatterers.weights[chosen]
    modes = (2 * (height // 2) + 1, 2 * (width // 2) + 1)
    options = {"upsampfac": 1.25} if max(modes) > _LARGE else {}
    total = np.zeros((modes[0], width // 2 + 1), dtype=np.complex128)
    for first in range(0, weights.shape[1], 2):
        paired = first + 1 < weights.shape[1]
        # Two sets of real weights travel as one complex set; Friedel symmetry parts them again.
        carried = weights[:, first] + 1j * (weights[:, first + 1] if paired else 0)
        both = finufft.nufft2d1(y, x, carried, modes, eps=_ACCURACY, isign=-1, nthreads=torch.get_num_threads(), **options)
        here, mate = both[:, width // 2 :], np.conj(both[::-1, width // 2 :: -1])
        total += scatterers.functions[first] * (here + mate) / 2
        if paired:
            total += scatterers.functions[first + 1] * (here - mate) / 2j
    scale = VOLT_PER_SCATTERING_FACTOR / (math.sqrt(height * width) * pixel_size**2)
    return to_real(torch.from_numpy(_unshifted(total, height, axis=0) * scale), width=width)
