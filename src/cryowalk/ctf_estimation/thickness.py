"""The thickness of the specimen from where Thon rings fade and reverse.

Scatterers at all heights of a slab of thickness t make the rings ½ (1 − sinc(λ k² t) cos 2(χ + …)): they vanish first at k = 1/√(λ t).

Source: McMullan, Vinothkumar & Henderson, Ultramicroscopy 158, 26 (2015); Elferich et al., eLife 13, e97227 (2024).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cryowalk.ctf_estimation.estimate import CtfEstimate
from cryowalk.ctf_estimation.rings import smooth_fit, spline_basis
from cryowalk.ctf_estimation.search import oscillation
from cryowalk.data.optics import Optics

_STEP = 10.0  # Å
_LARGEST = 6000.0  # Å
_BACKGROUND_PIECES = 7
_DECAYS = tuple(
    10.0 * i for i in range(-3, 31)
)  # Å², B of the rings' envelope exp(−B k²); a little below 0, where the background falls faster
_SIGNIFICANT = 5.0  # standard deviations


class ThicknessEstimate(NamedTuple):
    """The thickness (Å) and the spacing of the first node of the rings (Å), NaN where no node is seen.

    `significance` says how much better it fits than any thickness without a node in the band, in standard deviations.
    """

    thickness: float
    node: float
    significance: float


def estimate_thickness(estimate: CtfEstimate, optics: Optics, *, finest: float = 3.5) -> ThicknessEstimate:
    """The thickness whose rings fit the equi-phase average best.

    The average over its smooth background is modelled as a spline plus a exp(−B k²) sinc(λ k² t) · (−cos 2(χ + …)) with a > 0: an envelope that may not change
    its sign, so that a node is not taken for one. A node must lie within the band that is looked at: at 300 kV and 3.5 Å the thinnest slab that can be told from
    a thin one has 620 Å.
    """
    average = estimate.average
    band = average.frequency <= 1 / finest
    frequency = average.frequency[band]
    power = average.power[band].clamp_min(float(average.power[band].mean()) * 1e-9)
    weight = frequency.sqrt()  # the number of pixels of a ring grows with its radius
    position = (frequency - frequency[0]) / (frequency[-1] - frequency[0])
    smooth = smooth_fit(torch.log(power), weight**2, position=position, pieces=_BACKGROUND_PIECES)
    background = torch.linalg.qr(spline_basis(position, pieces=_BACKGROUND_PIECES) * weight[:, None]).Q

    def rest(columns: Tensor) -> Tensor:
        """What the background cannot take up."""
        left: Tensor = columns - background @ (background.T @ columns)
        return left

    defocus = torch.tensor(estimate.mean_defocus, dtype=torch.float64)
    wave = oscillation(frequency, defocus, optics=optics, phase_shift=float(estimate.defocus.phase_shift.mean()))
    values = rest((power / torch.exp(smooth) * weight)[:, None])[:, 0]
    trials = torch.arange(0.0, _LARGEST, _STEP, dtype=torch.float64)
    fade = torch.sinc(optics.wavelength * frequency[:, None] ** 2 * trials)
    gains = []
    for decay in _DECAYS:
        rings = rest((wave * weight * torch.exp(-decay * frequency**2))[:, None] * fade)
        gains.append((values @ rings).clamp_min(0) ** 2 / rings.square().sum(0).clamp_min(1e-12))
    gain = torch.stack(gains).amax(0)
    best = int(gain.argmax())
    noise = float(values.square().sum() - gain[best]) / max(1, len(values) - background.shape[1] - 3)
    thickness = float(trials[best])
    node = math.sqrt(optics.wavelength * thickness)
    without = float(gain[optics.wavelength * trials <= finest**2].max())  # the best whose node lies outside the band
    significance = math.sqrt(max(float(gain[best]) - without, 0.0) / noise) if noise > 0 else 0.0
    if significance < _SIGNIFICANT:
        return ThicknessEstimate(math.nan, math.nan, significance)
    return ThicknessEstimate(thickness, node, significance)
