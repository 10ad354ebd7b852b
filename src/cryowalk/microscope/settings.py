"""How particle images are simulated."""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticleSimulationSettings:
    """How particle images are simulated: how many, how large, how noisy, and how poses and defocus spread."""

    count: Annotated[int, "number of particle images", "--n"] = 2000
    box: Annotated[int, "side of the images, pixels"] = 96
    dose: Annotated[float, "electrons that make each image, e⁻/Å²; the noise follows from it unless an SNR is given"] = 40.0
    snr: Annotated[float | None, "variance of the signal over variance of the noise, over the whole image; replaces the dose"] = (
        None
    )
    noise: Annotated[
        Literal["white", "ice", "none"], "spectrum of the noise: flat, that of ice and camera, or no noise at all"
    ] = "ice"
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
