"""From where the particles were seen: the density of viewing directions on the sphere, in an equal-area map."""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from cryowalk.core.errors import UsageError
from cryowalk.data import Pose
from cryowalk.view.canvas import Drawing, array_of, new_drawing, styled

_VIEWS_PER_PIXEL = 6  # enough that counting noise does not rule the picture
_FINEST_ORDER = 4
_GRID = (180, 360)  # rows of latitude, columns of longitude of the drawn mesh


@styled
def viewing_directions(pose: Pose, *, symmetry: str = "C1") -> Drawing:
    """The density of viewing directions relative to an even spread, in Mollweide's equal-area map of the particle's own globe.

    The azimuth is RELION's rot, the latitude 90° − tilt. Every view counts from all directions that the symmetry makes equivalent; what lies outside
    of one asymmetric unit is drawn pale. Counts are taken in HEALPix pixels, coarser ones for fewer particles.

    Raises
    ------
    UsageError
        If there are no poses.
    """
    from cryowalk.geometry import healpix, rotations
    from cryowalk.geometry import symmetry as groups

    if len(pose) == 0:
        raise UsageError("there are no poses to show")
    turned = groups.equivalent_rotations(pose.lab_from_particle.double().cpu(), symmetry)
    directions = rotations.view_direction(turned).reshape(-1, 3)
    order = _order_for(directions.shape[0])
    counts = torch.bincount(healpix.pixels_of_directions(order, directions), minlength=healpix.pixel_count(order))
    relative = counts.double() * healpix.pixel_count(order) / directions.shape[0]
    longitude, latitude, places = _mesh()
    density = array_of(relative[healpix.pixels_of_directions(order, places)])
    inside = groups.is_in_asymmetric_unit(places, symmetry).numpy()
    drawing = new_drawing(7.4, 3.6, description=f"Viewing directions of {len(pose)} particles, symmetry {symmetry}")
    _draw_globe(drawing, longitude, latitude, density=density, inside=inside)
    return drawing


def _order_for(views: int) -> int:
    return max(0, min(_FINEST_ORDER, int(math.log(max(views / (12 * _VIEWS_PER_PIXEL), 1), 4))))


def _mesh() -> tuple[Float[np.ndarray, " across"], Float[np.ndarray, " up"], Float[torch.Tensor, "rows columns 3"]]:
    """The edges of the drawn mesh in longitude and latitude (rad), and the directions to the middles of its cells."""
    rows, columns = _GRID
    longitude, latitude = np.linspace(-np.pi, np.pi, columns + 1), np.linspace(-np.pi / 2, np.pi / 2, rows + 1)
    east, north = np.meshgrid((longitude[1:] + longitude[:-1]) / 2, (latitude[1:] + latitude[:-1]) / 2)
    places = np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=-1)
    return longitude, latitude, torch.from_numpy(places)


def _draw_globe(
    drawing: Drawing,
    longitude: Float[np.ndarray, " across"],
    latitude: Float[np.ndarray, " up"],
    *,
    density: Float[np.ndarray, "h w"],
    inside: Any,
) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patheffects import withStroke

    axes = drawing.add_subplot(projection="mollweide")
    limit = max(2.0, float(np.percentile(density[inside], 99)))
    scale = ScalarMappable(Normalize(0.0, limit), colormaps["viridis"])
    colours = scale.to_rgba(density)[..., :3]
    pale = 0.22 * colours + 0.78
    axes.pcolormesh(longitude, latitude, np.where(inside[..., None], colours, pale), shading="flat", rasterized=True)
    axes.grid(visible=True, color="#ffffff", linewidth=0.4, alpha=0.6)
    axes.set_xticks(np.radians([-120, -60, 0, 60, 120]), [])
    axes.set_yticks(np.radians([-60, -30, 0, 30, 60]), ["−60°", "−30°", "0°", "30°", "60°"])
    halo = [withStroke(linewidth=1.8, foreground="white")]
    for degrees in (-120, -60, 0, 60, 120):
        name = f"{degrees}°".replace("-", "−")
        axes.text(math.radians(degrees), 0.03, name, ha="center", va="bottom", fontsize=7.5, path_effects=halo)
    axes.set_xlabel("azimuth (rot)")
    axes.set_ylabel("latitude (90° − tilt)")
    drawing.colorbar(scale, ax=axes, shrink=0.75, pad=0.03, label="density relative to an even spread")
