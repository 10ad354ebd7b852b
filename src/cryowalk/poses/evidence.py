"""Images beside what the map predicts of them, batch by batch, on the half disk: what every refinement of lens parameters sums up.

An image is y = CTF · p + n, p the map's central slice along the particle's pose. p is scaled in each shell by how much of it the images show, and residuals give
the noise: where the map has no signal it then has no weight either.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError, ShapeError, UsageError
from cryowalk.core.execution import Progress, SilentProgress, batches
from cryowalk.data import ParticleSet, Volume
from cryowalk.fourier.disk import HalfDisk, half_disk
from cryowalk.fourier.slices import FourierVolume, prepare_volume
from cryowalk.fourier.transform import to_fourier
from cryowalk.microscope.aberrations import (
    antisymmetric_phase_at,
    has_odd_terms,
    magnified_stretch,
    observed_slices,
    true_frequency,
)
from cryowalk.microscope.lens import aberration_phase
from cryowalk.poses.settings import CtfRefinementSettings

BYTES_PER_PIXEL = 64  # of an image and all that is made of it
STRETCH = 1.1  # the largest magnification that is allowed for
PADDING = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """The coefficients that are used: columns first … last − 1 of the half disk, their frequencies (1/Å) as the camera sees them, and shells."""

    disk: HalfDisk
    first: int
    last: int
    kx: Float[Tensor, " K"]
    ky: Float[Tensor, " K"]
    shell: Int[Tensor, " K"]

    @property
    def shells(self) -> int:
        """The number of shells 0 … box // 2."""
        return self.disk.box // 2 + 1


