"""An isosurface that turns under the mouse, with a slider over the level.

Source: Lewiner, Lopes, Vieira & Tavares, J. Graphics Tools 8, 1 (2003), as scikit-image implements marching cubes.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from cryowalk.core.errors import InputError, UsageError
from cryowalk.data import Volume
from cryowalk.view.canvas import array_of

if TYPE_CHECKING:
    import plotly.graph_objects  # noqa: ICN001  the annotation names the module in full

DEFAULT_SIGMAS = (2.0, 3.0, 4.0, 5.0, 6.0)
TRIANGLES_PER_LEVEL = 36_000  # five levels of this size make about 4 MB of page, less than plotly.js itself
_COLOUR = "#7fa8c9"
_LIGHT = {"ambient": 0.45, "diffuse": 0.75, "specular": 0.25, "roughness": 0.55, "fresnel": 0.1}


def isosurface(
    volume: Volume, *, levels: tuple[float, ...] | None = None, triangles: int = TRIANGLES_PER_LEVEL
) -> "plotly.graph_objects.Figure":
    """An interactive 3D view of the surfaces at some levels (map units; by default 2 to 6 standard deviations above the mean).

    A map that does not reach that far is cut half-way between its extremes. The map is averaged over cubes of voxels until no surface has more than `triangles`; the description then says so, and the default levels
    are those of the averaged map.

    Raises
    ------
    InputError
        If the map is constant or not finite.
    UsageError
        If no level lies inside the map's range.
    """
    import plotly.graph_objects as go

    density = array_of(volume.voxels)
    if not np.isfinite(density).all() or density.std() == 0:
        raise InputError("a surface needs a map that is finite and not constant")
    surfaces = _surfaces(volume, density, shrink=1, levels=levels)
    if not surfaces:
        raise UsageError(f"no level lies inside the map: its values run from {density.min():.4g} to {density.max():.4g}")
    shrink = 1
    while max(len(one.faces) for one in surfaces) > triangles and min(density.shape) >= 8 * (shrink + 1):
        coarser = _surfaces(volume, density, shrink=shrink + 1, levels=levels)
        if not coarser:
            break
        surfaces, shrink = coarser, shrink + 1
    shown = len(surfaces) // 2
    figure = go.Figure(data=[_trace(one, visible=index == shown) for index, one in enumerate(surfaces)])
    averaged = f", drawn on voxels of {shrink * volume.voxel_size:.3g} Å" if shrink > 1 else ""
    description = f"Isosurface at {len(surfaces)} level{'s' if len(surfaces) > 1 else ''}{averaged}"
    figure.update_layout(**_layout(surfaces[shown], description), sliders=[_slider([one.name for one in surfaces], shown)])
    return figure


@dataclass(frozen=True, slots=True, kw_only=True)
class _Surface:
    """One level's mesh: corners (x, y, z) in Å from the origin pixel, and triangles that turn outwards."""

    name: str
    corners: Float[np.ndarray, "_ 3"]
    faces: Int[np.ndarray, "_ 3"]


def _surfaces(
    volume: Volume, density: Float[np.ndarray, "z y x"], *, shrink: int, levels: tuple[float, ...] | None
) -> list[_Surface]:
    from skimage.measure import marching_cubes

    coarse, first = _block_means(density, shrink)
    mean, deviation = float(coarse.mean()), float(coarse.std())
    low, high = float(coarse.min()), float(coarse.max())
    inside = [level for level in levels or [mean + sigma * deviation for sigma in DEFAULT_SIGMAS] if low < level < high]
    if levels is None and not inside and low < high:
        inside = [(low + high) / 2]
    origin = np.array([size // 2 for size in density.shape])
    surfaces = []
    for level in inside:
        corners, faces, _, _ = marching_cubes(coarse, level, allow_degenerate=False)  # type: ignore[no-untyped-call]
        placed = (corners * shrink + first - origin)[:, ::-1] * volume.voxel_size
        name = f"{level:.4g}" if levels else f"{(level - mean) / deviation:.1f} σ"
        surfaces.append(_Surface(name=name, corners=placed, faces=faces))
    return surfaces


def _block_means(density: Float[np.ndarray, "z y x"], shrink: int) -> tuple[Float[np.ndarray, "z2 y2 x2"], float]:
    """Means over cubes of `shrink` voxels (left-over planes at the far sides are dropped) and where the first one's centre lies, voxels."""
    sizes = [size // shrink for size in density.shape]
    cut = density[: sizes[0] * shrink, : sizes[1] * shrink, : sizes[2] * shrink]
    blocks = cut.reshape(sizes[0], shrink, sizes[1], shrink, sizes[2], shrink)
    return blocks.mean(axis=(1, 3, 5)), (shrink - 1) / 2


def _trace(surface: _Surface, *, visible: bool) -> Any:
    import plotly.graph_objects as go

    small = np.uint16 if len(surface.corners) < 2**16 else np.int32
    x, y, z = surface.corners.astype(np.float32).T
    i, j, k = surface.faces.astype(small).T
    return go.Mesh3d(
        x=x, y=y, z=z, i=i, j=j, k=k, color=_COLOUR, lighting=_LIGHT, lightposition={"x": 300, "y": 500, "z": 1000},
        flatshading=False, hoverinfo="skip", visible=visible, name=surface.name,
    )  # fmt: skip


def _layout(framed: _Surface, description: str) -> dict[str, Any]:
    # the level shown first sets the frame, without its few farthest specks: lower levels may be noise that fills the box
    low, high = np.percentile(framed.corners, [0.5, 99.5], axis=0)
    margin = 0.12 * float((high - low).max())

    def axis(name: str, index: int) -> dict[str, Any]:
        return {
            "title": {"text": f"{name} (Å)"},
            "range": [float(low[index]) - margin, float(high[index]) + margin],
            "showbackground": False,
            "gridcolor": "#e1e5ea",
            "zeroline": False,
            "showspikes": False,
        }

    scene = {
        "xaxis": axis("x", 0),
        "yaxis": axis("y", 1),
        "zaxis": axis("z", 2),
        "aspectmode": "data",
        "camera": {"center": {"x": 0.0, "y": 0.0, "z": -0.12}, "eye": {"x": 1.4, "y": -1.5, "z": 0.9}},
    }
    return {
        "scene": scene,
        "meta": {"description": description},
        "margin": {"l": 0, "r": 0, "t": 10, "b": 0},
        "paper_bgcolor": "white",
        "font": {"color": "#1c1f23"},
        "showlegend": False,
        "height": 540,
        "template": "none",
    }


def _slider(names: list[str], shown: int) -> dict[str, Any]:
    steps = [
        {"label": name, "method": "restyle", "args": ["visible", [other == index for other in range(len(names))]]}
        for index, name in enumerate(names)
    ]
    return {"active": shown, "steps": steps, "currentvalue": {"prefix": "level: "}, "pad": {"l": 30, "r": 30, "b": 20, "t": 0}}
