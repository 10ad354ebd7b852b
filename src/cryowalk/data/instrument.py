"""What the electron gun and the objective lens add to the optics table: how coherent the beam is, and what the aperture lets through."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Gun:
    """The electron gun and condenser as the specimen sees them.

    `energy_spread_ev` is the standard deviation of the beam's energy, eV (a field-emission gun's 0.7 eV full width at half maximum is 0.3);
    `convergence` the half-angle α of the illumination exp(−θ²/α²), rad; `voltage_ripple` the relative standard deviation of the acceleration
    voltage; `brightness` in A/(m² sr) at the voltage in use, for what a given coherence costs in current.
    """

    energy_spread_ev: float = 0.3
    convergence: float = 5e-5
    voltage_ripple: float = 7e-8
    brightness: float = 5e12


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveLens:
    """The objective lens beyond defocus, astigmatism and Cs, which are in `Optics` and `Defocus`.

    `chromatic_aberration_mm` is Cc; `current_ripple` the relative standard deviation of the lens current; `aperture` the half-angle of the
    objective aperture, rad, and `aperture_edge` the width of its edge, rad; None is no aperture.
    """

    chromatic_aberration_mm: float = 2.7
    current_ripple: float = 1e-7
    aperture: float | None = None
    aperture_edge: float = 0.0
