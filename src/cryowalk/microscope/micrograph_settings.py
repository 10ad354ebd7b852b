"""How micrographs and movies are simulated: everything a user may choose, flat, so that each is one option of a command."""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class MicrographSimulationSettings:
    """How micrographs are simulated: how many, how large, what lies in them, and how beam, lens and camera see it. Lengths in Å, angles in rad."""

    count: Annotated[int, "number of micrographs", "--n"] = 4
    size: Annotated[tuple[int, int], "width and height of a micrograph, pixels", ("min", 32), ("max", 32768)] = (2048, 2048)
    dose: Annotated[float, "electrons that make a micrograph, e⁻/Å²", ("above", 0), ("max", 1e4)] = 40.0
    dose_before: Annotated[float, "electrons that the specimen met before, e⁻/Å²", ("min", 0), ("max", 1e4)] = 0.0

    # What lies in the field
    particles: Annotated[int | None, "particles in a micrograph; replaces the coverage", ("min", 0)] = None
    concentration: Annotated[
        float | None, "concentration of the sample in the ice, mg/mL; replaces the coverage", ("above", 0)
    ] = None
    coverage: Annotated[float, "part of the field that particles cover, seen along the beam", ("min", 0), ("max", 0.5)] = (
        0.15  # random placing ends at 0.547
    )
    count_spread: Annotated[
        Literal["none", "poisson"], "whether that number is the same in each micrograph, or drawn about it"
    ] = "none"
    weights: Annotated[
        tuple[float, ...], "how often each of several specimens occurs, in any unit; equally often unless given", ("above", 0)
    ] = ()
    hinge_spread: Annotated[
        float, "standard deviation of the hinge angle of a flexible specimen, rad; 0 keeps it rigid", ("min", 0), ("max", 10)
    ] = 0.0
    conformations: Annotated[int, "number of hinge angles that the spread is divided into", ("min", 1), ("max", 99)] = 9
    box: Annotated[int | None, "side of the box that a specimen's potential is made in, pixels; what it needs unless given"] = (
        None
    )
    solvent: Annotated[
        Literal["displaced", "vacuum"], "whether a molecule's potential is that above the ice it displaces, or above vacuum"
    ] = "displaced"
    separation: Annotated[
        Literal["projection", "volume", "none"],
        "projection: no two particles overlap in the image; volume: none in space; none: they may lie anywhere",
    ] = "projection"
    gap: Annotated[float, "smallest distance between two particles' surfaces, Å", ("min", 0)] = 0.0
    margin: Annotated[float, "smallest distance of a particle's middle from the border, Å", ("min", 0)] = 0.0
    adsorbed_fraction: Annotated[float, "part of the particles at the two air–water interfaces", ("min", 0), ("max", 1)] = 0.0
    preferred_concentration: Annotated[
        float, "how closely adsorbed particles turn one face to the interface: within about 1/√ this, rad", ("min", 0)
    ] = 8.0

    # Ice and what else is there
    ice: Annotated[Literal["fluctuating", "smooth"], "whether ice has its own grain, or only takes electrons away"] = (
        "fluctuating"
    )
    ice_thickness: Annotated[float, "thickness of the ice in the middle of the field, Å", ("above", 0), ("max", 1e5)] = 300.0
    rim_thickness: Annotated[
        float | None, "thickness of the ice at the hole's rim, Å; as in the middle unless given", ("above", 0), ("max", 1e5)
    ] = None
    thickness_gradient: Annotated[
        tuple[float, float], "growth of the thickness along x and y, Å per Å", ("min", -1), ("max", 1)
    ] = (0.0, 0.0)
    energy_filter: Annotated[
        Literal["slit", "none"], "what becomes of inelastically scattered electrons: stopped by a slit, or an even background"
    ] = "slit"
    support: Annotated[Literal["none", "carbon", "graphene"], "support film: none, carbon with a hole, or graphene"] = "none"
    carbon_thickness: Annotated[float, "thickness of the carbon film, Å", ("above", 0), ("max", 2000)] = 120.0
    hole_radius: Annotated[float, "radius of the hole in the carbon, Å", ("above", 0), ("max", 1e6)] = 6000.0
    ice_crystals: Annotated[int, "ice crystals in a micrograph", ("min", 0), ("max", 500)] = 0
    ethane_drops: Annotated[int, "drops of ethane in a micrograph", ("min", 0), ("max", 500)] = 0
    aggregates: Annotated[int, "clumps of denatured protein in a micrograph", ("min", 0), ("max", 500)] = 0

    # Beam, lens, camera
    defocus_range: Annotated[tuple[float, float], "smallest and largest mean underfocus, Å, drawn uniformly"] = (10000.0, 20000.0)
    astigmatism: Annotated[float, "standard deviation of major − minor defocus, Å", ("min", 0), ("max", 5e4)] = 200.0
    phase_shift: Annotated[float, "phase shift of a phase plate, rad", ("min", -7), ("max", 7)] = 0.0
    b_factor: Annotated[float, "B-factor of the envelope exp(−B k²/4) of the image, Å²", ("min", 0), ("max", 1e4)] = 30.0
    beam_tilt: Annotated[tuple[float, float], "beam tilt along x and y, rad", ("min", -0.1), ("max", 0.1)] = (0.0, 0.0)
    energy_spread_ev: Annotated[float, "standard deviation of the beam's energy, eV", ("min", 0), ("max", 100)] = 0.3
    convergence: Annotated[float, "half-angle of the illumination, rad", ("min", 0), ("max", 0.01)] = 5e-5
    chromatic_aberration_mm: Annotated[float, "chromatic aberration of the objective lens, mm", ("min", 0), ("max", 100)] = 2.7
    aperture: Annotated[float | None, "half-angle of the objective aperture, rad; none unless given", ("above", 0)] = None
    scattering: Annotated[
        Literal["projection", "phase_grating", "ewald", "multislice"],
        "how the beam meets the specimen: weak phase with each particle's own defocus, or one of the fuller models",
    ] = "projection"
    slice_thickness: Annotated[
        float, "thickness of a slice, Å, where the scattering needs slices", ("above", 0), ("max", 1e4)
    ] = 20.0
    depth: Annotated[Literal["each", "flat"], "whether each particle has the defocus of its own height, or all the same"] = "each"
    damage: Annotated[
        Literal["dose_weighted", "plain_sum", "none"],
        "radiation damage by measured critical exposures, in the best sum of the exposure's frames or the plain one; or none",
    ] = "dose_weighted"
    camera: Annotated[str, "camera: a preset such as ideal, k3 or falcon4ec"] = "k3"
    dose_rate: Annotated[
        float | None, "electrons per camera pixel and second; with it, electrons that coincide are lost", ("above", 0)
    ] = None
    noise: Annotated[Literal["poisson", "none"], "whether electrons are counted, or the expected image is written"] = "poisson"


