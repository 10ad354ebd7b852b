"""Radiation damage: what is left of each spatial frequency after a dose, and the weights that make the most of it.

Grant & Grigorieff, eLife 4, e06980 (2015).
"""

import math
from bisect import bisect_left
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_between, require_positive
from cryowalk.core.errors import UsageError

_SCALE, _POWER, _FLOOR = 0.24499, -1.6649, 2.8141  # e⁻/Å², measured at 300 kV
_VOLTAGES = (100.0, 200.0, 300.0)
_VOLTAGE_FACTORS = (0.64, 0.8, 1.0)
OPTIMAL_OVER_CRITICAL = 2.512862417252339
"""The dose of the largest signal-to-noise ratio in critical exposures: the root above zero of x e^(−x/2) = 1 − e^(−x/2)."""


def voltage_factor(voltage_kv: float) -> float:
    """How many electrons do the damage of one at 300 kV, turned over: the factor on the critical exposure, 1 at 300 kV.

    0.8 at 200 kV (Grant & Grigorieff). 0.64 at 100 kV, as in RELION and as crystals of paraffin and bacteriorhodopsin fade (damage 1.57 times
    that at 300 kV, so 0.637); cisTEM has 0.532, about the ratio of stopping powers. Straight lines between these, the lower one drawn on to 80 kV.

    Raises
    ------
    UsageError
        Outside 80 to 300 kV, where nothing was measured.

    Source: Peet, Henderson & Russo, Ultramicroscopy 203, 125 (2019), abstract and section 3.
    """
    require_between("voltage for the critical exposure (kV)", voltage_kv, 80.0, 300.0)
    upper = max(1, bisect_left(_VOLTAGES, voltage_kv))
    low, high = _VOLTAGES[upper - 1], _VOLTAGES[upper]
    at_low, at_high = _VOLTAGE_FACTORS[upper - 1], _VOLTAGE_FACTORS[upper]
    return at_low + (at_high - at_low) * (voltage_kv - low) / (high - low)


def critical_exposure(frequency: Float[Tensor, "*shape"], *, voltage_kv: float) -> Float[Tensor, "*shape"]:
    """Critical exposure N_c(k) = 0.24499 k^(−1.6649) + 2.8141, e⁻/Å², times the `voltage_factor`: the dose that leaves 1/e of the intensity.

    Fitted to rotavirus capsids at 300 kV between about 20 and 3 Å; infinite at k = 0. Amplitudes fall as exp(−N / 2 N_c).

    Source: Grant & Grigorieff, eLife 4, e06980 (2015), the fit to the critical exposures in the section Results.
    """
    return (_SCALE * frequency**_POWER + _FLOOR) * voltage_factor(voltage_kv)


def exposure_filter(frequency: Float[Tensor, "*shape"], *, dose: float | Tensor, voltage_kv: float) -> Float[Tensor, "*result"]:
    """The amplitude exp(−N / 2 N_c(k)) that is left after a dose N (e⁻/Å²), relative to the undamaged specimen; 1 at k = 0.

    A dose that is a tensor broadcasts with the frequencies.
    """
    _check_dose("dose", dose)
    return torch.exp(-_decay(frequency, voltage_kv=voltage_kv) * dose)


def attenuation(
    frequency: Float[Tensor, "*shape"], *, dose_before: float | Tensor, dose: float | Tensor, voltage_kv: float
) -> Float[Tensor, "*result"]:
    """The mean amplitude left during a frame of `dose` that follows `dose_before` (e⁻/Å²), relative to the undamaged specimen.

    (1/d) ∫ exp(−N / 2 N_c) dN from N₀ to N₀ + d = exp(−N₀ / 2 N_c) (1 − e^(−x))/x with x = d / 2 N_c; with no dose it is `exposure_filter`.
    Doses that are tensors broadcast with the frequencies.

    Raises
    ------
    UsageError
        If a dose is negative.
    """
    _check_dose("dose before the frame", dose_before)
    _check_dose("dose", dose)
    decay = _decay(frequency, voltage_kv=voltage_kv)
    x = decay * dose
    is_small = x < 1e-4  # below it the series is exact to 1e-13, and the quotient would divide by zero
    safe = torch.where(is_small, torch.ones_like(x), x)
    mean = torch.where(is_small, 1 - x / 2 + x**2 / 6, -torch.expm1(-safe) / safe)
    return torch.exp(-decay * dose_before) * mean


