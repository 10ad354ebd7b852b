"""The thickness of the specimen from where Thon rings fade and reverse.

Scatterers at all heights of a slab of thickness t make the rings ½ (1 − sinc(λ k² t) cos 2(χ + …)): they vanish first at k = 1/√(λ t).

Source: McMullan, Vinothkumar & Henderson, Ultramicroscopy 158, 26 (2015); Elferich et al., eLife 13, e97227 (2024).
"""

import math
from typing import NamedTuple

import torch

from cryowalk.ctf_estimation.estimate import CtfEstimate
from cryowalk.ctf_estimation.rings import spline_basis
from cryowalk.ctf_estimation.search import oscillation
from cryowalk.data.optics import Optics

_STEP = 10.0  # Å
_LARGEST = 6000.0  # Å
_BACKGROUND_PIECES = 7
_ENVELOPE_PIECES = 1
_LEAST_GAIN = 0.01  # of the variance that a fit without thickness leaves


class ThicknessEstimate(NamedTuple):
    """The thickness (Å), the spacing of the first node of the rings (Å), and the share of the misfit that it removes; NaN where no node is seen."""

    thickness: float
    node: float
    gain: float


def estimate_thickness(estimate: CtfEstimate, optics: Optics, *, finest: float = 3.5) -> ThicknessEstimate:
    """The thickness whose rings fit the equi-phase average best.

    A node must lie within the band that is looked at: at 300 kV and 3.5 Å the thinnest slab that can be told from a thin one has 620 Å.
    """
    average = estimate.average
    band = average.frequency <= 1 / finest
    frequency = average.frequency[band]
    values = torch.log(average.power[band].clamp_min(1e-300))
    position = (frequency - frequency[0]) / (frequency[-1] - frequency[0])
    background = spline_basis(position, pieces=_BACKGROUND_PIECES)
    envelope = spline_basis(position, pieces=_ENVELOPE_PIECES)
    defocus = torch.tensor(estimate.mean_defocus, dtype=torch.float64)
    wave = oscillation(frequency, defocus, optics=optics, phase_shift=float(estimate.defocus.phase_shift.mean()))
    weight = frequency.sqrt()[:, None]  # the number of pixels of a ring grows with its radius
    misfit = []
    trials = torch.arange(0.0, _LARGEST, _STEP, dtype=torch.float64)
    for thickness in trials:
        seen = wave * torch.sinc(optics.wavelength * frequency**2 * thickness)
        design = torch.cat([background, envelope * seen[:, None]], dim=1) * weight
        rest = values[:, None] * weight - design @ torch.linalg.lstsq(design, values[:, None] * weight).solution
        misfit.append(float(rest.square().sum()))
    best = min(range(len(misfit)), key=misfit.__getitem__)
    gain = 1 - misfit[best] / misfit[0]
    thickness = float(trials[best])
    node = math.sqrt(optics.wavelength * thickness)
    if thickness == 0 or node < finest or gain < _LEAST_GAIN:
        return ThicknessEstimate(math.nan, math.nan, gain)
    return ThicknessEstimate(thickness, node, gain)
