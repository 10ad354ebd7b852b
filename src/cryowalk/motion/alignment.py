"""Where frames lie relative to each other: maximum likelihood, one Newton step for all frames at a time.

Each frame is compared with the sum of the others. With white noise of power σ² in each coefficient, the log-likelihood of a further displacement e of
frame f is (2/σ²) Σ_k w Re[A_f conj(r_f) e^{2πi k·e}] over the half plane, A_f the frame moved back by what is known so far and r_f the mean of the
others. Its gradient and curvature are sums over the coefficients; the curvature is also the information about the displacement, so that tracks are smoothed
by a prior on their acceleration as much as the data leave them free.

Source: Zheng et al., Nat. Methods 14, 331 (2017), for iterating against the sum of the others; Zivanov et al., IUCrJ 6, 5 (2019), for the prior on motion.
"""

from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.errors import ShapeError
from cryowalk.fourier.transform import to_real

_CLOSE = 0.01  # pixels of the spectra, below which a step is the last
_LONGEST_STEP = 0.75  # pixels; Newton steps beyond it leave the peak
_COARSE_ROUNDS = 3
_MOST_DOUBT = 1e3
_LEAST_INFORMATION = 1e-6  # of the mean, for frames that say nothing


class Bands(NamedTuple):
    """Spectra of frames, the weight of each coefficient (with the two halves of the plane and 1/σ² in it), and frequencies in cycles per pixel."""

    spectra: Complex[Tensor, "frames h half"]
    weight: Float[Tensor, "h half"]
    kx: Float[Tensor, " half"]
    ky: Float[Tensor, " h"]
    width: int


class Track(NamedTuple):
    """Displacements (x, y) of frames, pixels of the spectra, their mean zero; the information about each, 1/pixel²; and the `overconfidence` divided out of it."""

    displacement: Float[Tensor, "frames 2"]
    information: Float[Tensor, "frames 2 2"]
    overconfidence: float