def left_in_sum(
    frequency: Float[Tensor, "*shape"],
    *,
    kind: Literal["plain_sum", "dose_weighted"],
    dose: float,
    dose_before: float = 0.0,
    voltage_kv: float,
) -> Float[Tensor, "*shape"]:
    """The amplitude left in the sum of a whole exposure of `dose` after `dose_before` (e⁻/Å²), its noise being that of a plain sum.

    The plain sum keeps the mean of a = exp(−N / 2 N_c) over the dose; the dose-weighted one, its noise power restored, √(mean of a²), and a² is the
    amplitude after twice the dose.

    Source: Grant & Grigorieff, eLife 4, e06980 (2015), sections on exposure filtering and on restoring the noise power.
    """
    if kind == "plain_sum":
        return attenuation(frequency, dose_before=dose_before, dose=dose, voltage_kv=voltage_kv)
    return attenuation(frequency, dose_before=2 * dose_before, dose=2 * dose, voltage_kv=voltage_kv).sqrt()


def dose_weights(
    frequency: Float[Tensor, "*shape"], *, frames: int, dose_per_frame: float, dose_before: float = 0.0, voltage_kv: float
) -> Float[Tensor, "*result"]:
    """The factors on the spectra of a movie's frames whose sum has the best signal-to-noise ratio at every frequency.

    w_f = a_f / √(Σ a²), a_f = exp(−N_f / 2 N_c), N_f the dose up to the end of frame f. White noise of the sum has the power of one frame's noise. The
    amplitude at the frame's start, end or its mean differ by one factor for all frames, so the weights are the same.

    Source: Grant & Grigorieff, eLife 4, e06980 (2015), sections on exposure filtering and on restoring the noise power.
    """
    doses = _dose_at_ends(frequency, frames=frames, dose_per_frame=dose_per_frame, dose_before=dose_before)
    # Relative to the first frame: a long pre-exposure would underflow in all frames alike.
    amplitude = exposure_filter(frequency, dose=doses - doses[:1], voltage_kv=voltage_kv)
    return amplitude / torch.sqrt((amplitude**2).sum(dim=0))


def weighting_gain(
    frequency: Float[Tensor, "*shape"], *, frames: int, dose_per_frame: float, dose_before: float = 0.0, voltage_kv: float
) -> Float[Tensor, "*shape"]:
    """The signal-to-noise ratio (of powers) of the dose-weighted sum over that of the plain sum of the same frames: F Σ a² / (Σ a)² ≥ 1.

    Equal noise in every frame; ≥ 1 is the inequality of Cauchy and Schwarz, with 1 where nothing is damaged.
    """
    doses = _dose_at_ends(frequency, frames=frames, dose_per_frame=dose_per_frame, dose_before=dose_before)
    amplitude = exposure_filter(frequency, dose=doses - doses[:1], voltage_kv=voltage_kv)
    return frames * (amplitude**2).sum(dim=0) / amplitude.sum(dim=0) ** 2


def optimal_dose(frequency: Float[Tensor, "*shape"], *, voltage_kv: float) -> Float[Tensor, "*shape"]:
    """The dose at which a plain sum has its best signal-to-noise ratio at each frequency, 2.51286 N_c(k), e⁻/Å².

    The signal (1 − e^(−x/2)) over the noise √x, x = N / N_c, is largest where x e^(−x/2) = 1 − e^(−x/2).

    Source: Hayward & Glaeser, Ultramicroscopy 4, 201 (1979).
    """
    return OPTIMAL_OVER_CRITICAL * critical_exposure(frequency, voltage_kv=voltage_kv)


def _decay(frequency: Tensor, *, voltage_kv: float) -> Tensor:
    """1 / 2 N_c, with 0 (and a gradient of 0) at k = 0."""
    growth = frequency**-_POWER
    return growth / (2 * voltage_factor(voltage_kv) * (_SCALE + _FLOOR * growth))


def _dose_at_ends(frequency: Tensor, *, frames: int, dose_per_frame: float, dose_before: float) -> Tensor:
    """The dose up to the end of each frame, ready to broadcast with the frequencies."""
    if frames < 1:
        raise UsageError(f"a movie has at least one frame: got {frames}")
    require_positive("dose per frame", dose_per_frame, unit="e⁻/Å²")
    _check_dose("dose before the movie", dose_before)
    index = torch.arange(1, frames + 1, dtype=frequency.dtype, device=frequency.device)
    return (dose_before + dose_per_frame * index).reshape(-1, *[1] * frequency.ndim)


def _check_dose(name: str, dose: float | Tensor) -> None:
    if not isinstance(dose, Tensor) and not (math.isfinite(dose) and dose >= 0):
        raise UsageError(f"the {name} must be zero or above: got {dose} e⁻/Å²")
