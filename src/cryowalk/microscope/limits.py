"""What limits resolution, each as a function: sampling, coherence, depth of field, damage, views and numbers of particles; and all of them as one budget."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.checks import require_between, require_positive
from cryowalk.core.constants import electron_wavelength, interaction_constant
from cryowalk.data.camera import Camera
from cryowalk.data.instrument import Gun, ObjectiveLens
from cryowalk.data.optics import Defocus, Optics
from cryowalk.microscope.absorption import transmitted_fraction
from cryowalk.microscope.beam_motion import motion_envelope
from cryowalk.microscope.damage import attenuation, optimal_dose
from cryowalk.microscope.detector_curves import response_at
from cryowalk.microscope.gun import spatial_envelope, temporal_envelope
from cryowalk.microscope.lens import delocalisation

DEPTH_OF_FIELD_CRITERION = 0.7
_FINEST = 0.2  # Å: where the search for a coherence limit ends


def nyquist_resolution(optics: Optics) -> float:
    """The finest spacing that the pixels hold, two of them, Å."""
    return 2 * require_positive("pixel size", optics.pixel_size, unit="Å")


def coherence_limit(optics: Optics, *, defocus: float, gun: Gun, lens: ObjectiveLens, level: float = math.exp(-2)) -> float:
    """The spacing, Å, at which the product of temporal and spatial envelope falls to `level` for the first time, at this defocus (Å).

    1/e² is what is called the information limit. Where the product stays above the level up to 0.2 Å, that is what is returned.

    Source: Reimer & Kohl, Transmission Electron Microscopy (2008), sec. 6.4.2.
    """
    require_between("level", level, 0.0, 1.0)
    k = torch.linspace(0, 1 / _FINEST, 200_001, dtype=torch.float64)
    value = torch.tensor(float(defocus), dtype=torch.float64)
    zero = torch.zeros((), dtype=torch.float64)
    round_defocus = Defocus(major=value, minor=value, azimuth=zero, phase_shift=zero)
    product = temporal_envelope(k, optics=optics, gun=gun, lens=lens)
    product = product * spatial_envelope(k, optics=optics, defocus=round_defocus, gun=gun)
    below = torch.nonzero(product < level)
    return _FINEST if not len(below) else 1 / float(k[int(below[0])])


def crowther_views(resolution: float, *, diameter: float) -> int:
    """How many evenly spaced views about one axis a map of this resolution needs of an object of `diameter` (Å): π D / d, rounded up.

    Source: Crowther, DeRosier & Klug, Proc. R. Soc. A 317, 319 (1970).

    Examples
    --------
    >>> crowther_views(10.0, diameter=200.0)
    63
    """
    views = math.pi * require_positive("diameter", diameter, unit="Å") / require_positive("resolution", resolution, unit="Å")
    return math.ceil(views - 1e-9)


def crowther_step(resolution: float, *, diameter: float) -> float:
    """The angle between neighbouring views that this resolution allows, rad: d / D."""
    return require_positive("resolution", resolution, unit="Å") / require_positive("diameter", diameter, unit="Å")


def crowther_resolution(step: float, *, diameter: float) -> float:
    """The resolution that views `step` rad apart give of an object of `diameter` Å: D · step, Å."""
    return require_positive("step", step, unit="rad") * require_positive("diameter", diameter, unit="Å")


def ewald_sag(frequency: float, *, voltage_kv: float) -> float:
    """How far the Ewald sphere lies from the plane of a central slice at this frequency (1/Å): λ k² / 2, 1/Å."""
    return 0.5 * electron_wavelength(voltage_kv) * frequency**2


def depth_of_field_resolution(thickness: float, *, voltage_kv: float, criterion: float = DEPTH_OF_FIELD_CRITERION) -> float:
    """The resolution to which a specimen of `thickness` Å is a projection: √(λ t / 2c), Å, c = 0.7 unless another criterion is wanted.

    Source: DeRosier, Ultramicroscopy 81, 83 (2000), for the criterion, as it is quoted in the field.

    Examples
    --------
    >>> round(depth_of_field_resolution(300.0, voltage_kv=300), 2)
    2.05
    """
    return math.sqrt(electron_wavelength(voltage_kv) * require_positive("thickness", thickness, unit="Å") / (2 * criterion))


def depth_of_field(resolution: float, *, voltage_kv: float, criterion: float = DEPTH_OF_FIELD_CRITERION) -> float:
    """The thickness up to which a specimen is a projection at this resolution (Å): 2 c d² / λ, Å; the inverse of `depth_of_field_resolution`."""
    return 2 * criterion * require_positive("resolution", resolution, unit="Å") ** 2 / electron_wavelength(voltage_kv)


def defocus_tolerance(resolution: float, *, voltage_kv: float, phase: float = math.pi / 4) -> float:
    """The error of defocus that turns the CTF's phase by `phase` at this resolution (Å): phase · d² / πλ, Å; d²/4λ for π/4.

    Examples
    --------
    >>> round(defocus_tolerance(3.0, voltage_kv=300))
    114
    """
    return phase * require_positive("resolution", resolution, unit="Å") ** 2 / (math.pi * electron_wavelength(voltage_kv))


def curvature_envelope(frequency: Float[Tensor, "*shape"], *, diameter: float, voltage_kv: float) -> Float[Tensor, "*shape"]:
    """The factor that treating a round particle as a projection costs at |k| = `frequency`: the mean of cos πλk²z over a ball.

    3 (sin x − x cos x) / x³ with x = πλk²D/2: each depth has its own defocus. It is the amplitude of the CTF of an evenly filled ball.
    """
    x = 0.5 * math.pi * electron_wavelength(voltage_kv) * diameter * frequency.double() ** 2
    safe = x.clamp_min(1e-2)
    exact = 3 * (torch.sin(safe) - safe * torch.cos(safe)) / safe**3
    return torch.where(x < 1e-2, 1 - x**2 / 10, exact).to(frequency.dtype)


def damage_limited_dose(resolution: float, *, voltage_kv: float) -> float:
    """The dose that shows detail of this resolution (Å) best without weighting, e⁻/Å²: 2.5129 critical exposures.

    Source: Grant & Grigorieff, eLife 4, e06980 (2015); Hayward & Glaeser, Ultramicroscopy 4, 201 (1979).
    """
    frequency = torch.tensor(1 / require_positive("resolution", resolution, unit="Å"), dtype=torch.float64)
    return float(optimal_dose(frequency, voltage_kv=voltage_kv))


class Sampling(NamedTuple):
    """What counts how many particles are needed beside the B-factor: images' signal over noise at zero decay, dose (e⁻/Å²), and symmetry."""

    signal_to_noise: float = 1 / math.sqrt(3)
    dose: float = 5.0
    cross_section: float = 0.004
    asymmetric_units: int = 1


