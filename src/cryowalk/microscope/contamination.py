"""What lies in and on the ice that nobody wants: ice crystals, ethane, denatured protein and broken particles, with the truth of where."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.checks import require_between, require_cube, require_positive
from cryowalk.core.errors import UsageError
from cryowalk.data.volume import Volume
from cryowalk.fourier.grids import coordinates
from cryowalk.microscope.delivery_settings import ContaminationSettings
from cryowalk.microscope.form_factors import VOLT_PER_SCATTERING_FACTOR, scattering_factor
from cryowalk.microscope.ice import MEAN_INNER_POTENTIAL

KINDS = ("ice crystal", "ethane drop", "aggregate")

_CRYSTAL_DENSITY = 0.917 / 0.94  # of hexagonal ice to that of vitreous ice
# Hexagonal ice: lattice constants, four water molecules, their places in the cell (oxygen, space group P6₃/mmc, site 4f, z = 0.062).
_ICE_A, _ICE_C = 4.50, 7.32  # Å
_ICE_PLACES = ((1 / 3, 2 / 3, 0.062), (2 / 3, 1 / 3, 0.562), (2 / 3, 1 / 3, 0.938), (1 / 3, 2 / 3, 0.438))
_ICE_REFLECTIONS = ((1, 0, 0), (0, 0, 2), (1, 0, 1))
_ICE_B_FACTOR = 2.0  # Å²
_ETHANE_POTENTIAL = 5.1  # V: 0.65 g/cm³ of free atoms C₂H₆
_RESIDUE_POTENTIAL = (
    605.0  # V Å³ of an average residue above the water that it displaces: 1087 of its free atoms − 134 Å³ · 3.6 V
)
_RESIDUE_SPREAD = 2.0  # Å, standard deviation of a residue about its middle
_RESIDUES_PER_VOLUME = 1 / 180.0  # 1/Å³; a molten clump is looser than a folded protein's 1/134
_HARMONICS = 6  # of the outline of a drop


@dataclass(frozen=True, slots=True, kw_only=True)
class Contamination:
    """Contaminants of a micrograph: their projected potential (V Å), and where they are.

    `positions` are (x, y) in Å from the corner of the field, `radius` that of the circle of equal area in Å, `kind` a number in `KINDS`. `labels` is 0 where nothing
    lies, otherwise one more than the number of the contaminant (of the last, where they overlap): `labels == 0` is where particles may lie.
    """

    potential: Float[Tensor, "h w"]
    labels: Int[Tensor, "h w"]
    positions: Float[Tensor, "n 2"]
    radius: Float[Tensor, " n"]
    kind: Int[Tensor, " n"]


class _Canvas(NamedTuple):
    """The field that is drawn on."""

    potential: Tensor
    labels: Tensor
    pixel_size: float
    generator: torch.Generator


def contaminants(
    settings: ContaminationSettings,
    size: tuple[int, int],
    *,
    pixel_size: float,
    generator: torch.Generator,
    inner: tuple[int, int] | None = None,
) -> Contamination:
    """Random contaminants over a field of `size` (height, width) pixels, as a potential relative to clean ice; their middles lie in its middle part `inner`.

    Ice crystals lie on the surface: plates with five to eight straight sides and sloping rims, a mean inner potential like ice's, and the fringes of one
    of the three strong reflections of hexagonal ice (3.90, 3.66, 3.44 Å) where the pixels can hold it. Drops of ethane are smooth domes with a wavy outline.
    Aggregates are residues thrown into three to six overlapping balls within the ice. Bright or dark is a matter of defocus: all of them are
    denser than what they replace. On the generator's device.

    Raises
    ------
    UsageError
        If a number is negative or a range is not one.
    """
    require_positive("pixel size", pixel_size, unit="Å")
    _check(settings)
    device = generator.device
    canvas = _Canvas(torch.zeros(size, device=device), torch.zeros(size, dtype=torch.int32, device=device), pixel_size, generator)
    counts = (settings.ice_crystals, settings.ethane_drops, settings.aggregates)
    kind = torch.cat([torch.full((count,), number, dtype=torch.int64) for number, count in enumerate(counts)])
    inner = inner or size
    extent, corner = (
        torch.tensor([columns, rows], dtype=torch.float64) * pixel_size
        for rows, columns in (inner, tuple((whole - part) // 2 for whole, part in zip(size, inner, strict=True)))
    )
    positions = _uniform((len(kind), 2), generator) * extent + corner
    drawn = _uniform((len(kind),), generator).tolist()
    radii = []
    for number, (which, place, share) in enumerate(zip(kind.tolist(), positions.tolist(), drawn, strict=True), start=1):
        if which == 0:
            radii.append(_crystal(canvas, place, _within(settings.crystal_radius, share), number))
        elif which == 1:
            radii.append(_drop(canvas, place, _within(settings.drop_radius, share), number))
        else:
            radii.append(_clump(canvas, place, round(_within(settings.aggregate_residues, share)), number))
    return Contamination(
        potential=canvas.potential,
        labels=canvas.labels,
        positions=positions.to(device),
        radius=torch.tensor(radii, dtype=torch.float64, device=device),
        kind=kind.to(device),
    )


def broken(volume: Volume, *, fraction: float, generator: torch.Generator, edge: float = 4.0) -> Volume:
    """A piece of a particle, with about `fraction` of its integrated potential: cut by a plane of random direction, with an edge `edge` Å wide.

    Projected as one more specimen it is junk that looks like the particle. Same grid, dtype and device.

    Raises
    ------
    UsageError
        If the fraction does not lie between 0 and 1.
    """
    require_between("fraction of the particle", fraction, 0.0, 1.0)
    side = require_cube("map of a particle", tuple(volume.voxels.shape))
    x, y, z = coordinates((side, side, side), pixel_size=volume.voxel_size, like=volume.voxels)
    direction = torch.nn.functional.normalize(_normal((3,), generator), dim=0).tolist()
    depth = x * direction[0] + y * direction[1] + z * direction[2]
    weight = volume.voxels.clamp_min(0)
    order = torch.argsort(depth.reshape(-1))
    below = weight.reshape(-1)[order].double().cumsum(0)
    cut = depth.reshape(-1)[order[int(torch.searchsorted(below, (1 - fraction) * below[-1]).clamp_max(len(order) - 1))]]
    kept = torch.sigmoid((depth - cut) * (4 / max(edge, 1e-6)))
    return Volume(voxels=volume.voxels * kept, voxel_size=volume.voxel_size, origin=volume.origin)


def crystal_reflections() -> tuple[tuple[float, float], ...]:
    """Spacing (Å) and Fourier coefficient of the potential (V) of the three strong reflections of hexagonal ice, from its oxygen atoms.

    V_G = (h²/2πme) / A |Σ f(|G|) exp(−B G²/4) e^(2πi G·r)|, A the volume of the cell; the fringes are 2 V_G cos 2πG·x. Hydrogens
    are disordered and left out.

    Source: Kirkland, Advanced Computing in Electron Microscopy (2020), chapter 5; structure: Kuhs & Lehmann, J. Phys. Chem. 87, 4312 (1983).

    Examples
    --------
    >>> [round(spacing, 2) for spacing, _ in crystal_reflections()]
    [3.9, 3.66, 3.44]
    """
    cell = math.sqrt(3) / 2 * _ICE_A**2 * _ICE_C
    found = []
    for h, k, m in _ICE_REFLECTIONS:
        frequency = math.sqrt(4 / 3 * (h * h + h * k + k * k) / _ICE_A**2 + m * m / _ICE_C**2)
        phases = [2 * math.pi * (h * x + k * y + m * z) for x, y, z in _ICE_PLACES]
        structure = math.hypot(sum(map(math.cos, phases)), sum(map(math.sin, phases)))
        factor = float(scattering_factor(8, torch.tensor(frequency, dtype=torch.float64)))
        damped = factor * math.exp(-_ICE_B_FACTOR * frequency**2 / 4)
        found.append((1 / frequency, VOLT_PER_SCATTERING_FACTOR * structure * damped / cell))
    return tuple(found)


def _crystal(canvas: _Canvas, place: list[float], radius: float, number: int) -> float:
    """Draw a plate of ice and give the radius of its outline's equal circle, Å."""
    generator = canvas.generator
    sides = 5 + int(_uniform((), generator).item() * 4)
    turn = 2 * math.pi * _uniform((), generator).item()
    spacing = torch.sort(torch.arange(sides) + 0.5 * (_uniform((sides,), generator) - 0.5)).values * (2 * math.pi / sides) + turn
    distance = radius * (0.75 + 0.25 * _uniform((sides,), generator))
    window = _window(canvas, place, reach=2 * radius)
    if window is None:
        return radius
    rows, columns, dx, dy = window
    inside = torch.stack(
        [d - (dx * math.cos(a) + dy * math.sin(a)) for d, a in zip(distance.tolist(), spacing.tolist(), strict=True)]
    )
    # Rims rise at 45 degrees to a flat top, a third to all of the radius high.
    top = radius * (1 / 3 + 2 / 3 * _uniform((), generator).item())
    height = inside.min(dim=0).values.clamp(0, top)
    potential = MEAN_INNER_POTENTIAL * _CRYSTAL_DENSITY * torch.ones_like(height)
    lattice = crystal_reflections()[int(_uniform((), generator).item() * len(_ICE_REFLECTIONS))]
    azimuth, excitation, phase = (_uniform((3,), generator) * torch.tensor([math.pi, 1.0, 2 * math.pi])).tolist()
    if lattice[0] > 2 * canvas.pixel_size:
        along = dx * math.cos(azimuth) + dy * math.sin(azimuth)
        potential += 2 * lattice[1] * excitation * torch.cos(2 * math.pi / lattice[0] * along + phase)
    return _add(canvas, (rows, columns), potential * height, outline=height > 0, number=number)


