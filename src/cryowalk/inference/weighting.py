"""Particle images as the likelihood wants them: rows of the half disk, centred, weighted by CTF/σ²."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.data import Defocus, ParticleSet
from cryowalk.fourier.disk import HalfDisk, half_disk
from cryowalk.fourier.shells import shell_sum
from cryowalk.fourier.transform import to_fourier
from cryowalk.inference.noise import NoiseModel
from cryowalk.microscope.aberrations import has_odd_terms
from cryowalk.microscope.lens import antisymmetric_factor, contrast_transfer

MASK_EDGE = 5.0  # pixels of the soft edge of the circular mask


class WeightedImages(NamedTuple):
    """Images y of some particles on the first K coefficients (the origin left out, as 0), moved so that `centre` is their origin.

    `searched` is y' CTF/σ² of the masked images y', which poses are looked for with; `summed` is y CTF/σ² of the whole images, which maps are
    made of; `weight` is CTF²/σ². `energy` is ½ Σ |y'|²/σ². `power` is |y|² summed over images and shells, for each optics group.
    """

    group: Int[Tensor, " n"]
    searched: Complex[Tensor, "n K"]
    summed: Complex[Tensor, "n K"]
    weight: Float[Tensor, "n K"]
    centre: Float[Tensor, "n 2"]
    energy: Float[Tensor, " n"]
    power: Float[Tensor, "groups shells"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageModel:
    """What turns images into weighted rows: the noise, the circular mask's `diameter` (Å; infinite: no mask), the largest `radius` (shells).

    `use_ctf` is off for images that carry none.
    """

    noise: NoiseModel
    diameter: float
    radius: int
    use_ctf: bool = True

    def weighted(
        self, images: Float[Tensor, "n h w"], particles: ParticleSet, indices: Int[Tensor, " n"], *, scale: Float[Tensor, " n"]
    ) -> WeightedImages:
        """The weighted rows of these images of the particles `indices`; `scale` multiplies each image's CTF."""
        box, pixel_size = images.shape[-1], particles.pixel_size
        disk = half_disk(box, device=images.device)
        count = disk.prefix(self.radius)
        centre = _centres(particles, indices, like=images)
        group = particles.optics_index[indices]
        plain = to_fourier(images)
        masked = to_fourier(images * circles(centre, box, diameter=self.diameter, pixel_size=pixel_size))
        power = _group_power(plain, group, len(particles.optics))
        forward = disk.shift_phases(-centre, pixel_size=pixel_size, count=count)
        inverse, transfer = self._inverse_noise_and_transfer(particles, indices, disk, count=count)
        inverse, transfer = inverse.to(images), transfer.to(images) * scale.to(images)[:, None]
        odd = _odd_factors(particles, group, disk, count=count, like=plain)
        rows = [disk.gather(spectra, count=count) * forward for spectra in (masked, plain)]
        rows = rows if odd is None else [row * odd for row in rows]
        energy = (rows[0].real.square() + rows[0].imag.square()).mul_(inverse).sum(dim=-1) / 2
        premultiplied = torch.tensor([particles.optics[g].is_premultiplied for g in group.tolist()], device=images.device)
        factor = torch.where(premultiplied[:, None], scale.to(images)[:, None].expand_as(transfer), transfer) * inverse
        searched, summed = (row.mul_(factor) for row in rows)
        return WeightedImages(
            group=group, searched=searched, summed=summed, weight=transfer.square().mul_(inverse), centre=centre,
            energy=energy, power=power,
        )  # fmt: skip

    def _inverse_noise_and_transfer(
        self, particles: ParticleSet, indices: Int[Tensor, " n"], disk: HalfDisk, *, count: int
    ) -> tuple[Tensor, Tensor]:
        """1/σ² (0 at the origin) and the CTF of each image."""
        group = particles.optics_index[indices]
        shell = disk.shell[:count].cpu()
        inverse = torch.empty(len(indices), count)
        transfer = torch.ones(len(indices), count)
        for number in sorted(set(group.tolist())):
            members = (group == number).nonzero().flatten()
            inverse[members] = 1 / self.noise.on_shells(number, shell).cpu()
            if self.use_ctf:
                defocus = _defocus(particles)[indices[members]].to(torch.float32)
                ctf = contrast_transfer(particles.optics[number], defocus, size=(disk.box, disk.box))
                transfer[members] = half_disk(disk.box).gather(ctf, count=count)
        inverse[:, 0] = 0
        return inverse, transfer


def circles(
    centre: Float[Tensor, "n 2"], box: int, *, diameter: float, pixel_size: float, edge: float = MASK_EDGE
) -> Float[Tensor, "n h w"]:
    """A disk about each centre (x, y in Å from the origin pixel): 1 inside `diameter`, then a raised cosine of `edge` pixels."""
    axis = (torch.arange(box, device=centre.device, dtype=centre.dtype) - box // 2) * pixel_size
    squared = (axis - centre[:, 1, None]).square()[:, :, None] + (axis - centre[:, 0, None]).square()[:, None, :]
    place = ((squared.sqrt() - diameter / 2) / (edge * pixel_size)).clamp_(0, 1)
    mask: Tensor = place.mul_(torch.pi).cos_().mul_(0.5).add_(0.5)
    return mask


def _centres(particles: ParticleSet, indices: Int[Tensor, " n"], *, like: Tensor) -> Float[Tensor, "n 2"]:
    if particles.pose is None:
        return like.new_zeros(len(indices), 2)
    shift: Tensor = particles.pose.shift[indices].to(like)
    return shift


def _defocus(particles: ParticleSet) -> Defocus:
    if particles.defocus is None:
        raise InputError(
            "the particles have no CTF parameters",
            expected="defocus values in every row",
            fix="estimate them first, or give --ctf none if the images have no CTF",
        )
    return particles.defocus


def _group_power(spectra: Tensor, group: Int[Tensor, " n"], groups: int) -> Float[Tensor, "groups shells"]:
    box = spectra.shape[-2]
    power = torch.zeros(groups, box // 2 + 1, dtype=torch.float64, device=spectra.device)
    for number in sorted(set(group.tolist())):
        chosen = spectra[(group == number).to(spectra.device)]
        power[number] = shell_sum((chosen.real.square() + chosen.imag.square()).sum(dim=0), size=(box, box))
    return power


def _odd_factors(particles: ParticleSet, group: Int[Tensor, " n"], disk: HalfDisk, *, count: int, like: Tensor) -> Tensor | None:
    """exp(−iρ) for each image, or None where no group has odd aberrations."""
    if not any(has_odd_terms(optics.aberrations) for optics in particles.optics):
        return None
    factors = torch.ones(len(group), count, dtype=like.dtype, device=like.device)
    for number in sorted(set(group.tolist())):
        if has_odd_terms(particles.optics[number].aberrations):
            factor = antisymmetric_factor(particles.optics[number], size=(disk.box, disk.box), like=like).conj()
            factors[(group == number).to(like.device)] = disk.gather(factor, count=count)
    return factors
