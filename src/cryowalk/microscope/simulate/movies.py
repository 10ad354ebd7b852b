"""Movies with their truth: one frame after the other, while the specimen moves, fades, and its ice is stirred."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.constants import interaction_constant
from cryowalk.core.errors import UsageError
from cryowalk.core.execution import ImageSink, Progress, SilentProgress
from cryowalk.data.camera import Camera
from cryowalk.data.micrograph_truth import MicrographTruth
from cryowalk.data.motion import Motion
from cryowalk.data.optics import Optics
from cryowalk.fourier.grids import frequency_grid
from cryowalk.microscope import damage
from cryowalk.microscope.beam_motion import displacement, displacement_within, draw_motion, drift_transfer, field_of
from cryowalk.microscope.camera import Defects, record, record_raw
from cryowalk.microscope.delivery_settings import MotionSettings
from cryowalk.microscope.micrograph_settings import MovieSimulationSettings
from cryowalk.microscope.simulate.background import Grain, later_grain, with_grain
from cryowalk.microscope.simulate.drawing import Drawing, draw, sheets
from cryowalk.microscope.simulate.instrument import Filter, Instrument, instrument_for, tilted_beam
from cryowalk.microscope.simulate.micrographs import chosen, exposed, ice_of, truth_of
from cryowalk.microscope.simulate.scene import (
    Canvas,
    LayerSpectra,
    Slices,
    Transfer,
    View,
    image_of_spectra,
    project_particles,
    slices_of,
    spectra_of,
    transfer_for,
    with_sheet,
)
from cryowalk.microscope.simulate.specimens import Specimens
from cryowalk.numerics.sinc_warp import warp

_HELD_BYTES = 2**28  # of particles' slices that all frames share


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """The camera of all movies of a session: the factors that correct its raw frames, its broken pixels, and, where no preset is meant, its curves."""

    camera: Camera | None = None
    gain_reference: Float[Tensor, "h w"] | None = None
    defects: Defects | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Movie:
    """All that the frames of a movie are made from."""

    drawing: Drawing
    settings: MovieSimulationSettings
    instrument: Instrument
    transfer: Transfer
    motion: Motion | None
    slices: Slices | None

    @property
    def dose(self) -> float:
        """Dose of a frame, e⁻/Å²."""
        return self.settings.dose / self.settings.frames


def simulate_movie(
    specimens: Specimens,
    optics: Optics,
    *,
    generator: torch.Generator,
    sink: ImageSink,
    settings: MovieSimulationSettings | None = None,
    sensor: Sensor | None = None,
    progress: Progress | None = None,
    **choices: Any,
) -> MicrographTruth:
    """The truth of a movie whose frames went to `sink`, raw, in the camera's units, one at a time; on the generator's device.

    In frame f everything lies where the motion has it in the frame's middle, blurred by the way it goes during the frame; the particles' amplitudes
    are those that the dose so far has left, and the ice is that of the frame before, stirred by one frame's dose. Each particle moves by the displacement at its own place;
    ice, support and contamination by the smooth field, interpolated. Only one frame's arrays are held. With a `sensor` frames need the gain reference. `choices` are single settings
    that replace those in `settings`. The pixel size of the optics is that of the frames.

    Raises
    ------
    UsageError
        If a setting cannot be meant, or the field does not hold the particles.
    InputError
        If a specimen is larger than the field.
    """
    settings = chosen(settings or MovieSimulationSettings(), choices)
    progress = progress or SilentProgress()
    sensor = sensor or Sensor()
    instrument = replace(instrument_for(settings, sensor.camera), camera=movie_camera(settings, sensor.camera))
    movie = _prepared(specimens, tilted_beam(optics, settings), settings, instrument=instrument, generator=generator)
    source = movie.drawing.streams.generator("camera", device=generator.device)
    for expected in _expected_frames(movie):
        sink.write(_recorded(expected, movie.instrument.camera, sensor, generator=source)[None])
        progress.advance()
    truth = truth_of(movie.drawing, settings, name="")
    return replace(truth, motion=movie.motion, extra={**truth.extra, "frames": float(settings.frames)})


def movie_camera(settings: MovieSimulationSettings, camera: Camera | None = None) -> Camera:
    """The camera of a movie: one that counts places each electron in a pixel of the frames, and a frame's values are the electrons that it found."""
    camera = instrument_for(settings, camera).camera
    sampled = replace(camera, sampling=2 if settings.super_resolution == "2" else 1)
    if camera.mode != "counting":
        return sampled
    return replace(sampled, model="events", gain=camera.dqe.value[0])