def bands_of(
    spectra: Complex[Tensor, "frames h half"], *, width: int, pixel_size: float, b_factor: float, coarsest: float
) -> Bands:
    """Spectra ready to be aligned: weights exp(−B k²/4), none below the coarsest spacing (Å) nor beyond Nyquist's circle, over the noise's power.

    The noise's power is the mean power of the outer coefficients of the first frames, where signal is weak.
    """
    height = spectra.shape[-2]
    index = torch.arange(height, dtype=torch.float64, device=spectra.device)
    ky = torch.where(index < (height + 1) // 2, index, index - height) / height
    kx = torch.arange(spectra.shape[-1], dtype=torch.float64, device=spectra.device) / width
    radius = torch.hypot(kx, ky[:, None]) / pixel_size
    weight = torch.exp(-b_factor / 4 * radius**2) * (1 - torch.exp(-((radius * coarsest) ** 2)))
    weight = torch.where(radius < 0.49 / pixel_size, weight, torch.zeros_like(weight))
    mates = torch.full_like(kx, 2.0)
    mates[0] = 1.0
    outer = (radius > 0.3 / pixel_size) & (radius < 0.49 / pixel_size)
    power = torch.view_as_real(spectra[: min(4, len(spectra))]).square().mean((0, -1))
    noise = 2 * float((power * outer).sum() / outer.sum()) if bool(outer.any()) else 1.0
    return Bands(spectra, (weight * mates / max(noise, 1e-30)).float(), kx, ky, width)


def moments(bands: Bands, shift: Float[Tensor, "frames 2"]) -> tuple[Float[Tensor, "frames 2"], Float[Tensor, "frames 2 2"]]:
    """Gradient and information (minus the curvature) of the log-likelihood of each frame's displacement, at displacements `shift`; pixels."""
    is_plain = bands.spectra.device.type == "cpu" and bands.spectra.dtype == torch.complex64
    if not is_plain:
        return moments_reference(bands, shift)
    from cryowalk.motion.alignment_compiled import moments_compiled

    sums = torch.from_numpy(
        moments_compiled(
            bands.spectra.numpy(),
            bands.weight.numpy(),
            shift.double().numpy(),
            kx=bands.kx.numpy(),
            ky=bands.ky.numpy(),
            threads=torch.get_num_threads(),
        )
    )
    return _as_derivatives(sums, len(bands.spectra))


def moments_reference(
    bands: Bands, shift: Float[Tensor, "frames 2"]
) -> tuple[Float[Tensor, "frames 2"], Float[Tensor, "frames 2 2"]]:
    """The same as `moments`, written as the formula reads; it runs on any device."""
    aligned = moved_back(bands, shift)
    others = aligned.sum(0) - aligned
    match = (aligned * others.conj()) * bands.weight
    kx, ky = bands.kx.to(match.real), bands.ky.to(match.real)[:, None]
    sums = [
        -(match.imag * kx).sum((-2, -1)),
        -(match.imag * ky).sum((-2, -1)),
        (match.real * kx * kx).sum((-2, -1)),
        (match.real * kx * ky).sum((-2, -1)),
        (match.real * ky * ky).sum((-2, -1)),
    ]
    return _as_derivatives(torch.stack(sums, dim=-1).double().cpu(), len(bands.spectra))


def contrast_to_noise(bands: Bands, shift: Float[Tensor, "frames 2"]) -> Float[Tensor, " frames"]:
    """How far each frame's agreement with the sum of the others rises above that of frames without relation, in standard deviations."""
    aligned = moved_back(bands, shift)
    total = aligned.sum(0)
    values = []
    for frame in aligned:
        match = torch.view_as_real(frame * (total - frame).conj_physical()) * bands.weight[..., None]
        deviation = (match.square().sum() / 2).sqrt()
        values.append(float(match[..., 0].sum() / deviation.clamp_min(1e-30)))
    return torch.tensor(values, dtype=torch.float64)


def overconfidence(bands: Bands, shift: Float[Tensor, "frames 2"]) -> float:
    """By how much the curvature overstates what is known: the variance of the gradient over the curvature, both over all frames; at least 1.

    The reference is a sum of noisy frames, so that its noise makes the gradient vary, while the curvature is that of a clean reference:
    Σ w² (2πk)² |A|² |r|² / 2 over Σ w (2πk)² Re[A conj r].
    """
    aligned = moved_back(bands, shift)
    total = aligned.sum(0)
    scale = 1 / max(len(aligned) - 1, 1)
    squared = ((bands.kx**2 + bands.ky[:, None] ** 2) * 1.0).to(bands.weight) * bands.weight
    varies, curves = 0.0, 0.0
    for frame in aligned:
        match = torch.view_as_real(frame * (total - frame).conj_physical()) * scale
        curves += float((match[..., 0] * squared).sum())
        varies += float((match.square().sum(-1) * (squared * bands.weight)).sum()) / 2
    return max(1.0, varies / curves) if curves > 0 else _MOST_DOUBT


def _as_derivatives(sums: Float[Tensor, "frames 5"], frames: int) -> tuple[Tensor, Tensor]:
    scale = 1 / max(frames - 1, 1)  # the reference is the mean of the others
    turn = 2 * torch.pi
    gradient = turn * scale * sums[:, :2]
    information = turn**2 * scale * sums[:, [2, 3, 3, 4]].reshape(-1, 2, 2)
    return gradient, information


def moved_back(bands: Bands, shift: Float[Tensor, "frames 2"]) -> Complex[Tensor, "frames h half"]:
    """The spectra times e^{+2πi k·d}: frames that lie at +d, moved back."""
    turns = 2 * torch.pi * shift.to(bands.kx)
    along_x, along_y = (
        torch.polar(torch.ones_like(a), a).to(bands.spectra) for a in (turns[:, :1] * bands.kx, turns[:, 1:] * bands.ky)
    )
    return (bands.spectra * along_x[:, None, :]).mul_(along_y[:, :, None])


def align(
    bands: Bands, *, largest_shift: float, acceleration: float, iterations: int, start: Float[Tensor, "frames 2"] | None = None
) -> Track:
    """The track of the frames; all lengths in pixels of the spectra.

    Without a start, frames are first brought within reach by the peaks of their correlations, searched up to `largest_shift`. `acceleration` is the standard
    deviation of the second difference of a track.

    Raises
    ------
    ShapeError
        If there are fewer than two frames.
    """
    if len(bands.spectra) < 2:
        raise ShapeError(f"{len(bands.spectra)} frame cannot be aligned with others", expected="a movie of at least two frames")
    displacement = _coarse(bands, largest_shift, acceleration) if start is None else start.double()
    information = torch.zeros(len(displacement), 2, 2, dtype=torch.float64)
    doubt = overconfidence(bands, displacement)
    for _ in range(iterations):
        gradient, information = moments(bands, displacement)
        step = newton_step(gradient, information)
        moved = smooth_track(displacement + step, information / doubt, acceleration=acceleration)
        change = float((moved - displacement).abs().max())
        displacement = moved
        if change < _CLOSE:
            break
    return Track(displacement, information / doubt, doubt)


def newton_step(gradient: Float[Tensor, "*n 2"], information: Float[Tensor, "*n 2 2"]) -> Float[Tensor, "*n 2"]:
    """information⁻¹ gradient, cut to three quarters of a pixel; along the gradient where the likelihood is not concave."""
    trace = information.diagonal(dim1=-2, dim2=-1).sum(-1)
    determinant = torch.linalg.det(information)
    is_peak = (determinant > 0) & (trace > 0)
    safe = torch.where(is_peak[..., None, None], information, torch.eye(2, dtype=information.dtype))
    step = torch.linalg.solve(safe, gradient[..., None])[..., 0]
    length = step.norm(dim=-1, keepdim=True)
    step = step * (_LONGEST_STEP / length.clamp_min(_LONGEST_STEP))
    uphill = gradient / gradient.norm(dim=-1, keepdim=True).clamp_min(1e-30) * _LONGEST_STEP / 2
    return torch.where(is_peak[..., None], step, uphill)


def smooth_track(
    found: Float[Tensor, "frames 2"], information: Float[Tensor, "frames 2 2"], *, acceleration: float
) -> Float[Tensor, "frames 2"]:
    """The most probable track, of mean zero, given what was found with this information and a normal prior on its second differences."""
    frames = len(found)
    centred = found - found.mean(0)
    if frames < 3:
        return centred
    strength = information.diagonal(dim1=-2, dim2=-1).clamp_min(0)
    strength = strength.clamp_min(_LEAST_INFORMATION * float(strength.mean()) + 1e-12)
    second = second_differences(frames)
    prior = second.T @ second / acceleration**2
    columns = [torch.linalg.solve(prior + torch.diag(strength[:, axis]), strength[:, axis] * centred[:, axis]) for axis in (0, 1)]
    track = torch.stack(columns, dim=1)
    return track - track.mean(0)


def second_differences(frames: int) -> Float[Tensor, "frames_2 frames"]:
    """The matrix that takes a track of at least three frames to its second differences."""
    second = torch.zeros(frames - 2, frames, dtype=torch.float64)
    rows = torch.arange(frames - 2)
    second[rows, rows], second[rows, rows + 1], second[rows, rows + 2] = 1.0, -2.0, 1.0
    return second


def _coarse(bands: Bands, largest_shift: float, acceleration: float) -> Float[Tensor, "frames 2"]:
    """Displacements to the pixel, from peaks of correlation with the sum of the others, frames being joined with their neighbours at first."""
    frames = len(bands.spectra)
    displacement = torch.zeros(frames, 2, dtype=torch.float64)
    height = bands.spectra.shape[-2]
    reach = max(1, min(int(largest_shift) + 1, (min(height, bands.width) - 1) // 2))
    for rounds in range(_COARSE_ROUNDS):
        aligned = moved_back(bands, displacement)
        total = aligned.sum(0)
        joined = _with_neighbours(aligned, 1 if rounds < _COARSE_ROUNDS - 1 else 0)
        found = torch.empty(frames, 2, dtype=torch.float64)
        for frame in range(frames):
            match = to_real(joined[frame] * (total - aligned[frame]).conj() * bands.weight, width=bands.width)
            found[frame] = _peak(_about_zero(match, reach), reach)
        information = torch.eye(2, dtype=torch.float64).expand(frames, 2, 2) * 4.0  # half a pixel
        moved = smooth_track(displacement + found, information, acceleration=max(acceleration, 0.3))
        is_settled = bool(((moved - displacement).abs() < 0.5).all())
        displacement = moved
        if is_settled:
            break
    return displacement


def _with_neighbours(spectra: Tensor, reach: int) -> Tensor:
    """Each spectrum with those of so many neighbours on both sides added."""
    joined = spectra.clone()
    for step in range(1, reach + 1):
        joined[step:] += spectra[:-step]
        joined[:-step] += spectra[step:]
    return joined


def _about_zero(match: Tensor, reach: int) -> Tensor:
    """The correlation at displacements −reach … reach; zero displacement lies at the origin pixel of the transform."""
    y, x = match.shape[-2] // 2, match.shape[-1] // 2
    return match[..., y - reach : y + reach + 1, x - reach : x + reach + 1]


def _peak(window: Tensor, reach: int) -> Tensor:
    """The place (x, y) of the highest value, by whole pixels."""
    best = int(window.argmax())
    width = window.shape[-1]
    return torch.tensor([best % width - reach, best // width - reach], dtype=torch.float64)
