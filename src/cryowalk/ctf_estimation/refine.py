"""The fine fit: defocus, astigmatism and phase shift by variable projection.

The logarithm of the power spectrum is modelled as B(k) + C(k) cos 2θ + S(k) sin 2θ + E(k) · (−cos 2(χ + φ + arcsin Q)) with a smooth background B, its
smooth dependence on direction, C and S (drift, and the interpolation of motion correction, damp one direction more), and a smooth envelope E, all splines. For
every trial of the few parameters of χ the best splines follow from linear least squares, so that only the former are searched.

Source: Golub & Pereyra, SIAM Journal on Numerical Analysis 10, 413 (1973), for the separation.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.ctf_estimation.rings import Rings, directional_basis, relative_position, spline_basis
from cryowalk.ctf_estimation.search import USUAL_AMPLITUDE, Trial, oscillation
from cryowalk.data.optics import Optics

_BACKGROUND_PIECES = 6
_ENVELOPE_PIECES = 2
_RIDGE = 1e-9  # of the mean diagonal of the normal equations
_EVALUATIONS = 80


class Fit(NamedTuple):
    """Mean defocus (Å), half the astigmatism (Å), azimuth and phase shift (rad), the residual's weighted sum of squares, and the mean of E over the band.

    `deviation` are standard errors of (defocus, a cos 2α, a sin 2α[, φ]) from the curvature at the optimum.
    """

    defocus: float
    amplitude: float
    azimuth: float
    phase_shift: float
    residual: float
    envelope: float
    deviation: tuple[float, ...]


def refine(rings: Rings, optics: Optics, *, start: Trial, fit_phase_shift: bool) -> Fit:
    """The least-squares fit that starts from a trial of the search."""
    from scipy.optimize import least_squares

    model = _Model(rings, optics, start.phase_shift)
    first = [
        start.defocus,
        start.amplitude * math.cos(2 * start.azimuth),
        start.amplitude * math.sin(2 * start.azimuth),
    ]
    scale = [100.0, 50.0, 50.0]
    model.hold(np.array(first))
    if fit_phase_shift:
        first, scale = [*first, start.phase_shift], [*scale, 0.2]
    found = least_squares(model.residual, np.array(first), x_scale=np.array(scale), method="lm", max_nfev=_EVALUATIONS)
    defocus, cosine, sine = (float(value) for value in found.x[:3])
    coefficients = model.solve(found.x)[1]
    envelope = float(model.envelope(coefficients).mean())
    jacobian = np.asarray(found.jac)
    normal = jacobian.T @ jacobian
    variance = 2 * found.cost / max(1, len(found.fun) - len(found.x) - len(coefficients))
    deviation = np.sqrt(np.abs(np.diag(np.linalg.pinv(normal))) * variance)
    return Fit(
        defocus=defocus,
        amplitude=math.hypot(cosine, sine),
        azimuth=0.5 * math.atan2(sine, cosine) % math.pi,
        phase_shift=float(found.x[3]) if fit_phase_shift else start.phase_shift,
        residual=2 * float(found.cost),
        envelope=envelope,
        deviation=tuple(float(value) for value in deviation),
    )


class _Model:
    """The weighted least-squares problem on the cells that hold pixels."""

    def __init__(self, rings: Rings, optics: Optics, phase_shift: float) -> None:
        filled = rings.weight > 0
        self._optics, self._phase_shift, self._pull = optics, phase_shift, 0.0
        self._frequency, self._azimuth = rings.frequency[filled], rings.azimuth[filled]
        self._root = rings.weight[filled].sqrt()[:, None]
        self._values = rings.value[filled][:, None] * self._root
        position = relative_position(rings, self._frequency)
        level = spline_basis(position, pieces=_BACKGROUND_PIECES)
        self._background = torch.cat([level, directional_basis(position, self._azimuth)], dim=1)
        self._envelope = spline_basis(position, pieces=_ENVELOPE_PIECES)

    def solve(self, parameters: "np.ndarray") -> tuple[Float[Tensor, " cells"], Float[Tensor, " functions"]]:
        """The weighted residual and the coefficients of background and envelope at these parameters."""
        defocus, cosine, sine = (float(value) for value in parameters[:3])
        phase_shift = float(parameters[3]) if len(parameters) > 3 else self._phase_shift
        local = defocus + cosine * torch.cos(2 * self._azimuth) + sine * torch.sin(2 * self._azimuth)
        wave = oscillation(self._frequency, local, optics=self._optics, phase_shift=phase_shift)
        design = torch.cat([self._background, self._envelope * wave[:, None]], dim=1) * self._root
        normal = design.T @ design
        normal = normal + _RIDGE * normal.diagonal().mean() * torch.eye(len(normal), dtype=normal.dtype)
        coefficients = torch.linalg.solve(normal, design.T @ self._values)
        return (design @ coefficients - self._values)[:, 0], coefficients[:, 0]

    def residual(self, parameters: "np.ndarray") -> "np.ndarray":
        """What `least_squares` minimises the square of."""
        prior = [self._pull * float(value) for value in parameters[1:3]]
        return np.append(self.solve(parameters)[0].numpy(), prior)

    def hold(self, start: "np.ndarray") -> None:
        """Hold astigmatism to 0 as weakly as a normal prior does beside the noise that is left at the start."""
        rest, coefficients = self.solve(start)
        self._pull = math.sqrt(float(rest.square().sum()) / max(1, len(rest) - len(coefficients))) / USUAL_AMPLITUDE

    def envelope(self, coefficients: Tensor) -> Tensor:
        """E at every cell."""
        return self._envelope @ coefficients[self._background.shape[1] :]