def particles_needed(resolution: float, *, b_factor: float, sampling: Sampling | None = None) -> float:
    """How many particles a map of this resolution (Å) needs: (S/N)² · 30π / (N_e σ_e d · n) · exp(B / 2d²).

    (S/N)² is 1/3 in the map, N_e the useful dose, σ_e the elastic cross-section of a carbon atom (0.004 Å² at 300 kV), n the
    asymmetric units of a particle, B the fall of amplitudes exp(−B k²/4) of a single image. A bound that no practice reaches.

    Source: Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003), section on the number of particles.
    """
    require_positive("resolution", resolution, unit="Å")
    use = sampling or Sampling()
    count = use.signal_to_noise**2 * 30 * math.pi / (use.dose * use.cross_section * resolution * use.asymmetric_units)
    return count * math.exp(b_factor / (2 * resolution**2))


def particle_ratio(resolution: float, *, than: float, b_factor: float) -> float:
    """How many times more particles `resolution` needs than the coarser resolution `than` (Å), by the B-factor alone: exp(B/2 (1/d² − 1/d₀²)).

    Examples
    --------
    >>> round(particle_ratio(3.0, than=4.0, b_factor=100.0), 2)
    11.37
    """
    require_positive("resolution", resolution, unit="Å")
    return math.exp(b_factor / 2 * (1 / resolution**2 - 1 / require_positive("resolution", than, unit="Å") ** 2))


def b_factor_of_counts(counts: Float[Tensor, " n"], resolutions: Float[Tensor, " n"]) -> float:
    """The B-factor, Å², of the resolutions (Å) that growing numbers of particles gave: twice the slope of ln N over 1/d².

    Source: Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003).
    """
    x, y = 1 / resolutions.double() ** 2, torch.log(counts.double())
    x, y = x - x.mean(), y - y.mean()
    return 2 * float((x * y).sum() / (x * x).sum())


