"""What a user may choose about local resolution."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalResolutionSettings:
    """How the resolution at each place of a map is measured."""

    window: Annotated[
        float | None,
        "diameter of the sphere that is looked at around each place, Å; unset: seven times the resolution of the whole, at least ten voxels",
        ("above", 0),
    ] = None
    threshold: Annotated[float, "correlation of the half maps at which the resolution is read", ("above", 0), ("below", 1)] = 0.5
