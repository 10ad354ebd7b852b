"""A phase that many images share, fitted to a few sums a coefficient.

An even phase: with ε added to every CTF phase, sin(γ + ε) = u · t, u = (sin γ, cos γ) of each image and t = (cos ε, sin ε) of all: the log-likelihood at a coefficient is
b · t − ½ t · A t with b = Σ u Re(y p*)/σ², A = Σ u uᵀ |p|²/σ², exactly, for any ε. An odd phase ρ multiplies images
by e^(iρ): its log-likelihood is Re(S e^(−iρ)) with S = Σ CTF y p*/σ². Both are sums of given functions of k, found by Gauss–Newton steps from coarse to
fine coefficients, so that no turn is lost.

Source: Zivanov, Nakane & Scheres, IUCrJ 7, 253 (2020), sec. 2.4.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.poses.evidence import Band, Evidence

STAGES = (0.4, 0.6, 0.8, 1.0)  # of the largest radius
STEPS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class EvenSums:
    """b (two rows) and A (three: sine², sine · cosine, cosine²) at each coefficient; `add` changes them in place."""

    linear: Float[Tensor, "2 K"]
    quadratic: Float[Tensor, "3 K"]

    @staticmethod
    def empty(count: int) -> "EvenSums":
        """Sums of no images."""
        return EvenSums(linear=torch.zeros(2, count, dtype=torch.float64), quadratic=torch.zeros(3, count, dtype=torch.float64))

    def add(self, part: Evidence) -> None:
        """Add some images."""
        sine, cosine = part.phase.sin().float(), part.phase.cos().float()
        agreement, strength = part.agreement, part.strength
        self.linear[0] += (agreement * sine).sum(dim=0).double()
        self.linear[1] += (agreement * cosine).sum(dim=0).double()
        self.quadratic[0] += (strength * sine**2).sum(dim=0).double()
        self.quadratic[1] += (strength * sine * cosine).sum(dim=0).double()
        self.quadratic[2] += (strength * cosine**2).sum(dim=0).double()

    def likelihood(self, phase: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """The value of b · t − ½ t · A t at each coefficient, less that at ε = 0."""
        c, s = phase.cos(), phase.sin()
        first, cross, last = self.quadratic
        value = self.linear[0] * c + self.linear[1] * s - (first * c**2 + 2 * cross * c * s + last * s**2) / 2
        rise: Tensor = value - (self.linear[0] - first / 2)
        return rise

    def slope_and_weight(self, phase: Float[Tensor, " K"]) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
        """dL/dε, and its expected curvature t′ · A t′ with t′ = dt/dε."""
        c, s = phase.cos(), phase.sin()
        first, cross, last = self.quadratic
        slope = (self.linear[1] - cross * c - last * s) * c - (self.linear[0] - first * c - cross * s) * s
        return slope, first * s**2 - 2 * cross * s * c + last * c**2


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseFit:
    """Coefficients of the functions, their standard deviations, and the rise of the log-likelihood."""

    coefficients: Float[Tensor, " functions"]
    deviations: Float[Tensor, " functions"]
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OddSums:
    """S = Σ CTF y p* / σ² at each coefficient, and Σ CTF² |p|² / σ²; an odd phase ρ of all images has the log-likelihood Re(S e^(−iρ)), exactly."""

    real: Float[Tensor, " K"]
    imaginary: Float[Tensor, " K"]
    power: Float[Tensor, " K"]

    @staticmethod
    def empty(count: int) -> "OddSums":
        """Sums of no images."""
        real, imaginary, power = torch.zeros(3, count, dtype=torch.float64).unbind(0)
        return OddSums(real=real, imaginary=imaginary, power=power)

    def add(self, part: Evidence) -> None:
        """Add some images."""
        sine = part.phase.sin().float()
        product = part.data * part.prediction.conj() * (sine * part.amplitude * part.inverse_noise)
        self.real.add_(product.real.double().sum(dim=0))
        self.imaginary.add_(product.imag.double().sum(dim=0))
        self.power.add_((sine.square() * part.strength).sum(dim=0).double())

    def likelihood(self, phase: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
        """Re(S e^(−iρ)) less its value at ρ = 0."""
        return self.real * (phase.cos() - 1) + self.imaginary * phase.sin()

    def slope_and_weight(self, phase: Float[Tensor, " K"]) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
        """dL/dρ, and its expected curvature."""
        slope = self.imaginary * phase.cos() - self.real * phase.sin()
        return slope, self.power


def fit_phase(sums: EvenSums | OddSums, basis: Float[Tensor, "functions K"], *, band: Band) -> PhaseFit:
    """Gauss–Newton on the coefficients of the functions, from coarse to fine."""
    size = basis.square().mean(dim=1, keepdim=True).sqrt().clamp_min(torch.finfo(basis.dtype).tiny)
    functions, found = basis / size, torch.zeros(len(basis), dtype=torch.float64)
    information = torch.eye(len(basis), dtype=torch.float64)
    radius = torch.sqrt((band.kx**2 + band.ky**2).double())
    for part in STAGES:
        inside = radius <= part * float(radius.max()) + 1e-12
        used = functions[:, inside]
        for _ in range(STEPS):
            slope, weight = sums.slope_and_weight(found @ functions)
            gradient, information = used @ slope[inside], (used * weight[inside]) @ used.T
            if not bool(information.any()):
                break  # nothing so coarse was looked at
            ridge = 1e-9 * information.diagonal().mean().clamp_min(torch.finfo(basis.dtype).tiny)
            step = torch.linalg.solve(information + ridge * torch.eye(len(basis), dtype=torch.float64), gradient)
            before = float(sums.likelihood(found @ functions)[inside].sum())
            while float(step.norm()) > 1e-9 and float(sums.likelihood((found + step) @ functions)[inside].sum()) < before:
                step = step / 2
            found = found + step
            if float(step.norm()) <= 1e-7 * (1 + float(found.norm())):
                break
    deviations = torch.linalg.pinv(information).diagonal().clamp_min(0).sqrt()
    gain = float(sums.likelihood(found @ functions).sum())
    return PhaseFit(coefficients=found / size[:, 0], deviations=deviations / size[:, 0], gain=gain)
