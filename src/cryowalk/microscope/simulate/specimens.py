"""The kinds of molecules in a micrograph: structures with weights, each in one or several conformations, as volumes ready to project."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.checks import require_cube
from cryowalk.core.errors import InputError, UsageError
from cryowalk.data.atoms import Atoms
from cryowalk.data.optics import Optics
from cryowalk.data.volume import Volume
from cryowalk.fourier.slices import FourierVolume, prepare_volume
from cryowalk.fourier.transform import resize
from cryowalk.microscope.specimen import centre_of_mass, needed_box, potential
from cryowalk.numerics.sizes import fast_length_from

PADDING = 2.0  # of the references: simulated data should be nearer to the truth than what is measured with them
_FREE = 8  # voxels of the box beyond what the molecule needs: sub-pixel moves and the ringing of a band limit
_SMALLEST = 1.7  # Å: the radius of a single atom
_SHARE_OF_MAP = 0.01  # of a map's largest value: what lies above it is the molecule
Structure: TypeAlias = "Atoms | Volume | Callable[..., Atoms]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One kind of molecule: a structure, a map in V, or a function of a hinge `angle` (rad); how often it occurs relative to the others."""

    structure: Structure
    weight: float = 1.0
    name: str = "specimen"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One conformation of one kind: its number among the sources, its coordinate (the hinge angle, rad), how often it occurs, its radius (Å) and mass (Da)."""

    source: int
    conformation: float
    weight: float
    radius: float
    name: str
    mass: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Specimens:
    """All states that occur, with the potential of each (V) and the same ready for central slices."""

    states: tuple[State, ...]
    volumes: tuple[Volume, ...]
    references: tuple[FourierVolume, ...]

    def to(self, device: "torch.device | str") -> "Specimens":
        """The same, with what projections are made from on another device."""
        references = tuple(replace(one, coefficients=one.coefficients.to(device)) for one in self.references)
        return replace(self, references=references)

    @property
    def weights(self) -> Float[Tensor, " states"]:
        """How often each state occurs; their sum is 1."""
        return torch.tensor([state.weight for state in self.states], dtype=torch.float64)

    @property
    def radii(self) -> Float[Tensor, " states"]:
        """The radius of each state about its centre, Å."""
        return torch.tensor([state.radius for state in self.states], dtype=torch.float64)

    @property
    def sources(self) -> Int[Tensor, " states"]:
        """The kind that each state belongs to, counted from 0."""
        return torch.tensor([state.source for state in self.states], dtype=torch.int64)


def prepare_specimens(
    sources: Sequence[Source],
    optics: Optics,
    *,
    box: int | None = None,
    hinge_spread: float = 0.0,
    conformations: int = 1,
    height: float = 300.0,
    dress: "Callable[[Atoms, Volume], Volume] | None" = None,
) -> Specimens:
    """The states of these kinds as volumes at the pixel size of the optics.

    A flexible kind (a function of `angle`) has `conformations` hinge angles, the middles of equal bins over ±2 standard deviations of a normal law of
    deviation `hinge_spread` (rad), weighted by that law. `dress` turns the potential of atoms in vacuum into what the beam meets (the ice that the molecule
    displaces taken off). Each kind has a box of its own, unless `box` (voxels) is given: room for the molecule and for what its wave spreads over a `height`
    (Å) above or below the plane of focus.

    Raises
    ------
    UsageError
        If there is no kind, a weight is not above zero, or a hinge is to bend where every kind is rigid.
    InputError
        If a structure has no atoms or unknown elements, does not fit into the box, or a map has another voxel size than the optics.
    """
    if not sources or any(not (math.isfinite(source.weight) and source.weight > 0) for source in sources):
        raise UsageError("a scene needs at least one kind of molecule, each with a weight above zero")
    if hinge_spread > 0 and not any(_is_flexible(source.structure) for source in sources):
        raise UsageError(
            "hinge_spread bends a flexible specimen, but this one is rigid",
            fix="give a function of the angle such as cryowalk.microscope.specimen.hinge, or a hinge_spread of 0",
        )
    total = sum(source.weight for source in sources)
    spread = optics.wavelength * height * 0.5 / optics.pixel_size  # λ z k at Nyquist, Å
    free = _FREE + 2 * math.ceil(spread / optics.pixel_size)
    states: list[State] = []
    volumes: list[Volume] = []
    for number, source in enumerate(sources):
        angles = conformers(hinge_spread, conformations) if _is_flexible(source.structure) else ((0.0, 1.0),)
        for angle, share in angles:
            volume, radius = _volume_of(source.structure, optics, angle=angle, room=(box, free), dress=dress)
            weight = share * source.weight / total
            states.append(
                State(
                    source=number,
                    conformation=angle,
                    weight=weight,
                    radius=radius,
                    name=source.name,
                    mass=_mass(source.structure),
                )
            )
            volumes.append(volume)
    references = tuple(prepare_volume(volume, padding=PADDING) for volume in volumes)
    return Specimens(states=tuple(states), volumes=tuple(volumes), references=references)


def conformers(spread: float, count: int) -> tuple[tuple[float, float], ...]:
    """Hinge angles (rad) and how often each occurs: a normal law of this standard deviation, cut at ±2 of them into equal bins."""
    if spread == 0 or count == 1:
        return ((0.0, 1.0),)
    width = 4 / count
    middles = [-2 + width * (number + 0.5) for number in range(count)]
    shares = [math.erf((middle + width / 2) / math.sqrt(2)) - math.erf((middle - width / 2) / math.sqrt(2)) for middle in middles]
    return tuple((spread * middle, share / sum(shares)) for middle, share in zip(middles, shares, strict=True))


def _is_flexible(structure: Structure) -> bool:
    return not isinstance(structure, Atoms | Volume)


def _mass(structure: Structure) -> float | None:
    """The molecular mass of a structure with atoms, Da; that of a map is not known."""
    import gemmi

    if isinstance(structure, Volume):
        return None
    atoms = structure if isinstance(structure, Atoms) else structure(angle=0.0)
    numbers, index = torch.unique(atoms.atomic_numbers, return_inverse=True)
    weights = torch.tensor([gemmi.Element(number).weight for number in numbers.tolist()], dtype=torch.float64)
    return float((weights[index] * atoms.occupancies.double().cpu()).sum())


def _volume_of(
    structure: Structure,
    optics: Optics,
    *,
    angle: float,
    room: tuple[int | None, int],
    dress: "Callable[[Atoms, Volume], Volume] | None",
) -> tuple[Volume, float]:
    """The potential of one state and its radius, Å; `room` is the box, where it is given, and the voxels to be left free."""
    if isinstance(structure, Volume):
        return _volume_of_map(structure, optics, room=room)
    if isinstance(structure, Atoms):
        atoms, rest = structure, structure
    else:
        atoms, rest = structure(angle=angle), structure(angle=0.0)
    if len(atoms) == 0:
        raise InputError("the structure holds no atoms", fix="give a model with at least one atom")
    middle, radius = centre_of_mass(rest), _reach(atoms, rest)
    side = room[0] or fast_length_from(needed_box(atoms, voxel_size=optics.pixel_size, centre=middle) + room[1])
    volume = potential(atoms, box=side, voxel_size=optics.pixel_size, centre=middle)
    return (volume if dress is None else dress(atoms, volume)), radius


def _reach(atoms: Atoms, rest: Atoms) -> float:
    """The largest distance of an atom from the centre of mass of the molecule at rest, Å; no less than an atom's own radius."""
    middle = torch.tensor(centre_of_mass(rest), dtype=torch.float64)
    return max(float(torch.linalg.vector_norm(atoms.positions.double() - middle, dim=1).max()), _SMALLEST)


