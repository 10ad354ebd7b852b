"""Signal subtraction: what a map says lies outside a mask, taken out of each image as its microscope saw it.

y′ = y − a CTF P(V (1 − m)), P the projection in the particle's pose, m the mask, and a how strong the map is in the images of its micrograph.

Source: Bai, Rajendra, Yang, Shi & Scheres, eLife 4, e11182 (2015).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.core.execution import ImageSink, Progress, SilentProgress, batches
from cryowalk.data import ParticleSet, Pose, Volume
from cryowalk.fourier.filters import weights_on_spectrum
from cryowalk.fourier.slices import FourierVolume, extract_slices, prepare_volume
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.inference import initial_noise
from cryowalk.microscope.aberrations import has_odd_terms
from cryowalk.microscope.lens import antisymmetric_factor, contrast_transfer
from cryowalk.refinement.class_planning import mask_on
from cryowalk.refinement.duplicates import coordinate_pixel_size
from cryowalk.refinement.scale import fitted_scale, scale_groups
from cryowalk.refinement.starting_map import ImageGrid, image_grid, whole_map
from cryowalk.refinement.subtraction_settings import SubtractionSettings

BATCH = 256
ORIGINAL_NAME = "rlnImageOriginalName"
DEFAULT = SubtractionSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subtracted:
    """The particles as their new images show them (without these: they went to the sink), and what the new images are to be compared with.

    `kept` is V m and `mask` m, about the same middle and in the same box as the new images. `scale` is the factor a of each particle; of `cut` images the new box
    reached beyond the old one, and was filled with zeros there.
    """

    particles: ParticleSet
    kept: Volume
    mask: Volume
    scale: Float[Tensor, " n"]
    cut: int


def subtract(
    particles: ParticleSet,
    volume: Volume,
    mask: Volume,
    settings: SubtractionSettings = DEFAULT,
    *,
    sink: ImageSink,
    progress: Progress | None = None,
) -> Subtracted:
    """The particles without the signal of the map outside the mask; the new images are written to the sink, in order.

    Raises
    ------
    InputError
        If images, poses or CTF parameters are missing, nothing lies outside or inside the mask, or the map does not resemble the images.
    """
    progress = progress or SilentProgress()
    grid = _grid(particles, settings)
    whole = whole_map(volume, grid, progress=progress)
    weight = mask_on(mask, grid, progress)
    if not bool((whole.voxels * (1 - weight)).any()):
        raise InputError("nothing of the map lies outside the mask", fix="give a mask of the part that is to stay")
    outside = prepare_volume(replace(whole, voxels=whole.voxels * (1 - weight)))
    scale = torch.ones(len(particles)) if settings.scale == "none" else _scales(particles, whole, settings, progress)
    point = _centre_of(weight, grid) if settings.middle == "mask" else torch.zeros(3, dtype=torch.float64)
    moved = _moved(particles, point, settings, box=grid.box)
    progress.start("subtracting", len(particles))
    cut = 0
    for rows, images in _images(particles):
        rest = to_real(predicted(outside, particles[rows]), width=grid.box)
        images = images - scale[rows].to(images)[:, None, None] * rest.to(images)
        if moved.box is not None:
            images, reaches = windows(images, moved.middle[rows], box=moved.box)
            cut += int(reaches.sum())
        sink.write(images)
        progress.advance(len(rows))
    kept = Volume(voxels=whole.voxels * weight, voxel_size=grid.pixel_size)
    maps = [kept, Volume(voxels=weight, voxel_size=grid.pixel_size)]
    if moved.box is not None:
        shift = (point / grid.pixel_size).round().long()
        maps = [replace(one, voxels=window_of(one.voxels, shift, box=moved.box)) for one in maps]
    return Subtracted(particles=moved.particles, kept=maps[0], mask=maps[1], scale=scale, cut=cut)


def predicted(reference: FourierVolume, particles: ParticleSet) -> Complex[Tensor, "n box half"]:
    """The half spectra of what a map looks like in these particles' images: projected, moved, with CTF and odd aberrations.

    Raises
    ------
    InputError
        If poses or CTF parameters are missing.
    """
    pose, defocus = particles.pose, particles.defocus
    if pose is None or defocus is None:
        raise InputError("the particles lack poses or CTF parameters", expected="angles, origins and rlnDefocusU in every row")
    box = reference.box
    factor = torch.empty(len(particles), box, box // 2 + 1)
    groups = [
        (number, optics, (particles.optics_index == number).nonzero().flatten()) for number, optics in enumerate(particles.optics)
    ]
    for _, optics, rows in groups:
        if len(rows):
            ctf = contrast_transfer(optics, defocus[rows].to(torch.float32), size=(box, box))
            factor[rows] = ctf.square() if optics.is_premultiplied else ctf
    spectra = extract_slices(reference, pose.lab_from_particle.float(), factor=factor, shift=pose.shift.float())
    for _, optics, rows in groups:
        if len(rows) and has_odd_terms(optics.aberrations):
            spectra[rows] = spectra[rows] * antisymmetric_factor(optics, size=(box, box), like=spectra)
    return spectra


def windows(images: Float[Tensor, "n h w"], middle: Int[Tensor, "n 2"], *, box: int) -> tuple[Float[Tensor, "n b b"], Tensor]:
    """Boxes of the images about pixels that lie `middle` (x, y) from their origins, zero beyond their edges, and which reach there."""
    old = images.shape[-1]
    place = middle[:, :, None].cpu() + torch.arange(box) - box // 2 + old // 2
    is_inside = (place >= 0) & (place < old)
    safe = place.clamp(0, old - 1).to(images.device)
    picked = images[torch.arange(len(images), device=images.device)[:, None, None], safe[:, 1, :, None], safe[:, 0, None, :]]
    inside = (is_inside[:, 1, :, None] & is_inside[:, 0, None, :]).to(images)
    return picked * inside, ~is_inside.all(dim=2).all(dim=1)


def window_of(voxels: Float[Tensor, "z y x"], middle: Int[Tensor, " 3"], *, box: int) -> Float[Tensor, "b b b"]:
    """The box of a map about the voxel that lies `middle` (x, y, z) from its origin, zero beyond its edges."""
    old = voxels.shape[-1]
    place = middle.flip(0)[:, None] + torch.arange(box) - box // 2 + old // 2
    inside = ((place >= 0) & (place < old)).to(voxels)
    z, y, x = place.clamp(0, old - 1)
    picked = voxels[z[:, None, None], y[None, :, None], x[None, None, :]]
    return picked * inside[0][:, None, None] * inside[1][:, None] * inside[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moved:
    """The particles about their new middles, the pixels (x, y from the old origins) of these, and the new box, or None where nothing is cut."""

    particles: ParticleSet
    middle: Int[Tensor, "n 2"]
    box: int | None


def _moved(particles: ParticleSet, point: Float[Tensor, " 3"], settings: SubtractionSettings, *, box: int) -> _Moved:
    """Particles whose origin is a point of theirs (Å), in boxes about the pixel nearest to it; see `picking.extract.recentred` for the defocus."""
    plain = replace(particles, images=None, image_names=(), extra=_with_names(particles))
    pose = particles.pose
    if pose is None or (settings.new_box is None and settings.middle == "particle"):
        return _Moved(particles=plain, middle=torch.zeros(len(particles), 2, dtype=torch.long), box=None)
    turned = pose.lab_from_particle.double() @ point
    place = pose.shift.double() + turned[:, :2]
    middle = (place / particles.pixel_size).round()
    left = place - middle * particles.pixel_size
    defocus = particles.defocus
    if defocus is not None:
        defocus = replace(defocus, major=defocus.major + turned[:, 2], minor=defocus.minor + turned[:, 2])
    coordinates = particles.coordinates
    if coordinates is not None:
        counted = torch.tensor([coordinate_pixel_size(group) for group in particles.optics], dtype=torch.float64)
        coordinates = coordinates + middle * particles.pixel_size / counted[particles.optics_index][:, None]
    moved = replace(
        plain, pose=Pose(lab_from_particle=pose.lab_from_particle, shift=left), defocus=defocus, coordinates=coordinates,
    )  # fmt: skip
    return _Moved(particles=moved, middle=middle.long(), box=settings.new_box or box)


def _with_names(particles: ParticleSet) -> dict[str, tuple[str, ...]]:
    """The foreign columns, and what the images were called before."""
    return {**particles.extra, **({ORIGINAL_NAME: particles.image_names} if particles.image_names else {})}


def _centre_of(weight: Float[Tensor, "z y x"], grid: ImageGrid) -> Float[Tensor, " 3"]:
    """The mask's centre of mass (x, y, z) on whole voxels, Å from the origin."""
    axis = torch.arange(grid.box, dtype=torch.float64) - grid.box // 2
    mass = weight.double()
    total = mass.sum()
    means = [(mass.sum(dim=others) * axis).sum() / total for others in ((0, 1), (0, 2), (1, 2))]
    return torch.stack(means).round() * grid.pixel_size


