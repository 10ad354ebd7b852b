"""Picks drawn on a micrograph: with the distribution of their figures of merit, or small, to see at a glance whether they lie on particles."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes  # noqa: TID253  a module of this floor is imported only when something is drawn
from matplotlib.collections import EllipseCollection  # noqa: TID253  a module of this floor is imported only when something is drawn

from cryowalk.data.coordinates import Coordinates
from cryowalk.data.images import Micrograph
from cryowalk.view.canvas import COLOURS, Drawing, array_of, grey_range, labelled, new_drawing, scale_bar, styled
from cryowalk.view.micrographs import coarser


@styled
def picks(image: Micrograph, found: Coordinates, *, diameter: float, pixel_size: float | None = None) -> Drawing:
    """A micrograph, y upwards, with a circle of the particle's diameter (Å) about each pick; beside it the histogram of figures of merit.

    The picks count pixels of `pixel_size` (Å) where the image is a coarser copy of the micrograph they were found in.
    """
    small = coarser(image)
    height, width = small.pixels.shape
    drawing = new_drawing(10.0, 6.6 * height / width, description=f"{len(found)} picks in {image.name or 'a micrograph'}")
    axes, beside = drawing.subplots(1, 2, width_ratios=(2.2, 1))
    _draw_circles(axes, small, found, diameter=diameter, pixel_size=pixel_size or image.pixel_size)
    if found.merit is not None and len(found):
        beside.hist(array_of(found.merit), bins=30, color=COLOURS[0])
    beside.set_xlabel("figure of merit")
    beside.set_ylabel("picks")
    return drawing


@styled
def picks_thumbnail(
    image: Micrograph, found: Coordinates | Mapping[str, Coordinates], *, diameter: float, pixel_size: float | None = None
) -> Drawing:
    """A small micrograph, first row at the bottom, with a circle of the particle's diameter (Å) about each pick.

    Several sets of picks by label, such as the rules by which a file's y axis may be read, are drawn side by side on the same micrograph: the right one lies on
    particles. Picks count pixels of `pixel_size` (Å), which is the image's unless it is given.
    """
    panels = labelled(found)
    small = coarser(image)
    height, width = small.pixels.shape
    names = ", ".join(label for label in panels if label)
    counts = " and ".join(str(len(one)) for one in panels.values())
    drawing = new_drawing(
        3.6 * len(panels), 3.6 * height / width + 0.3, description=f"{counts} picks" + (f": {names}" if names else "")
    )
    for column, (label, one) in enumerate(panels.items(), start=1):
        axes = drawing.add_subplot(1, len(panels), column)
        _draw_circles(axes, small, one, diameter=diameter, pixel_size=pixel_size or image.pixel_size)
        axes.set_title(label)
    return drawing


def _draw_circles(axes: Axes, small: Micrograph, found: Coordinates, *, diameter: float, pixel_size: float) -> None:
    """Draw the micrograph, y upwards, a circle about each pick and a scale bar."""
    height, width = small.pixels.shape
    across = width * small.pixel_size
    pixels = array_of(small.pixels)
    low, high = grey_range(pixels)
    axes.imshow(pixels, cmap="gray", origin="lower", extent=(0.0, across, 0.0, height * small.pixel_size), vmin=low, vmax=high)
    axes.set_axis_off()
    places = (array_of(found.positions) + 0.5) * pixel_size
    sizes = np.full(len(places), diameter)
    axes.add_collection(
        EllipseCollection(
            sizes, sizes, np.zeros(len(sizes)), offsets=places, units="xy", transOffset=axes.transData,
            facecolors="none", edgecolors=COLOURS[1], linewidths=0.8,
        )
    )  # fmt: skip
    scale_bar(axes, width=across)