def image_signal_to_noise(
    power: Float[Tensor, "*shape"], transfer: Float[Tensor, "*shape"], *, optics: Optics, dose: float, area: float
) -> Float[Tensor, "*shape"]:
    """Spectral signal-to-noise ratio of one image of a weak specimen: 4 σₑ² N |F(k)|² T² / A, for each Fourier coefficient.

    `power` is |F(k)|², the transform ∫∫ v e^(−2πik·x) of the projected potential v, (V Å³)²; `transfer` the CTF with all envelopes and √DQE; N the dose and A the
    area of the image, Å². Counting noise alone: it is what the best camera could record.
    """
    factor = 4 * interaction_constant(optics.voltage_kv) ** 2 * require_positive("dose", dose, unit="e⁻/Å²")
    return factor / require_positive("area", area, unit="Å²") * power * transfer**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What an image was taken of and how, for `budget`: lengths in Å, dose in e⁻/Å².

    `jitter` is the standard deviation of what is left of motion along one axis, `drift` a uniform drift within a frame; `box` is in pixels.
    """

    defocus: float
    diameter: float
    box: int
    thickness: float = 300.0
    dose: float = 40.0
    dose_before: float = 0.0
    drift: float = 0.0
    jitter: float = 0.0
    gun: Gun = field(default_factory=Gun)
    lens: ObjectiveLens = field(default_factory=ObjectiveLens)
    camera: Camera = field(default_factory=Camera)


class Budget(NamedTuple):
    """What each cause leaves of the signal relative to the noise at one resolution, 1 is all of it; `total` is their product."""

    temporal_coherence: float
    spatial_coherence: float
    thickness: float
    curvature: float
    motion: float
    dose: float
    detection: float
    sampling: float

    @property
    def total(self) -> float:
        """The envelope: the product of all causes."""
        return math.prod(self)

    @property
    def worst(self) -> str:
        """The name of the cause that costs the most."""
        return min(zip(self, self._fields, strict=True))[1]


def budget(resolution: float, *, optics: Optics, conditions: Conditions) -> Budget:
    """What each cause leaves of the amplitude of detail of this resolution (Å), relative to noise: the resolution ledger of one image.

    Coherence, curvature of the Ewald sphere, motion and dose are factors on amplitudes; losses in ice of `thickness` and the camera's efficiency count as
    √(transmitted fraction) and √DQE; `sampling` is √ of the part of the particle's disk that delocalisation leaves in the box, 0 beyond Nyquist. The
    fall of the specimen's own scattering is no part of it.

    Raises
    ------
    UsageError
        If the resolution is not above zero.
    """
    k = torch.tensor(1 / require_positive("resolution", resolution, unit="Å"), dtype=torch.float64)
    value, zero = torch.tensor(float(conditions.defocus), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    defocus = Defocus(major=value, minor=value, azimuth=zero, phase_shift=zero)
    voltage = optics.voltage_kv
    damage = attenuation(k, dose_before=conditions.dose_before, dose=conditions.dose, voltage_kv=voltage)
    motion = motion_envelope(k, drift=conditions.drift, jitter=conditions.jitter)
    efficiency = response_at(conditions.camera.dqe, k * optics.pixel_size)
    return Budget(
        temporal_coherence=float(temporal_envelope(k, optics=optics, gun=conditions.gun, lens=conditions.lens)),
        spatial_coherence=float(spatial_envelope(k, optics=optics, defocus=defocus, gun=conditions.gun)),
        thickness=math.sqrt(float(transmitted_fraction(conditions.thickness, voltage_kv=voltage))),
        curvature=float(curvature_envelope(k, diameter=conditions.diameter, voltage_kv=voltage)),
        motion=float(motion),
        dose=float(damage),
        detection=math.sqrt(float(efficiency)),
        sampling=_kept_in_box(float(delocalisation(optics, defocus, frequency=float(k))), optics, conditions, resolution),
    )


def _kept_in_box(displacement: float, optics: Optics, conditions: Conditions, resolution: float) -> float:
    """√ of the part of the particle's disk that lies within half the box after a displacement; 0 beyond Nyquist."""
    if resolution < nyquist_resolution(optics) * (1 - 1e-9):
        return 0.0
    radius = require_positive("diameter", conditions.diameter, unit="Å") / 2
    edge = (0.5 * conditions.box * optics.pixel_size - displacement) / radius
    edge = min(1.0, max(-1.0, edge))
    return math.sqrt(1 - (math.acos(edge) - edge * math.sqrt(1 - edge**2)) / math.pi)
