"""How single particles are recorded: projections or slices, ice about them, the lens, and the camera that counts.

Everything random of image i comes from a generator of its own, keyed by the simulation's seed and i, so that images may be made in any batches and by any
worker.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.constants import interaction_constant
from cryowalk.data.camera import Camera
from cryowalk.data.instrument import Gun, ObjectiveLens
from cryowalk.data.optics import Defocus, Optics
from cryowalk.data.pose import Pose
from cryowalk.data.volume import Volume
from cryowalk.fourier.filters import shift_phases
from cryowalk.fourier.grids import frequency_radius
from cryowalk.fourier.transform import resize, to_fourier, to_real
from cryowalk.microscope import absorption, damage
from cryowalk.microscope.aberrations import has_odd_terms
from cryowalk.microscope.camera import CAMERAS, expected_image, record
from cryowalk.microscope.contamination import contaminants
from cryowalk.microscope.delivery_settings import ContaminationSettings
from cryowalk.microscope.exposure import expected_intensity, images_of_counts
from cryowalk.microscope.ice import MEAN_SQUARE_DISPLACEMENT, projected_ice
from cryowalk.microscope.image_formation import FormedImages, image_of_wave
from cryowalk.microscope.lens import antisymmetric_factor, contrast_transfer
from cryowalk.microscope.scattering import exit_wave, slices_of_volume
from cryowalk.microscope.settings import ParticleSimulationSettings

_CONTAMINANT = (0.25, 0.7)  # radii of a contaminant that is drawn, of half the image
_RESIDUES_OF_BALL = 4 / 3 * math.pi / 180  # 1/Å³: of a loose clump
_FRAMES = 64  # that an exposure is divided into, to see how ice moves meanwhile
_SAMPLES = 256  # of a curve over frequency
_MARGIN = 8  # pixels that the camera sees beyond each side of an image: its blur does not come round from the other side


class Instrument(NamedTuple):
    """What stands between the specimen and the file, as the settings name it."""

    optics: Optics
    gun: Gun
    lens: ObjectiveLens
    camera: Camera
    settings: ParticleSimulationSettings
    canvas: int

    @property
    def transmitted(self) -> float:
        """The fraction of the electrons that the ice does not scatter inelastically."""
        return float(absorption.transmitted_fraction(self.settings.ice_thickness, voltage_kv=self.optics.voltage_kv))

    @property
    def side(self) -> int:
        """The side of what the camera sees, pixels: the image and a margin, as far as there is room."""
        box = self.settings.box
        return box + 2 * min(_MARGIN, (self.canvas - box) // 2)


def instrument_for(settings: ParticleSimulationSettings, optics: Optics, *, canvas: int) -> Instrument:
    """The gun, the lens and the camera of these settings."""
    gun = Gun(energy_spread_ev=settings.energy_spread_ev, convergence=settings.convergence)
    lens = ObjectiveLens(chromatic_aberration_mm=settings.chromatic_aberration_mm)
    return Instrument(optics, gun, lens, CAMERAS[settings.camera], settings, canvas)


def generator_of_image(seed: int, index: int) -> torch.Generator:
    """The generator of everything random in image `index`, keyed by both numbers."""
    key = np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(key) >> 1)


def fading(settings: ParticleSimulationSettings, *, voltage_kv: float) -> Callable[[Tensor], Tensor]:
    """What radiation damage leaves of the specimen's amplitudes over the exposure (`damage.left_in_sum`), as a function of spatial frequency (1/Å)."""
    kind, dose = settings.damage, settings.dose
    if kind == "none":
        return torch.ones_like
    return lambda frequency: damage.left_in_sum(frequency, kind=kind, dose=dose, voltage_kv=voltage_kv)


def ice_left(
    frequency: Float[Tensor, "*shape"], settings: ParticleSimulationSettings, *, voltage_kv: float
) -> Float[Tensor, "*shape"]:
    """The amplitude of ice in the exposure's sum relative to ice that stands still, at spatial frequencies in 1/Å.

    The beam stirs the ice: after the dose s its correlation is exp(−γs), γ = 2π² k² ⟨r²⟩ / 3. The sum of frames with weights w, Σ w² = 1, has the power
    (1/F) Σ_f Σ_g w_f w_g exp(−γ|s_f − s_g|) times that of one frame; √ of it is returned.

    Source: McMullan, Vinothkumar & Henderson, Ultramicroscopy 158, 26 (2015), for the movement.
    """
    largest = float(frequency.max()) or 1.0
    table = torch.linspace(0, largest, _SAMPLES, dtype=torch.float64)
    dose = (torch.arange(_FRAMES, dtype=torch.float64) + 0.5) * settings.dose / _FRAMES
    rate = 2 * math.pi**2 * MEAN_SQUARE_DISPLACEMENT / 3 * table**2
    correlation = torch.exp(-rate * (dose[:, None, None] - dose[:, None]).abs())
    weights = torch.full((_FRAMES, _SAMPLES), _FRAMES**-0.5, dtype=torch.float64)
    if settings.damage == "dose_weighted":
        weights = damage.dose_weights(table, frames=_FRAMES, dose_per_frame=settings.dose / _FRAMES, voltage_kv=voltage_kv)
    left = torch.einsum("fk,fgk,gk->k", weights, correlation, weights).div(_FRAMES).sqrt()
    place = (frequency.double() / largest * (_SAMPLES - 1)).clamp(max=_SAMPLES - 1)
    below = place.floor().long().clamp(max=_SAMPLES - 2)
    return torch.lerp(left[below], left[below + 1], place - below).to(frequency.dtype)


