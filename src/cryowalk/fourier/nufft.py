"""Projection and back-projection without interpolation error: the volume's transform at the slices' very points, by finufft.

It is the reference that the fast slices are measured against: exact for a map on a grid to the stated tolerance, some ten times slower.

Source: Barnett, Magland & af Klinteberg, SIAM J. Sci. Comput. 41, C479 (2019).
"""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.checks import require_cube, require_square
from cryowalk.data import Volume
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


def _angles(points: DiskPoints, rotations: Tensor, box: int) -> "list[object]":
    """2π Rᵀk / n for every point of every slice, one array an axis in the order z, y, x of the voxels."""
    in_plane = torch.stack((points.kx, points.ky), dim=-1).to(torch.float64) * (2 * math.pi / box)
    turned = in_plane @ rotations.detach().to("cpu", torch.float64)[:, :2, :]
    return [turned[..., axis].reshape(-1).contiguous().numpy() for axis in (2, 1, 0)]
