"""What a user may choose about cutting particles out of micrographs."""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionSettings:
    """How particles are cut out, scaled and normalised."""

    box: Annotated[int, "side of the boxes, pixels of the micrograph", ("min", 8), ("max", 8192)]
    scale: Annotated[int | None, "side of the boxes after Fourier cropping, pixels", ("min", 8), ("max", 8192)] = None
    contrast: Annotated[
        Literal["dark", "bright"], "how particles look in the micrographs; dark ones are inverted, so that they are bright"
    ] = "dark"
    normalise: Annotated[
        Literal["plane", "mean", "none"],
        "what is taken off the background before its standard deviation becomes 1: a plane, its mean, or leave the greys as they are",
    ] = "plane"
    background_diameter: Annotated[
        float | None,
        "diameter of the circle that holds the particle, Å; what lies outside is background; three quarters of the box unless given",
        "--bg-diameter",
        ("above", 0),
    ] = None
    white_dust: Annotated[
        float | None, "pixels brighter than so many standard deviations of the background become noise", ("above", 0)
    ] = None
    black_dust: Annotated[
        float | None, "pixels darker than so many standard deviations of the background become noise", ("above", 0)
    ] = None
