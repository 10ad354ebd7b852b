"""Aligned sums of a movie: plain, weighted by dose, and of odd and even frames.

A frame's weight is the one before times q(k) = exp(−d / 2N_c(k)), d the dose of a frame: taken from the last frame to the first, the weighted sum is
S ← q S + F_f (Horner's rule), exact at every frequency and one product a frame.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.errors import UsageError
from cryowalk.core.execution import ImageSource, Progress, SilentProgress
from cryowalk.data.motion import Motion
from cryowalk.fourier.grids import frequency_grid, frequency_radius
from cryowalk.fourier.transform import filtered_image, filtering_half_spectrum
from cryowalk.microscope.damage import exposure_filter
from cryowalk.motion.settings import AlignmentSettings
from cryowalk.numerics.warping import Interpolation, warp

_LEAST_TRANSFER = 0.3  # of the interpolation, below which it is not divided out


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedSums:
    """Sums of a movie's aligned frames, in the frames' unit; `weighted` by dose where that was asked for.

    `halves` are the sums of odd and even frames as they were read, `transfer` what reading between pixels left of each frequency; `plain`, `odd` (frames 1,
    3, …, counted from 1) and `even` are made of them when they are asked for.
    """

    halves: tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]
    transfer: Float[Tensor, "h half"]
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
    progress: Progress | None = None,
) -> CorrectedSums:
    """The sums of the frames, each read where the specimen has moved to; frames are read once, from the last to the first.

    What interpolation takes from high frequencies on average is given back to all sums. Dose weights exp(−N/2N_c(k)), N the dose at the frame's end,
    are renormalised by √Σw², so that noise stays as white as it was; a dose before the movie is common to all frames and cancels.

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
    decay = _decay(settings, size, pixel_size=pixel_size, voltage_kv=voltage_kv)
    loss: Tensor | None = None
    halves: list[Tensor | None] = [None, None]
    spectrum: Tensor | None = None
    for index in reversed(range(count)):
        frame = frames.read([index])[0].float()
        moved = warp(frame, pixel_coefficients(motion, index, pixel_size), interpolation=settings.interpolation)
        half = halves[index % 2]
        halves[index % 2] = moved if half is None else half.add_(moved)
        if decay is not None:
            loss = torch.exp(-decay).to(moved) if loss is None else loss
            part = filtering_half_spectrum(moved)
            spectrum = part if spectrum is None else spectrum.mul_(loss).add_(part)
        progress.advance()
    first, second = (torch.zeros_like(moved) if half is None else half for half in halves)
    transfer = interpolation_transfer(size, settings.interpolation).to(moved)
    weighted = None
    if spectrum is not None and decay is not None:
        spectrum.div_(transfer).div_(_norm(decay, frames=count).to(moved))
        weighted = filtered_image(spectrum, width=size[1])
    return CorrectedSums(halves=(first, second), transfer=transfer, weighted=weighted)


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


def _decay(
    settings: AlignmentSettings, size: tuple[int, int], *, pixel_size: float, voltage_kv: float
) -> Float[Tensor, "h half"] | None:
    """What the logarithm of each amplitude loses from frame to frame, d / 2N_c with d the dose of a frame; None without weighting."""
    dose = dose_for_weighting(settings)
    if dose is None:
        return None
    radius = frequency_radius(size, pixel_size=pixel_size, dtype=torch.float64)
    return -torch.log(exposure_filter(radius, dose=dose, voltage_kv=voltage_kv))


def _norm(decay: Float[Tensor, "h half"], *, frames: int) -> Float[Tensor, "h half"]:
    """√Σ q^{2f} over the frames, q = e^{−decay}."""
    safe = decay.clamp_min(1e-12)  # k = 0, where nothing decays
    return torch.sqrt(torch.expm1(-2 * frames * safe) / torch.expm1(-2 * safe))


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


def _restored(total: Float[Tensor, "h w"], transfer: Float[Tensor, "h half"]) -> Float[Tensor, "h w"]:
    spectrum: Complex[Tensor, "h half"] = filtering_half_spectrum(total)
    return filtered_image(spectrum / transfer, width=total.shape[-1])
