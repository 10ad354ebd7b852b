"""What post-processing did: the Guinier plot with its line, a correlation against threshold curves, and where the mask lies."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from torch import Tensor

from cryowalk.data import Volume
from cryowalk.view.canvas import COLOURS, GREY, Drawing, array_of, grey_range, line_look, new_drawing, styled
from cryowalk.view.curves import ShellCurve, resolution_axis, squared_resolution_axis
from cryowalk.view.sections import draw_panel

_CUTS = (("x", "y", 0), ("x", "z", 1), ("y", "z", 2))  # across, up, axis of the array that is cut
LOWEST = -90.0  # logarithms below stand for empty shells


@styled
def guinier_plot(
    frequency: Float[Tensor, " shells"],
    logarithms: Mapping[str, Float[Tensor, " shells"]],
    *,
    line: tuple[float, float] | None = None,
    resolution: float | None = None,
    label: str = "",
) -> Drawing:
    """Logarithms of amplitudes against 1/d², by name, with the straight line of an intercept and a slope (of 1/d², Å²) and the resolution (Å) to which it was fitted."""
    drawing = new_drawing(7.2, 4.2, description="Guinier plot: " + ", ".join(logarithms))
    axes = drawing.add_subplot()
    square = array_of(frequency.double()) ** 2
    lowest, highest = np.inf, -np.inf
    for index, (name, values) in enumerate(logarithms.items()):
        heights = array_of(values)
        seen = np.isfinite(heights) & (heights > LOWEST) & (square > 0)
        axes.plot(square[seen], heights[seen], label=name, **line_look(index))
        inner = seen & (square <= (1.15 / resolution**2 if resolution else np.inf))
        if inner.any():
            lowest, highest = min(lowest, heights[inner].min()), max(highest, heights[inner].max())
    if line is not None:
        axes.plot(square, line[0] + line[1] * square, color="#000000", linewidth=1.0, linestyle=":", label=label or None)
    if resolution is not None:
        axes.axvline(resolution**-2, color=GREY, linewidth=0.8)
    if np.isfinite(lowest):
        room = 0.15 * (highest - lowest) + 0.5
        axes.set_ylim(lowest - room, highest + room)
    axes.set_xlim(0, float(square[-1]))
    axes.set_xlabel("1/d² (1/Å²)")
    axes.set_ylabel("ln of mean shell amplitude")
    axes.spines["top"].set_visible(True)
    squared_resolution_axis(axes)
    axes.legend()
    return drawing


@styled
def fsc_against(curve: ShellCurve, levels: Mapping[str, Float[Tensor, " shells"]]) -> Drawing:
    """A correlation and the threshold curves of the same shells, by name."""
    drawing = new_drawing(7.2, 3.9, description="Fourier shell correlation against " + ", ".join(levels))
    axes = drawing.add_subplot()
    frequency = array_of(curve.frequency)
    axes.axhline(0.0, color="#bbbbbb", linewidth=0.8)
    axes.plot(frequency, array_of(curve.correlation), label="masked half maps", **line_look(0))
    for index, (name, level) in enumerate(levels.items(), start=1):
        axes.plot(frequency[1:], array_of(level)[1:], label=name, linewidth=1.1, **line_look(index))
    axes.set_xlim(0, float(frequency[-1]))
    axes.set_ylim(-0.1, 1.05)
    axes.set_ylabel("Fourier shell correlation")
    axes.spines["top"].set_visible(True)
    resolution_axis(axes)
    axes.legend()
    return drawing


@styled
def masked_slices(volume: Volume, mask: Volume) -> Drawing:
    """Three slices of a map through its origin voxel, with the outlines of the mask where it is ½ and where it ends."""
    drawing = new_drawing(9.2, 3.25, description="Slices of the map with the outline of the mask")
    density, inside = array_of(volume.voxels), array_of(mask.voxels)
    grey = grey_range(density)
    box, size = density.shape[-1], volume.voxel_size
    line = (np.arange(box) - box // 2) * size
    for column, (across, up, axis) in enumerate(_CUTS):
        axes = drawing.add_subplot(1, 3, column + 1)
        draw_panel(axes, density.take(box // 2, axis=axis), pixel_size=size, grey=grey)
        cut = inside.take(box // 2, axis=axis)
        for level, style in ((0.5, "solid"), (0.01, "dotted")):
            if cut.min() < level < cut.max():
                axes.contour(line, line, cut, levels=[level], colors=[COLOURS[1]], linewidths=1.1, linestyles=style)
        axes.set_xlabel(f"{across} (Å)")
        axes.set_ylabel(f"{up} (Å)")
    return drawing
