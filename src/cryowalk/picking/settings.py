"""What a user may choose about finding particles."""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class PickingSettings:
    """How particles are found. Lengths in Å."""

    diameter: Annotated[float, "diameter of the particle, Å", ("min", 20), ("max", 5000)]
    method: Annotated[
        Literal["log", "template", "network"],
        "log: blobs of the diameter; template: views of the particle, given or averaged from blobs; network: a small network, trained at once",
    ] = "log"
    diameter_range: Annotated[
        float, "blobs may be smaller or larger than the diameter by this part of it", ("min", 0), ("max", 0.8)
    ] = 0.0
    separation: Annotated[float, "least distance of two picks, in diameters", ("min", 0.1), ("max", 5)] = 0.65
    threshold: Annotated[
        float | None,
        "least figure of merit; unless given, what noise does not reach and the heights suggest, or even odds of the network",
    ] = None
    margin: Annotated[float, "least distance of a pick from the border, in diameters", ("min", 0), ("max", 5)] = 0.45
    angle_step_degrees: Annotated[float, "step of the templates' rotations, degrees", ("min", 0.5), ("max", 90)] = 5.0
    classes: Annotated[int, "templates that are averaged from blobs where none are given", ("min", 1), ("max", 16)] = 3
    exclude: Annotated[Literal["junk", "nothing"], "whether carbon, ice crystals and other strong features are left out"] = "junk"
    training_steps: Annotated[
        int, "steps of training of the network, on two simulated fields each", ("min", 1), ("max", 1000000)
    ] = 500
    adapting_steps: Annotated[int, "further steps on the picks that are given to the network", ("min", 1), ("max", 1000000)] = 200
    picks_are: Annotated[
        Literal["some", "all"], "whether the picks that the network learns from are some of their micrographs' particles, or all"
    ] = "some"