def contamination_of_image(instrument: Instrument, *, generator: torch.Generator) -> Float[Tensor, "canvas canvas"]:
    """One contaminant whose middle lies in the image, on the canvas, V Å: a clump of denatured protein, or a crystal of ice.

    Both are drawn with sizes between a quarter and seven tenths of the image's.
    """
    side, pixel_size = instrument.canvas, instrument.optics.pixel_size
    length = instrument.settings.box * pixel_size
    low, high = _CONTAMINANT[0] * length / 2, _CONTAMINANT[1] * length / 2
    is_clump = bool(torch.rand((), generator=generator) < 0.5)
    residues = (round(_RESIDUES_OF_BALL * low**3), round(_RESIDUES_OF_BALL * high**3))
    settings = ContaminationSettings(
        ice_crystals=int(not is_clump), crystal_radius=(low, high), aggregates=int(is_clump), aggregate_residues=residues
    )
    middle = side // 2 * pixel_size
    while True:
        drawn = contaminants(settings, (side, side), pixel_size=pixel_size, generator=generator)
        if float((drawn.positions[0] - middle).abs().max()) <= 0.4 * length:
            return drawn.potential


def weak_images(
    objects: Float[Tensor, "n canvas canvas"],
    instrument: Instrument,
    defocus: Defocus,
    *,
    shift: Float[Tensor, "n 2"],
    generators: Sequence[torch.Generator] = (),
) -> FormedImages:
    """Images CTF ∗ (what damage leaves of the objects, moved by the shift, and the ice) in the weak-phase limit; V Å, with the camera's margin.

    The objects lie on the canvas.
    The CTF has the gun's envelopes and the odd aberrations. Without generators there is no ice. `signal_lost` is the part of the energy outside the box.
    """
    side, optics = instrument.canvas, instrument.optics
    size = (side, side)
    frequency = frequency_radius(size, pixel_size=optics.pixel_size, like=objects)
    spectra = to_fourier(objects) * fading(instrument.settings, voltage_kv=optics.voltage_kv)(frequency)
    spectra = spectra * shift_phases(size, shift.to(objects), pixel_size=optics.pixel_size)
    if generators and instrument.settings.ice_thickness > 0:
        spectra = spectra + _ice(instrument, generators, thickness=instrument.settings.ice_thickness)
    spectra = spectra * contrast_transfer(optics, defocus, size=size, gun=instrument.gun, lens=instrument.lens).to(objects.dtype)
    if has_odd_terms(optics.aberrations):
        spectra = spectra * antisymmetric_factor(optics, size=size, like=spectra)
    return _cut(to_real(spectra, width=side), instrument)


