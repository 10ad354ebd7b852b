"""What a user may choose about the comparison of a map with a model."""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class MapModelSettings:
    """How a map is compared with an atomic model."""

    resolution: Annotated[
        float | None, "resolution at which both are compared in space, Å; unset: where map and model agree to 0.5", ("above", 0)
    ] = None
    q_sigma: Annotated[float, "standard deviation of the Gaussian of the Q-scores, Å", ("above", 0)] = 0.6
    hand: Annotated[Literal["given", "either"], "whether the mirror image is tried too"] = "given"
    calibrate: Annotated[Literal["no", "yes"], "whether the voxel size is fitted to the model"] = "no"
