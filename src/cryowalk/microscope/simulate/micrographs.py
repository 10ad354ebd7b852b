"""Micrographs with their truth: particles of several kinds in ice, as beam, lens and camera see them."""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.constants import interaction_constant
from cryowalk.core.errors import UsageError
from cryowalk.data.camera import Camera
from cryowalk.data.images import Micrograph
from cryowalk.data.micrograph_truth import Contaminants, MicrographTruth
from cryowalk.data.optics import Optics
from cryowalk.microscope import absorption, support
from cryowalk.microscope.camera import record
from cryowalk.microscope.contamination import KINDS
from cryowalk.microscope.delivery import IceThickness, mean_thickness, thickness_at
from cryowalk.microscope.detector_curves import is_flat
from cryowalk.microscope.exposure import electrons_per_pixel
from cryowalk.microscope.micrograph_settings import MicrographSimulationSettings
from cryowalk.microscope.simulate.background import Grain, canvas_thickness, draw_grain, is_even, stirred, with_grain
from cryowalk.microscope.simulate.drawing import Drawing, draw, film_on_canvas, particle_defocus, sheets
from cryowalk.microscope.simulate.instrument import Instrument, fading, instrument_for, stirring, tilted_beam
from cryowalk.microscope.simulate.scene import (
    Canvas,
    Layers,
    Transfer,
    View,
    image_of_spectra,
    project_particles,
    spectra_of,
    transfer_for,
    with_sheet,
)
from cryowalk.microscope.simulate.slabs import strong_intensity
from cryowalk.microscope.simulate.specimens import Specimens
from cryowalk.numerics.sizes import fast_length_from

_MARGIN = 8  # pixels that the camera sees beyond each side: its blur does not come round from the other side
_TRUTH_GRID = 33  # points a side at which the truth states the thickness of uneven ice
_CARBON = 6


def simulate_micrograph(
    specimens: Specimens,
    optics: Optics,
    *,
    generator: torch.Generator,
    settings: MicrographSimulationSettings | None = None,
    camera: Camera | str | None = None,
    name: str = "",
    **choices: Any,
) -> tuple[Micrograph, MicrographTruth]:
    """One micrograph in the camera's units, protein dark, and its truth; on the generator's device.

    Expected electrons in a pixel: dose · pixel size² · (part that the ice lets through) · intensity, the intensity formed on a canvas so large that nothing wraps
    round; then the camera counts. Everything follows from the generator's state. A `camera` stands for the preset that the settings name. `choices` are single
    settings that replace those in `settings`.

    Raises
    ------
    UsageError
        If a setting cannot be meant, or the field does not hold the particles.
    InputError
        If a specimen is larger than the field.
    """
    if isinstance(camera, str):
        choices["camera"], camera = camera, None
    settings = chosen(settings or MicrographSimulationSettings(), choices)
    optics = tilted_beam(optics, settings)
    instrument = instrument_for(settings, camera)
    drawing = draw(specimens, optics, settings, generator=generator)
    expected = expected_electrons(
        drawing, settings, instrument=instrument, margin=camera_margin(drawing.canvas, instrument.camera)
    )
    source = drawing.streams.generator("camera", device=generator.device)
    pixels = centre_of(record(expected, instrument.camera, generator=source), drawing.canvas.inner)
    micrograph = Micrograph(pixels=pixels.contiguous(), pixel_size=optics.pixel_size, name=name)
    return micrograph, truth_of(drawing, settings, name=name)


def chosen(settings: MicrographSimulationSettings, choices: dict[str, Any]) -> Any:
    """The settings with single choices put in place.

    Raises
    ------
    UsageError
        If there is no such setting.
    """
    known = type(settings).__dataclass_fields__
    unknown = sorted(set(choices) - set(known))
    if unknown:
        raise UsageError(f"there is no simulation setting {', '.join(unknown)}", expected=f"one of {', '.join(known)}")
    return replace(settings, **choices)


def expected_electrons(
    drawing: Drawing, settings: MicrographSimulationSettings, *, instrument: Instrument, margin: tuple[int, int] = (0, 0)
) -> Float[Tensor, "h w"]:
    """The expected number of electrons in each pixel, float32; `margin` (rows, columns) is what it shows more of the canvas, in all.

    The scattering model of the settings: "projection" is the weak-phase limit with every particle's own defocus (see `scene`), the others go by slices (see `slabs`).
    """
    amplitude = fading(settings, voltage_kv=drawing.scene.optics.voltage_kv)
    if settings.scattering == "projection":
        grain = ice_of(drawing, settings)
        if grain is not None:
            grain = stirred(grain, drawing.canvas, amplitude=stirring(settings, voltage_kv=drawing.scene.optics.voltage_kv))
        transfer = transfer_for(drawing.canvas, drawing.scene.optics, drawing.defocus, gun=instrument.gun, lens=instrument.lens)
        image = weak_image(drawing, settings, transfer=transfer, view=View(amplitude=amplitude), grain=grain)
        intensity = image.mul_(-2 * interaction_constant(drawing.scene.optics.voltage_kv)).add_(1)
    else:
        intensity = strong_intensity(drawing, settings, instrument=instrument, amplitude=amplitude)
    height, width = drawing.canvas.inner
    window = replace(drawing.canvas, inner=(height + margin[0], width + margin[1]))
    return exposed(window.crop(intensity), drawing, settings, window=window)


def weak_image(
    drawing: Drawing, settings: MicrographSimulationSettings, *, transfer: Transfer, view: View, grain: Grain | None
) -> Float[Tensor, "h w"]:
    """The image of all that lies in the field in the weak-phase limit on the canvas, V Å, protein bright."""
    is_flat_field = settings.depth == "flat"
    layers = project_particles(drawing.scene, canvas=drawing.canvas, view=replace(view, is_flat=is_flat_field))
    return image_with(layers, drawing, transfer=transfer, grain=grain)


