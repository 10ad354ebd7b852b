"""What a user may choose about taking away what is not looked at."""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtractionSettings:
    """How the rest of a particle is taken out of its images."""

    scale: Annotated[
        Literal["micrograph", "one", "none"],
        "how strong the map is in the images: fitted for each micrograph, fitted once, or taken as it is",
    ] = "micrograph"
    centre: Annotated[
        Literal["particle", "mask"], "what becomes the middle of the images with --new-box: the particle's, or the mask's centre"
    ] = "particle"
    recenter_on_mask: Annotated[bool, "the same as --centre mask"] = False
    new_box: Annotated[int | None, "cut the images to this many pixels about their middle", ("min", 8), ("max", 4096)] = None

    @property
    def middle(self) -> Literal["particle", "mask"]:
        """What becomes the middle, --recenter-on-mask counted in."""
        return "mask" if self.recenter_on_mask else self.centre
