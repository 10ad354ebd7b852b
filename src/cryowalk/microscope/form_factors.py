"""How single atoms scatter electrons: form factors of Peng and of Kirkland, atoms with the hydrogens that are bonded to them, and their projected potentials.

Source: Peng, Ren, Dudarev & Whelan, Acta Cryst. A52, 257 (1996), as International Tables for Crystallography C (2006), table 4.3.2.2, has them (read through
gemmi); Kirkland, Advanced Computing in Electron Microscopy (2020), appendix C.
"""

import math
from functools import cache
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.constants import BOHR_RADIUS, ELECTRON_MASS, ELEMENTARY_CHARGE, METRE, PLANCK
from cryowalk.core.errors import InputError, UsageError

FormFactors = Literal["peng", "kirkland", "bonded"]

VOLT_PER_SCATTERING_FACTOR = (
    PLANCK**2 / (2 * math.pi * ELECTRON_MASS * ELEMENTARY_CHARGE) * METRE**2
)  # V Å², times f in Å gives V Å³
_BONDED_EXPONENT = 1.16  # 1/a₀: the 1s shell of a bonded hydrogen is that much narrower than a free atom's


class _Terms(NamedTuple):
    """f(k) = Σ lorentzian[0]/(k² + lorentzian[1]) + Σ gaussian[0] exp(−gaussian[1] k²), Å and 1/Å."""

    lorentzians: tuple[tuple[float, float], ...]
    gaussians: tuple[tuple[float, float], ...]


@cache
def _kirkland() -> dict[int, _Terms]:
    from cryowalk.microscope.kirkland_table import KIRKLAND

    table = {}
    for atomic_number, line in enumerate(KIRKLAND.splitlines(), start=1):
        values = [float(word) for word in line.split()[1:]]
        pairs = list(zip(values[::2], values[1::2], strict=True))
        table[atomic_number] = _Terms(tuple(pairs[:3]), tuple(pairs[3:]))
    return table


@cache
def _terms(atomic_number: int, form_factors: str) -> _Terms:
    """The element's parameters in one of the tables."""
    import gemmi

    largest = {"peng": 98, "bonded": 98, "kirkland": 103}.get(form_factors)
    if largest is None:
        raise UsageError(f"no such form factors: {form_factors!r}", expected="peng, kirkland or bonded")
    if not 1 <= atomic_number <= largest:
        raise InputError(
            f"no electron scattering factor for atomic number {atomic_number}",
            expected=f"an element from hydrogen (1) to {gemmi.Element(largest).name} ({largest})",
            cause="an atom whose element is missing or unknown in the structure file",
        )
    if form_factors == "kirkland":
        return _kirkland()[atomic_number]
    coefficients = gemmi.Element(atomic_number).c4322
    return _Terms((), tuple((a, b / 4) for a, b in zip(coefficients.a, coefficients.b, strict=True)))


def scattering_factor(
    atomic_number: int, frequency: Float[Tensor, "*shape"], *, form_factors: FormFactors = "peng"
) -> Float[Tensor, "*shape"]:
    """Electron scattering factor f of a free neutral atom at rest, Å, at spatial frequencies k in 1/Å.

    `peng`: five Gaussians, Σ a_i exp(−b_i k²/4), fitted for k up to 4 Å⁻¹. `kirkland`: three Lorentzians and three Gaussians, up to 12 Å⁻¹, with the
    right fall as 1/k² beyond. They agree to 0.3 % at k = 0 for the elements of life. `bonded` is `peng` here: its hydrogens are added with
    `bonded_hydrogen`.

    Raises
    ------
    InputError
        If there is no such element in the tables.

    Source: International Tables for Crystallography C, table 4.3.2.2, Peng et al. (1996); Kirkland (2020), eq. C.15.

    Examples
    --------
    >>> round(scattering_factor(6, torch.zeros(1, dtype=torch.float64), form_factors="kirkland").item(), 4)
    2.5114
    """
    terms = _terms(atomic_number, form_factors)
    squared = frequency**2
    total = torch.zeros_like(squared)
    for amplitude, width in terms.gaussians:
        total = total + amplitude * torch.exp(-width * squared)
    for amplitude, width in terms.lorentzians:
        total = total + amplitude / (squared + width)
    return total


def bonded_hydrogen(frequency: Float[Tensor, "*shape"], *, bond_length: float) -> Float[Tensor, "*shape"]:
    """Electron scattering factor of a hydrogen seen from the atom to which it is bonded, averaged over directions of the bond, Å.

    f_H(k) sin(2πkd)/(2πkd), d the bond length (Å), with f_H of a proton in a 1s shell of exponent ζ = 1.16/a₀ by the Mott–Bethe formula:
    f_H = a₀/(2ζ²) · (2 + u)/(1 + u)², u = (πk a₀/ζ)² with ζ in units of 1/a₀. f_H(0) = a₀/ζ² = 0.393 Å; a free atom (ζ = 1) has 0.529 Å.

    Source: the spherical bonded hydrogen of Stewart, Davidson & Simpson, J. Chem. Phys. 42, 3175 (1965), here as one 1s function with the same ⟨r²⟩ as their table
    (International Tables C, table 6.1.1.2); the average over directions is Debye's, Ann. Phys. 46, 809 (1915).
    """
    u = (math.pi * BOHR_RADIUS / _BONDED_EXPONENT * frequency) ** 2
    at_rest = BOHR_RADIUS / (2 * _BONDED_EXPONENT**2) * (2 + u) / (1 + u) ** 2
    return at_rest * torch.sinc(2 * bond_length * frequency)


def projected_atom(
    atomic_number: int,
    distance: Float[Tensor, "*shape"],
    *,
    b_factor: float = 0.0,
    form_factors: FormFactors = "peng",
) -> Float[Tensor, "*shape"]:
    """The projected potential ∫ V dz of one atom, V Å, at distances (Å) from its centre in the plane: the closed form.

    Gaussians of `peng`: Σ C a 4π/(b + B) exp(−4π² r²/(b + B)). Of `kirkland`: C [2π Σ a K₀(2πr√b) + π Σ c/d exp(−π² r²/d)], infinite at r = 0, and without a
    B-factor. C = h²/(2π m e) = 47.878 V Å². It is the infinitely fine picture of what `specimen.projected_potential` makes on a grid.

    Source: Kirkland (2020), eq. C.20.
    """
    terms = _terms(atomic_number, form_factors)
    if terms.lorentzians and b_factor != 0:
        raise UsageError("the closed form with Kirkland's factors is that of an atom at rest", fix="b_factor=0")
    total = torch.zeros_like(distance)
    for amplitude, width in terms.gaussians:
        wide = width + b_factor / 4
        total = total + math.pi * amplitude / wide * torch.exp(-((math.pi * distance) ** 2) / wide)
    for amplitude, width in terms.lorentzians:
        argument = 2 * math.pi * math.sqrt(width) * distance
        total = total + 2 * math.pi * amplitude * torch.special.modified_bessel_k0(argument)
    return VOLT_PER_SCATTERING_FACTOR * total
