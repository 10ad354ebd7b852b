"""Local resolution: slices of the map in the colours of its resolution, and how often each resolution is found."""

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes  # noqa: TID253  a module of this floor is imported only when something is drawn

from cryowalk.data import Volume
from cryowalk.view.canvas import COLOURS, Drawing, array_of, grey_range, new_drawing, scale_bar, styled

_PANELS = (("x", "y", "z", 0), ("x", "z", "y", 1), ("y", "z", "x", 2))  # across, up, along the line of sight, axis of the array


@styled
def resolution_slices(volume: Volume, local_resolution: Volume, *, limits: tuple[float, float]) -> Drawing:
    """Three central slices of a map, brightness by density and colour by the local resolution (Å) between the limits; yellow is fine, blue coarse."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    drawing = new_drawing(9.4, 3.3, description="Central slices, coloured by local resolution")
    scale = ScalarMappable(Normalize(*limits), colormaps["viridis_r"])
    density, resolution = array_of(volume.voxels), array_of(local_resolution.voxels)
    low, high = grey_range(density)
    panels: list[Axes] = []
    for column, (across, up, along, axis) in enumerate(_PANELS):
        middle = density.shape[axis] // 2
        brightness = np.clip((density.take(middle, axis=axis) - low) / (high - low), 0, 1)
        colours = scale.to_rgba(resolution.take(middle, axis=axis))[..., :3]
        axes = drawing.add_subplot(1, 3, column + 1)
        height, width = brightness.shape
        left, bottom = (-(width // 2) - 0.5) * volume.voxel_size, (-(height // 2) - 0.5) * volume.voxel_size
        extent = (left, left + width * volume.voxel_size, bottom, bottom + height * volume.voxel_size)
        axes.imshow(colours * brightness[..., None], origin="lower", extent=extent)
        axes.set_title(f"{along} = 0 Å")
        axes.set_xlabel(f"{across} (Å)")
        axes.set_ylabel(f"{up} (Å)")
        axes.spines[:].set_visible(False)
        scale_bar(axes, width=width * volume.voxel_size)
        panels.append(axes)
    drawing.colorbar(scale, ax=panels, shrink=0.85, pad=0.015, label="local resolution (Å)")
    return drawing


@styled
def resolution_histogram(resolutions: Float[np.ndarray, " voxels"], *, whole: float | None = None) -> Drawing:
    """How often each local resolution (Å) is found among voxels, with their median, and the resolution of the whole map if it is given."""
    median = float(np.median(resolutions))
    drawing = new_drawing(6.8, 3.4, description=f"Local resolution of {len(resolutions)} voxels; median {median:.2f} Å")
    axes = drawing.add_subplot()
    low, high = np.percentile(resolutions, [0, 99.5])
    axes.hist(
        resolutions,
        bins=np.linspace(low, max(high, low * 1.01), 60).tolist(),
        color=COLOURS[0],
        weights=np.full(len(resolutions), 100 / len(resolutions)),
    )
    axes.axvline(median, color=COLOURS[1], linewidth=1.4, label=f"median {median:.2f} Å")
    if whole is not None:
        axes.axvline(whole, color="#000000", linewidth=1.2, linestyle="--", label=f"whole map (FSC 0.143) {whole:.2f} Å")
    axes.set_xlabel("local resolution (Å)")
    axes.set_ylabel("voxels (%)")
    axes.legend()
    return drawing