def _drop(canvas: _Canvas, place: list[float], radius: float, number: int) -> float:
    """Draw a dome of ethane and give the radius of its outline's equal circle, Å."""
    generator = canvas.generator
    # The waves fall off as 1/m², so that the outline is smooth; together they stay below half the radius.
    waves = _normal((_HARMONICS, 2), generator).clamp(-2, 2) / (torch.arange(_HARMONICS) + 2.0)[:, None] ** 2 * 0.25
    flatness = 0.2 + 0.4 * _uniform((), generator).item()
    window = _window(canvas, place, reach=1.8 * radius)
    if window is None:
        return radius
    rows, columns, dx, dy = window
    angle = torch.atan2(dy.expand(len(rows), len(columns)), dx.expand(len(rows), len(columns)))
    outline = torch.ones_like(angle)
    for order, (cosine, sine) in enumerate(waves.tolist(), start=2):
        outline += cosine * torch.cos(order * angle) + sine * torch.sin(order * angle)
    relative = (dx**2 + dy**2) / (radius * outline) ** 2
    height = 2 * flatness * radius * (1 - relative).clamp_min(0)
    return _add(canvas, (rows, columns), _ETHANE_POTENTIAL * height, outline=height > 0, number=number)


def _clump(canvas: _Canvas, place: list[float], residues: int, number: int) -> float:
    """Draw a loose clump of residues in some overlapping balls and give the radius of its outline's equal circle, Å."""
    generator = canvas.generator
    lobes = 3 + int(_uniform((), generator).item() * 4)
    ball = math.cbrt(3 * residues / (4 * math.pi * _RESIDUES_PER_VOLUME * lobes))
    steps = torch.nn.functional.normalize(_normal((lobes, 3), generator), dim=1) * 1.2 * ball
    centres = steps.cumsum(dim=0)
    centres -= centres.mean(dim=0)
    within = torch.nn.functional.normalize(_normal((residues, 3), generator), dim=1)
    within *= ball * _uniform((residues, 1), generator) ** (1 / 3)
    folded = centres[(_uniform((residues,), generator) * lobes).long()] + within
    margin = 5 * _RESIDUE_SPREAD
    window = _window(canvas, place, reach=float(centres.abs().max()) + ball + margin)
    if window is None:
        return ball
    rows, columns, dx, dy = window
    outline = torch.zeros(len(rows), len(columns), dtype=torch.bool, device=dx.device)
    for x, y, _ in centres.tolist():
        outline |= (dx - x) ** 2 + (dy - y) ** 2 < (ball + 2 * _RESIDUE_SPREAD) ** 2
    # Each residue is a Gaussian, the product of one along x and one along y: a matrix product draws them all.
    along_x = torch.exp(-0.5 * ((dx.reshape(1, -1).cpu() - folded[:, :1]) / _RESIDUE_SPREAD) ** 2)
    along_y = torch.exp(-0.5 * ((dy.reshape(1, -1).cpu() - folded[:, 1:2]) / _RESIDUE_SPREAD) ** 2)
    density = (along_y.T @ along_x).to(canvas.potential) / (2 * math.pi * _RESIDUE_SPREAD**2)
    return _add(canvas, (rows, columns), _RESIDUE_POTENTIAL * density, outline=outline, number=number)


