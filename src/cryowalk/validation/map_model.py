"""A map beside an atomic model: the model's density on the map's grid, their Fourier shell correlation, and correlations in space, whole and for each residue.

Source: Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003), for the 0.5 threshold of map against model; Afonine, Klaholz, Moriarty, Poon, Sobolev,
Terwilliger, Adams & Urzhumtsev, Acta Cryst. D74, 814 (2018), for the correlations CC_mask and CC_box.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.checks import require_positive
from cryowalk.core.errors import InputError
from cryowalk.data import Atoms, Volume
from cryowalk.fourier.filters import low_pass
from cryowalk.microscope.specimen import potential
from cryowalk.numerics.sizes import fast_length_from
from cryowalk.validation.shell_correlation import ShellCorrelation, compare_maps

MARGIN = 4.0  # Å between an atom and the wall of the cube in which the model is worked out
LEAST_INSIDE = 0.5  # of the atoms
MASK_RADIUS, MASK_EDGE = 3.0, 4.0  # Å
RESIDUE_RADIUS = 2.0  # Å, or half the resolution where that is more


@dataclass(frozen=True, slots=True, kw_only=True)
class MapModelFit:
    """How a map and a model agree.

    `curve` is their Fourier shell correlation under a soft mask about the model; `correlation_in_mask` and `correlation_in_box` are those of the voxels within 3 Å
    of an atom and of all voxels, with the model at `resolution` (Å); `residue_correlation` those about each of `residues` (name, number, chain).
    """

    curve: ShellCorrelation
    resolution: float
    correlation_in_mask: float
    correlation_in_box: float
    residues: tuple[tuple[str, int, str], ...]
    residue_correlation: Float[Tensor, " residues"]


def model_density(atoms: Atoms, grid: Volume, *, resolution: float | None = None) -> Volume:
    """The electrostatic potential of a model, V, on the grid of a map (of any shape and origin), up to `resolution` (Å) if it is given.

    The atoms lie in the frame in which the map's origin is given. They are worked out in a cube that holds them all, so that nothing of an atom outside of
    the map is folded into it (`microscope.specimen.potential`).

    Raises
    ------
    InputError
        If less than half of the atoms lie in the map.
    """
    return _cut(_density_in_cube(atoms, grid), grid, resolution=resolution)


def _density_in_cube(atoms: Atoms, grid: Volume) -> Volume:
    """The potential of the model in a cube that holds it and the grid, whose voxels are among the cube's."""
    size, start = _cube_about(atoms, grid)
    x, y, z = (o + (s + size // 2) * grid.voxel_size for o, s in zip(grid.origin, start, strict=True))
    return potential(atoms, box=size, voxel_size=grid.voxel_size, centre=(x, y, z))


def _cut(density: Volume, grid: Volume, *, resolution: float | None) -> Volume:
    """The part of the cube that is the grid, low-passed before."""
    voxels, voxel_size = density.voxels, grid.voxel_size
    if resolution is not None:
        voxels = low_pass(voxels, resolution=resolution, pixel_size=voxel_size, dimensions=3)
    start = [round((o - c) / voxel_size) for o, c in zip(grid.origin, density.origin, strict=True)]
    z, y, x = (slice(first, first + length) for first, length in zip(reversed(start), grid.voxels.shape, strict=True))
    return Volume(voxels=voxels[z, y, x].to(grid.voxels), voxel_size=voxel_size, origin=grid.origin)


def _cube_about(atoms: Atoms, grid: Volume) -> tuple[int, tuple[int, int, int]]:
    """Side (voxels) of a cube that holds grid and atoms, and its first voxel relative to that of the grid (x, y, z)."""
    lengths = tuple(reversed(grid.voxels.shape))
    places = (atoms.positions.double().cpu() - torch.tensor(grid.origin, dtype=torch.float64)) / grid.voxel_size
    inside = ((places >= 0) & (places <= torch.tensor(lengths) - 1)).all(dim=1).double().mean() if len(atoms) else torch.zeros(())
    if float(inside) < LEAST_INSIDE:
        ends = zip("xyz", grid.origin, lengths, strict=True)
        ranges = ", ".join(f"{name} {first:.0f} to {first + n * grid.voxel_size:.0f}" for name, first, n in ends)
        raise InputError(
            f"{float(inside):.0%} of the atoms lie in the map, which spans {ranges} Å",
            expected="at least half of them",
            cause="the map's origin was lost on its way, or the model is that of another map",
            fix="look at both in a viewer; fit the model into the map, or give the map its origin again",
        )
    margin = MARGIN / grid.voxel_size + 2
    low = torch.floor(places.amin(dim=0) - margin).long().clamp_max(0)
    high = torch.maximum(torch.ceil(places.amax(dim=0) + margin).long(), torch.tensor(lengths))
    size = fast_length_from(int((high - low).max()) + 2)
    # The atoms may reach equally far from the cube's middle on both sides.
    x, y, z = (min(0, int(a) - (size - int(b - a)) // 2) for a, b in zip(low, high, strict=True))
    return size, (x, y, z)


def model_mask(atoms: Atoms, grid: Volume, *, radius: float = MASK_RADIUS, edge: float = MASK_EDGE) -> Volume:
    """The mask of a model on the grid of a map: 1 within `radius` (Å) of an atom, falling to 0 over `edge` (Å) outside as a raised cosine."""
    from scipy.ndimage import distance_transform_edt

    require_positive("radius", radius, unit="Å")
    core = torch.zeros(grid.voxels.numel(), dtype=torch.bool)
    core[_around(atoms.positions, grid, reach=radius)] = True
    core = core.reshape(grid.voxels.shape)
    if edge <= 0 or not bool(core.any()):
        return replace(grid, voxels=core.to(grid.voxels))
    distance = torch.from_numpy(distance_transform_edt(~core.numpy(), sampling=grid.voxel_size))
    return replace(grid, voxels=(0.5 + 0.5 * torch.cos(math.pi * (distance / edge).clamp(0, 1))).to(grid.voxels))


def _around(positions: Float[Tensor, "atoms 3"], grid: Volume, *, reach: float) -> Int[Tensor, " pairs"]:
    """The voxels (flat index) within `reach` (Å) of each atom; a voxel stands as often as atoms are near."""
    steps = math.ceil(reach / grid.voxel_size) + 1
    axis = torch.arange(-steps, steps + 1)
    offsets = torch.cartesian_prod(axis, axis, axis)
    offsets = offsets[offsets.double().norm(dim=1) <= steps + 1]
    lengths = torch.tensor(tuple(reversed(grid.voxels.shape)))
    places = (positions.double().cpu() - torch.tensor(grid.origin, dtype=torch.float64)) / grid.voxel_size
    indices = []
    for chunk in places.split(max(1, (1 << 23) // len(offsets))):
        nearest = chunk.round().long()[:, None] + offsets
        distance = (nearest - chunk[:, None]).norm(dim=-1) * grid.voxel_size
        kept = (distance <= reach) & ((nearest >= 0) & (nearest < lengths)).all(dim=-1)
        x, y, z = nearest[kept].unbind(-1)
        indices.append((z * lengths[1] + y) * lengths[0] + x)
    return torch.cat(indices)


def map_model_fit(volume: Volume, atoms: Atoms, *, resolution: float | None = None) -> MapModelFit:
    """How a map and an atomic model agree, in Fourier space and in space.

    The curve compares map and model, both under a soft mask that reaches 3 Å from the atoms and ends 4 Å further out. For the correlations in space the model is cut at
    `resolution` (Å), or, unless it is given, where the curve falls below 0.5. The correlation about a residue takes the voxels within 2 Å, or half the
    resolution where that is more, of its atoms. All are Pearson's, so the map's scale does not matter; its sharpening does.

    Raises
    ------
    InputError
        If the map is constant or not finite, or the model lies elsewhere.
    """
    if not bool(volume.voxels.isfinite().all()) or bool(volume.voxels.min() == volume.voxels.max()):
        raise InputError("the map is constant or holds values that are not finite", fix="look at it: cryowalk validate FILE")
    cube = _density_in_cube(atoms, volume)
    parts = (volume, _cut(cube, volume, resolution=None), model_mask(atoms, volume))
    first, second, cubic_mask = (as_cube(part) for part in parts)
    curve = compare_maps(first, second, mask=cubic_mask)
    detail = require_positive("resolution", resolution, unit="Å") if resolution is not None else curve.resolution(at=0.5)
    blurred = _cut(cube, volume, resolution=max(detail, 2 * volume.voxel_size))
    core = model_mask(atoms, volume, radius=MASK_RADIUS, edge=0.0).voxels > 0
    residues, members = _residue_members(atoms)
    near = max(RESIDUE_RADIUS, detail / 2)
    return MapModelFit(
        curve=curve,
        resolution=detail,
        correlation_in_mask=_pearson(volume.voxels[core], blurred.voxels[core]),
        correlation_in_box=_pearson(volume.voxels.flatten(), blurred.voxels.flatten()),
        residues=residues,
        residue_correlation=_residue_correlation(volume, blurred, [atoms.positions[rows] for rows in members], radius=near),
    )


def _residue_correlation(
    volume: Volume, density: Volume, residues: Sequence[Tensor], *, radius: float
) -> Float[Tensor, " residues"]:
    """Pearson's correlation of map and model about each residue; NaN where it has no voxel."""
    one, other = volume.voxels.flatten(), density.voxels.flatten()
    values = []
    for positions in residues:
        index = torch.unique(_around(positions, volume, reach=radius))
        values.append(_pearson(one[index], other[index]))
    return torch.tensor(values, dtype=torch.float64)


def _residue_members(atoms: Atoms) -> tuple[tuple[tuple[str, int, str], ...], list[Int[Tensor, " members"]]]:
    """The residues (name, number, chain), and which atoms belong to each; a model without names is one residue."""
    if not (atoms.residue_numbers and atoms.residue_names and atoms.chains):
        return (("", 0, ""),), [torch.arange(len(atoms))]
    found: dict[tuple[str, int, str], list[int]] = {}
    for row, key in enumerate(zip(atoms.residue_names, atoms.residue_numbers, atoms.chains, strict=True)):
        found.setdefault(key, []).append(row)
    return tuple(found), [torch.tensor(rows) for rows in found.values()]


def as_cube(volume: Volume) -> Volume:
    """The map with zeros behind its last voxels, so that all its sides are as long as the longest; a cube stays as it is."""
    side = max(volume.voxels.shape)
    padding = [part for length in reversed(volume.voxels.shape) for part in (0, side - length)]
    return replace(volume, voxels=torch.nn.functional.pad(volume.voxels, padding)) if any(padding) else volume


def _pearson(first: Float[Tensor, " n"], second: Float[Tensor, " n"]) -> float:
    if len(first) < 2:
        return math.nan
    a, b = first.double() - first.double().mean(), second.double() - second.double().mean()
    norm = float(a.norm() * b.norm())
    return float(a @ b) / norm if norm > 0 else math.nan
