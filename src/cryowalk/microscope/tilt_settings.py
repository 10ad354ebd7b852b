"""How tilt series are simulated."""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class TiltSeriesSimulationSettings:
    """How tilt series are simulated: the field, what lies in it, the tilts and their errors, the beam and the camera."""

    count: Annotated[int, "number of tilt series", "--n", ("min", 1), ("max", 10000)] = 1
    size: Annotated[tuple[int, int], "width and height of the tilt images, pixels", ("min", 64), ("max", 16384)] = (1024, 1024)
    particles: Annotated[int, "particles in the field of the untilted image", ("min", 0), ("max", 100000)] = 60
    hinge_spread: Annotated[float, "standard deviation of the hinge angle of a flexible specimen, rad", ("min", 0)] = 0.0
    conformations: Annotated[int, "number of hinge angles that the spread is divided into", ("min", 1), ("max", 100)] = 5
    weights: Annotated[
        tuple[float, ...], "how often each of several specimens occurs; equally often unless given", ("min", 0)
    ] = ()
    beads: Annotated[int, "gold beads in the field of the untilted image, on both surfaces", ("min", 0), ("max", 10000)] = 12
    bead_radius: Annotated[float, "radius of the gold beads, Å", ("above", 0), ("max", 1000)] = 50.0
    thickness: Annotated[float, "thickness of the slab of ice, Å", ("above", 0), ("max", 1e4)] = 1500.0
    ice: Annotated[Literal["grainy", "smooth"], "whether the ice has its structure"] = "grainy"

    # Tilts
    scheme: Annotated[
        Literal["dose_symmetric", "bidirectional", "continuous"],
        "order of the tilts: 0, +3, −3, +6 …; from 0 up, then from 0 down; or from one end to the other",
    ] = "dose_symmetric"
    largest_tilt_degrees: Annotated[float, "largest tilt to both sides, degrees", ("min", 0), ("max", 80)] = 60.0
    tilt_step_degrees: Annotated[float, "step between tilts, degrees", ("above", 0), ("max", 80)] = 3.0
    tilt_axis_degrees: Annotated[
        float, "angle of the tilt axis from +y towards −x, as IMOD and SerialEM have it, degrees", ("min", -360), ("max", 360)
    ] = 85.0
    shift_error: Annotated[float, "standard deviation of each tilt's shift along x and y, Å", ("min", 0), ("max", 1e4)] = 20.0
    tilt_error_degrees: Annotated[float, "standard deviation of true − nominal tilt, degrees", ("min", 0), ("max", 10)] = 0.05

    # Beam, lens, camera
    dose: Annotated[float, "dose of each tilt, e⁻/Å²", ("above", 0), ("max", 1e4)] = 3.0
    defocus_range: Annotated[tuple[float, float], "smallest and largest mean underfocus of a series, Å"] = (25000.0, 40000.0)
    defocus_error: Annotated[
        float, "standard deviation of each tilt's defocus about the series', Å", ("min", 0), ("max", 1e5)
    ] = 300.0
    astigmatism: Annotated[float, "standard deviation of major − minor defocus, Å", ("min", 0), ("max", 5e4)] = 200.0
    b_factor: Annotated[float, "B-factor of the envelope exp(−B k²/4) of the images, Å²", ("min", 0), ("max", 1e4)] = 50.0
    energy_spread_ev: Annotated[float, "standard deviation of the beam's energy, eV", ("min", 0), ("max", 100)] = 0.3
    convergence: Annotated[float, "half-angle of the illumination, rad", ("min", 0), ("max", 0.01)] = 5e-5
    chromatic_aberration_mm: Annotated[float, "chromatic aberration of the objective lens, mm", ("min", 0), ("max", 100)] = 2.7
    energy_filter: Annotated[
        Literal["slit", "none"], "what becomes of inelastically scattered electrons: stopped by a slit, or a background"
    ] = "slit"
    damage: Annotated[Literal["critical_exposure", "none"], "whether detail fades with the dose so far"] = "critical_exposure"
    camera: Annotated[str, "camera: a preset, such as ideal, k3 or falcon4ec"] = "k3"
    noise: Annotated[Literal["poisson", "none"], "whether electrons are counted, or the expected image is written"] = "poisson"
