"""`cryowalk convert`: maps, stacks, movies, STAR files and structures from one form to another."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cryowalk.cli.command import Command
from cryowalk.cli.commands.convert_hdf5 import convert_stack, is_stack_conversion
from cryowalk.cli.context import Context
from cryowalk.core.errors import InputError, UsageError

KINDS = {"mrc": "MRC", "star": "STAR", "structure": "atoms", "tiff": "movie", "mdoc": "mdoc", "tem": "TEM-simulator"}
STRUCTURES = (".pdb", ".ent", ".cif", ".mmcif")
MOVIES = (".tif", ".tiff", ".eer")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertFiles:
    """What to convert to what; the ending of the output's name decides."""

    input: Annotated[Path, "MRC, STAR, PDB or mmCIF file, compressed or not; TIFF or EER movie", "--i"]
    output: Annotated[Path, "file to write: .mrc, .mrcs, .tiff, .eer, .star, .pdb or .cif"]
    pixel_size: Annotated[float | None, "pixel or voxel size of the output, Å (a new header value; no resampling)"] = None
    mode: Annotated[Literal["float32", "float16"], "how MRC and TIFF values are stored"] = "float32"
    box: Annotated[int | None, "side of the map made from a structure, voxels; large enough for it unless given"] = None


def run(files: ConvertFiles, settings: None, context: Context) -> None:  # noqa: ARG001  every command has the same three
    """Nothing; the output is written, all or nothing.

    Raises
    ------
    UsageError
        If there is no way from the one form to the other.
    InputError
        If the input is not usable.
    """
    from cryowalk.io.kinds import foreign_words, kind_of

    context.verify(files.input)
    if files.output.exists() and files.output.samefile(files.input):
        raise UsageError("input and output are the same file", file=files.input, fix="give another --o")
    kind, suffix = kind_of(files.input), files.output.suffix.lower()
    if is_stack_conversion(kind, suffix):
        words = convert_stack((files.input, files.output), kind, mode=files.mode, pixel_size=files.pixel_size, context=context)
    elif kind in ("foreign", "unknown"):
        raise InputError(
            f"this is {foreign_words(files.input) or 'a file of no kind known here'}, and cannot be converted",
            file=files.input,
            expected="an MRC, STAR, PDB or mmCIF file, compressed or not, or a TIFF or EER movie",
        )
    elif kind == "structure" and suffix in STRUCTURES:
        words = _structure(files)
    elif kind == "structure" and suffix in (".mrc", ".map"):
        words = _structure_to_map(files)
    elif kind == "star" and suffix == ".star":
        words = _table(files)
    elif kind == "mrc" and suffix in (".mrc", ".mrcs", ".map"):
        words = _mrc(files, context)
    elif (kind == "tiff" and suffix in (".mrc", ".mrcs", *MOVIES)) or (kind == "mrc" and suffix in MOVIES):
        words = _movie(files, context)
    else:
        raise UsageError(
            f"there is no way from {files.input.name} ({KINDS[kind]}) to {files.output.name}",
            expected="structure → .pdb, .cif or .mrc; STAR → .star; MRC or movie → .mrc, .mrcs, .tiff or .eer",
        )
    context.say(f"{files.output}: {words}")


def _structure(files: ConvertFiles) -> str:
    from cryowalk.io import read_atoms, write_atoms

    atoms = read_atoms(files.input)
    write_atoms(atoms, files.output)
    return f"{len(atoms)} atoms"


def _structure_to_map(files: ConvertFiles) -> str:
    from cryowalk.io import read_atoms, write_map
    from cryowalk.microscope.specimen import needed_box, potential

    if files.pixel_size is None:
        raise UsageError("a map needs a voxel size", fix="give --pixel-size (Å)")
    atoms = read_atoms(files.input)
    box = files.box or needed_box(atoms, voxel_size=files.pixel_size)
    write_map(potential(atoms, box=box, voxel_size=files.pixel_size), files.output)
    return f"potential of {len(atoms)} atoms, {box} voxels of {files.pixel_size:g} Å"


def _table(files: ConvertFiles) -> str:
    """A table in today's form: particles of RELION 3.0 to 5 become RELION 3.1 with optics groups; other tables keep their text."""
    from cryowalk.io import read_particles, read_star, write_particles, write_star

    star = read_star(files.input)
    if any("rlnImageName" in block.columns for block in star.blocks):
        particles = read_particles(files.input, images="ignore", pixel_size=files.pixel_size)
        write_particles(particles, files.output)
        return f"{len(particles)} particles in {len(particles.optics)} optics groups (RELION 3.1)"
    write_star(star, files.output)
    return f"{len(star.blocks)} blocks"


def _mrc(files: ConvertFiles, context: Context) -> str:
    from cryowalk.io import MrcStackReader, MrcStackWriter, read_header

    header = read_header(files.input)
    size = files.pixel_size or header.pixel_size
    if not size:
        told = " × ".join(f"{each:g}" for each in header.voxel_sizes)
        what = f"the voxels are not cubes: {told} Å" if all(header.voxel_sizes) else "the header does not give the pixel size"
        raise InputError(what, file=files.input, fix="give --pixel-size (Å)")
    if not header.is_stack:
        return _map(files, size)
    from cryowalk.core.execution import batches

    reader = MrcStackReader(files.input)
    writer = MrcStackWriter(files.output, image_shape=reader.image_shape, pixel_size=size, sample_format=files.mode)
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


def _movie(files: ConvertFiles, context: Context) -> str:
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


def _map(files: ConvertFiles, size: float) -> str:
    """A map or micrograph, its values as they stand in the file."""
    import numpy as np

    from cryowalk.io import read_array, read_header, write_array
    from cryowalk.io.maps import map_origin

    files.output.parent.mkdir(parents=True, exist_ok=True)

    header = read_header(files.input)
    array = read_array(files.input)
    if not np.isfinite(array).all():
        section = int(np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))[0]) + 1
        raise InputError(f"section {section} holds values that are not finite", file=files.input, fix="make the map again")
    origin = map_origin(header, voxel_sizes=(size, size, size))
    write_array(array, files.output, voxel_size=size, origin=origin, sample_format=files.mode)
    return f"{' × '.join(map(str, reversed(array.shape)))} voxels, {files.mode}, {size:g} Å"


COMMAND = Command(
    name="convert",
    summary="Convert maps, stacks, movies, STAR files and structures.",
    run=run,
    files=ConvertFiles,
    details="The ending of --o decides: structure to .pdb, .cif or a map; RELION 3.0 to 5 STAR to RELION 3.1; MRC of any mode, byte order or compression to plain MRC; movies to .mrc, .tiff or .eer (counts).",
)
