"""What happens to beam electrons in a slab: a Monte Carlo of elastic and inelastic collisions, their numbers and the angles they add up to.

Source: Reimer & Kohl, Transmission Electron Microscopy (2008), ch. 5, for the laws of single collisions; Egerton, Electron Energy-Loss Spectroscopy in the
Electron Microscope (2011), sec. 3.3, for the Lorentzian of inelastic ones.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cryowalk.core.checks import require_between, require_positive
from cryowalk.core.constants import AVOGADRO, ELECTRON_REST_ENERGY_KV, electron_wavelength, lorentz_factor
from cryowalk.microscope.form_factors import scattering_factor

MEAN_LOSS_EV = 20.0
_FINEST = 8.0  # 1/Å: elastic scattering beyond it is a part in ten thousand
_STEPS = 8192
_WATER_WEIGHT = 18.015  # g/mol
_CUBIC_CENTIMETRE = 1e24  # Å³


class Fates(NamedTuple):
    """What happened to each electron: numbers of elastic and inelastic collisions, and its direction (x, y) on leaving, rad."""

    elastic: Int[Tensor, " n"]
    inelastic: Int[Tensor, " n"]
    direction: Float[Tensor, "n 2"]

    @property
    def angle(self) -> Float[Tensor, " n"]:
        """The angle to the beam, rad."""
        return self.direction.square().sum(dim=-1).sqrt()

    @property
    def unscattered(self) -> Bool[Tensor, " n"]:
        """Electrons that met nothing."""
        return (self.elastic + self.inelastic) == 0

    @property
    def single_elastic(self) -> Bool[Tensor, " n"]:
        """Electrons with one elastic collision and nothing else: the signal of a thin specimen."""
        return (self.elastic == 1) & (self.inelastic == 0)

    @property
    def lost_energy(self) -> Bool[Tensor, " n"]:
        """Electrons with an inelastic collision at least: what an energy filter stops."""
        return self.inelastic > 0

    @property
    def plural(self) -> Bool[Tensor, " n"]:
        """Electrons with more than one collision."""
        return (self.elastic + self.inelastic) > 1


def draw_fates(
    count: int,
    *,
    thickness: float,
    elastic_path: float,
    inelastic_path: float,
    voltage_kv: float,
    generator: torch.Generator,
) -> Fates:
    """The fates of `count` electrons in a slab of `thickness` Å with these mean free paths (Å).

    The numbers of collisions are Poisson's with means t/Λ. An elastic one turns the electron by θ = λk with the law |f(k)|² of oxygen, an inelastic one by the
    Lorentzian 1/(θ² + θ_E²) up to √(2θ_E), at 20 eV; azimuths are even, and small angles add as vectors.

    Raises
    ------
    UsageError
        If the thickness is below zero or a path not above zero.
    """
    require_between("thickness", thickness, 0.0, math.inf)
    means = [thickness / require_positive("mean free path", path, unit="Å") for path in (elastic_path, inelastic_path)]
    elastic, inelastic = (
        torch.poisson(torch.full((count,), mean, dtype=torch.float64), generator=generator).long() for mean in means
    )
    direction = torch.zeros(count, 2, dtype=torch.float64)
    for numbers, draw in ((elastic, elastic_angles), (inelastic, inelastic_angles)):
        electron = torch.repeat_interleave(torch.arange(count), numbers)
        angle = draw(len(electron), voltage_kv=voltage_kv, generator=generator)
        azimuth = 2 * math.pi * torch.rand(len(electron), generator=generator, dtype=torch.float64)
        direction.index_add_(0, electron, torch.stack((angle * torch.cos(azimuth), angle * torch.sin(azimuth)), dim=-1))
    return Fates(elastic, inelastic, direction)


def elastic_angles(count: int, *, voltage_kv: float, generator: torch.Generator) -> Float[Tensor, " count"]:
    """Angles of elastic collisions with oxygen atoms, rad: θ = λ k, with k distributed as |f(k)|² k."""
    k = torch.linspace(0, _FINEST, _STEPS, dtype=torch.float64)
    density = scattering_factor(8, k, form_factors="kirkland") ** 2 * k
    total = torch.cumulative_trapezoid(density, k)
    total = torch.cat((torch.zeros(1, dtype=total.dtype), total)) / total[-1]
    chance = torch.rand(count, generator=generator, dtype=torch.float64)
    upper = torch.searchsorted(total, chance).clamp(1, _STEPS - 1)
    share = (chance - total[upper - 1]) / (total[upper] - total[upper - 1])
    return electron_wavelength(voltage_kv) * (k[upper - 1] + share * (k[upper] - k[upper - 1]))


def inelastic_angles(count: int, *, voltage_kv: float, generator: torch.Generator) -> Float[Tensor, " count"]:
    """Angles of inelastic collisions, rad: the Lorentzian 1/(θ² + θ_E²) up to √(2 θ_E), most of them far below a milliradian."""
    narrow = characteristic_angle(voltage_kv)
    widest = 1 + 2 * narrow / narrow**2  # 1 + (θ_max / θ_E)²
    chance = torch.rand(count, generator=generator, dtype=torch.float64)
    return narrow * torch.sqrt(widest**chance - 1)


def characteristic_angle(voltage_kv: float, *, loss_ev: float = MEAN_LOSS_EV) -> float:
    """The angle θ_E = ΔE / (β² (E + mc²)) within which energy losses ΔE (eV) scatter, rad.

    Source: Egerton (2011), eq. 3.28.
    """
    speed_squared = 1 - 1 / lorentz_factor(require_positive("voltage", voltage_kv, unit="kV")) ** 2
    return loss_ev * 1e-3 / (speed_squared * (voltage_kv + ELECTRON_REST_ENERGY_KV))


def elastic_mean_free_path(voltage_kv: float, *, density: float = 0.93) -> float:
    """The mean free path of elastic scattering in ice of `density` g/cm³, Å: 1 / nσ, σ = 2π λ² γ² ∫ |f(k)|² k dk over free atoms H₂O.

    First Born approximation; bonds, and interference between atoms at small angles, are left out.
    """
    k = torch.linspace(0, _FINEST, _STEPS, dtype=torch.float64)
    molecule = sum(number * scattering_factor(element, k, form_factors="kirkland") ** 2 for element, number in ((1, 2), (8, 1)))
    integral = float(torch.trapezoid(molecule * k, k))
    cross_section = 2 * math.pi * (electron_wavelength(voltage_kv) * lorentz_factor(voltage_kv)) ** 2 * integral
    molecules = require_positive("density", density, unit="g/cm³") * AVOGADRO / _WATER_WEIGHT / _CUBIC_CENTIMETRE
    return 1 / (molecules * cross_section)


def fitted_mean_free_path(thickness: Float[Tensor, " n"], transmitted: Float[Tensor, " n"]) -> float:
    """The mean free path Λ, Å, of transmitted fractions exp(−t/Λ) at these thicknesses (Å): a line through the origin, each point weighed by its fraction.

    −ln p of a fraction p of counted electrons has a variance of (1 − p)/p over their number; the weight p is close to that and needs no number.
    """
    depth = -torch.log(transmitted.double())
    t = thickness.double()
    return float((transmitted * t * t).sum() / (transmitted * t * depth).sum())
