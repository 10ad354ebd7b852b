"""Projection, back-projection and rotation without interpolation error: the volume's transform at the very points, by finufft.

It is the reference that the fast slices are measured against: exact for a map on a grid to the stated tolerance, some ten times slower.

Source: Barnett, Magland & af Klinteberg, SIAM J. Sci. Comput. 41, C479 (2019).
"""

import math
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.checks import require_cube, require_square
from cryowalk.data import Volume
from cryowalk.fourier.grids import frequency_grid
from cryowalk.fourier.padded import DiskPoints, disk_points
from cryowalk.fourier.transform import to_fourier, to_real

_TOLERANCE = 1e-10  # relative; the work is done in double precision, on one thread: it is a reference, and must repeat itself


def project_exactly(volume: Volume, lab_from_particle: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n box box"]:
    """Projections ∫ V(Rᵀ x) dz of a map, value · Å, limited to the Nyquist circle."""
    return to_real(slices_exactly(volume, lab_from_particle), width=volume.voxels.shape[-1])


def slices_exactly(volume: Volume, lab_from_particle: Float[Tensor, "n 3 3"]) -> Complex[Tensor, "n box half"]:
    """Half spectra of the projections: (voxel / n) Σ V(x) e^(−2πi Rᵀk·x / n) at every k of the disk |k| ≤ n // 2, 0 outside.

    Works in double precision on the CPU; the result has the map's precision and device. No gradients.
    """
    import finufft

    box = require_cube("map to project", tuple(volume.voxels.shape))
    count, points = lab_from_particle.shape[0], disk_points(box)
    places = _angles(points, lab_from_particle, box)
    density = volume.voxels.detach().to("cpu", torch.complex128).numpy()
    values = finufft.nufft3d2(*places, density, eps=_TOLERANCE, isign=-1, nthreads=1)
    slices = torch.zeros(count, box * (box // 2 + 1), dtype=torch.complex128)
    slices[:, points.place] = torch.from_numpy(values).reshape(count, -1) * (volume.voxel_size / box)
    kept = torch.complex64 if volume.voxels.dtype == torch.float32 else torch.complex128
    return slices.reshape(count, box, box // 2 + 1).to(volume.voxels.device, kept)


def back_project_exactly(
    images: Float[Tensor, "n box box"], lab_from_particle: Float[Tensor, "n 3 3"], *, voxel_size: float
) -> Volume:
    """The adjoint of `project_exactly`: each image, limited to the Nyquist circle, smeared along its beam, times the voxel size."""
    import finufft

    box = require_square("images to back-project", tuple(images.shape))
    points = disk_points(box)
    places = _angles(points, lab_from_particle, box)
    spectra = to_fourier(images.detach().to("cpu", torch.float64)).reshape(images.shape[0], -1)[:, points.place]
    # A coefficient stands for itself and its Friedel mate: twice its share.
    weighted = (spectra * (2 * points.share.to(torch.float64))).reshape(-1).numpy()
    total = finufft.nufft3d1(*places, weighted, (box, box, box), eps=_TOLERANCE, isign=1, nthreads=1)
    voxels = torch.from_numpy(total.real.copy()) * (voxel_size / box)
    return Volume(voxels=voxels.to(images.device, images.dtype), voxel_size=voxel_size)


def rotate_exactly(volume: Volume, lab_from_particle: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n z y x"]:
    """The volume V(Rᵀ x) turned about its origin voxel, limited to the Nyquist sphere; what leaves on one side enters on the other.

    The volume's transform at the turned frequencies and the transform back: to 1e-10 in double precision, 1e-5 in single. The work is done on the
    CPU; gradients reach the voxels, not the rotations.

    Raises
    ------
    ShapeError
        If the volume is not a cube.
    """
    box = require_cube("volume to rotate", tuple(volume.voxels.shape))
    kx, ky, kz = frequency_grid((box, box, box), pixel_size=1 / box, dtype=torch.float64)
    # An even box's Nyquist coefficients stand for two frequencies at once, which a rotation parts: they are left out.
    inside = kx**2 + ky**2 + kz**2 <= ((box - 1) / 2) ** 2
    place = torch.nonzero(inside.reshape(-1)).reshape(-1)
    grid = torch.stack([k.expand(inside.shape).reshape(-1)[place] for k in (kx, ky, kz)], dim=-1) * (2 * math.pi / box)
    half = inside.shape
    turned = []
    for rotation in lab_from_particle.detach().to("cpu", torch.float64):
        values: Tensor = _ValuesAt.apply(volume.voxels, grid @ rotation)  # type: ignore[no-untyped-call]
        spectrum = values.new_zeros(math.prod(half)).index_copy(0, place.to(values.device), values)
        turned.append(to_real(spectrum.reshape(half) / math.sqrt(box) ** 3, width=box, dimensions=3))
    return torch.stack(turned) if turned else volume.voxels.new_zeros(0, box, box, box)


class _ValuesAt(torch.autograd.Function):
    """Σ V(x) e^(−iθ·x) at points θ `[points, (x, y, z)]`, rad per voxel, with the gradient to the voxels."""

    @staticmethod
    def forward(ctx: Any, voxels: Tensor, points: Tensor) -> Tensor:
        import finufft

        ctx.points, ctx.like = points, voxels
        density, places, tolerance = _as_numpy(voxels, points)
        values = finufft.nufft3d2(*places, density, eps=tolerance, isign=-1, nthreads=torch.get_num_threads())
        return torch.from_numpy(values).to(voxels.device)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        import finufft

        strength, places, tolerance = _as_numpy(gradient, ctx.points)
        shape = tuple(ctx.like.shape)
        total = finufft.nufft3d1(*places, strength, shape, eps=tolerance, isign=1, nthreads=torch.get_num_threads())
        return torch.from_numpy(total.real.copy()).to(ctx.like), None


def _as_numpy(values: Tensor, points: Tensor) -> "tuple[Any, list[Any], float]":
    """Complex values and the points' coordinates in the order z, y, x for finufft, and the tolerance of their precision."""
    is_single = values.dtype in (torch.float32, torch.complex64)
    real = torch.float32 if is_single else torch.float64
    places = [points[:, axis].to(real).contiguous().numpy() for axis in (2, 1, 0)]
    return values.detach().to("cpu", real.to_complex()).contiguous().numpy(), places, 1e-5 if is_single else _TOLERANCE


def _angles(points: DiskPoints, rotations: Tensor, box: int) -> "list[object]":
    """2π Rᵀk / n for every point of every slice, one array an axis in the order z, y, x of the voxels."""
    in_plane = torch.stack((points.kx, points.ky), dim=-1).to(torch.float64) * (2 * math.pi / box)
    turned = in_plane @ rotations.detach().to("cpu", torch.float64)[:, :2, :]
    return [turned[..., axis].reshape(-1).contiguous().numpy() for axis in (2, 1, 0)]