class Evidence(NamedTuple):
    """Some images of one optics group: data centred and free of odd aberrations, prediction without CTF, CTF phase and amplitude, 1/σ²."""

    group: int
    indices: Int[Tensor, " n"]
    data: Complex[Tensor, "n K"]
    prediction: Complex[Tensor, "n K"]
    phase: Float[Tensor, "n K"]
    amplitude: Float[Tensor, "n K"]
    inverse_noise: Float[Tensor, " K"]

    @property
    def agreement(self) -> Float[Tensor, "n K"]:
        """Re(y p*) · amplitude / σ²: what multiplies sin γ in the log-likelihood."""
        return (
            (self.data.real * self.prediction.real + self.data.imag * self.prediction.imag) * self.amplitude * self.inverse_noise
        )

    @property
    def strength(self) -> Float[Tensor, "n K"]:
        """|p|² · amplitude² / σ²: what multiplies −½ sin² γ."""
        return (self.prediction.real**2 + self.prediction.imag**2) * self.amplitude**2 * self.inverse_noise


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """By how much the map is scaled in each shell of each optics group, and 1/σ² there, σ² the noise of each real component."""

    scale: Float[Tensor, "groups shells"]
    inverse_noise: Float[Tensor, "groups shells"]


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """The map for each half set, made ready for slices; one map serves all particles."""

    halves: tuple[FourierVolume, ...]

    @staticmethod
    def of(maps: Sequence[Volume]) -> "References":
        """One map for all particles, or two, one for each half set.

        Raises
        ------
        UsageError
            If there is another number of maps.
        """
        if len(maps) not in (1, 2):
            raise UsageError(f"particles are compared with one map, or with two half maps: got {len(maps)}")
        return References(halves=tuple(prepare_volume(one, padding=PADDING, stretch=STRETCH) for one in maps))

    def slices(self, particles: ParticleSet, indices: Tensor, *, group: int) -> Complex[Tensor, "n box half"]:
        """The slices of each particle's own half map as the camera of this optics group sees them; those of neither half see the first."""
        if particles.pose is None:
            raise InputError("the particles have no poses", fix="refine them first")
        rotations = particles.pose.lab_from_particle[indices].to(self.halves[0].coefficients.real)
        optics = particles.optics[group]
        if len(self.halves) == 1 or particles.half is None:
            whole: Tensor = observed_slices(self.halves[0], rotations, optics=optics)
            return whole
        second = particles.half[indices].to(rotations.device) == 2
        found: Tensor = rotations.new_zeros(len(indices), self.halves[0].box, self.halves[0].box // 2 + 1).to(torch.complex64)
        for reference, chosen in zip(self.halves, (~second, second), strict=True):
            found[chosen] = observed_slices(reference, rotations[chosen], optics=optics).to(found.dtype)
        return found


def require_refinable(particles: ParticleSet, maps: Sequence[Volume]) -> None:
    """Refuse particles whose CTF cannot be refined.

    Raises
    ------
    InputError
        If images, poses or CTF parameters are missing, images were multiplied by their CTF, or pixel sizes differ.
    ShapeError
        If the map has another box than the images.
    UsageError
        If the magnification is farther from 1 than can be meant.
    """
    if particles.images is None or particles.pose is None or particles.defocus is None:
        absent = {
            "images": particles.images is None,
            "poses": particles.pose is None,
            "CTF parameters": particles.defocus is None,
        }
        raise InputError(
            f"the particles lack {' and '.join(name for name, is_absent in absent.items() if is_absent)}",
            expected="a STAR file of a refinement",
            fix="refine the poses first",
        )
    if any(optics.is_premultiplied for optics in particles.optics):
        raise InputError("the images were multiplied by their CTF", fix="extract them again without premultiplication")
    box = particles.images.image_shape[0]
    for one in maps:
        if one.voxels.shape[-1] != box:
            raise ShapeError(f"the map has a box of {one.voxels.shape[-1]}, the images of {box}", fix="resample or crop the map")
        if abs(one.voxel_size / particles.pixel_size - 1) > 0.01:
            raise InputError(f"the map's voxels are {one.voxel_size:.4g} Å, the images' pixels {particles.pixel_size:.4g} Å")
    if any(magnified_stretch(optics) > STRETCH for optics in particles.optics):
        raise UsageError(f"the magnification matrix stretches by more than {STRETCH:g}", fix="check the optics table")


def band_of(particles: ParticleSet, settings: CtfRefinementSettings) -> Band:
    """The coefficients between the coarsest and the finest resolution.

    Raises
    ------
    InputError
        If there are none.
    """
    box, pixel = 0 if particles.images is None else particles.images.image_shape[0], particles.pixel_size
    disk, side = half_disk(box), box * pixel
    finest = box / 2 - 1 if settings.finest_resolution is None else min(box / 2 - 1, side / settings.finest_resolution)
    first, last = disk.prefix(side / settings.coarsest_resolution), disk.prefix(finest)
    if last - first < 10:
        raise InputError(
            f"there are {last - first} coefficients between {settings.coarsest_resolution:g} Å and the finest resolution",
            fix="give a wider range, or images of a larger box",
        )
    kx, ky = (k[first:last].double() / side for k in (disk.kx, disk.ky))
    return Band(disk=disk, first=first, last=last, kx=kx, ky=ky, shell=disk.shell[first:last])


def evidence(
    particles: ParticleSet,
    references: References,
    band: Band,
    *,
    settings: CtfRefinementSettings,
    calibration: Calibration | None = None,
    progress: Progress | None = None,
) -> Iterator[Evidence]:
    """All images in batches, each of one optics group; without a calibration the prediction is the map's own and noise is 1."""
    progress = progress or SilentProgress()
    source = particles.images
    if source is None:
        raise InputError("the particles have no images")
    size = max(1, min(2048, settings.memory_budget // (BYTES_PER_PIXEL * band.disk.box**2)))
    for span in batches(len(particles), size):
        here = torch.arange(span.start, span.stop)
        images = source.read(list(span))
        for group in sorted(set(particles.optics_index[here].tolist())):
            members = (particles.optics_index[here] == group).nonzero().flatten()
            yield _beside(
                particles, here[members], images[members], group, references=references, band=band, calibration=calibration
            )
        progress.advance(len(here))


def _beside(
    particles: ParticleSet,
    indices: Tensor,
    images: Tensor,
    group: int,
    *,
    references: References,
    band: Band,
    calibration: Calibration | None,
) -> Evidence:
    if particles.pose is None or particles.defocus is None:
        raise InputError("the particles have no poses or no CTF parameters")
    optics, columns = particles.optics[group], slice(band.first, band.last)
    phases = band.disk.shift_phases(-particles.pose.shift[indices].float(), pixel_size=optics.pixel_size, count=band.last)
    data = band.disk.gather(to_fourier(images), count=band.last)[:, columns] * phases[:, columns]
    kx, ky = true_frequency(band.kx, band.ky, optics=optics)
    if has_odd_terms(optics.aberrations):
        odd = antisymmetric_phase_at(kx, ky, optics=optics)
        data = data * torch.polar(torch.ones_like(odd), -odd).to(data.dtype)
    prediction = band.disk.gather(references.slices(particles, indices, group=group), count=band.last)[:, columns]
    inverse_noise = torch.ones(len(band.shell))
    if calibration is not None:
        prediction = prediction * calibration.scale[group][band.shell]
        inverse_noise = calibration.inverse_noise[group][band.shell]
    defocus = particles.defocus[indices]
    column = replace(
        defocus, **{name: getattr(defocus, name)[:, None].double() for name in ("major", "minor", "azimuth", "phase_shift")}
    )
    phase = (
        aberration_phase(kx, ky, optics=optics, defocus=column)
        + column.phase_shift
        + torch.asin(torch.tensor(optics.amplitude_contrast)).double()
    )
    amplitude = torch.ones(len(indices), 1)
    if defocus.b_factor is not None:
        amplitude = amplitude * torch.exp(-defocus.b_factor[:, None].double() / 4 * (kx**2 + ky**2)).float()
    if defocus.scale is not None:
        amplitude = amplitude * defocus.scale[:, None].float()
    return Evidence(group, indices, data, prediction, phase, amplitude.expand(len(indices), len(band.shell)), inverse_noise)


def calibrate(
    particles: ParticleSet,
    references: References,
    band: Band,
    *,
    settings: CtfRefinementSettings,
    progress: Progress | None = None,
) -> Calibration:
    """Scale and noise of each shell of each optics group, by regression of the images on the map's predictions: one pass.

    scale = Σ CTF Re(y p*) / Σ CTF² |p|², not below 0; σ² = Σ |y − scale CTF p|² / 2 per coefficient.
    """
    shared, power, data, count = torch.zeros(4, len(particles.optics), band.shells, dtype=torch.float64).unbind(0)
    for part in evidence(particles, references, band, settings=settings, progress=progress):
        transfer = torch.sin(part.phase).float()
        columns = (
            (shared, (transfer * part.agreement).double().sum(dim=0)),
            (power, (transfer.square() * part.strength).double().sum(dim=0)),
            (data, (part.data.real**2 + part.data.imag**2).double().sum(dim=0)),
            (count, torch.full((len(band.shell),), float(len(part.indices)), dtype=torch.float64)),
        )
        for total, values in columns:
            total[part.group].index_add_(0, band.shell, values)
    tiny = torch.finfo(torch.float64).tiny
    scale = (shared / power.clamp_min(tiny)).clamp_min(0)
    noise = (data - 2 * scale * shared + scale**2 * power) / (2 * count).clamp_min(1)
    floor = 1e-6 * (data.sum(dim=1, keepdim=True) / (2 * count).sum(dim=1, keepdim=True).clamp_min(1))
    inverse = torch.where(count > 0, 1 / noise.clamp_min(floor.clamp_min(tiny)), 0)
    return Calibration(scale=scale.float(), inverse_noise=inverse.float())