@dataclass(frozen=True, slots=True, kw_only=True)
class MovieSimulationSettings(MicrographSimulationSettings):
    """How movies are simulated: micrographs taken as frames, while the specimen moves and fades."""

    frames: Annotated[int, "frames in a movie", ("min", 1), ("max", 5000)] = 30
    format: Annotated[Literal["mrc", "tiff", "eer"], "file format of the movies"] = "tiff"
    motion: Annotated[Literal["drawn", "none"], "whether the specimen moves"] = "drawn"
    drift: Annotated[float, "speed of the stage's steady drift, in a random direction, Å per e⁻/Å²", ("min", 0), ("max", 100)] = (
        0.03
    )
    jitter: Annotated[
        float, "random walk of the stage: standard deviation along each axis after 1 e⁻/Å², Å", ("min", 0), ("max", 100)
    ] = 0.1
    early_motion: Annotated[float, "length of the fast movement that the first electrons cause, Å", ("min", 0), ("max", 1000)] = (
        4.0
    )
    early_dose: Annotated[float, "dose over which that movement falls to 1/e, e⁻/Å²", ("above", 0)] = 3.0
    doming: Annotated[float, "height that the film bulges to, Å", ("min", 0), ("max", 1e4)] = 50.0
    film_tilt: Annotated[float, "angle between film and image plane through which the bulge shows, rad", ("min", 0)] = 0.05
    local_motion: Annotated[float, "standard deviation over the field of the smooth local movement by the end, Å", ("min", 0)] = (
        1.0
    )
    gain: Annotated[Literal["none", "drawn"], "whether raw frames need a gain reference, which is written beside them"] = "drawn"
    gain_deviation: Annotated[float, "standard deviation of the pixels' sensitivity, relative", ("min", 0), ("max", 0.5)] = 0.03
    dead_pixels: Annotated[int, "pixels of the camera that always read zero", ("min", 0)] = 0
    super_resolution: Annotated[
        Literal["1", "2"], "2: electrons located to a quarter of a camera pixel; frames twice as large"
    ] = "1"
    raw_dose: Annotated[
        float,
        "electrons per pixel in a raw frame of an EER movie, about; its frames are fractions of these",
        ("above", 0),
        ("max", 1),
    ] = 0.05
