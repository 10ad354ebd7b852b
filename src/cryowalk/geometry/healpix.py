"""HEALPix pixels on the sphere in NESTED order: equal areas, and every pixel splits into four at the next order.

The projection onto a plane of twelve diamonds does the work. In units of 45°, with longitude φ and height z: |z| ≤ 2/3 maps to (x, y) =
(4φ/π, 3z/2); nearer the poles, with σ = √(3(1 − |z|)), to y = ±(2 − σ), while x shrinks by σ towards the middle of its quarter.

Source: Górski et al., Astrophys. J. 622, 759 (2005); Calabretta & Roukema, MNRAS 381, 865 (2007).
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryowalk.core.checks import require_between
from cryowalk.core.errors import InputError

HIGHEST_ORDER = 13  # pixel numbers times in-plane steps stay far below 2⁶³; pixels are 26 arc seconds wide
FACES = 12
QUARTER = math.pi / 4


def require_order(order: int) -> int:
    """The order, known to be one that the grids are made for.

    Raises
    ------
    UsageError
        If it is not.
    """
    require_between("the HEALPix order", order, 0, HIGHEST_ORDER)
    return order


def pixel_count(order: int) -> int:
    """The number of pixels, 12 · 4^order."""
    return FACES * 4 ** require_order(order)


def pixel_spacing(order: int) -> float:
    """The side of a square of one pixel's area, √(4π / pixels), rad."""
    return math.sqrt(4 * math.pi / pixel_count(order))


def faces_of(order: int, pixels: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
    """The base face, 0 to 11, that each pixel lies in: 4 around the north pole, 4 on the equator, 4 around the south pole."""
    return pixels >> (2 * order)


def pixel_directions(
    order: int, pixels: Int[Tensor, "*batch"], *, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "*batch 3"]:
    """Unit vectors (x, y, z) to the centres of pixels.

    Raises
    ------
    InputError
        If there is no such pixel.
    """
    count = pixel_count(order)
    if pixels.numel() and (int(pixels.min()) < 0 or int(pixels.max()) >= count):
        raise InputError(f"HEALPix order {order} has the pixels 0 to {count - 1}: got {int(pixels.min())} to {int(pixels.max())}")
    face = faces_of(order, pixels)
    east, north = (_every_second_bit(pixels >> shift, order=order) for shift in (0, 1))
    side = float(1 << order)
    return direction_in_face(face, (east.double() + 0.5) / side, (north.double() + 0.5) / side).to(dtype)


def direction_in_face(
    face: Int[Tensor, "*#batch"], east: Float[Tensor, "*#batch"], north: Float[Tensor, "*#batch"]
) -> Float[Tensor, "*batch 3"]:
    """Unit vectors to places inside base faces, given by the fractions 0 to 1 along their north-east and north-west sides."""
    middle_x, middle_y = _face_middle(face)
    x, y = middle_x + east - north, middle_y + east + north - 1
    is_polar = y.abs() > 1
    shrink = torch.where(is_polar, 2 - y.abs(), 1.0)
    offset = torch.where(is_polar, (x - middle_x) / shrink.clamp_min(1e-300), x - middle_x)
    longitude = QUARTER * (middle_x + offset)
    z = torch.where(is_polar, torch.sign(y) * (1 - shrink**2 / 3), 2 * y / 3)
    # in the caps 1 − z² = σ²/3 (2 − σ²/3), which keeps the digits that 1 − z² would lose
    radius = torch.where(is_polar, torch.sqrt(shrink**2 / 3 * (2 - shrink**2 / 3)), torch.sqrt(1 - z**2))
    return torch.stack([radius * torch.cos(longitude), radius * torch.sin(longitude), z], dim=-1)


def pixels_of_directions(order: int, directions: Float[Tensor, "*batch 3"]) -> Int[Tensor, "*batch"]:
    """The pixel that contains each direction (of any length)."""
    require_order(order)
    x, y, z = directions.double().unbind(dim=-1)
    horizontal = torch.hypot(x, y)
    length = torch.hypot(horizontal, z)
    longitude = torch.remainder(torch.atan2(y, x), 2 * math.pi) / QUARTER
    height = z / length
    quarter = torch.floor(longitude / 2).clamp(0, 3)

    plane_y = 1.5 * height
    diagonal_east = torch.floor((longitude + plane_y) / 2 + 0.5)  # on the equator the diamonds form a chessboard
    diagonal_north = -torch.floor((plane_y - longitude) / 2 + 0.5)
    belt = diagonal_east - diagonal_north
    belt_face = torch.where(belt > 0, diagonal_north % 4, torch.where(belt == 0, 4 + diagonal_east % 4, 8 + diagonal_east % 4))
    belt_east = (longitude + plane_y) / 2 + 0.5 - diagonal_east
    belt_north = (plane_y - longitude) / 2 + 0.5 + diagonal_north

    is_polar = plane_y.abs() >= 1
    shrink = torch.sqrt(3 * (horizontal / length) ** 2 / (1 + height.abs()))  # √(3(1 − |z|)) without losing digits
    offset = (longitude - 1 - 2 * quarter) * shrink
    from_middle = torch.where(height > 0, 1 - shrink, shrink - 1)
    face = torch.where(is_polar, quarter + torch.where(height > 0, 0, 8), belt_face).long()
    east = torch.where(is_polar, (from_middle + offset + 1) / 2, belt_east)
    north = torch.where(is_polar, (from_middle - offset + 1) / 2, belt_north)

    side = 1 << order
    column, row = ((side * part).long().clamp(0, side - 1) for part in (east, north))
    return (face << (2 * order)) + _spread_bits(column, order=order) + 2 * _spread_bits(row, order=order)


def _face_middle(face: Int[Tensor, "*batch"]) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """The middle of each base face in the plane of the projection."""
    column, belt = face % 4, face // 4
    return (2 * column + torch.where(belt == 1, 0, 1)).double(), (1 - belt).double()


def _every_second_bit(numbers: Int[Tensor, "*batch"], *, order: int) -> Int[Tensor, "*batch"]:
    """The numbers made of bits 0, 2, 4 … of each number."""
    result = torch.zeros_like(numbers)
    for bit in range(order):
        result |= ((numbers >> (2 * bit)) & 1) << bit
    return result


def _spread_bits(numbers: Int[Tensor, "*batch"], *, order: int) -> Int[Tensor, "*batch"]:
    """The numbers whose bits 0, 2, 4 … are those of each number; undoes `_every_second_bit`."""
    result = torch.zeros_like(numbers)
    for bit in range(order):
        result |= ((numbers >> bit) & 1) << (2 * bit)
    return result
