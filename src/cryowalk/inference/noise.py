"""The noise of particle images: a variance in each shell of each optics group."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.core.execution import batches
from cryowalk.data import ParticleSet
from cryowalk.fourier.shells import shell_average
from cryowalk.fourier.transform import to_fourier

FLOOR = 1e-6  # of the mean over shells: no shell is believed to be free of noise


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseModel:
    """σ² = E|n(k)|² / 2 of orthonormal transforms, the variance of each real component, in the shells 0 … box // 2 of each optics group.

    It is RELION's sigma2_noise up to that program's scaling of transforms: with E|n(k)|² in its place posteriors would be too broad.
    """

    power: Float[Tensor, "groups shells"]

    def to(self, target: torch.device | str) -> "NoiseModel":
        """The same noise on another device."""
        return NoiseModel(power=self.power.to(target))

    def on_shells(self, group: int, shell: Int[Tensor, " K"]) -> Float[Tensor, " K"]:
        """σ² of the coefficients that lie in these shells, for one optics group."""
        return self.power[group][shell.clamp(max=self.power.shape[1] - 1)]


def initial_noise(particles: ParticleSet, *, batch: int = 512) -> NoiseModel:
    """The noise before anything is known of the particles: half the mean power of each group's images less that of their mean.

    It holds the particles' own signal too, which is small beside the noise in all shells but the first.

    Raises
    ------
    InputError
        If there are no images, or a group's images are all alike.
    """
    if particles.images is None:
        raise InputError("the particles have no images", fix="read them from a STAR file whose rlnImageName column names a stack")
    groups = len(particles.optics)
    box = particles.images.image_shape[-1]
    power = torch.zeros(groups, box, box // 2 + 1, dtype=torch.float64)
    mean = torch.zeros(groups, box, box // 2 + 1, dtype=torch.complex128)
    counts = torch.bincount(particles.optics_index, minlength=groups)
    for indices in batches(len(particles), batch):
        spectra = to_fourier(particles.images.read(list(indices)))
        group_of = particles.optics_index[indices.start : indices.stop]
        for group in sorted(set(group_of.tolist())):
            chosen = spectra[(group_of == group).to(spectra.device)]
            power[group] += (chosen.real.square() + chosen.imag.square()).double().sum(dim=0).cpu()
            mean[group] += chosen.to(torch.complex128).sum(dim=0).cpu()
    number = counts.clamp_min(1)[:, None, None]
    signal = torch.where(number > 1, (mean.abs() / number) ** 2, torch.zeros((), dtype=torch.float64))
    shells = shell_average((power / number - signal).clamp_min(0), size=(box, box)) / 2
    return checked_noise(shells, counts)


def checked_noise(power: Float[Tensor, "groups shells"], counts: Int[Tensor, " groups"]) -> NoiseModel:
    """The noise model of these powers; a group without images takes the mean of the others, a shell without noise the least believable one.

    Raises
    ------
    InputError
        If a group has no noise at all: its images are constant.
    """
    used = counts > 0
    if not bool((power[used].sum(dim=-1) > 0).all()):
        group = int((used & (power.sum(dim=-1) <= 0)).nonzero()[0])
        raise InputError(
            f"the images of optics group {group + 1} hold no noise: all are constant, or all alike",
            cause="an empty stack, or one image copied",
            fix="look at the images: cryowalk validate STACK.mrcs",
        )
    filled = torch.where(used[:, None], power, power[used].mean(dim=0))
    least = FLOOR * filled.mean(dim=-1, keepdim=True)
    return NoiseModel(power=torch.maximum(filled, least).float())
