"""Tilt series with their truth: a thick slab of ice with particles and gold beads, seen at many tilts as the damage grows.

Every particle has the defocus of its own height (see `scene`), the ice that of the tilted slab at every point, and each bead, which is no weak object, is
imaged by its wave. Tilt t of a series depends on the series' seed and t alone, so images may be made in any order.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_between, require_positive
from cryowalk.core.constants import interaction_constant
from cryowalk.core.errors import UsageError
from cryowalk.data.instrument import Gun, ObjectiveLens
from cryowalk.data.optics import Defocus, Optics
from cryowalk.data.tilt_series_truth import TiltSeriesTruth
from cryowalk.geometry.rotations import matrix_about_axis
from cryowalk.microscope import absorption, damage
from cryowalk.microscope.camera import CAMERAS, record
from cryowalk.microscope.delivery import ParticleKind, deliver
from cryowalk.microscope.delivery_settings import DeliverySettings
from cryowalk.microscope.exposure import electrons_per_pixel
from cryowalk.microscope.simulate.instrument import Instrument
from cryowalk.microscope.simulate.micrographs import camera_margin, centre_of
from cryowalk.microscope.simulate.scene import Canvas, Scene, View, canvas_for, project_particles, transfer_layers
from cryowalk.microscope.simulate.specimens import Specimens
from cryowalk.microscope.simulate.tilt_scheme import STEEPEST, tilt_angles
from cryowalk.microscope.simulate.tilted_slab import add_beads, image_of_ice
from cryowalk.microscope.tilt_settings import TiltSeriesSimulationSettings

_PLACEMENT, _GEOMETRY, _TILTS = 0, 1, 2  # streams of random numbers; the tilts' own begin at the last


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSeries:
    """A series that is drawn: its truth, and what its images are made from. `scene` has the particles in the specimen's frame, counted from the corner."""

    truth: TiltSeriesTruth
    scene: Scene
    canvas: Canvas
    instrument: Instrument
    settings: TiltSeriesSimulationSettings
    seed: int


def check_settings(settings: TiltSeriesSimulationSettings) -> None:
    """Nothing, if the settings can be meant.

    Raises
    ------
    UsageError
        Otherwise, naming the setting.
    """
    for side in settings.size:
        require_between("size", side, 32, 16384)
    for name in ("thickness", "dose", "bead_radius", "tilt_step_degrees"):
        require_positive(name, getattr(settings, name))
    for name in ("particles", "beads", "shift_error", "tilt_error_degrees", "defocus_error", "astigmatism", "b_factor"):
        require_between(name, getattr(settings, name), 0, 1e5)
    require_between("largest_tilt_degrees", settings.largest_tilt_degrees, 0.0, math.degrees(STEEPEST))
    low, high = settings.defocus_range
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise UsageError(f"defocus_range must go from a smaller to a larger defocus: got {low:g} to {high:g} Å")
    require_between("defocus_range", max(abs(low), abs(high)), 0.0, 2e5)
    if settings.camera not in CAMERAS:
        raise UsageError(f"there is no camera {settings.camera!r}", expected=f"one of {', '.join(CAMERAS)}")


def draw_series(
    specimens: Specimens, optics: Optics, settings: TiltSeriesSimulationSettings, *, seed: int, name: str = "TS_001"
) -> SimulatedSeries:
    """A random series: where particles and beads are, and the geometry of every tilt; no image yet.

    The field at the largest tilt sees more of the specimen than the untilted one, so that specimen is filled as far as any tilt sees, with the same
    number of particles for its area. Particles lie wholly in the slab, no two in one place; beads lie on its surfaces.

    Raises
    ------
    UsageError
        If a setting cannot be meant, or the slab is thinner than a particle or does not hold that many.
    """
    check_settings(settings)
    geometry = _geometry(settings, generator=_stream(seed, _GEOMETRY))
    placed = _placed(specimens, optics, settings, generator=_stream(seed, _PLACEMENT))
    truth = TiltSeriesTruth(
        name=name,
        optics=optics,
        size=(settings.size[1], settings.size[0]),
        thickness=settings.thickness,
        dose=settings.dose,
        bead_radius=settings.bead_radius,
        **geometry,
        **placed,
    )
    states = specimens.states
    state = placed["specimen"]
    scene = _scene(truth, specimens, state)
    conformation = torch.tensor([each.conformation for each in states], dtype=torch.float64)[state]
    truth = replace(
        truth,
        specimen=specimens.sources[state],
        conformation=conformation,
        specimen_names=tuple(dict.fromkeys(each.name for each in states)),
    )
    instrument = Instrument(
        gun=Gun(energy_spread_ev=settings.energy_spread_ev, convergence=settings.convergence),
        lens=ObjectiveLens(chromatic_aberration_mm=settings.chromatic_aberration_mm),
        camera=replace(CAMERAS[settings.camera], noise=settings.noise),
    )
    return SimulatedSeries(truth=truth, scene=scene, canvas=_canvas(truth), instrument=instrument, settings=settings, seed=seed)


