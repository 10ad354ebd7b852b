"""The linear operators on maps' grids: another order of axes, a move, a crop with its padding, and binning."""

import torch

from cryowalk.data import Volume
from cryowalk.validation.convention_maps import axis_order, reoriented
from cryowalk.validation.map_grids import Reorientation, binned_images, put_right, resized

from .registry import BOXES_3D, CUBES, Operator

ORDER = axis_order("z,y,-x")
VOXEL = 1.3


def in_other_order(setting):
    return lambda x: reoriented(x, ORDER)


def in_order_again(setting):
    return lambda x: reoriented(x, ORDER.inverse)


def moving(step: float):
    how = Reorientation(order=axis_order("x,y,z"), move=(step, 0.0, -step / 2))
    return lambda setting: lambda x: put_right(Volume(voxels=x, voxel_size=VOXEL), how).voxels


def smaller(size):
    return tuple(side - 2 for side in size)


def cropped(setting):
    z, y, x = smaller(setting.size)
    return lambda v: resized(Volume(voxels=v, voxel_size=VOXEL), (x, y, z), centre=(1, 0, 0)).voxels


def padded_back(setting):
    """The transpose of a crop: what was cut off comes back as zeros, around the same voxels."""
    size = setting.size
    start = [old // 2 + middle - new // 2 for old, new, middle in zip(size, smaller(size), (0, 0, 1), strict=True)]

    def work(v):
        whole = torch.zeros(size, dtype=v.dtype, device=v.device)
        kept = [slice(max(first, 0), min(first + new, old)) for first, new, old in zip(start, v.shape, size, strict=True)]
        mine = [slice(max(-first, 0), max(-first, 0) + span.stop - span.start) for first, span in zip(start, kept, strict=True)]
        whole[tuple(kept)] = v[tuple(mine)]
        return whole

    return work


OPERATORS = [
    Operator(name="reoriented map", build=in_other_order, adjoint=in_order_again, sizes=CUBES, has_batch=False),
    Operator(name="moved map", build=moving(0.3), adjoint=moving(-0.3), sizes=CUBES, has_batch=False),
    Operator(name="cropped map", build=cropped, adjoint=padded_back, sizes=BOXES_3D, has_batch=False, output_size=smaller),
    Operator(
        name="binned images",
        build=lambda setting: lambda x: binned_images(x, 2),
        output_size=lambda size: tuple(side // 2 for side in size),
    ),
]
