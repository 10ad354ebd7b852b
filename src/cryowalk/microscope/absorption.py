"""Electrons that are lost: inelastic scattering in ice, as a mean free path and as an imaginary potential.

Source: Rice et al., J. Struct. Biol. 204, 38 (2018); Langmore & Smith, Ultramicroscopy 46, 349 (1992).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_positive
from cryowalk.core.constants import ELECTRON_REST_ENERGY_KV, interaction_constant, lorentz_factor
from cryowalk.core.errors import InputError
from cryowalk.microscope.ice import require_thickness

_MEASURED = 3950.0  # Å at 300 kV, vitreous ice, zero-loss peak against everything: Rice et al. 2018
_MEASURED_AT_KV = 300.0
_MEAN_LOSS_KV = 0.020  # the mean energy loss that Langmore & Smith take


def mean_free_path(voltage_kv: float) -> float:
    """The mean free path of inelastic scattering in vitreous ice, Å.

    3950 Å as measured at 300 kV. At other voltages it goes as β² / ln(2/θ_E), θ_E = ΔE / (β² (E + mc²)) with ΔE = 20 eV.
    Reports differ by a fifth: 3000 to 3950 Å at 300 kV, 2030 Å at 120 kV (here 2428 Å).

    Source: Rice et al. (2018); for the dependence on voltage Langmore & Smith (1992), after Wall, Isaacson & Langmore (1974).

    Examples
    --------
    >>> round(mean_free_path(300))
    3950
    """
    require_positive("voltage_kv", voltage_kv, unit="kV")
    return _MEASURED * _bethe(voltage_kv) / _bethe(_MEASURED_AT_KV)


def _bethe(voltage_kv: float) -> float:
    """β² / ln(2/θ_E): what a cross-section of inelastic scattering is inversely proportional to."""
    gamma = lorentz_factor(voltage_kv)
    beta_squared = 1 - 1 / gamma**2
    angle = _MEAN_LOSS_KV / (beta_squared * (voltage_kv + ELECTRON_REST_ENERGY_KV))
    return beta_squared / math.log(2 / angle)


def transmitted_fraction(thickness: float | Float[Tensor, "*shape"], *, voltage_kv: float) -> float | Float[Tensor, "*shape"]:
    """The part of the beam that passes ice of this thickness (Å) without loss of energy: exp(−t/Λ) (no unit).

    It is what a zero-loss filter lets through. Without a filter the others arrive too, as a blurred background (`unfiltered`).

    Raises
    ------
    UsageError, InputError
        If a thickness is negative.

    Source: Beer–Lambert's law with Λ of `mean_free_path`.

    Examples
    --------
    >>> round(transmitted_fraction(500.0, voltage_kv=300), 3)
    0.881
    """
    path = mean_free_path(voltage_kv)
    if not isinstance(thickness, Tensor):
        return math.exp(-require_thickness(thickness) / path)
    if bool((thickness < 0).any()):
        raise InputError("the thickness map holds negative values", expected="Å, 0 where there is no ice")
    return torch.exp(thickness / -path)


def imaginary_potential(voltage_kv: float) -> float:
    """The imaginary part of the potential of ice that stands for inelastic losses, V: V′ = 1 / (2 σₑ Λ).

    A wave that passes V + iV′ of thickness t is multiplied by exp(iσₑ(V + iV′)t), so that its intensity falls as exp(−t/Λ).
    """
    return 1 / (2 * interaction_constant(voltage_kv) * mean_free_path(voltage_kv))
