"""How good a fit is: the equi-phase average, how far the rings can be followed, and the figure of merit.

Source: Rohou & Grigorieff, J. Struct. Biol. 192, 216 (2015), secs. 2.5 and 2.6; Zhang, J. Struct. Biol. 193, 1 (2016), for the equi-phase average.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.ctf_estimation.rings import half_plane, smooth_fit
from cryowalk.ctf_estimation.search import oscillation
from cryowalk.ctf_estimation.spectrum import PowerSpectrum
from cryowalk.data.optics import Defocus, Optics
from cryowalk.microscope.lens import contrast_transfer

AGREEMENT = 0.5  # the correlation down to which rings count as followed
_PIECES = 7
_LEAST_VARIANCE = 0.1  # of the mean: the envelope's fit may fall below zero at the ends of the band
_LARGEST = 3.0  # standard deviations, beyond which a value is a spike
_SHORTEST_WINDOW = 24  # samples
_COARSEST_SHOWN = 40.0  # Å, in the picture
_SMOOTHINGS = 2  # averages over 3 × 3 pixels, in the picture


@dataclass(frozen=True, slots=True, kw_only=True)
class EquiphaseAverage:
    """A power spectrum averaged along lines of equal phase, at the frequency (1/Å) that has this phase at the mean defocus.

    `measured` is flattened (background off, envelope divided out), `model` the CTF² there, `agreement` their correlation in a window of about one and a half
    oscillations, `power` the average itself.
    """

    frequency: Float[Tensor, " samples"]
    power: Float[Tensor, " samples"]
    measured: Float[Tensor, " samples"]
    model: Float[Tensor, " samples"]
    agreement: Float[Tensor, " samples"]


def equiphase_average(spectrum: PowerSpectrum, optics: Optics, defocus: Defocus, *, coarsest: float = 30.0) -> EquiphaseAverage:
    """The power spectrum averaged along lines of equal phase, from the coarsest spacing (Å) to its edge, beside the CTF² of this defocus.

    A pixel with frequency k and azimuth θ, where the defocus is Δf(θ), belongs to the k' at which the mean defocus has the same χ.
    """
    mean = float((defocus.major + defocus.minor).mean() / 2)
    amplitude = float((defocus.major - defocus.minor).mean() / 2)
    azimuth, phase_shift = float(defocus.azimuth.mean()), float(defocus.phase_shift.mean())
    side = spectrum.side
    length = side * spectrum.pixel_size
    power = spectrum.power.double().cpu()
    ky, kx = half_plane(side)
    squared = (kx**2 + ky**2) / length**2
    local = mean + amplitude * torch.cos(2 * (torch.atan2(ky, kx) - azimuth))
    equivalent = _same_phase(squared, local, mean=mean, optics=optics).sqrt() * length
    low, high = max(2, math.ceil(length / coarsest)), side // 2 - 1
    number = equivalent.round().long() - low
    keep = (number >= 0) & (number <= high - low) & (kx > 0) & (ky != 0)
    count = torch.bincount(number[keep], minlength=high - low + 1).double()
    average = torch.bincount(number[keep], weights=power[keep], minlength=high - low + 1) / count.clamp_min(1)
    frequency = torch.arange(low, high + 1, dtype=torch.float64) / length
    wave = oscillation(frequency, torch.tensor(mean, dtype=torch.float64), optics=optics, phase_shift=phase_shift)
    flat = _flat(torch.log(average.clamp_min(float(average.mean()) * 1e-9)), count, frequency)
    window = _window_lengths(frequency, mean=mean, optics=optics, step=1 / length)
    return EquiphaseAverage(
        frequency=frequency,
        power=average,
        measured=flat,
        model=(1 + wave) / 2,
        agreement=_local_correlation(flat, wave, window),
    )


def fit_resolution(average: EquiphaseAverage, *, finest: float) -> float:
    """The spacing (Å) down to which measured rings follow the model: the last one before their correlation stays below 0.5; infinite if nowhere."""
    band = average.frequency <= 1 / finest
    good = (average.agreement >= AGREEMENT)[band].tolist()
    last: int | None = None
    misses = 0
    for number, is_good in enumerate(good):
        last, misses = (number, 0) if is_good else (last, misses + 1)
        if misses >= _SHORTEST_WINDOW and (last is not None or number > len(good) // 2):
            break
    return math.inf if last is None else 1 / float(average.frequency[last])


def figure_of_merit(average: EquiphaseAverage, *, finest: float) -> float:
    """The correlation of the flattened average with the model up to a spacing (Å): 1 is perfect, 0 nothing."""
    band = average.frequency <= 1 / finest
    measured, model = average.measured[band], average.model[band]
    measured, model = measured - measured.mean(), model - model.mean()
    norm = float(measured.norm() * model.norm())
    return float(measured @ model) / norm if norm > 0 else 0.0


def _same_phase(squared: Tensor, local: Tensor, *, mean: float, optics: Optics) -> Tensor:
    """The squared frequency at which the mean defocus has the χ that the local one has at `squared`; χ is a quadratic in it."""
    bend = 0.5 * optics.spherical_aberration * optics.wavelength**2
    level = local * squared - bend * squared**2
    if bend == 0:
        return (level / mean).clamp_min(0)
    return ((mean - torch.sqrt((mean**2 - 4 * bend * level).clamp_min(0))) / (2 * bend)).clamp_min(0)


def _flat(values: Tensor, count: Tensor, frequency: Tensor) -> Tensor:
    position = (frequency - frequency[0]) / (frequency[-1] - frequency[0])
    rest = values - smooth_fit(values, count, position=position, pieces=_PIECES)
    variance = smooth_fit(rest**2, count, position=position, pieces=_PIECES - 2)
    flat = rest / variance.clamp_min(_LEAST_VARIANCE * float((rest**2).mean()) + 1e-300).sqrt()
    return flat.clamp(-_LARGEST, _LARGEST)


def _window_lengths(frequency: Tensor, *, mean: float, optics: Optics, step: float) -> Tensor:
    """Half lengths (samples) of windows of about one and a half oscillations of CTF² at each frequency, at least twelve samples in all."""
    slope = optics.wavelength * mean * frequency - optics.spherical_aberration * (optics.wavelength * frequency) ** 3
    period = 1 / (2 * slope.abs()).clamp_min(1e-9) / step
    return (0.75 * period).round().long().clamp(_SHORTEST_WINDOW // 2, max(_SHORTEST_WINDOW, len(frequency) // 4))


def _local_correlation(first: Tensor, second: Tensor, half: Tensor) -> Tensor:
    """The correlation of two curves within ± half samples of each place, by running sums."""
    count = len(first)
    place = torch.arange(count)
    start, stop = (place - half).clamp_min(0), (place + half + 1).clamp_max(count)

    def total(values: Tensor) -> Tensor:
        sums = torch.cat([values.new_zeros(1), values.cumsum(0)])
        return sums[stop] - sums[start]

    n = (stop - start).double()
    mean_first, mean_second = total(first) / n, total(second) / n
    product = total(first * second) / n - mean_first * mean_second
    spread = (total(first**2) / n - mean_first**2).clamp_min(0) * (total(second**2) / n - mean_second**2).clamp_min(0)
    return product / spread.sqrt().clamp_min(1e-12)


def flattened_picture(spectrum: PowerSpectrum, optics: Optics, defocus: Defocus, *, finest: float) -> Float[Tensor, "side side2"]:
    """A power spectrum with background and envelope taken off, zero frequency at pixel n // 2, its left half replaced by the fitted CTF².

    Single pixels of a spectrum are noise: each is averaged with its neighbours, for looking at. What is coarser than 40 Å, and the model
    finer than the finest spacing (Å) that was fitted, are left grey. Values lie about ½, as CTF² does.
    """
    side = spectrum.side
    length = side * spectrum.pixel_size
    average = equiphase_average(spectrum, optics, defocus, coarsest=_COARSEST_SHOWN)
    values = torch.log(average.power.clamp_min(1e-300))
    position = (average.frequency - average.frequency[0]) / (average.frequency[-1] - average.frequency[0])
    background = smooth_fit(values, torch.ones_like(values), position=position, pieces=2 * _PIECES)
    spread = smooth_fit((values - background) ** 2, torch.ones_like(values), position=position, pieces=_PIECES - 2)
    scale = spread.clamp_min(_LEAST_VARIANCE * float(((values - background) ** 2).mean()) + 1e-300).sqrt()
    ky, kx = half_plane(side)
    radius = torch.hypot(kx, ky)
    ring = (radius - float(average.frequency[0]) * length).round().long().clamp(0, len(values) - 1)
    smooth = spectrum.power.double().cpu()[None]
    for _ in range(_SMOOTHINGS):
        rows = torch.cat([smooth[:, -1:], smooth, smooth[:, :1]], dim=1)
        smooth = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(rows, (1, 1), mode="replicate"), 3, stride=1)
    is_shown = (radius >= float(average.frequency[0]) * length) & (radius < side / 2)
    rest = torch.log(smooth[0].clamp_min(1e-300)) - background[ring]
    # Where rings are weaker than the noise of the picture, noise is not raised to their level.
    strength = torch.maximum(scale[ring], rest[is_shown].std())
    seen = rest / strength / (2 * math.sqrt(2)) + 0.5
    model = contrast_transfer(replace(optics, pixel_size=spectrum.pixel_size), defocus, size=(side, side))[0].double().square()
    grey = torch.full_like(seen, 0.5)
    right = torch.where(is_shown, seen.clamp(-0.5, 1.5), grey)
    left = torch.where(is_shown & (radius <= length / finest), model, grey)
    half = side // 2
    whole = torch.full((side, side), 0.5, dtype=torch.float64)
    whole[:, half:] = right[(torch.arange(side) - half) % side, : side - half]
    whole[:, :half] = left[(half - torch.arange(side)) % side][:, torch.arange(half, 0, -1)]
    return whole.float()