def require_field(sources: Sequence[Source], *, field: float, pixel_size: float) -> None:
    """Nothing, if each structure with atoms, a flexible one at rest, fits into a field so wide (Å): known before any potential is made.

    Raises
    ------
    InputError
        If one is larger than the field.
    """
    for source in sources:
        structure = source.structure
        if isinstance(structure, Volume):
            continue
        atoms = structure if isinstance(structure, Atoms) else structure(angle=0.0)
        if len(atoms) > 0:
            require_diameter(source.name, _reach(atoms, atoms), field=field, pixel_size=pixel_size)


def require_diameter(name: str, radius: float, *, field: float, pixel_size: float) -> None:
    """Nothing, if a particle of this radius fits into the field; all in Å.

    Raises
    ------
    InputError
        If it is larger.
    """
    if 2 * radius > field:
        raise InputError(
            f"“{name}” is {2 * radius:.0f} Å across and larger than the field of {field:.0f} Å",
            expected="a field that holds at least one particle",
            fix=f"simulate at least {2 * math.ceil(radius / pixel_size)} pixels a side, or larger pixels",
        )


def _volume_of_map(volume: Volume, optics: Optics, *, room: tuple[int | None, int]) -> tuple[Volume, float]:
    """The map in a box of its own, and the radius that holds what is above a hundredth of its largest value, Å."""
    side = require_cube("map to simulate from", tuple(volume.voxels.shape))
    if abs(volume.voxel_size / optics.pixel_size - 1) > 1e-3:
        raise InputError(
            f"the map has voxels of {volume.voxel_size:g} Å, the micrograph is to have pixels of {optics.pixel_size:g} Å",
            expected="one and the same size",
            fix=f"simulate with a pixel size of {volume.voxel_size:g} Å, or resample the map first",
        )
    if not bool(torch.isfinite(volume.voxels).all()):
        raise InputError("the map to simulate from holds values that are not finite numbers")
    if bool((volume.voxels == volume.voxels.reshape(-1)[0]).all()):
        raise InputError("the map is constant: there is nothing to image")
    axis = (torch.arange(side, dtype=torch.float32) - side // 2) * volume.voxel_size
    squared = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    reach = math.sqrt(float(squared[volume.voxels > _SHARE_OF_MAP * volume.voxels.max()].max()))
    radius = max(min(reach, side // 2 * volume.voxel_size), _SMALLEST)
    needed = 2 * math.ceil(radius / volume.voxel_size) + 2
    target = room[0] or fast_length_from(needed + room[1])
    if target < min(needed, side):
        raise InputError(
            f"the map reaches {radius:.1f} Å from its origin voxel and does not fit into a box of {target} voxels",
            expected=f"a box of at least {needed} voxels",
        )
    move = (target // 2 - side // 2) * volume.voxel_size
    x, y, z = volume.origin
    voxels = resize(volume.voxels, (target, target, target))
    return Volume(voxels=voxels, voxel_size=volume.voxel_size, origin=(x - move, y - move, z - move)), radius