def series_seed(seed: int, number: int) -> int:
    """The seed of series `number` of a simulation with this seed."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0]) >> 1


def _stream(seed: int, number: int) -> torch.Generator:
    """The generator of one part of a series, keyed by the series' seed and the part's number."""
    return torch.Generator().manual_seed(series_seed(seed, number))


def _geometry(settings: TiltSeriesSimulationSettings, *, generator: torch.Generator) -> dict[str, Any]:
    """Tilts sorted by nominal angle: rotations, shifts, defocus, and the dose before each in the order of acquisition."""
    taken = tilt_angles(
        settings.scheme,
        largest=math.radians(settings.largest_tilt_degrees),
        step=math.radians(settings.tilt_step_degrees),
    )
    count = len(taken)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    by_angle = torch.argsort(taken)
    order = by_angle.clone()  # the acquisition at each place of the sorted series
    true = taken + math.radians(settings.tilt_error_degrees) * normal(count)
    shift = settings.shift_error * normal(count, 2)
    low, high = settings.defocus_range
    uniform = torch.rand(2, generator=generator, dtype=torch.float64)
    mean = low + (high - low) * uniform[0] + settings.defocus_error * normal(count)
    half_difference = (settings.astigmatism * normal(1)).abs() / 2
    axis = torch.tensor(math.radians(settings.tilt_axis_degrees), dtype=torch.float64)
    true = true[by_angle]
    plain = torch.zeros(count, dtype=torch.float64)
    return {
        "tilt_axis": float(axis) + math.pi / 2,
        "tilt_angle": taken[by_angle],
        "true_tilt_angle": true,
        "lab_from_specimen": matrix_about_axis(axis, axis="z") @ matrix_about_axis(true, axis="y"),
        "shift": shift[by_angle],
        "dose_before": settings.dose * order.double(),
        "order": order,
        "defocus": Defocus(
            major=(mean + half_difference)[by_angle],
            minor=(mean - half_difference)[by_angle],
            azimuth=plain + math.pi * uniform[1],
            phase_shift=plain,
            b_factor=plain + settings.b_factor if settings.b_factor else None,
        ),
    }


def _extent(optics: Optics, settings: TiltSeriesSimulationSettings) -> tuple[float, float]:
    """How much of the specimen any tilt sees across and along the tilt axis, Å."""
    width, height = (side * optics.pixel_size for side in settings.size)
    axis, tilt = math.radians(settings.tilt_axis_degrees), math.radians(settings.largest_tilt_degrees)
    cosine, sine = abs(math.cos(axis)), abs(math.sin(axis))
    across = width * cosine + height * sine
    along = width * sine + height * cosine
    moved = 6 * settings.shift_error
    return (across + moved) / math.cos(tilt) + settings.thickness * math.tan(tilt), along + moved


def _placed(
    specimens: Specimens, optics: Optics, settings: TiltSeriesSimulationSettings, *, generator: torch.Generator
) -> dict[str, Any]:
    """Particles and beads in the specimen's frame; `specimen` holds the states until the scene is made."""
    across, along = _extent(optics, settings)
    field = settings.size[0] * settings.size[1] * optics.pixel_size**2
    ratio = across * along / field
    middle = torch.tensor([across / 2, along / 2, 0.0], dtype=torch.float64)
    delivery = deliver(
        DeliverySettings(count=round(settings.particles * ratio), ice_thickness=settings.thickness, separation="volume"),
        field=(across, along),
        specimens=[ParticleKind(radius=state.radius, weight=state.weight, mass=state.mass) for state in specimens.states],
        generator=generator,
    )
    beads = round(settings.beads * ratio)
    draws = torch.rand(beads, 3, generator=generator, dtype=torch.float64)
    height = (settings.thickness / 2 + settings.bead_radius) * torch.where(draws[:, 2] < 0.5, -1.0, 1.0)
    flat = (draws[:, :2] - 0.5) * torch.tensor([across, along], dtype=torch.float64)
    return {
        "positions": delivery.positions.double() - middle,
        "specimen_from_particle": delivery.lab_from_particle.double(),
        "specimen": delivery.specimen,
        "conformation": torch.zeros(len(delivery.positions), dtype=torch.float64),
        "bead_positions": torch.cat([flat, height[:, None]], dim=1),
    }


