"""Constants of nature (CODATA 2018, exact where the SI defines them) and the two electron quantities that every optics formula needs."""

import math

PLANCK = 6.62607015e-34  # J s, exact
ELEMENTARY_CHARGE = 1.602176634e-19  # C, exact
SPEED_OF_LIGHT = 299792458.0  # m/s, exact
ELECTRON_MASS = 9.1093837015e-31  # kg
ATOMIC_MASS = 1.66053906660e-27  # kg, one twelfth of carbon 12
BOHR_RADIUS = 0.529177210903  # Å
AVOGADRO = 6.02214076e23  # 1/mol, exact
METRE = 1e10  # Å

ELECTRON_REST_ENERGY_KV = ELECTRON_MASS * SPEED_OF_LIGHT**2 / ELEMENTARY_CHARGE / 1e3


def electron_wavelength(voltage_kv: float) -> float:
    """De Broglie wavelength of a beam electron, Å.

    λ = h / √(2 m e V (1 + eV / 2mc²)).

    Source: Reimer & Kohl, Transmission Electron Microscopy (2008), eq. 2.12.

    Examples
    --------
    >>> round(electron_wavelength(300), 6)
    0.019687
    """
    energy = voltage_kv * 1e3 * ELEMENTARY_CHARGE
    momentum = math.sqrt(2 * ELECTRON_MASS * energy * (1 + voltage_kv / (2 * ELECTRON_REST_ENERGY_KV)))
    return PLANCK / momentum * METRE


def lorentz_factor(voltage_kv: float) -> float:
    """Relativistic γ = 1 + eV/mc² of a beam electron (no unit)."""
    return 1 + voltage_kv / ELECTRON_REST_ENERGY_KV


def interaction_constant(voltage_kv: float) -> float:
    """Phase per projected potential σₑ = 2π m γ e λ / h², rad/(V Å).

    Source: Kirkland, Advanced Computing in Electron Microscopy (2020), eq. 5.6.

    Examples
    --------
    >>> round(1e3 * interaction_constant(300), 4)
    0.6526
    """
    wavelength = electron_wavelength(voltage_kv) / METRE
    mass = ELECTRON_MASS * lorentz_factor(voltage_kv)
    return 2 * math.pi * mass * ELEMENTARY_CHARGE * wavelength / PLANCK**2 / METRE
