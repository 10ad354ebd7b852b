"""The operators of reconstruction: the normal equations' convolution, and slices on curved sheets."""

import torch

from cryowalk.data import Volume
from cryowalk.fourier.grids import frequency_grid
from cryowalk.fourier.padded import padded_grid
from cryowalk.fourier.slices import extract_by_definition, insert_by_definition, prepare_volume, slice_scale
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.reconstruction.normal_equations import filtered_in_box

from .registry import CUBES, SQUARES, Operator

PIXEL = 1.3


def poses(setting, count=3):
    a = torch.randn(count, 3, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return torch.linalg.matrix_exp(a - a.transpose(1, 2)).to(setting.device, setting.dtype)


def convolution(setting):
    box = setting.size[0]
    kernel = setting.like((2 * box,) * 3, seed=6)
    # A power spectrum is symmetric, as that of weights is.
    spectrum = to_fourier(kernel, dimensions=3).abs().square()
    return lambda x: filtered_in_box(x, spectrum)


def sag(setting):
    """A strongly curved sheet, odd in k: the slice of a real map on it is a real image's spectrum, which an Ewald sphere's is not."""
    box = setting.size[-1]
    kx, ky = frequency_grid((box, box), pixel_size=1 / box, dtype=setting.dtype, device=setting.device)
    return 0.5 * (kx**2 + ky**2) * (kx - 2 * ky) / (box / 2) ** 3


def project_curved(setting):
    box = setting.size[-1]

    def project(voxels):
        reference = prepare_volume(Volume(voxels=voxels, voxel_size=PIXEL), stretch=1.1)
        return to_real(extract_by_definition(reference, poses(setting), height=sag(setting)), width=box)

    return project


def back_curved(setting):
    box = setting.size[-1]

    def back(images):
        grid = padded_grid(box, padding=1.5, stretch=1.1)
        half = grid.folded(insert_by_definition(to_fourier(images), poses(setting), grid=grid, height=sag(setting)))
        factor = grid.correction(purpose="interpolation", like=images)
        return grid.to_box(half) * slice_scale(grid, PIXEL) * factor[:, None, None] * factor[:, None] * factor

    return back


OPERATORS = [
    Operator(name="normal operator", build=convolution, adjoint=convolution, sizes=CUBES),
    Operator(name="project curved", build=project_curved, adjoint=back_curved, sizes=CUBES, has_batch=False),
    Operator(name="back project curved", build=back_curved, adjoint=project_curved, sizes=SQUARES, batch=(3,), has_batch=False),
]
