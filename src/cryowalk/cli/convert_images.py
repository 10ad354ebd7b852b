"""`cryowalk convert` for structures, maps, stacks and movies: one function for each family, which returns what it did in words."""

from typing import TYPE_CHECKING

from cryowalk.cli.context import Context
from cryowalk.core.errors import InputError, UsageError

if TYPE_CHECKING:
    from cryowalk.cli.commands.convert import ConvertFiles
    from cryowalk.io.mrc_extended import ExtendedHeader
    from cryowalk.io.mrc_header import MrcHeader


def convert_structure(files: "ConvertFiles") -> str:
    """What was done: atoms from one format to the other."""
    from cryowalk.io import read_atoms, write_atoms

    atoms = read_atoms(files.input)
    write_atoms(atoms, files.output)
    return f"{len(atoms)} atoms"


def convert_structure_to_map(files: "ConvertFiles") -> str:
    """What was done: the potential of atoms as a map."""
    from cryowalk.io import read_atoms, write_map
    from cryowalk.microscope.specimen import needed_box, potential

    if files.pixel_size is None:
        raise UsageError("a map needs a voxel size", fix="give --pixel-size (Å)")
    atoms = read_atoms(files.input)
    box = files.box or needed_box(atoms, voxel_size=files.pixel_size)
    write_map(potential(atoms, box=box, voxel_size=files.pixel_size), files.output)
    return f"potential of {len(atoms)} atoms, {box} voxels of {files.pixel_size:g} Å"


def convert_mrc(files: "ConvertFiles", context: Context) -> str:
    """What was done: a map or stack in plain MRC, a batch in memory at a time."""
    from cryowalk.io import MrcStackReader, MrcStackWriter, read_header
    from cryowalk.io.mrc import warn_of
    from cryowalk.io.mrc_header import with_bytes

    header = with_bytes(read_header(files.input), files.mode0)
    size = files.pixel_size or header.pixel_size
    if not size:
        told = " × ".join(f"{each:g}" for each in header.voxel_sizes)
        what = f"the voxels are not cubes: {told} Å" if all(header.voxel_sizes) else "the header does not give the pixel size"
        raise InputError(what, file=files.input, fix="give --pixel-size (Å)")
    if not header.is_stack:
        return _map(files, size, context)
    from cryowalk.core.execution import batches

    reader = MrcStackReader(files.input, header=warn_of(header))
    writer = MrcStackWriter(
        files.output,
        image_shape=reader.image_shape,
        pixel_size=size,
        sample_format=files.mode,
        extended=_extended(header, context),
    )
    context.progress.start("converting", reader.count)
    try:
        for span in batches(reader.count, max(1, 2**24 // (reader.image_shape[0] * reader.image_shape[1]))):
            writer.write(reader.read(span))
            context.progress.advance(len(span))
        writer.close()
    except BaseException:
        writer.abandon()
        raise
    return f"{reader.count} images, {files.mode}, {size:g} Å"


def convert_movie(files: "ConvertFiles", context: Context) -> str:
    """Frames as they stand in the file, one in memory at a time; those of an EER movie are sums of its raw frames."""
    from collections.abc import Iterator

    import torch

    from cryowalk.io.movies import open_movie, write_movie

    movie = open_movie(files.input)
    size = files.pixel_size or movie.pixel_size
    if not size:
        raise InputError("the file does not give the pixel size", file=files.input, fix="give --pixel-size (Å)")
    files.output.parent.mkdir(parents=True, exist_ok=True)
    context.progress.start("converting", movie.count)

    def frames() -> Iterator[torch.Tensor]:
        for number in range(movie.count):
            yield movie.read([number])[0]
            context.progress.advance(1)

    write_movie(frames(), files.output, pixel_size=size, sample_format=files.mode, count=movie.count)
    return f"{movie.count} frames of {movie.image_shape[1]} × {movie.image_shape[0]} px, {size:g} Å"


def _extended(header: "MrcHeader", context: Context) -> "ExtendedHeader":
    """The extended header to write; one that cannot be kept is told."""
    from cryowalk.io.mrc_extended import kept_extended

    kept, lost = kept_extended(header)
    if lost:
        context.progress.note(f"warning: {lost}")
    return kept


def _map(files: "ConvertFiles", size: float, context: Context) -> str:
    """A map or micrograph, its values as they stand in the file."""
    import numpy as np

    from cryowalk.io import read_array, read_header, write_array
    from cryowalk.io.maps import map_origin
    from cryowalk.io.mrc import warn_of
    from cryowalk.io.mrc_header import with_bytes

    files.output.parent.mkdir(parents=True, exist_ok=True)

    header = with_bytes(read_header(files.input), files.mode0)
    array = read_array(files.input, header=warn_of(header))
    if not np.isfinite(array).all():
        section = int(np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))[0]) + 1
        raise InputError(f"section {section} holds values that are not finite", file=files.input, fix="make the map again")
    origin = map_origin(header, voxel_sizes=(size, size, size))
    kept = _extended(header, context)
    if header.volumes > 1:
        array = array.reshape(-1, header.sampling[2], *array.shape[1:])
    write_array(array, files.output, voxel_size=size, origin=origin, sample_format=files.mode, extended=kept)
    return f"{' × '.join(map(str, reversed(array.shape)))} voxels, {files.mode}, {size:g} Å"
