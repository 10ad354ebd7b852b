"""Aligned sums of a movie: plain, weighted by dose, and of odd and even frames.

A frame is read between its pixels once, and added to all sums on the way; `dose` tells why a few sums hold the one that is weighted by dose.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.errors import UsageError
from cryowalk.core.execution import ImageSource, Progress, SilentProgress
from cryowalk.data.motion import Motion
from cryowalk.fourier.grids import frequency_grid
from cryowalk.fourier.transform import fast_size, filtered_image, filtering_half_spectrum, mirrored_to_fast_size
from cryowalk.motion.dose import dose_factors, weighted_sum
from cryowalk.motion.settings import AlignmentSettings
from cryowalk.numerics.warping import Interpolation, add_warped

_LEAST_TRANSFER = 0.3  # of the interpolation, below which it is not divided out
_AT_A_TIME = 4  # frames


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedSums:
    """Sums of a movie's aligned frames, in the frames' unit; `weighted` by dose where that was asked for.

    `halves` are the sums of odd and even frames as they were read, `transfer` what reading between pixels left of each frequency of the size that transforms fast; `plain`, `odd` (frames 1,
    3, …, counted from 1) and `even` are made of them when they are asked for.
    """

    halves: tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]
    transfer: Float[Tensor, "h2 half"]
    weighted: Float[Tensor, "h w"] | None = None

    @property
    def plain(self) -> Float[Tensor, "h w"]:
        """The sum of all frames."""
        return _restored(self.halves[0] + self.halves[1], self.transfer)

    @property
    def odd(self) -> Float[Tensor, "h w"]:
        """The sum of frames 1, 3, 5 and so on."""
        return _restored(self.halves[0], self.transfer)

    @property
    def even(self) -> Float[Tensor, "h w"]:
        """The sum of frames 2, 4, 6 and so on."""
        return _restored(self.halves[1], self.transfer)


def correct_motion(
    frames: ImageSource,
    motion: Motion,
    settings: AlignmentSettings = AlignmentSettings(),  # noqa: B008  frozen
    *,
    pixel_size: float,
    voltage_kv: float = 300.0,
    left_out: Sequence[int] = (),
    progress: Progress | None = None,
) -> CorrectedSums:
    """The sums of the frames, each read where the specimen has moved to; frames are read once, some at a time.

    What interpolation takes from high frequencies on average is given back to all sums. Dose weights exp(−N/2N_c(k)), N the dose at the frame's end,
    are renormalised by √Σw², so that noise stays as white as it was; a dose before the movie is common to all frames and cancels. Frames that are `left_out`
    (counted from 0) are in no sum, and their dose counts for those after them.

    Raises
    ------
    UsageError
        If dose weighting is asked for without a dose, or frames and motion differ in number.

    Source: Grant & Grigorieff, eLife 4, e06980 (2015), for the weights.
    """
    progress = progress or SilentProgress()
    count, size = frames.count, frames.image_shape
    if motion.global_displacement.shape[0] != count:
        raise UsageError(f"the motion has {motion.global_displacement.shape[0]} frames, the movie {count}")
    kept = [index for index in range(count) if index not in left_out]
    dose = dose_for_weighting(settings)
    weights = None
    factors = torch.zeros(2, len(kept), dtype=torch.float64)
    for place, index in enumerate(kept):
        factors[index % 2, place] = 1
    if dose is not None:
        reached = dose * (torch.tensor(kept, dtype=torch.float64) + 1)
        weights = dose_factors(reached, pixel_size=pixel_size, voltage_kv=voltage_kv)
        factors = torch.cat([factors, weights.frames])
    sums: Tensor | None = None
    for start in range(0, len(kept), _AT_A_TIME):
        some = kept[start : start + _AT_A_TIME]
        images = frames.read(some)
        images = images if images.is_floating_point() else images.float()
        fields = torch.stack([pixel_coefficients(motion, index, pixel_size) for index in some])
        sums = images.new_zeros(len(factors), *size) if sums is None else sums
        add_warped(images, fields, factors[:, start : start + len(some)], sums, interpolation=settings.interpolation)
        progress.advance(len(some))
    if sums is None:
        raise UsageError("no frame is left to be summed")
    transfer = interpolation_transfer(fast_size(size), settings.interpolation).to(sums)
    weighted = None if weights is None else weighted_sum(sums[2:], weights, transfer, pixel_size=pixel_size)
    return CorrectedSums(halves=(sums[0], sums[1]), transfer=transfer, weighted=weighted)


def dose_for_weighting(settings: AlignmentSettings) -> float | None:
    """The dose of a frame by which the sum is to be weighted, e⁻/Å²; None where it is not to be.

    Raises
    ------
    UsageError
        If weighting is asked for and the dose is not known.
    """
    dose = settings.dose_per_frame
    if settings.dose_weighting == "yes" and dose is None:
        raise UsageError("dose weighting needs the dose of a frame", fix="state --dose-per-frame (e⁻/Å²), or --dose-weighting no")
    return None if settings.dose_weighting == "no" else dose


def pixel_coefficients(motion: Motion, frame: int, pixel_size: float) -> Float[Tensor, "2 6"]:
    """The field of displacement of a frame, pixels, as `numerics.warping` takes it."""
    whole = motion.global_displacement[frame].double()[:, None]
    local = torch.zeros(2, 5, dtype=torch.float64) if motion.local is None else motion.local[frame].double()
    return torch.cat([whole, local], dim=1) / pixel_size


def interpolation_transfer(size: tuple[int, int], interpolation: Interpolation) -> Float[Tensor, "h half"]:
    """The mean transfer of the interpolation on the half spectrum: the transform of its kernel, not below 0.3."""
    ky, kx = _cycles(size)
    along_x, along_y = _kernel_transform(kx, interpolation), _kernel_transform(ky, interpolation)
    return (along_y[:, None] * along_x).clamp_min(_LEAST_TRANSFER)


def _cycles(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(ky, kx) of the half spectrum, cycles per pixel."""
    kx, ky = frequency_grid(size, pixel_size=1.0, dtype=torch.float64)
    return ky.reshape(-1), kx.reshape(-1)


def _kernel_transform(frequency: Float[Tensor, " n"], interpolation: Interpolation) -> Float[Tensor, " n"]:
    """The Fourier transform of the interpolation kernel at frequencies in cycles per pixel.

    Source: Keys, IEEE Trans. Acoust. Speech Signal Process. 29, 1153 (1981), eq. 21, for a = −½.
    """
    f = frequency.abs().clamp_min(1e-4)
    if interpolation == "linear":
        return torch.sinc(f) ** 2
    turn = (math.pi * f) ** 2
    first = 3 / turn * (torch.sinc(f) ** 2 - torch.sinc(2 * f))
    second = -1 / turn * (3 * torch.sinc(2 * f) ** 2 - 2 * torch.sinc(2 * f) - torch.sinc(4 * f))
    value = first + second
    return torch.where(frequency.abs() < 1e-3, torch.ones_like(value), value)


def _restored(total: Float[Tensor, "h w"], transfer: Float[Tensor, "h2 half"]) -> Float[Tensor, "h w"]:
    image = mirrored_to_fast_size(total)
    spectrum: Complex[Tensor, "h2 half"] = filtering_half_spectrum(image)
    height, width = total.shape
    return filtered_image(spectrum / transfer, width=image.shape[-1])[:height, :width].contiguous()
