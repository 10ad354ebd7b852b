"""What one micrograph is made of, drawn before any image: particles, ice, support, contamination, defocus, and the streams of later random numbers.

Everything follows from one generator, in a fixed order, so that the same generator state gives the same micrograph.
"""

import math
import warnings
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cryowalk.core.checks import require_between, require_positive
from cryowalk.core.constants import interaction_constant
from cryowalk.core.errors import CryowalkWarning, UsageError
from cryowalk.data.optics import Defocus, Optics
from cryowalk.microscope import support
from cryowalk.microscope.aberrations import is_magnified_evenly
from cryowalk.microscope.contamination import Contamination, contaminants
from cryowalk.microscope.delivery import IceThickness, ParticleKind, deliver
from cryowalk.microscope.delivery_settings import ContaminationSettings, DeliverySettings
from cryowalk.microscope.micrograph_settings import MicrographSimulationSettings
from cryowalk.microscope.simulate.scene import Canvas, Scene, canvas_for
from cryowalk.microscope.simulate.specimens import Specimens, require_diameter
from cryowalk.microscope.support import CarbonFilm, film_thickness

_SEEDS = 2**62  # seeds of streams lie below it
_LARGEST_DEFOCUS = 2e5  # Å
_STRONGEST = 3.0  # rad: 600 Å of protein, at 8 V
_THIN_CARBON = 1.0  # Å of carbon at a place that still counts as the hole


class Streams(NamedTuple):
    """Seeds of the random numbers of each part, so that a change to one leaves the others."""

    placement: int
    optics: int
    ice: int
    support: int
    contamination: int
    motion: int
    camera: int
    evolution: int

    def generator(self, part: str, *, device: torch.device) -> torch.Generator:
        """The generator of this part, at its start."""
        return torch.Generator(device=device).manual_seed(getattr(self, part))


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """All that a micrograph is made from.

    `defocus` is that of the plane z = 0. `film` is the carbon with its hole. `side` is −1 or +1 for particles at the interface where the beam enters or leaves.
    """

    scene: Scene
    canvas: Canvas
    defocus: Defocus
    thickness: IceThickness
    side: Int[Tensor, " n"]
    film: CarbonFilm | None
    contamination: Contamination | None
    has_graphene: bool
    streams: Streams


def check_settings(settings: MicrographSimulationSettings) -> None:
    """Nothing, if the settings can be meant.

    Raises
    ------
    UsageError
        Otherwise, naming the setting.
    """
    require_positive("count", settings.count)
    require_positive("dose", settings.dose, unit="e⁻/Å²")
    require_between("dose_before", settings.dose_before, 0.0, 1e6)
    for side in settings.size:
        require_between("size", side, 32, 32768)
    require_positive("ice_thickness", settings.ice_thickness, unit="Å")
    low, high = settings.defocus_range
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise UsageError(f"defocus_range must go from a smaller to a larger defocus: got {low:g} to {high:g} Å")
    require_between("defocus_range", max(abs(low), abs(high)), 0.0, _LARGEST_DEFOCUS)
    if settings.particles is not None and settings.concentration is not None:
        raise UsageError("both a number of particles and a concentration were given", fix="give one of them")


def check_specimens(specimens: Specimens, optics: Optics, settings: MicrographSimulationSettings) -> None:
    """Nothing, if the specimens fit into the field.

    Raises
    ------
    InputError
        If one is larger than the field.
    """
    field = min(settings.size) * optics.pixel_size
    for state in specimens.states:
        require_diameter(state.name, state.radius, field=field, pixel_size=optics.pixel_size)


def warn_of_strength(specimens: Specimens, optics: Optics) -> None:
    """A `CryowalkWarning` where a specimen turns the wave by more than a molecule ever does: then a map is not in volts, and its image means nothing."""
    for state, volume in zip(specimens.states, specimens.volumes, strict=True):
        projected = float(volume.voxels.sum(dim=0).abs().max()) * volume.voxel_size
        phase = interaction_constant(optics.voltage_kv) * projected
        if phase > _STRONGEST:
            warnings.warn(
                f"“{state.name}” turns the phase of the wave by {phase:.3g} rad, a protein by less than 1: "
                "is the map in volts? A map of another program wants to be scaled first",
                CryowalkWarning,
                stacklevel=2,
            )


