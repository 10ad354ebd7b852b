"""The directions that RELION's grid keeps under a symmetry: its model tables hold one number for each of them, and it refuses a table with another count.

They are the HEALPix pixels of the asymmetric unit, less those at its border that a symmetric copy of a kept one comes nearer to than half the
spacing of the grid; very many are not thinned. The rule was found by comparing tables that RELION 3.1.3 had written, and
`tests/agreement/test_refinement_relion.py` holds it to them. For T from order 4, O at order 5, and I1,
I3 and I4, it is not RELION's.
"""

import math

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from cryowalk.geometry.healpix import pixel_count, pixel_directions, pixel_spacing
from cryowalk.geometry.symmetry import asymmetric_unit_pixels, symmetry_name, symmetry_operators

ON_THE_BORDER = 1e-6  # rad
MOST_THINNED = 4000  # pixels; RELION 3.1.3 thins 3,120 and does not thin 4,086
COARSE = 4  # below this HEALPix order half the spacing is that of square pixels, from it on 30° / 2^order


def kept_pixels(order: int, symmetry: str) -> Int[Tensor, " pixels"]:
    """The HEALPix pixels (NESTED) of RELION's directions at this order under this symmetry."""
    name = symmetry_name(symmetry)
    if name == "C1":
        return torch.arange(pixel_count(order))
    pixels = _sector(order, name) if name[0] in "CD" else asymmetric_unit_pixels(order, name)
    return pixels if len(pixels) > MOST_THINNED else pixels[_is_distinct(order, pixels, name)]


def _sector(order: int, name: str) -> Int[Tensor, " pixels"]:
    """The pixels within 180°/n of the x axis (Cn), or of the y axis in the upper half (Dn), borders included."""
    pixels = torch.arange(pixel_count(order))
    x, y, z = pixel_directions(order, pixels).unbind(-1)
    is_upper, middle = (z >= -ON_THE_BORDER, math.pi / 2) if name[0] == "D" else (torch.ones_like(z).bool(), 0.0)
    return pixels[((torch.atan2(y, x) - middle).abs() <= math.pi / int(name[1:]) + ON_THE_BORDER) & is_upper]


def _is_distinct(order: int, pixels: Int[Tensor, " pixels"], symmetry: str) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Which of the pixels stay when those near a copy of an earlier one go."""
    from scipy.spatial import cKDTree

    directions = pixel_directions(order, pixels).numpy()
    least = pixel_spacing(order) / 2 if order < COARSE else math.pi / 6 / 2**order + ON_THE_BORDER
    chord = 2 * math.sin(least / 2)
    tree = cKDTree(directions)
    stays = np.ones(len(pixels), dtype=np.bool_)
    near: dict[int, set[int]] = {}
    for operator in symmetry_operators(symmetry)[1:].numpy():
        for place, found in enumerate(tree.query_ball_point(directions @ operator.T, chord)):
            near.setdefault(place, set()).update(found)
    for place in range(len(pixels)):
        if stays[place]:
            later = [other for other in near.get(place, ()) if other > place]
            stays[later] = False
    return stays
