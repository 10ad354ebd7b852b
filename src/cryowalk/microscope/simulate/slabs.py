"""A scene cut into slices along the beam, for the models of scattering that need more than its projection: phase grating, Ewald sphere, multislice.

Slices are made one after the other, and of each particle only while the beam passes it: memory holds the planes of the particles that the current slice cuts.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.data.pose import Pose
from cryowalk.data.volume import Volume
from cryowalk.fourier.filters import shift_images
from cryowalk.fourier.grids import frequency_grid, radius_of
from cryowalk.fourier.transform import filtered_image, filtering_half_spectrum, to_fourier, to_real
from cryowalk.microscope.ice import ice_slice
from cryowalk.microscope.image_formation import image_of_wave
from cryowalk.microscope.micrograph_settings import MicrographSimulationSettings
from cryowalk.microscope.scattering import Scattering, exit_wave, slices_of_volume
from cryowalk.microscope.simulate.background import Grain, canvas_thickness, draw_grain, stirred
from cryowalk.microscope.simulate.drawing import Drawing, sheets
from cryowalk.microscope.simulate.instrument import Filter, Instrument, stirring
from cryowalk.microscope.simulate.scene import Canvas, Scene, View, add_boxes, project_particles, whole_pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Slab:
    """How a specimen is cut: `count` slices of `thickness` Å, symmetric about z = 0."""

    count: int
    thickness: float

    def interval(self, number: int) -> tuple[float, float]:
        """Where the slice begins and ends along the beam, Å."""
        begin = (number - self.count / 2) * self.thickness
        return begin, begin + self.thickness


def strong_intensity(
    drawing: Drawing, settings: MicrographSimulationSettings, *, instrument: Instrument, amplitude: Filter | None
) -> Float[Tensor, "h w"]:
    """The intensity of the image on the canvas relative to the beam, by the settings' model of scattering."""
    optics = drawing.scene.optics
    if settings.scattering == "phase_grating":
        slices = flat_slices(drawing, settings, amplitude)
    else:
        slab = slab_of(drawing, thickness=settings.slice_thickness)
        slices = thick_slices(drawing, settings, slab=slab, amplitude=amplitude)
    method: Scattering = "weak_phase" if settings.scattering == "projection" else settings.scattering
    wave = exit_wave(slices, optics=optics, slice_thickness=settings.slice_thickness, method=method)
    sharp = replace(drawing.defocus, b_factor=None)
    intensity = image_of_wave(wave, optics, sharp, gun=instrument.gun, lens=instrument.lens)
    return _blurred(intensity.float(), drawing)


