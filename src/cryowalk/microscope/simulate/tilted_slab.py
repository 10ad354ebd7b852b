"""What a tilted slab adds to the image of its particles: ice with a defocus that changes over the field, and gold beads on its surfaces."""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.constants import interaction_constant
from cryowalk.data.optics import Defocus
from cryowalk.data.tilt_series_truth import TiltSeriesTruth
from cryowalk.fourier.grids import frequency_grid
from cryowalk.fourier.transform import filtered_image, filtering_half_spectrum
from cryowalk.microscope import support
from cryowalk.microscope.gun import coherence_envelope
from cryowalk.microscope.ice import projected_ice
from cryowalk.microscope.image_formation import image_of_wave
from cryowalk.microscope.lens import canvas_size, contrast_transfer, per_image
from cryowalk.microscope.simulate.instrument import Instrument
from cryowalk.microscope.simulate.scene import Canvas, add_boxes, whole_pixels
from cryowalk.microscope.tilted import tilted_heights

_GOLD = 79
_BEADS = 16  # imaged at a time
_STRIP_PHASE = 1.0  # rad, change of the aberration phase at Nyquist from one strip of ice to the next


def image_of_ice(
    truth: TiltSeriesTruth, tilt: int, *, canvas: Canvas, instrument: Instrument, generator: torch.Generator
) -> Float[Tensor, "h w"]:
    """The image of the ice's structure in a tilt in the weak-phase limit, V Å, on the canvas.

    The slab is t / cos θ thick along the beam, and its middle rises as tan θ over the field. Its molecules have all heights of that path, so that the local power
    spectrum is P(k) [½ (1 − s) + s · CTF²], s = sinc(λ t k² / cos θ), with the CTF of the local defocus. The field is made of strips of ice, each with one defocus,
    that pass into each other with weights whose squares add up to one. The beam stirs ice within a tilt's dose: every tilt has its own.
    """
    optics, size = truth.optics, canvas.size
    angle = float(truth.true_tilt_angle[tilt])
    path = truth.thickness / math.cos(angle)
    heights = tilted_heights(size, pixel_size=optics.pixel_size, tilt_angle=angle, tilt_axis=truth.tilt_axis, like=torch.zeros(0))
    kx, ky = frequency_grid(size, pixel_size=optics.pixel_size)
    depth = torch.sinc((kx**2 + ky**2) * (optics.wavelength * path))
    defocus = replace(truth.defocus_of(tilt), b_factor=None)
    total = torch.zeros(size)
    for height, weight in _strips(heights, spacing=_spacing(truth)):
        at_height = replace(defocus, major=defocus.major + height, minor=defocus.minor + height)
        transfer = contrast_transfer(optics, at_height, size=size).float()
        ice = projected_ice(size, pixel_size=optics.pixel_size, thickness=path, generator=generator)
        spectrum = filtering_half_spectrum(ice).mul_(torch.sqrt((1 - depth) / 2 + depth * transfer**2))
        total += filtered_image(spectrum, width=size[1]).mul_(weight)
    return _with_envelope(total, truth, tilt, instrument=instrument)


def _spacing(truth: TiltSeriesTruth) -> float:
    """The difference in height of neighbouring strips, Å."""
    nyquist = 0.5 / truth.optics.pixel_size
    return _STRIP_PHASE / (math.pi * truth.optics.wavelength * nyquist**2)


def _strips(heights: Float[Tensor, "h w"], *, spacing: float) -> "list[tuple[float, Tensor]]":
    """Heights of strips and their weights over the field: cosines between neighbours, so that the squares add up to one."""
    low, high = float(heights.min()), float(heights.max())
    count = max(1, math.ceil((high - low) / spacing))
    if count == 1:
        return [((low + high) / 2, torch.ones_like(heights))]
    step = (high - low) / (count - 1)
    place = (heights - low) / step
    return [(low + number * step, torch.cos(math.pi / 2 * (place - number).abs().clamp(max=1))) for number in range(count)]


def _with_envelope(image: Float[Tensor, "h w"], truth: TiltSeriesTruth, tilt: int, *, instrument: Instrument) -> Tensor:
    """The image with the gun's envelopes at the tilt's mean defocus and its B-factor; they vary little over the field."""
    defocus, size = truth.defocus_of(tilt), (image.shape[0], image.shape[1])
    kx, ky = frequency_grid(size, pixel_size=truth.optics.pixel_size, dtype=torch.float64)
    envelope = coherence_envelope(
        kx, ky, optics=truth.optics, defocus=per_image(defocus), gun=instrument.gun, lens=instrument.lens
    )
    if defocus.b_factor is not None:
        envelope = envelope * torch.exp(-defocus.b_factor / 4 * (kx**2 + ky**2))
    return filtered_image(filtering_half_spectrum(image).mul_(envelope.float()), width=size[1])


def add_beads(
    intensity: Float[Tensor, "h w"], truth: TiltSeriesTruth, tilt: int, *, canvas: Canvas, instrument: Instrument
) -> None:
    """Add to the intensity, in place, what each gold bead takes from it: |lens (exp(iσₑ v − t / 2Λ))|² − 1, formed about the bead with its own defocus.

    Beads are strong: their phase is several radians, and they stop a good part of the beam.
    """
    if not len(truth.bead_positions):
        return
    place = truth.seen(truth.bead_positions)[tilt]
    every = truth.defocus_of(tilt)
    deepest = replace(every, major=every.major + place[:, 2].abs().max(), b_factor=None)
    reach = truth.bead_radius + canvas.pixel_size
    side = canvas_size(truth.optics, deepest, box=2 * math.ceil(reach / canvas.pixel_size) + 2)
    pixels, rests = whole_pixels(place[:, :2] * canvas.pixel_size, canvas)
    height, width = canvas.size
    limit = torch.tensor([width, height])
    is_seen = ((pixels + side // 2 >= 0) & (pixels - side // 2 <= limit)).all(dim=1)
    for some in torch.split(torch.nonzero(is_seen)[:, 0], _BEADS):
        beads = _bead_intensities(truth, rests[some], _at_heights(every, place[some, 2]), side=side, instrument=instrument)
        add_boxes(intensity, beads - 1, pixels[some])


def _at_heights(defocus: Defocus, heights: Float[Tensor, " beads"]) -> Defocus:
    """The defocus of each bead."""
    return Defocus(
        major=defocus.major + heights,
        minor=defocus.minor + heights,
        azimuth=defocus.azimuth.expand(len(heights)),
        phase_shift=defocus.phase_shift.expand(len(heights)),
    )


def _bead_intensities(
    truth: TiltSeriesTruth, rests: Float[Tensor, "beads 2"], defocus: Defocus, *, side: int, instrument: Instrument
) -> Float[Tensor, "beads side side"]:
    """The intensity of each bead on a small sheet of its own, its middle `rests` (Å) beyond the origin pixel."""
    optics = truth.optics
    middles = side // 2 * optics.pixel_size + rests
    radius, size = truth.bead_radius, (side, side)
    paths = [support.bead_thickness(middle[None], radius=radius, size=size, pixel_size=optics.pixel_size) for middle in middles]
    path = torch.stack(paths)
    strength = interaction_constant(optics.voltage_kv)
    absorbed = strength * support.absorbing_potential(path, atomic_number=_GOLD, voltage_kv=optics.voltage_kv)
    wave = torch.polar(torch.exp(-absorbed), strength * support.gold_mean_inner_potential() * path)
    return image_of_wave(wave.to(torch.complex64), optics, defocus, gun=instrument.gun, lens=instrument.lens).float()
