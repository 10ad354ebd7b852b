"""What CTF refinement found: the lens's phases over the plane of frequencies, and the changes of the particles' defocus."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from cryowalk.view.canvas import Drawing, array_of, line_look, new_drawing, styled


@styled
def phase_planes(pictures: Float[Tensor, "pictures box box"], titles: Sequence[str], *, limit: float | None = None) -> Drawing:
    """Phases in degrees over (kx, ky), the origin in the middle, on one scale of colour up to ± `limit`; unless given, what 98 % of the last picture stay within."""
    values = array_of(pictures)
    if limit is None:
        used = np.abs(values[-1][values[-1] != 0])
        limit = max(float(np.percentile(used, 98)) if used.size else 0.0, 5.0)
    drawing = new_drawing(2.6 * len(values) + 0.6, 2.9, description="Phases of the lens: " + ", ".join(titles))
    panels = drawing.subplots(1, len(values), squeeze=False)[0]
    for axes, picture, title in zip(panels, values, titles, strict=True):
        shown = axes.imshow(picture, origin="lower", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        axes.set_title(title)
        axes.set_xticks([])
        axes.set_yticks([])
    drawing.colorbar(shown, ax=list(panels), shrink=0.8, label="degrees")
    return drawing


@styled
def defocus_changes(changes: Sequence[float], *, deviation: float | None = None) -> Drawing:
    """A histogram of the changes of defocus, Å, with the deviation that a single one has by itself."""
    values = np.asarray(changes, dtype=float)
    description = f"Changes of defocus: {values.size} particles, standard deviation {values.std():.0f} Å"
    drawing = new_drawing(5.6, 3.2, description=description)
    axes = drawing.add_subplot()
    axes.hist(values, bins=min(60, max(10, values.size // 8)), color=line_look(0)["color"])
    if deviation is not None:
        axes.axvspan(
            -deviation, deviation, color="#000000", alpha=0.12, label=f"± {deviation:.0f} Å: a single fit’s own uncertainty"
        )
        drawing.legend(loc="outside upper right")
    axes.set_xlabel("change of defocus (Å)")
    axes.set_ylabel("particles")
    return drawing