def draw(specimens: Specimens, optics: Optics, settings: MicrographSimulationSettings, *, generator: torch.Generator) -> Drawing:
    """A random micrograph's content, on the generator's device.

    Raises
    ------
    UsageError
        If a setting cannot be meant, the ice is thinner than a particle, or the field does not hold the particles asked for.
    InputError
        If a specimen is larger than the field.
    """
    check_settings(settings)
    check_specimens(specimens, optics, settings)
    if not is_magnified_evenly(optics.aberrations):
        raise UsageError(
            "micrographs are simulated without anisotropic magnification", fix="give the magnification matrix 1 0 0 1"
        )
    device = generator.device
    seeds = torch.randint(_SEEDS, (len(Streams._fields),), generator=generator, device=device).tolist()
    streams = Streams(*seeds)
    size = (settings.size[1], settings.size[0])
    defocus = _drawn_defocus(settings, generator=streams.generator("optics", device=device))
    canvas = canvas_for(optics, defocus, size=size)
    film = _drawn_film(settings, optics, generator=streams.generator("support", device=device))
    contamination = _drawn_contamination(settings, canvas, generator=streams.generator("contamination", device=device))
    allowed = _allowed(canvas, film, contamination, device=device)
    delivery = deliver(
        _delivery(settings, specimens, canvas, allowed),
        field=(size[1] * optics.pixel_size, size[0] * optics.pixel_size),
        specimens=[ParticleKind(radius=state.radius, weight=state.weight, mass=state.mass) for state in specimens.states],
        generator=streams.generator("placement", device=device),
        allowed=allowed,
    )
    scene = Scene(
        specimens=specimens,
        optics=optics,
        size=size,
        positions=delivery.positions,
        lab_from_particle=delivery.lab_from_particle,
        state=delivery.specimen,
    )
    return Drawing(
        scene=scene,
        canvas=canvas,
        defocus=defocus,
        thickness=delivery.thickness,
        side=delivery.side,
        film=film,
        contamination=contamination,
        has_graphene=settings.support == "graphene",
        streams=streams,
    )


def film_on_canvas(film: CarbonFilm, canvas: Canvas) -> CarbonFilm:
    """The same film with its hole's place counted from the canvas's first pixel instead of the micrograph's."""
    top, left = canvas.corner
    centre = film.hole_centre or (canvas.inner[1] * canvas.pixel_size / 2, canvas.inner[0] * canvas.pixel_size / 2)
    return replace(film, hole_centre=(centre[0] + left * canvas.pixel_size, centre[1] + top * canvas.pixel_size))


def sheets(drawing: Drawing) -> "list[tuple[Float[Tensor, 'h w'], float]]":
    """Support and contamination on the canvas: projected potentials (V Å) with their heights (Å).

    The support carries the ice: it lies where the beam leaves. Contamination lies where it enters.
    """
    found = []
    canvas, surface = drawing.canvas, drawing.thickness.middle / 2
    source = drawing.streams.generator("support", device=drawing.scene.positions.device)
    if drawing.film is not None:
        film = film_on_canvas(drawing.film, canvas)
        found.append((support.carbon(canvas.size, pixel_size=canvas.pixel_size, film=film, generator=source), surface))
    if drawing.has_graphene:
        azimuth = torch.rand((), generator=source, device=source.device).item()
        like = torch.zeros(0, device=source.device)
        sheet = support.graphene(canvas.size, pixel_size=canvas.pixel_size, azimuth=azimuth, like=like)
        found.append((sheet, surface))
    if drawing.contamination is not None:
        found.append((drawing.contamination.potential, -surface))
    return found


def particle_defocus(drawing: Drawing, *, is_flat: bool) -> Defocus:
    """The defocus of each particle: that of the plane z = 0, and its own height."""
    count = len(drawing.scene)
    height = torch.zeros_like(drawing.scene.positions[:, 2]) if is_flat else drawing.scene.positions[:, 2]
    common = drawing.defocus

    def each(value: Tensor) -> Tensor:
        return value.double().expand(count).clone()

    return Defocus(
        major=common.major.double() + height,
        minor=common.minor.double() + height,
        azimuth=each(common.azimuth),
        phase_shift=each(common.phase_shift),
        b_factor=None if common.b_factor is None else each(common.b_factor),
    )


