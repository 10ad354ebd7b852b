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
    padding: Annotated[float, "how many times finer than the images' the Fourier grid is", "--pad", ("min", 1.5), ("max", 4)] = (
        1.5
    )
    memory_budget: Annotated[int, "bytes of images and spectra held at once; the sums of the maps come on top"] = 256 * 2**20
