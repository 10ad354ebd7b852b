"""What a user may choose about finding a map without a reference."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True, kw_only=True)
class AbInitioSettings:
    """How one map, or several, are found from images alone."""

    symmetry: Annotated[str, "point group of the particle, looked for and imposed once a map is found without it", "--sym"] = "C1"
    classes: Annotated[int, "how many maps the particles are shared out among", ("min", 1), ("max", 50)] = 1
    diameter: Annotated[
        float | None,
        "diameter of the particle with some solvent, Å; nine tenths of the box unless given",
        "--particle-diameter",
        ("above", 0),
    ] = None
    starts: Annotated[int, "random beginnings, of which the likeliest end is kept", ("min", 1), ("max", 100)] = 3
    iterations: Annotated[int, "mini-batches of each start", "--iter", ("min", 5), ("max", 10000)] = 60
    starting_resolution: Annotated[float, "detail that the first mini-batches are compared at, Å", ("above", 0)] = 40.0
    final_resolution: Annotated[float, "detail that the last ones are compared at, Å", ("above", 0)] = 15.0
    first_batch: Annotated[int, "particles in the first mini-batch", ("min", 10)] = 100
    last_batch: Annotated[int, "particles in the last mini-batch", ("min", 10)] = 1000
    temperature: Annotated[float, "how much flatter than the likelihood the first posteriors are", ("min", 1), ("max", 100)] = 4.0
    shift_range: Annotated[float, "how far from its image's middle a particle may lie, Å", "--offset-range", ("above", 0)] = 15.0
    most_cells: Annotated[int, "orientations that an image may be shared out among", ("min", 8), ("max", 100000)] = 128
    memory_budget: Annotated[int, "bytes of images and scores held at once; maps come on top", ("min", 2**24)] = 2**30