def _window(canvas: _Canvas, place: list[float], *, reach: float) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """The rows and columns within reach (Å) of a place and their distances from it along x and y, or None if they lie outside the field."""
    found = []
    for middle, side in ((place[0], canvas.potential.shape[1]), (place[1], canvas.potential.shape[0])):
        first = max(0, math.floor((middle - reach) / canvas.pixel_size))
        last = min(side - 1, math.ceil((middle + reach) / canvas.pixel_size))
        if last < first:
            return None
        found.append(torch.arange(first, last + 1, device=canvas.potential.device))
    columns, rows = found
    dx = columns.to(canvas.potential) * canvas.pixel_size - place[0]
    dy = rows.to(canvas.potential)[:, None] * canvas.pixel_size - place[1]
    return rows, columns, dx, dy


def _add(canvas: _Canvas, where: tuple[Tensor, Tensor], potential: Tensor, *, outline: Tensor, number: int) -> float:
    """Add a patch to the canvas, label its outline, and give the radius of the circle of the outline's area within the field, Å."""
    rows, columns = where
    part = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    canvas.potential[part] += potential
    canvas.labels[part] = torch.where(outline, number, canvas.labels[part])
    return math.sqrt(float(outline.sum()) / math.pi) * canvas.pixel_size


def _within(span: tuple[float, float], share: float) -> float:
    return span[0] + (span[1] - span[0]) * share


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform numbers, float64 on the CPU whatever the generator's device: they steer the drawing."""
    return torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device).cpu()


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device).cpu()


def _check(settings: ContaminationSettings) -> None:
    for name in ("ice_crystals", "ethane_drops", "aggregates"):
        if getattr(settings, name) < 0:
            raise UsageError(f"the number of {name.replace('_', ' ')} must be zero or above: got {getattr(settings, name)}")
    for name in ("crystal_radius", "drop_radius", "aggregate_residues"):
        low, high = getattr(settings, name)
        if not 0 < low <= high:
            raise UsageError(
                f"the {name.replace('_', ' ')} is a range from a smaller to a larger number above zero: got {low} to {high}"
            )