def strong_images(
    volume: Volume,
    instrument: Instrument,
    defocus: Defocus,
    *,
    pose: Pose,
    added: Float[Tensor, "n canvas canvas"],
    generators: Sequence[torch.Generator] = (),
) -> FormedImages:
    """The same by the settings' model of scattering, from slices of the turned volume: (1 − intensity) / (2 σₑ), V Å.

    Slices of ice lie about the particle and in front of and behind it, as many as the ice is thick; `added` (V Å) lies in the middle. An image with
    something added has no particle.
    """
    settings, optics = instrument.settings, instrument.optics
    waves = []
    for row in range(len(pose)):
        one = Pose(lab_from_particle=pose.lab_from_particle[row : row + 1], shift=pose.shift[row : row + 1])
        slices = slices_of_volume(volume, one, slice_thickness=settings.slice_thickness)[0]
        slices = _in_ice(resize(slices, instrument.canvas), instrument, generators[row : row + 1])
        slices[len(slices) // 2] += added[row]
        waves.append(exit_wave(slices, optics=optics, slice_thickness=settings.slice_thickness, method=settings.scattering))
    coherent = replace(defocus, b_factor=None)
    intensity = image_of_wave(torch.stack(waves), optics, coherent, gun=instrument.gun, lens=instrument.lens)
    return _cut(((1 - intensity) / (2 * interaction_constant(optics.voltage_kv))).to(added.dtype), instrument)


def faded_volume(volume: Volume, instrument: Instrument) -> Volume:
    """The volume as radiation damage and the B-factor leave it; both act alike on every slice."""
    depth, height, width = volume.voxels.shape
    frequency = frequency_radius((depth, height, width), pixel_size=volume.voxel_size, like=volume.voxels)
    left = fading(instrument.settings, voltage_kv=instrument.optics.voltage_kv)(frequency)
    left = left * torch.exp(-instrument.settings.b_factor / 4 * frequency**2)
    return replace(volume, voxels=to_real(to_fourier(volume.voxels, dimensions=3) * left, width=width, dimensions=3))


def _in_ice(slices: Float[Tensor, "slices h w"], instrument: Instrument, generators: Sequence[torch.Generator]) -> Tensor:
    """The slices with as many of ice, the particle in the middle."""
    thickness = instrument.settings.slice_thickness
    layers = round(instrument.settings.ice_thickness / thickness)
    layers += (layers - len(slices)) % 2  # the middles meet
    beyond = max(0, (layers - len(slices)) // 2)
    padded = torch.nn.functional.pad(slices, (0, 0, 0, 0, beyond, beyond))
    if generators:
        first = (len(padded) - layers) // 2
        for layer in range(first, first + layers):
            padded[layer] += to_real(_ice(instrument, generators, thickness=thickness), width=padded.shape[-1])[0]
    return padded


def _ice(instrument: Instrument, generators: Sequence[torch.Generator], *, thickness: float) -> Complex[Tensor, "n h half"]:
    """Half spectra of the projected potential of ice about its mean in the exposure's sum, one for each generator, V Å."""
    size, optics = (instrument.canvas, instrument.canvas), instrument.optics
    left = ice_left(frequency_radius(size, pixel_size=optics.pixel_size), instrument.settings, voltage_kv=optics.voltage_kv)
    fields = _each(
        lambda source: projected_ice(size, pixel_size=optics.pixel_size, thickness=thickness, generator=source), generators
    )
    return to_fourier(torch.stack(fields)) * left


def _cut(whole: Float[Tensor, "n h w"], instrument: Instrument) -> FormedImages:
    """What the camera sees of the canvas, and the energy that is lost outside the box."""
    energy = whole.square().sum(dim=(-2, -1))
    kept = resize(whole, instrument.settings.box).square().sum(dim=(-2, -1))
    return FormedImages(resize(whole, instrument.side), 1 - kept / energy.clamp_min(torch.finfo(energy.dtype).tiny))


def recorded_images(
    images: Float[Tensor, "n h w"], instrument: Instrument, *, generators: Sequence[torch.Generator]
) -> Float[Tensor, "n box box"]:
    """The images as the camera records them, turned back to V Å, protein bright: I₀ (1 − 2 σₑ · image) electrons are expected in a pixel, and counted."""
    expected = _expected(images, instrument)
    counts = torch.stack(
        _each(lambda pair: record(pair[0], instrument.camera, generator=pair[1]), zip(expected, generators, strict=True))
    )
    return _turned_back(counts, instrument)


def noiseless_images(images: Float[Tensor, "n h w"], instrument: Instrument) -> Float[Tensor, "n box box"]:
    """What `recorded_images` is on the average: the camera's blur without its noise."""
    return _turned_back(expected_image(_expected(images, instrument), instrument.camera), instrument)


def _expected(images: Tensor, instrument: Instrument) -> Tensor:
    """Expected electrons in each pixel. A slit stops the inelastically scattered ones; without it they are an even background."""
    settings, passed = instrument.settings, instrument.transmitted
    if settings.energy_filter == "slit":
        return expected_intensity(images, instrument.optics, dose=settings.dose * passed).clamp_min(0)
    return expected_intensity(passed * images, instrument.optics, dose=settings.dose).clamp_min(0)


def _turned_back(counts: Tensor, instrument: Instrument) -> Tensor:
    settings, passed = instrument.settings, instrument.transmitted
    electrons = resize(counts, settings.box) / instrument.camera.gain
    if settings.energy_filter == "slit":
        return images_of_counts(electrons, instrument.optics, dose=settings.dose * passed)
    return images_of_counts(electrons, instrument.optics, dose=settings.dose) / passed


def _each(work: Callable[[Any], Tensor], items: Iterable[Any]) -> list[Tensor]:
    """The work on each item, shared among as many threads as torch has, each item in one: small images are not worth more."""
    with ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(work, items))
