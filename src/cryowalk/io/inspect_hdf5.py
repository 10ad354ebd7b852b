"""What a stack in HDF5 or Zarr holds, in words and in numbers; no pixel is read."""

from pathlib import Path
from typing import Any

from cryowalk.core.errors import printable
from cryowalk.io.hdf5_guard import open_hdf5, reading
from cryowalk.io.hdf5_stacks import Hdf5StackReader
from cryowalk.io.hdf5_tables import images_of, read_hdf5_tables
from cryowalk.io.inspect_movies import Told
from cryowalk.io.kinds import is_zarr
from cryowalk.io.zarr_stacks import ZarrStackReader, read_zarr_tables

LISTED = 12


def tell_stack(path: Path) -> Told:
    """The kind, sentences and facts of a stack in HDF5 or Zarr, or of an HDF5 file without one."""
    form = "Zarr" if is_zarr(path) else "HDF5"
    if form == "HDF5" and not _holds_stack(path):
        return _tell_other(path)
    stack = ZarrStackReader(path) if form == "Zarr" else Hdf5StackReader(path)
    height, width = stack.image_shape
    words = [f"{stack.count} images of {width} × {height} px (x × y), {stack.sample_format}"]
    words.append(f"pixel size {stack.pixel_size:g} Å" if stack.pixel_size else "the pixel size is not given")
    facts: dict[str, Any] = {
        "size_x": width, "size_y": height, "images": stack.count, "sample_format": stack.sample_format, "pixel_size_angstrom": stack.pixel_size,
    }  # fmt: skip
    if not stack.has_particles:
        return f"stack of images ({form})", words, facts
    star = read_zarr_tables(path) if form == "Zarr" else read_hdf5_tables(path)
    words.extend(f"data_{printable(block.name)}: {len(block)} rows of {len(block.columns)} columns" for block in star.blocks)
    facts["blocks"] = [{"name": block.name, "rows": len(block), "columns": list(block.columns)} for block in star.blocks]
    return f"particles with their images ({form})", words, facts


def _holds_stack(path: Path) -> bool:
    with open_hdf5(path) as file, reading(path):
        return images_of(file) is not None


def _tell_other(path: Path) -> Told:
    """What stands at the root of an HDF5 file that is no stack of images."""
    words = []
    with open_hdf5(path) as file, reading(path):
        names = list(file)
        for name in names[:LISTED]:
            thing = file.get(name)
            what = f"{thing.dtype} of shape {thing.shape}" if hasattr(thing, "dtype") and hasattr(thing, "shape") else "a group"
            words.append(f"{printable(name)}: {what}")
    if len(names) > LISTED:
        words.append(f"and {len(names) - LISTED} more")
    return "HDF5 file", words or ["it is empty"], {"names": [printable(name) for name in names]}