def _scene(truth: TiltSeriesTruth, specimens: Specimens, state: Tensor) -> Scene:
    """The particles in the untilted field of the camera, positions from its corner."""
    origin = [truth.size[1] // 2 * truth.optics.pixel_size, truth.size[0] // 2 * truth.optics.pixel_size, 0.0]
    return Scene(
        specimens=specimens,
        optics=truth.optics,
        size=truth.size,
        positions=truth.positions + torch.tensor(origin, dtype=torch.float64),
        lab_from_particle=truth.specimen_from_particle,
        state=state,
    )


def _canvas(truth: TiltSeriesTruth) -> Canvas:
    """The sheet that is large enough for the largest underfocus of any point in any tilt."""
    half = math.hypot(*truth.size) / 2 * truth.optics.pixel_size
    steepest = float(truth.true_tilt_angle.abs().max())
    largest = truth.defocus.major.abs().max() + half * math.tan(steepest) + truth.thickness / math.cos(steepest)
    zero = torch.zeros((), dtype=torch.float64)
    return canvas_for(truth.optics, Defocus(major=largest, minor=largest, azimuth=zero, phase_shift=zero), size=truth.size)


def tilt_image(series: SimulatedSeries, tilt: int) -> Float[Tensor, "h w"]:
    """Tilt number `tilt` of the series (sorted by nominal angle) in the camera's units, protein dark.

    Expected electrons are dose · pixel size² · (what ice of thickness t / cos θ lets through) · intensity, the intensity 1 − 2 σₑ · image and the beads' own.
    """
    source = _stream(series.seed, _TILTS + tilt)
    truth, settings, canvas = series.truth, series.settings, series.canvas
    intensity = noiseless_intensity(series, tilt, generator=source)
    path = settings.thickness / math.cos(float(truth.true_tilt_angle[tilt]))
    passed = float(absorption.transmitted_fraction(path, voltage_kv=truth.optics.voltage_kv))
    camera = series.instrument.camera
    margin = camera_margin(canvas, camera)
    window = replace(canvas, inner=(canvas.inner[0] + margin[0], canvas.inner[1] + margin[1]))
    seen = window.crop(intensity) * passed + (0.0 if settings.energy_filter == "slit" else 1 - passed)
    expected = seen.mul_(electrons_per_pixel(truth.optics, dose=settings.dose)).clamp_(min=0)
    return centre_of(record(expected, camera, generator=source), canvas.inner).contiguous()


def noiseless_intensity(series: SimulatedSeries, tilt: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "h w"]:
    """The intensity of this tilt on the canvas relative to the beam; without a generator the ice is smooth."""
    truth, settings, canvas = series.truth, series.settings, series.canvas
    optics, defocus = truth.optics, truth.defocus_of(tilt)
    gun, lens = series.instrument.gun, series.instrument.lens
    layers = project_particles(series.scene, canvas=canvas, view=view_of(series, tilt))
    image = transfer_layers(layers, optics, defocus, gun=gun, lens=lens)
    if generator is not None and settings.ice == "grainy":
        image += image_of_ice(truth, tilt, canvas=canvas, instrument=series.instrument, generator=generator)
    intensity = image.mul_(-2 * interaction_constant(optics.voltage_kv)).add_(1)
    add_beads(intensity, truth, tilt, canvas=canvas, instrument=series.instrument)
    return intensity


def view_of(series: SimulatedSeries, tilt: int) -> View:
    """The specimen turned and shifted as in this tilt, faded by the dose before and during it."""
    truth = series.truth
    before, dose, voltage = float(truth.dose_before[tilt]), truth.dose, truth.optics.voltage_kv

    def left(frequency: Tensor) -> Tensor:
        return damage.attenuation(frequency, dose_before=before, dose=dose, voltage_kv=voltage)

    return View(
        lab_from_specimen=truth.lab_from_specimen[tilt],
        displacement=truth.shift[tilt].expand(len(truth.positions), 2),
        amplitude=left if series.settings.damage == "critical_exposure" else None,
    )


def tilt_images(series: SimulatedSeries, *, start: int = 0) -> Iterator[Float[Tensor, "1 h w"]]:
    """The tilts one after the other, sorted by nominal angle, from number `start` on."""
    for tilt in range(start, len(series.truth.tilt_angle)):
        yield tilt_image(series, tilt)[None]
