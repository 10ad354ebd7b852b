"""Aligned sums of a movie: plain, weighted by dose, and of odd and even frames."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import UsageError
from cryowalk.core.execution import ImageSource, Progress, SilentProgress
from cryowalk.data.motion import Motion
from cryowalk.fourier.grids import frequency_grid
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.microscope.damage import dose_weights
from cryowalk.motion.settings import AlignmentSettings
from cryowalk.numerics.warping import Interpolation, warp

_LEAST_TRANSFER = 0.3  # of the interpolation, below which it is not divided out
_RINGS = 1024  # frequencies at which dose weights are computed; they are smooth


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedSums:
    """Sums of a movie's aligned frames, in the frames' unit; `weighted` by dose where that was asked for. `odd` has frames 1, 3, …, counted from 1."""

    plain: Float[Tensor, "h w"]
    odd: Float[Tensor, "h w"]
    even: Float[Tensor, "h w"]
    weighted: Float[Tensor, "h w"] | None = None


def correct_motion(
    frames: ImageSource,
    motion: Motion,
    settings: AlignmentSettings = AlignmentSettings(),  # noqa: B008  frozen
    *,
    pixel_size: float,
    voltage_kv: float = 300.0,
    progress: Progress | None = None,
) -> CorrectedSums:
    """The sums of the frames, each read where the specimen has moved to; one frame is held at a time.

    What interpolation takes from high frequencies on average is given back to all sums. Dose weights exp(−N/2N_c(k)), N the dose at the frame's end,
    are renormalised by √Σw², so that noise stays as white as it was.

    Raises
    ------
    UsageError
        If dose weighting is asked for without a dose, or frames and motion differ in number.

    Source: Grant & Grigorieff, eLife 4, e06980 (2015), for the weights.
    """
    progress = progress or SilentProgress()
    count = frames.count
    if motion.global_displacement.shape[0] != count:
        raise UsageError(f"the motion has {motion.global_displacement.shape[0]} frames, the movie {count}")
    is_weighted = settings.dose_weighting == "yes"
    if is_weighted and settings.dose_per_frame is None:
        raise UsageError("dose weighting needs the dose of a frame", fix="state --dose-per-frame (e⁻/Å²), or --dose-weighting no")
    size = frames.image_shape
    halves: list[Tensor | None] = [None, None]
    spectrum: Tensor | None = None
    lookup = _ring_lookup(size) if is_weighted else None
    weights = _weights(settings, frames=count, pixel_size=pixel_size, voltage_kv=voltage_kv) if is_weighted else None
    for index in range(count):
        frame = frames.read([index])[0].float()
        moved = warp(frame, pixel_coefficients(motion, index, pixel_size), interpolation=settings.interpolation)
        half = halves[index % 2]
        halves[index % 2] = moved if half is None else half.add_(moved)
        if weights is not None and lookup is not None:
            weighted = to_fourier(moved) * weights[index].to(moved)[lookup.to(moved.device)]
            spectrum = weighted if spectrum is None else spectrum.add_(weighted)
        progress.advance()
    transfer = interpolation_transfer(size, settings.interpolation).to(frame)
    odd, even = (_restored(half, transfer) if half is not None else torch.zeros(size) for half in halves)
    weighted_sum = None if spectrum is None else to_real(spectrum / transfer, width=size[1])
    return CorrectedSums(plain=odd + even, odd=odd, even=even, weighted=weighted_sum)


def pixel_coefficients(motion: Motion, frame: int, pixel_size: float) -> Float[Tensor, "2 6"]:
    """The field of displacement of a frame, pixels, as `numerics.warping` takes it."""
    whole = motion.global_displacement[frame].double()[:, None]
    local = torch.zeros(2, 5, dtype=torch.float64) if motion.local is None else motion.local[frame].double()
    return torch.cat([whole, local], dim=1) / pixel_size


def interpolation_transfer(size: tuple[int, int], interpolation: Interpolation) -> Float[Tensor, "h half"]:
    """The mean transfer of the interpolation on the half spectrum: the transform of its kernel, not below 0.3."""
    ky, kx = (component[0] if component.ndim > 1 and component.shape[0] == 1 else component for component in _cycles(size))
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


def _restored(total: Tensor, transfer: Tensor) -> Tensor:
    return to_real(to_fourier(total) / transfer, width=total.shape[-1])


def _ring_lookup(size: tuple[int, int]) -> Tensor:
    """For each coefficient the entry of a table of frequencies 0 … 0.75 / pixel size."""
    ky, kx = _cycles(size)
    radius = torch.hypot(kx, ky[:, None])
    return (radius / 0.75 * (_RINGS - 1)).round().long().clamp(0, _RINGS - 1)


def _weights(settings: AlignmentSettings, *, frames: int, pixel_size: float, voltage_kv: float) -> Float[Tensor, "frames rings"]:
    frequency = torch.arange(_RINGS, dtype=torch.float64) / (_RINGS - 1) * 0.75 / pixel_size
    return dose_weights(
        frequency,
        frames=frames,
        dose_per_frame=settings.dose_per_frame or 1.0,
        dose_before=settings.dose_before,
        voltage_kv=voltage_kv,
    )
