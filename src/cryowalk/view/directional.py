"""What depends on the direction in Fourier space, as maps of the sphere: how far each direction is resolved, and how often it is measured."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import UsageError
from cryowalk.view.canvas import Drawing, array_of, new_drawing, styled

_ORDER = 3  # of the HEALPix grid that `validation.directional_correlation` uses


@styled
def on_sphere(values: Mapping[str, Float[Tensor, " directions"]]) -> Drawing:
    """Values at the 768 HEALPix directions (order 3), one Mollweide map each, by label with unit: azimuth across, latitude up.

    Opposite directions of Fourier space are one, so the lower half repeats the upper one through the centre.

    Raises
    ------
    UsageError
        If there are none, or their number is not that of the directions.
    """
    from cryowalk.geometry.healpix import pixel_count, pixels_of_directions
    from cryowalk.view.directions import _mesh

    if not values or any(len(one) != pixel_count(_ORDER) for one in values.values()):
        raise UsageError(f"one value is needed for each of {pixel_count(_ORDER)} directions")
    longitude, latitude, places = _mesh()
    pixels = pixels_of_directions(_ORDER, places)
    drawing = new_drawing(7.4, 3.5 * len(values), description="; ".join(f"{label} by direction" for label in values))
    for row, (label, one) in enumerate(values.items()):
        axes = drawing.add_subplot(len(values), 1, row + 1, projection="mollweide")
        picture = array_of(one[pixels])
        low, high = np.percentile(picture, [0.5, 99.5])
        drawn = axes.pcolormesh(
            longitude, latitude, picture, shading="flat", rasterized=True, cmap="viridis", vmin=low, vmax=max(high, low + 1e-9)
        )
        axes.grid(visible=True, color="#ffffff", linewidth=0.4, alpha=0.6)
        axes.set_xticks(np.radians([-120, -60, 0, 60, 120]), [])
        axes.set_yticks(np.radians([-60, -30, 0, 30, 60]), ["−60°", "−30°", "0°", "30°", "60°"])
        drawing.colorbar(drawn, ax=axes, shrink=0.75, pad=0.03, label=label)
    return drawing
