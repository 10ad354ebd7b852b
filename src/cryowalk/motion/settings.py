"""What a user may choose about motion correction."""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentSettings:
    """How the frames of a movie are aligned and summed."""

    patches: Annotated[
        tuple[int, int],
        "patches across x and y whose own motion is found, fewer where they would be small; 1 1 for the whole field alone",
    ] = (
        5,
        5,
    )
    finest_resolution: Annotated[float, "detail finer than this, Å, is not looked at while aligning", ("above", 0)] = 5.0
    b_factor: Annotated[float, "weight exp(−B k²/4) of frequencies while aligning, Å²", ("min", 0)] = 300.0
    largest_shift: Annotated[float, "how far a frame may lie from the middle of the movie's track, Å", ("above", 0)] = 60.0
    acceleration: Annotated[
        float, "expected change of a frame's step to the next, Å; smaller makes smoother tracks", ("above", 0)
    ] = 0.6
    iterations: Annotated[int, "passes over the frames at most"] = 12
    dose_per_frame: Annotated[float | None, "dose of a frame, e⁻/Å²; it makes the sum a dose-weighted one", ("above", 0)] = None
    dose_before: Annotated[float, "dose before the first frame, e⁻/Å²", ("min", 0)] = 0.0
    dose_weighting: Annotated[
        Literal["auto", "yes", "no"], "whether the sum is weighted by radiation damage; auto: where the dose is known"
    ] = "auto"
    interpolation: Annotated[
        Literal["cubic", "linear"], "how pixels between pixels are read: cubic convolution, or linear as RELION does"
    ] = "cubic"
