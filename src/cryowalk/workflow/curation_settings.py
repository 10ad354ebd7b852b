"""What a user may choose about the selection of micrographs: limits on figures that are known of them, each left out unless given."""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class CurationSettings:
    """Which micrographs are kept. A figure that is not known of a micrograph does not reject it."""

    max_resolution: Annotated[float | None, "coarsest resolution to which the CTF fits, Å", ("above", 0)] = None
    min_figure_of_merit: Annotated[float | None, "smallest figure of merit of the CTF's fit"] = None
    min_defocus: Annotated[float | None, "smallest mean underfocus, Å"] = None
    max_defocus: Annotated[float | None, "largest mean underfocus, Å"] = None
    max_astigmatism: Annotated[float | None, "largest difference of major and minor defocus, Å", ("min", 0)] = None
    max_defocus_deviation: Annotated[float | None, "largest standard error of the defocus, Å", ("above", 0)] = None
    max_tilt: Annotated[float | None, "largest tilt of the specimen, degrees", ("min", 0)] = None
    min_thickness: Annotated[float | None, "smallest thickness, Å", ("min", 0)] = None
    max_thickness: Annotated[float | None, "largest thickness, Å", ("min", 0)] = None
    max_ice: Annotated[float | None, "strongest ring of crystalline ice at 3.7 Å, over what lies beside it", ("above", 0)] = None
    max_motion: Annotated[float | None, "longest path of the specimen, Å", ("min", 0)] = None
    max_early_motion: Annotated[float | None, "longest path to 4 e⁻/Å², Å", ("min", 0)] = None
    max_precision: Annotated[float | None, "largest error of the motion, Å", ("above", 0)] = None
    min_picks: Annotated[int | None, "fewest picks (with --coords)", ("min", 0)] = None
    max_picks: Annotated[int | None, "most picks (with --coords)", ("min", 0)] = None
    doubtful: Annotated[Literal["reject", "keep"], "what becomes of micrographs whose CTF was found doubtful (cwGood is 0)"] = (
        "reject"
    )
    thumbnails: Annotated[int, "side of the thumbnails, pixels; 0 makes none", ("min", 0), ("max", 2048)] = 256
    ice: Annotated[Literal["measure", "skip"], "whether the ring of ice is measured in the images, where they reach 3.3 Å"] = (
        "measure"
    )
