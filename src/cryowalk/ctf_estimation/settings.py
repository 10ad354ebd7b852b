"""What a user may choose about the estimation of the contrast transfer function."""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class CtfSettings:
    """How the defocus of a micrograph is found."""

    box: Annotated[int, "side of the power spectrum, pixels", ("min", 128), ("max", 2048)] = 512
    coarsest_resolution: Annotated[float, "coarsest spacing that is fitted, Å", "--resmin", ("above", 0)] = 30.0
    finest_resolution: Annotated[
        float, "finest spacing that is fitted, Å; twice the pixel size where that is coarser", "--resmax", ("above", 0)
    ] = 3.5
    defocus_range: Annotated[tuple[float, float], "smallest and largest mean underfocus, Å"] = (4000.0, 50000.0)
    largest_astigmatism: Annotated[float, "largest difference of major and minor defocus, Å", ("min", 0)] = 3000.0
    phase_shift: Annotated[Literal["none", "fit"], "whether a phase plate's shift is fitted too"] = "none"
    phase_shift_range_degrees: Annotated[tuple[float, float], "where a fitted phase shift may lie, degrees"] = (0.0, 180.0)
    tapers: Annotated[
        Literal["hann", "sine"], "window of the tiles: one Hann window, or several sine tapers (less variance, a little blur)"
    ] = "hann"
    tilt: Annotated[Literal["none", "fit"], "whether the tilt of the specimen is fitted, from the defocus of all tiles"] = "none"
    thickness: Annotated[
        Literal["none", "fit"],
        "whether the thickness is fitted, from where the rings fade and reverse; 0 where no such node is seen",
    ] = "none"
    exclude_ice: Annotated[
        Literal["yes", "no"], "leave out the rings of crystalline and amorphous ice near 3.7 Å where the fit reaches them"
    ] = "no"
