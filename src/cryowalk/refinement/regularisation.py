"""What becomes of two halves' sums between iterations: their agreement, the prior it stands for, smoothed maps, and what they share.

The prior power of a shell follows from the correlation of the halves: a half map whose spectral signal-to-noise ratio is FSC / (1 − FSC), with the mean
weight W of the shell, has 1/τ² = W (1 − FSC) / FSC, and N / (D + 1/τ²) is its Wiener filter.

Source: Scheres, J. Struct. Biol. 180, 519 (2012), eqs. 2, 9 and 10, and Scheres & Chen, Nat. Methods 9, 853 (2012), for independent halves.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.data import HalfMaps, Volume
from cryowalk.fourier.filters import apply_shell_weights
from cryowalk.fourier.shells import shell_correlation, snr_from_fsc
from cryowalk.numerics.masks import soft_sphere
from cryowalk.validation.phase_randomisation import masked_correlation

LEAST_FSC, LARGEST_FSC = 1e-3, 0.999
EDGE = 5.0  # pixels of the soft edge of the spherical mask
THRESHOLD = 0.143


def solvent_mask(box: int, *, diameter: float, pixel_size: float) -> Float[Tensor, "z y x"]:
    """A soft sphere of the particle's diameter (Å), its edge within the box."""
    edge = EDGE * pixel_size
    radius = min(diameter / 2, (box // 2) * pixel_size - edge)
    return soft_sphere(box, radius=radius, edge=edge, voxel_size=pixel_size)


def flattened(volume: Volume, mask: Float[Tensor, "z y x"]) -> Volume:
    """The map with its solvent, where the mask is 0, at zero: (V − b) m with b the mean outside."""
    outside = 1 - mask
    background = (volume.voxels * outside).sum() / outside.sum().clamp_min(1e-6)
    return Volume(voxels=(volume.voxels - background) * mask, voxel_size=volume.voxel_size)


def inverse_prior(fsc: Float[Tensor, " shells"], mean_weight: Float[Tensor, " shells"]) -> Float[Tensor, " shells"]:
    """1/τ² of each shell, in the unit of the weights, from the correlation of two halves of this mean weight."""
    return mean_weight / snr_from_fsc(fsc.clamp(LEAST_FSC, LARGEST_FSC)).to(mean_weight)


def joined(halves: HalfMaps, *, shell: int) -> HalfMaps:
    """The halves with their shells 0 … `shell` replaced by those of their mean: what keeps both in one orientation."""
    if shell <= 0:
        return halves
    box = halves.first.voxels.shape[-1]
    weight = (torch.arange(box // 2 + 1) <= shell).to(halves.first.voxels)
    share = apply_shell_weights((halves.second.voxels - halves.first.voxels) / 2, weight, dimensions=3)
    first, second = (
        Volume(voxels=half.voxels + sign * share, voxel_size=half.voxel_size)
        for half, sign in ((halves.first, 1), (halves.second, -1))
    )
    return HalfMaps(first=first, second=second)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Correlations of two unfiltered half maps in the shells 0 … box // 2: of whole maps, and inside the solvent mask."""

    whole: Float[Tensor, " shells"]
    masked: Float[Tensor, " shells"]


def agreement(
    halves: HalfMaps, mask: Float[Tensor, "z y x"], *, radius: int, generator: torch.Generator | None = None
) -> Agreement:
    """How two half maps that are known to the shell `radius` agree, with and without the mask; 0 beyond, where a mask would only spread what it cuts.

    A generator asks for the correction of what a tight mask adds by itself, measured with random phases; a wide soft sphere adds nothing to speak of.
    """
    first, second = halves.first.voxels, halves.second.voxels
    whole = shell_correlation(first, second)
    is_known = torch.arange(len(whole), device=whole.device) <= radius
    if generator is None:
        masked = shell_correlation(first * mask.to(first), second * mask.to(second))
    else:
        weight = Volume(voxels=mask.to(first), voxel_size=halves.first.voxel_size)
        masked = masked_correlation(halves, weight, generator=generator).corrected.correlation
    return Agreement(whole=whole * is_known, masked=masked * is_known)


def last_shell_above(fsc: Float[Tensor, " shells"], *, threshold: float = THRESHOLD) -> int:
    """The last shell before the correlation first falls below the threshold; 0 if it does at once."""
    below = (fsc[1:] < threshold).nonzero().flatten()
    return int(below[0]) if len(below) else len(fsc) - 1


def signal_beyond(fsc: Float[Tensor, " shells"], *, shell: int, threshold: Float[Tensor, " shells"] | None = None) -> bool:
    """Whether the correlation stays at or above the threshold (0.143 unless given) in the shell after `shell`, and in the one after it."""
    beyond = fsc[shell + 1 : shell + 3]
    least = torch.full_like(fsc, THRESHOLD) if threshold is None else threshold.to(fsc)
    return bool(len(beyond) > 0 and (beyond >= least[shell + 1 : shell + 3]).all())
