"""Grids of all orientations: HEALPix views times in-plane angles, as RELION counts them, with cells that nest.

Order o has 12·4^o views and 6·2^o in-plane angles, spaced by 60°/2^o. Cell (pixel, step) has the number `pixel · steps + step`, its middle at the
pixel's centre and half a step, so that it splits into exactly eight cells (4 pixels × 2 steps) at the next order. In-plane angles are counted from a
frame that is carried without twist from the middle of the pixel's base face. So cells shrink evenly, also at the poles, where Euler angles would
shear them.

Source: Górski et al., Astrophys. J. 622, 759 (2005); Yershova et al., Int. J. Robot. Res. 29, 801 (2010).
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.geometry.healpix import (
    FACES,
    direction_in_face,
    faces_of,
    pixel_count,
    pixel_directions,
    pixels_of_directions,
    require_order,
)
from cryowalk.geometry.rotations import geodesic_distance, matrix_about_axis, view_direction
from cryowalk.geometry.sampling import frame_of_direction

CHILDREN = 8


def in_plane_steps(order: int) -> int:
    """The number of in-plane angles, 6 · 2^order."""
    return 6 * 2 ** require_order(order)


def grid_size(order: int) -> int:
    """The number of orientations, 12 · 4^order × 6 · 2^order.

    Examples
    --------
    >>> grid_size(3)
    36864
    """
    return pixel_count(order) * in_plane_steps(order)


def grid_spacing(order: int) -> float:
    """The in-plane step 60°/2^order, by which the field names a grid (15° is order 2, 7.5° order 3), rad."""
    return 2 * math.pi / in_plane_steps(order)


def healpix_directions(order: int, *, dtype: torch.dtype = torch.float64) -> Float[Tensor, "pixels 3"]:
    """Unit vectors to the centres of all HEALPix pixels, in NESTED order."""
    return pixel_directions(order, torch.arange(pixel_count(order)), dtype=dtype)


def so3_grid(order: int, *, dtype: torch.dtype = torch.float64) -> Float[Tensor, "n 3 3"]:
    """All `lab_from_particle` matrices of a grid, evenly spread over SO(3); all in-plane angles of one view stand together.

    The memory is 72 · 8^order matrices: above order 4 take them batch by batch (`so3_batches`) or only those that matter (`so3_rotations`,
    `so3_within`).
    """
    return _views_turned(order, torch.arange(pixel_count(order)), dtype=dtype).flatten(0, 1)


def so3_rotations(
    order: int, indices: Int[Tensor, "*batch"], *, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "*batch 3 3"]:
    """The `lab_from_particle` matrices of some cells of a grid, by their numbers.

    Raises
    ------
    InputError
        If there is no such cell.
    """
    _require_cells(order, indices)
    steps = in_plane_steps(order)
    pixels = indices // steps
    angle = (indices % steps + 0.5).to(torch.float64) * grid_spacing(order)
    return (matrix_about_axis(angle, axis="z") @ _view_frames(order, pixels).mT).to(dtype)


def so3_batches(
    order: int, *, batch: int = 65536, dtype: torch.dtype = torch.float64
) -> Iterator[tuple[Int[Tensor, " n"], Float[Tensor, "n 3 3"]]]:
    """A whole grid piece by piece, each as (cell numbers, matrices), with whole views in each piece and never more than about `batch` matrices."""
    steps, pixels = in_plane_steps(order), pixel_count(order)
    views = max(1, batch // steps)
    for first in range(0, pixels, views):
        last = min(first + views, pixels)
        yield (
            torch.arange(first * steps, last * steps),
            _views_turned(order, torch.arange(first, last), dtype=dtype).flatten(0, 1),
        )


def so3_children(order: int, indices: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch 8"]:
    """The numbers at order + 1 of the eight cells that each cell is made of.

    Raises
    ------
    InputError
        If there is no such cell.
    """
    _require_cells(order, indices)
    steps = in_plane_steps(order)
    pixel = (4 * (indices // steps))[..., None] + torch.arange(CHILDREN, device=indices.device) // 2
    step = (2 * (indices % steps))[..., None] + torch.arange(CHILDREN, device=indices.device) % 2
    return pixel * (2 * steps) + step


def so3_parents(order: int, indices: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
    """The numbers at order − 1 of the cells that contain these cells.

    Raises
    ------
    InputError
        If there is no such cell, or the order is 0.
    """
    if order == 0:
        raise InputError("the cells of order 0 lie in no larger cell")
    _require_cells(order, indices)
    steps = in_plane_steps(order)
    return indices // steps // 4 * (steps // 2) + indices % steps // 2


def so3_cells(order: int, lab_from_particle: Float[Tensor, "*batch 3 3"]) -> Int[Tensor, "*batch"]:
    """The numbers of the cells that contain these orientations."""
    rotations = lab_from_particle.double()
    directions = view_direction(rotations)
    pixels = pixels_of_directions(order, directions)
    in_view = rotations @ _frames_towards(faces_of(order, pixels), directions)
    angle = torch.atan2(in_view[..., 1, 0], in_view[..., 0, 0])
    steps = in_plane_steps(order)
    step = torch.floor(torch.remainder(angle, 2 * math.pi) / grid_spacing(order)).long().clamp(0, steps - 1)
    return pixels * steps + step


def cell_radius(order: int) -> float:
    """A bound on the distance of any orientation to the middle of its cell, 1.36 rad / 2^order.

    The farthest places are the corners of cells at the poles: 0.98 at order 0, then 1.17, 1.26, 1.31, 1.33, 1.34 … rising to 1.351 (in units of
    rad / 2^order); most of a cell lies within 0.5.
    """
    return 1.36 / 2 ** require_order(order)


def so3_within(
    order: int, centre: Float[Tensor, "3 3"], *, radius: float, dtype: torch.dtype = torch.float64
) -> tuple[Int[Tensor, " n"], Float[Tensor, "n 3 3"]]:
    """The cells of a grid whose middles lie within `radius` (rad) of one orientation, as (cell numbers in rising order, matrices).

    The search descends from order 0 and drops every cell that lies wholly outside, so its work grows with the answer, not with the grid.
    """
    middle = centre.double()
    indices = torch.arange(grid_size(0), device=centre.device)
    for level in range(order + 1):
        rotations = so3_rotations(level, indices)
        distance = geodesic_distance(rotations, middle)
        is_near = distance <= (radius if level == order else radius + cell_radius(level))
        indices, rotations = indices[is_near], rotations[is_near]
        if level < order:
            indices = so3_children(level, indices).flatten()
    by_number = torch.argsort(indices)
    return indices[by_number], rotations[by_number].to(dtype)


def _require_cells(order: int, indices: Int[Tensor, "*batch"]) -> None:
    count = grid_size(order)
    if indices.numel() and (int(indices.min()) < 0 or int(indices.max()) >= count):
        raise InputError(f"order {order} has the cells 0 to {count - 1}: got {int(indices.min())} to {int(indices.max())}")


def _views_turned(order: int, pixels: Int[Tensor, " views"], *, dtype: torch.dtype) -> Float[Tensor, "views steps 3 3"]:
    """The matrices of all in-plane angles of some views."""
    angles = (torch.arange(in_plane_steps(order), dtype=torch.float64) + 0.5) * grid_spacing(order)
    turns = matrix_about_axis(angles, axis="z")
    view_from_particle = _view_frames(order, pixels).mT
    products = turns.reshape(-1, 3) @ view_from_particle  # one product per view for all its angles
    return products.reshape(len(pixels), -1, 3, 3).to(dtype)


def _view_frames(order: int, pixels: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotations that carry +z onto the centres of pixels, with the twist of their base face."""
    return _frames_towards(faces_of(order, pixels), pixel_directions(order, pixels))


def _frames_towards(face: Int[Tensor, "*batch"], directions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotations that carry +z first onto the middle of a face and then, by the shortest way, onto directions near it."""
    every = torch.arange(FACES, device=directions.device)
    half = torch.full((FACES,), 0.5, dtype=torch.float64, device=directions.device)
    in_face = frame_of_direction(direction_in_face(every, half, half))[face]
    local = (in_face.mT @ directions[..., None]).squeeze(-1)  # near +z, where the shortest way is smooth
    return in_face @ frame_of_direction(local)
