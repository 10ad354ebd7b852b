"""The linear operators of validation: the filter that follows local resolution, and the other hand."""

import torch

from cryowalk.data import Volume
from cryowalk.fourier.filters import low_pass_weights
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.validation.hand import flip_hand
from cryowalk.validation.local_filter import _cutoffs, locally_filtered

from .registry import CUBES, Operator

PIXEL = 1.3


def resolution(setting):
    return 3 + 2 * setting.like(setting.size, seed=5).sigmoid()


def filtered(setting):
    local = Volume(voxels=resolution(setting), voxel_size=PIXEL)
    return lambda x: locally_filtered(Volume(voxels=x, voxel_size=PIXEL), local).voxels


def filtered_back(setting):
    """The transpose written out: weigh by place first, then low-pass."""

    def work(y):
        cutoff, nodes = _cutoffs(resolution(setting), length=setting.size[0] * PIXEL)
        step = (nodes[-1] - nodes[0]) / (len(nodes) - 1)
        total = torch.zeros_like(y)
        for node in nodes:
            share = (1 - (cutoff - node).abs() / step).clamp_min(0)
            weights = low_pass_weights(setting.size, resolution=1 / node, pixel_size=PIXEL, like=y)
            total = total + to_real(to_fourier(share * y, dimensions=3) * weights, width=setting.size[-1], dimensions=3)
        return total

    return work


def other_hand(setting):
    return lambda x: flip_hand(Volume(voxels=x, voxel_size=PIXEL)).voxels


OPERATORS = [
    # A permutation that undoes itself is its own transpose.
    Operator(name="flip hand", build=other_hand, adjoint=other_hand, sizes=CUBES, has_batch=False),
    Operator(name="locally filtered", build=filtered, adjoint=filtered_back, sizes=CUBES, has_batch=False),
]
