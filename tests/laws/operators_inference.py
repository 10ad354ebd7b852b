"""Turned copies of images on the half disk, and their transpose that sums rows into planes."""

import torch

from cryowalk.fourier.disk import half_disk
from cryowalk.fourier.padded import padded_grid
from cryowalk.fourier.plane import PADDING, insert_rows, prepare_planes, turned_rows
from cryowalk.fourier.transform import complex_transform, resize
from cryowalk.geometry.rotations import matrix_about_axis

from .registry import SQUARES, Map, Operator, Setting

ANGLE = 0.7


def _turn(setting: Setting) -> torch.Tensor:
    return matrix_about_axis(torch.tensor([ANGLE], dtype=torch.float64), axis="z").to(setting.device, setting.dtype)


def _turned(setting: Setting) -> Map:
    box = setting.size[-1]
    disk, turn = half_disk(box, device=setting.device), _turn(setting)

    def apply(image: torch.Tensor) -> torch.Tensor:
        rows = turned_rows(
            prepare_planes(image[None]), torch.zeros(1, dtype=torch.long, device=setting.device), turn, count=disk.count
        )
        return disk.scatter(rows)[0]

    return apply


def _summed(setting: Setting) -> Map:
    box = setting.size[-1]
    disk, turn, grid = half_disk(box, device=setting.device), _turn(setting), padded_grid(box, padding=PADDING)

    def apply(spectrum: torch.Tensor) -> torch.Tensor:
        rows = (disk.gather(spectrum) * disk.multiplicity)[None]
        side = 2 * grid.margin + 1
        sums = torch.zeros(1, side, side, 3, dtype=setting.dtype, device=setting.device)
        insert_rows(
            rows.to(setting.dtype.to_complex()),
            rows.real * 0,
            torch.zeros(1, dtype=torch.long, device=setting.device),
            turn,
            sums=sums,
            grid=grid,
        )
        plane = torch.complex(sums[0, ..., 0], sums[0, ..., 1])
        index = torch.arange(-grid.margin, grid.margin + 1, device=setting.device) % grid.size
        tall = plane.new_zeros(grid.size, side).index_add_(0, index, plane)
        full = plane.new_zeros(grid.size, grid.size).index_add_(1, index, tall)
        image = resize(complex_transform(full, dimensions=2, direction="inverse").real, (box, box)) * (grid.size / box)
        factor = grid.correction(purpose="interpolation", like=image)
        return image * factor[:, None] * factor

    return apply


OPERATORS = [
    Operator(name="turned_rows", build=_turned, adjoint=_summed, sizes=SQUARES, output="spectrum", has_batch=False),
]
