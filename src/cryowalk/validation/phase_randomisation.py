"""What a mask adds to a Fourier shell correlation, measured on maps whose phases are random, and the correlation without it.

Source: Chen et al., Ultramicroscopy 135, 24 (2013).
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_between
from cryowalk.core.errors import UsageError
from cryowalk.data import HalfMaps, Volume
from cryowalk.fourier.grids import frequency_radius, require_size
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.validation.shell_correlation import ShellCorrelation, compare_maps, fourier_shell_correlation

SHELLS_LEFT = 2  # after the first randomised one: the mask carries true phases over the border, so that they are not corrected


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedCorrelation:
    """The four curves of two half maps under a mask: without it, with it, with it and random phases, and the correction.

    Phases are random from shell `randomised_from` on; None where the unmasked curve never falls so low that any is randomised: then nothing is corrected.
    """

    unmasked: ShellCorrelation
    masked: ShellCorrelation
    randomised: ShellCorrelation
    corrected: ShellCorrelation
    randomised_from: int | None

    @property
    def randomised_resolution(self) -> float | None:
        """The resolution from which phases are random, Å, or None."""
        return None if self.randomised_from is None else 1 / float(self.unmasked.frequency[self.randomised_from])


def randomise_phases(volume: Volume, *, first_shell: int, generator: torch.Generator) -> Volume:
    """The map with random phases at all frequencies from that of this Fourier shell on, its amplitudes kept.

    The phases are those of the transform of white noise, which are uniform and those of a real map.
    """
    size = require_size(volume.voxels, 3)
    if first_shell < 1:
        raise UsageError(f"phases are randomised from shell 1 on at the earliest, the mean has none: got {first_shell}")
    noise = torch.randn(size, generator=generator, dtype=torch.float32, device=generator.device).to(volume.voxels)
    phases = to_fourier(noise, dimensions=3)
    phases = phases / phases.abs().clamp_min(torch.finfo(phases.real.dtype).tiny)
    spectrum = to_fourier(volume.voxels, dimensions=3)
    radius = frequency_radius(size, pixel_size=1.0, dtype=torch.float64, device=spectrum.device) * min(size)
    is_random = radius >= first_shell - 1e-9  # the inner half of that shell keeps its phases, as in RELION
    turned = torch.where(is_random, spectrum.abs() * phases, spectrum)
    return replace(volume, voxels=to_real(turned, width=size[-1], dimensions=3))


def masked_correlation(
    halves: HalfMaps,
    mask: Volume,
    *,
    generator: torch.Generator,
    randomise_at: float = 0.8,
    first_shell: int | None = None,
    draws: int = 3,
) -> MaskedCorrelation:
    """The correlation of two half maps under a mask, corrected for what the mask itself adds.

    With FSC_t of the masked maps and FSC_n of the masked maps with random phases, FSC = (FSC_t − FSC_n) / (1 − FSC_n). Phases are random from `first_shell` on;
    unless it is given, from where the unmasked correlation first falls below `randomise_at`. Up to two shells beyond it, true phases reach over the border through
    the mask, and the masked curve is kept. FSC_n is the mean over so many `draws` of random phases, which leaves the noise of FSC_t.

    Raises
    ------
    UsageError
        If `randomise_at` is not above 0 and at most 1, or there are no draws.

    Source: Chen et al., Ultramicroscopy 135, 24 (2013).
    """
    require_between("the correlation at which phases are randomised", randomise_at, 1e-6, 1.0)
    unmasked = fourier_shell_correlation(halves)
    masked = fourier_shell_correlation(halves, mask=mask)
    shell = first_shell_below(unmasked, randomise_at) if first_shell is None else first_shell
    if shell is None or shell >= len(unmasked.correlation):
        return MaskedCorrelation(unmasked=unmasked, masked=masked, randomised=masked, corrected=masked, randomised_from=None)
    if draws < 1:
        raise UsageError(f"random phases are drawn at least once: got {draws}")
    noise = torch.zeros_like(masked.correlation)
    for _ in range(draws):
        first, second = (randomise_phases(half, first_shell=shell, generator=generator) for half in (halves.first, halves.second))
        noise += compare_maps(first, second, mask=mask).correlation / draws
    corrected = corrected_correlation(masked.correlation, noise, first_shell=shell + SHELLS_LEFT)
    return MaskedCorrelation(
        unmasked=unmasked,
        masked=masked,
        randomised=replace(masked, correlation=noise),
        corrected=replace(masked, correlation=corrected),
        randomised_from=shell,
    )


def first_shell_below(curve: ShellCorrelation, level: float) -> int | None:
    """The first shell after the origin at which the curve is below the level, or None."""
    below = (curve.correlation[1:] < level).nonzero().flatten()
    return int(below[0]) + 1 if len(below) else None


def corrected_correlation(
    masked: Float[Tensor, " shells"], randomised: Float[Tensor, " shells"], *, first_shell: int
) -> Float[Tensor, " shells"]:
    """(FSC_t − FSC_n) / (1 − FSC_n) from `first_shell` on, the masked curve before; 0 where the random phases correlate as much as the true ones or wholly.

    Source: Chen et al., Ultramicroscopy 135, 24 (2013).
    """
    excess, room = masked - randomised, 1 - randomised
    is_signal = (excess > 0) & (room > 1e-6)
    value = torch.where(is_signal, excess / torch.where(is_signal, room, torch.ones_like(room)), torch.zeros_like(masked))
    before = torch.arange(len(masked), device=masked.device) < first_shell
    return torch.where(before, masked, value)


def randomised_excess(curves: MaskedCorrelation, *, resolution: float) -> float:
    """The correlation of the masked maps with random phases at this resolution (Å), by linear interpolation; NaN where none is random.

    Above 0.1 the mask is so tight, or its edge so sharp, that the resolution rests on the correction.
    """
    if curves.randomised_from is None:
        return math.nan
    position = min(float(len(curves.randomised.frequency) - 1), 1 / (resolution * float(curves.randomised.frequency[1])))
    low = min(int(position), len(curves.randomised.frequency) - 2)
    first, second = curves.randomised.correlation[low : low + 2].tolist()
    return float(first + (position - low) * (second - first))
