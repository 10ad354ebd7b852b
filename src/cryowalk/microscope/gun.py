"""The electron gun: how fast and how far apart beam electrons are, what coherence costs in current, and what the lack of it costs in contrast."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_positive
from cryowalk.core.constants import (
    ATOMIC_MASS,
    ELECTRON_MASS,
    ELECTRON_REST_ENERGY_KV,
    ELEMENTARY_CHARGE,
    METRE,
    SPEED_OF_LIGHT,
    electron_wavelength,
    lorentz_factor,
)
from cryowalk.data.instrument import Gun, ObjectiveLens
from cryowalk.data.optics import Defocus, Optics
from cryowalk.microscope.aberrations import has_odd_terms, phase_gradient


def relative_speed(voltage_kv: float) -> float:
    """Speed of a beam electron in units of the speed of light, v/c = √(1 − 1/γ²).

    Source: Reimer & Kohl, Transmission Electron Microscopy (2008), sec. 2.1.

    Examples
    --------
    >>> round(relative_speed(300), 4)
    0.7765
    """
    return math.sqrt(1 - 1 / lorentz_factor(require_positive("voltage", voltage_kv, unit="kV")) ** 2)


def relativistic_mass(voltage_kv: float) -> float:
    """Mass of a beam electron γ m, kg."""
    return ELECTRON_MASS * lorentz_factor(require_positive("voltage", voltage_kv, unit="kV"))


def electron_spacing(voltage_kv: float, *, current: float) -> float:
    """Mean distance between two electrons of a beam of `current` (A) along the column, Å: v e / I.

    Examples
    --------
    >>> round(electron_spacing(300, current=1e-9) * 1e-7, 1)  # mm
    37.3
    """
    speed = relative_speed(voltage_kv) * SPEED_OF_LIGHT
    return speed * ELEMENTARY_CHARGE / require_positive("beam current", current, unit="A") * METRE


def electrons_in_column(voltage_kv: float, *, current: float, length: float) -> float:
    """How many electrons are on their way at once in a column of `length` Å, in the mean (no unit)."""
    return require_positive("length", length, unit="Å") / electron_spacing(voltage_kv, current=current)


def beam_current(gun: Gun, *, diameter: float) -> float:
    """The current that the gun can put into an illuminated disk of `diameter` Å at its convergence, A: β · πα² · area.

    Brightness β is current per area and solid angle, and no lens raises it: at a given β a smaller convergence or a smaller disk costs current.

    Source: Reimer & Kohl, Transmission Electron Microscopy (2008), sec. 4.1.2.
    """
    area = math.pi / 4 * (require_positive("diameter", diameter, unit="Å") / METRE) ** 2
    return gun.brightness * math.pi * require_positive("convergence", gun.convergence, unit="rad") ** 2 * area


def dose_rate(gun: Gun) -> float:
    """The dose rate at the specimen that the gun's brightness allows at its convergence, e⁻/(Å² s): β π α² / e.

    This is what coherence costs: half the convergence is a quarter of the dose rate. It does not depend on the size of the illuminated area.
    """
    solid_angle = math.pi * require_positive("convergence", gun.convergence, unit="rad") ** 2
    return gun.brightness * solid_angle / ELEMENTARY_CHARGE / METRE**2


def convergence_for_dose_rate(gun: Gun, *, dose_rate: float) -> float:
    """The smallest half-angle α of illumination that still gives this dose rate (e⁻/(Å² s)), rad: the inverse of `dose_rate`."""
    current_density = require_positive("dose rate", dose_rate, unit="e⁻/(Å² s)") * ELEMENTARY_CHARGE * METRE**2
    return math.sqrt(current_density / (math.pi * gun.brightness))


def coherence_length(optics: Optics, gun: Gun) -> float:
    """Width of the region of the specimen that is lit coherently, Å: λ / (2π α), where the degree of coherence has fallen to e^(−1/4)."""
    return optics.wavelength / (2 * math.pi * require_positive("convergence", gun.convergence, unit="rad"))


def scattering_angle(spacing: float, *, voltage_kv: float) -> float:
    """Angle to which a lattice spacing (Å) diffracts the beam, rad: λ / d, for small angles.

    Examples
    --------
    >>> round(1e3 * scattering_angle(3.0, voltage_kv=300), 2)  # mrad
    6.56
    """
    return electron_wavelength(voltage_kv) / require_positive("spacing", spacing, unit="Å")


def largest_recoil_energy(atomic_weight: float, *, voltage_kv: float) -> float:
    """The most energy that one elastic collision passes to an atom at rest (`atomic_weight` in Da), eV: 2E(E + 2mc²) / Mc².

    It is that of a head-on collision; a bond breaks, or the atom leaves, where it exceeds the displacement energy.

    Source: Reimer & Kohl, Transmission Electron Microscopy (2008), sec. 5.1.2.

    Examples
    --------
    >>> round(largest_recoil_energy(12.011, voltage_kv=300), 1)
    70.9
    """
    rest = require_positive("atomic weight", atomic_weight, unit="Da") * ATOMIC_MASS * SPEED_OF_LIGHT**2 / ELEMENTARY_CHARGE
    energy = require_positive("voltage", voltage_kv, unit="kV") * 1e3
    return 2 * energy * (energy + 2e3 * ELECTRON_REST_ENERGY_KV) / rest


def contrast_to_noise(contrast: float, *, dose: float, area: float) -> float:
    """Signal-to-noise ratio of a feature of relative intensity `contrast` over `area` Å² at `dose` e⁻/Å²: C √(dose · area).

    N = dose · area electrons are counted, N ± √N of them: shot noise. A ratio of 5 is Rose's criterion for seeing it.

    Source: Rose, J. Opt. Soc. Am. 38, 196 (1948).
    """
    return contrast * math.sqrt(require_positive("dose", dose, unit="e⁻/Å²") * require_positive("area", area, unit="Å²"))


def focus_spread(optics: Optics, gun: Gun, lens: ObjectiveLens) -> float:
    """Standard deviation δ of the defocus during an exposure, Å: Cc √(r²(ΔE/E)² + r²(ΔV/V)² + (2ΔI/I)²).

    r = (1 + eV/mc²) / (1 + eV/2mc²), 1.23 at 300 kV: a magnetic lens answers to the momentum, and this is how a relative change of the
    energy changes its square. ΔE, ΔV, ΔI are standard deviations of the beam's energy, the voltage and the lens current, independent of each other.

    Source: Reimer & Kohl, Transmission Electron Microscopy (2008), sec. 2.3.3 and 6.4.2.
    """
    voltage = optics.voltage_kv
    response = lorentz_factor(voltage) / (1 + voltage / (2 * ELECTRON_REST_ENERGY_KV))
    by_energy = response * gun.energy_spread_ev / (1e3 * voltage)
    by_voltage = response * gun.voltage_ripple
    spread = math.sqrt(by_energy**2 + by_voltage**2 + (2 * lens.current_ripple) ** 2)
    return lens.chromatic_aberration_mm * 1e7 * spread


def temporal_envelope(
    frequency: Float[Tensor, "*shape"], *, optics: Optics, gun: Gun, lens: ObjectiveLens
) -> Float[Tensor, "*shape"]:
    """The factor on amplitudes at |k| = `frequency` (1/Å) that a spread of focus costs: exp(−½ (π λ δ)² k⁴), δ = `focus_spread`.

    The mean of exp(iπλΔf k²) over a normal distribution of Δf. Linear imaging: interference of scattered electrons with the unscattered beam.

    Source: Wade & Frank, Optik 49, 81 (1977).
    """
    spread = focus_spread(optics, gun, lens)
    return torch.exp(-0.5 * (math.pi * optics.wavelength * spread) ** 2 * frequency**4)


def spatial_envelope(
    frequency: Float[Tensor, "*shape"], *, optics: Optics, defocus: Defocus, gun: Gun
) -> Float[Tensor, "*result"]:
    """The factor on amplitudes at |k| = `frequency` (1/Å) that a convergent beam costs: exp(−(π α R / λ)²), R = λ Δf k − Cs λ³ k³.

    α is the half-angle of the illumination exp(−θ²/α²), Δf the mean of the two defoci; R is how far the lens moves this detail (Å). The result
    has the axes of the defocus and then those of the frequency. `coherence_envelope` is the form for images, with all aberrations.

    Source: Frank, Optik 38, 519 (1973); Wade & Frank, Optik 49, 81 (1977).
    """
    mean = ((defocus.major + defocus.minor) / 2).to(frequency.dtype)
    mean = mean.reshape((*mean.shape, *[1] * frequency.ndim))
    wavelength = optics.wavelength
    displacement = wavelength * mean * frequency - optics.spherical_aberration * (wavelength * frequency) ** 3
    return torch.exp(-((math.pi * gun.convergence / wavelength * displacement) ** 2))


def coherence_envelope(
    kx: Float[Tensor, "*shape"],
    ky: Float[Tensor, "*other"],
    *,
    optics: Optics,
    defocus: Defocus,
    gun: Gun,
    lens: ObjectiveLens,
) -> Float[Tensor, "*result"]:
    """The factor of both envelopes at frequencies (kx, ky) in 1/Å, float64: temporal, and spatial exp(−(α |∇χ(k) − ∇χ(0)| / 2λ)²) of the complete phase χ.

    With astigmatism the spatial envelope is narrower across the larger defocus; with beam tilt it is no longer even. The defocus must
    broadcast with the frequencies, as in `lens.aberration_phase`. In terms of R = ∇χ/2π it is the exp(−(π α R / λ)²) of `spatial_envelope`.
    """
    kx, ky = kx.double(), ky.double()
    across, along = phase_gradient(kx, ky, optics=optics, defocus=defocus)
    if has_odd_terms(optics.aberrations):
        origin = phase_gradient(torch.zeros_like(kx), torch.zeros_like(ky), optics=optics, defocus=defocus)
        across, along = across - origin[0], along - origin[1]
    spatial = torch.exp(-((gun.convergence / (2 * optics.wavelength)) ** 2) * (across**2 + along**2))
    return spatial * temporal_envelope(torch.sqrt(kx**2 + ky**2), optics=optics, gun=gun, lens=lens)