def slab_of(drawing: Drawing, *, thickness: float) -> Slab:
    """The slices that hold the ice and every particle."""
    scene = drawing.scene
    reach = max(drawing.thickness.middle, drawing.thickness.rim) / 2
    if len(scene):
        radii = torch.tensor([(volume.voxels.shape[0] // 2 + 0.5) * volume.voxel_size for volume in scene.specimens.volumes])
        reach = max(reach, float((scene.positions[:, 2].abs().cpu() + radii[scene.state.cpu()]).max()))
    return Slab(count=2 * math.ceil(reach / thickness), thickness=thickness)


def flat_slices(drawing: Drawing, settings: MicrographSimulationSettings, amplitude: Filter | None) -> Iterator[Tensor]:
    """Everything projected into one plane."""
    canvas, scene = drawing.canvas, drawing.scene
    total = project_particles(scene, canvas=canvas, view=View(amplitude=amplitude, is_flat=True)).in_phase
    if settings.ice != "smooth":
        source = drawing.streams.generator("ice", device=total.device)
        grain = draw_grain(canvas, thickness=drawing.thickness, optics=scene.optics, generator=source)
        total += stirred(grain, canvas, amplitude=stirring(settings, voltage_kv=scene.optics.voltage_kv)).first
    for sheet, _ in sheets(drawing):
        total += sheet
    yield total


def thick_slices(
    drawing: Drawing, settings: MicrographSimulationSettings, *, slab: Slab, amplitude: Filter | None
) -> Iterator[Tensor]:
    """The projected potential of one slice of the field after the other, V Å, along the beam."""
    scene, canvas = drawing.scene, drawing.canvas
    device = scene.positions.device
    volumes = [faded(volume, amplitude) for volume in scene.specimens.volumes]
    depth = canvas_thickness(drawing.thickness, canvas, device=device)
    source = drawing.streams.generator("ice", device=device)
    left = stirring(settings, voltage_kv=scene.optics.voltage_kv)
    layers = [(sheet, slab_number(slab, height)) for sheet, height in sheets(drawing)]
    first, last = cut_slices(scene, slab)
    held: dict[int, Tensor] = {}
    for number in range(slab.count):
        total = torch.zeros(canvas.size, device=device)
        for particle in torch.nonzero((first <= number) & (number <= last))[:, 0].tolist():
            if particle not in held:
                volume = volumes[int(scene.state[particle])]
                held[particle] = sliced_particle(scene, particle, volume, slab=slab)
            pixel, _ = whole_pixels(scene.positions[particle : particle + 1, :2], canvas)
            add_boxes(total, held[particle][number - int(first[particle])][None], pixel)
            if number == int(last[particle]):
                del held[particle]
        if settings.ice != "smooth":
            ice = ice_slice(
                canvas.size, pixel_size=canvas.pixel_size, interval=slab.interval(number), thickness=depth, generator=source
            )
            total += stirred(Grain(ice, None), canvas, amplitude=left).first
        for sheet, place in layers:
            if place == number:
                total += sheet
        yield total


def slab_number(slab: Slab, height: float) -> int:
    """The slice that holds this height; the first or last where it lies outside."""
    return min(max(math.floor(height / slab.thickness + slab.count / 2), 0), slab.count - 1)


def cut_slices(scene: Scene, slab: Slab) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """The numbers of the first and of the last slice that cut each particle's box."""
    halves = [(volume.voxels.shape[0] // 2 + 0.5) * volume.voxel_size for volume in scene.specimens.volumes]
    half = torch.tensor(halves, dtype=torch.float64)[scene.state.cpu()]
    z = scene.positions[:, 2].cpu()
    first, last = (torch.floor(edge / slab.thickness + slab.count / 2).long() for edge in (z - half, z + half))
    return first.clamp(0, slab.count - 1), last.clamp(0, slab.count - 1)


def sliced_particle(scene: Scene, particle: int, volume: Volume, *, slab: Slab) -> Float[Tensor, "slices box box"]:
    """The particle's part of each slice that cuts it, V Å, moved by the part of its place that is no whole pixel.

    The turned volume's planes, one voxel thick, are shared between the slices that they lie in at the particle's height.
    """
    rotation = scene.lab_from_particle[particle : particle + 1]
    pose = Pose(lab_from_particle=rotation, shift=rotation.new_zeros(1, 2))
    planes = slices_of_volume(volume, pose, slice_thickness=volume.voxel_size)[0]
    count, voxel = len(planes), volume.voxel_size
    middle = float(scene.positions[particle, 2]) + (torch.arange(count, dtype=torch.float64) - (count - 1) / 2) * voxel
    first, last = (int(edge[particle]) for edge in cut_slices(scene, slab))
    begins = torch.tensor([slab.interval(number)[0] for number in range(first, last + 1)], dtype=torch.float64)[:, None]
    top = torch.minimum(middle + voxel / 2, begins + slab.thickness)
    share = (top - torch.maximum(middle - voxel / 2, begins)).clamp_min(0) / voxel
    boxes = (share.to(planes) @ planes.reshape(count, -1)).reshape(-1, *planes.shape[1:])
    canvas = Canvas(size=scene.size, inner=scene.size, pixel_size=scene.optics.pixel_size)
    _, rest = whole_pixels(scene.positions[particle : particle + 1, :2], canvas)
    return shift_images(boxes, rest[0].to(boxes), pixel_size=voxel)


def faded(volume: Volume, amplitude: Filter | None) -> Volume:
    """The volume with its spectrum multiplied by a function of spatial frequency (1/Å)."""
    if amplitude is None:
        return volume
    box = volume.voxels.shape[0]
    frequency = radius_of(*frequency_grid((box, box, box), pixel_size=volume.voxel_size, like=volume.voxels))
    spectrum = to_fourier(volume.voxels, dimensions=3) * amplitude(frequency)
    return replace(volume, voxels=to_real(spectrum, width=box, dimensions=3))


def _blurred(intensity: Float[Tensor, "h w"], drawing: Drawing) -> Float[Tensor, "h w"]:
    """The image with the B-factor of its envelope."""
    if drawing.defocus.b_factor is None:
        return intensity
    kx, ky = frequency_grid(drawing.canvas.size, pixel_size=drawing.canvas.pixel_size, like=intensity)
    decay = torch.exp((kx**2 + ky**2) * (-float(drawing.defocus.b_factor) / 4))
    return filtered_image(filtering_half_spectrum(intensity).mul_(decay), width=drawing.canvas.size[1])
