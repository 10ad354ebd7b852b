"""An isosurface that turns under the mouse, with a slider over the level.

Source: Lewiner, Lopes, Vieira & Tavares, J. Graphics Tools 8, 1 (2003), as scikit-image implements marching cubes.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from cryowalk.core.errors import InputError, UsageError
from cryowalk.data import Volume
from cryowalk.view.canvas import array_of

if TYPE_CHECKING:
    import plotly.graph_objects  # noqa: ICN001  the annotation names the module in full

DEFAULT_SIGMAS = (2.0, 3.0, 4.0, 5.0, 6.0)
TRIANGLES_PER_LEVEL = 24_000  # five levels of this size make about 2 MB of page
_COLOUR = "#7fa8c9"
_LIGHT = {"ambient": 0.45, "diffuse": 0.75, "specular": 0.25, "roughness": 0.55, "fresnel": 0.1}


def isosurface(
    volume: Volume, *, levels: tuple[float, ...] | None = None, triangles: int = TRIANGLES_PER_LEVEL
) -> "plotly.graph_objects.Figure":
    """An interactive 3D view of the surfaces at some levels (map units; by default 2 to 6 standard deviations above the mean).

    The map is averaged over cubes of voxels until no surface has more than `triangles`; the note below the view says so.

    Raises
    ------
    InputError
        If the map is constant or not finite.
    UsageError
        If no level lies inside the map's range.
    """
    import plotly.graph_objects as go

    density = array_of(volume.voxels)
    deviation = float(density.std())
    if not np.isfinite(deviation) or deviation == 0:
        raise InputError("a surface needs a map that is finite and not constant")
    mean = float(density.mean())
    wanted = levels or tuple(mean + sigma * deviation for sigma in DEFAULT_SIGMAS)
    inside = [level for level in wanted if density.min() < level < density.max()]
    if not inside:
        raise UsageError(f"no level lies inside the map: its values run from {density.min():.4g} to {density.max():.4g}")
    shrink, meshes = _small_meshes(volume, density, inside, triangles)
    shown = len(meshes) // 2
    names = [f"{(level - mean) / deviation:.1f} σ" for level in inside]
    traces = [
        _trace(mesh, visible=index == shown, name=f"{name} ({level:.4g})")
        for index, (mesh, level, name) in enumerate(zip(meshes, inside, names, strict=True))
    ]
    figure = go.Figure(data=traces)
    description = f"Isosurface, {len(traces)} levels" + (
        f", drawn on voxels of {shrink * volume.voxel_size:.3g} Å" if shrink > 1 else ""
    )
    figure.update_layout(**_layout(meshes, description), sliders=[_slider(names, shown)])
    return figure


def _small_meshes(
    volume: Volume, density: Float[np.ndarray, "z y x"], levels: list[float], triangles: int
) -> tuple[int, list[tuple[Float[np.ndarray, "n 3"], Any]]]:
    """By how much the map was shrunk, and one mesh a level: corners (x, y, z) in Å from the origin pixel, and triangles."""
    from skimage.measure import marching_cubes

    shrink = 1
    while True:
        coarse, first = _block_means(density, shrink)
        meshes = []
        for level in levels:
            if not coarse.min() < level < coarse.max():
                meshes.append((np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int32)))
                continue
            corners, faces, _, _ = marching_cubes(coarse, level, allow_degenerate=False)  # type: ignore[no-untyped-call]
            origin = np.array([size // 2 for size in density.shape])
            placed = ((corners * shrink + first) - origin)[:, ::-1] * volume.voxel_size
            meshes.append((placed, faces[:, ::-1]))
        if max(len(faces) for _, faces in meshes) <= triangles or min(coarse.shape) < 8:
            return shrink, meshes
        shrink += 1


def _block_means(density: Float[np.ndarray, "z y x"], shrink: int) -> tuple[Float[np.ndarray, "z2 y2 x2"], float]:
    """Means over cubes of `shrink` voxels (left-over planes at the far sides are dropped) and where the first one's centre lies, voxels."""
    sizes = [size // shrink for size in density.shape]
    cut = density[: sizes[0] * shrink, : sizes[1] * shrink, : sizes[2] * shrink]
    blocks = cut.reshape(sizes[0], shrink, sizes[1], shrink, sizes[2], shrink)
    return blocks.mean(axis=(1, 3, 5)), (shrink - 1) / 2


def _trace(mesh: tuple[Float[np.ndarray, "n 3"], Any], *, visible: bool, name: str) -> Any:
    import plotly.graph_objects as go

    corners, faces = mesh
    small = np.uint16 if len(corners) < 2**16 else np.int32
    x, y, z = corners.astype(np.float32).T
    i, j, k = faces.astype(small).T
    return go.Mesh3d(
        x=x, y=y, z=z, i=i, j=j, k=k, color=_COLOUR, lighting=_LIGHT, lightposition={"x": 300, "y": 500, "z": 1000},
        flatshading=False, hoverinfo="skip", visible=visible, name=name,
    )  # fmt: skip


def _layout(meshes: list[tuple[Float[np.ndarray, "n 3"], Any]], description: str) -> dict[str, Any]:
    corners = np.concatenate([corners for corners, _ in meshes])
    low, high = corners.min(axis=0), corners.max(axis=0)
    margin = 0.04 * float((high - low).max())

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
        "camera": {"eye": {"x": 1.15, "y": -1.25, "z": 0.75}},
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
