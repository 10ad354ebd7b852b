"""A phantom that has no symmetry and a hand: eight Gaussian blobs, whose density and projections are closed forms at every orientation.

No turn, mirror image or exchange of axes brings it near itself: of the 48 ways to permute and flip the axes of its map, each with its best shift,
none but the right one correlates above 0.49 with it. What a file does to it therefore tells what convention the file follows.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

BLOB_WIDTH = 8.0  # Å, standard deviation
# x, y, z (Å) and height of each blob; chosen among 600 drawings for the smallest correlation with its own mirror images and turns.
_BLOBS = (
    (-4.0, -28.0, 28.0, 1.0),
    (22.0, 14.0, 38.0, 0.6),
    (24.0, 24.0, -34.0, 1.4),
    (16.0, -6.0, -44.0, 1.4),
    (-34.0, -16.0, 16.0, 1.2),
    (32.0, -18.0, -26.0, 0.6),
    (16.0, -44.0, 18.0, 1.4),
    (-10.0, 10.0, 30.0, 1.2),
)
REACH = 75.0  # Å: nothing of it lies farther out


def phantom_density(
    size: tuple[int, int, int], *, voxel_size: float, lab_from_particle: Float[Tensor, "3 3"] | None = None
) -> Float[Tensor, "z y x"]:
    """The phantom's density Σ h e^(−|x − R c|²/2w²) on a grid `(z, y, x)` about its origin voxel; R may be any orthogonal matrix, mirrors too.

    It is unturned unless R is given. Double precision.
    """
    turn = torch.eye(3, dtype=torch.float64) if lab_from_particle is None else lab_from_particle.double().cpu()
    centres, heights = _blobs()
    places = centres @ turn.T
    along_z, along_y, along_x = (_profiles(places[:, axis], size[2 - axis], voxel_size) for axis in (2, 1, 0))
    return torch.einsum("b,bz,by,bx->zyx", heights, along_z, along_y, along_x)


def phantom_projections(
    lab_from_particle: Float[Tensor, "n 3 3"], shift: Float[Tensor, "n 2"], *, size: tuple[int, int], pixel_size: float
) -> Float[Tensor, "n y x"]:
    """The images ∫ V(Rᵀx) dz of the phantom, moved by `shift` (x, y) in Å: Σ h w √(2π) e^(−|x − (R c)ₓᵧ − s|²/2w²) on a grid `(y, x)`. Double precision.

    R may be any orthogonal matrix.
    """
    centres, heights = _blobs()
    places = torch.einsum("nij,bj->nbi", lab_from_particle.double().cpu(), centres)[..., :2] + shift.double().cpu()[:, None]
    along_x, along_y = (_profiles(places[..., axis], size[1 - axis], pixel_size) for axis in (0, 1))
    images: Tensor = torch.einsum("b,nby,nbx->nyx", heights, along_y, along_x)
    return images * (BLOB_WIDTH * math.sqrt(2 * math.pi))


def _blobs() -> tuple[Float[Tensor, "8 3"], Float[Tensor, "8"]]:
    """Centres (Å) and heights."""
    table = torch.tensor(_BLOBS, dtype=torch.float64)
    return table[:, :3], table[:, 3]


def _profiles(places: Float[Tensor, "*batch"], count: int, pixel_size: float) -> Float[Tensor, "*batch pixels"]:
    """Gaussians of the blobs' width along one axis, sampled about its origin pixel."""
    position = (torch.arange(count, dtype=torch.float64) - count // 2) * pixel_size
    return torch.exp((position - places[..., None]).square() / (-2 * BLOB_WIDTH**2))
