"""The operators of the Fourier floor and of numerics."""

import torch

from cryowalk.data import Volume
from cryowalk.fourier.disk import half_disk
from cryowalk.fourier.filters import apply_shell_weights, b_factor, high_pass, low_pass, shift_images, shift_phases
from cryowalk.fourier.nufft import back_project_exactly, project_exactly
from cryowalk.fourier.shells import shell_average
from cryowalk.fourier.slices import back_project, extract_slices, prepare_volume
from cryowalk.fourier.transform import resample, resize, to_fourier, to_real
from cryowalk.numerics.interpolation import rotate_volume

from .registry import BOXES_3D, CUBES, SQUARES, Operator, Setting

PIXEL = 1.3


def poses(setting: Setting, count: int = 3):
    """Rotations of a seeded generator, by the exponential of skew matrices."""
    a = torch.randn(count, 3, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return torch.linalg.matrix_exp(a - a.transpose(1, 2)).to(setting.device, setting.dtype)


def transform(setting):
    return lambda x: to_fourier(x, dimensions=len(setting.size))


def back(setting):
    return lambda s: to_real(s, width=setting.size[-1], dimensions=len(setting.size))


def volume_of(x):
    return Volume(voxels=x, voxel_size=PIXEL)


def project(setting):
    return lambda x: to_real(extract_slices(prepare_volume(volume_of(x)), poses(setting)), width=setting.size[-1])


def project_back(setting):
    return lambda y: back_project(to_fourier(y), poses(setting), voxel_size=PIXEL).voxels


def shifts(setting, sign=1):
    shift = sign * setting.like((2,), seed=9) * 2
    return lambda x: shift_images(x, shift, pixel_size=PIXEL)


def shells(setting):
    weights = setting.like((min(setting.size) // 2 + 1,), seed=8)
    return lambda x: apply_shell_weights(x, weights, dimensions=len(setting.size))


def filters(function, **choices):
    return lambda setting: lambda x: function(x, pixel_size=PIXEL, dimensions=len(setting.size), **choices)


def averages(setting):
    return lambda x: shell_average(x[..., : setting.size[-1] // 2 + 1], size=setting.size)


def disk_there_and_back(setting):
    disk = half_disk(setting.size[0], device=setting.device)
    return lambda s: disk.scatter(disk.gather(s))


def phases(setting):
    shift = setting.like((2,), seed=9)
    return lambda s: s * shift_phases(setting.size, shift, pixel_size=PIXEL)


def phases_back(setting):
    shift = -setting.like((2,), seed=9)
    return lambda s: s * shift_phases(setting.size, shift, pixel_size=PIXEL)


OPERATORS = [
    Operator(name="to_fourier 2D", build=transform, adjoint=back, output="spectrum"),
    Operator(name="to_fourier 3D", build=transform, adjoint=back, output="spectrum", sizes=BOXES_3D),
    Operator(name="to_real 2D", build=back, adjoint=transform, input="spectrum"),
    Operator(name="to_real 3D", build=back, adjoint=transform, input="spectrum", sizes=BOXES_3D),
    Operator(name="resize: crop", build=lambda s: lambda x: resize(x, (5, 6)), adjoint=lambda s: lambda y: resize(y, s.size)),
    Operator(name="resize: pad", build=lambda s: lambda x: resize(x, (12, 11)), adjoint=lambda s: lambda y: resize(y, s.size)),
    Operator(
        name="resize 3D",
        build=lambda s: lambda x: resize(x, (7, 4, 6)),
        adjoint=lambda s: lambda y: resize(y, s.size),
        sizes=BOXES_3D,
    ),
    Operator(name="resample finer", build=lambda s: lambda x: resample(x, (12, 13))),
    Operator(name="resample coarser", build=lambda s: lambda x: resample(x, (6, 5))),
    Operator(name="low pass", build=filters(low_pass, resolution=4.1), adjoint=filters(low_pass, resolution=4.1)),
    Operator(
        name="low pass 3D", build=filters(low_pass, resolution=4.1), adjoint=filters(low_pass, resolution=4.1), sizes=BOXES_3D
    ),
    Operator(name="high pass", build=filters(high_pass, resolution=4.1), adjoint=filters(high_pass, resolution=4.1)),
    Operator(name="b factor", build=filters(b_factor, b_factor=30.0), adjoint=filters(b_factor, b_factor=30.0)),
    Operator(name="shell weights", build=shells, adjoint=shells),
    Operator(name="shell weights 3D", build=shells, adjoint=shells, sizes=BOXES_3D),
    Operator(name="shell average", build=averages),
    Operator(name="shift images", build=shifts, adjoint=lambda s: shifts(s, -1)),
    # The law of adjoints holds between spectra of real arrays away from Nyquist, which only odd sides leave out.
    Operator(name="shift phases", build=phases, adjoint=phases_back, input="spectrum", output="spectrum", sizes=((9, 9), (7, 9))),
    Operator(
        name="half disk",
        build=disk_there_and_back,
        adjoint=disk_there_and_back,
        input="spectrum",
        output="spectrum",
        sizes=SQUARES,
    ),
    # A map is one volume: there is no stack of maps. The number of images is the batch, tested in tests/fourier.
    Operator(name="project", build=project, adjoint=project_back, sizes=CUBES, has_batch=False),
    Operator(name="back project", build=project_back, adjoint=project, sizes=SQUARES, batch=(3,), has_batch=False),
    # finufft is outside autograd.
    Operator(
        name="project exactly",
        build=lambda s: lambda x: project_exactly(volume_of(x), poses(s)),
        adjoint=lambda s: lambda y: back_project_exactly(y, poses(s), voxel_size=PIXEL).voxels,
        sizes=CUBES,
        has_batch=False,
        has_gradient=False,
        tolerance=1e-8,
    ),
    Operator(
        name="rotate volume",
        build=lambda s: lambda x: rotate_volume(x, poses(s)[0], s.like((3,), seed=2)),
        sizes=BOXES_3D[:2],
        has_batch=False,
    ),
]