def image_with(layers: Layers, drawing: Drawing, *, transfer: Transfer, grain: Grain | None) -> Float[Tensor, "h w"]:
    """The image of the particles' layers together with ice, support and contamination, V Å."""
    spectra = spectra_of(layers)
    optics, canvas = drawing.scene.optics, drawing.canvas
    for sheet, height in sheets(drawing):
        spectra = with_sheet(spectra, sheet, height=height, canvas=canvas, optics=optics)
    if grain is not None:
        spectra = with_grain(spectra, grain, canvas=canvas, thickness=drawing.thickness, optics=optics)
    return image_of_spectra(spectra, transfer, canvas=canvas)


def ice_of(drawing: Drawing, settings: MicrographSimulationSettings) -> Grain | None:
    """The grain of the ice before the beam stirs it, or None where it has none."""
    if settings.ice == "smooth":
        return None
    source = drawing.streams.generator("ice", device=drawing.scene.positions.device)
    optics = drawing.scene.optics
    return draw_grain(drawing.canvas, thickness=drawing.thickness, optics=optics, generator=source)


def exposed(
    intensity: Float[Tensor, "h w"],
    drawing: Drawing,
    settings: MicrographSimulationSettings,
    *,
    window: Canvas,
    dose: float | None = None,
) -> Float[Tensor, "h w"]:
    """Expected electrons in the pixels of a window on the canvas, from the intensity relative to the beam.

    A slit stops inelastically scattered electrons: dose · pixel size² · T · I. Without it they are an even background: T I + 1 − T.
    """
    optics = drawing.scene.optics
    passed = passed_fraction(drawing, window)
    result = intensity * passed if settings.energy_filter == "slit" else (intensity - 1) * passed + 1
    return result.mul_(electrons_per_pixel(optics, dose=settings.dose if dose is None else dose)).clamp_(min=0)


def passed_fraction(drawing: Drawing, window: Canvas) -> "float | Float[Tensor, 'h w']":
    """The part of the beam that ice and carbon let through without loss of energy, in each pixel of a window in the canvas's middle."""
    voltage_kv = drawing.scene.optics.voltage_kv
    inner = Canvas(size=window.inner, inner=drawing.canvas.inner, pixel_size=window.pixel_size)
    thickness = canvas_thickness(drawing.thickness, inner, device=drawing.scene.positions.device)
    passed: float | Tensor = absorption.transmitted_fraction(thickness, voltage_kv=voltage_kv)
    if drawing.film is None:
        return passed
    film = film_on_canvas(drawing.film, inner)
    carbon = support.film_thickness(film, inner.size, pixel_size=inner.pixel_size, device=drawing.scene.positions.device)
    return torch.exp(-carbon / support.mean_free_path(_CARBON, voltage_kv=voltage_kv)) * passed


def camera_margin(canvas: Canvas, camera: Camera) -> tuple[int, int]:
    """Rows and columns that a camera that blurs is to see beyond the micrograph, in all, as far as the canvas reaches."""
    if is_flat(camera.mtf) and is_flat(camera.dqe) and camera.pixel != "square":
        return 0, 0
    first, second = (
        min(fast_length_from(inner + 2 * _MARGIN), size) - inner for inner, size in zip(canvas.inner, canvas.size, strict=True)
    )
    return first, second


def centre_of(image: Float[Tensor, "h w"], inner: tuple[int, int]) -> Float[Tensor, "h2 w2"]:
    """The middle of an image, a view."""
    return Canvas(size=(image.shape[0], image.shape[1]), inner=inner, pixel_size=1.0).crop(image)


def truth_of(drawing: Drawing, settings: MicrographSimulationSettings, *, name: str) -> MicrographTruth:
    """What the simulation knows, on the CPU in double precision."""
    scene = drawing.scene
    states = scene.specimens.states
    state = scene.state.cpu()
    conformation = torch.tensor([each.conformation for each in states], dtype=torch.float64)
    names = tuple(dict.fromkeys(each.name for each in states))
    return MicrographTruth(
        name=name,
        size=scene.size,
        optics=scene.optics,
        defocus=drawing.defocus.to("cpu"),
        positions=scene.positions.cpu(),
        lab_from_particle=scene.lab_from_particle.cpu(),
        particle_defocus=particle_defocus(drawing, is_flat=settings.depth == "flat").to("cpu"),
        specimen=scene.specimens.sources[state],
        conformation=conformation[state],
        radius=scene.specimens.radii[state],
        side=drawing.side.cpu(),
        specimen_names=names,
        thickness=_thickness_grid(drawing.thickness, field=scene.field),
        contaminants=_contaminants(drawing),
        extra={
            "dose": settings.dose,
            "dose_before": settings.dose_before,
            "mean_thickness": mean_thickness(drawing.thickness, field=scene.field),
        },
    )


def _thickness_grid(thickness: IceThickness, *, field: tuple[float, float]) -> Float[Tensor, "rows columns"]:
    count = 2 if is_even(thickness) else _TRUTH_GRID
    x, y = (torch.linspace(0, side, count, dtype=torch.float64) for side in field)
    return thickness_at(thickness, x, y[:, None])


def _contaminants(drawing: Drawing) -> Contaminants | None:
    found = drawing.contamination
    if found is None:
        return None
    kinds = tuple(KINDS[number] for number in found.kind.tolist())
    return Contaminants(positions=found.positions.cpu(), radius=found.radius.cpu(), kind=kinds)