def check_movie_settings(settings: MovieSimulationSettings) -> None:
    """Nothing, if the settings can be meant.

    Raises
    ------
    UsageError
        Otherwise.
    """
    if settings.scattering != "projection":
        raise UsageError(
            f"movies are simulated with the scattering model projection: got {settings.scattering}",
            fix="simulate micrographs with that model, or movies by projection",
        )
    if settings.noise == "none" and settings.format == "eer":
        raise UsageError("an EER movie holds counted electrons, not an expected image", fix="give --format mrc, or noise poisson")


def _prepared(
    specimens: Specimens,
    optics: Optics,
    settings: MovieSimulationSettings,
    *,
    instrument: Instrument,
    generator: torch.Generator,
) -> _Movie:
    """The movie's content, lens and motion, before any frame."""
    check_movie_settings(settings)
    drawing = draw(specimens, optics, settings, generator=generator)
    motion = None
    if settings.motion == "drawn":
        names = MotionSettings.__dataclass_fields__.keys() & type(settings).__dataclass_fields__.keys()
        motion = draw_motion(
            MotionSettings(**{name: getattr(settings, name) for name in names}),
            frames=settings.frames,
            dose_per_frame=settings.dose / settings.frames,
            field=drawing.scene.field,
            generator=drawing.streams.generator("motion", device=generator.device),
        )
    return _Movie(
        drawing=drawing,
        settings=settings,
        instrument=instrument,
        transfer=transfer_for(drawing.canvas, optics, drawing.defocus, gun=instrument.gun, lens=instrument.lens),
        motion=motion,
        slices=slices_of(drawing.scene, limit=_HELD_BYTES),
    )


def _expected_frames(movie: _Movie) -> Iterator[Float[Tensor, "h w"]]:
    """Expected electrons in each pixel, frame by frame."""
    drawing, settings = movie.drawing, movie.settings
    places = drawing.scene.positions[:, :2]
    moved = None if movie.motion is None else displacement(movie.motion, places)
    grain = ice_of(drawing, settings)
    still = _still_background(movie)
    source = drawing.streams.generator("evolution", device=places.device)
    strength = -2 * interaction_constant(drawing.scene.optics.voltage_kv)
    for frame in range(settings.frames):
        if frame and grain is not None:
            grain = later_grain(grain, drawing.canvas, thickness=drawing.thickness, dose=movie.dose, generator=source)
        view = View(
            displacement=None if moved is None else moved[frame],
            amplitude=_fading(movie, frame),
            is_flat=settings.depth == "flat",
        )
        layers = project_particles(drawing.scene, canvas=drawing.canvas, view=view, slices=movie.slices)
        image = image_of_spectra(_blurred(spectra_of(layers), movie, frame), movie.transfer, canvas=drawing.canvas)
        image += _background(movie, grain, still, frame=frame)
        intensity = image.mul_(strength).add_(1)
        yield exposed(drawing.canvas.crop(intensity), drawing, settings, window=drawing.canvas, dose=movie.dose)


def _fading(movie: _Movie, frame: int) -> Filter | None:
    """What the dose so far leaves of the specimen's amplitudes during a frame."""
    if movie.settings.damage == "none":
        return None
    before = movie.settings.dose_before + frame * movie.dose
    voltage_kv = movie.drawing.scene.optics.voltage_kv
    return lambda frequency: damage.attenuation(frequency, dose_before=before, dose=movie.dose, voltage_kv=voltage_kv)


def _still_background(movie: _Movie) -> LayerSpectra | None:
    """The spectra of support and contamination where they lie in frame 0's frame of reference, or None without any."""
    found = sheets(movie.drawing)
    if not found:
        return None
    canvas, optics = movie.drawing.canvas, movie.drawing.scene.optics
    spectra = _empty(movie)
    for sheet, height in found:
        spectra = with_sheet(spectra, sheet, height=height, canvas=canvas, optics=optics)
    return spectra


