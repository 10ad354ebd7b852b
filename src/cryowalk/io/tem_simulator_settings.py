"""What a parameter file of TEM-simulator says, section by section, in our units; the defaults are those of the study group's notebooks.

Rullgård, Öfverstedt, Masich, Daneholt & Öktem, J. Microsc. 243, 234 (2011).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryowalk.core.units import MICROMETRE


@dataclass(frozen=True, slots=True, kw_only=True)
class TemSimulation:
    """What the run does."""

    generate_micrographs: bool = True
    seed: int = -1234
    log_file: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemSample:
    """A round hole filled with ice: diameter, thickness at its middle and its edge, and where its middle lies, Å."""

    diameter: float = 12000.0
    thickness_at_centre: float = 500.0
    thickness_at_edge: float = 1500.0
    offset_x: float = 0.0
    offset_y: float = 0.0
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemParticle:
    """One kind of particle; voxel size in Å."""

    name: str = ""
    source: str = "pdb"
    voxel_size: float = 1.0
    structure_file: str = ""
    map_file: str = ""
    imaginary_map_file: str = ""
    real_map_output: str = ""
    imaginary_map_output: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemParticleSet:
    """Where particles of one kind are: in a file, drawn at random, or on a grid (distance in Å)."""

    particle: str = ""
    placed_by: str = "file"
    coordinate_file: str = ""
    count: int | None = None
    where: str = ""
    distance: float | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemGeometry:
    """The tilts of the specimen: axis (azimuth from +x), first tilt and step, rad."""

    generates_tilts: bool = True
    tilt_axis: float = 0.0
    tilts: int = 1
    first_tilt: float = 0.0
    tilt_step: float = 0.0
    errors: str = "none"
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemBeam:
    """The beam: voltage, energy spread, and dose of each image or of all together, e⁻/Å²; `dose_deviation` is relative."""

    voltage_kv: float = 300.0
    energy_spread_ev: float = 1.3
    generates_dose: bool = True
    dose_per_image: float | None = 1.0
    total_dose: float | None = None
    dose_deviation: float = 0.0
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemOptics:
    """The lens: diameter of the objective aperture and defocus in Å, condenser angle in rad."""

    magnification: float = 81000.0
    spherical_aberration_mm: float = 2.7
    chromatic_aberration_mm: float = 2.7
    aperture: float = 50 * MICROMETRE
    focal_length_mm: float = 3.5
    condenser_angle: float = 1e-4
    generates_defocus: bool = True
    defocus: float = 1 * MICROMETRE
    systematic_defocus_error: float = 0.0
    random_defocus_error: float = 0.0
    defocus_output: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemDetector:
    """One camera: pixels along x and y, their pitch on the camera in Å, output units per electron, and its transfer.

    The modulation transfer at x cycles per pixel is [a f(1 + αx², p) + b f(1 + βx², q) + c] / (a + b + c) with f(y, p) = 2ᵖy⁻ᵖ / (2 + (2ᵖ − 2) y⁻ᵖ).
    """

    width: int = 5760
    height: int = 4092
    pixel_pitch: float = 5 * MICROMETRE
    gain: float = 32.0
    counts_electrons: bool = True
    quantum_efficiency: float = 0.5
    a: float = 0.0
    b: float = 0.0
    c: float = 1.0
    alpha: float = 0.0
    beta: float = 0.0
    p: float = 1.0
    q: float = 1.0
    image_output: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemInput:
    """A whole parameter file. `others` are sections of kinds that are not known here: kind, name and entries."""

    simulation: TemSimulation = TemSimulation()
    sample: TemSample = TemSample()
    particles: tuple[TemParticle, ...] = ()
    particle_sets: tuple[TemParticleSet, ...] = ()
    geometry: TemGeometry = TemGeometry()
    beam: TemBeam = TemBeam()
    optics: TemOptics = TemOptics()
    detectors: tuple[TemDetector, ...] = ()
    others: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = ()
