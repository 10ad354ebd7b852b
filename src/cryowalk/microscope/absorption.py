"""What becomes of electrons in ice: mean free paths, the part without loss of energy, an imaginary potential, and images without an energy filter.

Source: Rice et al., J. Struct. Biol. 204, 38 (2018); Langmore & Smith, Ultramicroscopy 46, 349 (1992).
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_positive
from cryowalk.core.constants import ELECTRON_REST_ENERGY_KV, interaction_constant, lorentz_factor
from cryowalk.core.errors import InputError
from cryowalk.fourier.grids import frequency_radius
from cryowalk.fourier.transform import filtered_image, filtering_half_spectrum
from cryowalk.microscope.ice import MOLECULES_PER_VOLUME, VARIANCE_PER_MOLECULE, require_thickness

_MEASURED = 3950.0  # Å at 300 kV, vitreous ice, zero-loss peak against everything: Rice et al. 2018
_MEASURED_AT_KV = 300.0
INELASTIC_SPREAD = 30.0  # Å, standard deviation of the blur of inelastically scattered electrons; our choice, see `unfiltered`
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
    path = mean_free_path(voltage_kv)
    return 1 / (2 * interaction_constant(voltage_kv) * path)


def elastic_mean_free_path(voltage_kv: float) -> float:
    """The mean free path of elastic scattering in vitreous ice, Å: 1 / (σₑ² ρ · 10 196 V² Å⁴), 7330 Å at 300 kV.

    In the first Born approximation the probability of elastic scattering in a thin slab is the variance of its phase; that of ice of 1 Å thickness is
    the integral of `ice.power`, times σₑ². So the loss of the unscattered wave in simulated ice agrees with it.
    """
    require_positive("voltage_kv", voltage_kv, unit="kV")
    return 1 / (interaction_constant(voltage_kv) ** 2 * MOLECULES_PER_VOLUME * VARIANCE_PER_MOLECULE)


class Fates(NamedTuple):
    """The parts of a beam (no unit, sum 1) by what happened to the electrons in a slab."""

    unscattered: float
    elastic: float  # once or more, and without loss of energy: these make the image's contrast
    inelastic: float  # once or more, elastically scattered as well or not


def fates(thickness: float, *, voltage_kv: float) -> Fates:
    """What becomes of electrons in ice of this thickness (Å): elastic and inelastic events are independent, and each as frequent as its mean free path says.

    Examples
    --------
    >>> [round(part, 3) for part in fates(500.0, voltage_kv=300)]
    [0.823, 0.058, 0.119]
    """
    require_thickness(thickness)
    without_loss = math.exp(-thickness / mean_free_path(voltage_kv))
    straight = math.exp(-thickness / elastic_mean_free_path(voltage_kv))
    return Fates(without_loss * straight, without_loss * (1 - straight), 1 - without_loss)


def unfiltered(
    image: Float[Tensor, "*batch h w"],
    thickness: float | Float[Tensor, "h w"],
    *,
    voltage_kv: float,
    pixel_size: float,
    spread: float = INELASTIC_SPREAD,
) -> Float[Tensor, "*batch h w"]:
    """The intensity without an energy filter, in the unit of `image`: T · image + blurred (1 − T) · image, T the fraction without loss.

    `image` is the intensity that electrons without loss would make if there were no others. All electrons arrive, but those that lost energy are out of focus by
    some thousand Å (Cc ΔE/E) and come from interactions that are themselves tens of Å wide: their image is taken as that of the others, blurred by a
    Gaussian of standard deviation `spread` (Å). The number of electrons is kept. A coarse model: use it for the background, not for detail.
    """
    fraction = transmitted_fraction(thickness, voltage_kv=voltage_kv)
    lost = (1 - fraction) * image
    size = (image.shape[-2], image.shape[-1])
    radius = frequency_radius(size, pixel_size=require_positive("pixel_size", pixel_size, unit="Å"), like=image)
    weights = torch.exp(-2 * (math.pi * spread * radius) ** 2)
    return fraction * image + filtered_image(filtering_half_spectrum(lost) * weights, width=size[1])