def _grid(particles: ParticleSet, settings: SubtractionSettings) -> ImageGrid:
    grid = image_grid(particles)
    lacking = [
        name
        for name, value in (("rlnAngleRot, rlnAngleTilt and rlnAnglePsi", particles.pose), ("rlnDefocusU", particles.defocus))
        if value is None
    ]
    if lacking:
        raise InputError(f"the particles lack {', '.join(lacking)}", fix="give the run_data.star of a refinement")
    if settings.new_box is not None and settings.new_box > grid.box:
        raise InputError(
            f"the new box of {settings.new_box} px is larger than the images, {grid.box} px", fix="give a smaller --new-box"
        )
    return grid


def _images(particles: ParticleSet) -> Iterator[tuple[Int[Tensor, " m"], Float[Tensor, "m h w"]]]:
    for span in batches(len(particles), BATCH):
        if particles.images is not None:
            yield torch.tensor(list(span)), particles.images.read(list(span))


def _scales(particles: ParticleSet, whole: Volume, settings: SubtractionSettings, progress: Progress) -> Float[Tensor, " n"]:
    """How strong the whole map is in each particle's micrograph: Σ Re y* p/σ² over Σ |p|²/σ²."""
    reference = prepare_volume(whole)
    box = reference.box
    inverse = weights_on_spectrum(1 / initial_noise(particles).power, size=(box, box))
    inverse[:, 0, 0] = 0
    progress.start("measuring how strong the map is", len(particles))
    above, below = torch.zeros(len(particles), dtype=torch.float64), torch.zeros(len(particles), dtype=torch.float64)
    for rows, images in _images(particles):
        chosen = particles[rows]
        model, seen = predicted(reference, chosen), to_fourier(images).cpu()
        weight = inverse[chosen.optics_index]
        above[rows] = ((model.conj() * seen).real * weight).sum(dim=(1, 2)).double()
        below[rows] = ((model.real.square() + model.imag.square()) * weight).sum(dim=(1, 2)).double()
        progress.advance(len(rows))
    overall = float(above.sum() / below.sum().clamp_min(1e-30))
    if overall <= 0:
        raise InputError(
            "the map does not resemble the images at their poses",
            cause="a map of the other hand or contrast, or particles of another refinement",
            fix="give the map and the run_data.star of one refinement",
        )
    progress.note(f"the map is {overall:.3g} times as strong in the images as in its file")
    if settings.scale == "one":
        return torch.full((len(particles),), overall)
    ones = torch.ones(len(particles))
    return overall * fitted_scale(scale_groups(particles), above * overall, below * overall**2, current=ones)
