"""What a user may choose about a reconstruction."""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructionSettings:
    """How particles become a map."""

    symmetry: Annotated[str, "point group of the particle, such as C1, C4, D2, T, O or I", "--sym"] = "C1"
    ctf: Annotated[
        Literal["correct", "phase-flipped", "none"],
        "correct: weight by the CTF and divide by its square; phase-flipped: the images' phases are flipped already; none: the images have no CTF",
    ] = "correct"
    method: Annotated[
        Literal["direct", "wiener", "least-squares"],
        "direct: sums divided by weights; wiener: damped where the half maps disagree; least-squares: damped likewise, by conjugate gradients",
    ] = "direct"
    directional: Annotated[
        bool, "judge by direction, not by shells alone, where the half maps disagree: for preferred orientations"
    ] = False
    ewald: Annotated[
        Literal["off", "on", "reversed"],
        "whether the curvature of the Ewald sphere is corrected; reversed: with the other sign, for maps of the other hand",
    ] = "off"
    diameter: Annotated[
        float | None,
        "diameter of the particle, Å, which weighs the two curved slices of an image; half of the box unless given",
        ("above", 0),
    ] = None
    steps: Annotated[int, "conjugate-gradient steps of least-squares, at most", ("min", 1)] = 30
    tolerance: Annotated[float, "least-squares stops at this residual, relative to the images' sums", ("above", 0)] = 1e-3
    padding: Annotated[float, "how many times finer than the images' the Fourier grid is", "--pad", ("min", 1.5), ("max", 4)] = (
        1.5
    )
    on_nan: Annotated[
        Literal["drop", "refuse"], "images with NaN or infinite values: drop (they are named and left out) or refuse (exit 3)"
    ] = "drop"
    memory_budget: Annotated[int, "bytes of images and spectra held at once; the sums of the maps come on top"] = 256 * 2**20
