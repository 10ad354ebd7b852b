"""Maps in files and in memory: the one place where RELION's scale (image = sum of voxels) and ours (image = ∫ dz in Å) meet."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cryowalk.core.errors import InputError
from cryowalk.data.volume import HalfMaps, Volume
from cryowalk.io.mrc import check_values, read_array, write_array
from cryowalk.io.mrc_header import MrcHeader, read_header

LARGEST_ANISOTROPY = 1e-3


def read_map(path: str | Path, *, voxel_size: float | None = None) -> Volume:
    """The map in an MRC file, float32: its values divided by the voxel size, its axes in order, its origin in Å.

    `voxel_size` (Å) stands for that of a header that does not say or says wrong.

    Raises
    ------
    InputError
        If the file is no whole map, its voxels are not cubes, its voxel size is not known, or a value is not finite.
    """
    values, size, origin = _read_values(path, voxel_size)
    return Volume(voxels=values / size, voxel_size=size, origin=origin)


def _read_values(path: str | Path, voxel_size: float | None) -> tuple[torch.Tensor, float, tuple[float, float, float]]:
    """The values of a map as they are in the file, float32, its voxel size and origin, Å."""
    header = read_header(path)
    if header.size[2] == 1 or header.is_stack or header.volumes > 1:
        what = "a stack of images" if header.is_stack else "a single image" if header.size[2] == 1 else "a stack of volumes"
        fix = "read_volumes gives them one by one" if header.volumes > 1 else ""
        raise InputError(f"this is {what}, not a map", file=header.path, expected="one 3D map", fix=fix)
    size = _cubic_voxel_size(header) if voxel_size is None else voxel_size
    values = torch.from_numpy(read_array(path).astype(np.float32, copy=False))
    check_values(values, range(len(values)), header.path, what="section")
    return values, size, map_origin(header, voxel_sizes=(size, size, size))


def read_volumes(path: str | Path, *, voxel_size: float | None = None) -> tuple[Volume, ...]:
    """The maps in a stack of volumes (space group 401), or the one map of another file, as `read_map` reads them.

    Raises
    ------
    InputError
        As `read_map`, or if the sections make no whole number of volumes.
    """
    header = read_header(path)
    if header.volumes == 1:
        return (read_map(path, voxel_size=voxel_size),)
    depth = header.sampling[2]
    if header.size[2] % depth or header.axes != (1, 2, 3):
        raise InputError(
            f"{header.size[2]} sections make no whole number of volumes of {depth}"
            if header.size[2] % depth
            else "axes out of order",
            file=header.path,
            expected="volumes one after the other, each of the header's sampling along Z",
            cause="a damaged header",
        )
    size = _cubic_voxel_size(header) if voxel_size is None else voxel_size
    values = torch.from_numpy(read_array(path, header=header).astype(np.float32, copy=False))
    check_values(values, range(len(values)), header.path, what="section")
    origin = map_origin(header, voxel_sizes=(size, size, size))
    return tuple(
        Volume(voxels=each / size, voxel_size=size, origin=origin) for each in values.reshape(-1, depth, *values.shape[1:])
    )


def write_volumes(volumes: Sequence[Volume], path: str | Path) -> None:
    """Write maps of one grid as a stack of volumes (space group 401), each as `write_map` would.

    Raises
    ------
    InputError
        If there are none, or their grids differ.
    """
    grids = {(tuple(each.voxels.shape), each.voxel_size, each.origin) for each in volumes}
    if len(grids) != 1:
        raise InputError("a stack of volumes needs volumes of one grid", file=path, fix="resample them, or write them apart")
    first = volumes[0]
    values = torch.stack([each.voxels.detach().float() * each.voxel_size for each in volumes])
    write_array(values, path, voxel_size=first.voxel_size, origin=first.origin)


def write_map(volume: Volume, path: str | Path) -> None:
    """Write a map for RELION's programs and everyone's viewers: values times the voxel size, mode 2, with voxel size and origin.

    Raises
    ------
    InputError
        If a value is not finite.
    """
    write_array(volume.voxels.detach().float() * volume.voxel_size, path, voxel_size=volume.voxel_size, origin=volume.origin)


def read_mask(path: str | Path, *, voxel_size: float | None = None) -> Volume:
    """The mask in an MRC file, its values as they are: a factor without a unit, to which the scale of maps does not apply.

    Raises
    ------
    InputError
        As `read_map`.
    """
    values, size, origin = _read_values(path, voxel_size)
    return Volume(voxels=values, voxel_size=size, origin=origin)


def write_mask(mask: Volume, path: str | Path) -> None:
    """Write a mask, its values as they are, mode 2, with voxel size and origin."""
    write_array(mask.voxels.detach().float(), path, voxel_size=mask.voxel_size, origin=mask.origin)


def read_half_maps(first: str | Path, second: str | Path, *, voxel_size: float | None = None) -> HalfMaps:
    """Two half maps of one reconstruction.

    Raises
    ------
    InputError
        If their boxes or voxel sizes differ.
    """
    one, other = read_map(first, voxel_size=voxel_size), read_map(second, voxel_size=voxel_size)
    if one.voxels.shape != other.voxels.shape or not math.isclose(one.voxel_size, other.voxel_size, rel_tol=1e-3):
        raise InputError(
            f"the half maps differ: {tuple(one.voxels.shape)} at {one.voxel_size:g} Å and {tuple(other.voxels.shape)} at {other.voxel_size:g} Å",
            file=second,
            fix="name the two halves of one reconstruction",
        )
    return HalfMaps(first=one, second=other)


def map_origin(header: MrcHeader, *, voxel_sizes: tuple[float, float, float]) -> tuple[float, float, float]:
    """Where voxel (0, 0, 0) lies, (x, y, z) in Å: the header's origin, or its start indices times the voxel size where that is zero.

    It is the rule of ChimeraX; start indices belong to columns, rows and sections and are put in the order of the axes.
    """
    if any(header.origin):
        return header.origin
    starts = dict(zip(header.axes, header.start, strict=True))
    return starts[1] * voxel_sizes[0], starts[2] * voxel_sizes[1], starts[3] * voxel_sizes[2]


def _cubic_voxel_size(header: MrcHeader) -> float:
    """The voxel size of a map whose voxels are cubes, Å."""
    sizes = header.voxel_sizes
    if min(sizes) <= 0:
        raise InputError(
            "the header does not give the voxel size",
            file=header.path,
            fix="state it with --pixel-size (Å), for a reference with --ref-angpix",
        )
    if any(abs(angle - 90) > 0.01 for angle in header.angles if angle):
        raise InputError(
            f"the cell is skewed: angles {header.angles}",
            file=header.path,
            expected="90°",
            cause="a crystal map",
            fix="resample it",
        )
    if max(sizes) / min(sizes) - 1 > LARGEST_ANISOTROPY:
        raise InputError(
            f"the voxels are not cubes: {' × '.join(f'{size:g}' for size in sizes)} Å",
            file=header.path,
            expected="equal within 0.1 %",
            fix="resample the map, or state --pixel-size if the header is wrong",
        )
    return sizes[0]
