"""A map at a glance: its means along three axes with the histogram of its values, and rotational averages of power."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes  # noqa: TID253  a module of this floor is imported only when something is drawn
from torch import Tensor

from cryowalk.data import Volume
from cryowalk.view.canvas import COLOURS, Drawing, array_of, grey_range, labelled, line_look, new_drawing, styled
from cryowalk.view.curves import resolution_axis
from cryowalk.view.sections import draw_panel

_AXES = (("z", 0, "x", "y"), ("y", 1, "x", "z"), ("x", 2, "y", "z"))  # along, array's axis, across, up


@styled
def mean_views(volume: Volume | Mapping[str, Volume]) -> Drawing:
    """Means of a map along z, y and x, y (or z) upwards, and the histogram of its values on a logarithmic axis; one row a map."""
    rows = labelled(volume)
    names = ", ".join(label for label in rows if label)
    drawing = new_drawing(12.2, 3.2 * len(rows), description="Means along the three axes" + (f" of {names}" if names else ""))
    for row, (label, one) in enumerate(rows.items()):
        density = array_of(one.voxels)
        means = [density.mean(axis=axis) for _, axis, _, _ in _AXES]
        low, high = grey_range(np.concatenate([mean.ravel() for mean in means]))
        for column, ((along, _, across, up), mean) in enumerate(zip(_AXES, means, strict=True)):
            axes = drawing.add_subplot(len(rows), 4, 4 * row + column + 1)
            draw_panel(axes, mean, pixel_size=one.voxel_size, grey=(low, high))
            axes.set_title(f"mean along {along}")
            axes.set_xlabel(f"{across} (Å)")
            axes.set_ylabel(f"{up} (Å)" if column or not label else f"{label}\n{up} (Å)")
        _histogram(drawing.add_subplot(len(rows), 4, 4 * row + 4), density)
    return drawing


def _histogram(axes: Axes, density: Float[np.ndarray, "z y x"]) -> None:
    values = density.ravel()
    axes.hist(values, bins=100, color=COLOURS[0], log=True)
    axes.axvline(float(values.mean()), color=COLOURS[1], linewidth=1.2, label="mean")
    axes.set_title(f"mean {values.mean():.3g} ± {values.std():.3g}")
    axes.set_xlabel("value")
    axes.set_ylabel("voxels")


@styled
def rotational_averages(
    power: Float[Tensor, " shells"] | Mapping[str, Float[Tensor, " shells"]], *, frequency: Float[Tensor, " shells"]
) -> Drawing:
    """Power E|F(k)|² of each shell or ring (orthonormal transform) on a logarithmic axis against spatial frequency, resolution above; zero frequency is left out."""
    rows = labelled(power)
    names = ", ".join(label for label in rows if label)
    drawing = new_drawing(7.2, 4.0, description="Rotational average of the power" + (f" of {names}" if names else ""))
    axes = drawing.add_subplot()
    places = array_of(frequency)
    for index, (label, one) in enumerate(rows.items()):
        values = array_of(one)
        shown = (places > 0) & (values > 0)
        axes.semilogy(places[shown], values[shown], label=label or None, **line_look(index))
    axes.set_xlim(0, float(places[-1]))
    axes.set_ylabel("power |F|²")
    axes.grid(visible=True, axis="y")
    axes.spines["top"].set_visible(True)
    resolution_axis(axes)
    if any(rows):
        axes.legend()
    return drawing
