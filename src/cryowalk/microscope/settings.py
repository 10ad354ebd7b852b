"""How particle images are simulated."""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticleSimulationSettings:
    """How particle images are simulated: how many, how large, how noisy, and how poses and defocus spread."""

    count: Annotated[int, "number of particle images", "--n"] = 2000
    box: Annotated[int, "side of the images, pixels"] = 96
    dose: Annotated[float, "electrons that make each image, e⁻/Å²; the noise follows from it unless an SNR is given"] = 50.0
    snr: Annotated[
        float | None,
        "variance of the signal over variance of the noise, over the whole image; replaces the dose by drawn noise, “ice” unless “white”",
    ] = None
    noise: Annotated[
        Literal["microscope", "white", "ice", "none"],
        "microscope: ice, damage and counting by the camera; or drawn noise, flat (white) or with the rise of ice; or none at all",
    ] = "microscope"
    defocus_range: Annotated[tuple[float, float], "smallest and largest mean underfocus, Å, drawn uniformly"] = (8000.0, 20000.0)
    astigmatism: Annotated[float, "standard deviation of major − minor defocus, Å"] = 200.0
    phase_shift_degrees: Annotated[float, "phase shift of a phase plate, degrees"] = 0.0
    b_factor: Annotated[float, "B-factor of the envelope exp(−B k²/4) of every image, Å²"] = 60.0
    shift_deviation: Annotated[float, "standard deviation of the particle's place along x and y, Å"] = 3.0
    orientations: Annotated[Literal["uniform", "preferred"], "views drawn evenly, or gathered about one axis and its reverse"] = (
        "uniform"
    )
    concentration: Annotated[float, "how closely preferred views gather: spots of about 1/√ this, rad"] = 8.0
    hinge_spread: Annotated[float, "standard deviation of the hinge angle of a flexible specimen, rad; 0 keeps it rigid"] = 0.0
    conformations: Annotated[int, "number of hinge angles that the spread is divided into"] = 9
    projection: Annotated[
        Literal["fast", "exact"], "interpolated central slices (about 1 %), or a non-uniform transform (1e-10, slower)"
    ] = "fast"
    canvas: Annotated[
        int | None, "side of the canvas on which images form, pixels; by default large enough that no CTF wraps round"
    ] = None
    batch: Annotated[int, "images made at a time"] = 64
    weights: Annotated[
        tuple[float, ...], "how often each of several specimens occurs, in any unit; equally often unless given", ("min", 0)
    ] = ()
    junk: Annotated[float, "fraction of images that hold no particle: half of them empty ice, half contamination", ("min", 0)] = (
        0.0
    )
    camera: Annotated[str, "camera of the noise “microscope”: a preset, such as ideal, k3 or falcon4ec"] = "k3"
    ice_thickness: Annotated[float, "thickness of the ice, Å, with the noise “microscope”", ("min", 0)] = 300.0
    energy_filter: Annotated[
        Literal["slit", "none"], "what becomes of inelastically scattered electrons: stopped by a slit, or a background"
    ] = "slit"
    solvent: Annotated[
        Literal["displaced", "vacuum"], "whether a molecule's potential is that above the ice it displaces, or above vacuum"
    ] = "displaced"
    damage: Annotated[
        Literal["dose_weighted", "plain_sum", "none"],
        "radiation damage by measured critical exposures, in the best sum of the exposure's frames or the plain one; or none",
    ] = "dose_weighted"
    scattering: Annotated[
        Literal["weak_phase", "phase_grating", "ewald", "multislice"], "how the beam meets the specimen, simplest first"
    ] = "weak_phase"
    slice_thickness: Annotated[float, "thickness of a slice, Å, where the scattering needs slices", ("above", 0)] = 10.0
    energy_spread_ev: Annotated[float, "standard deviation of the beam's energy, eV", ("min", 0)] = 0.3
    convergence: Annotated[float, "half-angle of the illumination, rad", ("min", 0), ("max", 0.01)] = 5e-5
    chromatic_aberration_mm: Annotated[float, "chromatic aberration of the objective lens, mm", ("min", 0)] = 2.7
