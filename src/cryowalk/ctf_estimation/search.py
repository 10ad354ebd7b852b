"""The coarse search: every mean defocus, astigmatism and azimuth on a grid, scored through one matrix product.

Each sector of a power spectrum is correlated with −cos 2(χ + φ + arcsin Q) of every defocus. A trial of defocus and astigmatism then reads one entry of
that table from each sector, the one of the defocus which that sector has.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.ctf_estimation.rings import Rings, directional_basis, relative_position, smooth_fit
from cryowalk.data.optics import Optics

DEFOCUS_STEP = 50.0  # Å
USUAL_AMPLITUDE = 500.0  # Å, standard deviation of the weak prior on half the astigmatism
_AZIMUTHS = 12  # over half a turn
_AMPLITUDES = (0.0, 50.0, 100.0, 150.0, 225.0, 325.0, 450.0, 650.0, 900.0, 1300.0, 1900.0, 2700.0)  # half the astigmatism, Å
_PHASE_STEP = math.pi / 18
_BACKGROUND_PIECES = 5
_ENVELOPE_PIECES = 3
_LEAST_ENVELOPE = 0.05  # of the mean variance: keeps what is almost nothing from being raised to the level of rings
_APART = 0.1  # relative distance in defocus beyond which a maximum counts as another solution


class Trial(NamedTuple):
    """A point of the search: mean defocus (Å), half the astigmatism (Å), azimuth and phase shift (rad), and its correlation."""

    defocus: float
    amplitude: float
    azimuth: float
    phase_shift: float
    score: float


class Search(NamedTuple):
    """The best trial, the score against mean defocus without astigmatism, and the best score of a clearly different defocus.

    `significance` is the best score in standard deviations of what noise without rings would give each trial.
    """

    best: Trial
    defocus: Float[Tensor, " steps"]
    score: Float[Tensor, " steps"]
    runner_up: float
    significance: float


def flattened(rings: Rings) -> Float[Tensor, "sectors rings"]:
    """The rings without their background, divided by the envelope of their oscillation: about −cos 2(χ + …) where there is signal."""
    position = relative_position(rings, rings.ring)
    weight = rings.weight.sum(0)
    rest = rings.profile - smooth_fit(rings.profile, weight, position=position, pieces=_BACKGROUND_PIECES)
    variance = smooth_fit(rest**2, weight, position=position, pieces=_ENVELOPE_PIECES)
    scale = variance.clamp_min(_LEAST_ENVELOPE * float((rest**2).mean())).sqrt()
    level = rings.value - (rings.profile - rest)
    level = level - _directional(rings, level)
    return torch.where(rings.weight > 0, level / scale.clamp_min(1e-12), torch.zeros_like(rings.value))


def _directional(rings: Rings, values: Float[Tensor, "sectors rings"]) -> Float[Tensor, "sectors rings"]:
    """The part of the values that changes smoothly with frequency and as cos 2θ and sin 2θ with direction."""
    basis = directional_basis(relative_position(rings, rings.frequency), rings.azimuth)
    root = rings.weight.sqrt()[..., None]
    design = (basis * root).flatten(0, 1)
    found = torch.linalg.lstsq(design, (values[..., None] * root).flatten(0, 1)).solution
    part: Tensor = (basis @ found)[..., 0]
    return part


def oscillation(
    frequency: Float[Tensor, "*shape"], defocus: Float[Tensor, "*other"], *, optics: Optics, phase_shift: float | Tensor = 0.0
) -> Float[Tensor, "*result"]:
    """−cos 2(χ + φ + arcsin Q): the part of CTF² that oscillates, CTF² = ½ (1 + this), at frequencies in 1/Å."""
    wavelength = optics.wavelength
    squared = frequency**2
    chi = math.pi * wavelength * (defocus * squared - 0.5 * optics.spherical_aberration * wavelength**2 * squared**2)
    return -torch.cos(2 * (chi + phase_shift + math.asin(optics.amplitude_contrast)))


def search(
    rings: Rings,
    optics: Optics,
    *,
    defocus_range: tuple[float, float],
    largest_astigmatism: float,
    phase_shifts: tuple[float, ...] = (0.0,),
) -> Search:
    """The best trial of the grid, by the weighted correlation of the flattened rings with the oscillation of CTF²."""
    values = flattened(rings)
    low, high = defocus_range
    defocus = low + DEFOCUS_STEP * torch.arange(max(2, math.ceil((high - low) / DEFOCUS_STEP) + 1), dtype=torch.float64)
    found: list[Trial] = []
    plain = torch.full_like(defocus, -1.0)
    for phase_shift in phase_shifts:
        match, power = _tables(rings, values, oscillation(rings.ring, defocus[:, None], optics=optics, phase_shift=phase_shift))
        energy = float((values**2 * rings.weight).sum())
        for amplitude in (a for a in _AMPLITUDES if 2 * a <= max(largest_astigmatism, 0.0)):
            for azimuth in [math.pi * i / _AZIMUTHS for i in range(_AZIMUTHS)] if amplitude else [0.0]:
                offset = torch.round(amplitude * torch.cos(2 * (rings.sector_angles() - azimuth)) / DEFOCUS_STEP).long()
                index = (torch.arange(len(defocus)) + offset[:, None]).clamp(0, len(defocus) - 1)
                score = match.gather(1, index).sum(0) / (power.gather(1, index).sum(0) * energy).sqrt().clamp_min(1e-12)
                best = int(score.argmax())
                found.append(Trial(float(defocus[best]), amplitude, azimuth, phase_shift, float(score[best])))
                if amplitude == 0 and float(score.max()) > float(plain.max()):
                    plain = score
    cells = float(rings.weight.sum()) ** 2 / float((rings.weight**2).sum().clamp_min(1))

    def likelihood(trial: Trial) -> float:
        """Up to a constant, with a weak prior: where drift leaves no rings along one direction, astigmatism is free otherwise."""
        unlike = max(1 - max(trial.score, 0.0) ** 2, 1e-12)
        return -cells / 2 * math.log(unlike) - (trial.amplitude / USUAL_AMPLITUDE) ** 2 / 2

    chosen = max(found, key=likelihood)
    apart = (defocus - chosen.defocus).abs() > _APART * chosen.defocus
    runner_up = float(plain[apart].max()) if bool(apart.any()) else 0.0
    return Search(chosen, defocus, plain, runner_up, chosen.score * math.sqrt(cells))


def significance_of(rings: Rings, optics: Optics, trial: Trial) -> float:
    """The weighted correlation of the flattened rings with this trial, in standard deviations of what noise without rings would give it."""
    local = trial.defocus + trial.amplitude * torch.cos(2 * (rings.azimuth - trial.azimuth))
    wave = oscillation(rings.frequency, local, optics=optics, phase_shift=trial.phase_shift)
    weight, values = rings.weight, flattened(rings)
    total = weight.sum()
    wave, values = wave - (wave * weight).sum() / total, values - (values * weight).sum() / total
    power = (wave**2 * weight).sum() * (values**2 * weight).sum()
    cells = total**2 / (weight**2).sum()
    return float((wave * values * weight).sum() / power.sqrt().clamp_min(1e-12) * cells.sqrt())


def phase_shift_grid(low: float, high: float) -> tuple[float, ...]:
    """Phase shifts from low to high in steps of at most 10°, rad."""
    steps = max(1, math.ceil((high - low) / _PHASE_STEP))
    return tuple(low + (high - low) * i / steps for i in range(steps + 1))


def _tables(rings: Rings, values: Tensor, templates: Float[Tensor, "steps rings"]) -> tuple[Tensor, Tensor]:
    """Of each sector with each defocus: the centred product, and the template's centred power, `[sectors, steps]`."""
    weight = rings.weight
    total = weight.sum(1, keepdim=True).clamp_min(1)
    mean_template = weight @ templates.T / total
    mean_value = (values * weight).sum(1, keepdim=True) / total
    match = (values * weight) @ templates.T - mean_value * mean_template * total
    power = weight @ (templates**2).T - mean_template**2 * total
    return match, power
