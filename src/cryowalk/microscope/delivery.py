"""Sample delivery: how thick the ice is, how many particles lie in it, where, and how they are turned."""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cryowalk.core.checks import require_between, require_positive
from cryowalk.core.constants import AVOGADRO
from cryowalk.core.errors import CryowalkWarning, UsageError
from cryowalk.geometry.sampling import preferred_orientations, random_rotations
from cryowalk.microscope.delivery_settings import DeliverySettings

_GRAMS_PER_CUBIC_ANGSTROM = 1e-27  # of 1 mg/mL
_GRID = 64  # samples a side for the mean thickness of a field
_DARTS = 2000  # thrown for one particle before the field counts as full


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticleKind:
    """One kind of particle in a sample: radius (Å) of the ball that holds it, share by number, molecular mass (Da), and the axes that stick out of the ice.

    `faces` are directions in the particle's frame: at an interface one of them points out of the ice.
    """

    radius: float
    weight: float = 1.0
    mass: float | None = None
    faces: tuple[tuple[float, float, float], ...] = ((0.0, 0.0, 1.0),)


@dataclass(frozen=True, slots=True, kw_only=True)
class IceThickness:
    """Thickness of the ice over a field, Å: middle + (rim − middle) (r/R)² + gradient · (x − centre), a meniscus and a wedge.

    r is the distance from `centre` (x, y in Å from the corner of the field), R the `radius` of the hole; beyond it the rim's thickness stays. Never
    below zero. The ice lies from −t/2 to +t/2 along the beam.
    """

    middle: float
    rim: float
    radius: float
    centre: tuple[float, float]
    gradient: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Where the particles of a micrograph lie and how they are turned, and the ice that holds them.

    Positions are (x, y) from the corner of the field and z from the middle of the ice, Å; `specimen` numbers the kinds from 0; `side` is −1 for a
    particle at the interface where the beam enters, +1 where it leaves, 0 within the ice.
    """

    positions: Float[Tensor, "n 3"]
    lab_from_particle: Float[Tensor, "n 3 3"]
    specimen: Int[Tensor, " n"]
    side: Int[Tensor, " n"]
    thickness: IceThickness


def ice_of(settings: DeliverySettings, *, field: tuple[float, float]) -> IceThickness:
    """The thickness of the ice that the settings mean for a field of (width, height) Å.

    Raises
    ------
    UsageError
        If a thickness, the radius or a side of the field is not above zero.
    """
    for side in field:
        require_positive("side of the field", side, unit="Å")
    middle = require_positive("ice thickness", settings.ice_thickness, unit="Å")
    rim = (
        middle
        if settings.rim_thickness is None
        else require_positive("ice thickness at the rim", settings.rim_thickness, unit="Å")
    )
    radius = math.hypot(*field) / 2 if settings.hole_radius is None else settings.hole_radius
    return IceThickness(
        middle=middle,
        rim=rim,
        radius=require_positive("radius of the hole", radius, unit="Å"),
        centre=settings.hole_centre or (field[0] / 2, field[1] / 2),
        gradient=settings.thickness_gradient,
    )


def thickness_at(thickness: IceThickness, x: Float[Tensor, "*shape"], y: Float[Tensor, "*other"]) -> Float[Tensor, "*result"]:
    """The thickness of the ice at places (x, y) from the corner of the field, Å."""
    dx, dy = x - thickness.centre[0], y - thickness.centre[1]
    rise = ((dx**2 + dy**2) / thickness.radius**2).clamp_max(1.0) * (thickness.rim - thickness.middle)
    return (thickness.middle + rise + thickness.gradient[0] * dx + thickness.gradient[1] * dy).clamp_min(0.0)


def thickness_map(
    thickness: IceThickness, size: tuple[int, int], pixel_size: float, *, like: Tensor | None = None
) -> Float[Tensor, "h w"]:
    """The thickness of the ice at every pixel of a field of `size` (height, width), Å; float32 on the CPU, or as `like` is."""
    require_positive("pixel size", pixel_size, unit="Å")
    options = {"dtype": torch.float32} if like is None else {"dtype": like.dtype, "device": like.device}
    x, y = (torch.arange(side, **options) * pixel_size for side in reversed(size))  # type: ignore[call-overload]  # a dict of options
    return thickness_at(thickness, x, y[:, None])


def mean_thickness(thickness: IceThickness, *, field: tuple[float, float]) -> float:
    """The mean thickness of the ice over a field of (width, height) Å."""
    x, y = ((torch.arange(_GRID, dtype=torch.float64) + 0.5) * (side / _GRID) for side in field)
    return float(thickness_at(thickness, x, y[:, None]).mean())


def particles_in_ice(concentration: float, *, mass: float, thickness: float, area: float) -> float:
    """The expected number of particles c N_A A t / M in ice of an area (Å²) and thickness (Å), of mass M (Da) at a concentration c (mg/mL).

    Freezing may concentrate or lose them (blotting, interfaces, support): this is what the solution brings.

    Examples
    --------
    >>> round(particles_in_ice(1.0, mass=450e3, thickness=300.0, area=4096.0**2), 1)
    6.7
    """
    require_positive("molecular mass", mass, unit="Da")
    return concentration * _GRAMS_PER_CUBIC_ANGSTROM * AVOGADRO * area * thickness / mass


def overlap_probability(count: float, *, area: float, distance: float) -> float:
    """The probability that a particle overlaps at least one other in the image, 1 − (1 − π d²/A)^(count − 1).

    Particles lie anywhere, independently; two overlap if they are nearer than `distance` (Å) in projection. Borders are left out: true where
    d² is far smaller than the area A (Å²).
    """
    require_positive("area", area, unit="Å²")
    alone = max(0.0, 1 - math.pi * distance**2 / area)
    return 1 - math.pow(alone, max(count - 1, 0))


def deliver(
    settings: DeliverySettings,
    *,
    field: tuple[float, float],
    specimens: Sequence[ParticleKind],
    generator: torch.Generator,
    allowed: Bool[Tensor, "h w"] | None = None,
) -> Delivery:
    """Random places and orientations of the particles of one micrograph, over a field of (width, height) Å.

    Kinds are drawn by weight. Adsorbed particles touch an interface, z = ±(t/2 − radius), with a preferred face pointing out; the others lie
    anywhere in the ice and any way round. A particle lies wholly in the ice: where that is thinner than its diameter there is none of it, as in a
    hole whose middle has pushed them to the rim. Places are drawn one after the other, larger particles first, until each keeps its distance to all
    before it (random sequential adsorption). `allowed` is a map of the field: particles' middles lie on its true pixels only.

    Raises
    ------
    UsageError
        If a setting cannot be meant, the ice holds no particle of a kind, or the field does not hold the count (a concentration that it does
        not hold ends in a warning and the number that fits).

    Source: Feder, J. Theor. Biol. 87, 237 (1980), for random sequential adsorption: disks of one size end at 0.547 of the area.
    """
    ice = _checked(settings, field, specimens)
    count = _count(settings, ice, field=field, specimens=specimens, generator=generator)
    device = generator.device
    shares = torch.tensor([kind.weight for kind in specimens], dtype=torch.float64, device=device)
    chosen = torch.multinomial(shares, max(count, 1), replacement=True, generator=generator)[:count]
    draws = torch.rand(count, 2, generator=generator, dtype=torch.float64, device=device)
    far = torch.where(draws[:, 1] < settings.far_side_fraction, 1, -1)
    sides = torch.where(draws[:, 0] < settings.adsorbed_fraction, far, 0)

    field_of_darts = _Field(settings, ice, field, allowed)
    radii = [specimens[kind].radius for kind in chosen.tolist()]
    largest_first = sorted(range(count), key=lambda i: -radii[i])
    side_list = sides.tolist()
    placed = _place(field_of_darts, [(radii[i], side_list[i]) for i in largest_first], generator)
    if len(placed) < count:
        _report_full(settings, count=count, placed=len(placed), first_missing=radii[largest_first[len(placed)]])
    # Back to the order of drawing, in which large and small are mixed.
    order = sorted(range(len(placed)), key=lambda slot: largest_first[slot])
    kept = torch.tensor([largest_first[slot] for slot in order], dtype=torch.int64, device=device)
    positions = torch.tensor([placed[slot] for slot in order], dtype=torch.float64, device=device).reshape(-1, 3)
    return Delivery(
        positions=positions,
        lab_from_particle=_orientations(settings, specimens, chosen[kept], sides[kept], generator=generator),
        specimen=chosen[kept],
        side=sides[kept],
        thickness=ice,
    )


def _checked(settings: DeliverySettings, field: tuple[float, float], specimens: Sequence[ParticleKind]) -> IceThickness:
    """The ice, once the settings are known to make sense."""
    ice = ice_of(settings, field=field)
    if not specimens:
        raise UsageError("a sample needs at least one kind of particle")
    for kind in specimens:
        require_positive("radius of a particle", kind.radius, unit="Å")
        if not (math.isfinite(kind.weight) and kind.weight >= 0):
            raise UsageError(f"the weight of a specimen must be zero or above: got {kind.weight}")
    if not any(kind.weight > 0 for kind in specimens):
        raise UsageError("the weights of all specimens are zero")
    if not math.isfinite(settings.gap):
        raise UsageError(f"the gap between particles must be a number: got {settings.gap}")
    require_between("adsorbed fraction", settings.adsorbed_fraction, 0.0, 1.0)
    require_between("fraction at the far side", settings.far_side_fraction, 0.0, 1.0)
    if not 0 <= 2 * settings.margin < min(field):
        raise UsageError(f"a margin of {settings.margin:g} Å leaves nothing of a field of {field[0]:g} × {field[1]:g} Å")
    x, y = (torch.linspace(settings.margin, side - settings.margin, _GRID, dtype=torch.float64) for side in field)
    thickest = thickness_at(ice, x, y[:, None]).max().item()
    largest = max(kind.radius for kind in specimens if kind.weight > 0)
    if 2 * largest > thickest:
        raise UsageError(
            f"the ice is nowhere thicker than {thickest:.0f} Å: a particle of radius {largest:.0f} Å does not fit into it",
            expected=f"ice of at least {2 * largest:.0f} Å",
            fix="make the ice thicker, or give a smaller radius if the particle is flat",
        )
    return ice


def _count(
    settings: DeliverySettings,
    ice: IceThickness,
    *,
    field: tuple[float, float],
    specimens: Sequence[ParticleKind],
    generator: torch.Generator,
) -> int:
    """The number of particles to place, from the count or the concentration."""
    if settings.count is not None:
        if settings.count < 0:
            raise UsageError(f"the number of particles must be zero or above: got {settings.count}")
        expected = float(settings.count)
    else:
        require_positive("concentration", settings.concentration, unit="mg/mL")
        if any(kind.mass is None for kind in specimens if kind.weight > 0):
            raise UsageError(
                "a concentration needs the molecular mass of every specimen",
                fix="ask for a number of particles or a coverage instead; the mass of a map is not known",
            )
        total = sum(kind.weight for kind in specimens)
        mass = sum(kind.weight / total * (kind.mass or 0.0) for kind in specimens)
        area = field[0] * field[1]
        expected = particles_in_ice(settings.concentration, mass=mass, thickness=mean_thickness(ice, field=field), area=area)
    if settings.count_spread == "poisson":
        rate = torch.tensor(expected, dtype=torch.float64, device=generator.device)
        return int(torch.poisson(rate, generator=generator).item())
    return round(expected)


class _Field(NamedTuple):
    """Where darts may fall."""

    settings: DeliverySettings
    ice: IceThickness
    field: tuple[float, float]
    allowed: Tensor | None


class _Dart(NamedTuple):
    x: float
    y: float
    thickness: float
    depth: float  # between 0 and 1, for the height within the ice


def _darts(where: _Field, generator: torch.Generator) -> Iterator[_Dart]:
    """Places drawn over the field's allowed part, without end."""
    margin, device = where.settings.margin, generator.device
    span = torch.tensor([side - 2 * margin for side in where.field], dtype=torch.float64, device=device)
    while True:
        draws = torch.rand(1024, 3, generator=generator, dtype=torch.float64, device=device)
        places = margin + draws[:, :2] * span
        thickness = thickness_at(where.ice, places[:, 0], places[:, 1])
        rows = torch.cat([places, thickness[:, None], draws[:, 2:]], dim=1).cpu()
        if where.allowed is not None:
            height, width = where.allowed.shape
            column = (rows[:, 0] / where.field[0] * width).long().clamp(0, width - 1)
            row = (rows[:, 1] / where.field[1] * height).long().clamp(0, height - 1)
            # A forbidden place is ice without thickness, so that it counts as a dart thrown in vain.
            rows[:, 2] *= where.allowed.cpu()[row, column]
        for values in rows.tolist():
            yield _Dart(*values)


