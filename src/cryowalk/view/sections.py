"""Orthogonal slices and projections of maps, with axes and a scale bar in Å."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes  # noqa: TID253  a module of this floor is imported only when something is drawn

from cryowalk.core.errors import UsageError
from cryowalk.data import Volume
from cryowalk.view.canvas import Drawing, array_of, grey_range, labelled, new_drawing, scale_bar, styled

_PANELS = (("x", "y", "z"), ("x", "z", "y"), ("y", "z", "x"))  # across, up, along the line of sight
_ARRAY_AXIS = {"x": 2, "y": 1, "z": 0}
_VECTOR_AXIS = {"x": 0, "y": 1, "z": 2}


@styled
def slices(volume: Volume | Mapping[str, Volume], *, through: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Drawing:
    """Three orthogonal slices through a point (x, y, z) in Å from the origin pixel; one row a map, each with its own grey range.

    Raises
    ------
    UsageError
        If the point lies outside a map.
    """
    rows = labelled(volume)
    drawing = new_drawing(9.2, 3.25 * len(rows), description=_sentence("Orthogonal slices", rows))
    for row, (label, one) in enumerate(rows.items()):
        density = array_of(one.voxels)
        cuts = [density.take(_index_of(one, through, along), axis=_ARRAY_AXIS[along]) for _, _, along in _PANELS]
        titles = [f"{along} = {through[_VECTOR_AXIS[along]]:g} Å" for _, _, along in _PANELS]
        _draw_row(drawing, (row, len(rows)), label, panels=dict(zip(titles, cuts, strict=True)), voxel_size=one.voxel_size)
    return drawing


@styled
def projections(volume: Volume | Mapping[str, Volume]) -> Drawing:
    """Projections ∫ V along z, y and x (map value × Å); one row a map, each with its own grey range."""
    rows = labelled(volume)
    drawing = new_drawing(9.2, 3.25 * len(rows), description=_sentence("Projections along the three axes", rows))
    for row, (label, one) in enumerate(rows.items()):
        density = array_of(one.voxels)
        sums = {f"along {along}": density.sum(axis=_ARRAY_AXIS[along]) * one.voxel_size for _, _, along in _PANELS}
        _draw_row(drawing, (row, len(rows)), label, panels=sums, voxel_size=one.voxel_size)
    return drawing


def _sentence(what: str, rows: Mapping[str, Volume]) -> str:
    names = ", ".join(label for label in rows if label)
    return f"{what} of {names}" if names else what


def _index_of(volume: Volume, through: tuple[float, float, float], along: str) -> int:
    size = int(volume.voxels.shape[_ARRAY_AXIS[along]])
    index: int = size // 2 + round(through[_VECTOR_AXIS[along]] / volume.voxel_size)
    if not 0 <= index < size:
        raise UsageError(
            f"the slice at {along} = {through[_VECTOR_AXIS[along]]:g} Å lies outside the map",
            expected=f"{-(size // 2) * volume.voxel_size:g} to {(size - 1 - size // 2) * volume.voxel_size:g} Å",
        )
    return index


def _draw_row(
    drawing: Drawing,
    place: tuple[int, int],
    label: str,
    *,
    panels: Mapping[str, Float[np.ndarray, "up across"]],
    voxel_size: float,
) -> None:
    """Draw the three panels of one map, by title, with one grey range: their densities are comparable."""
    row, row_count = place
    low, high = grey_range(np.concatenate([panel.ravel() for panel in panels.values()]))
    for column, ((title, panel), (across, up, _)) in enumerate(zip(panels.items(), _PANELS, strict=True)):
        axes = drawing.add_subplot(row_count, 3, 3 * row + column + 1)
        draw_panel(axes, panel, pixel_size=voxel_size, grey=(low, high))
        axes.set_title(title)
        axes.set_xlabel(f"{across} (Å)")
        axes.set_ylabel(f"{up} (Å)" if column or not label else f"{label}\n{up} (Å)")


def draw_panel(
    axes: Axes, image: Float[np.ndarray, "up across"], *, pixel_size: float, grey: tuple[float, float], bar: float = 1.0
) -> None:
    """Draw one image with the origin pixel at (0, 0) Å, y upwards, and a scale bar on a panel `bar` times its width."""
    height, width = image.shape
    left, bottom = (-(width // 2) - 0.5) * pixel_size, (-(height // 2) - 0.5) * pixel_size
    extent = (left, left + width * pixel_size, bottom, bottom + height * pixel_size)
    axes.imshow(image, cmap="gray", origin="lower", extent=extent, vmin=grey[0], vmax=grey[1])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=2.5)
    scale_bar(axes, width=bar * width * pixel_size)
