"""What a user may choose about the refinement of CTF parameters."""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class CtfRefinementSettings:
    """Which parameters of the images are refined against a map, and how."""

    defocus: Annotated[
        Literal["per-particle", "per-micrograph", "off"],
        "whose defocus is refined: each particle's own, or one change for a micrograph",
    ] = "per-particle"
    astigmatism: Annotated[Literal["per-micrograph", "off"], "whether each micrograph's astigmatism is refined"] = "off"
    beam_tilt: Annotated[bool, "refine the beam tilt of each optics group"] = False
    aberrations: Annotated[
        bool, "refine trefoil, and the even aberrations to fourth order (Cs, tetrafoil), of each optics group"
    ] = False
    anisotropy: Annotated[bool, "refine the magnification matrix of each optics group"] = False
    defocus_range: Annotated[float, "how far from its value a defocus is sought, Å", "--range", ("above", 0)] = 2000.0
    defocus_deviation: Annotated[
        float | None,
        "standard deviation of particles about their micrograph's mean change, Å, as a prior; none unless given",
        ("above", 0),
    ] = None
    coarsest_resolution: Annotated[float, "coarsest spacing that is used, Å", "--resmin", ("above", 0)] = 30.0
    finest_resolution: Annotated[
        float | None, "finest spacing that is used, Å; Nyquist unless given", "--resmax", ("above", 0)
    ] = None
    memory_budget: Annotated[int, "bytes of images and spectra held at once"] = 256 * 2**20
