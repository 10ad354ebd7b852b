"""How well poses can be known at all: the Cramér–Rao bound of orientations and shifts, from a map, the noise and the CTFs.

The image of a particle is y = c S(R) e^(−2πi k·s) + n on the half disk, n of variance σ² per real component. Of five parameters θ (a small turn
ω about the axes of the laboratory, R → e^[ω] R, and the shift s) the Fisher information is I = Σ_k Re(∂μ* ∂μᵀ) / σ², and no unbiased estimate has
a covariance below I⁻¹. With F the transform of V and F_x that of x V, a slice changes by 2πi (ω × k) · R F_x: three more slices, no differences.

Source: Kay, Fundamentals of Statistical Signal Processing I (1993), eqs. 3.20 and 3.31, for the bound and Gaussian noise.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.core.execution import batches
from cryowalk.data import ParticleSet, Volume
from cryowalk.fourier.disk import HalfDisk, half_disk
from cryowalk.fourier.slices import FourierVolume, prepare_volume
from cryowalk.microscope.lens import contrast_transfer

PADDING = 2.0
BATCH = 256
DRAWS = 256  # random errors a particle from which medians are taken


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseBound:
    """Least covariances of unbiased poses: `covariance` of a turn about x, y, z of the laboratory (rad) and of the shift along x, y (Å)."""

    covariance: Float[Tensor, "n 5 5"]

    @property
    def angle(self) -> Float[Tensor, " n"]:
        """Least root mean square angle between the true and an estimated orientation, rad."""
        return self.covariance[:, :3, :3].diagonal(dim1=-2, dim2=-1).sum(dim=-1).sqrt()

    @property
    def shift(self) -> Float[Tensor, " n"]:
        """Least root mean square distance between the true and an estimated place, Å."""
        return self.covariance[:, 3:, 3:].diagonal(dim1=-2, dim2=-1).sum(dim=-1).sqrt()

    def median_errors(self, generator: torch.Generator) -> tuple[float, float]:
        """The median angle (rad) and distance (Å) of errors drawn from the Gaussian laws of all particles."""
        factor = torch.linalg.cholesky(self.covariance)
        draws = torch.randn(len(factor), 5, DRAWS, generator=generator, dtype=factor.dtype)
        errors = factor @ draws
        return errors[:, :3].norm(dim=1).median().item(), errors[:, 3:].norm(dim=1).median().item()


def pose_bound(
    particles: ParticleSet, volume: Volume, noise_power: Float[Tensor, "groups shells"], *, radius: int | None = None
) -> PoseBound:
    """The Cramér–Rao bound of the particles' poses, at those poses, for images of this map in noise of variance σ² per real component.

    Coefficients to `radius` (shells; all unless given) without the origin are counted. Where the images tell nothing of a parameter, as of the turn
    about the axis of a cylinder, its variance is infinite for practical purposes.

    Raises
    ------
    InputError
        If the particles have no poses or no CTF.
    """
    information = pose_information(particles, volume, noise_power, radius=radius)
    # A ridge far below any information that counts keeps the inverse finite.
    ridge = torch.diag_embed(information.diagonal(dim1=-2, dim2=-1) * 1e-12 + 1e-30)
    return PoseBound(covariance=torch.linalg.inv(information + ridge))


def pose_information(
    particles: ParticleSet, volume: Volume, noise_power: Float[Tensor, "groups shells"], *, radius: int | None = None
) -> Float[Tensor, "n 5 5"]:
    """The Fisher information of turns about x, y, z of the laboratory (1/rad²) and of shifts along x, y (1/Å²), of each particle.

    Raises
    ------
    InputError
        If the particles have no poses or no CTF.
    """
    if particles.pose is None or particles.defocus is None:
        raise InputError("the bound of poses needs particles with poses and CTF parameters")
    box = volume.voxels.shape[-1]
    disk = half_disk(box)
    count = disk.prefix(box // 2 - 1 if radius is None else radius)
    references = _moments(volume)
    parts = [
        _information(particles[list(span)], references, disk, noise_power, count=count) for span in batches(len(particles), BATCH)
    ]
    return torch.cat(parts)


def _moments(volume: Volume) -> tuple[FourierVolume, ...]:
    """V, x V, y V and z V, coordinates in Å from the origin voxel, ready for slices."""
    box = volume.voxels.shape[-1]
    axis = (torch.arange(box) - box // 2).to(volume.voxels) * volume.voxel_size
    factors = (torch.ones_like(axis), axis, axis[:, None], axis[:, None, None])
    return tuple(
        prepare_volume(Volume(voxels=volume.voxels * factor, voxel_size=volume.voxel_size), padding=PADDING) for factor in factors
    )


def _information(
    particles: ParticleSet, references: tuple[FourierVolume, ...], disk: HalfDisk, noise_power: Tensor, *, count: int
) -> Float[Tensor, "n 5 5"]:
    used = slice(1, count)
    derivatives = _derivatives(particles, references, disk, count=count)[..., used]
    weight = _weights(particles, disk, noise_power, count=count)[:, used]
    scaled = derivatives * weight.sqrt()[:, None]
    flat = torch.view_as_real(scaled).flatten(-2).double()
    return flat @ flat.mT


def _derivatives(
    particles: ParticleSet, references: tuple[FourierVolume, ...], disk: HalfDisk, *, count: int
) -> Complex[Tensor, "n 5 K"]:
    """The slices' derivatives by the five parameters, without the CTF and the shift's phases, which change no information."""
    if particles.pose is None:
        raise InputError("the particles have no poses")
    rotations = particles.pose.lab_from_particle.to(torch.float32)
    middle, *moments = (disk.slices(reference, rotations, count=count) for reference in references)
    in_lab = torch.einsum("nij,njk->nik", rotations.to(middle.dtype), torch.stack(moments, dim=1))
    step = 2 * math.pi / (disk.box * references[0].voxel_size)
    kx, ky = (along[:count] * step for along in (disk.kx, disk.ky))
    turns = (ky * in_lab[:, 2], -kx * in_lab[:, 2], kx * in_lab[:, 1] - ky * in_lab[:, 0])
    return torch.stack([*(1j * turn for turn in turns), -1j * kx * middle, -1j * ky * middle], dim=1)


def _weights(particles: ParticleSet, disk: HalfDisk, noise_power: Tensor, *, count: int) -> Float[Tensor, "n K"]:
    """CTF² / σ² of each coefficient."""
    if particles.defocus is None:
        raise InputError("the particles have no CTF parameters")
    weights = torch.empty(len(particles), count)
    for group, optics in enumerate(particles.optics):
        members = (particles.optics_index == group).nonzero().flatten()
        if len(members):
            defocus = particles.defocus[members].to(torch.float32)
            transfer = disk.gather(contrast_transfer(optics, defocus, size=(disk.box, disk.box)), count=count)
            weights[members] = transfer**2 / noise_power[group].float()[disk.shell[:count].clamp(max=disk.box // 2)]
    return weights
