"""How the specimen moves while its movie is taken."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """Displacement of the specimen in each frame relative to frame 0, (x, y) in Å: the whole field's, and a smooth local part beside it.

    At a place with u = x/width − ½, v = y/height − ½ (x, y from the corner of the field) the displacement in frame f is
    global_displacement[f] + Σ_j local[f, :, j] b_j with b = (u, u², v, v², uv): the spatial terms of RELION's local model.
    RELION's shift is minus the displacement. `field` is (width, height) in Å.
    """

    global_displacement: Float[Tensor, "frames 2"]
    field: tuple[float, float]
    local: Float[Tensor, "frames 2 5"] | None = None