def _background(movie: _Movie, grain: Grain | None, still: LayerSpectra | None, *, frame: int) -> Tensor | float:
    """The image of ice, support and contamination in a frame, V Å: formed where they lay, then moved by the smooth field.

    The lens is the same everywhere, so that imaging and a slowly varying movement change places.
    """
    if grain is None and still is None:
        return 0.0
    drawing = movie.drawing
    spectra = _empty(movie) if still is None else LayerSpectra(*(None if part is None else part.clone() for part in still))  # type: ignore[arg-type]
    if grain is not None:
        spectra = with_grain(spectra, grain, canvas=drawing.canvas, thickness=drawing.thickness, optics=drawing.scene.optics)
    image = image_of_spectra(_blurred(spectra, movie, frame), movie.transfer, canvas=drawing.canvas)
    if movie.motion is None or frame == 0:
        return image
    return warp(image, canvas_displacement(movie.motion, frame, canvas=drawing.canvas))


def canvas_displacement(motion: Motion, frame: int, *, canvas: Canvas) -> Float[Tensor, "2 h w"]:
    """The displacement of each pixel of the canvas in a frame, (x, y) in pixels, float32: the motion's field, drawn on beyond the micrograph."""
    top, left = canvas.corner
    width, height = motion.field
    # u and v count from the micrograph's corner: on the canvas they begin earlier by the corner's share of the field.
    step = (left * canvas.pixel_size / width, top * canvas.pixel_size / height)
    local = torch.zeros(2, 5, dtype=torch.float64) if motion.local is None else motion.local[frame].double().cpu()
    whole = motion.global_displacement[frame].double().cpu()
    a, b = -step[0], -step[1]  # u = u' + a, v = v' + b with u', v' of the canvas
    c1, c2, c3, c4, c5 = local.unbind(1)
    shifted = torch.stack(
        [
            whole + c1 * a + c2 * a**2 + c3 * b + c4 * b**2 + c5 * a * b,
            c1 + 2 * c2 * a + c5 * b,
            c2,
            c3 + 2 * c4 * b + c5 * a,
            c4,
            c5,
        ],
        dim=1,
    )
    pixels = (shifted / canvas.pixel_size).to(torch.float32)
    return field_of(pixels, motion.field, size=canvas.size, pixel_size=canvas.pixel_size)


def _blurred(spectra: LayerSpectra, movie: _Movie, frame: int) -> LayerSpectra:
    """The spectra times sinc(k · d), d the way that the middle of the field goes during the frame."""
    if movie.motion is None or movie.settings.frames == 1:
        return spectra
    scene, canvas = movie.drawing.scene, movie.drawing.canvas
    middle = torch.tensor([[side / 2 for side in scene.field]], dtype=torch.float64, device=scene.positions.device)
    way = displacement_within(movie.motion, middle)[frame, 0].float()
    if float(way.norm()) < 1e-3 * canvas.pixel_size:
        return spectra
    kx, ky = frequency_grid(canvas.size, pixel_size=canvas.pixel_size, like=way)
    factor = drift_transfer(kx, ky, drift=way)
    return LayerSpectra(*(None if part is None else part.mul_(factor) for part in spectra))  # type: ignore[arg-type]


def _empty(movie: _Movie) -> LayerSpectra:
    """Layers of nothing."""
    height, width = movie.drawing.canvas.size
    shape = (height, width // 2 + 1)
    device = movie.drawing.scene.positions.device
    nothing = torch.zeros(shape, dtype=torch.complex64, device=device)
    return LayerSpectra(nothing, None if movie.settings.depth == "flat" else torch.zeros_like(nothing))


def _recorded(expected: Tensor, camera: Camera, sensor: Sensor, *, generator: torch.Generator) -> Float[Tensor, "h w"]:
    """The raw frame."""
    if sensor.gain_reference is None:
        return record(expected, camera, generator=generator)
    return record_raw(expected, camera, gain_reference=sensor.gain_reference, defects=sensor.defects, generator=generator)