def _drawn_defocus(settings: MicrographSimulationSettings, *, generator: torch.Generator) -> Defocus:
    low, high = settings.defocus_range
    uniform = torch.rand(2, generator=generator, dtype=torch.float64, device=generator.device)
    normal = torch.randn((), generator=generator, dtype=torch.float64, device=generator.device)
    mean = low + (high - low) * uniform[0]
    half_difference = (settings.astigmatism * normal).abs() / 2
    return Defocus(
        major=mean + half_difference,
        minor=mean - half_difference,
        azimuth=math.pi * uniform[1],
        phase_shift=torch.full_like(mean, settings.phase_shift),
        b_factor=torch.full_like(mean, settings.b_factor) if settings.b_factor else None,
    )


def _drawn_film(settings: MicrographSimulationSettings, optics: Optics, *, generator: torch.Generator) -> CarbonFilm | None:
    """A film whose hole's edge crosses the field, a fifth of the shorter side from its middle at most, in a random direction."""
    if settings.support != "carbon":
        return None
    draws = torch.rand(2, generator=generator, dtype=torch.float64, device=generator.device).tolist()
    angle = 2 * math.pi * draws[0]
    width, height = (side * optics.pixel_size for side in settings.size)
    inside = min(width, height) * (0.1 + 0.2 * draws[1])  # from the field's middle, which lies in the hole, to the edge
    distance = settings.hole_radius - inside
    centre = (width / 2 - distance * math.cos(angle), height / 2 - distance * math.sin(angle))
    return CarbonFilm(thickness=settings.carbon_thickness, hole_radius=settings.hole_radius, hole_centre=centre)


def _drawn_contamination(
    settings: MicrographSimulationSettings, canvas: Canvas, *, generator: torch.Generator
) -> Contamination | None:
    """Contaminants on the canvas, their middles in the micrograph; positions count from the micrograph's first pixel."""
    if not (settings.ice_crystals or settings.ethane_drops or settings.aggregates):
        return None
    kinds = ContaminationSettings(
        ice_crystals=settings.ice_crystals, ethane_drops=settings.ethane_drops, aggregates=settings.aggregates
    )
    drawn = contaminants(kinds, canvas.size, pixel_size=canvas.pixel_size, generator=generator, inner=canvas.inner)
    top, left = canvas.corner
    corner = torch.tensor([left, top], dtype=torch.float64, device=generator.device) * canvas.pixel_size
    return replace(drawn, positions=drawn.positions - corner)


def _allowed(
    canvas: Canvas, film: CarbonFilm | None, contamination: Contamination | None, *, device: torch.device
) -> Bool[Tensor, "h w"] | None:
    """Where particles may lie: in the hole, and not under contamination."""
    if film is None and contamination is None:
        return None
    allowed = torch.ones(canvas.inner, dtype=torch.bool, device=device)
    if film is not None:
        allowed &= film_thickness(film, canvas.inner, pixel_size=canvas.pixel_size, device=device) < _THIN_CARBON
    if contamination is not None:
        allowed &= canvas.crop(contamination.labels) == 0
    return allowed


def _delivery(
    settings: MicrographSimulationSettings, specimens: Specimens, canvas: Canvas, allowed: Tensor | None
) -> DeliverySettings:
    """The settings of the delivery; a coverage becomes the number of particles that covers it."""
    count = settings.particles
    if count is None and settings.concentration is None:
        share = 1.0 if allowed is None else float(allowed.double().mean())
        area = canvas.inner[0] * canvas.inner[1] * canvas.pixel_size**2 * share
        disk = math.pi * float((specimens.weights * specimens.radii**2).sum())
        count = round(settings.coverage * area / disk)
    return DeliverySettings(
        count=count,
        concentration=settings.concentration or 1.0,
        count_spread=settings.count_spread,
        ice_thickness=settings.ice_thickness,
        rim_thickness=settings.rim_thickness,
        thickness_gradient=settings.thickness_gradient,
        adsorbed_fraction=settings.adsorbed_fraction,
        preferred_concentration=settings.preferred_concentration,
        separation=settings.separation,
        gap=settings.gap,
        margin=settings.margin,
    )