def _place(where: _Field, wanted: Sequence[tuple[float, int]], generator: torch.Generator) -> list[tuple[float, float, float]]:
    """Places of as many of the wanted particles (radius, side) as fit, in order; it stops at the first that finds none."""
    largest = max((radius for radius, _ in wanted), default=1.0)
    # Neighbours that could be too near lie in the same cell or in the eight about it.
    cell = 2 * largest + max(where.settings.gap, 0.0)
    cells: dict[tuple[int, int], list[tuple[float, float, float, float]]] = {}
    placed: list[tuple[float, float, float]] = []
    darts = _darts(where, generator)
    for radius, side in wanted:
        for _ in range(_DARTS):
            dart = next(darts)
            room = dart.thickness / 2 - radius
            if room < 0:
                continue
            z = side * room if side else (2 * dart.depth - 1) * room
            home = (int(dart.x // cell), int(dart.y // cell))
            if _is_free(cells, home, (dart.x, dart.y, z, radius), where.settings):
                cells.setdefault(home, []).append((dart.x, dart.y, z, radius))
                placed.append((dart.x, dart.y, z))
                break
        else:
            return placed
    return placed


def _is_free(
    cells: dict[tuple[int, int], list[tuple[float, float, float, float]]],
    home: tuple[int, int],
    candidate: tuple[float, float, float, float],
    settings: DeliverySettings,
) -> bool:
    """Whether the candidate (x, y, z, radius) keeps its distance to all that are placed."""
    if settings.separation == "none":
        return True
    x, y, z, radius = candidate
    for row in range(home[1] - 1, home[1] + 2):
        for column in range(home[0] - 1, home[0] + 2):
            for ox, oy, oz, other in cells.get((column, row), ()):
                depth = z - oz if settings.separation == "volume" else 0.0
                if (x - ox) ** 2 + (y - oy) ** 2 + depth**2 < max(radius + other + settings.gap, 0.0) ** 2:
                    return False
    return True


def _report_full(settings: DeliverySettings, *, count: int, placed: int, first_missing: float) -> None:
    """An error where a count was asked for, a warning where it followed from a concentration."""
    what = f"the field holds {placed} of {count} particles; no place was left for one of radius {first_missing:.0f} Å in {_DARTS} tries"
    fix = f"ask for {placed} or fewer, allow overlap (separation volume or none), or make the field larger"
    if settings.count is not None and settings.count_spread == "none":
        raise UsageError(what, cause="too many or too large particles, or too little ice thick enough for them", fix=fix)
    warnings.warn(f"{what}; it goes on with {placed}", CryowalkWarning, stacklevel=3)


def _orientations(
    settings: DeliverySettings, specimens: Sequence[ParticleKind], chosen: Tensor, sides: Tensor, *, generator: torch.Generator
) -> Tensor:
    """Rotations: any way round within the ice, a face of the particle pointing out at an interface."""
    rotations = random_rotations(len(chosen), generator=generator).to(chosen.device)
    for index, kind in enumerate(specimens):
        faces = torch.tensor(kind.faces, dtype=torch.float64, device=chosen.device)
        for side in (-1, 1):
            which = torch.nonzero((chosen == index) & (sides == side)).flatten()
            if len(which) == 0:
                continue
            # The view direction is what points along the beam: out of the ice on its far side, into it on the near one.
            rotations[which] = preferred_orientations(
                len(which), directions=side * faces, concentration=settings.preferred_concentration, generator=generator
            ).to(rotations)
    return rotations
